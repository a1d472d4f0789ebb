package bundle

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"capstan/core/failure"
)

// testKey is one key pair for all tests of the package.
var testKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// writeTree writes files below a new folder.
func writeTree(t testing.TB, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// text gives n bytes that compress like code, noise n bytes that do not compress.
func text(seed uint64, n int) []byte {
	words := strings.Fields("function return const let export import from window document addEventListener notifyAppReady capacitor => () {} [] ; , . = + if else for of await async promise resolve")
	r := mathrand.New(mathrand.NewPCG(seed, 1))
	b := make([]byte, 0, n+64)
	for len(b) < n {
		b = append(append(b, words[r.IntN(len(words))]...), ' ')
		b = append(strconv.AppendInt(b, int64(r.IntN(4000)), 16), ' ')
	}
	return b[:n]
}

func noise(seed uint64, n int) []byte {
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	b := make([]byte, n)
	mathrand.NewChaCha8(key).Read(b)
	return b
}

// sampleTree has every kind of file that takes a way of its own through the
// packer. It is made once; tests do not change it.
func sampleTree() map[string][]byte { return sampleFiles() }

var sampleFiles = sync.OnceValue(makeSample)

func makeSample() map[string][]byte {
	files := map[string][]byte{
		"index.html":               []byte("<!doctype html><script src=app.js></script>"),
		"app.js":                   []byte("window.Capacitor?.Plugins?.CapacitorUpdater?.notifyAppReady()"),
		"empty.txt":                nil,
		"one":                      {7},
		"assets/with space/ü.css":  text(1, 9000),
		"assets/日本/зебра.json":     text(2, 40_000),
		"assets/photo.jpg":         noise(3, 300_000),
		"assets/video.mp4":         noise(4, 2*blockBytes+17),
		"assets/huge.js":           text(5, 2*blockBytes+4321),
		"assets/exact.js":          text(6, 2*blockBytes),
		"assets/block.js":          text(7, blockBytes),
		"assets/block+1.js":        text(8, blockBytes+1),
		"assets/mixed.wasm":        append(text(9, blockBytes), noise(10, blockBytes)...),
		"assets/deep/a/b/c/d/e.js": text(11, 100),
	}
	for i := range 100 {
		files[fmt.Sprintf("chunks/chunk-%03d.js", i)] = text(uint64(100+i), 90*i)
	}
	return files
}

func packBytes(t testing.TB, dir string, o Options) ([]byte, Packed) {
	t.Helper()
	var b bytes.Buffer
	p, err := Pack(context.Background(), dir, &b, o)
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(b.Bytes()); sum != p.Checksum || int64(b.Len()) != p.Size {
		t.Fatalf("Pack says %x, %d bytes; it wrote %x, %d bytes", p.Checksum, p.Size, sum, b.Len())
	}
	return b.Bytes(), p
}

// checkHolds compares an archive, read by the standard library, with what was packed.
func checkHolds(t testing.TB, archive []byte, want map[string][]byte) {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		t.Fatal(err)
	}
	if len(z.File) != len(want) {
		t.Errorf("archive has %d entries, want %d", len(z.File), len(want))
	}
	last := ""
	for _, f := range z.File {
		if f.Name <= last {
			t.Errorf("%q comes after %q", f.Name, last)
		}
		last = f.Name
		if f.Flags != flagUTF8 || len(f.Extra) != 0 {
			t.Errorf("%s: flags %#x, extra %x", f.Name, f.Flags, f.Extra)
		}
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
		if !bytes.Equal(got, want[f.Name]) {
			t.Errorf("%s differs: %d bytes, want %d", f.Name, len(got), len(want[f.Name]))
		}
	}
}

func TestPackHoldsEveryFile(t *testing.T) {
	files := sampleTree()
	dir := writeTree(t, files)
	for _, level := range []int{1, 9} {
		archive, p := packBytes(t, dir, Options{Level: level})
		checkHolds(t, archive, files)
		if p.Files != len(files) {
			t.Errorf("level %d: %d files, want %d", level, p.Files, len(files))
		}
	}
}

func TestPackIsDeterministic(t *testing.T) {
	files := sampleTree()
	first, _ := packBytes(t, writeTree(t, files), Options{})
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for i := range 3 {
		runtime.GOMAXPROCS(1 + i%4) // other machines have other core counts
		dir := writeTree(t, files)
		os.Chtimes(filepath.Join(dir, "app.js"), fixedTime(i), fixedTime(i))
		os.Chmod(filepath.Join(dir, "index.html"), 0o600)
		again, _ := packBytes(t, dir, Options{})
		if !bytes.Equal(first, again) {
			t.Fatalf("run %d gave other bytes", i)
		}
	}
}

func TestPackStoresWhatDoesNotCompress(t *testing.T) {
	archive, _ := packBytes(t, writeTree(t, sampleTree()), Options{})
	z, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]uint16{
		"assets/photo.jpg": zip.Store, "assets/video.mp4": zip.Store, "empty.txt": zip.Store, "one": zip.Store,
		"assets/huge.js": zip.Deflate, "assets/mixed.wasm": zip.Deflate, "assets/block.js": zip.Deflate,
	}
	for _, f := range z.File {
		if m, ok := want[f.Name]; ok && m != f.Method {
			t.Errorf("%s has method %d, want %d", f.Name, f.Method, m)
		}
	}
}

func TestSealedRoundTrip(t *testing.T) {
	dir := writeTree(t, sampleTree())
	plain, packed := packBytes(t, dir, Options{})
	var object bytes.Buffer
	sealed, err := PackSealed(context.Background(), dir, &object, testKey(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if sealed.PlainChecksum != packed.ChecksumHex() || sealed.CRC32 != packed.CRC32 || sealed.PlainSize != packed.Size {
		t.Errorf("sealing saw another zip than packing: %+v, %+v", sealed, packed)
	}
	sum := sha256.Sum256(object.Bytes())
	if sealed.ObjectSHA256 != hex.EncodeToString(sum[:]) || sealed.ObjectSize != int64(object.Len()) {
		t.Error("the object's hash or size is wrong")
	}
	var back bytes.Buffer
	got, size, err := Decrypt(context.Background(), &object, &back, sealed.SessionKey, &testKey().PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(back.Bytes(), plain) || got != packed.Checksum || size != packed.Size {
		t.Error("decrypting gave another zip")
	}
}

// TestSealBlockEdges takes every length around the block of the cipher and the
// chunk of the relay.
func TestSealBlockEdges(t *testing.T) {
	var sizes []int
	for n := 1; n <= 33; n++ {
		sizes = append(sizes, n)
	}
	for _, around := range []int{relayChunk, 2 * relayChunk, 4096} {
		for d := -17; d <= 17; d++ {
			sizes = append(sizes, around+d)
		}
	}
	for _, n := range sizes {
		plain := noise(uint64(n), n)
		var object, back bytes.Buffer
		sealed, err := Seal(context.Background(), iotest(plain, n), &object, testKey(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if want := (n/16 + 1) * 16; object.Len() != want || sealed.ObjectSize != int64(want) {
			t.Fatalf("%d bytes seal to %d, want %d", n, object.Len(), want)
		}
		sum, size, err := Decrypt(context.Background(), iotest(object.Bytes(), n), &back, sealed.SessionKey, &testKey().PublicKey)
		if err != nil || !bytes.Equal(back.Bytes(), plain) || size != int64(n) || sum != sha256.Sum256(plain) {
			t.Fatalf("%d bytes do not come back: %v", n, err)
		}
	}
}

func TestSealRefusesNothing(t *testing.T) {
	_, err := Seal(context.Background(), bytes.NewReader(nil), io.Discard, testKey(), nil)
	if failure.CodeOf(err) != "bundle_empty" {
		t.Errorf("got %v", err)
	}
}

// failingWriter fails after some bytes, as a full disk does.
type failingWriter struct{ left int }

func (f *failingWriter) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, io.ErrShortBuffer
	}
	return len(p), nil
}

func TestPackStopsWhenTheWriterFails(t *testing.T) {
	dir := writeTree(t, sampleTree())
	before := runtime.NumGoroutine()
	for _, left := range []int{0, 1 << 20} {
		if _, err := Pack(context.Background(), dir, &failingWriter{left}, Options{}); err != io.ErrShortBuffer {
			t.Errorf("Pack after %d bytes: %v", left, err)
		}
		if _, err := PackSealed(context.Background(), dir, &failingWriter{left}, testKey(), Options{}); err != io.ErrShortBuffer {
			t.Errorf("PackSealed after %d bytes: %v", left, err)
		}
	}
	if now := runtime.NumGoroutine(); now > before+2 {
		t.Errorf("%d goroutines before, %d after", before, now)
	}
}

func TestPackCanBeCancelled(t *testing.T) {
	dir := writeTree(t, sampleTree())
	ctx, cancel := context.WithCancel(context.Background())
	_, err := PackSealed(ctx, dir, io.Discard, testKey(), Options{Progress: func(done, _ int64) {
		if done > 1<<20 {
			cancel()
		}
	}})
	if failure.CodeOf(err) != "cancelled" {
		t.Errorf("got %v", err)
	}
}

func TestProgressEndsAtTheTotal(t *testing.T) {
	var last, sum int64
	_, err := Pack(context.Background(), writeTree(t, sampleTree()), io.Discard, Options{Progress: func(done, total int64) {
		if done < last || done > total {
			t.Errorf("progress went from %d to %d of %d", last, done, total)
		}
		last, sum = done, total
	}})
	if err != nil || last != sum || sum == 0 {
		t.Errorf("progress ended at %d of %d: %v", last, sum, err)
	}
}

func TestJoinCRC(t *testing.T) {
	b := noise(1, 5000)
	for _, cut := range []int{0, 1, 15, 16, 17, 2500, 4999, 5000} {
		if got, want := joinCRC(crcOf(b[:cut]), crcOf(b[cut:]), int64(len(b)-cut)), crcOf(b); got != want {
			t.Errorf("cut at %d: %08x, want %08x", cut, got, want)
		}
	}
}

// Base64 and hexadecimal have few different bytes and no repetition: inlined
// fonts and images in a web build are like that. They shrink at every level,
// whatever their size, and come out as they went in.
func TestTextWithoutRepetition(t *testing.T) {
	raw := noise(11, 3<<20)
	files := map[string][]byte{"index.html": []byte("<!doctype html>")}
	for name, encoded := range map[string]string{"hex": hex.EncodeToString(raw), "base64": base64.StdEncoding.EncodeToString(raw)} {
		for _, size := range []int{5 << 10, 40 << 10, 700 << 10, 3<<20 + 5} {
			files[fmt.Sprintf("%s-%d.js", name, size)] = []byte(encoded[7:][:size])
		}
	}
	dir := writeTree(t, files)
	for level := 1; level <= 9; level++ {
		var out bytes.Buffer
		if _, err := Pack(t.Context(), dir, &out, Options{Level: level}); err != nil {
			t.Fatal(err)
		}
		archive, err := zip.NewReader(bytes.NewReader(out.Bytes()), int64(out.Len()))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range archive.File {
			h, err := f.Open()
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(h)
			h.Close()
			if err != nil || !bytes.Equal(got, files[f.Name]) {
				t.Errorf("level %d: %s is another file (%v)", level, f.Name, err)
			}
			if len(got) > 4096 && f.CompressedSize64 > f.UncompressedSize64*8/10 {
				t.Errorf("level %d: %s: %d of %d bytes", level, f.Name, f.CompressedSize64, f.UncompressedSize64)
			}
		}
	}
}
