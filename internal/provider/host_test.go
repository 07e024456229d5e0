// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import "testing"

// The host that is compared, to find out whether credentials would go elsewhere,
// is the host that will be dialled.
func TestAHostIsDialledAsItIsWritten(t *testing.T) {
	t.Parallel()
	for host, says := range map[string]string{
		// U+0130 is an ASCII i in lower case, but IDNA makes a different name of it.
		"login.bank.prov\u0130der.example": "is not ASCII", "login.bank.prov%C4%B0der.example": "is not ASCII",
		"\u212aeys.example": "is not ASCII", "x.example\u3002evil.org": "is not ASCII", "\uff45xample.org": "is not ASCII", "m\u00fcnchen.example": "xn--",
		"x.example%ff": "is not ASCII", "x\u00ad.example": "is not ASCII",
		// Numbers that a system's resolver may read as an address.
		"127.1": "a number as its host", "2130706433": "a number as its host", "0x7f.1": "a number as its host", "0x7f000001": "a number as its host",
		"0X7F.0.0.1": "a number as its host", "127.0.0.1.": "a number as its host", "0177.0.0.1": "a number as its host", "127.0.0.01": "a number as its host",
		"x.example.0x": "a number as its host", "1.2.3.256": "a number as its host",
		"[fe80::1%25eth0]": "a zone", "[::1%25LO]": "a zone",
		"x,y.example": "is not a valid name", "x..example": "is not a valid name", ".x.example": "is not a valid name", "x.example..": "is not a valid name", "a;b": "is not a valid name", "(x)": "is not a valid name",
		"x.example:0": "a port that", "x.example:0443": "a port that", "x.example:65536": "a port that", "x.example:99999999999999999999": "a port that",
		"x.example": "", "X.Example": "", "x.example.": "", "xn--mnchen-3ya.example": "", "a_b.internal": "", "127.0.0.1": "", "[::1]": "", "[::ffff:127.0.0.1]": "",
		"x.example:": "", "x.example:8443": "", "3com.example": "", "0x7f.example": "",
	} {
		for _, field := range []string{"token_url", "revocation_url"} {
			for where, config := range map[string]object{"the provider": nil, "the config": {field: "https://" + host + "/t"}} {
				definition := object{"token_url": plainURL}
				if config == nil {
					definition[field] = "https://" + host + "/t"
				}
				if _, err := asked(t, definition, config); says != "" {
					wantInvalid(t, err, field+" has ")
					wantInvalid(t, err, says)
				} else if err != nil {
					t.Errorf("%s of %s, %s: %v", field, where, host, err)
				}
			}
		}
	}
}

func TestAPlaceholderInAHostCannotBringAnotherAlphabet(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"https://{v}.prov\u0130der.example/t", "https://prov%C4%B0der.{v}/t", "https://m\u00fcnchen-{v}.example/t"} {
		_, err := asked(t, object{"token_url": text, "variables": object{"v": object{}}}, object{"variables": object{"v": "login"}})
		wantInvalid(t, err, "is not ASCII")
	}
}

func TestTwoHostsAreOneOriginOnlyIfOneIsDialledForBoth(t *testing.T) {
	t.Parallel()
	origin := func(text string) string {
		t.Helper()
		e, err := resolveBuiltin(Generic, object{"token_url": text, "client_id": "c", "client_secret": "s"})
		if err != nil {
			t.Fatal(err)
		}
		out, err := e.Origin()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	same := origin("https://x.example/t")
	for text, want := range map[string]bool{
		"https://X.EXAMPLE/other": true, "https://x.example:443/": true, "https://x.example:/": true,
		"https://x.example.:443/": false, "https://x.example:8443/": false, "https://xn--x.example/": false,
	} {
		if got := origin(text) == same; got != want {
			t.Errorf("%s: one origin: %t, want %t", text, got, want)
		}
	}
}
