package bundle

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
)

func TestUnpackGivesTheTreeBack(t *testing.T) {
	files := sampleTree()
	archive, packed := packBytes(t, writeTree(t, files), Options{})
	a, err := CheckArchive(context.Background(), bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Files) != len(files) || a.RawSize != packed.RawSize {
		t.Errorf("%d files, %d bytes; packed %d, %d", len(a.Files), a.RawSize, len(files), packed.RawSize)
	}
	dir := filepath.Join(t.TempDir(), "new")
	if err := Unpack(context.Background(), bytes.NewReader(archive), int64(len(archive)), dir); err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
