// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/textproto"
	"strings"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
)

// media is the kind of text that a request_body holds.
type media struct {
	escape string   // the filter that escapes any value
	safe   []string // the filters whose results need no escaping
}

// mediaOf returns the media of a Content-Type.
func mediaOf(contentType string) media {
	digits := []string{"number", "hex", "base64url", "uuid", "unix", "unix_ms"}
	quotable := append(digits, "base64", "rfc3339")
	t, _, _ := mime.ParseMediaType(contentType) // an unreadable type counts as unknown
	switch {
	case t == "application/json" || strings.HasSuffix(t, "+json"):
		return media{escape: "json", safe: quotable}
	case t == "application/xml" || t == "text/xml" || strings.HasSuffix(t, "+xml"):
		return media{escape: "xml", safe: quotable}
	case t == "application/x-www-form-urlencoded":
		return media{escape: "urlencode", safe: digits}
	default:
		return media{escape: "base64", safe: append(quotable, "json", "xml", "urlencode")}
	}
}

// contentType returns the Content-Type among request_headers, or "" if there is
// none.
func contentType(headers map[string]string) string {
	for name, v := range headers {
		if textproto.CanonicalMIMEHeaderKey(name) == "Content-Type" {
			return v
		}
	}
	return ""
}

// checkBody checks request_body. Each placeholder in it must end in a filter
// that escapes the value, so that no value can change the rest of the body.
// Settings that would not be sent beside a request_body are refused.
func (e *Effective) checkBody() error {
	d := e.Dialect
	if d.RequestFormat != string(grant.Template) {
		if d.RequestBody != "" {
			return invalid("request_body", "is only sent with request_format=template: set that as well, or leave request_body out")
		}
		return nil
	}
	t, err := parseTemplate(d.RequestBody)
	if err == nil {
		err = e.env.check(t)
	}
	if err != nil {
		return invalid("request_body", "%s", err)
	}
	of := contentType(textMap(d.RequestHeaders))
	if len(t) > 0 && of == "" {
		return invalid("request_headers", "must hold a Content-Type for the request_body, such as Content-Type=application/json")
	}
	m := mediaOf(of)
	for _, p := range t {
		if p.name != "" && !p.ends(append(m.safe, m.escape)...) {
			return invalid("request_body", "has %s without an escaping filter at its end: write %s|%s}, so that a value cannot become more than one value", p.source, strings.TrimSuffix(p.source, "}"), m.escape)
		}
	}
	return e.checkNothingIsLost()
}

// checkNothingIsLost refuses a request_body that leaves out something that the
// config asks to send, or that its grant type or authentication method sends.
func (e *Effective) checkNothingIsLost() error {
	d := e.Dialect
	for field, params := range map[string]map[string]any{"parameters": d.Parameters, "secret_parameters": e.registration.SecretParameters} {
		if len(params) > 0 {
			return invalid(field, "is not sent with request_format=template: put it into request_body, as a placeholder if its value varies")
		}
	}
	if d.ResourceURL != "" {
		return invalid("resource_url", "is not sent with request_format=template: put the resource into request_body, and write issuer instead")
	}
	sent := e.sentNames()
	if (len(d.Scopes) > 0 || d.ScopesRequired) && !sent[nameScope] {
		return invalid("scopes", "are not sent with request_format=template: put {scope} into request_body, or leave scopes out")
	}
	for _, name := range grant.Sends(d.GrantType, grant.AuthMethod(d.AuthMethod)) {
		switch {
		case name == grant.ParamClientID, name == grant.ParamClientAssertionType, name == grant.ParamRefreshToken && d.GrantType == grant.GrantPassword:
		case !sent[name]:
			return invalid("request_body", "must name {%s}, because nothing else sends it with request_format=template: put it there or into request_headers, or choose another token_endpoint_auth_method or grant_type", name)
		}
	}
	return nil
}

// body returns request_body with its placeholders filled in.
func (e *Effective) body(expand func(string) (string, bool, error)) (string, error) {
	if e.Dialect.RequestFormat != string(grant.Template) {
		return "", nil
	}
	text, set, err := expand(e.Dialect.RequestBody)
	if err == nil && !set {
		err = errors.New("names an optional variable that is not set, so there is no body to send: give the variable a default")
	}
	if err != nil {
		return "", invalid("request_body", "%s", err)
	}
	return text, nil
}

// checkBodyText refuses a filled-in body that is not valid JSON or XML where its
// Content-Type says that it is.
func checkBodyText(r grant.Request) error {
	if r.Body == "" {
		return nil
	}
	of := contentType(r.Headers)
	switch mediaOf(of).escape {
	case "json":
		if !json.Valid([]byte(r.Body)) {
			return invalid("request_body", "is not JSON once its placeholders are filled in: {name|json} writes its own quotes, all other text needs them")
		}
	case "xml":
		if err := wellFormed(r.Body); err != nil {
			return invalid("request_body", "is not well-formed XML once its placeholders are filled in (line %d)", err.Line)
		}
	}
	return nil
}

// wellFormed returns the first syntax error in the XML text, or nil if the text
// is well formed.
func wellFormed(text string) *xml.SyntaxError {
	dec := xml.NewDecoder(strings.NewReader(text))
	dec.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	for elements := 0; ; {
		token, err := dec.Token()
		var syntax *xml.SyntaxError
		switch {
		case errors.Is(err, io.EOF) && elements > 0:
			return nil
		case errors.As(err, &syntax):
			return syntax
		case err != nil:
			line, _ := dec.InputPos()
			return &xml.SyntaxError{Msg: fmt.Sprint(err), Line: line}
		}
		if _, begins := token.(xml.StartElement); begins {
			elements++
		}
	}
}
