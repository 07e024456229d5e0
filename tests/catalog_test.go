// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// documentedSuccess is the success of a provider's transcript: the config that
// an operator writes, and the provider's answer. The tests of internal/provider
// replay the transcript to check that the request is right.
type documentedSuccess struct {
	Now    time.Time `json:"now"`
	Config fields    `json:"config"`
	Answer struct {
		Status  int               `json:"status"`
		Headers map[string]string `json:"headers"`
		Body    string            `json:"body"`
		JSON    any               `json:"json"`
	} `json:"answer"`
	Token *struct {
		AccessToken string `json:"access_token"`
	} `json:"token"`
}

// TestCatalog mints a token at every built-in provider. Each config sets only
// the fields that the provider requires, the address of a test server instead
// of the provider's, and that server's CA. The test generates the keys and
// certificates.
func TestCatalog(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{})
	answers, keys := map[string]documentedSuccess{}, providertest.Keys{}
	answer := func(w http.ResponseWriter, r *http.Request, _ []byte) {
		x := answers[strings.Trim(r.URL.Path, "/")].Answer
		for name, value := range x.Headers {
			w.Header().Set(name, value)
		}
		w.WriteHeader(x.Status)
		_, _ = w.Write([]byte(x.Body)) // a client that has gone away reports the failure itself
	}
	plain := providertest.StartFunc(t, "/", answer)
	certified, err := providertest.NewFunc("/", providertest.Options{TLS: true}, func(w http.ResponseWriter, r *http.Request, body []byte) {
		if len(r.TLS.PeerCertificates) == 0 {
			http.Error(w, "no certificate", http.StatusUnauthorized)
			return
		}
		answer(w, r, body)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(certified.Close)
	files, err := filepath.Glob("../internal/provider/testdata/*.json")
	if err != nil || len(files) < 100 {
		t.Fatalf("%d transcripts, %v", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		answers[name] = successOf(t, file)
	}
	standard(t, v, "source", providertest.Options{}, fields{"source_for": slices.Collect(maps.Keys(answers))})
	for name, x := range answers {
		t.Run(name, func(t *testing.T) {
			v := v.For(t)
			config := fields{"provider": name, "token_url": plain.URL() + "/" + name}
			if x.Config["tls_client_key"] != nil {
				config["token_url"], config["tls_ca_certificate"] = certified.URL()+"/"+name, certified.CACertificate()
			}
			required, _ := read(t, v, "oauthcc/provider/"+name).Data["required"].([]any)
			for _, field := range required {
				supply(t, config, x.Config, field.(string)) //nolint:forcetypeassert // a list of strings
			}
			if config["source_config"] != nil {
				config["source_config"] = "source"
			}
			config, err := keys.Fill(config)
			if err != nil {
				t.Fatal(err)
			}
			v.Write("oauthcc/config/"+name, config)
			if got := read(t, v, "oauthcc/token/"+name).text(t, "access_token"); got != x.Token.AccessToken {
				t.Errorf("got another token than the documented one")
			}
		})
	}
}

// successOf reads a transcript's first success, with its times moved to the
// present.
func successOf(t *testing.T, file string) documentedSuccess {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var script struct {
		Exchanges []documentedSuccess `json:"exchanges"`
	}
	if err := json.Unmarshal(raw, &script); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	for _, x := range script.Exchanges {
		if x.Token == nil {
			continue
		}
		by := time.Since(x.Now)
		x.Token.AccessToken = moveText(x.Token.AccessToken, by)
		x.Answer.Body = moveText(x.Answer.Body, by)
		if x.Answer.JSON != nil {
			moved, err := json.Marshal(moveTo(x.Answer.JSON, by))
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			x.Answer.Body = string(moved)
		}
		return x
	}
	t.Fatalf("%s shows no success", file)
	return documentedSuccess{}
}

// moveTo adds by to the times in an answer, so that the token of an old
// document has not expired. A number counts as a time only if it cannot be
// anything else.
func moveTo(v any, by time.Duration) any {
	switch v := v.(type) {
	case map[string]any:
		for name, item := range v {
			v[name] = moveTo(item, by)
		}
	case []any:
		for i, item := range v {
			v[i] = moveTo(item, by)
		}
	case string:
		return moveText(v, by)
	case float64:
		switch {
		case v > 1e12 && v < 1e13:
			return math.Round(v + float64(by.Milliseconds()))
		case v > 1e9 && v < 1e10:
			return math.Round(v + by.Seconds())
		}
	}
	return v
}

// momentInXML matches a time that is the whole text of an XML element.
var momentInXML = regexp.MustCompile(`>\d{4}-\d\d-\d\dT[^<]+<`)

// moveText moves a time, or the times in XML or a JWT. Nobody checks the JWT's
// signature.
func moveText(text string, by time.Duration) string {
	if strings.HasPrefix(text, "<") {
		return momentInXML.ReplaceAllStringFunc(text, func(found string) string {
			return ">" + moveText(found[1:len(found)-1], by) + "<"
		})
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at.Add(by).Format(time.RFC3339)
	}
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return text
	}
	var claims map[string]any
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(payload, &claims) != nil || claims["exp"] == nil {
		return text
	}
	moved, err := json.Marshal(moveTo(claims, by))
	if err != nil {
		return text
	}
	parts[1] = base64.RawURLEncoding.EncodeToString(moved)
	return strings.Join(parts, ".")
}

// supply sets a required field of a config to the transcript's value.
func supply(t *testing.T, config, transcript fields, field string) {
	t.Helper()
	group, variable, isVariable := strings.Cut(field, ".")
	if field == "token_url" || field == "source_hosts" {
		return // the test server's own URL is used
	}
	if !isVariable {
		if config[field] = transcript[field]; config[field] == nil {
			t.Fatalf("the transcript has no %s", field)
		}
		return
	}
	given, _ := transcript[group].(map[string]any)
	if given[variable] == nil {
		t.Fatalf("the transcript has no %s", field)
	}
	values, _ := config[group].(map[string]any)
	if values == nil {
		values = fields{}
		config[group] = values
	}
	values[variable] = given[variable]
}
