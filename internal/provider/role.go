// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"net/url"
	"strings"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
)

// pin is a parameter, or a claim, that a role leaves alone; an open one it may
// add, by no other spelling.
type pin struct {
	name, by string
	open     bool
}

// pins are those, by their names as spelled gives them.
type pins map[string]pin

func (p pins) add(name, by string) { p[spelled(name)] = pin{name: name, by: by} }

// checkRoles keeps role layers to adding: whoever may write a role need not be
// trusted with the credentials of its config, nor to undo what the config
// insists on. Under is what the roles lie on: the definition, and what the
// config sets.
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

// checkAdded refuses what a role adds if that is pinned, or names a secret.
func (e *Effective) checkAdded(field, name string, v any, pinned pins) error {
	what := strings.TrimPrefix(field, "assertion_") // parameters, or claims
	switch p, taken := pinned[spelled(name)]; {
	case taken && p.name == name && !p.open:
		return invalid(field, "holds %s, which %s: a role can add %s, not change or remove one. Leave it out of the role", quoted(name), p.by, what)
	case taken && p.name != name:
		return invalid(field, "holds %s, which some servers take for %s, and that one %s: a role can add %s, not repeat one. Leave it out of the role", quoted(name), quoted(p.name), p.by, what)
	}
	_, err := EachText(v, func(text string) (string, error) {
		t, _ := parseTemplate(text) // checkPlaceholders says what is wrong with it
		for _, placeholder := range t.names() {
			if e.env.isSecret(placeholder) {
				return "", invalid(field, "holds a text under %s that names the secret {%s}: a role cannot name a secret, so that its writer cannot have it sent where it shows. Set it on the config", quoted(name), placeholder)
			}
		}
		return text, nil
	})
	return err
}

// decided pins what the layers decide. Leaving one out by a null decides it as
// well; naming an optional variable that is not set does not.
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

// pinnedParameters are those that the engine sends, and those that under
// decides.
func (e *Effective) pinnedParameters(under []Layer) pins {
	out := e.decided("parameters", under)
	for name := range e.registration.SecretParameters {
		out.add(name, "the config or its provider decides")
	}
	if u := e.urls["token_url"]; u != nil {
		for _, q := range u.query {
			if name, err := url.QueryUnescape(q.name); err == nil { // checkParameters refuses others
				out.add(name, "token_url has in its query")
			}
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

// pinnedClaims are those by which a server knows an assertion and its client, and
// those that under decides. Whom it is about (sub) is left to a role where nobody
// has decided it.
func (e *Effective) pinnedClaims(under []Layer) pins {
	out := e.decided("assertion_claims", under)
	if _, decided := out["sub"]; !decided {
		out["sub"] = pin{name: "sub", by: "says whom the assertion is about", open: true}
	}
	for _, name := range []string{"iss", "aud", "exp", "nbf", "iat", "jti"} {
		out.add(name, "the engine sends itself")
	}
	out.add("scope", "scopes decides") // which a role can narrow
	return out
}

// spelled is the one form of the spellings that some server or other takes for
// one parameter: in any case, and as PHP and Rails read names of lists
// (audience[]) and names that cannot be variables (client.id).
func spelled(name string) string {
	name = strings.ToLower(strings.ToUpper(strings.TrimSpace(name)))
	if end := strings.IndexAny(name, "[\x00"); end > 0 {
		name = name[:end]
	}
	return strings.NewReplacer(".", "_", " ", "_").Replace(name)
}
