// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package providertest

import (
	"maps"
	"net/http"
	"strings"
)

// The well-known paths at which servers describe themselves. The path directly
// follows the host, and the path of the issuer or resource follows it. OpenID
// Connect is the exception: its well-known path comes after the issuer's path.
const (
	WellKnownServer   = "/.well-known/oauth-authorization-server" // RFC 8414 section 3
	WellKnownOpenID   = "/.well-known/openid-configuration"       // OpenID Connect Discovery 1.0 section 4
	WellKnownResource = "/.well-known/oauth-protected-resource"   // RFC 9728 section 3
)

// document is what a server publishes at a path, and how often it was read.
type document struct {
	members map[string]any
	header  http.Header
	reads   int
}

// Publish serves a JSON document at a path, with the given headers. The
// document is public: a request that carries credentials or a body is refused.
// Nil members remove the document.
func (s *Server) Publish(path string, members map[string]any, header http.Header) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if members == nil {
		delete(s.documents, path)
		return
	}
	next := &document{members: maps.Clone(members), header: header.Clone()}
	if old := s.documents[path]; old != nil {
		next.reads = old.reads
	}
	s.documents[path] = next
}

// PublishedReads returns how many requests asked for the document that is now
// published at the path.
func (s *Server) PublishedReads(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.documents[path]; d != nil {
		return d.reads
	}
	return 0
}

func (s *Server) published(path string) *document {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.documents[path]
}

// publish answers a request for a document, as in RFC 8414 section 3.1.
func (s *Server) publish(w http.ResponseWriter, in Request, d *document) {
	switch {
	case in.Method != http.MethodGet:
		w.Header().Set("Allow", http.MethodGet)
		http.Error(w, "Method must be GET", http.StatusMethodNotAllowed)
	case in.Body != "" || in.RawQuery != "":
		http.Error(w, "Nothing to send", http.StatusBadRequest)
	case in.Header.Get("Authorization")+in.Header.Get("Cookie")+in.Header.Get("DPoP") != "":
		http.Error(w, "Everybody may read this; no credentials", http.StatusBadRequest)
	case !strings.Contains(in.Header.Get("Accept"), jsonType):
		http.Error(w, "Nothing but JSON here", http.StatusNotAcceptable)
	default:
		maps.Copy(w.Header(), d.header)
		writeJSON(w, http.StatusOK, d.members)
	}
}
