package bundle

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/andybalholm/brotli"

	"capstan/core/failure"
	"capstan/core/keys"
)

// objects keeps what BuildManifest would upload.
type objects struct {
	mu    sync.Mutex
	bytes map[string][]byte
}

func (o *objects) put(_ context.Context, f ManifestFile, stored io.ReaderAt) error {
	b, err := io.ReadAll(io.NewSectionReader(stored, 0, f.StoredSize))
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.bytes == nil {
		o.bytes = map[string][]byte{}
	}
	o.bytes[f.FileName] = b
	return nil
}

// install does what a device does with each file of a delta update.
func install(t *testing.T, f ManifestFile, stored []byte, sealed Sealed, pub *rsa.PublicKey, form Form) []byte {
	t.Helper()
	if hexSum(stored) != f.StoredSHA256 || int64(len(stored)) != f.StoredSize {
		t.Errorf("%s: other bytes than recorded", f.Name)
	}
	if sealed.SessionKey != "" {
		var plain bytes.Buffer
		if _, _, err := Decrypt(context.Background(), bytes.NewReader(stored), &plain, sealed.SessionKey, pub); err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
		stored = plain.Bytes()
	}
	if strings.HasSuffix(f.FileName, ".br") {
		content, err := io.ReadAll(brotli.NewReader(bytes.NewReader(stored)))
		if err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
		stored = content
	}
	want, got, err := RecoverChecksum(pub, f.Hash(form))
	if err != nil || got != form || fmt.Sprintf("%x", want) != hexSum(stored) {
		t.Errorf("%s: the hash in form %s does not match: %v", f.Name, form, err)
	}
	return stored
}

func deltaTree() map[string][]byte {
	files := map[string][]byte{
		"index.html": []byte("<!doctype html>"), "empty.txt": nil, "small.css": text(1, 8191), "limit.css": text(2, 8192), "noise.bin": noise(1, 20_000),
		"big.js": text(3, 400_000), "huge.wasm": append(text(4, 100<<10), noise(2, heldBytes+1)...), "a/日本.json": text(5, 30_000),
		"block-16": noise(4, 16), "block-15": noise(4, 15),
	}
	for i := range 30 {
		files[fmt.Sprintf("c/%d.js", i)] = text(uint64(i), i*700+1)
	}
	return files
}

func TestManifestInstalls(t *testing.T) {
	files := deltaTree()
	dir := writeTree(t, files)
	few := map[string][]byte{"index.html": files["index.html"], "limit.css": files["limit.css"], "noise.bin": files["noise.bin"], "empty.txt": nil}
	fewDir := writeTree(t, few)
	sealed, err := PackSealed(context.Background(), dir, io.Discard, testKey(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	plain := Sealed{}
	for _, test := range []struct {
		name    string
		sealed  Sealed
		quality int
		forms   []Form
	}{
		{"sealed", sealed, 0, []Form{FormV2, FormV3}},
		{"sealed, dense", sealed, 11, []Form{FormV3}},
		{"plain", plain, 5, []Form{FormSHA256}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var o objects
			files, dir := files, dir
			if test.quality == 11 { // takes its time
				files, dir = few, fewDir
			}
			var signer = testKey()
			options := ManifestOptions{Quality: test.quality, Put: o.put}
			var list []ManifestFile
			var err error
			if test.sealed.SessionKey == "" {
				list, err = BuildManifest(context.Background(), dir, test.sealed, nil, options)
			} else {
				list, err = BuildManifest(context.Background(), dir, test.sealed, signer, options)
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(list) != len(files)-1 {
				t.Errorf("%d files, want all but the empty one of %d", len(list), len(files))
			}
			for i, f := range list {
				if i > 0 && list[i-1].Name >= f.Name {
					t.Errorf("%q comes after %q", f.Name, list[i-1].Name)
				}
				for _, form := range test.forms {
					if got := install(t, f, o.bytes[f.FileName], test.sealed, &signer.PublicKey, form); !bytes.Equal(got, files[f.Name]) {
						t.Errorf("%s: other content", f.Name)
					}
				}
				wantBrotli := len(files[f.Name]) >= brotliFrom && f.Name != "noise.bin"
				if strings.HasSuffix(f.FileName, ".br") != wantBrotli {
					t.Errorf("%s is called %s", f.Name, f.FileName)
				}
			}
		})
	}
}

// Who signs does not matter, nor what is in the cache: files prepared together
// come out like files prepared alone.
func TestManifestSignedTogether(t *testing.T) {
	files := deltaTree()
	files["c/10a.js"], files["c/10b.js"] = files["c/10.js"], files["c/10.js"] // equal ones in one batch
	dir := writeTree(t, files)
	sealed := sealTree(t, dir)
	want, err := BuildManifest(t.Context(), dir, sealed, struct{ crypto.Signer }{testKey()}, ManifestOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cache, err := OpenCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*Cache{nil, cache, cache} {
		got, err := BuildManifest(t.Context(), dir, sealed, keys.NewSigner(testKey()), ManifestOptions{Cache: c})
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("other files (%v)", err)
		}
	}
	if kept := cache.signatures(&testKey().PublicKey); len(kept.at) != len(want)-2 {
		t.Errorf("%d signatures are kept for %d files, of which three are equal", len(kept.at), len(want))
	}
}

func TestFilesPreparedTogether(t *testing.T) {
	dir := writeTree(t, map[string][]byte{
		"a": noise(1, 1000), "b": noise(2, 1000), "c": noise(3, 1000), "d": noise(4, 1000), "e": noise(5, 1000),
		"f": noise(6, bytesTogether-1000), "g": noise(7, bytesTogether-999), "h": noise(8, heldBytes+1), "i": noise(9, 1),
	})
	tree, err := readTree(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	b := &manifestBuilder{tree: tree}
	if err := b.check(); err != nil {
		t.Fatal(err)
	}
	var groups []string
	for rest := b.files; len(rest) > 0; {
		n := together(rest)
		names := ""
		for _, f := range rest[:n] {
			names += f.name
		}
		groups, rest = append(groups, names), rest[n:]
	}
	equal(t, "groups", strings.Join(groups, " "), "abcd ef g h i")

	// What is held of one file is not written over by the next one.
	w := newManifestWorker(1)
	for _, files := range [][]*file{b.files[:4], b.files[4:6], b.files[7:8], b.files[1:3]} {
		opened, err := b.read(t.Context(), files, w)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range opened {
			content, err := os.ReadFile(filepath.Join(dir, p.name))
			if err != nil {
				t.Fatal(err)
			}
			if held := p.size() <= heldBytes; held != (p.held != nil) || held && !bytes.Equal(p.held, content) || hexSum(content) != hex.EncodeToString(p.sum[:]) {
				t.Errorf("%s is held as another", p.name)
			}
			p.close()
		}
	}
	for name, content := range map[string][]byte{"b": noise(2, 1001), "c": noise(3, 999), "d": noise(40, 1000)} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, fixedTime(99), fixedTime(99)); err != nil {
			t.Fatal(err)
		}
		at := slices.IndexFunc(b.files, func(f *file) bool { return f.name == name })
		opened, err := b.read(t.Context(), b.files[at-1:at+1], w)
		if failure.CodeOf(err) != "file_changed" || !strings.Contains(err.Error(), name) {
			t.Errorf("%s changed since the walk: %v", name, err)
		}
		for _, p := range opened {
			p.close()
		}
		if err := os.WriteFile(path, noise(map[string]uint64{"b": 2, "c": 3, "d": 4}[name], 1000), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, b.files[at].found.ModTime(), b.files[at].found.ModTime()); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.read(ctx, b.files[:4], w); err != context.Canceled {
		t.Errorf("given up: %v", err)
	}
}

func TestManifestRefusals(t *testing.T) {
	many := map[string][]byte{}
	for i := range maxManifest + 1 {
		many[fmt.Sprintf("d%d/%d.js", i%100, i)] = []byte("x")
	}
	for name, test := range map[string]struct {
		files map[string][]byte
		code  string
	}{
		"space":      {with("a b.js", "x"), "manifest_name"},
		"own .br":    {with("app.js.br", "x"), "manifest_name"},
		"only empty": {map[string][]byte{"a": nil}, "manifest_empty"},
		"too many":   {many, "manifest_too_many"},
	} {
		if _, err := BuildManifest(context.Background(), writeTree(t, test.files), Sealed{}, nil, ManifestOptions{}); failure.CodeOf(err) != test.code {
			t.Errorf("%s: %v, want %s", name, err, test.code)
		}
	}
	dir := writeTree(t, good())
	if _, err := BuildManifest(context.Background(), dir, Sealed{}, testKey(), ManifestOptions{}); failure.CodeOf(err) != "signer_missing" {
		t.Errorf("a signer for a plain bundle: %v", err)
	}
	if _, err := BuildManifest(context.Background(), dir, Sealed{}, nil, ManifestOptions{Quality: 12}); failure.CodeOf(err) != "level_unknown" {
		t.Errorf("quality 12: %v", err)
	}
	broken := fmt.Errorf("refused")
	_, err := BuildManifest(context.Background(), dir, Sealed{}, nil, ManifestOptions{Put: func(context.Context, ManifestFile, io.ReaderAt) error { return broken }})
	if err != broken {
		t.Errorf("a failing upload: %v", err)
	}
}

func TestBrotliThatLooksLikeAWrapper(t *testing.T) {
	for start, want := range map[string]bool{"\x1b\x00\x06": true, "\x0b\x02\x80": true, "\x1b\x00\x07": false} {
		s := newSpill()
		s.Write([]byte(start + "anything\x03"))
		if s.wrapped() != want {
			t.Errorf("% x … 03: %v", start, !want)
		}
	}
}

func TestInspectAndDiff(t *testing.T) {
	ctx := context.Background()
	a := map[string][]byte{
		"index.html": []byte(`<script src="https://cdn.example.com/x.js"></script><svg xmlns="http://www.w3.org/2000/svg">`),
		"app.js":     []byte(`const p=registerPlugin("Camera");p.notifyAppReady();fetch("https://api.example.com/v1")`),
		"old.css":    text(1, 500), "same.js": text(2, 20_000), "moved.png": noise(1, 9000),
	}
	b := map[string][]byte{
		"index.html": a["index.html"], "same.js": a["same.js"], "img/moved.png": a["moved.png"],
		"app.js": []byte(`const p=registerPlugin('Camera');p.notifyAppReady();Capacitor.Plugins.Geolocation;fetch("https://evil.example.net:8443/v1");new WebSocket("wss://live.example.org")`),
		"new.js": text(3, 50_000),
	}
	dirA, dirB := writeTree(t, a), writeTree(t, b)
	zipB := filepath.Join(t.TempDir(), "b.zip")
	archive, _ := packBytes(t, dirB, Options{})
	if err := os.WriteFile(zipB, archive, 0o644); err != nil {
		t.Fatal(err)
	}
	first, err := Inspect(ctx, dirA, Options{})
	if err != nil {
		t.Fatal(err)
	}
	second, err := Inspect(ctx, zipB, Options{})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "origins", fmt.Sprint(first.Origins), "[https://api.example.com https://cdn.example.com]")
	equal(t, "native calls", fmt.Sprint(second.NativeCalls), "[Camera Geolocation]")
	if !first.Ready || first.Index != "index.html" || second.Size != int64(len(archive)) || second.Types[0].Type != ".js" {
		t.Errorf("first %+v, second %+v", first, second)
	}
	d := Diff(first, second)
	equal(t, "new origins", fmt.Sprint(d.NewOrigins), "[https://evil.example.net:8443 wss://live.example.org]")
	equal(t, "new calls", fmt.Sprint(d.NewNativeCalls), "[Geolocation]")
	if len(d.Added) != 2 || len(d.Removed) != 2 || len(d.Changed) != 1 || d.Changed[0].Name != "app.js" || d.Same != 2 {
		t.Errorf("difference %+v", d)
	}
	if d.DeltaDownload < 1000 || d.DeltaDownload > 40_000 { // app.js and new.js compressed; moved.png is known
		t.Errorf("a delta of %d bytes", d.DeltaDownload)
	}
	if _, err := Inspect(ctx, "testdata/capgo-cli/zips/go-traversal.zip", Options{}); failure.CodeOf(err) != "zip_traversal" {
		t.Errorf("a hostile zip: %v", err)
	}
	wrapped, err := Inspect(ctx, writeTree(t, map[string][]byte{"www/index.html": nil, "www/a.js": nil}), Options{})
	if err != nil || wrapped.Index != "www/index.html" {
		t.Errorf("wrapped: %q, %v", wrapped.Index, err)
	}
}

func BenchmarkManifest(b *testing.B) {
	dir, size := benchDir(b)
	sealed, err := PackSealed(context.Background(), dir, io.Discard, testKey(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	for _, quality := range []int{5, DefaultQuality} {
		b.Run(fmt.Sprintf("quality=%d", quality), func(b *testing.B) {
			b.SetBytes(size)
			var stored int64
			for b.Loop() {
				list, err := BuildManifest(context.Background(), dir, sealed, keys.NewSigner(testKey()), ManifestOptions{Quality: quality})
				if err != nil {
					b.Fatal(err)
				}
				stored = 0
				for _, f := range list {
					stored += f.StoredSize
				}
			}
			b.ReportMetric(100*float64(stored)/float64(size), "%size")
		})
	}
}

// FuzzManifest takes any list of names and any content. Names that are accepted
// stay below the device's folder and are different files there; a file that a
// delta update carries is the same one once a device has installed it.
func FuzzManifest(f *testing.F) {
	f.Add("index.html\na/b.js.br", []byte("<!doctype html>"))
	f.Add("../../etc/passwd", text(1, 9000))
	f.Add("a.js\nA.js.br", noise(1, 9000))
	f.Add("é.js\ne\u0301.js", []byte{})
	f.Add("con\nc:\\x\n/abs\n\x00", bytes.Repeat([]byte{0}, brotliFrom))
	signer := testKey()
	sealed, err := PackSealed(context.Background(), writeTree(f, good()), io.Discard, signer, Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, names string, content []byte) {
		list := strings.Split(names, "\n")
		switch err := CheckFileNames(list); {
		case err == nil:
			seen := map[string]bool{}
			for _, name := range list {
				name = strings.TrimSuffix(name, ".br")
				if !filepath.IsLocal(name) || strings.ContainsAny(name, "\\ \x00") || seen[strings.ToLower(name)] {
					t.Errorf("%q is accepted in %q", name, names)
				}
				seen[strings.ToLower(name)] = true
			}
		case !strings.HasPrefix(failure.CodeOf(err), "manifest_") || strings.ContainsAny(err.Error(), "\x00\n\x1b"):
			t.Errorf("%q is refused with %q: %v", names, failure.CodeOf(err), err)
		}
		if len(content) == 0 {
			return
		}
		var o objects
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "app.js"), content, 0o600); err != nil {
			t.Fatal(err)
		}
		made, err := BuildManifest(context.Background(), dir, sealed, signer, ManifestOptions{Put: o.put, Quality: 1 + len(names)%9})
		if err != nil {
			t.Fatal(err)
		}
		for _, form := range []Form{FormV2, FormV3} {
			if got := install(t, made[0], o.bytes[made[0].FileName], sealed, &signer.PublicKey, form); !bytes.Equal(got, content) {
				t.Errorf("other content in form %s", form)
			}
		}
	})
}
