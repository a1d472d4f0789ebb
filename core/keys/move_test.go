package keys

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"

	"capstan/core/failure"
	"capstan/internal/peers"
)

func codes(warnings []Warning) []string {
	var all []string
	for _, w := range warnings {
		all = append(all, w.Code)
	}
	slices.Sort(all)
	return all
}

func TestImportForms(t *testing.T) {
	ref, pem := testPair(t, 0)
	key, err := ParsePrivate(pem)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	exported, err := sealPassphrase(pem, []byte("correct horse battery"), 8)
	if err != nil {
		t.Fatal(err)
	}
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	toRecipient, err := sealTo(pem, identity.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, file string
		text       []byte
		mode       os.FileMode
		in         Import
		warnings   string
		scheme     Scheme
	}{
		{"own form", ".capgo_key_v2", pem, 0o600, Import{}, "", V2},
		{"world-readable", ".capgo_key_v2", pem, 0o644, Import{}, "loose_mode", V2},
		{"Windows line ends", "k", bytes.ReplaceAll(pem, []byte("\n"), []byte("\r\n")), 0o600, Import{}, "", V2},
		{"PKCS#8", "k", block("PRIVATE KEY", pkcs8), 0o600, Import{}, "converted", V2},
		{"first scheme", ".capgo_key", pem, 0o600, Import{}, "v1_scheme", V1},
		{"first scheme by flag", "k", pem, 0o600, Import{Scheme: V1}, "v1_scheme", V1},
		{"second scheme by flag", ".capgo_key", pem, 0o600, Import{Scheme: V2}, "", V2},
		{"export under a passphrase", "k.age", exported, 0o600, Import{}, "", V2},
		{"export to a recipient", "k.age", toRecipient, 0o600, Import{Identities: []age.Identity{identity}}, "", V2},
		{"equal public half", "k", pem, 0o600, Import{InConfig: string(EncodePublic(&key.PublicKey))}, "", V2},
		{"another public half", "k", pem, 0o600, Import{InConfig: string(readTestdata(t, "second_key_v2.pub"))}, "public_differs", V2},
		{"a broken public half", "k", pem, 0o600, Import{InConfig: "x"}, "public_differs", V2},
	} {
		t.Run(c.name, func(t *testing.T) {
			ring := newTestRing(t, Options{})
			in := c.in
			in.AppID, in.Store, in.Path = testApp, File, filepath.Join(t.TempDir(), c.file)
			if err := os.WriteFile(in.Path, c.text, c.mode); err != nil {
				t.Fatal(err)
			}
			rec, warnings, err := ring.Import(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(codes(warnings), " "); got != c.warnings {
				t.Errorf("warnings %q, want %q", got, c.warnings)
			}
			if rec.KeyID != ref.KeyID || !rec.Imported || rec.Scheme != c.scheme {
				t.Errorf("%+v", rec)
			}
			if err := ring.Check(t.Context(), rec); err != nil {
				t.Error(err)
			}
			if back, _ := os.ReadFile(in.Path); !bytes.Equal(back, c.text) {
				t.Error("the source was changed")
			}
			if _, _, err := ring.Import(t.Context(), in); !errors.Is(err, ErrExists) {
				t.Errorf("again: %v", err)
			}
		})
	}
}

func readTestdata(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestImportRefuses(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, text []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	_, pem := testPair(t, 0)
	sealed, err := sealTo(pem, identity.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	bent := slices.Clone(sealed)
	bent[len(bent)/2] ^= 1
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		in   Import
		code string
	}{
		"no file":            {Import{Path: filepath.Join(dir, "none")}, "key_file_missing"},
		"a folder":           {Import{Path: dir}, "key_malformed"},
		"a large file":       {Import{Path: file("large", make([]byte, 1<<20))}, "key_malformed"},
		"recipient, no key":  {Import{Path: file("sealed", sealed)}, "identity_missing"},
		"recipient, other":   {Import{Path: file("sealed", sealed), Identities: []age.Identity{other}}, "passphrase_wrong"},
		"damaged":            {Import{Path: file("bent", bent), Identities: []age.Identity{identity}}, "key_malformed"},
		"no text":            {Import{}, "key_malformed"},
		"a read-only store":  {Import{PEM: pem, Store: Environment}, "store_read_only"},
		"not an app":         {Import{PEM: pem, AppID: "a b"}, "app_id_malformed"},
		"PKCS#8 of nonsense": {Import{PEM: block("PRIVATE KEY", []byte{1, 2, 3})}, "key_malformed"},
	} {
		ring := newTestRing(t, Options{})
		if c.in.AppID == "" {
			c.in.AppID = testApp
		}
		if c.in.Store == "" {
			c.in.Store = File
		}
		c.in.PEM = slices.Clone(c.in.PEM)
		if _, _, err := ring.Import(t.Context(), c.in); failure.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
		if all, err := ring.List(t.Context(), ""); err != nil || len(all) != 0 {
			t.Errorf("%s left %v %v", name, all, err)
		}
	}
}

// TestImportRefusesASharedPrime is a key that a broken generator made with a
// prime of another key: each public half then gives the other away.
func TestImportRefusesASharedPrime(t *testing.T) {
	ring := newTestRing(t, Options{})
	p, q := prime(t, "prime1024a"), prime(t, "prime1024b")
	first, second := fromPrimes(p, q, Exponent), fromPrimes(p, new(big.Int).Set(prime(t, "roca1024a")), Exponent)
	if _, _, err := ring.Import(t.Context(), Import{AppID: testApp, Store: File, PEM: block(privateType, mustDER(t, first))}); err != nil {
		t.Fatal(err)
	}
	_, _, err := ring.Import(t.Context(), Import{AppID: "com.example.other", Store: File, PEM: block(privateType, mustDER(t, second))})
	if !errors.Is(err, ErrWeak) || !strings.Contains(err.Error(), "shares a prime") {
		t.Errorf("a shared prime: %v", err)
	}
}

func TestImportSeesGit(t *testing.T) {
	git := peers.Program(t, "git", "apt-get install git")
	dir := t.TempDir()
	run := func(args ...string) {
		t.Helper()
		cmd := exec.Command(git, append([]string{"-C", dir, "-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"}, args...)...)
		cmd.Env = append(environWithoutKey(), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_SYSTEM="+os.DevNull)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	_, pem := testPair(t, 0)
	path := filepath.Join(dir, PrivateFile)
	if err := os.WriteFile(path, pem, 0o600); err != nil {
		t.Fatal(err)
	}
	want := func(what, code string) {
		t.Helper()
		_, warnings, err := newTestRing(t, Options{}).Import(t.Context(), Import{AppID: testApp, Store: File, Path: path})
		if err != nil || strings.Join(codes(warnings), " ") != code {
			t.Errorf("%s: %v %v, want %q", what, codes(warnings), err, code)
		}
	}
	want("outside a repository", "")
	run("init", "-q")
	want("untracked", "")
	run("add", PrivateFile)
	want("staged", "git_tracked")
	run("commit", "-q", "-m", "key")
	want("committed", "git_tracked")
	run("rm", "-q", "--cached", PrivateFile)
	run("commit", "-q", "-m", "no key")
	want("removed again", "git_history")
}

func TestOpenSSLConvertsToTheSameBytes(t *testing.T) {
	openssl := peers.Program(t, "openssl", "apt-get install openssl")
	dir := t.TempDir()
	out, err := exec.Command(openssl, "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048").Output()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "pkcs8.pem")
	if err := os.WriteFile(path, out, 0o600); err != nil {
		t.Fatal(err)
	}
	traditional, err := exec.Command(openssl, "rsa", "-in", path, "-traditional").Output()
	if err != nil {
		t.Fatal(err)
	}
	key, converted, err := parseAnyPrivate("test", out)
	if err != nil || !converted {
		t.Fatal(err)
	}
	if !bytes.Equal(EncodePrivate(key), traditional) {
		t.Error("the converted key differs from what OpenSSL writes")
	}
}

func TestBackupAndDrill(t *testing.T) {
	dir := t.TempDir()
	backend := &fakeKeyring{}
	ring := testRingIn(t, dir, Options{testOnlyKeyring: backend})
	for app, kind := range map[string]Kind{testApp: File, "com.example.other": Keyring} {
		if _, err := ring.Create(t.Context(), app, kind); err != nil {
			t.Fatal(err)
		}
	}
	all, err := ring.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	recipients, err := ParseRecipients([]string{identity.Recipient().String()})
	if err != nil {
		t.Fatal(err)
	}
	for name, e := range map[string]Envelope{"passphrase.age": {}, "recipient.age": {Recipients: recipients}} {
		path := filepath.Join(t.TempDir(), name)
		if err := ring.Backup(t.Context(), all, e, path); err != nil {
			t.Fatal(err)
		}
		if err := ring.Backup(t.Context(), all, e, path); failure.CodeOf(err) != "file_exists" {
			t.Errorf("over an existing backup: %v", err)
		}
		text, err := os.ReadFile(path)
		info, serr := os.Stat(path)
		if err != nil || serr != nil || info.Mode().Perm() != 0o600 || bytes.Contains(text, []byte("RSA PRIVATE KEY")) {
			t.Fatalf("%v %v %v", err, serr, info.Mode())
		}
		held, err := ring.Drill(t.Context(), path, []age.Identity{identity})
		if err != nil || len(held) != 2 || !held[0].Known || !held[1].Known {
			t.Fatalf("drill: %v %v", held, err)
		}
		found, err := ring.Find(t.Context(), testApp)
		if err != nil || found.LastDrill.IsZero() || found.LastBackup.IsZero() {
			t.Errorf("the drill is not noted: %+v %v", found, err)
		}

		// on another machine
		other := newTestRing(t, Options{})
		held, err = other.Drill(t.Context(), path, []age.Identity{identity})
		if err != nil || len(held) != 2 || held[0].Known {
			t.Errorf("drill elsewhere: %v %v", held, err)
		}
		held, err = other.Restore(t.Context(), path, []age.Identity{identity}, File, testApp)
		if err != nil || len(held) != 1 || !held[0].Restored {
			t.Fatalf("restore one app: %v %v", held, err)
		}
		held, err = other.Restore(t.Context(), path, []age.Identity{identity}, File, "")
		if err != nil || len(held) != 2 || held[0].Restored == held[1].Restored {
			t.Fatalf("restore the rest: %v %v", held, err)
		}
		for _, rec := range all {
			back, err := other.Find(t.Context(), rec.KeyID)
			if err != nil || back.PublicPEM != rec.PublicPEM || !back.Created.Equal(rec.Created) {
				t.Errorf("%+v %v", back, err)
			}
			if err := other.Check(t.Context(), back); err != nil {
				t.Error(err)
			}
		}
		// a private half that was lost is stored again
		lost, _ := other.Find(t.Context(), testApp)
		if err := os.Remove(lost.Location); err != nil {
			t.Fatal(err)
		}
		if held, err := other.Restore(t.Context(), path, []age.Identity{identity}, File, testApp); err != nil || !held[0].Restored {
			t.Errorf("restore a lost half: %v %v", held, err)
		}
		if err := other.Check(t.Context(), lost); err != nil {
			t.Error(err)
		}
		if _, err := other.Restore(t.Context(), path, []age.Identity{identity}, File, "com.example.none"); !errors.Is(err, ErrNotFound) {
			t.Errorf("an app that is not in it: %v", err)
		}

		// every byte of the file counts
		for at := 0; at < len(text); at += 101 {
			bent := slices.Clone(text)
			bent[at] ^= 4
			if err := os.WriteFile(path, bent, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := ring.Drill(t.Context(), path, []age.Identity{identity}); err == nil {
				t.Errorf("%s: a backup with byte %d bent passes the drill", name, at)
			}
		}
	}
}

func TestDrillFindsWhatIsWrong(t *testing.T) {
	ring := newTestRing(t, Options{})
	rec, err := ring.Create(t.Context(), testApp, File)
	if err != nil {
		t.Fatal(err)
	}
	_, other := testPair(t, 1)
	mine, err := ring.private(t.Context(), rec)
	if err != nil {
		t.Fatal(err)
	}
	key := func(appID, id string, pem []byte) backupKey {
		return backupKey{AppID: appID, KeyID: id, PrivateKey: string(pem)}
	}
	for name, c := range map[string]struct {
		file any
		code string
	}{
		"another key under the id": {backupFile{backupFormat, 1, rec.Created, []backupKey{key(testApp, rec.KeyID, other)}}, "backup_mismatch"},
		"no keys":                  {backupFile{backupFormat, 1, rec.Created, nil}, "key_malformed"},
		"a newer format":           {backupFile{backupFormat, 9, rec.Created, []backupKey{key(testApp, rec.KeyID, mine)}}, "backup_newer"},
		"another program's":        {backupFile{"x", 1, rec.Created, nil}, "key_malformed"},
		"a cut key":                {backupFile{backupFormat, 1, rec.Created, []backupKey{key(testApp, rec.KeyID, mine[:500])}}, "key_malformed"},
		"a path as app":            {backupFile{backupFormat, 1, rec.Created, []backupKey{key("../x", rec.KeyID, mine)}}, "app_id_malformed"},
		"text":                     {"hello", "key_malformed"},
	} {
		data, err := json.Marshal(c.file)
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := sealPassphrase(data, []byte("correct horse battery"), 8)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "backup.age")
		os.WriteFile(path, sealed, 0o600)
		if _, err := ring.Drill(t.Context(), path, nil); failure.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
	plain := filepath.Join(t.TempDir(), "plain")
	os.WriteFile(plain, mine, 0o600)
	if _, err := ring.Drill(t.Context(), plain, nil); !errors.Is(err, ErrMalformed) {
		t.Errorf("a plain key as backup: %v", err)
	}
}

// TestV1 opens a session key that Node wrapped, and the other way round.
func TestV1(t *testing.T) {
	private, err := ParsePrivate(readTestdata(t, "test_key_v1"))
	if err != nil {
		t.Fatal(err)
	}
	var sample struct{ Wrapped, Session []byte }
	if err := json.Unmarshal(readTestdata(t, "v1.json"), &sample); err != nil {
		t.Fatal(err)
	}
	session, err := UnwrapV1(private, sample.Wrapped)
	if err != nil || !bytes.Equal(session, sample.Session) {
		t.Fatalf("%x %v", session, err)
	}
	wrapped, err := WrapV1(&private.PublicKey, session)
	if err != nil || len(wrapped) != 256 {
		t.Fatal(err)
	}
	if back, err := UnwrapV1(private, wrapped); err != nil || !bytes.Equal(back, session) {
		t.Errorf("%x %v", back, err)
	}
	wrapped[9] ^= 1
	if _, err := UnwrapV1(private, wrapped); failure.ExitStatus(err) != 6 {
		t.Errorf("a bent one: %v", err)
	}
	for _, n := range []int{0, 15, 17, 32} {
		if _, err := WrapV1(&private.PublicKey, make([]byte, n)); err == nil {
			t.Errorf("%d bytes are taken for a session key", n)
		}
	}
	node := peers.Program(t, "node", "install Node.js 22 or newer")
	again, err := WrapV1(&private.PublicKey, session)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(node, "-e", `
const c = require('node:crypto'), {key, text} = JSON.parse(require('node:fs').readFileSync(0, 'utf8'));
process.stdout.write(c.privateDecrypt({key, oaepHash: 'sha256', padding: c.constants.RSA_PKCS1_OAEP_PADDING}, Buffer.from(text, 'base64')).toString('base64'));`)
	in, err := json.Marshal(map[string]string{"key": string(EncodePrivate(private)), "text": base64.StdEncoding.EncodeToString(again)})
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin = bytes.NewReader(in)
	out, err := cmd.Output()
	if err != nil || string(out) != base64.StdEncoding.EncodeToString(session) {
		t.Errorf("Node unwraps %q: %v", out, err)
	}
}

func TestRotationStates(t *testing.T) {
	ring := newTestRing(t, Options{})
	ctx := t.Context()
	if _, err := ring.StartRotation(ctx, testApp, "MIIBCgKCAQEA6lG/w0xP"); !errors.Is(err, ErrNotFound) {
		t.Errorf("to an unknown key: %v", err)
	}
	old, err := ring.Create(ctx, testApp, File)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ring.StartRotation(ctx, testApp, old.KeyID); !errors.Is(err, ErrNotFound) {
		t.Errorf("with one key: %v", err)
	}
	next, err := ring.Create(ctx, testApp, File)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ring.StartRotation(ctx, testApp, next.KeyID); err != nil {
		t.Fatal(err)
	}
	if err := ring.CancelRotation(ctx, testApp); err != nil {
		t.Fatal(err)
	}
	if err := ring.CancelRotation(ctx, testApp); failure.CodeOf(err) != "rotation_not_found" {
		t.Errorf("cancel twice: %v", err)
	}
	if _, err := ring.StartRotation(ctx, testApp, next.KeyID); err != nil {
		t.Fatal(err)
	}
	if _, err := ring.StartRotation(ctx, testApp, next.KeyID); failure.CodeOf(err) != "rotation_running" {
		t.Errorf("start twice: %v", err)
	}
	for _, c := range []struct {
		state RotationState
		keys  []string
	}{{Announced, []string{old.KeyID}}, {Both, []string{next.KeyID, old.KeyID}}, {Draining, []string{next.KeyID, old.KeyID}}, {Retired, []string{next.KeyID}}} {
		if c.state != Announced {
			for _, other := range rotationOrder {
				if other == c.state {
					continue
				}
				if _, err := ring.AdvanceRotation(ctx, testApp, other, true); failure.CodeOf(err) != "rotation_order" {
					t.Errorf("to %s before %s: %v", other, c.state, err)
				}
			}
			if _, err := ring.AdvanceRotation(ctx, testApp, c.state, c.state == Retired); err != nil {
				t.Fatal(err)
			}
			if err := ring.CancelRotation(ctx, testApp); failure.CodeOf(err) != "rotation_order" {
				t.Errorf("cancel while %s: %v", c.state, err)
			}
		}
		r, ok, err := testRingIn(t, ring.dir, Options{}).Rotation(testApp)
		if err != nil || !ok || r.State != c.state || !slices.Equal(r.SealingKeys(), c.keys) || r.SealingKey() != c.keys[0] {
			t.Errorf("%s: %+v %v", c.state, r, err)
		}
		rec, err := ring.Find(ctx, testApp)
		if err != nil || rec.KeyID != c.keys[0] {
			t.Errorf("%s: the current key is %s, %v", c.state, rec.KeyID, err)
		}
	}
	if rec, err := ring.Find(ctx, old.KeyID); err != nil || !rec.Retired {
		t.Errorf("%+v %v", rec, err)
	}
	third, err := ring.Create(ctx, testApp, File)
	if err != nil {
		t.Fatal(err)
	}
	if rec, err := ring.Find(ctx, testApp); err != nil || rec.KeyID != next.KeyID {
		t.Errorf("a key that is not announced is in use: %+v %v", rec, err)
	}
	r, err := ring.StartRotation(ctx, testApp, third.KeyID)
	if err != nil || r.OldKeyID != next.KeyID {
		t.Errorf("second rotation: %+v %v", r, err)
	}
}

func FuzzImport(f *testing.F) {
	_, pem := testPair(f, 0)
	f.Add(pem)
	for _, c := range append(badPrivate(f), badPublic(f)...) {
		f.Add(c.text)
	}
	key, err := ParsePrivate(pem)
	if err != nil {
		f.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(block("PRIVATE KEY", pkcs8))
	nobody := Options{Passphrase: func(context.Context, string) ([]byte, error) { return nil, nil }}
	f.Fuzz(func(t *testing.T, text []byte) {
		ring, err := NewRing(filepath.Join(t.TempDir(), "none"), nobody)
		if err != nil {
			t.Fatal(err)
		}
		var got *rsa.PrivateKey
		got, _, err = ring.ReadKeyFile(t.Context(), Import{AppID: testApp, PEM: bytes.Clone(text)})
		if err != nil {
			if _, known := failure.Find(err); !known {
				t.Errorf("an error without a code: %v", err)
			}
			return
		}
		accepted(t, &got.PublicKey)
	})
}
