package config

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"

	"capstan/core/failure"

	"github.com/tailscale/hujson"
)

// timeLimit bounds the evaluation of one config. A real one needs milliseconds.
const timeLimit = 2 * time.Second

// Environment is what a script sees as process.env.
type Environment map[string]string

// Value is an evaluated config.
type Value struct {
	// Object is the config, as JSON decodes it: map[string]any, []any, string,
	// json.Number, bool, nil.
	Object map[string]any
	// Env names the environment variables that a script looked at, sorted.
	Env []string
	// Warnings say what is wrong with the file although it could be read, such
	// as JSON with comments, which Capacitor takes for an empty config.
	Warnings []string
}

// Evaluate gives the value of the config. Failure codes: config_syntax,
// config_refused (the script wants what the sandbox does not give),
// config_timeout, config_failed (it threw) and config_not_object.
func (f *File) Evaluate(ctx context.Context, env Environment) (Value, error) {
	if f.Language == JSON {
		return f.evaluateJSON()
	}
	return f.evaluateScript(ctx, env)
}

var byteOrderMark = []byte("\xef\xbb\xbf")

func (f *File) evaluateJSON() (Value, error) {
	var v Value
	text := f.Text
	if problem := f.Strict(); problem != "" {
		v.Warnings = append(v.Warnings, problem)
	}
	// Standardize blanks comments out in place, so it gets a copy.
	text = bytes.Clone(bytes.TrimPrefix(text, byteOrderMark))
	tree, err := hujson.Parse(text)
	if err != nil {
		return v, failure.Wrap(errors.New(strings.TrimPrefix(err.Error(), "hujson: ")), failure.Failed, "config_syntax", "read "+f.name(), "Capacitor takes a config that it cannot parse for an empty one: correct the syntax")
	}
	tree.Standardize()
	if v.Object, err = decodeObject(tree.Pack()); err != nil {
		return v, failure.Wrap(err, failure.Failed, "config_not_object", "read "+f.name(), "")
	}
	return v, nil
}

// Strict is empty when Capacitor can parse the file, else it says what is in
// the way. It is about JSON alone; scripts are always strict.
func (f *File) Strict() string {
	text := bytes.TrimPrefix(f.Text, byteOrderMark) // Capacitor drops it too
	if f.Language != JSON || json.Valid(text) {
		return ""
	}
	what, line := "is not strict JSON", 1
	var syntax *json.SyntaxError
	if errors.As(json.Unmarshal(text, new(any)), &syntax) {
		at := int(min(syntax.Offset, int64(len(text))))
		line += bytes.Count(text[:at], []byte("\n"))
		what = "is not strict JSON (" + syntax.Error() + ")"
		if at > 0 {
			switch text[at-1] {
			case '/':
				what = "has a comment"
			case '}', ']':
				what = "has a comma before a closing bracket"
			}
		}
	}
	return fmt.Sprintf("%s %s near line %d: Capacitor cannot parse it and takes the config for empty", f.name(), what, line)
}

func (f *File) name() string {
	return f.Path[strings.LastIndexAny(f.Path, `/\`)+1:]
}

// decodeObject decodes JSON text that must be an object; numbers keep their text.
func decodeObject(text []byte) (map[string]any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("the config is not an object")
	}
	return object, nil
}

// Lookup follows keys into nested objects; ok is false where one is missing.
func Lookup(object map[string]any, keys ...string) (value any, ok bool) {
	value = object
	for _, key := range keys {
		o, isObject := value.(map[string]any)
		if !isObject {
			return nil, false
		}
		if value, ok = o[key]; !ok {
			return nil, false
		}
	}
	return value, true
}

func sortedKeys(set map[string]bool) []string {
	keys := make([]string, 0, len(set))
	for key := range set {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}
