package config

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"capstan/core/failure"
)

var update = flag.Bool("update", false, "write the golden files of the corpus")

// corpusCase is case.json of a folder in testdata/corpus.
type corpusCase struct {
	Changes   map[string]string `json:"changes"` // default: publicKey; "@key" stands for corpusKey
	Env       Environment       `json:"env"`
	Refused   string            `json:"refused"`   // pattern of the reason why no edit is made
	Code      string            `json:"code"`      // failure code of a config that cannot be read at all
	Warning   string            `json:"warning"`   // pattern of a warning
	Unchanged bool              `json:"unchanged"` // the settings are there already
	Depends   []string          `json:"depends"`   // environment variables that are looked at
}

// corpusKey is the public half of a key pair made for this test.
const corpusKey = `-----BEGIN RSA PUBLIC KEY-----
MIIBCgKCAQEAxiXRLwp/cd4LxbaHiMfBSEHi/45gFiOjubh1dXDzwX1art1AGkfE
rkyZtoMAKhRM2ditlQF28eA1eR/kkBLKi1VSH+T2+yyBlYZ5InArXtnoph0SG2ah
stETkryEHeUSnu8JygNQkCnNk3WRTsuq41Ao2VqIrSC5GA3zqqpzFqOHexbrUG5z
KV6pmPTcGUHGTctVjWcqnE3G4ofAcmGQb0cz8Yh7uoaQvYvlQAXZM3a3hqEoXfVR
himIKgMtNxpaLYNJ0M60QGnIeNY+4ZiQl8zAur1dg+RQkyZWD6mxedgqwtUtWXBc
BD5fqySwIFcCGT0GJ92bLmN5QDqb87HXyQIDAQAB
-----END RSA PUBLIC KEY-----
`

func TestCorpus(t *testing.T) {
	folders, err := filepath.Glob("testdata/corpus/*/case.json")
	if err != nil || len(folders) < 60 {
		t.Fatalf("the corpus has %d configs, want at least 60 (%v)", len(folders), err)
	}
	for _, path := range folders {
		dir := filepath.Dir(path)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			t.Parallel()
			var c corpusCase
			if err := json.Unmarshal(read(t, path), &c); err != nil {
				t.Fatal(err)
			}
			if c.Changes == nil {
				c.Changes = map[string]string{"publicKey": "@key"}
			}
			for k, v := range c.Changes {
				c.Changes[k] = strings.Replace(v, "@key", corpusKey, 1)
			}
			checkCase(t, dir, c)
		})
	}
}

func checkCase(t *testing.T, dir string, c corpusCase) {
	ctx := context.Background()
	found, _ := filepath.Glob(filepath.Join(dir, "capacitor.config.*"))
	f, err := Read(found[0], "")
	if err != nil {
		t.Fatal(err)
	}
	value, err := f.Evaluate(ctx, c.Env)
	if c.Code != "" {
		if failure.CodeOf(err) != c.Code {
			t.Fatalf("evaluating gave %v (%s), want %s", err, failure.CodeOf(err), c.Code)
		}
		if _, err := f.Change(ctx, c.Changes, c.Env); failure.CodeOf(err) != c.Code {
			t.Errorf("editing gave %v, want %s", err, c.Code)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(value.Env)+len(c.Depends) > 0 && !reflect.DeepEqual(value.Env, c.Depends) {
		t.Errorf("depends on %q, want %q", value.Env, c.Depends)
	}
	if all := strings.Join(value.Warnings, "\n"); (c.Warning == "") != (all == "") || !regexp.MustCompile(c.Warning).MatchString(all) {
		t.Errorf("warnings %q, want %q", all, c.Warning)
	}

	edit, err := f.Change(ctx, c.Changes, c.Env)
	if c.Refused != "" {
		if failure.CodeOf(err) != "config_edit_refused" || !regexp.MustCompile(c.Refused).MatchString(err.Error()) {
			t.Fatalf("the edit gave %v, want a refusal like %q", err, c.Refused)
		}
		if edit.Snippet == "" || !bytes.Equal(edit.After, f.Text) {
			t.Error("a refused edit has no snippet or changes the text")
		}
		return
	}
	if err != nil {
		t.Fatalf("%v", err)
	}
	if c.Unchanged {
		if edit.Changed() || !bytes.Equal(edit.After, f.Text) {
			t.Errorf("nothing had to change:\n%s", edit.Diff)
		}
		return
	}
	golden := filepath.Join(dir, "want")
	if *update {
		if err := os.WriteFile(golden, edit.After, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want := read(t, golden); !bytes.Equal(edit.After, want) {
		t.Errorf("edited text differs from %s:\n%s", golden, unified("want", "got", want, edit.After))
	}
	for key, v := range c.Changes {
		got, err := f.with(edit.After).Evaluate(ctx, c.Env)
		if err != nil {
			t.Fatal(err)
		}
		if now, _ := Lookup(got.Object, "plugins", "CapacitorUpdater", key); now != v {
			t.Errorf("%s is %v after the edit", key, now)
		}
	}
	// Every byte that was there is still there, in order. Where a value is
	// replaced, what is before and behind it is.
	original := read(t, found[0])
	if !bytes.Equal(original, f.Text) {
		t.Fatal("planning changed the text that was read")
	}
	if len(c.Changes) == 1 && !strings.Contains(dir, "existing") && !strings.Contains(dir, "duplicate-setting") && !strings.Contains(dir, "capgo-written") {
		left := original
		for _, b := range edit.After {
			if len(left) > 0 && left[0] == b {
				left = left[1:]
			}
		}
		if blank := strings.TrimSpace(string(left)); blank != "" || len(left) > 0 && !strings.Contains(dir, "empty") {
			t.Errorf("bytes outside the edit are gone: %q", left)
		}
	}
	// A second edit finds nothing to do.
	again, err := f.with(edit.After).Change(ctx, c.Changes, c.Env)
	if err != nil || again.Changed() {
		t.Errorf("the edit is not idempotent: %v\n%s", err, again.Diff)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
