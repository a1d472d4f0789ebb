package bundle

import (
	"bytes"
	"compress/flate"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"capstan/core/keys"
)

// The benchmarks pack a build of 200 generated files, or the folder that
// CAPSTAN_BENCH_DIR names, and set the peers and limits beside it in the same
// run: the standard library's deflate, AES-128-CBC and SHA-256 on bare bytes.
//
//	go test -run '^$' -bench . -benchmem ./core/bundle

func benchDir(b *testing.B) (dir string, size int64) {
	if dir = os.Getenv("CAPSTAN_BENCH_DIR"); dir == "" {
		files := map[string][]byte{"index.html": text(1, 400), "app.js": []byte("notifyAppReady()")}
		for i := range 186 {
			files[fmt.Sprintf("assets/%d/chunk-%d.js", i%9, i)] = text(uint64(i), 2000+i*i)
		}
		for i := range 12 {
			files[fmt.Sprintf("media/%d.jpg", i)] = noise(uint64(i), 150_000)
		}
		dir = writeTree(b, files)
	}
	t, err := readTree(context.Background(), dir, Options{})
	if err != nil {
		b.Fatal(err)
	}
	return dir, t.bytes
}

func BenchmarkPackSealed(b *testing.B) {
	dir, size := benchDir(b)
	for _, level := range []int{1, DefaultLevel, 7, 9} {
		b.Run(fmt.Sprintf("level=%d", level), func(b *testing.B) {
			b.SetBytes(size)
			b.ReportAllocs()
			var out int64
			for b.Loop() {
				s, err := PackSealed(context.Background(), dir, io.Discard, testKey(), Options{Level: level})
				if err != nil {
					b.Fatal(err)
				}
				out = s.ObjectSize
			}
			b.ReportMetric(100*float64(out)/float64(size), "%size")
		})
	}
}

func BenchmarkPack(b *testing.B) {
	dir, size := benchDir(b)
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Pack(context.Background(), dir, io.Discard, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStandardFlate compresses the same files with the standard library's
// level 6, one after another on one core, without reading, hashing or encrypting.
func BenchmarkStandardFlate(b *testing.B) {
	dir, size := benchDir(b)
	t, err := readTree(context.Background(), dir, Options{})
	if err != nil {
		b.Fatal(err)
	}
	if size > 100<<20 {
		b.Skip("the folder is held in memory for this one")
	}
	var contents [][]byte
	for _, f := range t.files {
		c, err := os.ReadFile(filepath.Join(dir, f.name))
		if err != nil {
			b.Fatal(err)
		}
		contents = append(contents, c)
	}
	w, err := flate.NewWriter(io.Discard, 6)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(size)
	var out countWriter
	for b.Loop() {
		out = 0
		for _, c := range contents {
			w.Reset(&out)
			w.Write(c)
			w.Close()
		}
	}
	b.ReportMetric(100*float64(out)/float64(size), "%size")
}

func BenchmarkSeal(b *testing.B) {
	plain := noise(1, 64<<20)
	b.SetBytes(int64(len(plain)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Seal(context.Background(), bytes.NewReader(plain), io.Discard, testKey(), nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecrypt(b *testing.B) {
	var object bytes.Buffer
	sealed, err := Seal(context.Background(), bytes.NewReader(noise(1, 64<<20)), &object, testKey(), nil)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(object.Len()))
	for b.Loop() {
		if _, _, err := Decrypt(context.Background(), bytes.NewReader(object.Bytes()), io.Discard, sealed.SessionKey, &testKey().PublicKey); err != nil {
			b.Fatal(err)
		}
	}
}

// The limits: what the processor does when nothing else is in the way.

func BenchmarkLimitAES(b *testing.B) {
	block, err := aes.NewCipher(make([]byte, 16))
	if err != nil {
		b.Fatal(err)
	}
	cbc := cipher.NewCBCEncrypter(block, make([]byte, 16))
	buf := make([]byte, relayChunk)
	b.SetBytes(relayChunk)
	for b.Loop() {
		cbc.CryptBlocks(buf, buf)
	}
}

func BenchmarkLimitSHA256(b *testing.B) {
	buf := make([]byte, relayChunk)
	h := sha256.New()
	b.SetBytes(relayChunk)
	for b.Loop() {
		h.Write(buf)
	}
}

func BenchmarkCheckArchive(b *testing.B) {
	dir, size := benchDir(b)
	if size > 100<<20 {
		b.Skip("the archive is held in memory for this one")
	}
	archive, _ := packBytes(b, dir, Options{})
	b.SetBytes(size)
	for b.Loop() {
		if _, err := CheckArchive(context.Background(), bytes.NewReader(archive), int64(len(archive))); err != nil {
			b.Fatal(err)
		}
	}
}

// peakLimit is the most that packing and sealing may hold, whatever the size of the build.
const peakLimit = 96 << 20

// TestPeakMemory packs a build of 1 GB in 20,000 files, or the folder that
// CAPSTAN_BENCH_DIR names, in a process of its own and asks the operating
// system how much it held. It runs with CAPSTAN_LONG=1, on Linux.
func TestPeakMemory(t *testing.T) {
	if os.Getenv("CAPSTAN_LONG") != "1" {
		t.Skip("set CAPSTAN_LONG=1 to pack a build of 1 GB")
	}
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("the peak is read from /proc")
	}
	dir := os.Getenv("CAPSTAN_BENCH_DIR")
	if dir == "" {
		dir = t.TempDir()
		makeLarge(t, dir)
	}
	for _, level := range []int{DefaultLevel, 9} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestPeakMemoryChild$")
		cmd.Env = append(os.Environ(), "CAPSTAN_PEAK_OF="+dir, "CAPSTAN_PEAK_LEVEL="+strconv.Itoa(level))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		_, after, _ := strings.Cut(string(out), "peak=")
		peak, err := strconv.ParseInt(strings.Fields(after)[0], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("level %d: peak %.1f MiB", level, float64(peak)/(1<<20))
		if peak > peakLimit {
			t.Errorf("level %d: peak memory is %d MiB, the limit %d MiB", level, peak>>20, peakLimit>>20)
		}
	}
}

// TestPeakMemoryChild is the other process of TestPeakMemory.
func TestPeakMemoryChild(t *testing.T) {
	dir := os.Getenv("CAPSTAN_PEAK_OF")
	if dir == "" {
		t.Skip("TestPeakMemory starts this")
	}
	level, err := strconv.Atoi(os.Getenv("CAPSTAN_PEAK_LEVEL"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := PackSealed(context.Background(), dir, io.Discard, testKey(), Options{Level: level})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("peak=%d files=%d size=%d\n", peakMemory(t), s.Files, s.ObjectSize)
}

// peakMemory is the largest resident set of this process so far, in bytes.
func peakMemory(t testing.TB) int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	kib, err := strconv.ParseInt(strings.Fields(after)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

// BenchmarkPeakMemory reports the peak beside the time; it packs in this
// process, so run it alone: -bench '^BenchmarkPeakMemory$'.
func BenchmarkPeakMemory(b *testing.B) {
	if os.Getenv("CAPSTAN_LONG") != "1" {
		b.Skip("set CAPSTAN_LONG=1 to pack a build of 1 GB")
	}
	dir := os.Getenv("CAPSTAN_BENCH_DIR")
	if dir == "" {
		dir = b.TempDir()
		makeLarge(b, dir)
	}
	for b.Loop() {
		s, err := PackSealed(context.Background(), dir, io.Discard, testKey(), Options{})
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(s.RawSize)
	}
	b.ReportMetric(float64(peakMemory(b))/(1<<20), "peak-MiB")
}

// makeLarge writes 1 GB in 21,600 files, one of them large and compressible.
func makeLarge(t testing.TB, dir string) {
	t.Helper()
	sample := text(1, 1<<20)
	for i := range 20_000 {
		sub := filepath.Join(dir, "chunks", strconv.Itoa(i%97))
		if i < 97 {
			if err := os.MkdirAll(sub, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		at := i * 37 % (1<<20 - 20_000)
		if err := os.WriteFile(filepath.Join(sub, fmt.Sprintf("%d.js", i)), sample[at:at+2000+i%13000], 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 1600 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.jpg", i)), noise(uint64(i), 500_000), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "data.json"), bytes.Repeat(sample, 60), 0o644); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkDelta makes the files of a delta update: of a build never seen, of
// one of which one file in a hundred changed since the last time, and of one
// that did not change. The peer compresses and signs all of it every time.
func BenchmarkDelta(b *testing.B) {
	dir, size := benchDir(b)
	t, err := readTree(context.Background(), dir, Options{})
	if err != nil {
		b.Fatal(err)
	}
	var packed bytes.Buffer
	sealed, err := PackSealed(context.Background(), dir, &packed, testKey(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		changed int // of a hundred files
	}{{"new", 100}, {"changed=1%", 1}, {"changed=0%", 0}} {
		b.Run(c.name, func(b *testing.B) {
			cache, err := OpenCache(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			run := func() {
				if _, err := BuildManifest(context.Background(), dir, sealed, keys.NewSigner(testKey()), ManifestOptions{Cache: cache}); err != nil {
					b.Fatal(err)
				}
			}
			run()
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				// A file that changed is one whose entries are not there.
				for i := 0; c.changed > 0 && i < len(t.files); i += 100 / c.changed {
					forget(b, cache, dir, t.files[i].name)
				}
				b.StartTimer()
				run()
			}
		})
	}
}

// forget removes what a cache knows of a file.
func forget(t testing.TB, c *Cache, dir, name string) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	entries, err := filepath.Glob(c.path(sha256.Sum256(content), ".*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := os.Remove(e); err != nil {
			t.Fatal(err)
		}
	}
}
