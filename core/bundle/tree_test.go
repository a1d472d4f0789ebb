package bundle

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"capstan/core/failure"
)

func namesIn(t *testing.T, dir string, o Options) []string {
	t.Helper()
	tree, err := readTree(context.Background(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range tree.files {
		names = append(names, f.name)
	}
	return names
}

func TestWhatIsLeftOut(t *testing.T) {
	files := map[string][]byte{}
	for _, name := range []string{
		"index.html", "app.js", "app.js.map", ".env", ".DS_Store", "a/.hidden", "a/b.js", "a/b.css.map", "node_modules/x/index.js", "lib/node_modules/y.js",
		"__MACOSX/z", ".well-known/assetlinks.json", ".well-known/.secret", ".git/HEAD", "Thumbs.db", "docs/guide.md", "docs/deep/more.md", "node_modules.js",
	} {
		files[name] = []byte(name)
	}
	dir := writeTree(t, files)
	base := []string{"a/b.js", "app.js", "docs/deep/more.md", "docs/guide.md", "index.html", "node_modules.js"}
	tests := []struct {
		name string
		o    Options
		add  []string
		drop []string
	}{
		{"default", Options{}, nil, nil},
		{"source maps", Options{SourceMaps: true}, []string{"a/b.css.map", "app.js.map"}, nil},
		{"one hidden folder", Options{Include: []string{".well-known"}}, []string{".well-known/.secret", ".well-known/assetlinks.json"}, nil},
		{"one hidden file", Options{Include: []string{".well-known/assetlinks.json"}}, []string{".well-known/assetlinks.json"}, nil},
		{"hidden files below", Options{Include: []string{"**/.hidden"}}, []string{"a/.hidden"}, nil},
		{"hidden name anywhere", Options{Include: []string{".hidden"}}, []string{"a/.hidden"}, nil},
		{"one map", Options{Include: []string{"app.js.map"}}, []string{"app.js.map"}, nil},
		{"exclude a suffix", Options{Exclude: []string{"*.md"}}, nil, []string{"docs/deep/more.md", "docs/guide.md"}},
		{"exclude a folder", Options{Exclude: []string{"docs/"}}, nil, []string{"docs/deep/more.md", "docs/guide.md"}},
		{"exclude below", Options{Exclude: []string{"docs/*/*.md"}}, nil, []string{"docs/deep/more.md"}},
		{"exclude deep", Options{Exclude: []string{"**/more.md"}}, nil, []string{"docs/deep/more.md"}},
		{"exclude wins", Options{SourceMaps: true, Include: []string{"app.js.map"}, Exclude: []string{"app.js.map"}}, []string{"a/b.css.map"}, nil},
		{"dependencies", Options{Include: []string{"lib/node_modules"}}, []string{"lib/node_modules/y.js"}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			want := slices.Concat(base, test.add)
			want = slices.DeleteFunc(want, func(s string) bool { return slices.Contains(test.drop, s) })
			slices.Sort(want)
			if got := namesIn(t, dir, test.o); !slices.Equal(got, want) {
				t.Errorf("got %q\nwant %q", got, want)
			}
		})
	}
	if _, err := readTree(context.Background(), dir, Options{Exclude: []string{"[a"}}); failure.CodeOf(err) != "pattern_malformed" {
		t.Errorf("a malformed pattern: %v", err)
	}
}

func TestMatchPartsIsNotExponential(t *testing.T) {
	pattern := strings.Split(strings.Repeat("**/a/", 30)+"b", "/")
	name := strings.Split(strings.Repeat("a/", 2000)+"c", "/")
	if matchParts(pattern, name) {
		t.Error("matches")
	}
}

// TestNamesInEveryScript packs names that must come through unchanged.
func TestNamesInEveryScript(t *testing.T) {
	names := []string{
		"index.html", "ünïcödé.js", "日本語.css", "한국어.txt", "العربية.json", "עברית.html", "ไทย.js", "हिन्दी.js", "ελληνικά.js", "кириллица.js",
		"emoji-😀🏳️‍🌈.svg", "a b c.txt", "(1) [2] {3}.js", "quote'quote.js", "am&per+sand=.js", "percent%20.js", "#hash;semi.js", "@scope/pkg.js", "~tilde.js",
		"dollar$.js", "comma,.js", "excl!.js", "UPPER.JS", strings.Repeat("n", 255), strings.Repeat("d/", 60) + "deep.js", "a.b.c.d.e", "-dash.js", "--", "_", "0", "Ω.js", "ﬀ.js",
		"no-extension", "trailing.", "ｗｉｄｅ.js", "٣.js", "中/文/路径.js",
	}
	files := map[string][]byte{}
	for i, name := range names {
		files[name] = text(uint64(i), 100+i)
	}
	dir := writeTree(t, files)
	archive, _ := packBytes(t, dir, Options{})
	checkHolds(t, archive, files)
	if _, err := CheckArchive(context.Background(), bytes.NewReader(archive), int64(len(archive))); err != nil {
		t.Error(err)
	}
}

func TestTheSameTreeAHundredTimes(t *testing.T) {
	files := map[string][]byte{"index.html": text(0, 3000)}
	for i := range 40 {
		files[fmt.Sprintf("%d/%d.js", i%7, i)] = text(uint64(i), i*311)
	}
	dir := writeTree(t, files)
	var first [sha256.Size]byte
	for i := range 100 {
		p, err := Pack(context.Background(), dir, io.Discard, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = p.Checksum
		}
		if p.Checksum != first {
			t.Fatalf("time %d gave another hash", i)
		}
	}
}

func TestEmptyFolders(t *testing.T) {
	dir := writeTree(t, good())
	before, _ := packBytes(t, dir, Options{})
	if err := os.MkdirAll(filepath.Join(dir, "empty/empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	after, _ := packBytes(t, dir, Options{})
	if !bytes.Equal(before, after) {
		t.Error("empty folders change the bundle")
	}
	if _, err := Pack(context.Background(), t.TempDir(), io.Discard, Options{}); failure.CodeOf(err) != "folder_empty" {
		t.Errorf("an empty folder: %v", err)
	}
	if _, err := Pack(context.Background(), filepath.Join(dir, "app.js"), io.Discard, Options{}); failure.CodeOf(err) != "folder_missing" {
		t.Errorf("a file for a folder: %v", err)
	}
	if _, err := Pack(context.Background(), dir, io.Discard, Options{Level: 10}); failure.CodeOf(err) != "level_unknown" {
		t.Errorf("level 10: %v", err)
	}
}

// TestAHundredThousandFiles: what a zip without zip64 cannot hold is refused
// before anything is read, and the most that it can hold comes out the same
// twice and is read to the last file.
func TestAHundredThousandFiles(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 100,000 files")
	}
	dir := writeTree(t, good())
	add := func(from, to int) {
		for i := from; i < to; i++ {
			sub := filepath.Join(dir, strconv.Itoa(i%250))
			if i < 250 {
				if err := os.Mkdir(sub, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(filepath.Join(sub, strconv.Itoa(i)+".js"), strconv.AppendInt(nil, int64(i), 2), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	add(0, MaxFiles-len(good()))
	first, packed := packBytes(t, dir, Options{})
	second, _ := packBytes(t, dir, Options{})
	if packed.Files != MaxFiles || !bytes.Equal(first, second) {
		t.Errorf("%d files of %d were packed; the same twice: %t", packed.Files, MaxFiles, bytes.Equal(first, second))
	}
	if a, err := CheckArchive(t.Context(), bytes.NewReader(first), int64(len(first))); err != nil || len(a.Files) != MaxFiles {
		t.Errorf("our own reader: %v", err)
	}
	if z, err := zip.NewReader(bytes.NewReader(first), int64(len(first))); err != nil || len(z.File) != MaxFiles {
		t.Errorf("Go's reader: %v", err)
	}
	add(MaxFiles-len(good()), 100_000)
	if _, err := Pack(t.Context(), dir, io.Discard, Options{}); failure.CodeOf(err) != "too_many_files" {
		t.Errorf("100,000 files give %v, want too_many_files", err)
	}
}
