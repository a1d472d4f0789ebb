package config

import (
	"bytes"
	"errors"
	"fmt"
	"sort"

	"github.com/tailscale/hujson"
)

// spliceJSON sets the settings by inserting or replacing at the offsets that
// the parser gives. The text may have comments and trailing commas.
func spliceJSON(text []byte, changes map[string]string) ([]attempt, error) {
	mark := len(text) - len(bytes.TrimPrefix(text, byteOrderMark))
	body := text[mark:]
	keys := make([]string, 0, len(changes))
	for key := range changes {
		keys = append(keys, key)
	}
	sort.Sort(sort.Reverse(sort.StringSlice(keys))) // each goes in first, so the last one inserted comes first
	for _, key := range keys {
		next, err := setJSON(body, key, changes[key])
		if err != nil {
			return nil, err
		}
		body = next
	}
	return []attempt{{text: append(bytes.Clone(text[:mark]), body...)}}, nil
}

func setJSON(text []byte, key, value string) ([]byte, error) {
	tree, err := hujson.Parse(text)
	if err != nil {
		return nil, err
	}
	at := &tree
	path := []string{"plugins", "CapacitorUpdater", key}
	for depth, name := range path {
		object, ok := at.Value.(*hujson.Object)
		if !ok {
			return nil, fmt.Errorf("%q is not an object", append([]string{"the config"}, path...)[depth])
		}
		found := lastMember(object, name)
		if found == nil {
			inner := nested(quoted(path[depth:len(path)-1]), []member{{key: quoteJSON(key), value: quoteJSON(value)}})
			// Comments inside an object without members keep it from being empty.
			between := text[at.StartOffset+1 : at.EndOffset-1]
			empty := len(object.Members) == 0 && len(bytes.TrimSpace(between)) == 0
			if len(object.Members) == 0 && !empty {
				return nil, errors.New("an object that holds only comments")
			}
			l := layoutOf(text)
			if depth == 0 { // plugins goes behind what names the app, where people put it
				for _, name := range openers {
					if m := lastMember(object, name); m != nil {
						if after, ok := l.insertBehind(m.Value.EndOffset, inner); ok {
							return after, nil
						}
					}
				}
			}
			return l.insertFirst(at.StartOffset, inner, empty, false), nil
		}
		at = &found.Value
	}
	if _, ok := at.Value.(hujson.Literal); !ok {
		return nil, fmt.Errorf("%s is not a string", key)
	}
	return splice(text, at.StartOffset, at.EndOffset, quoteJSON(value)), nil
}

// openers are the members of a config that come first by custom.
var openers = []string{"webDir", "appName", "appId"}

// lastMember finds a member by name; JSON.parse lets the last of several win.
func lastMember(o *hujson.Object, name string) *hujson.ObjectMember {
	for i := len(o.Members) - 1; i >= 0; i-- {
		if l, ok := o.Members[i].Name.Value.(hujson.Literal); ok && l.String() == name {
			return &o.Members[i]
		}
	}
	return nil
}

func quoted(names []string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = quoteJSON(name)
	}
	return out
}
