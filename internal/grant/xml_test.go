// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
)

const asXML = "application/xml"

func TestXMLIsReadAsATree(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ xml, want string }{
		"text":                              {`<a>x</a>`, `{"a":"x"}`},
		"children":                          {`<a><b>1</b><c>x</c></a>`, `{"a":{"b":"1","c":"x"}}`},
		"nothing":                           {`<a/>`, `{"a":""}`},
		"attributes":                        {`<a b="1" c='x'/>`, `{"a":{"@b":"1","@c":"x"}}`},
		"attributes and text":               {`<a b="1">x</a>`, `{"a":{"@b":"1","#text":"x"}}`},
		"an attribute named like a child":   {`<a b="1"><b>2</b></a>`, `{"a":{"@b":"1","b":"2"}}`},
		"text between children":             {`<a> x <b/> y </a>`, `{"a":{"b":"","#text":"x  y"}}`},
		"white space between children":      {"<a>\n  <b>1</b>\n</a>\n", `{"a":{"b":"1"}}`},
		"white space around text":           {"<a>\n  x\n</a>", `{"a":"x"}`},
		"one name several times":            {`<a><b>1</b><c/><b x="y">2</b><b/></a>`, `{"a":{"b":["1",{"@x":"y","#text":"2"},""],"c":""}}`},
		"prefixes of namespaces":            {`<s:a xmlns:s="urn:s" xmlns="urn:d" s:c="1"><b>x</b><s:d/></s:a>`, `{"a":{"@c":"1","b":"x","d":""}}`},
		"one name in several namespaces":    {`<a xmlns:s="urn:s" xmlns:t="urn:t" s:c="1" t:c="2"><s:b>1</s:b><t:b>2</t:b></a>`, `{"a":{"@c":["1","2"],"b":["1","2"]}}`},
		"a prolog and comments":             {`<?xml version="1.0" encoding="UTF-8"?><!-- a --><a>x<!-- b -->y</a><!-- c --><?pi?>`, `{"a":"xy"}`},
		"CDATA":                             {`<a><![CDATA[<x>&amp;]]></a>`, `{"a":"<x>&amp;"}`},
		"characters by number and by name":  {`<a b="&quot;&#x41;">&lt;&#66;&gt;&amp;&apos;</a>`, `{"a":{"@b":"\"A","#text":"<B>&'"}}`},
		"an encoding that it is not in":     {`<?xml version="1.0" encoding="utf-16"?><a>ü</a>`, `{"a":"ü"}`},
		"another encoding, beside ASCII":    {"<?xml version=\"1.0\" encoding=\"iso-8859-1\"?><a><b>tok</b><c>\xfc</c></a>", `{"a":{"b":"tok","c":"�"}}`},
		"names beyond ASCII":                {`<é><ü>x</ü></é>`, `{"é":{"ü":"x"}}`},
		"as many levels as may be":          {strings.Repeat("<a>", maxLevels) + strings.Repeat("</a>", maxLevels), ""},
		"as many elements as may be":        {"<a>" + strings.Repeat("<b/>", maxValues-1) + "</a>", ""},
		"as many attributes as may be":      {"<a" + strings.Repeat(` b="x"`, maxValues-1) + "/>", ""},
		"text of any number of small parts": {"<a>" + strings.Repeat("x<!---->", 100_000) + "</a>", ""},
	} {
		got, why := parseXML(tc.xml)
		b, err := json.Marshal(got)
		if why != "" || err != nil {
			t.Errorf("%s: %s, %v", name, why, err)
		}
		var want any
		if tc.want == "" {
			continue
		}
		if err := json.Unmarshal([]byte(tc.want), &want); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %s, want %s", name, b, tc.want)
		}
	}
}

func TestXMLThatIsNotRead(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		xml  string
		want unread
	}{
		"a document type":             {`<!DOCTYPE a><a>x</a>`, doctyped},
		"an external entity":          {`<?xml version="1.0"?><!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><a>&e;</a>`, doctyped},
		"an external document type":   {`<!DOCTYPE a SYSTEM "http://127.0.0.1/a.dtd"><a/>`, doctyped},
		"entities of entities":        {`<!DOCTYPE a [<!ENTITY b "xx"><!ENTITY c "&b;&b;">]><a>&c;</a>`, doctyped},
		"a document type within":      {`<a><!DOCTYPE a></a>`, doctyped},
		"an unknown entity":           {`<a>&nbsp;</a>`, badXML},
		"cut short":                   {`<a><b>x</b>`, badXML},
		"elements that cross":         {`<a><b></a></b>`, badXML},
		"two documents":               {`<a/><b/>`, badXML},
		"text behind it":              {`<a/>x`, badXML},
		"text before it":              {`<?xml version="1.0"?>x<a/>`, badXML},
		"no element":                  {`<!-- a -->`, badXML},
		"an attribute without quotes": {`<a b=c/>`, badXML},
		"control characters":          {"<a>\x01</a>", badXML},
		"XML 2":                       {`<?xml version="2.0"?><a/>`, badXML},
		"too many levels":             {strings.Repeat("<a>", maxLevels+1) + strings.Repeat("</a>", maxLevels+1), tooMuch},
		"too many elements":           {"<a>" + strings.Repeat("<b/>", maxValues) + "</a>", tooMuch},
		"too many attributes":         {"<a" + strings.Repeat(` b="x"`, maxValues) + "/>", tooMuch},
		"both together":               {"<a" + strings.Repeat(` b="x"`, maxValues/2) + ">" + strings.Repeat("<b/>", maxValues/2) + "</a>", tooMuch},
	} {
		if got, why := parseXML(tc.xml); got != nil || why != tc.want {
			t.Errorf("%s: got %v, %q", name, got, why)
		}
	}
}

func TestAnswersInXML(t *testing.T) {
	t.Parallel()
	at := func(token Pointer, more func(*Answer)) func(*Request) {
		return func(r *Request) {
			r.Answer.AccessToken, r.Answer.DefaultLifetime = []Pointer{token}, time.Minute
			if more != nil {
				more(&r.Answer)
			}
		}
	}
	for name, tc := range map[string]struct {
		typ, body string
		change    func(*Request)
		want      Token
	}{
		"as Tableau answers, in an attribute": {
			body: `<?xml version='1.0' encoding='UTF-8'?><tsResponse xmlns="http://tableau.com/api" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
				<credentials token="tok" estimatedTimeToExpiration="00:01:00"><site id="9a8b" contentUrl="acme"/><user id="9f9e"/></credentials></tsResponse>`,
			change: at("/tsResponse/credentials/@token", func(a *Answer) {
				a.ExpiresIn = []Pointer{"/tsResponse/credentials/@estimatedTimeToExpiration"}
				a.Extra = map[string]Pointer{"site": "/tsResponse/credentials/site/@id"}
			}),
			want: Token{Lifetime: LifetimeExpiresIn, Extra: map[string]any{"site": "9a8b"}},
		},
		"as SAP BusinessObjects answers, with characters by name": {
			body:   `<entry xmlns="http://www.w3.org/2005/Atom"><title>Logon</title><content type="application/xml"><attrs xmlns="http://www.sap.com/rws/bip"><attr name="logonToken" type="string">COMMANDCOM-LCM:6400@{3&amp;2=6400,U3&amp;p=41</attr></attrs></content></entry>`,
			change: at("/entry/content/attrs/attr", nil), want: Token{AccessToken: "COMMANDCOM-LCM:6400@{3&2=6400,U3&p=41"},
		},
		"as SOAP answers": {
			typ: "text/xml; charset=utf-8",
			body: `<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body><LoginResponse xmlns="urn:x">
				<LoginResult><token>tok</token><expires>2026-01-02T03:05:05Z</expires><role>a</role><role>b</role></LoginResult></LoginResponse></soap:Body></soap:Envelope>`,
			change: at("/Envelope/Body/LoginResponse/LoginResult/token", func(a *Answer) {
				a.ExpiresAt, a.Scope = []Pointer{"/Envelope/Body/LoginResponse/LoginResult/expires"}, []Pointer{"/Envelope/Body/LoginResponse/LoginResult/role"}
			}),
			want: Token{Lifetime: LifetimeExpiresAt, Scope: "a b"},
		},
		"JSON within XML, as ASMX answers": {
			body:   `<?xml version="1.0" encoding="utf-8"?><string xmlns="http://tempuri.org/">{"access_token":"tok"}</string>`,
			change: at("/string/access_token", nil),
		},
		"XML within XML": {
			body:   `<r><out>&lt;login&gt;&lt;token id="1"&gt;tok&lt;/token&gt;&lt;/login&gt;</out></r>`,
			change: at("/r/out/login/token", nil),
		},
		"XML within JSON": {typ: asJSON, body: `{"d":"<login><token>tok</token></login>"}`, change: at("/d/login/token", nil)},
		"the text of an element with attributes, wherever text is wanted": {
			body: `<oauth><access_token type="jwt">tok</access_token><token_type a="b">mac</token_type><expires_in unit="s">60</expires_in><scope a="b">x</scope><refresh_token c="d">r-1</refresh_token></oauth>`,
			change: at("/oauth/access_token", func(a *Answer) {
				a.TokenType, a.ExpiresIn, a.Scope = []Pointer{"/oauth/token_type"}, []Pointer{"/oauth/expires_in"}, []Pointer{"/oauth/scope"}
				a.RefreshToken, a.Extra = []Pointer{"/oauth/refresh_token"}, map[string]Pointer{"t": "/oauth/access_token/@type", "whole": "/oauth/scope", "text": "/oauth/scope/#text"}
			}),
			want: Token{TokenType: "mac", Scope: "x", RefreshToken: "r-1", Lifetime: LifetimeExpiresIn, Extra: map[string]any{"t": "jwt", "text": "x", "whole": map[string]any{"@a": "b", "#text": "x"}}},
		},
		"XML called JSON":        {typ: asJSON, body: `<t>tok</t>`, change: at("/t", nil)},
		"XML called a form":      {typ: asForm, body: `<t a="b=c">tok</t>`, change: at("/t", nil)},
		"XML called HTML":        {typ: "text/html", body: `<t>tok</t>`, change: at("/t", nil)},
		"XML without a type":     {typ: " ", body: `<t>tok</t>`, change: at("/t", nil)},
		"JSON called XML":        {body: `{"t":"tok"}`, change: at("/t", nil)},
		"text called XML":        {body: "tok", change: at("", nil)},
		"a byte order mark":      {body: "\xef\xbb\xbf<?xml version=\"1.0\"?>\n<t>tok</t>", change: at("/t", nil)},
		"the scheme in an entry": {body: `<t> Bearer tok </t>`, change: at("/t", nil)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tc.typ == "" {
				tc.typ = asXML
			}
			r := standardRequest(answering(t, http.StatusOK, tc.typ, tc.body).TokenURL())
			tc.change(&r)
			got, err := mint(t, r)
			if err != nil {
				t.Fatal(err)
			}
			want := tc.want
			want.IssuedAt, want.ExpiresAt = clock(), clock().Add(time.Minute)
			for have, otherwise := range map[*string]string{&want.AccessToken: "tok", &want.TokenType: "Bearer", (*string)(&want.Lifetime): string(LifetimeDefault)} {
				if *have == "" {
					*have = otherwise
				}
			}
			if !reflect.DeepEqual(*got, want) {
				t.Errorf("\n got %+v\nwant %+v", *got, want)
			}
		})
	}
}

func TestErrorsInXML(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status int
		body   string
		change func(*Answer)
		want   string // how the error must end
	}{
		"what the provider says": {
			http.StatusUnauthorized, `<tsResponse><error code="401001"><summary>Signin Error</summary><detail>Error signing in</detail></error></tsResponse>`,
			func(a *Answer) {
				a.Error, a.ErrorDescription = []Pointer{"/tsResponse/error/@code"}, []Pointer{"/tsResponse/error/detail"}
			},
			"HTTP 401: 401001: Error signing in",
		},
		"an error within a 200": {
			http.StatusOK, `<Envelope><Body><Fault><faultcode>Client</faultcode><faultstring xml:lang="en">no such user</faultstring></Fault></Body></Envelope>`,
			func(a *Answer) {
				a.Error, a.ErrorDescription = []Pointer{"/Envelope/Body/Fault/faultcode"}, []Pointer{"/Envelope/Body/Fault/faultstring"}
			},
			"HTTP 200: Client: no such user",
		},
		"names, never values": {
			http.StatusOK, `<r id="hidden-value"><a>hidden-value</a><b/><b/></r>`, nil,
			`no access token at "/access_token"; the answer has the members r/@id, r/a, r/b`,
		},
		"an element without text": {
			http.StatusOK, `<r><t id="hidden-value"/></r>`, func(a *Answer) { a.AccessToken = []Pointer{"/r/t"} },
			`no access token: the member at "/r/t" has the members @id`,
		},
		"an element that is there twice": {
			http.StatusOK, `<r><t>hidden-value</t><t>hidden-value</t></r>`, func(a *Answer) { a.AccessToken = []Pointer{"/r/t"} },
			`no access token: the member at "/r/t" is a list`,
		},
		"a document type":  {http.StatusOK, `<!DOCTYPE r><r>hidden-value</r>`, nil, "the answer is XML with a document type declaration (DOCTYPE), which is never read"},
		"cut short":        {http.StatusOK, `<r>hidden-value`, nil, "the answer is XML that is cut short or otherwise not well-formed"},
		"a page, as XHTML": {http.StatusOK, `<?xml version="1.0"?> <html xmlns="http://www.w3.org/1999/xhtml">hidden-value</html>`, nil, "the answer is a page for people (HTML)"},
		"too much":         {http.StatusOK, "<r>" + strings.Repeat("<a/>", maxValues) + "</r>", nil, "the answer holds more than 20000 values, 64 levels, 8 texts within each other or 64 refresh tokens"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := standardRequest(answering(t, tc.status, asXML, tc.body).TokenURL())
			if tc.change != nil {
				tc.change(&r.Answer)
			}
			if e := refusal(t, r); !strings.Contains(e.Error()+"; ", tc.want+"; ") || strings.Contains(e.Error(), "hidden") {
				t.Errorf("got %q, want the end %q", e, tc.want)
			}
		})
	}
}

// escaped returns the text as XML writes it.
func escaped(text string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", `"`, "&quot;", "\r", "&#13;").Replace(text)
}

// A text that is a credential in JSON is also one in XML.
func TestNoElementHandsOutACredential(t *testing.T) {
	t.Parallel()
	for name, secret := range awkwardSecrets() {
		for how, encode := range wholeEncodings() {
			sent := encode(secret)
			if strings.ContainsFunc(sent, func(c rune) bool { return c < ' ' && c != '\n' && c != '\t' && c != '\r' }) {
				continue // XML cannot hold this text
			}
			r := standardRequest("")
			r.ClientSecret, r.Scopes = secret, []string{"asked"}
			r.Answer.AccessToken, r.Answer.ExpiresIn = []Pointer{"/r/t"}, []Pointer{"/r/e"}
			r.Answer.TokenType, r.Answer.Scope = []Pointer{"/r/sent"}, []Pointer{"/r/@sent"}
			r.Answer.Extra = map[string]Pointer{
				"element": "/r/sent", "attribute": "/r/@sent", "list": "/r/list", "deep": "/r/deep", "split": "/r/split", "cdata": "/r/cdata", "text": "/r/mixed/#text", "mixed": "/r/mixed", "xml": "/r/xml", "fine": "/r/fine",
			}
			x := escaped(sent)
			half := len(string([]rune(sent)[:len([]rune(sent))/2]))
			body := fmt.Sprintf(`<r sent="%s"><t>tok</t><e>60</e><sent>%[1]s</sent><list>a</list><list> %[1]s </list><deep><a><b c="%[1]s"/></a></deep>`+
				`<split>%s<!-- x -->%s</split><cdata><![CDATA[%s]]></cdata><mixed a="b">It is %[1]s<c/></mixed><xml>%[5]s</xml><fine>fine</fine></r>`,
				x, escaped(sent[:half]), escaped(sent[half:]), sent, escaped("<a>"+x+"</a>"))
			read := func() (*Token, error) {
				got := reply{status: http.StatusOK, header: http.Header{"Content-Type": {asXML}}, body: []byte(body)}
				return readAnswer(r, got, clock(), redactorFor(r))
			}
			got, err := read()
			if err != nil {
				t.Fatalf("%s, %s: %v in %s", name, how, err, body)
			}
			if got.TokenType != "Bearer" || got.Scope != "asked" || !reflect.DeepEqual(got.Extra, map[string]any{"fine": "fine"}) {
				t.Errorf("%s, %s: hands out %+v", name, how, got)
			}
			if how != "as it is" && how != "HTML twice" {
				continue
			}
			for _, at := range []Pointer{"/r/sent", "/r/@sent", "/r/split", "/r/cdata", "/r/list/1", "/r/xml/a"} {
				r.Answer.AccessToken = []Pointer{at}
				if got, err := read(); err == nil {
					t.Errorf("%s, %s: hands out %s as the token: %q", name, how, at, got.AccessToken)
				} else if givesAway(err.Error(), secret, encode) != "" {
					t.Errorf("%s, %s: the error repeats it: %v", name, how, err)
				}
			}
		}
	}
}

// A header may repeat a refresh token from a body that cannot be parsed.
func TestNoHeaderHandsOutTheRefreshTokenOfABrokenBody(t *testing.T) {
	t.Parallel()
	const live = "the-live-refresh-token"
	for _, body := range []string{
		`{"refresh_token":"` + live + `"`, "<r><refresh_token>" + live + "</refresh_token>", "<!DOCTYPE r><r refreshToken='" + live + "'/>", "a refresh_token=" + live + " in words",
		`<html><body>refresh_token: ` + live + `</body></html>`,
	} {
		r := standardRequest("")
		inHeaders(&r)
		r.Answer.Extra = map[string]Pointer{"x": "header:X-Again"}
		got := reply{status: http.StatusOK, header: http.Header{"X-Subject-Token": {"tok"}, "X-Again": {live}, "Content-Type": {asJSON}}, body: []byte(body)}
		if token, err := readAnswer(r, got, clock(), redactorFor(r)); err != nil || token.Extra != nil {
			t.Errorf("%s: hands out %+v, %v", body, token, err)
		}
	}
}

func TestNoElementHandsOutTheRefreshToken(t *testing.T) {
	t.Parallel()
	const live = "ref/resh+live=token"
	for where, tc := range map[string]struct {
		body string
		at   Pointer
	}{
		"an element":                  {"<r><t>tok</t><refresh_token>" + live + "</refresh_token></r>", "/r/refresh_token"},
		"an element, repeated":        {"<r><t>tok</t><refreshToken>" + live + "</refreshToken><again>" + live + "</again></r>", "/r/again"},
		"an element with attributes":  {`<r><t>tok</t><s:refresh_token xmlns:s="urn:s" a="b">` + live + `</s:refresh_token><again a="` + live + `"/></r>`, "/r/again/@a"},
		"an attribute":                {`<r refreshToken="` + live + `"><t>tok</t></r>`, "/r/@refreshToken"},
		"an attribute, repeated":      {`<r refresh-token="` + live + `"><t>tok</t><again>` + live + "</again></r>", "/r/again"},
		"several elements":            {"<r><t>tok</t><refresh_token>x</refresh_token><refresh_token>" + live + "</refresh_token><again>" + live + "</again></r>", "/r/again"},
		"in XML within it":            {"<r><t>tok</t><out>&lt;a&gt;&lt;refresh_token&gt;" + live + "&lt;/refresh_token&gt;&lt;/a&gt;</out><again>" + live + "</again></r>", "/r/again"},
		"XML within it":               {"<r><t>tok</t><out>&lt;a&gt;&lt;refresh_token&gt;" + live + "&lt;/refresh_token&gt;&lt;/a&gt;</out></r>", "/r/out"},
		"in JSON within it":           {`<r><t>tok</t><out>{"refresh_token":"` + live + `"}</out><again>` + live + "</again></r>", "/r/again"},
		"in broken XML within it":     {"<r><t>tok</t><out>&lt;refresh_token&gt;" + live + "</out><again>" + live + "</again></r>", "/r/again"},
		"in an attribute of it":       {"<r><t>tok</t><out><![CDATA[<a refresh_token='" + live + "'><br>]]></out><again>" + live + "</again></r>", "/r/again"},
		"at a pointer, with a prefix": {`<r><t>tok</t><rt a="b">` + live + "</rt><again>" + live + "</again></r>", "/r/again"},
	} {
		r := standardRequest("")
		r.Scopes, r.Answer.RefreshToken, r.Answer.DefaultLifetime = []string{"asked"}, []Pointer{"/r/rt"}, time.Minute
		r.Answer.AccessToken = []Pointer{"/r/t"}
		r.Answer.TokenType, r.Answer.Scope, r.Answer.Extra = []Pointer{tc.at}, []Pointer{tc.at}, map[string]Pointer{"x": tc.at}
		read := func() (*Token, error) {
			got := reply{status: http.StatusOK, header: http.Header{"Content-Type": {asXML}}, body: []byte(tc.body)}
			return readAnswer(r, got, clock(), redactorFor(r))
		}
		if got, err := read(); err != nil || got.TokenType != "Bearer" || got.Scope != "asked" || got.Extra != nil {
			t.Errorf("%s: hands out %+v, %v", where, got, err)
		}
		r.Answer.AccessToken = []Pointer{tc.at}
		if got, err := read(); err == nil || strings.Contains(err.Error(), "resh+live") {
			t.Errorf("%s: hands out %+v, %v", where, got, err)
		}
	}
}
