// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// window is how many consecutive characters of a secret count as a leak, and
// hexWindow how many digits of a text in hex. Ten such digits say too little: the
// audit log is full of them, and some are those of a secret by chance.
const (
	window    = 10
	hexWindow = 2 * window
)

// detective knows secrets, and finds any part of them in a text: unchanged, in
// upper or lower case, in base64 at any alignment, and in hex. Percent-encoding
// and JSON escapes do not change letters and digits, so they need no form of
// their own.
type detective struct {
	windows map[string]string // to the secret's name
}

func newDetective() *detective { return &detective{windows: map[string]string{}} }

// secret returns a new secret that the detective will recognise. It is full of
// characters that encoders change.
func (d *detective) secret(name string) string {
	word := rand.Text()
	d.know(name, word)
	return "+&" + word + `=% "ü🔑/` + "\\"
}

// word returns a new secret of letters and digits only.
func (d *detective) word(name string) string {
	word := rand.Text()
	d.know(name, word)
	return word
}

// know adds a text to look for.
func (d *detective) know(name, text string) {
	forms := []string{text, strings.ToLower(text), strings.ToUpper(text), hex.EncodeToString([]byte(text))}
	for skip := range 3 {
		encoded := base64.StdEncoding.EncodeToString([]byte(text[skip : len(text)-(len(text)-skip)%3]))
		forms = append(forms, encoded, strings.NewReplacer("+", "-", "/", "_").Replace(encoded))
	}
	for _, form := range forms {
		for i := 0; i+window <= len(form); i++ {
			length := window
			if len(form) >= hexWindow && isHex(form[i:i+window]) {
				length = hexWindow
			}
			if i+length <= len(form) {
				d.windows[form[i:i+length]] = name
			}
		}
	}
}

func isHex(text string) bool { return strings.Trim(text, "0123456789abcdefABCDEF") == "" }

// at returns the name of the secret that a text has a part of, from i on.
func (d *detective) at(text string, i int) (name string, there bool) {
	for _, length := range []int{window, hexWindow} {
		if i+length <= len(text) && !there {
			name, there = d.windows[text[i:i+length]]
		}
	}
	return name, there
}

// search reports each secret found in a text once.
func (d *detective) search(t *testing.T, where, text string) {
	t.Helper()
	found := map[string]bool{}
	for i := range len(text) {
		name, there := d.at(text, i)
		if !there || found[name] {
			continue
		}
		found[name] = true
		t.Errorf("%s gives away %s: …%s…", where, name, text[max(0, i-200):min(len(text), i+100)])
	}
}

// finds reports whether any part of a secret is in a text.
func (d *detective) finds(text string) bool {
	for i := range len(text) {
		if _, there := d.at(text, i); there {
			return true
		}
	}
	return false
}

// searchLogs searches everything that the server has logged.
func (d *detective) searchLogs(t *testing.T, v *harness.Vault) {
	t.Helper()
	log, audit := v.Log(), v.AuditLog()
	if len(log) == 0 || len(audit) == 0 {
		t.Error("there is no log to look into")
	}
	d.search(t, "the server's log", log)
	d.search(t, "the audit log", audit)
}

// ask makes a request whose answer must not contain a secret.
func (d *detective) ask(t *testing.T, v *harness.Vault, method, path string, body any) reply {
	t.Helper()
	r := ask(t, v, method, path, body)
	d.search(t, fmt.Sprintf("the answer to %s %s", method, path), fmt.Sprint(r.raw, r.header))
	return r
}

// command runs a vault command whose output must not contain a secret.
func (d *detective) command(t *testing.T, v *harness.Vault, args ...string) harness.Result {
	t.Helper()
	r := v.CLI(args...)
	d.search(t, "vault "+strings.Join(args[:2], " "), r.Stdout+r.Stderr)
	return r
}

// rounds requests everything that the engine tells about a config.
func (d *detective) rounds(t *testing.T, v *harness.Vault, config string) {
	t.Helper()
	d.ask(t, v, http.MethodGet, "oauthcc/token/"+config, nil)
	d.ask(t, v, http.MethodGet, "oauthcc/token/"+config, nil) // the remembered result
	d.ask(t, v, http.MethodPost, "oauthcc/token/"+config, nil)
	d.ask(t, v, http.MethodPost, "oauthcc/check/"+config, nil)
	d.ask(t, v, http.MethodGet, "oauthcc/status/"+config, nil).wants(t, http.StatusOK)
	d.ask(t, v, http.MethodGet, "oauthcc/config/"+config, nil).wants(t, http.StatusOK)
}

func TestDetective(t *testing.T) {
	t.Parallel()
	d := newDetective()
	secret := d.secret("it")
	for name, text := range map[string]string{
		"as it is":    "x" + secret,
		"in part":     secret[7:18],
		"lower case":  strings.ToLower(secret),
		"base64":      base64.StdEncoding.EncodeToString([]byte("id:" + secret)),
		"base64 at 1": base64.RawURLEncoding.EncodeToString([]byte("id:1" + secret)),
		"base64 at 2": base64.StdEncoding.EncodeToString([]byte("id:12" + secret)),
		"hex":         hex.EncodeToString([]byte(secret)),
		"hex in part": hex.EncodeToString([]byte(secret))[11:50],
	} {
		if !d.finds(text) {
			t.Errorf("not found %s", name)
		}
	}
	d.search(t, "an innocent text", "hmac-sha256:"+rand.Text()+rand.Text())
}
