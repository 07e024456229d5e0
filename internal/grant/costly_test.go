// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// costlyAnswers returns bodies of up to 1 MiB whose processing costs much more than
// their size suggests.
func costlyAnswers() map[string]string {
	fill := func(head, item, tail string) string {
		return head + strings.Repeat(item, (maxBody-len(head)-len(tail))/len(item)) + tail
	}
	const token = `{"access_token":"tok","expires_in":60,`
	return map[string]string{
		"strings of a digit":               fill(token+`"x":[`, `"1",`, `"1"]}`),
		"empty lists":                      fill(token+`"x":[`, `[],`, `[]]}`),
		"a long string":                    fill(token+`"x":["`, `QUJDREVGR0hJSktMTU5P`, `"]}`),
		"escapes":                          fill(token+`"x":["`, `%5c\\u005c&amp;+`, `"]}`),
		"JSON in JSON":                     fill(token+`"x":["[`, `1,`, `1]"]}`),
		"a form":                           "access_token=tok&expires_in=60" + strings.Repeat("&a=", maxBody/3-12),
		"as many strings as may be":        token + `"x":[` + strings.Repeat(`"QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo0NTY3ODk5",`, maxValues-10) + `1]}`,
		"as many refresh tokens as may be": fill(token+manyRefreshTokens()+`"x":["`, `QUJDREVGR0hJSktMTU5P`, `"]}`),
		"layers":                           fill(token+`"x":["`, `%252525255c\\\\u0026amp;YW1wO0FBQUE=`, `"]}`),
		"refresh tokens":                   fill(token+`"x":[`, `{"refresh_token":"12345678"},`, `1]}`),
		"long refresh tokens":              longRefreshTokens(token, `"x":1}`),
		"long refresh tokens of an error":  longRefreshTokens("{", `"error":"x"}`),
		"XML elements":                     fill("<r>", "<a/>", "</r>"),
		"as many XML elements as may be":   "<r>" + strings.Repeat("<a>QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo0NTY3ODk5</a>", maxValues-1) + "</r>",
		"XML attributes":                   fill("<r", ` a=""`, "/>"),
		"XML namespaces":                   fill("<r", ` xmlns:a="b"`, "/>"),
		"XML text in parts":                fill("<r>", "x<!---->", "</r>"),
		"XML characters by name":           fill("<r>", "&amp;", "</r>"),
		"XML in XML":                       xmlInXML(),
		"a document type":                  fill("<!DOCTYPE r [", `<!ENTITY a "&b;">`, "]><r/>"),
	}
}

// longRefreshTokens returns as many refresh tokens as an answer may have. Each format
// reads them differently.
func longRefreshTokens(head, tail string) string {
	var b strings.Builder
	for i := range maxRefreshTokens {
		fmt.Fprintf(&b, `"n%d":{"refresh_token":"`, i)
		for j := range maxBody/maxRefreshTokens/24 - 2 {
			fmt.Fprintf(&b, "%%41+&amp;ü%012d", 1_000_003*j*(i+1)%999_999_937)
		}
		b.WriteString(`"},`)
	}
	return head + b.String() + tail
}

// xmlInXML returns XML inside the text of XML, nested as deeply as one megabyte
// allows.
func xmlInXML() string {
	text := "tok"
	for {
		next := "<a>" + escaped(text) + "</a>"
		if len(next) > maxBody {
			return text
		}
		text = next
	}
}

func manyRefreshTokens() string {
	var b strings.Builder
	for i := range maxRefreshTokens {
		fmt.Fprintf(&b, `"n%d":{"refresh_token":"QUJDREVGR0hJSktMTU5-%d"},`, i, i)
	}
	return b.String()
}

func TestAnswersHoldNoMoreThanAnAnswerCan(t *testing.T) {
	t.Parallel()
	list := func(n int) string {
		return `{"access_token":"tok","expires_in":60,"x":[` + strings.Repeat("1,", n-5) + "1]}"
	}
	deep := func(n int) string {
		return `{"access_token":"tok","expires_in":60,"x":` + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + "}"
	}
	quoted := func(s string) string { return fmt.Sprintf(`{"access_token":"tok","expires_in":60,"text":%q}`, s) }
	refresh := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `{"refresh_token":"r-%d"},`, i)
		}
		return `{"access_token":"tok","expires_in":60,"x":[` + b.String() + "1]}"
	}
	texts := func(n int) string {
		text := "[1]"
		for range n - 1 {
			text = fmt.Sprintf("[%q]", text)
		}
		return quoted(text)
	}
	form := func(n int) string { return "access_token=tok&expires_in=60" + strings.Repeat("&a=", n-2) }
	for name, tc := range map[string]struct {
		typ, body string
		ok        bool
	}{
		"values":                        {body: list(maxValues), ok: true},
		"too many values":               {body: list(maxValues + 1)},
		"too many lists":                {body: `{"access_token":"tok","expires_in":60,"x":[` + strings.Repeat("[],", maxValues/2) + "1]}"},
		"too many objects":              {body: `{"access_token":"tok","expires_in":60,"x":[` + strings.Repeat("{},", maxValues/2) + "1]}"},
		"commas and brackets in text":   {body: quoted(strings.Repeat(`,[{\"`, maxValues)), ok: true},
		"levels":                        {body: deep(maxLevels), ok: true},
		"too many levels":               {body: deep(maxLevels + 1)},
		"too many values within text":   {body: quoted(list(maxValues + 1))},
		"too many levels within text":   {body: quoted(deep(maxLevels + 1))},
		"texts within each other":       {body: texts(maxTexts), ok: true},
		"too many texts":                {body: texts(maxTexts + 1)},
		"refresh tokens":                {body: refresh(maxRefreshTokens), ok: true},
		"too many refresh tokens":       {body: refresh(maxRefreshTokens + 1)},
		"a form's values":               {typ: asForm, body: form(9_999), ok: true}, // net/url reads no more values
		"a form of too many":            {typ: asForm, body: form(maxValues + 2)},
		"a form of too many, as JSON":   {body: form(maxValues + 2)},
		"a form's ampersands in JSON":   {body: quoted(strings.Repeat("&", maxValues+1)), ok: true},
		"too many for a text token too": {typ: asText, body: "[" + strings.Repeat("1,", maxValues) + "1]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tc.typ == "" {
				tc.typ = asJSON
			}
			got := reply{status: http.StatusOK, header: http.Header{"Content-Type": {tc.typ}}, body: []byte(tc.body)}
			_, err := readAnswer(standardRequest(""), got, clock(), redactorFor(standardRequest("")))
			const says = "the answer holds more than 20000 values, 64 levels, 8 texts within each other or 64 refresh tokens"
			if tc.ok && err != nil || !tc.ok && (err == nil || !strings.Contains(err.Error(), says+"; ")) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// Without limits, processing an answer of one megabyte could take gigabytes and
// minutes. A thousand fields that lead into one text must not change this
// either.
func TestACostlyAnswerCostsLittle(t *testing.T) {
	r := standardRequest("")
	r.Secrets = []string{"another-secret", "a third secret of the client"}
	r.Answer.Extra = map[string]Pointer{"a": "/x", "b": "/x", "c": "/x", "d": "/x"}
	for i := range 1000 {
		r.Answer.Extra[fmt.Sprint(i)] = "/text/a"
	}
	answers := costlyAnswers()
	answers["many fields of one text"] = fmt.Sprintf(`{"access_token":"tok","expires_in":60,"text":%q}`, `{"a":1,"b":"`+strings.Repeat("QUJD", 200<<10)+`"}`)
	for name, body := range answers {
		got := reply{status: http.StatusOK, header: http.Header{"Content-Type": {asJSON}}, body: []byte(body)}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _ = readAnswer(r, got, clock(), redactorFor(r))
		runtime.ReadMemStats(&after)
		if spent := after.TotalAlloc - before.TotalAlloc; spent > 256<<20 {
			t.Errorf("%s: took %d MiB", name, spent>>20)
		}
	}
}

// Each text is searched for each secret. The more secrets there are, the less
// of a text is searched. Text that is not searched counts as repeating a
// secret.
func TestAThousandSecretsCostLittle(t *testing.T) {
	t.Parallel()
	r := standardRequest("")
	for i := range 1000 {
		r.Secrets = append(r.Secrets, fmt.Sprintf("secret number %d", i))
	}
	f := redactorFor(r).filter()
	if work := f.budget * len(f.whole); work > maxFiltered*usualSecrets {
		t.Errorf("%d MiB may be looked at", work>>20)
	}
	if text := strings.Repeat("word ", 1000); f.tells(text) {
		t.Error("a usual text is withheld")
	}
	if text := strings.Repeat("word ", maxBody/5); !f.tells(text) {
		t.Error("what is not looked at is shown")
	}
}

func TestFewLargeAnswersAreReadAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := NewClient(Options{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // an answer that has arrived is read nevertheless
		var reading, most, small atomic.Int64
		for range 40 {
			go func() {
				defer c.startReading(ctx, reply{body: make([]byte, maxBody-8), header: http.Header{"Name": {"text"}}})()
				most.Store(max(most.Load(), reading.Add(1)))
				time.Sleep(time.Second)
				reading.Add(-1)
			}()
		}
		synctest.Wait()
		if n := reading.Load(); n != maxReading/maxBody {
			t.Errorf("%d are read at a time", n)
		}
		time.Sleep(time.Minute)
		if n := most.Load(); n != maxReading/maxBody || reading.Load() != 0 {
			t.Errorf("%d were read at a time, %d still are", n, reading.Load())
		}
		for range 40 {
			go func() {
				defer c.startReading(ctx, reply{body: make([]byte, 4<<10)})()
				small.Add(1)
				time.Sleep(time.Second)
			}()
		}
		synctest.Wait()
		if n := small.Load(); n != 40 {
			t.Errorf("%d of 40 small ones are read at a time", n)
		}
		time.Sleep(time.Second)
	})
}

// BenchmarkReadCostlyAnswer shows that a hostile answer costs about as much as a
// harmless one of one megabyte.
func BenchmarkReadCostlyAnswer(b *testing.B) {
	r := standardRequest("")
	r.Secrets = []string{"another-secret", "a third secret of the client"}
	r.Answer.Extra = map[string]Pointer{"a": "/x", "b": "/x", "c": "/x", "d": "/x"}
	for name, body := range costlyAnswers() {
		b.Run(name, func(b *testing.B) {
			got := reply{status: http.StatusOK, header: http.Header{"Content-Type": {asJSON}}, body: []byte(body)}
			b.ReportAllocs()
			for b.Loop() {
				_, _ = readAnswer(r, got, clock(), redactorFor(r))
			}
		})
	}
}
