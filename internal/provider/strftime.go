// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// conversions gives Go's layout for each conversion of strftime that has one.
var conversions = map[byte]string{
	'a': "Mon", 'A': "Monday", 'b': "Jan", 'B': "January", 'd': "02", 'e': "_2", 'F': time.DateOnly, 'H': "15", 'I': "03",
	'j': "002", 'm': "01", 'M': "04", 'p': "PM", 'S': "05", 'T': time.TimeOnly, 'y': "06", 'Y': "2006", 'z': "-0700",
}

// strftime writes a time as the C function of that name does, in English. Its
// error names the first conversion that there is not.
func strftime(t time.Time, format string) (string, error) {
	var b strings.Builder
	for format != "" {
		i := strings.IndexByte(format, '%')
		if i < 0 {
			b.WriteString(format)
			break
		}
		b.WriteString(format[:i])
		if i+1 == len(format) {
			return "", fmt.Errorf("has the format of a date that ends in %%: write %%%% for a literal one")
		}
		conversion := format[i+1]
		format = format[i+2:]
		switch layout, known := conversions[conversion]; {
		case conversion == '%':
			b.WriteByte('%')
		case conversion == 's':
			b.WriteString(strconv.FormatInt(t.Unix(), 10))
		case known:
			b.WriteString(t.Format(layout))
		default:
			return "", fmt.Errorf("has the format of a date with %%%c, which stands for nothing; there are %%a %%A %%b %%B %%d %%e %%F %%H %%I %%j %%m %%M %%p %%s %%S %%T %%y %%Y %%z and %%%%", conversion)
		}
	}
	return b.String(), nil
}
