// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"net/url"
	"strings"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
)

// pin is a parameter or a claim that a role must not change. A role may add an
// open one, but only in this spelling.
type pin struct {
	name, by string
	open     bool
}

// pins holds pins by what spelled returns for their names.
type pins map[string]pin

func (p pins) add(name, by string) { p[spelled(name)] = pin{name: name, by: by} }

// checkRoles makes sure that role layers only add parameters and claims. The
// writer of a role need not be trusted with the credentials of its config, and
// must not undo what the config insists on. under holds the layers that the roles
// lie on: the definition, and what the config sets.
func (e *Effective) checkRoles(under, roles []Layer) error {
	for field, pinned := range map[string]pins{"parameters": e.pinnedParameters(under), "assertion_claims": e.pinnedClaims(under)} {
		for _, role := range roles {
			added, _ := role[field].(map[string]any)
			for name, v := range added {
				if err := e.checkAdded(field, name, v, pinned); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// checkAdded refuses an entry that a role adds if the entry is pinned, or names a
// secret.
func (e *Effective) checkAdded(field, name string, v any, pinned pins) error {
	what := strings.TrimPrefix(field, "assertion_") // parameters, or claims
	switch p, taken := pinned[spelled(name)]; {
	case taken && p.name == name && !p.open:
		return invalid(field, "holds %s, which %s: a role can add %s, not change or remove one. Leave it out of the role", quoted(name), p.by, what)
	case taken && p.name != name:
		return invalid(field, "holds %s, which some servers read as %s, and that one %s: a role can add %s, not repeat one. Leave it out of the role", quoted(name), quoted(p.name), p.by, what)
	}
	_, err := EachText(v, func(text string) (string, error) {
		t, _ := parseTemplate(text) // checkPlaceholders refuses a broken one
		for _, placeholder := range t.names() {
			if e.env.isSecret(placeholder) || isChained(placeholder) {
				return "", invalid(field, "holds a text under %s that names the secret {%s}: a role cannot name a secret, or its writer could send the secret to a place where it shows. Set it on the config", quoted(name), placeholder)
			}
		}
		return text, nil
	})
	return err
}

// decided pins the entries that the layers decide. A null, which leaves an entry
// out, decides it as well. An entry that names an optional variable which is not
// set is not decided.
func (e *Effective) decided(field string, under []Layer) pins {
	out := pins{}
	for _, l := range under {
		texts, _ := l[field].(map[string]any)
		for name, v := range texts {
			_, set, err := leaves(v, func(text string) (any, bool, error) { return e.env.expandText(text) })
			if v == nil || set || err != nil {
				out.add(name, "the config or its provider decides")
			}
		}
	}
	return out
}

// pinnedParameters returns the parameters that the engine sends, and those that
// the layers in under decide.
func (e *Effective) pinnedParameters(under []Layer) pins {
	out := e.decided("parameters", under)
	for name := range e.registration.SecretParameters {
		out.add(name, "the config or its provider decides")
	}
	if u := e.urls["token_url"]; u != nil {
		for _, q := range u.query {
			if name, err := url.QueryUnescape(q.name); err == nil { // checkParameters refuses a broken one
				out.add(name, "token_url has in its query")
			}
		}
	}
	for _, name := range []string{grant.ParamSubjectToken, grant.ParamActorToken} {
		if e.exchanges(name) {
			out.add(name+"_type", "is said with the "+name)
		}
	}
	for name := range e.Dialect.ParameterNames {
		out.add(name, "parameter_names renames or leaves out")
	}
	if e.Dialect.ResourceURL != "" {
		out.add(paramResource, "resource_url decides")
	}
	for _, name := range append(e.engineNames(), grant.ParamGrantType, grant.ParamClientID) {
		out.add(name, "the engine sends itself")
	}
	return out
}

// pinnedClaims returns the claims by which a server recognizes an assertion and
// its client, and those that the layers in under decide. A role may set the
// subject (sub) if nobody else has decided it.
func (e *Effective) pinnedClaims(under []Layer) pins {
	out := e.decided("assertion_claims", under)
	if _, decided := out["sub"]; !decided {
		out["sub"] = pin{name: "sub", by: "says whom the assertion is about", open: true}
	}
	for _, name := range []string{"iss", "aud", "exp", "nbf", "iat", "jti"} {
		out.add(name, "the engine sends itself")
	}
	out.add("scope", "scopes decides") // a role can narrow scopes
	return out
}

// spelled returns the same text for all spellings that some server reads as one
// parameter. Upper and lower case make no difference. Names of lists (audience[])
// and names that cannot be variables (client.id) are read as PHP and Rails read
// them.
func spelled(name string) string {
	name = strings.ToLower(strings.ToUpper(strings.TrimSpace(name)))
	if end := strings.IndexAny(name, "[\x00"); end > 0 {
		name = name[:end]
	}
	return strings.NewReplacer(".", "_", " ", "_").Replace(name)
}
