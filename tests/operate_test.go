// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"crypto/x509/pkix"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// rowsByConfig reads the status of the mount as an operator does. It also returns
// the configs in the order of their rows.
func rowsByConfig(t *testing.T, v *harness.Vault, args ...string) (rows map[string]fields, order []string) {
	t.Helper()
	rows = map[string]fields{}
	list, _ := member(commandJSON(t, v, append([]string{"read", "oauthcc/status"}, args...)...), "data", "configs").([]any)
	for _, row := range list {
		row, _ := row.(fields)
		name := fmt.Sprint(row["config"])
		rows[name], order = row, append(order, name)
	}
	return rows, order
}

// keepsItsToken waits until a reader who wants a younger token gets the old one,
// with a warning that says why. No younger one is minted for its sake within ten
// seconds, and the token lasts an hour less ten seconds.
func keepsItsToken(t *testing.T, v *harness.Vault, config, token, why string) {
	t.Helper()
	harness.Eventually(t, 90*time.Second, func() error {
		r := read(t, v, "oauthcc/token/"+config+"?min_ttl=3580")
		if got := r.accessToken(); got != token {
			t.Fatal("the reader got another token")
		}
		if !r.warned(why) {
			return fmt.Errorf("no warning of %q: %q", why, r.Warnings)
		}
		return nil
	})
}

// TestABudgetIsKept spends mints_per_hour on a real server.
func TestABudgetIsKept(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{})
	s := standard(t, v, "c", providertest.Options{}, fields{"scopes": "read,write", "mints_per_hour": 2})
	spent := func(t *testing.T) {
		t.Helper()
		row, _ := rowsByConfig(t, v)
		one, _ := member(commandJSON(t, v, "read", "oauthcc/status/c"), "data").(fields)
		for where, data := range map[string]fields{"status": row["c"], "status/c": one} {
			if data["mints_last_hour"] != 2.0 || data["mints_per_hour"] != 2.0 {
				t.Errorf("%s tells of %v mints of %v, want 2 of 2", where, data["mints_last_hour"], data["mints_per_hour"])
			}
		}
		if s.Requests() != 2 {
			t.Errorf("the provider saw %d requests, want 2", s.Requests())
		}
	}
	read(t, v, "oauthcc/token/c")
	v.MustCLI("write", "-f", "oauthcc/check/c") // a check counts
	token := read(t, v, "oauthcc/token/c").accessToken()
	spent(t)

	const used = "no token is minted: its mints_per_hour of 2 is used up; one more can be minted in "
	keepsItsToken(t, v, "c", token, used)
	if rows, _ := rowsByConfig(t, v); rows["c"]["state"] != "old token" || rows["c"]["last_error"] != "budget: wait, or raise mints_per_hour" {
		t.Errorf("the row is %v", rows["c"])
	}
	if got := told(v.CLI("write", "-f", "oauthcc/check/c")); !regexp.MustCompile(`^config "c": ` + used + `(1h)?\d*m?\d*s?: wait, or raise mints_per_hour$`).MatchString(got) {
		t.Errorf("check says %s", got)
	}
	refused := func(t *testing.T) reply {
		t.Helper()
		r := ask(t, v, http.MethodGet, "oauthcc/token/c?scopes=read", nil)
		r.wants(t, http.StatusTooManyRequests, used, "next attempt from ")
		return r
	}
	if got := refused(t).header.Get("Retry-After"); got != "" {
		t.Errorf("Retry-After is %q, though the mount does not allow it", got)
	}
	v.MustCLI("secrets", "tune", "-allowed-response-headers=Retry-After", "oauthcc/")
	comesBack := func(t *testing.T, r reply, atMost int) {
		t.Helper()
		if n, err := strconv.Atoi(r.header.Get("Retry-After")); err != nil || n < 1 || n > atMost {
			t.Errorf("Retry-After is %q, want at most %d", r.header.Get("Retry-After"), atMost)
		}
	}
	comesBack(t, refused(t), 3660)
	t.Run("the provider's own limit says so too", func(t *testing.T) {
		v := v.For(t)
		write(t, v, "oauthcc/config/rate", behaving(providertest.Behavior{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"120"}}}, nil)(t))
		for range 2 { // the second time from memory
			r := ask(t, v, http.MethodGet, "oauthcc/token/rate", nil)
			r.wants(t, http.StatusTooManyRequests, "left alone for 2m")
			comesBack(t, r, 120)
		}
	})

	crash(t, v) // which gives no new budget
	spent(t)
	comesBack(t, refused(t), 3660)
	if got := read(t, v, "oauthcc/token/c").accessToken(); got != token {
		t.Error("the crash cost the token")
	}
	spent(t)

	write(t, v, "oauthcc/config/c", fields{"mints_per_hour": 3})
	issuedBy(t, s, read(t, v, "oauthcc/token/c?scopes=read").accessToken())
	if s.Requests() != 3 {
		t.Errorf("the provider saw %d requests, want 3", s.Requests())
	}
}

// TestTheStatusOfAMountHasTheWorstFirst brings each state about.
func TestTheStatusOfAMountHasTheWorstFirst(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{})
	soon := time.Now().Add(20 * 24 * time.Hour).Truncate(time.Second).UTC()
	old := standard(t, v, "an-old-token", providertest.Options{}, nil)
	standard(t, v, "ends", providertest.Options{}, fields{"client_secret_expires_at": soon.Format(time.RFC3339)})
	standard(t, v, "fine", providertest.Options{}, nil)
	standard(t, v, "unused", providertest.Options{}, nil)
	write(t, v, "oauthcc/config/zz-wrong", behaving(providertest.Behavior{}, fields{"client_secret": "not the right one"})(t))

	token := read(t, v, "oauthcc/token/an-old-token").accessToken()
	read(t, v, "oauthcc/token/ends")
	read(t, v, "oauthcc/token/fine")
	ask(t, v, http.MethodGet, "oauthcc/token/zz-wrong", nil).wants(t, http.StatusBadRequest)
	old.Behave(providertest.Behavior{Times: -1, Status: http.StatusInternalServerError, Body: "{}"})
	keepsItsToken(t, v, "an-old-token", token, "the provider is out of order: come back later")

	want := []string{"zz-wrong", "an-old-token", "ends", "unused", "fine"}
	rows, order := rowsByConfig(t, v)
	if !slices.Equal(order, want) {
		t.Errorf("the order is %q, want %q", order, want)
	}
	for config, state := range map[string]string{"zz-wrong": "failing", "an-old-token": "old token", "ends": "ok", "unused": "never minted", "fine": "ok"} {
		row := rows[config]
		if row["state"] != state {
			t.Errorf("%s is %v, want %s", config, row["state"], state)
		}
		_, fails := row["last_error"]
		_, attempt := row["next_attempt"]
		_, refresh := row["next_refresh"]
		_, expires := row["token_expires_at"]
		if bad := state == "failing" || state == "old token"; fails != bad || attempt != bad || refresh != (state == "ok") || expires != (state == "ok" || state == "old token") {
			t.Errorf("the row of %s is %v", config, row)
		}
	}
	if ends, _ := rows["ends"]["ends"].([]any); len(ends) != 1 || member(ends[0], "what") != "client_secret" || member(ends[0], "ends_at") != soon.Format(time.RFC3339) {
		t.Errorf("what ends is %v", rows["ends"]["ends"])
	}
	all, _ := member(commandJSON(t, v, "read", "oauthcc/status"), "data").(fields)
	if all["total"] != 5.0 || all["ends_soon"] != 1.0 || !same(all["states"], fields{"failing": 1, "old token": 1, "never minted": 1, "ok": 2}) {
		t.Errorf("in all: %v of %v, %v end soon", all["states"], all["total"], all["ends_soon"])
	}
	for window, part := range map[string][]string{"limit=2": want[:2], "limit=2 offset=2": want[2:4], "offset=4": want[4:], "offset=5": nil} {
		if _, order := rowsByConfig(t, v, strings.Fields(window)...); !slices.Equal(order, part) {
			t.Errorf("%s: the rows are %q, want %q", window, order, part)
		}
	}
	t.Run("a token that may read only this reads nothing else", func(t *testing.T) {
		v := v.For(t)
		v.Policy("watcher", `path "oauthcc/status" { capabilities = ["read"] }`)
		watcher := v.TokenWith("watcher")
		r := askAs(t, v, watcher, http.MethodGet, "oauthcc/status?limit=1", nil)
		r.wants(t, http.StatusOK)
		if list, _ := r.Data["configs"].([]any); len(list) != 1 || member(list[0], "config") != "zz-wrong" {
			t.Errorf("got %s", r.raw)
		}
		for _, path := range []string{"status/fine", "token/fine", "config/fine", "metrics", "info"} {
			askAs(t, v, watcher, http.MethodGet, "oauthcc/"+path, nil).wants(t, http.StatusForbidden)
		}
		askAs(t, v, watcher, http.MethodPost, "oauthcc/check/fine", nil).wants(t, http.StatusForbidden)
	})
}

// TestWhatEndsIsToldInTime: a secret and a certificate that end in 20 days are
// told wherever an operator looks.
func TestWhatEndsIsToldInTime(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{})
	soon := time.Now().Add(20*24*time.Hour + time.Hour).Truncate(time.Second).UTC()
	key := newKey(t, "P-256")
	s := standard(t, v, "billing", providertest.Options{}, fields{"client_secret_expires_at": soon.Format(time.RFC3339)})
	standard(t, v, "payroll", providertest.Options{}, shows(t, selfSigned(t, pkix.Name{CommonName: "payroll"}, key, soon), key))
	standard(t, v, "later", providertest.Options{}, fields{"client_secret_expires_at": soon.Add(90 * 24 * time.Hour).Format(time.RFC3339)})
	what := map[string]string{"billing": "client_secret", "payroll": "the certificate of tls_client_certificate"}

	rows, _ := rowsByConfig(t, v)
	for config, what := range what {
		want := []any{fields{"what": what, "ends_at": soon.Format(time.RFC3339), "days_left": 20}}
		if !same(rows[config]["ends"], want) {
			t.Errorf("the row of %s tells of %v, want %v", config, rows[config]["ends"], want)
		}
		for _, path := range []string{"status/" + config, "config/" + config} {
			if r := read(t, v, "oauthcc/"+path); !r.warned(what + " ends on " + soon.Format(time.DateOnly) + ", in 20 days: ") {
				t.Errorf("%s does not warn: %q", path, r.Warnings)
			}
		}
	}

	lines := func(config string) int { // in the log; the order of a line's fields varies
		n := 0
		for line := range strings.Lines(v.Log()) {
			if strings.Contains(line, "[WARN]") && strings.Contains(line, "a secret or certificate ends soon") && strings.Contains(line, " config="+config+" ") {
				n++
				for _, part := range []string{what[config], " ends_at=" + soon.Format(time.RFC3339), " days_left=20", ` remedy="`} {
					if !strings.Contains(line, part) {
						t.Errorf("the log does not say %q: %s", part, line)
					}
				}
			}
		}
		return n
	}
	harness.Eventually(t, 4*time.Minute, func() error { // Vault calls the engine once a minute
		for config := range what {
			if lines(config) == 0 {
				return fmt.Errorf("the log does not tell what ends of %s", config)
			}
		}
		return nil
	})
	metric := func(config string) string {
		_, metrics := v.Status(http.MethodGet, "oauthcc/metrics", nil, v.RootToken())
		found := regexp.MustCompile(fmt.Sprintf(`(?m)^oauthcc_ends_in_seconds\{config=%q,what="([^"]+)"\} (\S+)$`, config)).FindStringSubmatch(string(metrics))
		if found == nil {
			return ""
		}
		return found[1] + " in " + found[2]
	}
	for _, next := range []string{"next", "last"} { // when last is known, the minute of next is over
		standard(t, v, next, providertest.Options{}, fields{"client_secret_expires_at": soon.Format(time.RFC3339)})
		harness.Eventually(t, 4*time.Minute, func() error {
			if metric(next) == "" {
				return fmt.Errorf("the metrics do not know %s", next)
			}
			return nil
		})
	}
	for config := range what {
		if n := lines(config); n != 1 {
			t.Errorf("the log tells %d times what ends of %s, want once a day", n, config)
		}
	}
	if lines("later") != 0 {
		t.Error("the log tells of what ends in months")
	}
	for config, what := range what {
		told, in, _ := strings.Cut(metric(config), " in ")
		if seconds, err := strconv.ParseFloat(in, 64); told != what || err != nil || seconds < 20*86400 || seconds > 20*86400+3600 {
			t.Errorf("the metrics tell that %q of %s ends in %s seconds, want %q in 20 days", told, config, in, what)
		}
	}
	_, metrics := v.Status(http.MethodGet, "oauthcc/metrics", nil, v.RootToken())
	for _, secret := range []string{s.Credentials().ClientSecret, "PRIVATE KEY"} {
		if strings.Contains(v.Log()+string(metrics)+read(t, v, "oauthcc/status").raw, secret) {
			t.Error("a secret is told")
		}
	}
}
