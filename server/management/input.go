package management

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"capstan/core/failure"
)

// maxBody is the largest body of a management call in bytes: the registration
// of a bundle with 10,000 delta files, each with two signed hashes.
const maxBody = 20 << 20

// input is what a call says: the query and, over it, the members of a JSON
// body. Capgo's clients use either, on any method, and in a query every value
// is a string; the readers below take both.
type input struct {
	fields map[string]any
	// manifest is the member of that name as it came: thousands of files are
	// read once, by the call that wants them.
	manifest json.RawMessage
	// problem is the first value of a wrong type; the reader goes on without
	// it, and the call is refused before anything is done.
	problem error
	// sum is the SHA-256 of the body as it came.
	sum [sha256.Size]byte
}

func bad(code, format string, args ...any) error {
	return failure.Newf(failure.Usage, code, "", "", format, args...)
}

// readInput reads query and body. Codes invalid_json_parse_body,
// body_too_large.
func readInput(w http.ResponseWriter, r *http.Request) (*input, error) {
	in := &input{fields: map[string]any{}}
	for key, values := range r.URL.Query() {
		in.fields[key] = values[len(values)-1]
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, failure.New(failure.Usage, "body_too_large", "", "the body is too large", "")
	case err != nil:
		return nil, bad("invalid_json_parse_body", "the body could not be read")
	}
	in.sum = sha256.Sum256(body)
	body = bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\ufeff")))
	if len(body) == 0 {
		return in, nil
	}
	if err := noDuplicates(body); err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(body))
	var raw map[string]json.RawMessage
	if err := d.Decode(&raw); err != nil {
		return nil, bad("invalid_json_parse_body", "the body is not a JSON object")
	}
	for key, text := range raw {
		if key == "manifest" {
			in.manifest = text
			continue
		}
		value, err := decodeValue(text)
		if err != nil {
			return nil, bad("invalid_json_parse_body", "the body is not a JSON object")
		}
		in.fields[key] = value
	}
	return in, nil
}

// decodeValue reads any JSON, numbers as their digits.
func decodeValue(text []byte) (value any, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	err = d.Decode(&value)
	return value, err
}

// noDuplicates refuses an object that names a member twice: two readers of it
// could disagree about what it says.
func noDuplicates(body []byte) error {
	d := json.NewDecoder(bytes.NewReader(body))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return bad("invalid_json_parse_body", "the body is not a JSON object")
	}
	seen := map[string]bool{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return bad("invalid_json_parse_body", "the body is not JSON")
		}
		name, _ := key.(string)
		if seen[name] {
			return bad("invalid_json_body", "the body names a member twice")
		}
		seen[name] = true
		var skipped json.RawMessage
		if err := d.Decode(&skipped); err != nil {
			return bad("invalid_json_parse_body", "the body is not JSON")
		}
	}
	if _, err := d.Token(); err != nil {
		return bad("invalid_json_parse_body", "the body is not JSON")
	}
	if _, err := d.Token(); err != io.EOF {
		return bad("invalid_json_parse_body", "the body holds more than one value")
	}
	return nil
}

// empty reports whether the call says nothing at all.
func (in *input) empty() bool { return len(in.fields) == 0 && in.manifest == nil }

func (in *input) wrong(name, want string) {
	if in.problem == nil {
		in.problem = bad("invalid_json_body", "%s is not %s", name, want)
	}
}

// find gives the first of some names that is there.
func (in *input) find(names []string) (name string, value any, ok bool) {
	for _, name := range names {
		if value, ok := in.fields[name]; ok {
			return name, value, true
		}
	}
	return "", nil, false
}

// coded gives what read finds wrong another code than invalid_json_body.
func (in *input) coded(code string, read func()) {
	before := in.problem
	read()
	if before == nil && in.problem != nil {
		in.problem = bad(code, "%s", in.problem.Error())
	}
}

// text gives a string, "" when absent or null.
func (in *input) text(names ...string) string {
	if p := in.optText(names...); p != nil {
		return *p
	}
	return ""
}

// optText gives a string, nil when absent or null. A number is taken as its digits.
func (in *input) optText(names ...string) *string {
	name, value, ok := in.find(names)
	if !ok || value == nil {
		return nil
	}
	switch v := value.(type) {
	case string:
		switch {
		case len(v) > maxText:
			in.wrong(name, fmt.Sprintf("at most %d bytes", maxText))
			return nil
		case strings.IndexByte(v, 0) >= 0 || !utf8.ValidString(v):
			// Which not every database keeps.
			if name == "channel" && in.problem == nil {
				in.problem = bad("invalid_channel_name", "the channel's name holds odd characters")
			}
			in.wrong(name, "UTF-8 text without NUL")
			return nil
		}
		return &v
	case json.Number:
		s := v.String()
		return &s
	}
	in.wrong(name, "a string")
	return nil
}

// cleared gives a string, nil when absent and empty when null.
func (in *input) cleared(name string) *string {
	if in.null(name) {
		return new(string)
	}
	return in.optText(name)
}

// maxText is the longest string value in bytes; a PEM key and a signed
// checksum are far below it.
const maxText = 16 << 10

// null reports whether a name is there with the value null.
func (in *input) null(names ...string) bool {
	_, value, ok := in.find(names)
	return ok && value == nil
}

// optBool gives a boolean, nil when absent or null.
func (in *input) optBool(names ...string) *bool {
	name, value, ok := in.find(names)
	if !ok || value == nil {
		return nil
	}
	switch v := value.(type) {
	case bool:
		return &v
	case string:
		switch v {
		case "true", "1":
			yes := true
			return &yes
		case "false", "0":
			no := false
			return &no
		}
	}
	in.wrong(name, "true or false")
	return nil
}

// optInt gives an integer between low and high, nil when absent or null.
func (in *input) optInt(low, high int64, names ...string) *int64 {
	f := in.optFloat(float64(low), float64(high), names...)
	if f == nil {
		return nil
	}
	if *f != math.Trunc(*f) {
		in.wrong(names[0], "a whole number")
		return nil
	}
	n := int64(*f)
	return &n
}

// optFloat gives a number between low and high, nil when absent or null.
func (in *input) optFloat(low, high float64, names ...string) *float64 {
	name, value, ok := in.find(names)
	if !ok || value == nil {
		return nil
	}
	text := ""
	switch v := value.(type) {
	case string:
		text = v
	case json.Number:
		text = v.String()
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(f) || f < low || f > high {
		in.wrong(name, fmt.Sprintf("a number from %g to %g", low, high))
		return nil
	}
	return &f
}

// id gives the id of a row, 0 when absent.
func (in *input) id(names ...string) int64 {
	if p := in.optInt(1, 1<<53, names...); p != nil {
		return *p
	}
	return 0
}

// page gives the zero-based page; size rows each.
func (in *input) page(size int) (offset int) {
	if p := in.optInt(0, 1_000_000, "page"); p != nil {
		return int(*p) * size
	}
	return 0
}

// mostRows is the largest page that may be asked for.
const mostRows = 1000

// limit gives the number of rows asked for, 0 when absent. Code invalid_limit.
func (in *input) limit() int {
	limit := 0
	in.coded("invalid_limit", func() {
		if p := in.optInt(1, mostRows, "limit"); p != nil {
			limit = int(*p)
		}
	})
	return limit
}

// list gives a list of strings, nil when absent.
func (in *input) list(name string) []string {
	value, ok := in.fields[name]
	if !ok || value == nil {
		return nil
	}
	items, ok := value.([]any)
	if !ok {
		in.wrong(name, "a list of strings")
		return nil
	}
	list := make([]string, 0, len(items))
	for _, item := range items {
		s, ok := item.(string)
		if !ok || s == "" || len(s) > 256 {
			in.wrong(name, "a list of strings")
			return nil
		}
		list = append(list, s)
	}
	return list
}

// optTime gives a date or a time, nil when absent.
func (in *input) optTime(name string) *time.Time {
	text := in.text(name)
	if text == "" {
		return nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02"} {
		if t, err := time.Parse(layout, text); err == nil {
			t = t.UTC()
			return &t
		}
	}
	in.wrong(name, "a date")
	return nil
}

// only refuses members that the route does not know. Code unknown_field.
func (in *input) only(names ...string) {
	known := strings.Join(names, "\n") + "\n"
	for name := range in.fields {
		if !strings.Contains("\n"+known, "\n"+name+"\n") && in.problem == nil {
			in.problem = bad("unknown_field", "%q is not a field of this call", clean(name))
		}
	}
}

// clean makes a name from outside fit for one line of an error.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 || r >= 0x200b && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return -1
		}
		return r
	}, s)
	if len(s) > 80 {
		s = strings.ToValidUTF8(s[:80], "")
	}
	return s
}
