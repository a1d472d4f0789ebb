package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// layout is how a file is written, so that an insertion looks like the rest.
type layout struct {
	text []byte
	eol  string
	unit string // one step of indentation
}

func layoutOf(text []byte) layout {
	l := layout{text: text, eol: "\n", unit: "  "}
	if i := bytes.IndexByte(text, '\n'); i > 0 && text[i-1] == '\r' {
		l.eol = "\r\n"
	}
	// The shallowest indented line shows the unit; comment blocks (" * …") do not count.
	best := ""
	for line := range bytes.Lines(text) {
		trimmed := bytes.TrimLeft(line, " \t")
		indent := string(line[:len(line)-len(trimmed)])
		trimmed = bytes.TrimSpace(trimmed)
		if indent == "" || len(trimmed) == 0 || trimmed[0] == '*' {
			continue
		}
		if best == "" || len(indent) < len(best) {
			best = indent
		}
	}
	if best != "" {
		l.unit = best
	}
	return l
}

// indentAt gives the indentation of the line that holds the offset.
func (l layout) indentAt(offset int) string {
	start := bytes.LastIndexByte(l.text[:offset], '\n') + 1
	end := start
	for end < offset && (l.text[end] == ' ' || l.text[end] == '\t') {
		end++
	}
	return string(l.text[start:end])
}

// member is one "key: value" to insert; a member with children is an object.
type member struct {
	key, value string
	children   []member
}

// nested wraps members in the objects that are missing, outermost first.
func nested(parents []string, inner []member) []member {
	for i := len(parents) - 1; i >= 0; i-- {
		inner = []member{{key: parents[i], children: inner}}
	}
	return inner
}

// insertFirst puts members right behind the opening brace at the offset brace.
// empty tells that the object holds nothing, not even a comment; closing is
// then the offset of its closing brace. trailing allows a comma behind the last
// member of an object that holds nothing else.
func (l layout) insertFirst(brace int, members []member, empty, trailing bool) []byte {
	at := brace + 1
	rest := l.text[at:]
	line := rest
	if i := bytes.IndexByte(rest, '\n'); i >= 0 {
		line = rest[:i]
	}
	multi := len(line) < len(rest) && blankOrComment(line)
	var b strings.Builder
	switch {
	case empty && (bytes.IndexByte(bytes.TrimSpace(l.text), '\n') >= 0 || brace == 0):
		outer := l.indentAt(brace)
		b.WriteString(l.eol)
		l.write(&b, members, outer+l.unit, trailing)
		b.WriteString(l.eol + outer)
		// Whatever white space was between the braces goes: it was the object's own.
		end := at + bytes.IndexByte(rest, '}')
		return splice(l.text, at, end, b.String())
	case empty:
		b.WriteString(l.inline(members, false))
		return splice(l.text, at, at, b.String())
	case multi:
		at += len(bytes.TrimRight(line, "\r"))
		indent := l.nextIndent(at)
		if indent == "" {
			indent = l.indentAt(brace) + l.unit
		}
		b.WriteString(l.eol)
		l.write(&b, members, indent, true)
		return splice(l.text, at, at, b.String())
	}
	// { a: 1 } on one line, or the first member on the line of the brace.
	space := ""
	for _, c := range line {
		if c != ' ' && c != '\t' {
			break
		}
		space += string(c)
	}
	return splice(l.text, at, at, space+l.inline(members, true))
}

// insertBehind puts members on lines of their own behind the member whose value
// ends at the offset end. It needs the rest of that line to be a comma and a
// comment at most; a comma that is missing is added, and then the new last
// member has none, as the file does not use trailing commas.
func (l layout) insertBehind(end int, members []member) ([]byte, bool) {
	rest := l.text[end:]
	eol := bytes.IndexByte(rest, '\n')
	if eol < 0 {
		return nil, false
	}
	line := bytes.TrimRight(rest[:eol], "\r")
	hasComma := bytes.HasPrefix(line, []byte(","))
	if !blankOrComment(bytes.TrimPrefix(line, []byte(","))) || !hasComma && nextByte(rest[eol:]) != '}' {
		return nil, false
	}
	var b strings.Builder
	if !hasComma {
		b.WriteString(",")
	}
	b.Write(line)
	b.WriteString(l.eol)
	l.write(&b, members, l.indentAt(end), hasComma)
	return splice(l.text, end, end+len(line), b.String()), true
}

// nextByte gives the first byte that is not white space, 0 at the end.
func nextByte(text []byte) byte {
	text = bytes.TrimLeft(text, " \t\r\n")
	if len(text) == 0 {
		return 0
	}
	return text[0]
}

// nextIndent gives the indentation of the first line with text behind offset at.
func (l layout) nextIndent(at int) string {
	for line := range bytes.Lines(l.text[at:]) {
		trimmed := bytes.TrimLeft(line, " \t\r\n")
		if len(trimmed) > 0 {
			if trimmed[0] == '}' {
				return ""
			}
			indent := line[:len(line)-len(trimmed)]
			return string(bytes.TrimLeft(indent, "\r\n"))
		}
	}
	return ""
}

// write puts every member on a line of its own.
func (l layout) write(b *strings.Builder, members []member, indent string, lastComma bool) {
	for i, m := range members {
		if i > 0 {
			b.WriteString(l.eol)
		}
		b.WriteString(indent + m.key + ": ")
		if m.children == nil {
			b.WriteString(m.value)
		} else {
			b.WriteString("{" + l.eol)
			// An inner object is new: its last member has a comma where the language allows one.
			l.write(b, m.children, indent+l.unit, lastComma && !strings.HasPrefix(m.key, `"`))
			b.WriteString(l.eol + indent + "}")
		}
		if i < len(members)-1 || lastComma {
			b.WriteString(",")
		}
	}
}

// inline puts the members on one line, as tight as the file is.
func (l layout) inline(members []member, lastComma bool) string {
	colon, comma, pad := ": ", ", ", " "
	if bytes.IndexByte(l.text, ':') >= 0 && !bytes.Contains(l.text, []byte(": ")) {
		colon, comma, pad = ":", ",", ""
	}
	var b strings.Builder
	for i, m := range members {
		b.WriteString(m.key + colon)
		if m.children == nil {
			b.WriteString(m.value)
		} else {
			b.WriteString("{" + pad + l.inline(m.children, false) + pad + "}")
		}
		if i < len(members)-1 {
			b.WriteString(comma)
		} else if lastComma {
			b.WriteString(",")
		}
	}
	return b.String()
}

// blankOrComment reports whether the rest of a line holds no member.
func blankOrComment(line []byte) bool {
	s := strings.TrimSpace(string(line))
	return s == "" || strings.HasPrefix(s, "//") || strings.HasPrefix(s, "/*") && strings.Index(s, "*/") == len(s)-2
}

func splice(text []byte, from, to int, middle string) []byte {
	out := make([]byte, 0, len(text)+len(middle))
	out = append(out, text[:from]...)
	out = append(out, middle...)
	return append(out, text[to:]...)
}

// quoteJSON writes a JSON string and leaves <, > and & as they are.
func quoteJSON(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return `""`
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// quoteScript writes a JavaScript string literal with the given quote.
func quoteScript(s string, quote byte) string {
	var b strings.Builder
	b.WriteByte(quote)
	for _, r := range s {
		switch {
		case r == rune(quote), r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r < 0x20, r == 0x7f, r == 0x2028, r == 0x2029:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte(quote)
	return b.String()
}
