// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import "strings"

// tidied drops the newline at the end of each one-line secret in v, which a
// file ends with and a secret does not (client_secret=@file).
func tidied(v any) (any, error) {
	return EachText(v, func(s string) (string, error) {
		if line, one := oneLine(s); one {
			return line, nil
		}
		return s, nil
	})
}

// Padded names the fields whose secret begins or ends with white space. More
// often than not that is an accident, but only the writer can know.
func Padded(fields []Field, l Layer) []string {
	var out []string
	for _, f := range fields {
		padded := false
		_, _ = EachText(l[f.Name], func(s string) (string, error) {
			line, one := oneLine(s)
			padded = padded || one && strings.TrimSpace(line) != line
			return s, nil
		})
		if f.Secret && padded {
			out = append(out, f.Name)
		}
	}
	return out
}

// oneLine is s without the newline at its end, and whether that is one line.
// Text of several lines, such as PEM, is as it has to be.
func oneLine(s string) (string, bool) {
	line := strings.TrimRight(s, "\r\n")
	return line, !strings.ContainsAny(line, "\r\n")
}
