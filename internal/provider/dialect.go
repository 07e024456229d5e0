// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
)

// Dialect says how one token endpoint wants to be asked and how it answers. Every
// field has its final value. The JSON names are those of the API.
type Dialect struct {
	TokenURL                string         `json:"token_url"`
	RevocationURL           string         `json:"revocation_url"`
	RevocationMethod        string         `json:"revocation_method"`
	RevocationParameters    map[string]any `json:"revocation_parameters"`
	RevocationHeaders       map[string]any `json:"revocation_headers"`
	GrantType               string         `json:"grant_type"`
	AuthMethod              string         `json:"token_endpoint_auth_method"`
	BasicAuthEncoding       string         `json:"basic_auth_encoding"`
	HTTPMethod              string         `json:"http_method"`
	RequestFormat           string         `json:"request_format"`
	RequestBody             string         `json:"request_body"`
	SpaceEncoding           string         `json:"space_encoding"`
	Parameters              map[string]any `json:"parameters"`
	ParameterNames          map[string]any `json:"parameter_names"`
	RequestHeaders          map[string]any `json:"request_headers"`
	Scopes                  []string       `json:"scopes"`
	ScopesRequired          bool           `json:"scopes_required"`
	ScopeSeparator          string         `json:"scope_separator"`
	AccessTokenPointer      []string       `json:"access_token_pointer"`
	ExpiresInPointer        []string       `json:"expires_in_pointer"`
	ExpiresInUnit           string         `json:"expires_in_unit"`
	ExpiresAtPointer        []string       `json:"expires_at_pointer"`
	ExpiresAtFormat         string         `json:"expires_at_format"`
	ExpiresAtZone           string         `json:"expires_at_zone"`
	TokenTypePointer        []string       `json:"token_type_pointer"`
	ScopePointer            []string       `json:"scope_pointer"`
	RefreshTokenPointer     []string       `json:"refresh_token_pointer"`
	ErrorPointer            []string       `json:"error_pointer"`
	ErrorDescriptionPointer []string       `json:"error_description_pointer"`
	ExtraFields             map[string]any `json:"extra_fields"`
	DefaultTokenType        string         `json:"default_token_type"`
	DefaultTokenLifetime    int64          `json:"default_token_lifetime"` // seconds
	Issuer                  string         `json:"issuer"`
	ResourceURL             string         `json:"resource_url"`
	AssertionClaims         map[string]any `json:"assertion_claims"`
	AssertionHeaders        map[string]any `json:"assertion_headers"`
	AssertionLifetime       int64          `json:"assertion_lifetime"` // seconds
	AssertionAudience       []any          `json:"assertion_audience"` // texts
	CheckURL                string         `json:"check_url"`
	CheckHeaders            map[string]any `json:"check_headers"`
	Refresh                 string         `json:"refresh"`
	DPoP                    bool           `json:"dpop"`
	DPoPResources           []string       `json:"dpop_resources"`
}

// RefreshLate is the value of refresh for providers where each new token ends the
// client's previous token.
const RefreshLate = "late"

// dialectFields declares the fields of a Dialect.
func dialectFields() []Field {
	return []Field{
		{Name: "token_url", Type: URL, In: OnProvider | OnConfig, Description: "The token endpoint (RFC 6749 section 3.2). May hold placeholders such as {tenant} in its host, path segments and query values. A literal query is kept. It must be https, except to loopback or with allow_insecure_http."},
		{Name: "revocation_url", Type: URL, In: OnProvider | OnConfig, Description: "The revocation endpoint (RFC 7009). May hold placeholders like token_url. With reuse=false, the token of a lease is revoked there when the lease is revoked. A config does not inherit it if its token_url is at another host than its provider's."},
		{Name: "revocation_method", Type: Word, In: OnProvider | OnConfig, Aside: true, Default: "POST", Allowed: []string{"POST", "DELETE"}, Description: "The method of the request to revocation_url: POST (default) or DELETE."},
		{Name: "revocation_parameters", Type: Values, In: OnProvider | OnConfig, Aside: true, Description: "The parameters of the request to revocation_url, for a provider that does not follow RFC 7009 (map). Values may hold placeholders, including {access_token}. If revocation_parameters or revocation_headers is set, only these and request_headers are sent, and the client authenticates in no other way. By default, token and token_type_hint are sent, and the client authenticates as at token_url."},
		{Name: "revocation_headers", Type: TextPairs, In: OnProvider | OnConfig, Aside: true, Description: "The headers of the request to revocation_url, in addition to or instead of request_headers (map), such as Authorization=\"Bearer {access_token}\". Values may hold placeholders, as in revocation_parameters."},
		{Name: "grant_type", Type: Word, In: OnProvider | OnConfig, Default: "client_credentials", Description: "client_credentials (default), password, refresh_token, urn:ietf:params:oauth:grant-type:jwt-bearer (RFC 7523: a JWT that private_key, signing_key or, with signing_algorithm=HS256, client_secret signs; or assertion), urn:ietf:params:oauth:grant-type:saml2-bearer (RFC 7522: assertion), urn:ietf:params:oauth:grant-type:token-exchange (RFC 8693), or any other literal; with none, no grant_type is sent. Only password sends the username and password, and only refresh_token sends the refresh_token."},
		{Name: "token_endpoint_auth_method", Type: Word, In: OnProvider | OnConfig, Default: string(grant.AuthBasic), Allowed: grant.AuthMethods(), Description: "How the client authenticates (RFC 7591, RFC 7523, RFC 8705): client_secret_basic (default), client_secret_post, client_secret_jwt, private_key_jwt, tls_client_auth, self_signed_tls_client_auth, or none, which sends only the client_id, if there is one. A TLS client certificate can be used with any of them."},
		{Name: "basic_auth_encoding", Type: Word, In: OnProvider | OnConfig, Default: "rfc6749", Allowed: []string{"rfc6749", "raw"}, Description: "How client_secret_basic encodes the credentials before base64: rfc6749 (default) form-urlencodes them first, raw leaves them as they are. Servers differ in what they expect."},
		{Name: "http_method", Type: Word, In: OnProvider | OnConfig, Default: "POST", Allowed: []string{"POST", "GET", "PUT"}, Description: "The method of the request: POST (default), PUT, or GET, which implies request_format=query."},
		{Name: "request_format", Type: Word, In: OnProvider | OnConfig, Default: string(grant.Form), Allowed: []string{string(grant.Form), string(grant.JSON), string(grant.Query), string(grant.Template)}, Description: "How the parameters are sent: form (default), json or query. With template, request_body is sent instead of parameters."},
		{Name: "request_body", Type: Text, In: OnProvider | OnConfig, Description: "The whole body of the request, for request_format=template. Set its Content-Type in request_headers. Each placeholder must end in a filter that escapes the value for that Content-Type: {password|json}, which also writes the quotes, {password|xml} or {password|urlencode}."},
		{Name: "space_encoding", Type: Word, In: OnProvider | OnConfig, Default: "plus", Allowed: []string{"plus", "percent"}, Description: "How a form, a query and the filter urlencode write a space: plus (default) or percent, which is %20."},
		{Name: "parameters", Type: Values, In: OnProvider | OnConfig | OnRole, Description: "Extra request parameters, such as audience or resource: a map of JSON values. In a form, a list repeats the parameter, and an object is sent as JSON text; in JSON, both stay what they are. String values may hold placeholders. A null removes an inherited parameter.",
			RoleText: "Parameters that the role adds to those of the config and its provider. A role cannot change, repeat or remove those, and cannot name a secret. The values may name the caller by Vault's identity templating."},
		{Name: "parameter_names", Type: TextPairs, In: OnProvider | OnConfig, Description: "Renames standard parameters: client_id=clientId. An empty name leaves the parameter out."},
		{Name: "request_headers", Type: TextPairs, In: OnProvider | OnConfig, Description: "Extra request headers (map). Their names are sent as they are written. Values may hold placeholders. A null removes an inherited header."},
		{Name: "scopes", Type: Texts, In: OnProvider | OnConfig | OnRole, Description: "The scopes to ask for: a list, or one string with spaces or commas between them. An item of a list may hold spaces and commas, except the separator that scope_separator sends.",
			RoleText: "The scopes to ask for. If the config names scopes, they must be among those."},
		{Name: "scopes_required", Type: Flag, In: OnProvider | OnConfig, Description: "Whether a request without scopes is refused before the provider is asked."},
		{Name: "scope_separator", Type: Text, In: OnProvider | OnConfig, Default: "space", Description: "What separates the scopes in the request: space (default), comma, list (the scopes are sent as a list), or any literal."},
		{Name: "access_token_pointer", Type: Pointers, In: OnProvider | OnConfig, Default: []string{"/access_token"}, Description: `Where the answer holds the token: a list of pointers, of which the first that leads to a token is used. A pointer is a JSON pointer (RFC 6901) such as /data/token, "" for the whole body, or header:X-Subject-Token for a response header. In XML, a pointer consists of element names, with @ before the name of an attribute. If a pointer leads into a string, the string is read as JSON or XML. A token type in front of the token is left out.`},
		{Name: "expires_in_pointer", Type: Pointers, In: OnProvider | OnConfig, Default: []string{"/expires_in"}, Description: "Where the answer holds the lifetime: pointers (like access_token_pointer) to a number, a string that holds one, or a duration such as 1h30m, PT1H or 01:00:00."},
		{Name: "expires_in_unit", Type: Word, In: OnProvider | OnConfig, Default: "seconds", Allowed: []string{"seconds", "milliseconds", "minutes"}, Description: "The unit of that lifetime: seconds (default), milliseconds or minutes."},
		{Name: "expires_at_pointer", Type: Pointers, In: OnProvider | OnConfig, Default: []string{"/expires_at"}, Description: "Where the answer holds the moment of expiry: pointers (like access_token_pointer) to RFC 3339 or ISO 8601, a time as HTTP, JavaScript or .NET write it, or seconds or milliseconds since the epoch. Set expires_at_format for any other notation."},
		{Name: "expires_at_format", Type: Word, In: OnProvider | OnConfig, Description: "The notation of the moment of expiry, if it is not one that expires_at_pointer names: a format of C's strptime, such as %d/%m/%Y %I:%M %p, with English names of months and days. A fraction of a second needs no conversion."},
		{Name: "expires_at_zone", Type: Word, In: OnProvider | OnConfig, Default: "UTC", Description: "The time zone of a moment that states none: UTC (default), an IANA name such as Europe/Berlin, or an offset such as +02:00."},
		{Name: "token_type_pointer", Type: Pointers, In: OnProvider | OnConfig, Default: []string{"/token_type"}, Description: "Where the answer holds the token type: pointers (like access_token_pointer)."},
		{Name: "scope_pointer", Type: Pointers, In: OnProvider | OnConfig, Default: []string{"/scope"}, Description: "Where the answer holds the granted scope: pointers (like access_token_pointer) to a string with spaces or commas, or a list."},
		{Name: "refresh_token_pointer", Type: Pointers, In: OnProvider | OnConfig, Default: []string{"/refresh_token"}, Description: "Where the answer holds a refresh token: pointers (like access_token_pointer). It is never shown to anybody. Neither is any other member or header whose name ends in refresh_token or refreshToken."},
		{Name: "error_pointer", Type: Pointers, In: OnProvider | OnConfig, Default: []string{"/error", "/error/code"}, Description: "Where an answer holds the error code: pointers (like access_token_pointer)."},
		{Name: "error_description_pointer", Type: Pointers, In: OnProvider | OnConfig, Default: []string{"/error_description", "/error/message", "/message"}, Description: "Where an answer says what went wrong: pointers (like access_token_pointer)."},
		{Name: "extra_fields", Type: TextPairs, In: OnProvider | OnConfig, Description: "Additional members or headers of the answer that the reader gets: pointers by the names that the reader sees, such as instance_url=/instance_url or region=header:X-Region."},
		{Name: "default_token_type", Type: Word, In: OnProvider | OnConfig, Default: "Bearer", Description: "The token type when the answer does not state one (Bearer)."},
		{Name: "default_token_lifetime", Type: Seconds, In: OnProvider | OnConfig, Description: "The lifetime when neither the answer nor the token, read as a JWT, states one that can be read. Without it, such an answer is an error."},
		{Name: "issuer", Type: Word, In: OnProvider | OnConfig, Description: "The authorization server's issuer identifier (RFC 8414 section 2), exactly as the server writes it. Without a token_url, the endpoints are read from the server's metadata (RFC 8414, OpenID Connect Discovery). The issuer is also the audience of assertions. May hold placeholders like token_url."},
		{Name: "resource_url", Type: Word, In: OnProvider | OnConfig, Description: "The protected resource that tokens are for, such as an MCP server, exactly as it names itself. It is sent as resource (RFC 8707), unless parameters sets resource. With neither token_url nor issuer, the authorization server is read from the resource's metadata (RFC 9728). May hold placeholders like token_url."},
		{Name: "assertion_claims", Type: Values, In: OnProvider | OnConfig | OnRole, KeepsNulls: true, Description: "The claims of a signed assertion in addition to, or instead of, iss and sub (the client_id), aud, jti, iat, nbf and exp. String values may hold placeholders. {scope} stands for the scopes with scope_separator between them; [\"{scope}\"] is the list of the scopes. A null leaves a claim out.",
			RoleText: "Claims that the role adds to a signed assertion. A role cannot change, repeat or remove a claim that the config, its provider or the engine decides, and cannot name a secret. The values may name the caller by Vault's identity templating. If nobody else decides sub, it can only be the caller: {{identity.entity.name}}."},
		{Name: "assertion_headers", Type: Values, In: OnProvider | OnConfig, KeepsNulls: true, Description: "The headers of a signed assertion in addition to alg, typ, kid and x5t#S256. alg is the signing algorithm if the config sets no signing_algorithm. For x5t, x5t#S256 and x5c, true stands for the value of the certificate. A null leaves a header out."},
		{Name: "assertion_lifetime", Type: Seconds, In: OnProvider | OnConfig, Default: int64(300), Description: "How long a signed assertion is valid (300)."},
		{Name: "assertion_audience", Type: Texts, In: OnProvider | OnConfig, Description: "The audience of a signed assertion: one, or a list. By default it is the issuer, or the token_url if there is no issuer. May hold placeholders, but no secrets."},
		{Name: "check_url", Type: URL, In: OnProvider | OnConfig, Aside: true, Description: "A harmless resource of the provider's API. A check requests it once (GET) with the new token, and reports the status of the answer. May hold placeholders like token_url. A config does not inherit it if its token_url is at another host than its provider's."},
		{Name: "check_headers", Type: TextPairs, In: OnProvider | OnConfig, Aside: true, Description: "The headers of the request to check_url (map). Values may hold placeholders, including {access_token}. If no value has that placeholder and there is no Authorization header, the token is sent as Authorization: Bearer (RFC 6750), or as DPoP with a proof."},
		{Name: "refresh", Type: Text, In: OnProvider | OnConfig, Default: "early", Allowed: []string{"early", RefreshLate}, Description: "When a shared token is replaced: early (default), from 70 % of its life on; or late, only when it is no longer usable. late is for providers where each new token ends the client's previous token."},
		{Name: "dpop", Type: Flag, In: OnProvider | OnConfig, Description: "Whether tokens are bound to a key of the engine (RFC 9449). Each request for a token then carries a proof, and readers get the proofs for their calls from proof/<config> (false)."},
		{Name: "dpop_resources", Type: Texts, In: OnProvider | OnConfig, Aside: true, Description: "The URLs of the provider's API, without a query. Readers get proofs for these URLs and for all URLs below them. May hold placeholders like token_url. If the list is empty, nobody gets a proof."},
	}
}

// Layer holds the fields that one layer sets, in canonical form. A field that is
// missing is inherited. A field that is present is decided, even if it is "", []
// or 0.
type Layer map[string]any

// Overlay merges the layers in order. A scalar or a list replaces that of earlier
// layers. Maps are joined by key, and a null removes an inherited key, except in
// fields that keep nulls.
func Overlay(layers ...Layer) Layer {
	out := Layer{}
	for _, l := range layers {
		for name, v := range l {
			over, isMap := v.(map[string]any)
			if !isMap {
				out[name] = v
				continue
			}
			joined := map[string]any{}
			if under, ok := out[name].(map[string]any); ok {
				maps.Copy(joined, under)
			}
			for key, item := range over {
				if item == nil && !keepsNulls[name] {
					delete(joined, key)
				} else {
					joined[key] = item
				}
			}
			out[name] = joined
		}
	}
	return out
}

// Only returns the part of l that the fields declare.
func (l Layer) Only(fields []Field) Layer {
	out := Layer{}
	for _, f := range fields {
		if v, ok := l[f.Name]; ok {
			out[f.Name] = v
		}
	}
	return out
}

// decode converts a complete layer into its typed form.
func (l Layer) decode(into any) error {
	b, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("writing a layer: %w", err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("reading a layer: %w", err)
	}
	return nil
}

// InvalidError reports a field that has to be written differently. Its text names
// the field and the remedy, and repeats no value.
type InvalidError struct {
	Field   string
	Problem string
}

// Error returns the field and what is wrong with it.
func (e *InvalidError) Error() string { return e.Field + " " + e.Problem }

// OfRequest returns true: the request itself is at fault, and the provider was
// not asked.
func (e *InvalidError) OfRequest() bool { return true }

func invalid(field, format string, args ...any) error {
	return &InvalidError{Field: field, Problem: fmt.Sprintf(format, args...)}
}

// Canonical turns fields as a client sends them into a layer. The error for an
// unknown field suggests the nearest known name. Nulls stay in the layer: a caller
// that accepts nulls has to handle them.
//
// Canonical limits the size of what it accepts. Its errors name the field and the
// limit.
func Canonical(fields []Field, raw map[string]any) (Layer, error) {
	if len(raw) > maxEntries {
		return nil, invalid("request", "has more than %d fields", maxEntries)
	}
	out, all := Layer{}, size{maxBytes: maxRequest, maxEntries: maxEntries * len(fields)}
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		i := slices.IndexFunc(fields, func(f Field) bool { return f.Name == name })
		if i < 0 {
			known := make([]string, len(fields))
			for i, f := range fields {
				known[i] = f.Name
			}
			return nil, UnknownField(name, known)
		}
		if raw[name] == nil {
			out[name] = nil
			continue
		}
		v, err := fields[i].Type.Canonical(raw[name])
		if err == nil {
			err = fields[i].check(v)
		}
		if err == nil && fields[i].Secret {
			v, err = tidied(v)
		}
		if err == nil && all.add(v) != nil {
			err = fmt.Errorf("brings the request to more than %s", inBytes(maxRequest))
		}
		if err != nil {
			return nil, invalid(name, "%s", err)
		}
		if !fields[i].Dropped {
			out[name] = v
		}
	}
	return out, nil
}

// quoted returns the name of a map's entry in the form that an error may show. A
// name that does not look like one is not shown, because it may be a value in the
// wrong place: text for a map is split at its first "=".
func quoted(name string) string {
	if !plainName.MatchString(name) {
		return "an entry whose name is not shown, for it is no usual one,"
	}
	return strconv.Quote(name)
}

var plainName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.:-]{0,40}$`)

// UnknownField returns the error for a field that is not declared.
func UnknownField(name string, known []string) error {
	if len(name) > 64 {
		name = name[:64] + "…"
	}
	if near := Nearest(name, known); near != "" {
		return invalid("unknown field", "%q: did you mean %q?", name, near)
	}
	if len(known) == 0 {
		return invalid("unknown field", "%q: this path takes none", name)
	}
	return invalid("unknown field", "%q: this path takes %s", name, strings.Join(known, ", "))
}
