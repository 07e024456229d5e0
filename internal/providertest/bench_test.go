// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package providertest

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// BenchmarkToken shows that this server is fast enough not to distort the
// benchmarks that use it.
func BenchmarkToken(b *testing.B) {
	s := Start(b, Antsomi, Options{})
	body := good(Antsomi).body
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			response, err := s.Client().Post(s.TokenURL(), formType, strings.NewReader(body))
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, response.Body)
			response.Body.Close()
			if response.StatusCode != http.StatusOK {
				b.Errorf("status %d", response.StatusCode)
			}
		}
	})
}
