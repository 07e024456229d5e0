// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"io"
	"net/http"
	"testing"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// invented runs a token endpoint that answers with what f returns for each request.
func invented(t *testing.T, f func(r *http.Request, body string) string) *providertest.Server {
	t.Helper()
	return inventedOver(t, nil, f)
}

func inventedOver(t *testing.T, w *providertest.Wire, f func(r *http.Request, body string) string) *providertest.Server {
	t.Helper()
	return providertest.StartFuncOver(t, w, "/token", func(w http.ResponseWriter, r *http.Request, body []byte) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, f(r, string(body))) // the client may be gone
	})
}
