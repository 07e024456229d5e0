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

// showed describes what the client showed of itself, as far as it is public.
// Providers often tell a client no more than that it is refused, so the
// operator has to compare this text with the client's registration. It is "" if
// the client showed only a secret. ofCertificate is true if the provider's
// error speaks of a certificate.
func (r Request) showed(redact redactor, now time.Time, ofCertificate bool) string {
	var out []string
	if r.ClientAssertion != nil {
		out = append(out, r.ClientAssertion.showed(redact))
	}
	if r.GrantAssertion != nil {
		out = append(out, r.GrantAssertion.showed(redact, "iss", "sub"))
	}
	ofTLS := ofCertificate && len(out) == 0 // otherwise the error means the certificate of the assertion's key
	presents := len(r.Certificates) > 0
	switch {
	case presents && (ofTLS || r.Auth == AuthTLS || r.Auth == AuthSelfSignedTLS || now.After(r.Certificates.Ends())):
		out = append(out, r.Connection.showed(now))
	case ofTLS && !presents:
		out = append(out, "no TLS client certificate")
	}
	return strings.Join(out, ", and ")
}

// showed describes the parts of an assertion that a server checks, and the
// claims whose names are given in more.
func (a Assertion) showed(redact redactor, more ...string) string {
	headers := a.headers()
	claims := map[string]any{"iss": a.Issuer, "sub": a.Subject, "aud": a.Audience}
	maps.Copy(claims, a.Claims)
	out := "an assertion signed with " + string(a.Algorithm)
	add := func(name string, value any) {
		text := fmt.Sprint(value)
		switch {
		case value == nil || value == "":
			out += ", no " + name
		case redact.leaks(text):
			out += ", " + name + " " + withheld
		default:
			out += ", " + name + " " + strconv.Quote(printable(text))
		}
	}
	add("kid", headers["kid"])
	add("typ", headers["typ"])
	for _, name := range []string{"x5t", "x5t#S256"} {
		if headers[name] != nil {
			add(name, headers[name])
		}
	}
	told := append([]string{"aud"}, more...)
	for _, name := range told {
		add(name, claims[name])
	}
	var own []string
	for _, name := range slices.Sorted(maps.Keys(a.Claims)) {
		if !slices.Contains(told, name) {
			own = append(own, printable(name))
		}
	}
	if len(own) > 0 {
		out += ", and as assertion_claims has them " + strings.Join(own, ", ")
	}
	return out
}

// showed describes the certificate that the client presents.
func (c Connection) showed(now time.Time) string {
	verb, ends := "ends", c.Certificates.Ends().UTC()
	if now.After(ends) {
		verb = "ended"
	}
	return fmt.Sprintf("the certificate of %q, which %s on %s", printable(c.Certificates[0].Subject.String()), verb, ends.Format(time.RFC3339))
}
