package device

import (
	"archive/zip"
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"io/fs"
	"maps"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"testing"

	"capstan/core/bundle"
	"capstan/core/capgo"
)

// artefact is a bundle as it is served to one device, and what the app holds.
type artefact struct {
	served     []byte
	sessionKey string
	checksum   string
	public     []byte
	private    []byte
	tree       tree // what a good installation has
}

// try downloads an artefact as a plugin version does: A, A* or -.
func try(t *testing.T, h *host, version string, a artefact) string {
	t.Helper()
	d, err := New(Device{
		Request:   capgo.UpdateRequest{Platform: Android, PluginVersion: version, AppID: "com.example.app", VersionBuild: "1.0.0"},
		PublicKey: a.public, PrivateKey: a.private, Dir: t.TempDir(),
	})
	if err != nil {
		return "-"
	}
	d.generation = d.generation.forZip() // what is left out must not matter
	answer := Answer{Outcome: Offered}
	answer.Version, answer.URL, answer.SessionKey, answer.Checksum = "1.2.3", h.put(a.served), a.sessionKey, a.checksum
	got, err := d.Download(t.Context(), answer, nil)
	switch {
	case err != nil:
		return "-"
	case maps.Equal(treeOf(t, got.Dir), a.tree):
		return "A"
	}
	return "A*"
}

// generation of a version on Android.
func android(t *testing.T, version string) Generation {
	t.Helper()
	g, err := GenerationOf(version, Android)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// plainWanted is the checksum that a version wants of a plain bundle; where it
// computes none, the SHA-256 that a server would send.
func plainWanted(t *testing.T, version string, b []byte) string {
	if android(t, version).Plain == bundle.FormCRC32 {
		return crc32Hex(b)
	}
	return sha256Hex(b)
}

// signedWanted is the signed checksum that a version wants.
func signedWanted(t *testing.T, version string, s sealer, b []byte) string {
	if android(t, version).Signed == bundle.FormV2 {
		return s.v2(b)
	}
	return s.v3(b)
}

// TestRealArtefacts compares what the real Capgo CLI made with what the real plugin took.
func TestRealArtefacts(t *testing.T) {
	h := newHost(t)
	public := read(t, cliData+"key_v2.pub")
	type made struct{ Checksum, IvSessionKey string }
	load := func(file string) (m made) {
		if err := json.Unmarshal(read(t, cliData+file), &m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	crc := load("cli-4.34.6_v1/zip.txt")
	v1Session := regexp.MustCompile(`ivSessionKey: (\S+)`).FindSubmatch(read(t, cliData+"cli-4.34.6_v1/encrypt.txt"))
	v1Plain, plain := read(t, cliData+"cli-4.34.6_v1/plain.zip"), read(t, cliData+"cli-8.68.1_for-plugin-8.51.23/plain.zip")
	old, recent := load("cli-8.68.1_for-plugin-7.9.2/encrypt.json"), load("cli-8.68.1_for-plugin-8.51.23/encrypt.json")
	rows := map[string]artefact{
		"zip-crc32":    {served: v1Plain, checksum: crc.Checksum, tree: treeOfZip(t, v1Plain)},
		"zip-sha256":   {served: plain, checksum: load("cli-8.68.1_for-plugin-8.51.23/zip.json").Checksum, tree: treeOfZip(t, plain)},
		"v1-encrypted": {served: read(t, cliData+"cli-4.34.6_v1/encrypted.zip"), sessionKey: string(v1Session[1]), checksum: crc.Checksum, private: read(t, cliData+"cli-4.34.6_v1/key_v1"), tree: treeOfZip(t, v1Plain)},
		"v2-base64":    {served: read(t, cliData+"cli-8.68.1_for-plugin-7.9.2/encrypted.zip"), sessionKey: old.IvSessionKey, checksum: old.Checksum, public: public, tree: treeOfZip(t, plain)},
		"v2-hex":       {served: read(t, cliData+"cli-8.68.1_for-plugin-8.51.23/encrypted.zip"), sessionKey: recent.IvSessionKey, checksum: recent.Checksum, public: public, tree: treeOfZip(t, plain)},
	}
	compareTable(t, "artefacts.tsv", "n/a", Generation.forZip, func(t *testing.T, row, version string) string {
		a, ok := rows[row]
		if !ok {
			t.Fatalf("no artefact for row %q", row)
		}
		return try(t, h, version, a)
	})
}

// TestFlavours compares every flavour of a bundle with what the real plugin did with it.
func TestFlavours(t *testing.T) {
	h := newHost(t)
	f := newFlavours(t)
	compareTable(t, "flavours.tsv", "n/a", Generation.forZip, func(t *testing.T, row, version string) string {
		if name, ok := strings.CutPrefix(row, "Z "); ok {
			a, ok := f.zips[name]
			if !ok {
				t.Fatalf("no archive for row %q", row)
			}
			a.checksum = plainWanted(t, version, a.served)
			return try(t, h, version, a)
		}
		build, ok := f.rows[row]
		if !ok {
			t.Fatalf("no flavour for row %q", row)
		}
		a := build(t, version)
		if a.tree == nil {
			a.tree = sample
		}
		return try(t, h, version, a)
	})
}

type flavours struct {
	rows map[string]func(t *testing.T, version string) artefact
	zips map[string]artefact
}

func newFlavours(t *testing.T) flavours {
	plain := zipOf(t, sample)
	app, other := privateKey(t, "testdata/keys/app2048.pem"), privateKey(t, "testdata/keys/other2048.pem")
	s := newSealer(app)
	public := publicPEM(app)
	sealed := artefact{served: s.encrypt(plain), sessionKey: s.field(), public: public}
	with := func(a artefact, change func(*artefact)) artefact { change(&a); return a }
	fixed := func(a artefact) func(*testing.T, string) artefact {
		return func(*testing.T, string) artefact { return a }
	}
	// checksum gives a sealed row with one checksum for every version.
	checksum := func(value string) func(*testing.T, string) artefact {
		return fixed(with(sealed, func(a *artefact) { a.checksum = value }))
	}
	// wanted gives a row whose checksum is the one that the version wants.
	wanted := func(s sealer, a artefact) func(*testing.T, string) artefact {
		return func(t *testing.T, version string) artefact {
			a.checksum = signedWanted(t, version, s, plain)
			return a
		}
	}
	session := func(change func(*sealer)) func(*testing.T, string) artefact {
		s := s
		change(&s)
		return wanted(s, artefact{served: s.encrypt(plain), sessionKey: s.field(), public: publicPEM(s.key)})
	}
	key := func(file string) func(*testing.T, string) artefact {
		return session(func(s *sealer) { s.key = privateKey(t, file) })
	}
	publicAs := func(text []byte) func(*testing.T, string) artefact {
		return wanted(s, with(sealed, func(a *artefact) { a.public = text }))
	}
	field := func(text string) func(*testing.T, string) artefact {
		return wanted(s, with(sealed, func(a *artefact) { a.sessionKey = text }))
	}
	iv, signed := base64.StdEncoding.EncodeToString(s.iv), base64.StdEncoding.EncodeToString(s.sign(s.session))
	sum := sha256.Sum256(plain)
	crc, _ := hex.DecodeString(crc32Hex(plain))
	flip := func(b []byte, at int) []byte { b = bytes.Clone(b); b[at] ^= 1; return b }

	spki, err := x509.MarshalPKIXPublicKey(&app.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	oneLine := strings.ReplaceAll(string(public), "\n", "")
	// What somebody with the public key alone can make: type 2 padding under the public operation.
	block := slices.Concat([]byte{0, 2}, bytes.Repeat([]byte{7}, 256-3-len(s.session)), []byte{0}, s.session)
	publicSealed := new(big.Int).Exp(new(big.Int).SetBytes(block), big.NewInt(int64(app.E)), app.N).FillBytes(make([]byte, 256))
	otherPlain := zipOf(t, tree{"index.html": "another bundle"})

	// The real CLI's ciphertext with its known checksums, damaged in several ways.
	var kat struct{ IvSessionKey, ChecksumV3hex, ChecksumV2base64 string }
	if err := json.Unmarshal(read(t, cliData+"kat.json"), &kat); err != nil {
		t.Fatal(err)
	}
	tampered := func(file string) func(*testing.T, string) artefact {
		served := read(t, cliData+"tampered/"+file)
		return func(t *testing.T, version string) artefact {
			a := artefact{served: served, sessionKey: kat.IvSessionKey, checksum: kat.ChecksumV3hex, public: read(t, cliData+"key_v2.pub")}
			if android(t, version).Signed == bundle.FormV2 {
				a.checksum = kat.ChecksumV2base64
			}
			return a
		}
	}

	// The first scheme: private key in the app.
	oaep, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, &app.PublicKey, s.session, nil)
	if err != nil {
		t.Fatal(err)
	}
	v1 := artefact{served: s.encrypt(plain), sessionKey: iv + ":" + base64.StdEncoding.EncodeToString(oaep), private: privatePEM(app), checksum: crc32Hex(plain)}
	open := artefact{served: plain}

	rows := map[string]func(*testing.T, string) artefact{
		"E1":  checksum(s.v3(plain)),
		"E2":  checksum(s.v2(plain)),
		"E3":  checksum(base64.StdEncoding.EncodeToString(s.sign(sum[:]))),
		"E4":  checksum(sha256Hex(plain)),
		"E5":  checksum(crc32Hex(plain)),
		"E6":  checksum(""),
		"E7":  checksum(strings.ToUpper(s.v3(plain))),
		"E8":  checksum(s.v3(s.encrypt(plain))),
		"E9":  checksum(hex.EncodeToString(s.sign([]byte(sha256Hex(plain))))),
		"E10": checksum(hex.EncodeToString(s.sign(crc))),
		"E11": session(func(s *sealer) { s.session = []byte("0123456789abcdef0123456789abcdef") }),
		"E12": session(func(s *sealer) { s.session = []byte("0123456789abcdef01234567") }),
		"K1":  key("testdata/keys/rsa4096.pem"),
		"K1b": key("testdata/keys/rsa3072.pem"),
		"K2":  key("testdata/keys/rsa1024.pem"),
		"K3":  publicAs(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki})),
		"K4":  publicAs(bytes.ReplaceAll(public, []byte("\n"), []byte("\r\n"))),
		"K5":  publicAs([]byte(oneLine)),
		"K6":  publicAs(append([]byte("\n"), public...)),
		"K7":  publicAs([]byte("not a key")),
		"K8":  publicAs(publicPEM(other)),
		"T1":  tampered("t1.zip"),
		"T2":  tampered("t2.zip"),
		"T3":  tampered("t3.zip"),
		"T4":  tampered("t4.zip"),
		"T5":  field(base64.StdEncoding.EncodeToString(flip(s.iv, 3)) + ":" + signed),
		"T6": func(t *testing.T, version string) artefact {
			return with(sealed, func(a *artefact) { a.checksum = signedWanted(t, version, s, otherPlain) })
		},
		"T7": func(t *testing.T, version string) artefact {
			return with(sealed, func(a *artefact) { a.checksum = signedWanted(t, version, newSealer(other), plain) })
		},
		"T8":  field(iv + signed),
		"T9":  field(iv + ":" + signed + ":" + signed),
		"T10": field(base64.StdEncoding.EncodeToString(s.iv[:12]) + ":" + signed),
		"T11": field(base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{0xfb, 0xef}, 8)) + ":" + base64.RawURLEncoding.EncodeToString(s.sign(s.session))),
		"T12": field(strings.TrimRight(iv, "=") + ":" + strings.TrimRight(signed, "=")),
		"T13": field(iv + ":" + wrapped(signed, 76)),
		"T14": tampered("t14.zip"),
		"T15": wanted(s, with(sealed, func(a *artefact) { a.served = plain })),
		"T16": tampered("empty.bin"),
		"T17": field(iv + ":" + base64.StdEncoding.EncodeToString(publicSealed)),
		"P1":  fixed(with(open, func(a *artefact) { a.checksum = sha256Hex(plain) })),
		"P2":  fixed(with(open, func(a *artefact) { a.checksum = crc32Hex(plain) })),
		"P3":  fixed(open),
		"P4":  fixed(with(open, func(a *artefact) { a.checksum = strings.ToUpper(sha256Hex(plain)) })),
		"P5":  fixed(with(open, func(a *artefact) { a.checksum = sha256Hex(otherPlain) })),
		"P6":  fixed(with(open, func(a *artefact) { a.checksum, a.public = sha256Hex(plain), public })),
		"P7":  fixed(with(open, func(a *artefact) { a.checksum, a.public = s.v3(plain), public })),
		"P8":  fixed(with(sealed, func(a *artefact) { a.checksum, a.public = sha256Hex(plain), nil })),
		"P9":  fixed(with(sealed, func(a *artefact) { a.checksum, a.public = s.v3(plain), nil })),
		"P10": fixed(with(sealed, func(a *artefact) { a.checksum, a.public = sha256Hex(s.encrypt(plain)), nil })),
		"O1":  fixed(v1),
		"O2":  fixed(with(v1, func(a *artefact) { a.checksum = sha256Hex(plain) })),
		"O3":  fixed(with(v1, func(a *artefact) { a.checksum = "" })),
		"O4":  fixed(with(open, func(a *artefact) { a.checksum, a.private = crc32Hex(plain), privatePEM(app) })),
		"O5":  fixed(with(open, func(a *artefact) { a.checksum, a.private = sha256Hex(plain), privatePEM(app) })),
		"O6":  fixed(with(v1, func(a *artefact) { a.served = flip(a.served, 100) })),
		"O7":  fixed(with(v1, func(a *artefact) { a.served = flip(a.served, len(a.served)-1) })),
		"O8":  fixed(with(v1, func(a *artefact) { a.private = privatePEM(other) })),
		"O9":  fixed(with(v1, func(a *artefact) { a.checksum = crc32Hex(otherPlain) })),
		"O10": fixed(with(v1, func(a *artefact) { a.served, a.checksum = flip(a.served, 100), "" })),
	}
	return flavours{rows: rows, zips: archives(t)}
}

// archives are the zips of unusual structure.
func archives(t *testing.T) map[string]artefact {
	out := map[string]artefact{}
	cli := read(t, cliData+"cli-8.68.1_for-plugin-8.51.23/plain.zip")
	cliTree := treeOfZip(t, cli)
	out["cli"] = artefact{served: cli, tree: cliTree}
	for _, name := range strings.Fields("go-backslash go-corrupt go-deflate-dd go-dirs go-dup go-empty go-leadingslash go-prefixed go-raw-store-nodd go-store-dd go-symlink go-traversal go-truncated go-wrapped go-zstd93 infozip-store infozip-stream infozip") {
		out[name+".zip"] = artefact{served: read(t, cliData+"zips/"+name+".zip"), tree: cliTree}
	}
	for _, name := range strings.Fields("python-bzip2 python-deflate python-force-zip64 python-stream-store-dd") {
		out[name+".zip"] = artefact{served: read(t, "testdata/zips/"+name+".zip"), tree: sample}
	}
	names := slices.Sorted(maps.Keys(sample))
	renamed := func(change func(string) string, extra tree) []byte {
		files := maps.Clone(extra)
		if files == nil {
			files = tree{}
		}
		for name, content := range sample {
			files[change(name)] = content
		}
		return zipOf(t, files)
	}
	raw := func(change func(*zip.FileHeader)) []byte {
		return zipWith(t, names, func(z *zip.Writer, name string) error {
			return addRaw(z, name, sample[name], zip.Deflate, deflated(sample[name]), change)
		})
	}
	put := func(name string, served []byte) { out[name] = artefact{served: served, tree: sample} }
	put("go-dotslash.zip", renamed(func(s string) string { return "./" + s }, nil))
	put("go-macosx.zip", renamed(func(s string) string { return "www/" + s }, tree{"__MACOSX/._www": "fork", ".DS_Store": "finder"}))
	put("go-onlyfile.zip", zipOf(t, tree{"readme.txt": "alone"}))
	put("go-onlyindex.zip", zipOf(t, tree{"index.html": sample["index.html"]}))
	put("go-raw-deflate-nodd.zip", raw(nil))
	put("go-nonutf8flag.zip", raw(func(h *zip.FileHeader) { h.Flags = 0 }))
	put("go-zip64extra.zip", raw(func(h *zip.FileHeader) {
		// A zip64 extra field that states the sizes a second time.
		h.Extra = append(h.Extra, 1, 0, 16, 0)
		for _, n := range []uint64{h.UncompressedSize64, h.CompressedSize64} {
			for i := range 8 {
				h.Extra = append(h.Extra, byte(n>>(8*i)))
			}
		}
	}))
	if _, err := fs.Stat(zipFS(t, out["go-macosx.zip"].served), "www/index.html"); err != nil {
		t.Fatal(err)
	}
	return out
}

func zipFS(t *testing.T, b []byte) fs.FS {
	z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func wrapped(s string, width int) string {
	var b strings.Builder
	for i := 0; i < len(s); i += width {
		b.WriteString(s[i:min(i+width, len(s))] + "\n")
	}
	return b.String()
}
