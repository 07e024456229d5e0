// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package providertest

import (
	"maps"
	"net/http"
	"strings"
)

// The well-known addresses at which servers describe themselves, each below the
// host, and with the path of what it is about behind it. OpenID Connect puts its
// own behind that path instead.
const (
	WellKnownServer   = "/.well-known/oauth-authorization-server" // RFC 8414 section 3
	WellKnownOpenID   = "/.well-known/openid-configuration"       // OpenID Connect Discovery 1.0 section 4
	WellKnownResource = "/.well-known/oauth-protected-resource"   // RFC 9728 section 3
)

// document is what a server publishes at a path.
type document struct {
	members map[string]any
	header  http.Header
	reads   int
}

// Publish serves a JSON document at a path, with those headers, to whoever gets
// it without credentials: a client that shows any, or sends a body, is refused.
// Nil members take the document away again.
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

// PublishedReads returns how often clients asked for the document at a path that
// is published there.
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

// publish answers as RFC 8414 section 3.1 has it.
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
