// Package text holds the console's words in English and Spanish, the way
// numbers and times are written in each, and Clean, through which every text
// from outside passes before it is shown.
package text

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

// maxClean is the longest text that a single-line slot takes, in runes.
const maxClean = 2000

// maxMarks is how many combining marks may sit on one character; more would
// paint over the lines above and below.
const maxMarks = 3

// Clean makes text from outside (version names, notes, file names, answers of
// servers) safe for one line of a terminal: escape sequences, control
// characters, bidirectional controls and invisible characters go, line breaks
// become ⏎ and tabs spaces, and the length is capped. Clean(Clean(s)) == Clean(s).
func Clean(s string) string {
	if plain(s) {
		return s
	}
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = strings.ReplaceAll(s, "\r\n", "\n")
	s = ansi.Strip(eightBit.Replace(s))
	var b strings.Builder
	marks, runes := 0, 0
	for _, r := range s {
		switch {
		case r == '\n' || r == '\u2028' || r == '\u2029':
			r = '⏎'
		case r == '\t':
			r = ' '
		case hidden(r):
			continue
		}
		if unicode.In(r, unicode.Mn, unicode.Me) {
			if marks++; marks > maxMarks {
				continue
			}
		} else {
			marks = 0
		}
		if runes++; runes > maxClean {
			b.WriteString("…")
			break
		}
		b.WriteRune(r)
	}
	return strings.TrimRight(b.String(), "⏎")
}

// eightBit writes the eight-bit controls (U+0080 to U+009F) as the two-byte
// escapes that they stand for, so that what they introduce is recognised and
// goes with them.
var eightBit = func() *strings.Replacer {
	var pairs []string
	for r := rune(0x80); r <= 0x9f; r++ {
		pairs = append(pairs, string(r), "\x1b"+string(r-0x40))
	}
	return strings.NewReplacer(pairs...)
}()

// plain reports the common case: short printable ASCII.
func plain(s string) bool {
	if len(s) > maxClean {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// hidden are characters that steer the terminal or the direction of text, or
// that take no room and so make two different names look the same.
func hidden(r rune) bool {
	switch {
	case r < 0x20, r >= 0x7f && r <= 0x9f:
		return true
	case r >= 0x200b && r <= 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x2060 && r <= 0x206f:
		return true
	case r >= 0xfff9 && r <= 0xfffb, r == 0xfeff, r == 0x00ad, r == 0x061c, r == 0x034f, r == 0x115f, r == 0x1160, r == 0x3164, r == 0xffa0, r == 0x180e:
		return true
	case r >= 0xfe00 && r <= 0xfe0f, r >= 0xe0000 && r <= 0xe0fff:
		return true // variation selectors and tags
	case r >= 0xe000 && r <= 0xf8ff, r >= 0xf0000:
		return true // private use: its look and width are the font's choice
	}
	return !utf8.ValidRune(r)
}
