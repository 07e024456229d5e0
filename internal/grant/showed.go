// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// showed is what the client showed of itself, as far as it is public: providers
// tell their clients no more than that they are refused, so that the operator
// has to compare it with the client's registration. It is "" for a secret.
func (r Request) showed(redact redactor, now time.Time) string {
	var out []string
	if r.ClientAssertion != nil {
		out = append(out, r.ClientAssertion.showed(redact))
	}
	if tls := r.Auth == AuthTLS || r.Auth == AuthSelfSignedTLS; len(r.Certificates) > 0 && (tls || now.After(r.Certificates.Ends())) {
		out = append(out, r.Connection.showed(now))
	}
	return strings.Join(out, ", and ")
}

// showed names what a server looks at in an assertion.
func (a Assertion) showed(redact redactor) string {
	said := func(v any) string {
		if text := fmt.Sprint(v); !redact.leaks(text) {
			return strconv.Quote(printable(text))
		}
		return withheld
	}
	headers := map[string]any{"typ": a.typ(), "kid": a.KeyID}
	maps.Copy(headers, a.Headers)
	audience := a.Audience
	if v, own := a.Claims["aud"]; own {
		audience = v
	}
	out := "an assertion signed with " + string(a.Algorithm)
	for _, member := range []struct {
		name  string
		value any
	}{{"kid", headers["kid"]}, {"typ", headers["typ"]}, {"aud", audience}} {
		if member.value != nil && member.value != "" {
			out += ", " + member.name + " " + said(member.value)
		} else {
			out += ", no " + member.name
		}
	}
	var own []string
	for _, name := range slices.Sorted(maps.Keys(a.Claims)) {
		if name != "aud" {
			own = append(own, printable(name))
		}
	}
	if len(own) > 0 {
		out += ", and as assertion_claims has them " + strings.Join(own, ", ")
	}
	return out
}

// showed names the certificate that the client presents.
func (c Connection) showed(now time.Time) string {
	verb, ends := "ends", c.Certificates.Ends().UTC()
	if now.After(ends) {
		verb = "ended"
	}
	return fmt.Sprintf("the certificate of %q, which %s on %s", printable(c.Certificates[0].Subject.String()), verb, ends.Format(time.RFC3339))
}
