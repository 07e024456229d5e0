// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"  //nolint:gosec // some providers require it for signatures
	"crypto/sha1" //nolint:gosec // some providers require it for signatures
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"hash"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ncruces/go-strftime"
)

// sort is the kind of a value while filters are applied to it.
type sort uint8

const (
	sortText       sort = 1 << iota
	sortOctets          // bytes that are not text, such as a hash
	sortMoment          // a time that is not formatted yet
	sortRandom          // sixteen random bytes
	sortPrivateKey      // a key that signs, and is never sent
)

// argument says what follows the colon of a filter.
type argument uint8

const (
	argumentNone       argument = iota
	argumentKey                 // the name of a placeholder
	argumentPrivateKey          // private_key
	argumentFormat              // the format of a date
)

// value is what a placeholder stands for while filters are applied to it.
type value struct {
	text string
	at   time.Time // set for sortMoment
}

// filter changes the value of a placeholder.
type filter struct {
	in    sort // the sorts that it can be applied to
	out   sort // the sort that it produces
	takes argument
	hides bool // whether its input cannot be recognized in its output
	apply apply
}

// filters holds all filters by name.
var filters = map[string]filter{
	"base64":        {in: encodable, out: sortText, hides: true, apply: plain(func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) })},
	"base64url":     {in: encodable, out: sortText, hides: true, apply: plain(func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) })},
	"hex":           {in: encodable, out: sortText, hides: true, apply: plain(func(s string) string { return hex.EncodeToString([]byte(s)) })},
	"base64_decode": {in: sortText, out: sortOctets, hides: true, apply: unbase64},
	"lower":         {in: sortText, out: sortText, apply: plain(strings.ToLower)},
	"upper":         {in: sortText, out: sortText, apply: plain(strings.ToUpper)},
	"urlencode":     {in: sortText, out: sortText, apply: plain(url.QueryEscape)},
	"json":          {in: sortText, out: sortText, apply: asJSONText},
	"xml":           {in: sortText, out: sortText, apply: asXMLText},
	"host":          {in: sortText, out: sortText, apply: asHost},
	"number":        {in: sortText, out: sortText, apply: asNumber},
	"sha256":        {in: encodable, out: sortOctets, hides: true, apply: hashed(sha256.New)},
	"sha512":        {in: encodable, out: sortOctets, hides: true, apply: hashed(sha512.New)},
	"sha1":          {in: encodable, out: sortOctets, hides: true, apply: hashed(sha1.New)},
	"md5":           {in: encodable, out: sortOctets, hides: true, apply: hashed(md5.New)},
	"hmac_sha256":   {in: encodable, out: sortOctets, takes: argumentKey, hides: true, apply: signed(sha256.New)},
	"hmac_sha512":   {in: encodable, out: sortOctets, takes: argumentKey, hides: true, apply: signed(sha512.New)},
	"hmac_sha1":     {in: encodable, out: sortOctets, takes: argumentKey, hides: true, apply: signed(sha1.New)},
	"hmac_md5":      {in: encodable, out: sortOctets, takes: argumentKey, hides: true, apply: signed(md5.New)},
	"rsa_sha256":    {in: encodable, out: sortOctets, takes: argumentPrivateKey, hides: true}, // environment.apply signs
	"totp":          {in: sortMoment, out: sortText, takes: argumentKey, hides: true, apply: totp},
	"rfc3339":       {in: sortMoment, out: sortText, apply: moment(func(t time.Time) string { return t.Format("2006-01-02T15:04:05Z") })},
	"unix":          {in: sortMoment, out: sortText, apply: moment(func(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) })},
	"unix_ms":       {in: sortMoment, out: sortText, apply: moment(func(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) })},
	"strftime":      {in: sortMoment, out: sortText, takes: argumentFormat, apply: func(v value, format string) (string, error) { return strftime.Format(format, v.at), nil }},
	"uuid":          {in: sortRandom, out: sortText, apply: plain(asUUID)},
}

// encodable are the sorts that can be written in base64 or hashed.
const encodable = sortText | sortOctets | sortRandom

// apply is the function of a filter that changes a value. arg is what follows
// the filter's colon: the text of the key, or the format.
type apply = func(v value, arg string) (string, error)

func plain(f func(string) string) apply {
	return func(v value, _ string) (string, error) { return f(v.text), nil }
}

func moment(f func(time.Time) string) apply {
	return func(v value, _ string) (string, error) { return f(v.at), nil }
}

func hashed(with func() hash.Hash) apply {
	return func(v value, _ string) (string, error) {
		h := with()
		h.Write([]byte(v.text))
		return string(h.Sum(nil)), nil
	}
}

func signed(with func() hash.Hash) apply {
	return func(v value, key string) (string, error) {
		mac := hmac.New(with, []byte(key))
		mac.Write([]byte(v.text))
		return string(mac.Sum(nil)), nil
	}
}

func filterNames() []string { return slices.Sorted(maps.Keys(filters)) }

// checkArgument refuses a wrong or missing argument after the colon of a filter.
func (f filter) checkArgument(name, arg string) error {
	switch f.takes {
	case argumentKey:
		if !variableName.MatchString(strings.TrimPrefix(arg, chained)) {
			return fmt.Errorf("has the filter %s without the name of the secret that it signs with: write %s:client_secret, or another placeholder's name", name, name)
		}
	case argumentPrivateKey:
		if arg != namePrivateKey {
			return fmt.Errorf("has the filter %s without the key that it signs with: write %s:private_key", name, name)
		}
	case argumentFormat:
		if arg == "" {
			return fmt.Errorf("has the filter %s without a format: write %s:%%Y-%%m-%%d", name, name)
		}
		return checkStrftime(arg)
	default:
		if arg != "" {
			return fmt.Errorf("has something behind the filter %s, which takes nothing: leave out what begins with its colon", name)
		}
	}
	return nil
}

// unfit returns an error that says why f cannot be applied to a value of that
// sort.
func (f applied) unfit(of sort) error {
	switch {
	case of == sortMoment || of == sortPrivateKey:
		return unwritten(of)
	case f.in == sortMoment:
		return fmt.Errorf("has the filter %s for something else than {now}: it writes down the time", f.name)
	case f.in == sortRandom:
		return fmt.Errorf("has the filter %s for something else than {random}", f.name)
	default:
		return fmt.Errorf("has the filter %s for bytes that are no text: put hex, base64 or base64url before it", f.name)
	}
}

// unwritten returns the error for a value of a sort that cannot be sent as text.
func unwritten(of sort) error {
	switch of {
	case sortMoment:
		return errors.New("names {now} without saying how to write it: {now|unix}, {now|unix_ms}, {now|rfc3339} or {now|strftime:%Y-%m-%d}")
	case sortPrivateKey:
		return errors.New("names {private_key}, which is never sent; send what it signs: {client_id|rsa_sha256:private_key|base64}")
	case sortRandom:
		return errors.New("names {random} without saying how to write it: {random|uuid}, {random|hex} or {random|base64url}")
	default:
		return errors.New("has a placeholder that gives bytes, not text: end it with |hex, |base64 or |base64url")
	}
}

// asJSONText returns the value as a JSON string with its quotes. So no value can
// end the string that it stands in, wherever the placeholder is put.
func asJSONText(v value, _ string) (string, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v.text)
	return strings.TrimSuffix(b.String(), "\n"), err
}

func asXMLText(v value, _ string) (string, error) {
	var b bytes.Buffer
	err := xml.EscapeText(&b, []byte(v.text))
	return b.String(), err
}

// jsonNumber matches a number of RFC 8259 without an exponent and with a limited
// number of digits.
var jsonNumber = regexp.MustCompile(`^-?(?:0|[1-9][0-9]{0,40})(?:\.[0-9]{1,40})?$`)

func asNumber(v value, _ string) (string, error) {
	if !jsonNumber.MatchString(v.text) {
		return "", errors.New("takes only a number")
	}
	return v.text, nil
}

// asHost returns the host of an https URL, or a host that stands alone, in lower
// case. What it accepts is one host, on any reading of the text.
func asHost(v value, _ string) (string, error) {
	host := v.text
	if strings.Contains(host, "://") {
		u, err := url.Parse(host)
		if err != nil || !strings.EqualFold(u.Scheme, "https") || u.User != nil || u.Port() != "" && u.Port() != "443" {
			return "", errors.New("takes an https URL without a login and without a port of its own, or a host, only")
		}
		host = u.Hostname()
	}
	if checkHost(host) != nil {
		return "", errors.New("takes an https URL or a host only")
	}
	return strings.ToLower(host), nil
}

// unbase64 decodes base64 of either alphabet, with or without padding.
func unbase64(v value, _ string) (string, error) {
	text := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(v.text, "="))
	b, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return "", errors.New("takes only base64")
	}
	return string(b), nil
}

// totp returns the one-time password of that moment (RFC 6238): six digits that
// are valid for half a minute. The key is in base32, as authenticator apps read
// it.
func totp(v value, key string) (string, error) {
	text := strings.TrimRight(strings.ToUpper(strings.ReplaceAll(key, " ", "")), "=")
	secret, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(text)
	if err != nil || len(secret) == 0 {
		return "", errors.New("needs a secret in base32")
	}
	mac := hmac.New(sha1.New, secret)
	var counter [8]byte
	binary.BigEndian.PutUint64(counter[:], uint64(max(0, v.at.Unix()/30)))
	mac.Write(counter[:])
	sum := mac.Sum(nil)
	at := sum[len(sum)-1] & 0xf
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[at:at+4])&0x7fffffff%1_000_000), nil
}

// asUUID makes a version 4 UUID (RFC 9562 section 5.4) from sixteen random bytes.
func asUUID(random string) string {
	b := []byte(random)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
