package plugin

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// kind is the JSON type of a value; absent when the key was not there.
type kind uint8

const (
	absent kind = iota
	null
	boolean
	number
	text
	array
	object
)

// value is a member of a decoded object. For text, s is the decoded string;
// for everything else it is the JSON as it came.
type value struct {
	kind kind
	s    string
}

// falsy tells what JavaScript takes for false: plugins and their servers test
// for the presence of a field that way.
func (v value) falsy() bool {
	switch v.kind {
	case absent, null:
		return true
	case boolean:
		return v.s == "false"
	case number:
		f, err := strconv.ParseFloat(v.s, 64)
		return err == nil && f == 0
	case text:
		return v.s == ""
	}
	return false
}

// str is the string of a text value, "" for any other kind.
func (v value) str() string {
	if v.kind == text {
		return v.s
	}
	return ""
}

// maxDepth bounds nesting. Device bodies need three levels.
const maxDepth = 64

// scanner walks a JSON text once. It accepts exactly what JSON.parse accepts
// (up to maxDepth) and allocates only for strings that need unescaping:
// encoding/json folds the case of keys, coerces nothing and costs more than the
// rest of an update check together.
type scanner struct {
	s string
	i int
}

// newScanner drops a byte order mark, as fetch's body decoding does.
func newScanner(body string) scanner {
	return scanner{s: strings.TrimPrefix(body, "\ufeff")}
}

func (p *scanner) space() {
	for p.i < len(p.s) {
		switch p.s[p.i] {
		case ' ', '\t', '\n', '\r':
			p.i++
		default:
			return
		}
	}
}

// next is the byte at hand, 0 at the end.
func (p *scanner) next() byte {
	if p.i < len(p.s) {
		return p.s[p.i]
	}
	return 0
}

// end tells whether nothing but white space is left.
func (p *scanner) end() bool {
	p.space()
	return p.i == len(p.s)
}

// value reads one value of any kind. Nested values are checked and kept as text.
func (p *scanner) value(depth int) (value, bool) {
	p.space()
	start := p.i
	switch c := p.next(); {
	case c == '"':
		s, ok := p.text()
		return value{text, s}, ok
	case c == '{':
		ok := p.members(depth, nil)
		return value{object, p.s[start:p.i]}, ok
	case c == '[':
		ok := p.elements(depth, nil)
		return value{array, p.s[start:p.i]}, ok
	case c == 't':
		return p.literal("true", boolean)
	case c == 'f':
		return p.literal("false", boolean)
	case c == 'n':
		return p.literal("null", null)
	case c == '-' || c >= '0' && c <= '9':
		ok := p.number()
		return value{number, p.s[start:p.i]}, ok
	}
	return value{}, false
}

func (p *scanner) literal(word string, k kind) (value, bool) {
	if !strings.HasPrefix(p.s[p.i:], word) {
		return value{}, false
	}
	p.i += len(word)
	return value{k, word}, true
}

func (p *scanner) digits() bool {
	start := p.i
	for p.i < len(p.s) && p.s[p.i] >= '0' && p.s[p.i] <= '9' {
		p.i++
	}
	return p.i > start
}

func (p *scanner) number() bool {
	if p.next() == '-' {
		p.i++
	}
	if p.next() == '0' {
		p.i++
	} else if !p.digits() {
		return false
	}
	if p.next() == '.' {
		p.i++
		if !p.digits() {
			return false
		}
	}
	if c := p.next(); c == 'e' || c == 'E' {
		p.i++
		if c := p.next(); c == '+' || c == '-' {
			p.i++
		}
		return p.digits()
	}
	return true
}

// members reads an object and hands each member to set, which may be nil. A key
// that comes twice is handed over twice: the last one wins.
func (p *scanner) members(depth int, set func(key string, v value)) bool {
	if depth >= maxDepth {
		return false
	}
	p.i++ // {
	p.space()
	if p.next() == '}' {
		p.i++
		return true
	}
	for {
		p.space()
		if p.next() != '"' {
			return false
		}
		key, ok := p.text()
		if !ok {
			return false
		}
		p.space()
		if p.next() != ':' {
			return false
		}
		p.i++
		v, ok := p.value(depth + 1)
		if !ok {
			return false
		}
		if set != nil {
			set(key, v)
		}
		if more, ok := p.separator('}'); !more {
			return ok
		}
	}
}

// elements reads an array and hands each element to add, which may be nil.
func (p *scanner) elements(depth int, add func(v value)) bool {
	if depth >= maxDepth {
		return false
	}
	p.i++ // [
	p.space()
	if p.next() == ']' {
		p.i++
		return true
	}
	for {
		v, ok := p.value(depth + 1)
		if !ok {
			return false
		}
		if add != nil {
			add(v)
		}
		if more, ok := p.separator(']'); !more {
			return ok
		}
	}
}

// separator reads a comma (more to come) or the closing byte.
func (p *scanner) separator(closing byte) (more, ok bool) {
	p.space()
	c := p.next()
	if c != ',' && c != closing {
		return false, false
	}
	p.i++
	return c == ',', true
}

// text reads a string. Without escapes and with sound UTF-8 it is a slice of
// the input.
func (p *scanner) text() (string, bool) {
	p.i++ // "
	start := p.i
	ascii := true
	for p.i < len(p.s) {
		switch c := p.s[p.i]; {
		case c == '"':
			s := p.s[start:p.i]
			p.i++
			if !ascii && !utf8.ValidString(s) {
				s = string([]rune(s)) // each stray byte becomes U+FFFD
			}
			return s, true
		case c == '\\':
			return p.escaped(start)
		case c < ' ':
			return "", false
		case c >= utf8.RuneSelf:
			ascii = false
		}
		p.i++
	}
	return "", false
}

// escaped finishes a string that has escapes, from its first one on.
func (p *scanner) escaped(start int) (string, bool) {
	out := append(make([]byte, 0, 2*(p.i-start)+32), p.s[start:p.i]...)
	for p.i < len(p.s) {
		c := p.s[p.i]
		p.i++
		switch {
		case c == '"':
			s := string(out)
			if !utf8.ValidString(s) {
				s = string([]rune(s))
			}
			return s, true
		case c < ' ':
			return "", false
		case c != '\\':
			out = append(out, c)
			continue
		}
		if p.i == len(p.s) { // nothing follows the backslash
			return "", false
		}
		c = p.s[p.i]
		p.i++
		switch c {
		case '"', '\\', '/':
			out = append(out, c)
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, ok := p.hex4()
			if !ok {
				return "", false
			}
			if utf16.IsSurrogate(r) && strings.HasPrefix(p.s[p.i:], `\u`) {
				rest := p.i
				p.i += 2
				low, ok := p.hex4()
				if !ok {
					return "", false
				}
				if both := utf16.DecodeRune(r, low); both != utf8.RuneError {
					r = both
				} else {
					p.i = rest // a lone half; what follows stands for itself
				}
			}
			out = utf8.AppendRune(out, r) // a lone half becomes U+FFFD
		default:
			return "", false
		}
	}
	return "", false
}

func (p *scanner) hex4() (rune, bool) {
	if p.i+4 > len(p.s) {
		return 0, false
	}
	n, err := strconv.ParseUint(p.s[p.i:p.i+4], 16, 32)
	if err != nil {
		return 0, false
	}
	p.i += 4
	return rune(n), true
}

// length16 counts UTF-16 units: limits on text fields are JavaScript lengths.
func length16(s string) int {
	n := 0
	for _, r := range s {
		n += utf16.RuneLen(r)
	}
	return n
}
