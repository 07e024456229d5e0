// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"net/url"
	"strings"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
)

// pin is a parameter that a role leaves alone.
type pin struct{ name, by string }

// checkRoles keeps role layers to adding: whoever may write a role need not be
// trusted with the credentials of its config, nor to undo what the config
// insists on. Under is what the roles lie on: the definition, and what the
// config sets.
func (e *Effective) checkRoles(under, roles []Layer) error {
	pinned := e.pinned(under)
	for _, role := range roles {
		params, _ := role["parameters"].(map[string]any)
		for name, v := range params {
			if p, taken := pinned[spelled(name)]; taken && p.name == name {
				return invalid("parameters", "holds %s, which %s: a role can add parameters, not change or remove one. Leave it out of the role", quoted(name), p.by)
			} else if taken {
				return invalid("parameters", "holds %s, which some servers take for %s, and that one %s: a role can add parameters, not repeat one. Leave it out of the role", quoted(name), quoted(p.name), p.by)
			}
			_, _, err := leaves(v, func(text string) (any, bool, error) {
				t, _ := parseTemplate(text) // checkParameters says what is wrong with it
				for _, placeholder := range t.names() {
					if e.env.isSecret(placeholder) {
						return nil, false, invalid("parameters", "holds a text under %s that names the secret {%s}: a role cannot name a secret, so that its writer cannot have it sent where it shows. Set this parameter on the config", quoted(name), placeholder)
					}
				}
				return nil, true, nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// pinned are the parameters that the engine sends, and those that under
// decides, by their names as spelled gives them. Leaving one out by a null
// decides it as well; naming an optional variable that is not set does not.
func (e *Effective) pinned(under []Layer) map[string]pin {
	out := map[string]pin{}
	add := func(name, by string) { out[spelled(name)] = pin{name: name, by: by} }
	for _, l := range under {
		params, _ := l["parameters"].(map[string]any)
		for name, v := range params {
			_, set, err := leaves(v, func(text string) (any, bool, error) { return e.env.expandText(text) })
			if v == nil || set || err != nil {
				add(name, "the config or its provider decides")
			}
		}
	}
	for name := range e.registration.SecretParameters {
		add(name, "the config or its provider decides")
	}
	if u := e.urls["token_url"]; u != nil {
		for _, q := range u.query {
			if name, err := url.QueryUnescape(q.name); err == nil { // checkParameters refuses others
				add(name, "token_url has in its query")
			}
		}
	}
	if e.Dialect.ResourceURL != "" {
		add(paramResource, "resource_url decides")
	}
	for name := range e.Dialect.ParameterNames {
		add(name, "parameter_names renames or leaves out")
	}
	for _, name := range append(e.engineNames(), grant.ParamGrantType, grant.ParamClientID) {
		add(name, "the engine sends itself")
	}
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
