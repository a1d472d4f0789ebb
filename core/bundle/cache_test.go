package bundle

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"capstan/core/failure"
)

// countingSigner counts private operations.
type countingSigner struct {
	crypto.Signer
	n *atomic.Int64
}

func (s countingSigner) Sign(r io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	s.n.Add(1)
	return s.Signer.Sign(r, digest, o)
}

func sealTree(t testing.TB, dir string) Sealed {
	t.Helper()
	sealed, err := PackSealed(context.Background(), dir, io.Discard, testKey(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

// A build that was seen before is neither compressed nor signed again, and
// comes out as without a cache.
func TestCacheSparesWork(t *testing.T) {
	files := deltaTree()
	dir := writeTree(t, files)
	sealed := sealTree(t, dir)
	without, err := BuildManifest(t.Context(), dir, sealed, testKey(), ManifestOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cache, err := OpenCache(filepath.Join(t.TempDir(), "cache"))
	if err != nil {
		t.Fatal(err)
	}
	var signed atomic.Int64
	signer := countingSigner{testKey(), &signed}
	build := func(dir string) []ManifestFile {
		t.Helper()
		signed.Store(0)
		list, err := BuildManifest(t.Context(), dir, sealed, signer, ManifestOptions{Cache: cache})
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	if first := build(dir); !slices.Equal(first, without) {
		t.Error("a cache that is empty changes the result")
	}
	// Two a file, and one for all of them in the cache.
	if n := signed.Load(); n != int64(2*len(without)+1) {
		t.Errorf("%d signatures for %d files", n, len(without))
	}
	if again := build(dir); !slices.Equal(again, without) || signed.Load() != 0 {
		t.Errorf("the same build again: %d signatures", signed.Load())
	}
	// What one build does not use stays for the next one.
	few := writeTree(t, map[string][]byte{"index.html": files["index.html"], "only.js": []byte("only here")})
	if build(few); signed.Load() > 5 {
		t.Errorf("a smaller build: %d signatures", signed.Load())
	}
	files["big.js"] = append(files["big.js"], "// changed"...)
	changed := writeTree(t, files)
	list := build(changed)
	if signed.Load() != 3 {
		t.Errorf("one file changed: %d signatures", signed.Load())
	}
	for i, f := range list {
		if (f == without[i]) != (f.Name != "big.js") {
			t.Errorf("%s: %+v, before %+v", f.Name, f, without[i])
		}
	}
}

// Whatever happens to the entries, the result stays right.
func TestCacheIsNotBelieved(t *testing.T) {
	dir := writeTree(t, deltaTree())
	sealed := sealTree(t, dir)
	cache, err := OpenCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	want, err := BuildManifest(t.Context(), dir, sealed, testKey(), ManifestOptions{Cache: cache})
	if err != nil {
		t.Fatal(err)
	}
	entries := func() (paths []string) {
		_ = filepath.WalkDir(cache.dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				paths = append(paths, path)
			}
			return nil
		})
		return paths
	}
	var other []byte
	for name, spoil := range map[string]func([]byte) []byte{
		"flipped":    func(b []byte) []byte { b[len(b)/3] ^= 1; return b },
		"cut":        func(b []byte) []byte { return b[:len(b)-1] },
		"empty":      func([]byte) []byte { return nil },
		"lengthened": func(b []byte) []byte { return append(b, 0) },
		"another's":  func(b []byte) []byte { b, other = other, b; return b },
	} {
		t.Run(name, func(t *testing.T) {
			for _, path := range entries() {
				if name == "another's" && !strings.HasSuffix(path, ".signatures") {
					continue // bytes with a right hash are believed here, and proven where they are published
				}
				b, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, spoil(b), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got, err := BuildManifest(t.Context(), dir, sealed, testKey(), ManifestOptions{Cache: cache})
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("other files than without the cache (%v)", err)
			}
		})
	}
}

// Signatures that another key sealed are not taken, under whatever name they come.
func TestSignaturesOfAnotherKey(t *testing.T) {
	cache, err := OpenCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ours := testKey()
	sum := [32]byte{1}
	s := cache.signatures(&theirs.PublicKey)
	if _, err := s.sign(theirs, [][32]byte{sum}); err != nil {
		t.Fatal(err)
	}
	s.keep(cache, theirs)
	if again := cache.signatures(&theirs.PublicKey); len(again.at) != 1 {
		t.Fatalf("%d signatures were kept", len(again.at))
	}
	pub := &ours.PublicKey
	if err := os.Rename(s.path, cache.signatures(pub).path); err != nil {
		t.Fatal(err)
	}
	if taken := cache.signatures(pub); len(taken.at) != 0 {
		t.Errorf("%d signatures of another key were taken", len(taken.at))
	}
}

func TestCacheIsTidied(t *testing.T) {
	cache, err := OpenCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for i := range 10 {
		sum := [32]byte{byte(i)}
		cache.keepCompressed(sum, 9, bytes.NewReader(make([]byte, 68))) // 100 bytes with the hash
		at := now.Add(-time.Duration(i) * 24 * time.Hour)
		if err := os.Chtimes(cache.path(sum, ".q9"), at, at); err != nil {
			t.Fatal(err)
		}
	}
	left := func() (text string) {
		for i := range 10 {
			if _, err := os.Stat(cache.path([32]byte{byte(i)}, ".q9")); err == nil {
				text += fmt.Sprint(i)
			}
		}
		return text
	}
	tidy := func(at time.Time, age time.Duration, limit int64) {
		t.Helper()
		if err := cache.tidy(t.Context(), at, age, limit); err != nil {
			t.Fatal(err)
		}
	}
	tidy(now, 7*24*time.Hour+time.Hour, 1000)
	if left() != "01234567" {
		t.Errorf("by age: %s", left())
	}
	tidy(now.Add(time.Hour), 30*24*time.Hour, 0)
	if left() != "01234567" {
		t.Errorf("twice a day: %s", left())
	}
	tidy(now.Add(25*time.Hour), 30*24*time.Hour, 350)
	if left() != "012" {
		t.Errorf("by size: %s", left())
	}
	if _, err := OpenCache(filepath.Join(cache.dir, "tidied", "below")); failure.CodeOf(err) != "state_folder" {
		t.Errorf("a file in the way: %v", err)
	}
}

func TestCheckFileNames(t *testing.T) {
	many := make([]string, maxManifest+1)
	for i := range many {
		many[i] = fmt.Sprint(i)
	}
	for _, c := range []struct {
		names []string
		code  string
	}{
		{[]string{"index.html", "a/b.js.br", "a/c.js", "a/日本.json"}, ""},
		{many[:maxManifest], ""},
		{many, "manifest_too_many"}, {nil, "manifest_empty"},
		{[]string{"a.js", "a.js.br"}, "manifest_collision"}, {[]string{"A.js", "a.js"}, "manifest_collision"},
		{[]string{"a b.js"}, "manifest_name"}, {[]string{"../a.js"}, "manifest_name"}, {[]string{"/a.js"}, "manifest_name"}, {[]string{`a\b.js`}, "manifest_name"},
		{[]string{".br"}, "manifest_name"}, {[]string{"a//b"}, "manifest_name"}, {[]string{"a\x00"}, "manifest_name"}, {[]string{"\xff"}, "manifest_name"},
	} {
		if err := CheckFileNames(c.names); err == nil != (c.code == "") || err != nil && failure.CodeOf(err) != c.code {
			t.Errorf("%d names from %q: %v, want %q", len(c.names), append(c.names, "")[0], err, c.code)
		}
	}
}
