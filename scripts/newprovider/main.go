// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

// Command newprovider starts a new provider of the catalog. It writes the
// provider's definition and the transcript of its documented exchange, with
// blanks to fill in; the tests fail until no blank is left. It is run by `make
// provider NAME=acme`.
package main

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

//go:embed definition.json
var definition string

//go:embed transcript.json
var transcript string

func main() {
	files, err := begin(".", strings.Join(os.Args[1:], " "), time.Now())
	if err != nil {
		fmt.Fprintln(os.Stderr, "provider:", err)
		os.Exit(1)
	}
	fmt.Printf("Fill in from the provider's own documentation (CONTRIBUTING.md):\n\n    %s\n\nThen: make docs unit\n", strings.Join(files, "\n    "))
}

var plain = regexp.MustCompile(`^[a-z0-9]+(?:-[a-z0-9]+)*$`)

// begin writes both files below root and returns their names. It does not
// overwrite existing files.
func begin(root, name string, now time.Time) ([]string, error) {
	if !plain.MatchString(name) {
		return nil, errors.New("a name is lower-case letters, digits and single hyphens: make provider NAME=acme")
	}
	texts := map[string]string{
		"catalog":  strings.Replace(definition, "DATE", now.UTC().Format(time.DateOnly), 1),
		"testdata": transcript,
	}
	var files []string
	for _, dir := range []string{"catalog", "testdata"} {
		file := filepath.Join(root, "internal", "provider", dir, name+".json")
		if _, err := os.Stat(file); err == nil {
			return nil, fmt.Errorf("%s is there already", file)
		}
		files = append(files, file)
	}
	for _, file := range files {
		text := texts[filepath.Base(filepath.Dir(file))]
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return nil, fmt.Errorf("beginning a provider: %w", err)
		}
	}
	return files, nil
}
