// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// These parsers read only as much of YAML and of Terraform's language as the
// cookbook's manifests need, and refuse everything else. A manifest that they
// accept is well-formed.

// yamlLine is a line that is neither empty nor a comment.
type yamlLine struct {
	indent int
	text   string
}

// parseYAML reads documents of block mappings, block lists, and plain or quoted
// scalars.
func parseYAML(text string) (docs []fields, err error) {
	for i, part := range regexp.MustCompile(`(?m)^---$`).Split(text, -1) {
		var lines []yamlLine
		for line := range strings.Lines(part) {
			line = strings.TrimRight(line, "\n")
			trimmed := strings.TrimLeft(line, " ")
			switch {
			case trimmed == "" || strings.HasPrefix(trimmed, "#"):
				continue
			case strings.Contains(line, "\t") || strings.TrimRight(line, " ") != line:
				return nil, fmt.Errorf("document %d: a tab or a trailing space: %q", i, line)
			}
			lines = append(lines, yamlLine{len(line) - len(trimmed), trimmed})
		}
		value, rest, err := yamlBlock(lines)
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", i, err)
		}
		doc, ok := value.(fields)
		if !ok || len(rest) > 0 {
			return nil, fmt.Errorf("document %d is not one mapping", i)
		}
		docs = append(docs, doc)
	}
	return docs, nil
}

// yamlBlock reads the lines with the indentation of the first line, and the
// lines below them.
func yamlBlock(lines []yamlLine) (value any, rest []yamlLine, err error) {
	if len(lines) == 0 {
		return nil, nil, fmt.Errorf("nothing where a value should be")
	}
	indent := lines[0].indent
	if strings.HasPrefix(lines[0].text, "- ") {
		var list []any
		for len(lines) > 0 && lines[0].indent == indent && strings.HasPrefix(lines[0].text, "- ") {
			// The text after the dash is a block of its own, indented by two
			// more.
			lines[0] = yamlLine{indent + 2, lines[0].text[2:]}
			var item any
			if item, lines, err = yamlItem(lines); err != nil {
				return nil, nil, err
			}
			list = append(list, item)
		}
		return list, lines, nil
	}
	m := fields{}
	for len(lines) > 0 && lines[0].indent == indent {
		name, scalar, ok := strings.Cut(lines[0].text, ":")
		if _, twice := m[name]; !ok || twice || !regexp.MustCompile(`^[A-Za-z_][\w./-]*$`).MatchString(name) || scalar != "" && scalar[0] != ' ' {
			return nil, nil, fmt.Errorf("not a new member: %q", lines[0].text)
		}
		lines = lines[1:]
		if scalar != "" {
			if m[name], err = yamlScalar(scalar[1:]); err != nil {
				return nil, nil, err
			}
			continue
		}
		if len(lines) == 0 || lines[0].indent <= indent {
			return nil, nil, fmt.Errorf("%s has no value", name)
		}
		if m[name], lines, err = yamlBlock(lines); err != nil {
			return nil, nil, err
		}
	}
	if len(lines) > 0 && lines[0].indent > indent {
		return nil, nil, fmt.Errorf("indented too far: %q", lines[0].text)
	}
	return m, lines, nil
}

func yamlItem(lines []yamlLine) (any, []yamlLine, error) {
	if regexp.MustCompile(`^[\w./-]+:( |$)`).MatchString(lines[0].text) {
		return yamlBlock(lines)
	}
	value, err := yamlScalar(lines[0].text)
	return value, lines[1:], err
}

func yamlScalar(text string) (any, error) {
	if unquoted, err := strconv.Unquote(text); err == nil {
		return unquoted, nil
	}
	if text == "" || strings.ContainsAny(text, "{}[]&*!|>'\"%@`#,") || strings.Contains(text, ": ") {
		return nil, fmt.Errorf("a scalar that needs quotes: %q", text)
	}
	if n, err := strconv.ParseFloat(text, 64); err == nil {
		return n, nil
	}
	switch text {
	case "true", "false":
		return text == "true", nil
	case "null", "~", "yes", "no", "on", "off":
		return nil, fmt.Errorf("a scalar that readers disagree about: %q", text)
	}
	return text, nil
}

// hclBlock is a block in Terraform's language.
type hclBlock struct {
	kind       string
	labels     []string
	attributes fields
	blocks     []hclBlock
}

// hclExpr is a reference, which only Terraform can resolve.
type hclExpr string

// hclCall is a function call.
type hclCall struct {
	function string
	argument any
}

var hclToken = regexp.MustCompile(`^(?:[ \t]+|#[^\n]*|<<-?([A-Z]+)\n|"(?:[^"\\\n]|\\.)*"|[A-Za-z_][\w-]*(?:\.[A-Za-z_][\w-]*)*|\d+|[{}()\[\]=,\n])`)

// parseHCL reads blocks, attributes, and expressions without operators.
func parseHCL(text string) (_ []hclBlock, err error) {
	p := &hclParser{}
	for text != "" {
		match := hclToken.FindStringSubmatch(text)
		if match == nil {
			return nil, fmt.Errorf("not understood: %.40q", text)
		}
		token := match[0]
		text = text[len(token):]
		if match[1] != "" { // a heredoc, which ends at a line with just its name
			end := regexp.MustCompile(`(?m)^\s*` + match[1] + `$`).FindStringIndex(text)
			if end == nil {
				return nil, fmt.Errorf("the heredoc %s has no end", match[1])
			}
			token, text = strconv.Quote(text[:end[0]]), text[end[1]:]
		}
		if token[0] != ' ' && token[0] != '\t' && token[0] != '#' {
			p.tokens = append(p.tokens, token)
		}
	}
	defer func() {
		if failed, ok := recover().(hclError); ok {
			err = fmt.Errorf("%s", string(failed))
		}
	}()
	top := p.body("")
	if len(top.attributes) > 0 {
		return nil, fmt.Errorf("attributes outside of any block")
	}
	return top.blocks, nil
}

type hclError string

type hclParser struct{ tokens []string }

func (p *hclParser) peek() string {
	if len(p.tokens) == 0 {
		return ""
	}
	return p.tokens[0]
}

func (p *hclParser) next() string {
	token := p.peek()
	if token == "" {
		panic(hclError("it ends too early"))
	}
	p.tokens = p.tokens[1:]
	return token
}

func (p *hclParser) want(token string) {
	if got := p.next(); got != token {
		panic(hclError(fmt.Sprintf("%q where %q should be", got, token)))
	}
}

func (p *hclParser) skipLines() {
	for p.peek() == "\n" {
		p.next()
	}
}

func (p *hclParser) body(end string) hclBlock {
	b := hclBlock{attributes: fields{}}
	for {
		p.skipLines()
		if p.peek() == end {
			return b
		}
		name := p.next()
		if p.peek() == "=" {
			p.next()
			if _, twice := b.attributes[name]; twice {
				panic(hclError(name + " is there twice"))
			}
			b.attributes[name] = p.expression()
		} else {
			var labels []string
			for strings.HasPrefix(p.peek(), `"`) {
				labels = append(labels, p.text())
			}
			p.want("{")
			inner := p.body("}")
			p.want("}")
			inner.kind, inner.labels = name, labels
			b.blocks = append(b.blocks, inner)
		}
		if p.peek() != end {
			p.want("\n")
		}
	}
}

func (p *hclParser) text() string {
	text, err := strconv.Unquote(p.next())
	if err != nil {
		panic(hclError(err.Error()))
	}
	return text
}

func (p *hclParser) expression() any {
	token := p.peek()
	switch {
	case token == "[":
		p.next()
		list := []any{}
		for p.skipLines(); p.peek() != "]"; p.skipLines() {
			list = append(list, p.expression())
			if p.skipLines(); p.peek() == "," {
				p.next()
			}
		}
		p.want("]")
		return list
	case token == "{":
		p.next()
		m := fields{}
		for p.skipLines(); p.peek() != "}"; p.skipLines() {
			name := p.next()
			p.want("=")
			m[strings.Trim(name, `"`)] = p.expression()
			if p.peek() == "," {
				p.next()
			}
		}
		p.want("}")
		return m
	case strings.HasPrefix(token, `"`):
		return p.text()
	case token == "true", token == "false":
		return p.next() == "true"
	}
	p.next()
	if n, err := strconv.Atoi(token); err == nil {
		return n
	}
	if !regexp.MustCompile(`^[A-Za-z]`).MatchString(token) {
		panic(hclError(fmt.Sprintf("%q where a value should be", token)))
	}
	if p.peek() != "(" {
		return hclExpr(token)
	}
	p.next()
	call := hclCall{token, p.expression()}
	p.want(")")
	return call
}

// TestTeamManifestReaders checks that the parsers above notice faults.
func TestTeamManifestReaders(t *testing.T) {
	t.Parallel()
	docs, err := parseYAML("a: 1\nb:\n  - c: x y\n    d: \"{{ .e }}\"\n  - f\n---\ng:\n  h: true\n")
	if err != nil || !same(docs, []any{
		fields{"a": 1, "b": []any{fields{"c": "x y", "d": "{{ .e }}"}, "f"}},
		fields{"g": fields{"h": true}},
	}) {
		t.Errorf("YAML reads as %v (%v)", docs, err)
	}
	for _, bad := range []string{"a: 1\na: 2\n", "a:\n", "a: {b}\n", "a: b: c\n", "a:b\n", "a: 1\n  b: 2\n", "\ta: 1\n", "- a\n", "a: yes\n", ""} {
		if docs, err := parseYAML(bad); err == nil {
			t.Errorf("%q reads as %v", bad, docs)
		}
	}
	blocks, err := parseHCL("a \"b\" \"c\" {\n  d = \"e\" # f\n  g = [1, true]\n  h = i({\n    j = k.l\n  })\n  m {\n  }\n  n = <<-O\n    p\n  O\n}\n")
	if err != nil || len(blocks) != 1 || blocks[0].kind != "a" || !slices.Equal(blocks[0].labels, []string{"b", "c"}) || len(blocks[0].blocks) != 1 {
		t.Fatalf("HCL reads as %+v (%v)", blocks, err)
	}
	call, _ := blocks[0].attributes["h"].(hclCall)
	if call.function != "i" || !same(call.argument, fields{"j": "k.l"}) || !same(blocks[0].attributes["g"], []any{1, true}) || blocks[0].attributes["n"] != "    p\n" {
		t.Errorf("HCL reads as %+v", blocks[0])
	}
	for _, bad := range []string{"a {", "a {\n b =\n}\n", "a {\n b = 1\n b = 2\n}\n", "a = 1\n", "a {\n b = c + d\n}\n", "a {\n b = \"c\n}\n", "a {\n b = [\n}\n", "a {\n b = c(\n}\n"} {
		if blocks, err := parseHCL(bad); err == nil {
			t.Errorf("%q reads as %+v", bad, blocks)
		}
	}
}
