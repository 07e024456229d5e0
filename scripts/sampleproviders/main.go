// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

// Command sampleproviders runs a token endpoint for each documented provider
// dialect, for demonstrations. The endpoints are strict, listen on the loopback
// interface, and accept sample credentials.
//
//	go run ./scripts/sampleproviders -dir DIR [-tls]
//
// Once all endpoints answer, it writes DIR/providers.env, a file of shell
// assignments that a script can source. It removes the file when it ends: on an
// interrupt or SIGTERM, or when the process that started it is gone. GET
// /_stats on each endpoint's host answers {"requests":n,"issued":n}.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

const envFile = "providers.env"

func main() {
	dir := flag.String("dir", "", "folder to write "+envFile+" to (required; must exist)")
	useTLS := flag.Bool("tls", false, "serve HTTPS, and write each server's CA certificate to the folder")
	flag.Parse()
	if *dir == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := untilOrphaned(ctx)
	defer cancel()
	if err := run(ctx, *dir, *useTLS, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "sampleproviders:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, dir string, useTLS bool, out io.Writer) error {
	path := filepath.Join(dir, envFile)
	// A script that polls for the file must not find one from an earlier run:
	// its ports are closed.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the old file: %w", err)
	}
	var env strings.Builder
	for _, dialect := range providertest.Dialects() {
		if dialect == providertest.RFC6749 {
			continue // It follows a standard and no provider's document.
		}
		server, err := providertest.New(dialect, providertest.Options{TLS: useTLS}) //nolint:contextcheck // it listens for as long as it lives
		if err != nil {
			return fmt.Errorf("start %s: %w", dialect, err)
		}
		defer server.Close()
		caFile := ""
		if useTLS {
			if caFile, err = filepath.Abs(filepath.Join(dir, string(dialect)+"-ca.pem")); err != nil {
				return fmt.Errorf("name the CA file of %s: %w", dialect, err)
			}
			if err := writeFile(caFile, server.CACertificate()); err != nil {
				return err
			}
		}
		describe(&env, dialect, server, caFile)
	}
	if err := writeFile(path, env.String()); err != nil {
		return err
	}
	defer os.Remove(path) //nolint:errcheck // Nothing is left to be done about it.
	if _, err := io.WriteString(out, env.String()); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	<-ctx.Done()
	return nil
}

// describe appends NAME='value' lines. It leaves out values that the dialect
// does not use.
func describe(env *strings.Builder, d providertest.Dialect, s *providertest.Server, caFile string) {
	c := s.Credentials()
	for _, line := range []struct{ name, value string }{
		{"TOKEN_URL", s.TokenURL()},
		{"REVOCATION_URL", s.RevocationURL()},
		{"STATS_URL", s.URL() + "/_stats"},
		{"CLIENT_ID", c.ClientID},
		{"CLIENT_SECRET", c.ClientSecret},
		{"USERNAME", c.Username},
		{"PASSWORD", c.Password},
		{"CA_FILE", caFile},
	} {
		if line.value != "" {
			fmt.Fprintf(env, "%s_%s=%s\n", strings.ToUpper(string(d)), line.name, quote(line.value))
		}
	}
}

// quote returns the value as one word of POSIX shell. Within single quotes,
// every character except the quote itself is literal.
func quote(value string) string {
	return "'" + strings.ReplaceAll(value, "'", `'\''`) + "'"
}

// writeFile replaces the file atomically, so that a script that polls for it
// never reads half of it.
func writeFile(path, content string) (err error) {
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp.Name())
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	_, err = temp.WriteString(content)
	if closeErr := temp.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return os.Rename(temp.Name(), path)
}

// untilOrphaned returns a context that ends with ctx, when the parent process
// is gone, or when standard input is a pipe whose other end is closed. Other
// kinds of input are ignored, because a shell gives /dev/null to processes that
// it starts in the background.
func untilOrphaned(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	if info, err := os.Stdin.Stat(); err == nil && info.Mode()&(os.ModeNamedPipe|os.ModeSocket) != 0 {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			cancel()
		}()
	}
	parent := os.Getppid()
	go func() {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				if os.Getppid() != parent {
					cancel()
					return
				}
			}
		}
	}()
	return ctx, cancel
}
