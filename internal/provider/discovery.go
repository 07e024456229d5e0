// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
)

// Source says where to find the endpoints of a config that has no token_url. One
// of its members is set. The zero Source means that there is nothing to find.
type Source struct {
	Issuer   string `json:"issuer,omitempty"`   // an authorization server (RFC 8414)
	Resource string `json:"resource,omitempty"` // a resource that names its authorization server (RFC 9728)
}

// Field returns the name of the API field that holds the source.
func (s Source) Field() string {
	if s.Resource != "" {
		return "resource_url"
	}
	return "issuer"
}

func (s Source) String() string {
	return fmt.Sprintf("%s %q", s.Field(), cmp.Or(s.Issuer, s.Resource))
}

// Discovered holds what was found at a Source: the metadata of the authorization
// server that the source names.
type Discovered struct {
	Source Source `json:"source"`
	grant.ServerMetadata
}

// Same reports whether d and other hold the same metadata from the same source.
// When each of them was read makes no difference.
func (d *Discovered) Same(other *Discovered) bool {
	a, b := d.ServerMetadata, other.ServerMetadata
	a.Validity, b.Validity = grant.Validity{}, grant.Validity{}
	return d.Source == other.Source && reflect.DeepEqual(a, b)
}

// Source returns where to find the endpoints of e, or the zero Source if they are
// written. With a token_url nothing has to be found, and with an issuer no
// resource has to name one.
func (e *Effective) Source() Source { return e.source }

// Discovered returns the metadata in which the endpoints of e were found. It
// returns nil if the endpoints are written, or not found yet.
func (e *Effective) Discovered() *Discovered {
	if e.pending() || e.source == (Source{}) {
		return nil
	}
	return e.registration.Discovered
}

// pending reports whether the endpoints of e are still to be found.
func (e *Effective) pending() bool {
	return e.source != (Source{}) && (e.registration.Discovered == nil || e.registration.Discovered.Source != e.source)
}

// MetadataRequest returns how to ask the servers for their metadata.
func (e *Effective) MetadataRequest() grant.MetadataRequest {
	return grant.MetadataRequest{Field: e.source.Field(), Timeout: e.registration.RequestTimeout, Connection: e.connection()}
}

// SourceID returns an ID that is equal for all configs that ask the same server
// in the same way.
func (e *Effective) SourceID() (string, error) {
	id, err := e.connection().ID()
	return fmt.Sprintf("%s %x", e.source, id), err
}

// CheckDiscovered refuses metadata that names an endpoint to which e must not be
// sent.
func (e *Effective) CheckDiscovered(d *Discovered) error {
	out := *e
	out.urls, out.found, out.registration.Discovered = maps.Clone(e.urls), map[string]bool{}, d
	if err := out.find(); err != nil {
		return err
	}
	_, err := out.foundOrigins()
	return err
}

// AuthorizationServer returns the issuer that a resource's metadata names. If the
// metadata names several, it returns an error: the client is registered at one
// server, and the operator has to choose it.
func (e *Effective) AuthorizationServer(r *grant.ResourceMetadata) (string, error) {
	switch len(r.AuthorizationServers) {
	case 0:
		return "", invalid("resource_url", "leads to metadata that names no authorization server (authorization_servers): write issuer or token_url")
	case 1:
	default:
		return "", invalid("resource_url", "leads to metadata that names several authorization servers: write the one at which the client is registered as issuer: %s", Listed(r.AuthorizationServers[:min(len(r.AuthorizationServers), 5)]))
	}
	issuer := r.AuthorizationServers[0]
	u, err := e.foundURL(issuer, r.Resource)
	if err == nil && len(u.query) > 0 {
		err = errIssuerQuery
	}
	if err != nil {
		return "", invalid("resource_url", "leads to metadata that names an authorization server which cannot be asked: its URL %s", err)
	}
	return issuer, nil
}

var errIssuerQuery = errors.New("has a query, which an issuer must not have (RFC 8414 section 2)")

// checkSources checks issuer and resource_url, and fills in their placeholders.
// Both are names of servers as well as addresses, so they are kept as they are
// written.
func (e *Effective) checkSources(definitionOnly bool) error {
	for field, filled := range map[string]*string{"issuer": &e.Dialect.Issuer, "resource_url": &e.Dialect.ResourceURL} {
		if *filled == "" {
			continue
		}
		t, err := parseURL(*filled)
		if err == nil {
			err = t.check(e.env)
		}
		if err == nil && slices.ContainsFunc(t.parts.names(), e.env.isSecret) {
			err = errors.New("names a secret, but it is shown to everybody who may read the config")
		}
		if err == nil && slices.ContainsFunc(t.parts.names(), func(name string) bool { return e.env.meanings[name].varies }) {
			err = errors.New("names a placeholder that differs for each request, such as {now}: a server has one fixed name")
		}
		if err == nil && field == "issuer" && len(t.query) > 0 {
			err = errIssuerQuery
		}
		if err != nil {
			return invalid(field, "%s", err)
		}
		e.sources[field] = t
		if definitionOnly {
			continue
		}
		u, err := e.fill(field, t)
		if err != nil {
			return err
		}
		*filled = u.String()
	}
	switch {
	case definitionOnly, e.Dialect.TokenURL != "":
	case e.Dialect.Issuer != "":
		e.source = Source{Issuer: e.Dialect.Issuer}
	case e.Dialect.ResourceURL != "":
		e.source = Source{Resource: e.Dialect.ResourceURL}
	}
	return nil
}

// find sets the endpoints that were found at the source. An endpoint that a layer
// writes stays as it is, even if it is written as empty. A client that shows a
// certificate uses the endpoints that the server has for such clients (RFC 8705
// section 5).
func (e *Effective) find() error {
	if e.pending() || e.source == (Source{}) {
		return nil
	}
	d := e.registration.Discovered
	e.Dialect.Issuer = d.Issuer
	at := d.Endpoints
	if e.registration.ClientCertificate != "" || e.registration.TLSKey != "" {
		at.Token, at.Revocation = cmp.Or(d.MTLS.Token, at.Token), cmp.Or(d.MTLS.Revocation, at.Revocation)
	}
	for field, endpoint := range map[string]struct {
		found string
		into  *string
	}{"token_url": {at.Token, &e.Dialect.TokenURL}, "revocation_url": {at.Revocation, &e.Dialect.RevocationURL}} {
		if _, written := e.layer[field]; endpoint.found == "" || written && field != "token_url" {
			continue
		}
		t, err := e.foundURL(endpoint.found, d.Issuer)
		if err != nil {
			return invalid(e.source.Field(), "leads to metadata whose %s cannot be used: it %s", field, err)
		}
		e.urls[field], e.found[field], *endpoint.into = t, true, endpoint.found
	}
	return nil
}

// foundURL parses a URL that was found in the metadata of by, which is a URL
// itself. The rules for written URLs apply. In addition, the URL must not lead
// from the network back to this machine, or from https to plain http.
func (e *Effective) foundURL(text, by string) (*urlTemplate, error) {
	if strings.ContainsAny(text, "{}") {
		return nil, errors.New("holds braces, which a URL must not")
	}
	t, err := parseURL(text)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("is not a URL")
	}
	from, err := url.Parse(by)
	if err != nil {
		return nil, errors.New("is named by something that is not a URL")
	}
	switch {
	case u.Scheme == "http" && from.Scheme != "http":
		return nil, errors.New("uses http://, which would show the credentials to the network")
	case isLoopback(u.Hostname()) && !isLoopback(from.Hostname()):
		return nil, errors.New("leads to this machine itself, which only a server on this machine may name")
	}
	return t, nil
}

// foundOrigins returns the sorted origins of the endpoints that were found. Which
// endpoint is at which origin makes no difference, because all of them get
// credentials.
func (e *Effective) foundOrigins() ([]string, error) {
	var out []string
	for field := range e.found {
		u, err := e.endpoint(field)
		if err != nil {
			return nil, err
		}
		out = append(out, origin(u))
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// Mismatches returns a message for each setting of e that is missing from the
// list in the server's metadata. The server will probably refuse such a setting.
// If the metadata has no list for a setting, there is no message about it.
func (e *Effective) Mismatches() []string {
	d := e.Discovered()
	if d == nil {
		return nil
	}
	grantType, signed, proved := e.Dialect.GrantType, "", ""
	if grantType == "none" {
		grantType = ""
	}
	switch e.Dialect.AuthMethod {
	case string(grant.AuthPrivateKeyJWT):
		signed = string(e.keys.algorithm)
	case string(grant.AuthSecretJWT):
		signed = string(e.keys.secretAlgorithm)
	}
	if e.Dialect.DPoP {
		proved = string(grant.ProofAlgorithm)
	}
	var out []string
	for _, said := range []struct {
		of, value string // no value is not sent
		listed    []string
	}{
		{"token_endpoint_auth_method", e.Dialect.AuthMethod, d.AuthMethods},
		{"grant_type", grantType, d.GrantTypes},
		{"the algorithm of the client's assertions (signing_algorithm)", signed, d.AuthAlgorithms},
		{"the algorithm of proofs (dpop)", proved, d.DPoPAlgorithms},
	} {
		if said.value == "" || said.listed == nil || slices.Contains(said.listed, said.value) {
			continue
		}
		out = append(out, fmt.Sprintf("the metadata of issuer %q lists %s for %s, and not %s", d.Issuer, Listed(said.listed), said.of, said.value))
	}
	return out
}

// Moved describes how the endpoints of e, which come from newer metadata, differ
// from those that were confirmed, and how to confirm the new ones.
func (e *Effective) Moved(confirmed *Effective) string {
	return fmt.Sprintf("%s now leads to %s, and when they were written it led to %s: write the config's secrets again to confirm that", e.source, e.whereto(), confirmed.whereto())
}

func (e *Effective) whereto() string {
	origins, err := e.foundOrigins()
	out := Listed(origins)
	if err != nil {
		out = "endpoints that cannot be asked"
	}
	if e.source.Resource != "" {
		out += fmt.Sprintf(" (issuer %q)", e.Dialect.Issuer)
	}
	return out
}
