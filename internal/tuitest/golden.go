package tuitest

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "write golden screens and pictures anew")

// Updating reports whether goldens are being written.
func Updating() bool { return *update }

// Golden compares text with testdata/name, or writes it with -update.
func Golden(t testing.TB, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (make it with -update)", err)
	}
	if string(want) != got {
		t.Errorf("%s: the screen differs (after a look, run with -update)\n--- want\n%s\n--- got\n%s", path, want, got)
	}
}
