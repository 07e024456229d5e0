// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

var (
	// hostName matches a DNS host name. It allows the underscore, which private
	// networks use.
	hostName = regexp.MustCompile(`^[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?$`)
	// numericHost matches a host whose last label makes some resolvers read the
	// host as an IPv4 address: 127.1, 0x7f000001 and 2130706433 are all 127.0.0.1.
	numericHost = regexp.MustCompile(`(?i)(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)\.?$`)
)

// checkHost refuses a host that is not dialled as it is written. net/http maps
// letters beyond ASCII to another name (IDNA), some resolvers read numbers as
// addresses, and a zone is the name of a network interface. A host that passes
// differs from the dialled host at most in the case of its letters, so hosts can
// be compared as they are written. The argument is what url.URL.Hostname returns:
// without brackets, and with %-encoded bytes decoded.
func checkHost(host string) error {
	if strings.ContainsFunc(host, func(c rune) bool { return c > '~' }) {
		return errors.New("has a host that is not ASCII: write the name that DNS knows, with its xn-- labels (punycode)")
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.Zone() != "" {
			return errors.New("has an IPv6 address with a zone (%): leave the zone out")
		}
		return nil
	}
	if numericHost.MatchString(host) {
		return errors.New("has a number as its host, which some resolvers read as an IP address: write the address in full, such as 192.0.2.1")
	}
	if !hostName.MatchString(host) {
		return errors.New("has a host that is not a valid name: use letters, digits, hyphens and dots")
	}
	return nil
}

// checkPort refuses a port that is not written exactly as the number that is
// dialled.
func checkPort(port string) error {
	if port == "" {
		return nil
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
		return errors.New("has a port that is not a number from 1 to 65535")
	}
	return nil
}

// isLoopback reports whether a host that checkHost accepts can only be this
// machine.
func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// isHere reports whether the URL leads to this machine without using a network.
func (e *Effective) isHere(u *url.URL) bool {
	return isLoopback(u.Hostname()) && e.registration.ProxyURL == ""
}

// parseProxy parses and checks a proxy_url.
func parseProxy(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "" || u.Opaque != "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || strings.Contains(text, "#"):
		return nil, invalid("proxy_url", "must be http://, https:// or socks5:// with a host and a port, such as http://proxy.example:3128")
	case u.User != nil:
		return nil, invalid("proxy_url", "holds a user name: write proxy_username and proxy_password instead (the password is never shown again)")
	case !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme):
		return nil, invalid("proxy_url", "must start with http://, https:// or socks5://")
	}
	if err := errors.Join(checkHost(u.Hostname()), checkPort(u.Port())); err != nil {
		return nil, invalid("proxy_url", "%s", err)
	}
	return u, nil
}

// checkProxy refuses an invalid proxy_url, and proxy credentials that cannot be
// used.
func (e *Effective) checkProxy() error {
	r := e.registration
	switch {
	case r.ProxyURL == "" && r.ProxyUsername != "":
		return invalid("proxy_username", "belongs to proxy_url, which is not set: set that as well")
	case r.ProxyURL == "" && r.ProxyPassword != "":
		return invalid("proxy_password", "belongs to proxy_url, which is not set: set that as well")
	case r.ProxyURL == "":
		return nil
	case r.ProxyPassword != "" && r.ProxyUsername == "":
		return invalid("proxy_password", "belongs to proxy_username, which is not set: set that as well")
	case strings.Contains(r.ProxyUsername, ":"):
		return invalid("proxy_username", "holds a colon, which HTTP Basic cannot carry (RFC 7617)")
	}
	_, err := parseProxy(r.ProxyURL)
	return err
}

// origin returns a URL's scheme, host and port (RFC 6454). The port is always
// included.
func origin(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = "443"
		if u.Scheme == "http" {
			port = "80"
		}
	}
	return u.Scheme + "://" + net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}
