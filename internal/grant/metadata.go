// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Limits of what is stored from a metadata document.
const (
	maxAddress = 2048 // bytes of a URL or another text
	maxListed  = 64   // texts in a list
)

// MetadataRequest says how to ask a server for a document about itself. The
// request holds no credentials of the client, except the certificate of its
// connection.
type MetadataRequest struct {
	Field   string        // API field that errors name as what to check
	Timeout time.Duration // for all addresses together
	Connection
}

// Endpoints are the endpoints of an authorization server that the engine uses.
// An empty address means that the server does not have the endpoint.
type Endpoints struct {
	Token      string `json:"token,omitempty"`
	Revocation string `json:"revocation,omitempty"`
}

// Validity says when a document was read, and until when it is used without
// asking its server again (RFC 9111), within bounds.
type Validity struct {
	ReadAt     time.Time `json:"read_at"`
	FreshUntil time.Time `json:"fresh_until"`
}

// ServerMetadata is what an authorization server publishes about itself (RFC
// 8414 section 2, OpenID Connect Discovery 1.0 section 3). Its texts are
// visible ASCII of at most 2048 bytes. The caller must decide whether an
// endpoint may be used. A list is nil if the server does not state it.
type ServerMetadata struct {
	Issuer string `json:"issuer"`
	Endpoints
	MTLS        Endpoints `json:"mtls,omitzero"` // mtls_endpoint_aliases (RFC 8705 section 5)
	AuthMethods []string  `json:"auth_methods,omitempty"`
	GrantTypes  []string  `json:"grant_types,omitempty"`

	// AuthAlgorithms are those of the client's assertions, DPoPAlgorithms those of
	// its proofs (RFC 9449 section 5.1).
	AuthAlgorithms []string `json:"auth_algorithms,omitempty"`
	DPoPAlgorithms []string `json:"dpop_algorithms,omitempty"`
	Validity
}

// ResourceMetadata is what a protected resource publishes about itself (RFC
// 9728 section 2).
type ResourceMetadata struct {
	Resource             string
	AuthorizationServers []string // issuer identifiers
	Validity
}

// ServerMetadata asks an authorization server for its metadata at the
// well-known addresses of RFC 8414 section 3 and of OpenID Connect Discovery
// 1.0 section 4. A document is accepted only if its issuer is identical to the
// requested one. Every error is an *Error, except when ctx was cancelled.
func (c *Client) ServerMetadata(ctx context.Context, issuer string, r MetadataRequest) (*ServerMetadata, error) {
	u, err := url.Parse(issuer)
	if err != nil {
		return nil, &Error{Kind: Misconfigured, Detail: r.Field + " is not a URL"}
	}
	addresses := []string{
		inserted(u, "oauth-authorization-server"),
		strings.TrimSuffix(issuer, "/") + "/.well-known/openid-configuration",
		inserted(u, "openid-configuration"), // RFC 8414 section 5
	}
	document, validity, err := c.published(ctx, r, "issuer", issuer, addresses)
	if err != nil {
		return nil, err
	}
	aliases, _ := document["mtls_endpoint_aliases"].(map[string]any)
	out := &ServerMetadata{
		Issuer: issuer, Endpoints: endpoints(document), MTLS: endpoints(aliases),
		AuthMethods: names(document["token_endpoint_auth_methods_supported"]), GrantTypes: names(document["grant_types_supported"]),
		AuthAlgorithms: names(document["token_endpoint_auth_signing_alg_values_supported"]), DPoPAlgorithms: names(document["dpop_signing_alg_values_supported"]),
		Validity: validity,
	}
	if out.Token == "" {
		return nil, &Error{Kind: Misconfigured, Detail: fmt.Sprintf("the metadata of issuer %q names no token_endpoint", printable(issuer)), Remedy: "write token_url"}
	}
	return out, nil
}

// ResourceMetadata asks a protected resource for its metadata at the well-known
// address of RFC 9728 section 3.1, and then at the address for its whole host. If
// neither has it, the resource itself is asked for the address (section 5.1). A
// document is accepted only if its resource is identical to the requested one
// (section 3.3). The errors are the same as those of ServerMetadata.
func (c *Client) ResourceMetadata(ctx context.Context, resource string, r MetadataRequest) (*ResourceMetadata, error) {
	ctx, cancel := WithTimeout(ctx, r.Timeout)
	defer cancel()
	u, err := url.Parse(resource)
	if err != nil {
		return nil, &Error{Kind: Misconfigured, Detail: r.Field + " is not a URL"}
	}
	host := url.URL{Scheme: u.Scheme, Host: u.Host}
	addresses := []string{inserted(u, "oauth-protected-resource"), inserted(&host, "oauth-protected-resource")}
	document, validity, err := c.published(ctx, r, "resource", resource, addresses)
	var missing *Error
	if errors.As(err, &missing) && missing.Kind == Misconfigured {
		var address string
		if address, err = c.metadataAddress(ctx, u, r); err == nil {
			document, validity, err = c.published(ctx, r, "resource", resource, []string{address})
		} else if why := new(Error); errors.As(err, &why) {
			missing.Detail += "; the resource itself was asked as well, and " + why.Detail
			err = missing
		}
	}
	if err != nil {
		return nil, err
	}
	return &ResourceMetadata{Resource: resource, AuthorizationServers: names(document["authorization_servers"]), Validity: validity}, nil
}

// metadataAddress asks a resource, without a token, for the address of its
// metadata. The resource names it where it refuses the request (RFC 9728 section
// 5.1). The address must have the origin of the resource, because a redirect to
// another origin would not be followed either.
func (c *Client) metadataAddress(ctx context.Context, resource *url.URL, r MetadataRequest) (string, error) {
	got, err := c.exchange(ctx, r.get(resource.String()))
	if err != nil {
		return "", err
	}
	address := metadataIn(got.header)
	u, err := url.Parse(address)
	switch {
	case address == "":
		return "", &Error{Kind: Misconfigured, Detail: fmt.Sprintf("answered HTTP %d without resource_metadata in WWW-Authenticate", got.status)}
	case err != nil || !plain(address) || u.Scheme != resource.Scheme || !strings.EqualFold(u.Host, resource.Host) || u.User != nil || u.Fragment != "":
		return "", &Error{Kind: Misconfigured, Detail: "its WWW-Authenticate names as resource_metadata something that is not a URL of its own scheme and host; write issuer"}
	}
	return address, nil
}

// get returns the request for what is at that address.
func (r MetadataRequest) get(address string) Request {
	return Request{URL: address, Method: http.MethodGet, Format: Query, Auth: AuthNone, Field: r.Field, Timeout: r.Timeout, Connection: r.Connection}
}

// inserted returns the well-known address with this name. The name is inserted
// between the host and the path of u, and a slash at the end of the path is
// removed (RFC 8414 section 3.1).
func inserted(u *url.URL, name string) string {
	out := u.Scheme + "://" + u.Host + "/.well-known/" + name + strings.TrimSuffix(u.EscapedPath(), "/")
	if u.RawQuery != "" {
		out += "?" + u.RawQuery
	}
	return out
}

// published returns the first document whose member equals the identifier. If
// an address has another document or none, the next address is tried. The error
// describes the result of each address, so that the operator knows which one to
// repair.
func (c *Client) published(ctx context.Context, r MetadataRequest, member, identifier string, addresses []string) (map[string]any, Validity, error) {
	ctx, cancel := WithTimeout(ctx, r.Timeout)
	defer cancel()
	var (
		trouble *Error // a failure that may pass, so that the document may be there later
		problem []string
	)
	for i, address := range addresses {
		if slices.Contains(addresses[:i], address) {
			continue
		}
		got, err := c.exchange(ctx, r.get(address))
		if err != nil {
			return nil, Validity{}, err // the next address is at the same host
		}
		document := c.readDocument(ctx, got)
		text, _ := document[member].(string)
		switch {
		case text == identifier:
			now := c.now()
			return document, Validity{ReadAt: now, FreshUntil: now.Add(freshness(got.header, now))}, nil
		case text != "":
			problem = append(problem, fmt.Sprintf("%s is that of %q (if this is what the server calls itself, write it as %s)", printable(address), printable(text), r.Field))
		case document != nil:
			problem = append(problem, fmt.Sprintf("%s names no %s", printable(address), member))
		case got.ok():
			problem = append(problem, fmt.Sprintf("%s answered HTTP %d without a JSON object", printable(address), got.status))
		default:
			problem = append(problem, fmt.Sprintf("%s answered HTTP %d", printable(address), got.status))
			if kind := kindOf(got.status, ""); kind != Refused && kind != Unintelligible && trouble == nil {
				trouble = &Error{Kind: kind}
				trouble.heed(got.header, c.now())
			}
		}
	}
	if trouble == nil {
		trouble = &Error{Kind: Misconfigured}
	}
	trouble.Detail = fmt.Sprintf("there is no metadata of %s %q: %s", member, printable(identifier), strings.Join(problem, ", and "))
	trouble.Remedy = fmt.Sprintf("check %s, or write token_url", r.Field)
	return nil, Validity{}, trouble
}

// readDocument returns the JSON object of a good answer, or nil if there is
// none.
func (c *Client) readDocument(ctx context.Context, got reply) map[string]any {
	defer c.startReading(ctx, got)()
	if !got.ok() {
		return nil
	}
	v, _ := parseJSON(string(got.body))
	document, _ := v.(map[string]any)
	return document
}

func endpoints(document map[string]any) Endpoints {
	address := func(member string) string {
		if text, isText := document[member].(string); isText && plain(text) {
			return text
		}
		return ""
	}
	return Endpoints{Token: address("token_endpoint"), Revocation: address("revocation_endpoint")}
}

// plain reports whether a text looks like an address or a registered name:
// visible ASCII of limited length.
func plain(text string) bool {
	return len(text) <= maxAddress && !strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c > '~' })
}

// names reads a list of plain texts. Items that are not plain texts are left
// out.
func names(v any) []string {
	list, isList := v.([]any)
	if !isList {
		return nil
	}
	out := make([]string, 0, min(len(list), maxListed))
	for _, item := range list {
		if text, isText := item.(string); isText && text != "" && plain(text) && len(out) < maxListed {
			out = append(out, text)
		}
	}
	return out
}
