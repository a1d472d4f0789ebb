package text

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

func TestClean(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, in, want string }{
		{"plain", "2.4.1", "2.4.1"},
		{"accents", "añadió café", "añadió café"},
		{"wide", "版本 二", "版本 二"},
		{"colour", "\x1b[31mred\x1b[m", "red"},
		{"clear screen", "a\x1b[2Jb", "ab"},
		{"title", "\x1b]0;owned\x07safe", "safe"},
		{"clipboard", "\x1b]52;c;ZXZpbA==\x1b\\safe", "safe"},
		{"hyperlink", "\x1b]8;;http://evil\x1b\\click\x1b]8;;\x1b\\", "click"},
		{"c1", "a\u009b31mb", "ab"},
		{"carriage return", "good\revil", "goodevil"},
		{"lines", "one\ntwo\r\nthree", "one⏎two⏎three"},
		{"last line break", "one\n", "one"},
		{"tab", "a\tb", "a b"},
		{"bidi", "abc\u202egpj.exe\u202c", "abcgpj.exe"},
		{"isolates", "\u2066a\u2069", "a"},
		{"zero width", "1.\u200b2\ufeff", "1.2"},
		{"soft hyphen", "be\u00adta", "beta"},
		{"broken utf-8", "a\xff\xfeb", "a\uFFFDb"},
		{"combining", "e" + strings.Repeat("\u0301", 50), "e" + strings.Repeat("\u0301", 3)},
		{"nul", "a\x00b", "ab"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := Clean(c.in); got != c.want {
				t.Errorf("Clean(%q) = %q, want %q", c.in, got, c.want)
			}
		})
	}
}

func TestCleanCapsLength(t *testing.T) {
	t.Parallel()
	if got := utf8.RuneCountInString(Clean(strings.Repeat("x", 1<<20))); got > maxClean+1 {
		t.Errorf("%d runes left", got)
	}
}

func FuzzClean(f *testing.F) {
	for _, s := range []string{"", "1.0.0", "\x1b[31mred", "\x1b]0;t\x07", "\u202e", "a\nb", "\xff", "\x1b\x1b[[mm", "e\u0301\u0301\u0301\u0301\u0301", "\u009b2J", "\x1bPq#0\x1b\\x", "👩‍👩‍👧"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := Clean(s)
		if !utf8.ValidString(got) {
			t.Errorf("Clean(%q) = %q is not UTF-8", s, got)
		}
		for _, r := range got {
			if unicode.IsControl(r) || hidden(r) {
				t.Errorf("Clean(%q) = %q keeps %U", s, got, r)
			}
		}
		if again := Clean(got); again != got {
			t.Errorf("Clean twice: %q, then %q", got, again)
		}
		if ansi.Strip(got) != got {
			t.Errorf("Clean(%q) = %q still holds an escape", s, got)
		}
	})
}
