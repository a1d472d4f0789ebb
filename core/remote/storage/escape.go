package storage

import (
	"fmt"
	"strconv"
	"strings"
)

// Some services and file systems do not take every character that a name may
// have. Such a character is stored as "__0x" with its code point in hexadecimal
// digits and "__" behind it, for example "__0x3f__" for "?". Objects and folders
// of all versions of capstan are written so, which makes the form part of the
// format: it must not change.

// escapeName gives the form in which name is stored where the characters in
// reserved cannot be. A part of a name that happens to look escaped is escaped
// itself, so that no two names are stored as one.
func escapeName(name, reserved string) string {
	if !strings.ContainsAny(name, reserved) && !strings.Contains(name, "__0x") {
		return name
	}
	var b strings.Builder
	for i, r := range name {
		_, length := escaped(name[i:])
		if length > 0 || strings.ContainsRune(reserved, r) {
			fmt.Fprintf(&b, "__%#x__", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// unescapeName is the reverse of escapeName.
func unescapeName(stored string) string {
	if !strings.Contains(stored, "__0x") {
		return stored
	}
	var b strings.Builder
	for stored != "" {
		if r, length := escaped(stored); length > 0 {
			b.WriteRune(r)
			stored = stored[length:]
			continue
		}
		b.WriteByte(stored[0])
		stored = stored[1:]
	}
	return b.String()
}

// escaped reads the escaped character that s starts with, and its length in
// bytes, which is 0 when s does not start with one.
func escaped(s string) (rune, int) {
	digits, ok := strings.CutPrefix(s, "__0x")
	if !ok {
		return 0, 0
	}
	end := strings.IndexByte(digits, '_')
	if end < 0 || !strings.HasPrefix(digits[end:], "__") {
		return 0, 0
	}
	code, err := strconv.ParseInt(digits[:end], 16, 32)
	if err != nil {
		return 0, 0
	}
	return rune(code), len("__0x") + end + len("__")
}
