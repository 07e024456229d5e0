// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"errors"
	"fmt"
	"strings"
)

// conversions are the characters that may follow a % in a strftime format.
const conversions = "aAbBdeFHIjmMpsSTyYz%"

// checkStrftime refuses a format with any other character after a %.
func checkStrftime(format string) error {
	for {
		_, rest, found := strings.Cut(format, "%")
		switch {
		case !found:
			return nil
		case rest == "":
			return errors.New("has a date format that ends in %: write %% for a literal one")
		case strings.IndexByte(conversions, rest[0]) < 0:
			return fmt.Errorf("has the format of a date with %%%c, which is not defined; there are %%a %%A %%b %%B %%d %%e %%F %%H %%I %%j %%m %%M %%p %%s %%S %%T %%y %%Y %%z and %%%%", rest[0])
		}
		format = rest[1:]
	}
}
