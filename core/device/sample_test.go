package device

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// tree is a bundle's files by slash-separated name.
type tree map[string]string

// sample is the small bundle that most rows are made of.
var sample = tree{
	"index.html":        "<!doctype html><script src=\"assets/app.js\"></script>\n",
	"assets/app.js":     strings.Repeat("notifyAppReady();", 40),
	"assets/empty.txt":  "",
	"assets/one.bin":    "\x01",
	"assets/ümläut.txt": "日本\n",
	".hidden":           "dot\n",
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// privateKey reads one of the test keys.
func privateKey(t testing.TB, file string) *rsa.PrivateKey {
	t.Helper()
	block, _ := pem.Decode(read(t, file))
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func publicPEM(key *rsa.PrivateKey) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&key.PublicKey)})
}

func privatePEM(key *rsa.PrivateKey) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
}

// zipOf writes a tree as Go does by default: deflate with data descriptor.
func zipOf(t testing.TB, files tree) []byte {
	t.Helper()
	return zipWith(t, slices.Sorted(maps.Keys(files)), func(z *zip.Writer, name string) error {
		w, err := z.Create(name)
		if err == nil {
			_, err = io.WriteString(w, files[name])
		}
		return err
	})
}

func zipWith(t testing.TB, names []string, add func(*zip.Writer, string) error) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range names {
		if err := add(z, name); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// addRaw writes an entry whose sizes stand in the local header.
func addRaw(z *zip.Writer, name, content string, method uint16, data []byte, change func(*zip.FileHeader)) error {
	h := &zip.FileHeader{Name: name, Method: method, Flags: 0x800, CRC32: crc32.ChecksumIEEE([]byte(content)),
		CompressedSize64: uint64(len(data)), UncompressedSize64: uint64(len(content))}
	if change != nil {
		change(h)
	}
	w, err := z.CreateRaw(h)
	if err == nil {
		_, err = w.Write(data)
	}
	return err
}

func deflated(content string) []byte {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, flate.DefaultCompression)
	_, _ = io.WriteString(w, content)
	_ = w.Close()
	return b.Bytes()
}

// sealer makes the encrypted side of a row with the standard library alone.
type sealer struct {
	key     *rsa.PrivateKey
	session []byte
	iv      []byte
}

func newSealer(key *rsa.PrivateKey) sealer {
	return sealer{key: key, session: []byte("0123456789abcdef"), iv: []byte("fedcba9876543210")}
}

func (s sealer) sign(payload []byte) []byte {
	out, err := rsa.SignPKCS1v15(nil, s.key, crypto.Hash(0), payload)
	if err != nil {
		panic(err)
	}
	return out
}

func (s sealer) field() string {
	return base64.StdEncoding.EncodeToString(s.iv) + ":" + base64.StdEncoding.EncodeToString(s.sign(s.session))
}

func (s sealer) encrypt(plain []byte) []byte {
	n := aes.BlockSize - len(plain)%aes.BlockSize
	return s.encryptRaw(append(bytes.Clone(plain), bytes.Repeat([]byte{byte(n)}, n)...))
}

func (s sealer) encryptRaw(padded []byte) []byte {
	block, err := aes.NewCipher(s.session)
	if err != nil {
		panic(err)
	}
	out := make([]byte, len(padded))
	cipher.NewCBCEncrypter(block, s.iv).CryptBlocks(out, padded)
	return out
}

func (s sealer) v3(plain []byte) string {
	sum := sha256.Sum256(plain)
	return hex.EncodeToString(s.sign(sum[:]))
}

func (s sealer) v2(plain []byte) string {
	payload, err := base64.StdEncoding.DecodeString(sha256Hex(plain))
	if err != nil {
		panic(err)
	}
	return base64.StdEncoding.EncodeToString(s.sign(payload))
}

func sha256Hex(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func crc32Hex(b []byte) string { return fmt.Sprintf("%08x", crc32.ChecksumIEEE(b)) }

// treeOf reads an unpacked bundle; nil when its root is a lone file.
func treeOf(t testing.TB, dir string) tree {
	t.Helper()
	got := tree{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(path)
		got[filepath.ToSlash(name)] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// treeOfZip reads an archive by its central directory.
func treeOfZip(t testing.TB, b []byte) tree {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	got := tree{}
	for _, f := range z.File {
		if strings.HasSuffix(f.Name, "/") {
			continue
		}
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		got[f.Name] = string(content)
	}
	return got
}

// host serves bytes by path.
type host struct {
	*httptest.Server
	mu    sync.Mutex
	files map[string][]byte
}

func newHost(t testing.TB) *host {
	h := &host{files: map[string][]byte{}}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		b, ok := h.files[r.URL.Path]
		h.mu.Unlock()
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
	}))
	t.Cleanup(h.Close)
	return h
}

// put makes bytes available and gives their URL.
func (h *host) put(b []byte) string {
	path := "/" + sha256Hex(b)
	h.mu.Lock()
	h.files[path] = b
	h.mu.Unlock()
	return h.URL + path
}

// cell is one measured field of a table.
type cell struct{ row, version, want string }

// whole keeps everything a generation does.
func whole(g Generation) Generation { return g }

// readTable reads a table of testdata/matrix: one cell for each row and version.
func readTable(t testing.TB, file string) []cell {
	t.Helper()
	var columns []string
	var cells []cell
	for line := range strings.Lines(string(read(t, "testdata/matrix/"+file))) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Split(line, "\t")
		if columns == nil {
			columns = fields
			continue
		}
		if len(fields) != len(columns) {
			t.Fatalf("%s: row %q has %d fields", file, fields[0], len(fields))
		}
		for i, versions := range columns[1:] {
			for version := range strings.SplitSeq(versions, ",") {
				cells = append(cells, cell{fields[0], version, fields[i+1]})
			}
		}
	}
	return cells
}

// compareTable runs every measured cell. Versions of one generation behave alike
// by construction, so that a row is run once for each generation, as seen by
// what the row is about; the cells of all versions are compared. A difference is a failure.
func compareTable(t *testing.T, file, unmeasured string, about func(Generation) Generation, run func(t *testing.T, row, version string) string) {
	t.Helper()
	rows := map[string][]cell{}
	var order []string
	for _, c := range readTable(t, file) {
		if rows[c.row] == nil {
			order = append(order, c.row)
		}
		rows[c.row] = append(rows[c.row], c)
	}
	var mu sync.Mutex
	total, equal := 0, 0
	t.Run("rows", func(t *testing.T) {
		for _, row := range order {
			t.Run(row, func(t *testing.T) {
				t.Parallel()
				seen := map[Generation]string{}
				for _, c := range rows[row] {
					if c.want == unmeasured {
						continue
					}
					g, err := GenerationOf(c.version, Android)
					if err != nil {
						t.Fatal(err)
					}
					key := about(g)
					got, ok := seen[key]
					if !ok {
						got = run(t, c.row, c.version)
						seen[key] = got
					}
					mu.Lock()
					total++
					if got == c.want {
						equal++
					}
					mu.Unlock()
					if got != c.want {
						t.Errorf("plugin %s: the device says %s, the plugin did %s", c.version, got, c.want)
					}
				}
			})
		}
	})
	t.Logf("%d of %d cells equal", equal, total)
}
