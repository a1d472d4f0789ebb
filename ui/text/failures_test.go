package text

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The codes and sentences are those of core and the server: none is stale.
func TestFailures(t *testing.T) {
	t.Parallel()
	var source strings.Builder
	for _, root := range []string{"../../core", "../../server", "../connect"} {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			content, err := os.ReadFile(path)
			source.Write(content)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	all := source.String()
	for code, s := range spanishFailures {
		if !strings.Contains(all, `"`+code+`"`) {
			t.Errorf("%s: nothing fails with it any more", code)
		}
		if s.text == "" || s.hint == "" {
			t.Errorf("%s lacks words", code)
		}
	}
	for _, c := range []struct{ code, english, text string }{
		{"remote_unreachable", "updates.example.com did not answer: connection refused", "updates.example.com no respondió: conexión rechazada"},
		{"remote_timeout", "the server took no byte for 30s", "el servidor tardó demasiado"},
		{"nobody_knows", "the \x1b[31mmoon is full", "the moon is full"},
	} {
		if got := Failure("es", c.code, c.english); got != c.text {
			t.Errorf("%q became %q, want %q", c.english, got, c.text)
		}
		if got := Failure("en", c.code, c.english); got != Clean(c.english) {
			t.Errorf("English changed to %q", got)
		}
	}
	if got := FailureHint("es", "remote_timeout", ""); got != "" {
		t.Errorf("a hint out of nothing: %q", got)
	}
}
