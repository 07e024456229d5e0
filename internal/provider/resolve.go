// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
)

// Effective is the result of a config and the layers that it is made of: the
// dialect with every layer applied, checked, and ready to make requests.
type Effective struct {
	Dialect Dialect

	layer        Layer
	registration Registration
	declared     map[string]Variable
	env          *environment
	urls         map[string]*urlTemplate // by field
	sources      map[string]*urlTemplate // issuer and resource_url
	source       Source                  // where to find the endpoints; zero if they are written
	found        map[string]bool         // which of the URLs were found there
	own          Layer                   // what the config itself sets
	resources    []*urlTemplate          // dpop_resources
	required     []string                // what the provider requires beyond its grant and method
	keys         keys
	moment       grant.Moment      // how expires_at is read
	names        map[string]bool   // names that placeholders use, also by way of variables
	given        map[string]string // what a reader brings, or another config gives
}

// Check refuses a provider definition that no config could use.
func Check(definition Layer) error {
	_, err := resolve(definition, nil, nil, Registration{}, true)
	return err
}

// Resolve lays own (the dialect fields that a config sets itself) over the
// definition of its provider, and the roles over both. It checks that a request
// can be made of the result, and that the roles only add parameters and claims.
// If the endpoints are to be found at a Source and r does not hold them yet, the
// result has no endpoints to ask. Its errors are *InvalidError.
func Resolve(definition, own Layer, r Registration, roles ...Layer) (*Effective, error) {
	return resolve(definition, own, roles, r, false)
}

func resolve(definition, own Layer, roles []Layer, r Registration, definitionOnly bool) (*Effective, error) {
	e := &Effective{registration: r, own: own, sources: map[string]*urlTemplate{}, found: map[string]bool{}}
	declared, _ := definition["variables"].(map[string]any)
	var err error
	if e.declared, err = declarations(declared); err != nil {
		return nil, err
	}
	if e.declared, err = withComputed(e.declared, r.Variables); err != nil {
		return nil, err
	}
	if e.env, err = newEnvironment(e.declared, r, own["token_url"] != nil); err != nil {
		return nil, err
	}
	said := Overlay(append([]Layer{e.inherited(definition), own}, roles...)...).Only(Fields())
	layer := Overlay(defaults, said)
	if _, chosen := said["request_format"]; !chosen && layer["http_method"] == "GET" {
		layer["request_format"] = string(grant.Query)
	}
	e.layer = layer
	if err = layer.decode(&e.Dialect); err != nil {
		return nil, err
	}
	e.env = e.at(sampleTime(), "").env
	for _, check := range []func() error{
		func() error { return e.checkRequires(definition) }, e.checkAlgorithm, e.checkMethod,
		func() error { return e.checkSources(definitionOnly) }, e.checkURLs, e.checkResources, e.checkVariables, e.checkChain, e.checkNames,
		func() error { return e.checkRoles([]Layer{definition, own}, roles) },
		e.checkExchange, e.checkParameters, e.checkHeaders, e.checkPlaceholders, e.checkBody, e.checkRevocation, e.checkScopes, e.checkPointers, e.checkMoment, e.checkExtraFields, e.checkAuthority, e.checkProxy,
	} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	if definitionOnly {
		return e, nil
	}
	if err := e.checkCredentials(); err != nil {
		return nil, err
	}
	e.env = e.at(sampleTime(), "").env // with the keys that checkCredentials has read
	if _, err := e.proofTargets(); err != nil {
		return nil, err
	}
	if e.pending() {
		return e, nil
	}
	sample := e.sampled()
	if err := sample.checkEndpoints(); err != nil {
		return nil, err
	}
	request, err := sample.Request()
	if err == nil {
		err = checkBodyText(request)
	}
	if err == nil && e.describesRevocation() {
		_, _, err = e.sampled().RevocationRequest("sample")
	}
	if err != nil {
		return nil, err
	}
	return e, nil
}

// Origin returns a text that says where the credentials go, and what vouches for
// that place. It holds the scheme, host and port of the endpoints and of the
// proxy, the issuer, the source of the endpoints, the hosts that may come out of
// an answer, the trusted authority, and whether plain http is allowed. Equal origins are equally trustworthy.
func (e *Effective) Origin() (string, error) {
	parts := []any{e.registration.CACertificate, e.registration.AllowInsecureHTTP}
	if e.registration.ProxyURL != "" {
		u, err := parseProxy(e.registration.ProxyURL)
		if err != nil {
			return "", err
		}
		parts = append(parts, "proxy_url", origin(u))
	}
	sample := e.sampled()
	for _, field := range slices.Sorted(maps.Keys(e.urls)) {
		if e.found[field] {
			continue
		}
		u, err := sample.endpoint(field)
		if err != nil {
			return "", err
		}
		parts = append(parts, field, e.written(field, origin(u)))
	}
	if hosts := e.registration.SourceHosts; len(hosts) > 0 {
		parts = append(parts, "source_hosts", slices.Compact(slices.Sorted(slices.Values(hosts))))
	}
	if e.Dialect.Issuer != "" {
		parts = append(parts, "issuer", e.Dialect.Issuer)
	}
	if e.source != (Source{}) {
		found, err := e.foundOrigins()
		if err != nil {
			return "", err
		}
		parts = append(parts, "discovered", e.source, found)
	}
	b, err := json.Marshal(parts)
	return string(b), err
}

// Identity returns a text that is equal for two configs that would send the same
// request. It holds secrets, so hash it. A field that equals its default is left
// out, so that a field which a later version adds changes no identity.
func (e *Effective) Identity() ([]byte, error) {
	said := map[string]json.RawMessage{}
	for name, v := range e.layer {
		if asideFields[name] {
			continue
		}
		if name == "scopes" {
			v = slices.Sorted(slices.Values(e.Dialect.Scopes)) // their order makes no difference
		}
		b, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("writing %s: %w", name, err)
		}
		unset, err := json.Marshal(defaults[name])
		if err != nil {
			return nil, fmt.Errorf("writing %s: %w", name, err)
		}
		none := defaults[name] == nil && slices.Contains([]string{`""`, "false", "0", "[]", "{}"}, string(b))
		if !none && !bytes.Equal(b, unset) {
			said[name] = b
		}
	}
	declared := maps.Clone(e.declared)
	for name, d := range declared {
		d.Description, d.Example = "", ""
		declared[name] = d
	}
	parts := []any{said, declared, e.registration}
	if e.source != (Source{}) {
		found, err := e.foundOrigins()
		if err != nil {
			return nil, err
		}
		parts = append(parts, map[string]any{"issuer": e.Dialect.Issuer, "discovered": found})
	}
	if d := e.dpop(""); d != nil {
		parts = append(parts, d.Key.Thumbprint()) // a token can be used only with its key
	}
	return json.Marshal(parts)
}

// Describe returns the dialect as it will be used, by field. Placeholders are
// filled in, and secrets are shown as "REDACTED".
func (e *Effective) Describe() (map[string]any, error) {
	masked := *e
	masked.env = e.env.masked()
	r, err := masked.Request()
	if err != nil {
		return nil, err
	}
	out := map[string]any{}
	if err := e.layer.decode(&out); err != nil {
		return nil, err
	}
	for _, f := range Fields() {
		if _, decided := out[f.Name]; !decided {
			out[f.Name] = f.Type.none()
		}
	}
	for field := range e.urls {
		u, err := masked.endpoint(field)
		if err != nil {
			return nil, err
		}
		out[field] = e.written(field, u.String())
	}
	out["issuer"], out["resource_url"] = e.Dialect.Issuer, e.Dialect.ResourceURL
	resources, err := masked.proofTargets()
	if err != nil {
		return nil, err
	}
	shown := []string{}
	for _, u := range resources {
		shown = append(shown, u.String())
	}
	out["dpop_resources"] = shown
	for name := range e.registration.SecretParameters {
		delete(r.Parameters, name)
	}
	out["parameters"], out["request_headers"], out["request_body"] = r.Parameters, r.Headers, r.Body
	return out, nil
}
