// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
)

func TestNoMemberHandsOutTheRefreshToken(t *testing.T) {
	t.Parallel()
	const live = "ref/resh+live=token"
	encoded := base64.StdEncoding.EncodeToString([]byte(live))
	text := func(v any) string {
		b, _ := json.Marshal(v) //nolint:errchkjson // a map of texts
		return string(b)
	}
	for where, tc := range map[string]struct {
		members map[string]any
		at      Pointer
		refresh []Pointer
		headers []string
	}{
		"where it stands":             {map[string]any{"refresh_token": live}, "/refresh_token", []Pointer{"/refresh_token"}, nil},
		"with no pointer to it":       {map[string]any{"refresh_token": live}, "/refresh_token", nil, nil},
		"with another pointer":        {map[string]any{"refresh_token": live}, "/refresh_token", []Pointer{"/rt"}, nil},
		"repeated":                    {map[string]any{"refresh_token": live, "again": live}, "/again", nil, nil},
		"repeated, encoded":           {map[string]any{"refresh_token": live, "again": encoded}, "/again", nil, nil},
		"repeated, percent-encoded":   {map[string]any{"refresh_token": live, "again": url.QueryEscape(live)}, "/again", nil, nil},
		"encoded, where it stands":    {map[string]any{"refresh_token": encoded, "again": live + "!" + encoded}, "/again", nil, nil},
		"in camel case":               {map[string]any{"refreshToken": live}, "/refreshToken", nil, nil},
		"with a hyphen":               {map[string]any{"Refresh-Token": live}, "/Refresh-Token", nil, nil},
		"deep":                        {map[string]any{"data": []any{map[string]any{"refresh_token": live}}}, "/data/0/refresh_token", nil, nil},
		"deep, repeated":              {map[string]any{"data": []any{map[string]any{"refresh_token": live}}, "again": live}, "/again", nil, nil},
		"an object":                   {map[string]any{"refresh_token": map[string]any{"value": live}}, "/refresh_token/value", nil, nil},
		"in JSON in text":             {map[string]any{"data": text(map[string]any{"refresh_token": live})}, "/data/refresh_token", nil, nil},
		"JSON in text":                {map[string]any{"data": text(map[string]any{"refresh_token": live})}, "/data", nil, nil},
		"JSON in text in text":        {map[string]any{"data": text(text(map[string]any{"refreshToken": live})), "again": live}, "/again", nil, nil},
		"a form in text":              {map[string]any{"data": "access_token=x&refresh_token=plain-refresh-token", "again": "plain-refresh-token"}, "/again", nil, nil},
		"cut JSON in text":            {map[string]any{"data": `{"refresh_token": "plain-refresh-token","x`, "again": "plain-refresh-token"}, "/again", nil, nil},
		"under a name of its own":     {map[string]any{"rt": live, "again": live}, "/again", []Pointer{"/rt"}, nil},
		"within JSON in text, by it":  {map[string]any{"data": text(map[string]any{"rt": live}), "again": live}, "/again", []Pointer{"/data/rt"}, nil},
		"the second of its pointers":  {map[string]any{"refresh_token": "first", "rt": live}, "/rt", []Pointer{"/refresh_token", "/rt"}, nil},
		"short":                       {map[string]any{"refresh_token": "r-1"}, "/refresh_token", nil, nil},
		"a number":                    {map[string]any{"refresh_token": 123456789, "again": "123456789"}, "/again", nil, nil},
		"in a header":                 {map[string]any{}, "header:X-Auth-Refresh-Token", nil, []string{"X-Auth-Refresh-Token", live}},
		"in a header, repeated":       {map[string]any{"again": live}, "/again", nil, []string{"x-auth-refresh-token", live}},
		"repeated in a header":        {map[string]any{"refresh_token": live}, "header:X-Again", nil, []string{"X-Again", "Bearer " + encoded}},
		"in a header by a pointer":    {map[string]any{"again": live}, "/again", []Pointer{"header:x-rt"}, []string{"X-RT", live}},
		"in a cookie":                 {map[string]any{"again": "plain-refresh-token"}, "/again", nil, []string{"Set-Cookie", "a=b; HttpOnly", "Set-Cookie", "refresh_token=plain-refresh-token; HttpOnly"}},
		"a cookie":                    {map[string]any{}, "header:Set-Cookie", nil, []string{"Set-Cookie", "refreshToken=plain-refresh-token; HttpOnly"}},
		"under a longer name":         {map[string]any{"new_refresh_token": live, "again": live}, "/again", nil, nil},
		"before a token that is fine": {map[string]any{"refresh_token": live, "access_token": "tok"}, "/refresh_token", nil, nil},
	} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			r := standardRequest("")
			r.Scopes, r.Answer.RefreshToken = []string{"asked"}, tc.refresh
			tc.members["token"], tc.members["expires_in"] = "tok", 60
			r.Answer.AccessToken = []Pointer{"/token"}
			r.Answer.TokenType, r.Answer.Scope, r.Answer.Extra = []Pointer{tc.at}, []Pointer{tc.at}, map[string]Pointer{"x": tc.at}
			got, e := read(t, r, tc.members, tc.headers...)
			if e != nil || got.TokenType != "Bearer" || got.Scope != "asked" || got.Extra != nil {
				t.Errorf("hands out %+v, %v", got, e)
			}
			// The pointer to the refresh token is now also the token's, and the
			// error's.
			r.Answer.AccessToken, r.Answer.Error = []Pointer{tc.at, "/token"}, []Pointer{tc.at}
			if got, e := read(t, r, tc.members, tc.headers...); got != nil && got.AccessToken != "tok" || e != nil && strings.Contains(e.Error(), "resh+live") {
				t.Errorf("hands out the token %+v, %v", got, e)
			}
			r.Answer.AccessToken = []Pointer{"/missing"}
			if _, e := read(t, r, tc.members, tc.headers...); e == nil || e.Code != withheld && e.Code != "" {
				t.Errorf("says %v", e)
			}
		})
	}
}

// The grant itself needs the refresh token for its next request.
func TestTheRefreshTokenIsKeptForTheGrant(t *testing.T) {
	t.Parallel()
	r := standardRequest("")
	r.RefreshToken = jwt(`{"typ":"refresh","sub":"user"}`)
	for _, next := range []string{r.RefreshToken, "next-" + r.RefreshToken, "another"} {
		// Tokens of one provider often begin with the same text.
		got, e := read(t, r, map[string]any{"access_token": jwt(`{"typ":"access","sub":"user"}`), "expires_in": 60, "refresh_token": next})
		if e != nil || got.RefreshToken != next {
			t.Errorf("got %+v, %v", got, e)
		}
	}
}
