package bundle

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"capstan/internal/peers"
)

// listOurs and listGo give "sha256 size name" of every file, sorted.

func listOurs(a *Archive) ([]string, error) {
	var lines []string
	for i := range a.Files {
		var b bytes.Buffer
		if err := a.Copy(context.Background(), &a.Files[i], &b); err != nil {
			return nil, err
		}
		lines = append(lines, fmt.Sprintf("%s %d %s", hexSum(b.Bytes()), b.Len(), a.Files[i].Name))
	}
	slices.Sort(lines)
	return lines, nil
}

func listGo(b []byte) ([]string, error) {
	z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, f := range z.File {
		if strings.HasSuffix(f.Name, "/") {
			continue
		}
		r, err := f.Open()
		if err != nil {
			return nil, err
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		lines = append(lines, fmt.Sprintf("%s %d %s", hexSum(content), len(content), f.Name))
	}
	slices.Sort(lines)
	return lines, nil
}

// TestReadersAgree damages good archives and lets four readers read each one
// that we accept: what capstan blesses must look the same to all of them.
// CAPSTAN_LONG=1 takes 20,000 mutations.
func TestReadersAgree(t *testing.T) {
	java := startJava(t)
	python := startReader(t, exec.Command(peers.Program(t, "python3", "install python3"), filepath.Join("testdata", "read_zip.py")))
	mutations := 300
	if os.Getenv("CAPSTAN_LONG") == "1" {
		mutations = 20_000
	}
	var seeds [][]byte
	add := func(b []byte) { seeds = append(seeds, b) }
	small, _ := packBytes(t, writeTree(t, map[string][]byte{"index.html": text(1, 300), "a/ü.js": text(2, 2000), "n.bin": noise(1, 60), "e": nil}), Options{})
	add(small)
	streamed := plainFile("s.js", strings.Repeat("abc ", 90))
	streamed.descr = true
	stamped := plainFile("t.js", "x")
	stamped.extra = []byte{0x55, 0x54, 5, 0, 1, 0, 0, 0, 0}
	add(forgery{entries: []forged{index(), streamed, {name: "d/", flags: flagUTF8}, stamped, {name: "d/s", content: []byte("stored"), flags: flagUTF8}}}.bytes())
	for _, name := range []string{"capgo-crypto/bundle_adm0.5.zip", "capgo-crypto/bundle_adm0.6.zip"} {
		add(readFile(t, name))
	}
	r := mathrand.New(mathrand.NewPCG(1, 2))
	path := filepath.Join(t.TempDir(), "bundle.zip")
	accepted := 0
	for i := range mutations {
		b := slices.Clone(seeds[i%len(seeds)])
		if i >= len(seeds) { // the first round is undamaged
			b = mutate(r, b)
		}
		a, err := CheckArchive(context.Background(), bytes.NewReader(b), int64(len(b)))
		if err != nil {
			if i < len(seeds) {
				t.Fatalf("seed %d: %v", i, err)
			}
			continue
		}
		accepted++
		ours, err := listOurs(a)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		fromGo, err := listGo(b)
		if err != nil {
			fromGo = []string{err.Error()}
		}
		fromJava, _ := java.read(t, path)
		fromPython, _ := python.read(t, path)
		for reader, theirs := range map[string][]string{"Go": fromGo, "Java": fromJava, "Python": fromPython} {
			if !slices.Equal(ours, theirs) {
				t.Errorf("mutation %d: %s reads %q, we read %q\n% x", i, reader, theirs, ours, b[:min(len(b), 400)])
			}
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d of %d archives accepted, all read alike", accepted, mutations)
}

// mutate changes a few bytes, most often where headers are.
func mutate(r *mathrand.Rand, b []byte) []byte {
	var headers []int
	for at := range len(b) - 4 {
		if b[at] == 'P' && b[at+1] == 'K' && b[at+2] < 8 && b[at+3] < 9 {
			headers = append(headers, at)
		}
	}
	for range 1 + r.IntN(3) {
		switch at := headers[r.IntN(len(headers))] + r.IntN(46); r.IntN(6) {
		case 0, 1, 2:
			b[min(at, len(b)-1)] ^= 1 << r.IntN(8)
		case 3:
			b[min(at, len(b)-1)] = byte(r.IntN(256))
		case 4:
			b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		default: // the same field in both headers, so that they go on agreeing
			field := r.IntN(12)
			value := byte(r.IntN(256))
			for _, h := range headers {
				shift := map[byte]int{3: 4, 1: 6}[b[h+2]] // local, central
				if shift > 0 && h+shift+field < len(b) {
					b[h+shift+field] = value
				}
			}
		}
	}
	return b
}

// TestOpenSSLAgrees checks a sealed bundle with OpenSSL alone, by the recipe of docs/format.md.
func TestOpenSSLAgrees(t *testing.T) {
	peers.Program(t, "openssl", "install openssl")
	peers.Program(t, "xxd", "install xxd")
	p := writeTree(t, nil)
	var object bytes.Buffer
	sealed, err := PackSealed(context.Background(), writeTree(t, good()), &object, testKey(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "format.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, recipe, _ := strings.Cut(string(doc), "## Checking by hand")
	_, recipe, _ = strings.Cut(recipe, "```sh\n")
	recipe, _, _ = strings.Cut(recipe, "```")
	os.WriteFile(filepath.Join(p, "bundle.bin"), object.Bytes(), 0o600)
	os.WriteFile(filepath.Join(p, "key.pub"), publicPEM(testKey()), 0o600)
	cmd := exec.Command("sh", "-e", "-c", recipe)
	cmd.Dir = p
	cmd.Env = append(os.Environ(), "SESSION_KEY="+sealed.SessionKey, "CHECKSUM="+sealed.ChecksumV3)
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Count(string(out), sealed.PlainChecksum) != 2 {
		t.Errorf("%v\n%s\nwant %s twice", err, out, sealed.PlainChecksum)
	}
}

// TestRandomTrees packs, opens and unpacks trees of random shape.
func TestRandomTrees(t *testing.T) {
	for seed := range uint64(12) {
		r := mathrand.New(mathrand.NewPCG(seed, 7))
		files := map[string][]byte{}
		for i := range 1 + r.IntN(25) {
			name := fmt.Sprintf("%d", i)
			for range r.IntN(4) {
				name = fmt.Sprintf("d%d/", r.IntN(3)) + name
			}
			n := []int{0, 1, r.IntN(100), r.IntN(40_000), sampleFrom - 1 + r.IntN(3), blockBytes - 1 + r.IntN(3)}[r.IntN(6)]
			files[name] = text(seed, n)
			if r.IntN(3) == 0 {
				files[name] = noise(seed, n)
			}
		}
		dir := writeTree(t, files)
		level := 1 + r.IntN(9)
		var object, plain bytes.Buffer
		sealed, err := PackSealed(context.Background(), dir, &object, testKey(), Options{Level: level})
		if err != nil {
			t.Fatal(seed, err)
		}
		if _, _, err := Decrypt(context.Background(), &object, &plain, sealed.SessionKey, &testKey().PublicKey); err != nil {
			t.Fatal(seed, err)
		}
		checkHolds(t, plain.Bytes(), files)
		if _, err := CheckArchive(context.Background(), bytes.NewReader(plain.Bytes()), int64(plain.Len())); err != nil {
			t.Error(seed, err)
		}
	}
}
