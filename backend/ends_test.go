// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

func TestTheEndOfASecretIsTold(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	at := e.clock.Now().Add(50 * day)
	for name, value := range map[string]any{"RFC 3339": at.Format(time.RFC3339), "epoch seconds": strconv.FormatInt(at.Unix(), 10), "a number": at.Unix()} {
		t.Run(name, func(t *testing.T) {
			e.must(t, "config/c", with(standard(s), fields{"client_secret_expires_at": value}))
			r := e.read(t, "status/c")
			warned(t, r)
			ends, _ := r.data(t)["ends"].([]any)
			first, _ := ends[0].(map[string]any)
			wantMembers(t, first, fields{"what": "client_secret", "ends_at": at.Format(time.RFC3339), "days_left": float64(50)})
		})
	}
	for _, step := range []struct {
		after time.Duration
		says  string
	}{
		{30 * day, "client_secret ends on 2026-02-21, in 20 days: have the provider issue another"},
		{21 * day, "client_secret ended on 2026-02-21"},
	} {
		e.clock.advance(step.after)
		warned(t, e.read(t, "status/c"), step.says)
		warned(t, e.read(t, "config/c"), step.says)
	}
	e.must(t, "config/c", fields{"client_secret_expires_at": "0"})
	warned(t, e.read(t, "config/c"))
	refused(t, e.write(t, "config/c", fields{"client_secret_expires_at": "next year"}), http.StatusBadRequest, "client_secret_expires_at must be a time")
}

func TestTheEndOfACertificateIsTold(t *testing.T) {
	e := mount(t)
	e.must(t, "key/k", fields{"algorithm": "ES256"})
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", with(standard(s), fields{"tls_key": "k"}))
	warned(t, e.read(t, "config/c"))
	e.clock.advance(2*365*day - 10*day)
	const says = "the certificate of tls_key ends on 2028-01-02, in 10 days: rotate key \"k\", or write a new one to key/k/certificate"
	warned(t, e.read(t, "config/c"), says)
	warned(t, e.read(t, "status/c"), says)
	warned(t, e.read(t, "key/k"), "the certificate of the version that signs ends on 2028-01-02")
}
