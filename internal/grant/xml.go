// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
)

// xmlText is the member that holds the text of an XML element with attributes
// or child elements.
const xmlText = "#text"

// parseXML reads one XML document as the tree that equivalent JSON would give: an
// object with the root element under its name. Elements become values as follows:
//   - An element without attributes and children is its text, without the white
//     space around it.
//   - Any other element is an object. It holds the children under their names,
//     the attributes under "@" and their names, and the text, if there is any,
//     under xmlText.
//   - Elements that occur several times under the same name become a list.
//
// Names have no namespace prefix, and namespace declarations are ignored.
//
// A document type declaration is refused. So there are no entities except XML's
// own five, and nothing outside the document is ever read.
func parseXML(text string) (any, unread) {
	if strings.Count(text, "=") > 3*maxValues {
		return nil, tooMuch // all attributes of an element are read at once, and take much more memory than they have bytes
	}
	dec := xml.NewDecoder(strings.NewReader(strings.ToValidUTF8(text, "\ufffd")))
	// The declared encoding is ignored: everything that matters is ASCII, and many
	// documents that declare UTF-16 are UTF-8.
	dec.CharsetReader = func(_ string, in io.Reader) (io.Reader, error) { return in, nil }
	tree, out := xmlTree{dec: dec}, map[string]any(nil)
	for {
		token, err := dec.Token()
		switch token := token.(type) {
		case nil:
			if errors.Is(err, io.EOF) && out != nil {
				return out, ""
			}
			return nil, badXML
		case xml.Directive:
			return nil, doctyped
		case xml.CharData:
			if strings.TrimSpace(string(token)) != "" {
				return nil, badXML
			}
		case xml.StartElement:
			if out != nil {
				return nil, badXML
			}
			root, why := tree.element(token, 1)
			if why != "" {
				return nil, why
			}
			out = map[string]any{token.Name.Local: root}
		}
	}
}

// xmlTree is a tree that is being read.
type xmlTree struct {
	dec    *xml.Decoder
	values int // number of elements and attributes read so far
}

// element reads the rest of an element. level is its depth; the root's is 1.
func (t *xmlTree) element(start xml.StartElement, level int) (any, unread) {
	t.values += 1 + len(start.Attr)
	if t.values > maxValues || level > maxLevels {
		return nil, tooMuch
	}
	members := map[string]any{}
	add := func(name string, v any) {
		switch there := members[name].(type) {
		case nil:
			members[name] = v
		case []any:
			members[name] = append(there, v)
		default:
			members[name] = []any{there, v}
		}
	}
	for _, a := range start.Attr {
		if a.Name.Space != "xmlns" && a.Name.Local != "xmlns" {
			add("@"+a.Name.Local, a.Value)
		}
	}
	var text strings.Builder
	for {
		token, err := t.dec.Token()
		if err != nil {
			return nil, badXML // cut short, or not well-formed
		}
		switch token := token.(type) {
		case xml.Directive:
			return nil, doctyped
		case xml.CharData:
			text.Write(token)
		case xml.StartElement:
			child, why := t.element(token, level+1)
			if why != "" {
				return nil, why
			}
			add(token.Name.Local, child)
		case xml.EndElement:
			said := strings.TrimSpace(text.String())
			if len(members) == 0 {
				return said, ""
			}
			if said != "" {
				members[xmlText] = said
			}
			return members, ""
		}
	}
}

// textOf returns the text of an XML element that has attributes or children. It
// returns any other v unchanged.
func textOf(v any) any {
	if members, isObject := v.(map[string]any); isObject {
		if text, isText := members[xmlText].(string); isText {
			return text
		}
	}
	return v
}
