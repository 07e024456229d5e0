// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package providertest

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// ask is one request to a token or revocation endpoint.
type ask struct {
	method string
	query  string
	header map[string]string
	body   string
}

// answer is the response to an ask.
type answer struct {
	status int
	header http.Header
	body   string
}

// member returns a string member of the answer's JSON, found by a path of
// names.
func (a answer) member(t *testing.T, path ...string) string {
	t.Helper()
	var value any
	if err := json.Unmarshal([]byte(a.body), &value); err != nil {
		t.Fatalf("answer is not JSON: %v\n%s", err, a.body)
	}
	for _, name := range path {
		members, _ := value.(map[string]any)
		value = members[name]
	}
	text, _ := value.(string)
	return text
}

func send(t *testing.T, s *Server, target string, a ask) (answer, error) {
	t.Helper()
	if a.method == "" {
		a.method = http.MethodPost
	}
	if a.query != "" {
		target += "?" + a.query
	}
	r, err := http.NewRequestWithContext(t.Context(), a.method, target, strings.NewReader(a.body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range a.header {
		r.Header.Set(name, value)
	}
	response, err := s.Client().Do(r)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header, string(body)}, err
}

func mustSend(t *testing.T, s *Server, target string, a ask) answer {
	t.Helper()
	got, err := send(t, s, target, a)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// pairs makes url.Values from alternating names and values.
func pairs(nameValues ...string) url.Values {
	values := url.Values{}
	for i := 0; i < len(nameValues); i += 2 {
		values.Add(nameValues[i], nameValues[i+1])
	}
	return values
}

// with returns a copy of the form with more pairs added.
func with(form url.Values, nameValues ...string) url.Values {
	form = maps.Clone(form)
	for i := 0; i < len(nameValues); i += 2 {
		form[nameValues[i]] = append(append([]string{}, form[nameValues[i]]...), nameValues[i+1])
	}
	return form
}

func without(form url.Values, name string) url.Values {
	form = maps.Clone(form)
	form.Del(name)
	return form
}

func replaced(form url.Values, name, value string) url.Values {
	return with(without(form, name), name, value)
}

func posted(form url.Values) ask {
	return ask{header: map[string]string{"Content-Type": formType}, body: form.Encode()}
}

func (a ask) set(name, value string) ask {
	a.header = maps.Clone(a.header)
	a.header[name] = value
	return a
}

func (a ask) via(method string) ask      { a.method = method; return a }
func (a ask) withQuery(query string) ask { a.query = query; return a }

func rawBasic(c Credentials) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(c.ClientID+":"+c.ClientSecret))
}

func escapedBasic(c Credentials) string {
	return rawBasic(Credentials{ClientID: url.QueryEscape(c.ClientID), ClientSecret: url.QueryEscape(c.ClientSecret)})
}

// clientForm returns the form of a dialect that expects the client credentials in the
// body.
func clientForm(d Dialect, nameValues ...string) url.Values {
	c := DefaultCredentials(d)
	return with(pairs("client_id", c.ClientID, "client_secret", c.ClientSecret), nameValues...)
}

func passwordForm(d Dialect) url.Values {
	c := DefaultCredentials(d)
	return clientForm(d, "grant_type", "password", "username", c.Username, "password", c.Password)
}

func jsonAsk(body string) ask {
	return ask{header: map[string]string{"Content-Type": jsonType, "Accept": jsonType}, body: body}
}

func xcoverBody(grant, id, secret string) string {
	raw, _ := json.Marshal(map[string]string{"grant_type": grant, "client_id": id, "client_secret": secret})
	return string(raw)
}

// good returns the plain documented request of each dialect.
func good(d Dialect) ask {
	c := DefaultCredentials(d)
	switch d {
	case Antsomi:
		return posted(clientForm(d, "grant_type", "client_credentials", "scope", "item,event"))
	case Cognito:
		return posted(pairs("grant_type", "client_credentials", "scope", "api/write")).set("Authorization", rawBasic(c))
	case Fuuffy:
		return posted(clientForm(d))
	case Semansys:
		return posted(passwordForm(d))
	case XCover:
		return jsonAsk(xcoverBody("client_credentials", c.ClientID, c.ClientSecret))
	default:
		return posted(pairs("grant_type", "client_credentials", "scope", "read write")).set("Authorization", escapedBasic(c))
	}
}

var noon = time.Date(2026, 1, 2, 12, 0, 0, 643_123_000, time.UTC)

func fixedClock() time.Time { return noon }
