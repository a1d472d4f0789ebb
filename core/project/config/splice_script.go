package config

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/dop251/goja/ast"
	"github.com/dop251/goja/file"
	"github.com/dop251/goja/parser"
	"github.com/evanw/esbuild/pkg/api"
	"github.com/go-sourcemap/sourcemap"
)

// spliceScript sets the settings in a TypeScript or JavaScript config. It gives
// up to two attempts: the setting as first member of its object, and as last
// one, which wins over what is spread into the object.
func (f *File) spliceScript(changes map[string]string) ([]attempt, error) {
	keys := make([]string, 0, len(changes))
	for key := range changes {
		keys = append(keys, key)
	}
	sort.Sort(sort.Reverse(sort.StringSlice(keys)))
	var attempts []attempt
	var firstErr error
	for _, last := range []bool{false, true} {
		text := f.Text
		var literals []string
		var err error
		if last { // in source order then
			sort.Strings(keys)
		}
		for _, key := range keys {
			var s *script
			if s, err = parseScript(f.with(text)); err != nil {
				break
			}
			literals = s.compared()
			if text, err = s.set(key, changes[key], last); err != nil {
				break
			}
		}
		if err == nil {
			attempts = append(attempts, attempt{text: text, literals: literals})
		} else if firstErr == nil {
			firstErr = err
		}
	}
	return attempts, firstErr
}

// script is a parsed config: the tree of the transpiled text, with the way
// back to offsets of the original.
type script struct {
	text      []byte
	generated []byte
	program   *ast.Program
	back      *sourcemap.Consumer
}

func parseScript(f *File) (*script, error) {
	loader := api.LoaderJS
	if f.Language == TypeScript {
		loader = api.LoaderTS
	}
	r := api.Transform(string(f.Text), api.TransformOptions{
		Loader: loader, Format: api.FormatCommonJS, Target: api.ES2020, Charset: api.CharsetUTF8,
		Sourcemap: api.SourceMapExternal, Sourcefile: f.name(), TsconfigRaw: `{}`, LogLevel: api.LogLevelSilent,
	})
	if len(r.Errors) > 0 {
		return nil, f.syntaxFailure(r.Errors[0])
	}
	back, err := sourcemap.Parse("", r.Map)
	if err != nil {
		return nil, fmt.Errorf("read the source map: %w", err)
	}
	program, err := parser.ParseFile(nil, f.name(), r.Code, 0, parser.WithDisableSourceMaps)
	if err != nil {
		return nil, errors.New("it uses syntax that capstan cannot edit")
	}
	return &script{text: f.Text, generated: r.Code, program: program, back: back}, nil
}

// set inserts or replaces one setting.
func (s *script) set(key, value string, last bool) ([]byte, error) {
	updater, plugins, roots := s.candidates()
	property := func(quoteKeys byte) []member {
		name := key
		if quoteKeys != 0 {
			name = string(quoteKeys) + key + string(quoteKeys)
		}
		return []member{{key: name, value: quoteScript(value, s.quote())}}
	}
	wrap := func(o *ast.ObjectLiteral, parents ...string) ([]byte, error) {
		q := s.keyQuote(o)
		for i := range parents {
			if q != 0 {
				parents[i] = string(q) + parents[i] + string(q)
			}
		}
		return s.insert(o, nested(parents, property(q)), last)
	}
	switch {
	case len(updater) > 1 || len(updater) == 0 && len(plugins) > 1 || len(updater)+len(plugins) == 0 && len(roots) > 1:
		return nil, errors.New("the config has several objects where the setting could belong")
	case len(updater) == 1:
		o, ok := s.literal(updater[0])
		if !ok {
			return nil, errors.New("CapacitorUpdater is not an object written in this file")
		}
		for _, p := range o.Value {
			switch p := p.(type) {
			case *ast.PropertyShort:
				if p.Name.Name.String() == key {
					return nil, fmt.Errorf("%s comes from a variable", key)
				}
			case *ast.PropertyKeyed:
				if name, ok := keyName(p); ok && name == key {
					return s.replaceString(p.Value, key, value)
				}
			}
		}
		return wrap(o)
	case len(plugins) == 1:
		o, ok := s.literal(plugins[0])
		if !ok {
			return nil, errors.New("plugins is not an object written in this file")
		}
		return wrap(o, "CapacitorUpdater")
	case len(roots) == 1:
		if q := s.keyQuote(roots[0]); q == 0 && !last {
			if after, ok := s.insertBehindOpener(roots[0], nested([]string{"plugins", "CapacitorUpdater"}, property(0))); ok {
				return after, nil
			}
		}
		return wrap(roots[0], "plugins", "CapacitorUpdater")
	}
	return nil, errors.New("no object with appId is written in this file")
}

// insertBehindOpener puts members behind webDir, appName or appId, where people
// put them, if that member is a string with its line to itself.
func (s *script) insertBehindOpener(root *ast.ObjectLiteral, members []member) ([]byte, bool) {
	for _, opener := range openers {
		for _, p := range root.Value {
			k, ok := p.(*ast.PropertyKeyed)
			if !ok {
				continue
			}
			if name, _ := keyName(k); name != opener {
				continue
			}
			start, ok := s.original(k.Value.Idx0())
			if !ok {
				continue
			}
			if end, ok := stringEnd(s.text, start); ok {
				if after, ok := layoutOf(s.text).insertBehind(end, members); ok {
					return after, true
				}
			}
		}
	}
	return nil, false
}

// candidates collects the values of every property named CapacitorUpdater and
// plugins, and every object literal that has an appId.
func (s *script) candidates() (updater, plugins []ast.Expression, roots []*ast.ObjectLiteral) {
	walk(s.program, func(n any) {
		o, ok := n.(*ast.ObjectLiteral)
		if !ok {
			return
		}
		for _, p := range o.Value {
			var name string
			var value ast.Expression
			switch p := p.(type) {
			case *ast.PropertyKeyed:
				name, _ = keyName(p)
				value = p.Value
			case *ast.PropertyShort:
				name = p.Name.Name.String()
				value = &p.Name
			}
			switch name {
			case "CapacitorUpdater":
				updater = append(updater, value)
			case "plugins":
				plugins = append(plugins, value)
			case "appId":
				if !s.insideUpdater(o) {
					roots = append(roots, o)
				}
			}
		}
	})
	return updater, plugins, roots
}

// insideUpdater tells the plugin's own appId setting from the app's.
func (s *script) insideUpdater(o *ast.ObjectLiteral) bool {
	found := false
	walk(s.program, func(n any) {
		if p, ok := n.(*ast.PropertyKeyed); ok {
			if name, _ := keyName(p); name == "CapacitorUpdater" && p.Value == ast.Expression(o) {
				found = true
			}
		}
	})
	return found
}

func keyName(p *ast.PropertyKeyed) (string, bool) {
	if p.Computed {
		return "", false
	}
	switch k := p.Key.(type) {
	case *ast.StringLiteral:
		return k.Value.String(), true
	case *ast.Identifier:
		return k.Name.String(), true
	}
	return "", false
}

// literal gives the object that an expression is, following a name to the one
// place where it is declared with an object.
func (s *script) literal(e ast.Expression) (*ast.ObjectLiteral, bool) {
	if o, ok := e.(*ast.ObjectLiteral); ok {
		return o, true
	}
	name, ok := e.(*ast.Identifier)
	if !ok {
		return nil, false
	}
	var found []*ast.ObjectLiteral
	declared := 0
	walk(s.program, func(n any) {
		b, ok := n.(*ast.Binding)
		if !ok {
			return
		}
		if target, ok := b.Target.(*ast.Identifier); ok && target.Name == name.Name {
			declared++
			if o, ok := b.Initializer.(*ast.ObjectLiteral); ok {
				found = append(found, o)
			}
		}
	})
	if declared != 1 || len(found) != 1 {
		return nil, false
	}
	return found[0], true
}

// compared lists the strings that the script compares values with: they are
// what environment variables are tried with when an edit is proved.
func (s *script) compared() []string {
	set := map[string]bool{}
	note := func(e ast.Expression) {
		if l, ok := e.(*ast.StringLiteral); ok && len(l.Value) < 100 {
			set[l.Value.String()] = true
		}
	}
	walk(s.program, func(n any) {
		switch n := n.(type) {
		case *ast.BinaryExpression:
			if n.Comparison {
				note(n.Left)
				note(n.Right)
			}
		case *ast.CaseStatement:
			note(n.Test)
		}
	})
	delete(set, "")
	// esbuild's own helpers for CommonJS compare with these.
	delete(set, "object")
	delete(set, "function")
	return sortedKeys(set)
}

// insert puts members into an object literal of the original text.
func (s *script) insert(o *ast.ObjectLiteral, members []member, last bool) ([]byte, error) {
	brace, ok := s.original(o.LeftBrace)
	if !ok || s.text[brace] != '{' {
		return nil, errors.New("the place of the setting cannot be found in the file")
	}
	closing, ok := s.original(o.RightBrace)
	if !ok || s.text[closing] != '}' || closing <= brace {
		return nil, errors.New("the end of the object cannot be found in the file")
	}
	l := layoutOf(s.text)
	between := bytes.TrimSpace(s.text[brace+1 : closing])
	switch {
	case len(o.Value) == 0 && len(between) > 0:
		return nil, errors.New("an object that holds only comments")
	case !last || len(o.Value) == 0:
		return l.insertFirst(brace, members, len(o.Value) == 0, true), nil
	}
	// Behind the last member: a comma is needed unless one is there, and a
	// comment at that place could hide either.
	end := brace + 1 + len(bytes.TrimRight(s.text[brace+1:closing], " \t\r\n"))
	lineStart := bytes.LastIndexByte(s.text[:end], '\n') + 1
	if bytes.Contains(s.text[max(lineStart, brace):end], []byte("//")) && !bytes.Contains(s.text[max(lineStart, brace):end], []byte("://")) || bytes.HasSuffix(s.text[:end], []byte("*/")) {
		return nil, errors.New("a comment stands at the end of the object")
	}
	var b strings.Builder
	if s.text[end-1] != ',' {
		b.WriteString(",")
	}
	if bytes.IndexByte(s.text[brace:closing], '\n') < 0 {
		b.WriteString(" " + l.inline(members, false))
	} else {
		b.WriteString(l.eol)
		l.write(&b, members, l.indentAt(end), true)
	}
	return splice(s.text, end, end, b.String()), nil
}

// replaceString puts the value in place of a string literal, or of several
// that are added up.
func (s *script) replaceString(e ast.Expression, key, value string) ([]byte, error) {
	start, ok := s.original(e.Idx0())
	_, isString := e.(*ast.StringLiteral)
	if t, isTemplate := e.(*ast.TemplateLiteral); isTemplate && t.Tag == nil && len(t.Expressions) == 0 {
		isString = true
	}
	if !ok || !isString {
		return nil, fmt.Errorf("%s is computed, not written as a string", key)
	}
	end, ok := stringEnd(s.text, start)
	if !ok {
		return nil, fmt.Errorf("%s is not written as a plain string", key)
	}
	for {
		// esbuild has joined what was added up: the other operands follow.
		next := skipBlank(s.text, end)
		if next >= len(s.text) || s.text[next] != '+' {
			break
		}
		if next, ok = stringEnd(s.text, skipBlank(s.text, next+1)); !ok {
			return nil, fmt.Errorf("%s is computed, not written as a string", key)
		}
		end = next
	}
	quote := s.text[start]
	if quote == '`' {
		quote = s.quote()
	}
	return splice(s.text, start, end, quoteScript(value, quote)), nil
}

// stringEnd gives the offset behind the string literal that starts at start.
func stringEnd(text []byte, start int) (int, bool) {
	if start >= len(text) || text[start] != '\'' && text[start] != '"' && text[start] != '`' {
		return 0, false
	}
	for i := start + 1; i < len(text); i++ {
		switch {
		case text[i] == '\\':
			i++
		case text[i] == text[start]:
			return i + 1, true
		case text[start] == '`' && text[i] == '$' && i+1 < len(text) && text[i+1] == '{':
			return 0, false
		case text[i] == '\n' && text[start] != '`':
			return 0, false
		}
	}
	return 0, false
}

// skipBlank goes over white space and comments.
func skipBlank(text []byte, at int) int {
	for at < len(text) {
		rest := text[at:]
		switch {
		case rest[0] == ' ' || rest[0] == '\t' || rest[0] == '\r' || rest[0] == '\n':
			at++
		case bytes.HasPrefix(rest, []byte("//")):
			i := bytes.IndexByte(rest, '\n')
			if i < 0 {
				return len(text)
			}
			at += i + 1
		case bytes.HasPrefix(rest, []byte("/*")):
			i := bytes.Index(rest, []byte("*/"))
			if i < 0 {
				return len(text)
			}
			at += i + 2
		default:
			return at
		}
	}
	return at
}

// original gives the offset in the original text of a position in the
// transpiled one. Source maps count lines from 1 and columns in UTF-16 units
// from 0.
func (s *script) original(at file.Idx) (int, bool) {
	offset := int(at) - s.program.File.Base()
	if offset < 0 || offset >= len(s.generated) {
		return 0, false
	}
	before := s.generated[:offset]
	line := bytes.Count(before, []byte("\n")) + 1
	column := utf16Length(before[bytes.LastIndexByte(before, '\n')+1:])
	_, _, line, column, ok := s.back.Source(line, column)
	if !ok {
		return 0, false
	}
	start := 0
	for ; line > 1; line-- {
		i := lineBreak(s.text[start:])
		if i < 0 {
			return 0, false
		}
		start += i
	}
	for column > 0 {
		r, size := utf8.DecodeRune(s.text[start:])
		if size == 0 {
			return 0, false
		}
		if column--; r > 0xffff {
			column--
		}
		start += size
	}
	return start, column == 0 && start < len(s.text)
}

// lineBreak gives the offset behind the first line break, as JavaScript counts
// lines: \n, \r\n, a lone \r, U+2028 and U+2029.
func lineBreak(text []byte) int {
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		i += size
		switch r {
		case '\r':
			if i < len(text) && text[i] == '\n' {
				i++
			}
			return i
		case '\n', 0x2028, 0x2029:
			return i
		}
	}
	return -1
}

func utf16Length(text []byte) int {
	n := 0
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		if n++; r > 0xffff {
			n++
		}
		text = text[size:]
	}
	return n
}

// quote is the string quote that the file uses most, outside JSON-like double ones by default.
func (s *script) quote() byte {
	if bytes.Count(s.text, []byte{'"'}) > bytes.Count(s.text, []byte{'\''}) {
		return '"'
	}
	return '\''
}

// keyQuote is the quote around the keys of an object, 0 where they have none.
func (s *script) keyQuote(o *ast.ObjectLiteral) byte {
	for _, p := range o.Value {
		k, ok := p.(*ast.PropertyKeyed)
		if !ok {
			continue
		}
		if at, ok := s.original(k.Key.Idx0()); ok && (s.text[at] == '"' || s.text[at] == '\'') {
			return s.text[at]
		}
		return 0
	}
	return 0
}

// walk visits every node of the tree. The tree has no cycles but for the
// declaration lists, which repeat nodes and are left out.
func walk(root any, visit func(any)) {
	var step func(v reflect.Value)
	step = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Interface:
			if !v.IsNil() {
				step(v.Elem())
			}
		case reflect.Pointer:
			if v.IsNil() || v.Type() == reflect.TypeFor[*file.File]() {
				return
			}
			visit(v.Interface())
			step(v.Elem())
		case reflect.Slice:
			for i := range v.Len() {
				e := v.Index(i)
				if e.Kind() == reflect.Struct {
					e = e.Addr()
				}
				step(e)
			}
		case reflect.Struct:
			for i := range v.NumField() {
				if name := v.Type().Field(i).Name; name != "DeclarationList" && v.Type().Field(i).IsExported() {
					step(v.Field(i))
				}
			}
		}
	}
	step(reflect.ValueOf(root))
}
