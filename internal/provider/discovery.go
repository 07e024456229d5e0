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

// Source says where the endpoints of a config are to be found that has no
// token_url. One of its members is set; the zero Source is none.
type Source struct {
	Issuer   string `json:"issuer,omitempty"`   // an authorization server (RFC 8414)
	Resource string `json:"resource,omitempty"` // a resource that names its authorization server (RFC 9728)
}

// Field is the field of the API that says so.
func (s Source) Field() string {
	if s.Resource != "" {
		return "resource_url"
	}
	return "issuer"
}

func (s Source) String() string {
	return fmt.Sprintf("%s %q", s.Field(), cmp.Or(s.Issuer, s.Resource))
}

// Discovered is what was found at a Source: the metadata of the authorization
// server that it names.
type Discovered struct {
	Source Source `json:"source"`
	grant.ServerMetadata
}

// Same says whether d leads to just where other does, whenever they were read.
func (d *Discovered) Same(other *Discovered) bool {
	a, b := d.ServerMetadata, other.ServerMetadata
	a.Validity, b.Validity = grant.Validity{}, grant.Validity{}
	return d.Source == other.Source && reflect.DeepEqual(a, b)
}

// Source is where the endpoints of e are to be found: the zero Source where they
// are written. A written token_url needs no discovery, and a written issuer no
// resource that names one.
func (e *Effective) Source() Source { return e.source }

// Discovered is what the endpoints of e were found in, nil where they are
// written or not found yet.
func (e *Effective) Discovered() *Discovered {
	if e.pending() || e.source == (Source{}) {
		return nil
	}
	return e.registration.Discovered
}

// pending says that e has no endpoints yet: they are still to be found.
func (e *Effective) pending() bool {
	return e.source != (Source{}) && (e.registration.Discovered == nil || e.registration.Discovered.Source != e.source)
}

// MetadataRequest says how the servers are asked for their metadata.
func (e *Effective) MetadataRequest() grant.MetadataRequest {
	return grant.MetadataRequest{Field: e.source.Field(), Timeout: e.registration.RequestTimeout, Connection: e.connection()}
}

// SourceID is equal for those who ask the same server in the same way.
func (e *Effective) SourceID() (string, error) {
	id, err := e.connection().ID()
	return fmt.Sprintf("%s %x", e.source, id), err
}

// CheckDiscovered refuses metadata that names endpoints which no client of e may
// be sent to.
func (e *Effective) CheckDiscovered(d *Discovered) error {
	out := *e
	out.urls, out.found, out.registration.Discovered = maps.Clone(e.urls), map[string]bool{}, d
	if err := out.find(); err != nil {
		return err
	}
	_, err := out.foundOrigins()
	return err
}

// AuthorizationServer is the issuer that a resource's metadata names. The client
// is registered at one server, which the operator has to choose where there are
// several.
func (e *Effective) AuthorizationServer(r *grant.ResourceMetadata) (string, error) {
	switch len(r.AuthorizationServers) {
	case 0:
		return "", invalid("resource_url", "names no authorization server in its metadata (authorization_servers); write issuer, or token_url")
	case 1:
	default:
		return "", invalid("resource_url", "names several authorization servers in its metadata: write issuer, the one at which the client is registered: %s", Listed(r.AuthorizationServers[:min(len(r.AuthorizationServers), 5)]))
	}
	issuer := r.AuthorizationServers[0]
	u, err := e.foundURL(issuer, r.Resource)
	if err == nil && len(u.query) > 0 {
		err = errIssuerQuery
	}
	if err != nil {
		return "", invalid("resource_url", "names in its metadata an authorization server that cannot be asked: its URL %s", err)
	}
	return issuer, nil
}

var errIssuerQuery = errors.New("holds a query, which an issuer does not have (RFC 8414 section 2)")

// checkSources reads issuer and resource_url, which are names of servers as well
// as addresses, so that they are kept as they are written.
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
			err = errors.New("names a secret, and is shown to everybody who reads the config")
		}
		if err == nil && slices.ContainsFunc(t.parts.names(), func(name string) bool { return e.env.meanings[name].varies }) {
			err = errors.New("names what is another for each request, such as {now}; a server has one name")
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

// find takes the endpoints that were found at the source. One that is written is
// left as it is, also where it is written to be none. A client that shows a
// certificate goes where the server wants those (RFC 8705 section 5).
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
			return invalid(e.source.Field(), "leads to a %s that cannot be asked: the one in the metadata %s", field, err)
		}
		e.urls[field], e.found[field], *endpoint.into = t, true, endpoint.found
	}
	return nil
}

// foundURL reads a URL that a document of by names. It has to keep to what a
// written one has to, and must not lead from the network back to this machine,
// or from a safe connection to one that everybody can read.
func (e *Effective) foundURL(text, by string) (*urlTemplate, error) {
	if strings.ContainsAny(text, "{}") {
		return nil, errors.New("holds braces, which no URL does")
	}
	t, err := parseURL(text)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("is no URL")
	}
	from, err := url.Parse(by)
	if err != nil {
		return nil, errors.New("is named by what is no URL")
	}
	switch {
	case u.Scheme == "http" && from.Scheme != "http":
		return nil, errors.New("is plain http, which would show the credentials to the network")
	case isLoopback(u.Hostname()) && !isLoopback(from.Hostname()):
		return nil, errors.New("leads to this machine itself, which only a server on it may name")
	}
	return t, nil
}

// foundOrigins are the origins of the endpoints that were found. Which endpoint
// is at which of them makes no difference: all of them get credentials.
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

// Mismatches says what of e the server's metadata does not list: it will most
// likely be refused. What a server does not list at all says nothing.
func (e *Effective) Mismatches() []string {
	d := e.Discovered()
	if d == nil {
		return nil
	}
	var out []string
	for _, said := range []struct {
		field, value string
		listed       []string
	}{
		{"token_endpoint_auth_method", e.Dialect.AuthMethod, d.AuthMethods},
		{"grant_type", e.Dialect.GrantType, d.GrantTypes},
	} {
		if said.listed == nil || slices.Contains(said.listed, said.value) || said.value == "none" && said.field == "grant_type" {
			continue
		}
		out = append(out, fmt.Sprintf("the metadata of issuer %q lists %s for %s, and not %s", d.Issuer, Listed(said.listed), said.field, said.value))
	}
	return out
}

// Moved says how e, which newer metadata led to, differs from what was confirmed.
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
