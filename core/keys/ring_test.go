package keys

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"capstan/core/failure"
	"capstan/core/keys/multibuffer"
)

// newTestRing is a ring in a folder of its own, with cheap passphrase hashing.
func newTestRing(t testing.TB, o Options) *Ring {
	t.Helper()
	return testRingIn(t, t.TempDir(), o)
}

func testRingIn(t testing.TB, dir string, o Options) *Ring {
	t.Helper()
	if o.WorkFactor == 0 {
		o.WorkFactor = 8
	}
	if o.Passphrase == nil {
		o.Passphrase = fixedPassphrase("correct horse battery")
	}
	r, err := NewRing(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const testApp = "com.example.app"

func TestCreateIsReadBackByAnotherProcess(t *testing.T) {
	backend := &fakeKeyring{}
	for _, kind := range []Kind{Keyring, File, Memory} {
		t.Run(string(kind), func(t *testing.T) {
			dir := t.TempDir()
			ring := testRingIn(t, dir, Options{testOnlyKeyring: backend})
			rec, err := ring.Create(t.Context(), testApp, kind)
			if err != nil {
				t.Fatal(err)
			}
			if rec.Store != kind || rec.AppID != testApp || len(rec.KeyID) != 20 || len(rec.PublicPEM) != 426 || rec.Scheme != V2 {
				t.Fatalf("record %+v", rec)
			}
			if kind != Memory {
				ring = testRingIn(t, dir, Options{testOnlyKeyring: backend})
			}
			for _, query := range []string{testApp, rec.KeyID, rec.Fingerprint()} {
				found, err := ring.Find(t.Context(), query)
				if err != nil || found.KeyID != rec.KeyID {
					t.Fatalf("find %q: %v %v", query, found, err)
				}
			}
			signer, err := ring.Signer(t.Context(), testApp)
			if err != nil {
				t.Fatal(err)
			}
			message := []byte("sixteen byte key")
			sig, err := signer.Sign(nil, message, crypto.Hash(0))
			if err != nil {
				t.Fatal(err)
			}
			pub, err := rec.Public()
			if err != nil {
				t.Fatal(err)
			}
			if err := rsa.VerifyPKCS1v15(pub, crypto.Hash(0), message, sig); err != nil {
				t.Fatal(err)
			}
			if kind != Memory {
				found, err := ring.Find(t.Context(), rec.KeyID)
				if err != nil || found.LastUsed.IsZero() {
					t.Errorf("last use was not noted: %+v %v", found, err)
				}
				info, err := os.Stat(filepath.Join(dir, indexFile))
				if err != nil || info.Mode().Perm() != 0o600 {
					t.Errorf("index: %v %v", info, err)
				}
			}
		})
	}
}

func TestFindNamesWhatIsMissing(t *testing.T) {
	ring := newTestRing(t, Options{})
	for _, query := range []string{"com.example.none", "MIIBCgKCAQEA6lG/w0xP", "SHA256:x"} {
		_, err := ring.Find(t.Context(), query)
		if !errors.Is(err, ErrNotFound) || failure.ExitStatus(err) != 3 {
			t.Errorf("find %s: %v", query, err)
		}
	}
	for kind, code := range map[Kind]string{Environment: "store_read_only", Command: "store_read_only", "": "store_not_chosen", "usb": "store_unknown"} {
		if _, err := ring.Create(t.Context(), testApp, kind); failure.CodeOf(err) != code {
			t.Errorf("create in %q: %v, want %s", kind, err, code)
		}
	}
	if _, err := ring.Create(t.Context(), "../../up", File); failure.CodeOf(err) != "app_id_malformed" {
		t.Errorf("create for a folder: %v", err)
	}
}

// brokenStore does one thing wrong.
type brokenStore struct {
	Store
	put func(context.Context, Ref, []byte) error
	get func(context.Context, Ref) ([]byte, error)
}

func (s brokenStore) Put(ctx context.Context, ref Ref, pem []byte) error {
	if s.put != nil {
		return s.put(ctx, ref, pem)
	}
	return s.Store.Put(ctx, ref, pem)
}

func (s brokenStore) Get(ctx context.Context, ref Ref) ([]byte, error) {
	if s.get != nil {
		return s.get(ctx, ref)
	}
	return s.Store.Get(ctx, ref)
}

func TestNothingIsCreatedWhenTheStoreFails(t *testing.T) {
	_, otherPEM := testPair(t, 1)
	cases := []struct {
		name    string
		broken  brokenStore
		code    string
		pending int // notes that stay, because the store's state is unknown
	}{
		{"put refuses", brokenStore{put: func(context.Context, Ref, []byte) error { return ErrLocked }}, "keyring_locked", 0},
		{"put times out", brokenStore{put: func(context.Context, Ref, []byte) error { return ErrTimeout }}, "keyring_timeout", 1},
		{"get gives another key", brokenStore{get: func(context.Context, Ref) ([]byte, error) { return otherPEM, nil }}, "key_store_failed", 0},
		{"get gives half", brokenStore{get: func(context.Context, Ref) ([]byte, error) { return otherPEM[:800], nil }}, "key_store_failed", 0},
		{"get fails", brokenStore{get: func(context.Context, Ref) ([]byte, error) { return nil, ErrLocked }}, "keyring_locked", 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			ring := newTestRing(t, Options{})
			c.broken.Store = ring.stores[File]
			ring.stores[File] = c.broken
			if rec, err := ring.Create(t.Context(), testApp, File); failure.CodeOf(err) != c.code || rec.KeyID != "" {
				t.Fatalf("create: %v %v, want %s", rec, err, c.code)
			}
			ring.stores[File] = c.broken.Store
			all, err := ring.List(t.Context(), testApp)
			if err != nil || len(all) != c.pending {
				t.Fatalf("list: %v %v", all, err)
			}
			for _, rec := range all {
				if !rec.Unfinished {
					t.Errorf("%s counts as created", rec.KeyID)
				}
			}
			if _, err := ring.Find(t.Context(), testApp); !errors.Is(err, ErrNotFound) {
				t.Errorf("find: %v", err)
			}
			left, err := filepath.Glob(filepath.Join(ring.dir, "keys", "*.age"))
			if err != nil || len(left) != 0 {
				t.Errorf("left in the store: %v %v", left, err)
			}
			rec, err := ring.Create(t.Context(), testApp, File)
			if err != nil {
				t.Fatalf("create again: %v", err)
			}
			if all, err := ring.List(t.Context(), testApp); err != nil || len(all) != 1 || all[0].Unfinished {
				t.Errorf("list after all: %v %v", all, err)
			}
			if err := ring.Check(t.Context(), rec); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestLatePut is the answer that comes after the deadline: the key is stored
// although the creation was reported as timed out. The next creation takes it
// up instead of leaving it behind.
func TestLatePut(t *testing.T) {
	ring := newTestRing(t, Options{})
	real := ring.stores[File]
	ring.stores[File] = brokenStore{Store: real, put: func(ctx context.Context, ref Ref, pem []byte) error {
		return errors.Join(real.Put(ctx, ref, pem), ErrTimeout)
	}}
	if _, err := ring.Create(t.Context(), testApp, File); !errors.Is(err, ErrTimeout) {
		t.Fatal(err)
	}
	ring.stores[File] = real
	all, err := ring.List(t.Context(), testApp)
	if err != nil || len(all) != 1 || !all[0].Unfinished {
		t.Fatalf("list: %v %v", all, err)
	}
	rec, err := ring.Create(t.Context(), testApp, File)
	if err != nil || rec.KeyID != all[0].KeyID {
		t.Fatalf("create made %v instead of finishing %v: %v", rec.KeyID, all[0].KeyID, err)
	}
	if err := ring.Check(t.Context(), rec); err != nil {
		t.Error(err)
	}
}

func TestAbandon(t *testing.T) {
	ring := newTestRing(t, Options{})
	real := ring.stores[File]
	ring.stores[File] = brokenStore{Store: real, put: func(ctx context.Context, ref Ref, pem []byte) error {
		return errors.Join(real.Put(ctx, ref, pem), ErrTimeout)
	}}
	if _, err := ring.Create(t.Context(), testApp, File); !errors.Is(err, ErrTimeout) {
		t.Fatal(err)
	}
	all, _ := ring.List(t.Context(), testApp)
	if err := ring.Abandon(t.Context(), all[0]); err != nil {
		t.Fatal(err)
	}
	if has, err := real.Has(t.Context(), all[0].Ref()); has || err != nil {
		t.Errorf("the store still has it: %v %v", has, err)
	}
	if all, err := ring.List(t.Context(), testApp); len(all) != 0 || err != nil {
		t.Errorf("list: %v %v", all, err)
	}
	if err := ring.Abandon(t.Context(), all[0]); !errors.Is(err, ErrNotFound) {
		t.Errorf("abandon twice: %v", err)
	}
}

func TestConcurrentCreations(t *testing.T) {
	dir := t.TempDir()
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			ring := testRingIn(t, dir, Options{})
			if _, err := ring.Create(t.Context(), fmt.Sprintf("com.example.app%d", i%2), File); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	ring := testRingIn(t, dir, Options{})
	recs, err := ring.List(t.Context(), "")
	if err != nil || len(recs) != 4 {
		t.Fatalf("%d records, %v", len(recs), err)
	}
	for _, rec := range recs {
		if err := ring.Check(t.Context(), rec); err != nil || rec.Unfinished {
			t.Errorf("%+v: %v", rec, err)
		}
	}
}

func TestGivenKeyGoesFirst(t *testing.T) {
	ref, pem := testPair(t, 0)
	ring := newTestRing(t, Options{Environment: string(pem)})
	own, err := ring.Create(t.Context(), testApp, File)
	if err != nil {
		t.Fatal(err)
	}
	rec, err := ring.Find(t.Context(), testApp)
	if err != nil || rec.KeyID != ref.KeyID || rec.Store != Environment {
		t.Fatalf("find by app: %+v %v", rec, err)
	}
	if rec, err := ring.Find(t.Context(), own.KeyID); err != nil || rec.Store != File {
		t.Errorf("find by id: %+v %v", rec, err)
	}
	signer, err := ring.Signer(t.Context(), testApp)
	if err != nil || KeyID(signer.Public().(*rsa.PublicKey)) != ref.KeyID {
		t.Errorf("signer: %v %v", signer, err)
	}

	// A release names its key by id.
	signer, err = ring.Signer(t.Context(), ref.KeyID)
	if err != nil || KeyID(signer.Public().(*rsa.PublicKey)) != ref.KeyID {
		t.Errorf("signer by key id: %v %v", signer, err)
	}
	if _, err := ring.Signer(t.Context(), own.KeyID[:12]+"////////"); !errors.Is(err, ErrNotFound) {
		t.Errorf("signer of no key: %v", err)
	}

	bad := newTestRing(t, Options{Environment: "-----BEGIN RSA PRIVATE KEY-----\nhunter2\n-----END RSA PRIVATE KEY-----"})
	_, err = bad.Find(t.Context(), testApp)
	if !errors.Is(err, ErrMalformed) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a bad key in the environment: %v", err)
	}
	secret := newTestRing(t, Options{Environment: "hunter2"})
	if _, err = secret.Find(t.Context(), testApp); !errors.Is(err, ErrMalformed) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a secret in a wrong form: %v", err)
	}
}

func TestTakeEnvironment(t *testing.T) {
	t.Setenv(EnvironmentVariable, "first")
	if got := TakeEnvironment(); got != "first" {
		t.Fatal(got)
	}
	if v, set := os.LookupEnv(EnvironmentVariable); set {
		t.Errorf("%q stays for child processes", v)
	}
	if got := TakeEnvironment(); got != "first" {
		t.Errorf("second time: %q", got)
	}
	os.Setenv(EnvironmentVariable, "")
	if got := TakeEnvironment(); got != "" {
		t.Errorf("after it was emptied: %q", got)
	}
}

func TestKeyCommand(t *testing.T) {
	dir := t.TempDir()
	script := func(name, body string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body), 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	_, pem := testPair(t, 0)
	t.Setenv(EnvironmentVariable, "never inherited")
	for name, c := range map[string]struct{ path, code string }{
		"not there":   {filepath.Join(dir, "none"), "key_command_failed"},
		"fails":       {script("fails", "echo hunter2 >&2; echo hunter2; exit 3"), "key_command_failed"},
		"nothing":     {script("nothing", "exit 0"), "key_command_failed"},
		"too much":    {script("much", "yes hunter2 | head -c 200000"), "key_command_failed"},
		"not a key":   {script("text", "echo hunter2"), "key_malformed"},
		"environment": {script("env", `[ -z "$CAPSTAN_PRIVATE_KEY" ] || exit 9; cat <<'END'`+"\n"+string(pem)+"END"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			ring := newTestRing(t, Options{KeyCommand: []string{c.path}})
			_, err := ring.Signer(t.Context(), testApp)
			if c.code == "" && err != nil || c.code != "" && failure.CodeOf(err) != c.code {
				t.Errorf("%v, want code %q", err, c.code)
			}
			if err != nil && strings.Contains(err.Error()+failure.HintOf(err), "hunter2") {
				t.Errorf("the command's output is repeated: %v", err)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := runKeyCommand(ctx, []string{"sleep", "100"}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestSplitCommand(t *testing.T) {
	for line, want := range map[string][]string{
		"op read op://vault/key/pem": {"op", "read", "op://vault/key/pem"},
		`op  read "my vault" `:       {"op", "read", "my vault"},
		`a 'b "c' d\ e ""`:           {"a", `b "c`, "d e", ""},
	} {
		got, err := SplitCommand(line)
		if err != nil || strings.Join(got, "\x00") != strings.Join(want, "\x00") {
			t.Errorf("%s: %q %v", line, got, err)
		}
	}
	for _, line := range []string{"", "  ", `a "b`, `a \`} {
		if got, err := SplitCommand(line); failure.ExitStatus(err) != 2 {
			t.Errorf("%q: %q %v", line, got, err)
		}
	}
}

func TestPassphrases(t *testing.T) {
	dir := t.TempDir()
	rec, err := testRingIn(t, dir, Options{}).Create(t.Context(), testApp, File)
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	answer := "wrong passphrase"
	ring := testRingIn(t, dir, Options{Passphrase: func(context.Context, string) ([]byte, error) {
		asked++
		return []byte(answer), nil
	}})
	if _, err := ring.Signer(t.Context(), rec.KeyID); !errors.Is(err, ErrPassphraseWrong) || failure.ExitStatus(err) != 5 {
		t.Errorf("wrong passphrase: %v", err)
	}
	answer = "correct horse battery"
	for range 3 {
		if _, err := ring.Signer(t.Context(), rec.KeyID); err != nil {
			t.Fatal(err)
		}
	}
	if asked != 2 {
		t.Errorf("asked %d times", asked)
	}
	ring.Forget()
	if _, err := ring.Signer(t.Context(), rec.KeyID); err != nil || asked != 3 {
		t.Errorf("after forgetting: %v, asked %d times", err, asked)
	}
	nobody, err := NewRing(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nobody.Signer(t.Context(), rec.KeyID); !errors.Is(err, ErrPassphraseMissing) {
		t.Errorf("nobody to ask: %v", err)
	}
	if _, err := nobody.Create(t.Context(), "com.example.two", File); !errors.Is(err, ErrPassphraseMissing) {
		t.Errorf("create with nobody to ask: %v", err)
	}
	short := testRingIn(t, dir, Options{Passphrase: fixedPassphrase("short")})
	if _, err := short.Create(t.Context(), "com.example.two", File); failure.CodeOf(err) != "passphrase_weak" {
		t.Errorf("short passphrase: %v", err)
	}
	if all, _ := nobody.List(t.Context(), "com.example.two"); len(all) != 0 {
		t.Errorf("refused creations left %v", all)
	}
}

func TestKeyFileIsPrivateAndWhole(t *testing.T) {
	dir := t.TempDir()
	ring := testRingIn(t, dir, Options{})
	rec, err := ring.Create(t.Context(), testApp, File)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(rec.Location)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(text, []byte("RSA PRIVATE")) || !isArmored(text) || !underPassphrase(text) {
		t.Error("the key file is not an age file under a passphrase")
	}
	for path, mode := range map[string]os.FileMode{rec.Location: 0o600, filepath.Dir(rec.Location): 0o700, dir: 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v %v", path, info.Mode(), err)
		}
	}
	check := func(what, code string) {
		t.Helper()
		if err := testRingIn(t, dir, Options{}).Check(t.Context(), rec); failure.CodeOf(err) != code {
			t.Errorf("%s: %v, want %s", what, err, code)
		}
	}
	os.Chmod(rec.Location, 0o644)
	check("readable by others", "key_file_unsafe")
	os.Chmod(rec.Location, 0o600)
	for n := range len(text) {
		if n%97 != 0 && n != len(text)-1 {
			continue
		}
		os.WriteFile(rec.Location, text[:n], 0o600)
		if err := testRingIn(t, dir, Options{}).Check(t.Context(), rec); err == nil && n < len(bytes.TrimSpace(text)) {
			t.Errorf("a key file cut at %d of %d bytes is accepted", n, len(text))
		}
	}
	os.Remove(rec.Location)
	check("removed by hand", "key_not_found")
	os.Mkdir(rec.Location, 0o700)
	check("a folder", "key_file_unsafe")
	os.Remove(rec.Location)
	_, otherPEM := testPair(t, 1)
	sealed, err := sealPassphrase(otherPEM, []byte("correct horse battery"), 8)
	if err != nil {
		t.Fatal(err)
	}
	os.WriteFile(rec.Location, sealed, 0o600)
	check("another key in its place", "key_mismatch")
}

func TestIndexRefusesWhatItDoesNotKnow(t *testing.T) {
	for text, code := range map[string]string{"{": "key_index_damaged", "": "key_index_damaged", `{"version":2}`: "key_index_newer", `{"version":1,"keys":[{"created":5}]}`: "key_index_damaged"} {
		ring := newTestRing(t, Options{})
		os.WriteFile(filepath.Join(ring.dir, indexFile), []byte(text), 0o600)
		if _, err := ring.List(t.Context(), ""); failure.CodeOf(err) != code {
			t.Errorf("%q: %v, want %s", text, err, code)
		}
		if _, err := ring.Create(t.Context(), testApp, File); failure.CodeOf(err) != code {
			t.Errorf("create over %q: %v, want %s", text, err, code)
		}
		if back, _ := os.ReadFile(filepath.Join(ring.dir, indexFile)); string(back) != text {
			t.Errorf("%q was overwritten", text)
		}
	}
}

func TestWritePublic(t *testing.T) {
	ring := newTestRing(t, Options{})
	rec, err := ring.Create(t.Context(), testApp, File)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path, err := ring.WritePublic(t.Context(), rec, dir)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := os.ReadFile(path)
	if string(text) != rec.PublicPEM || filepath.Base(path) != ".capgo_key_v2.pub" {
		t.Errorf("%s holds %q", path, text)
	}
	if _, err := ring.WritePublic(t.Context(), rec, dir); err != nil {
		t.Errorf("again: %v", err)
	}
	other := t.TempDir()
	foreign, _ := os.ReadFile("testdata/second_key_v2.pub")
	os.WriteFile(filepath.Join(other, PublicFile), foreign, 0o644)
	if _, err := ring.WritePublic(t.Context(), rec, other); !errors.Is(err, ErrExists) || failure.ExitStatus(err) != 7 {
		t.Errorf("over another key: %v", err)
	}
	if back, _ := os.ReadFile(filepath.Join(other, PublicFile)); !bytes.Equal(back, foreign) {
		t.Error("another key was overwritten")
	}
	empty := t.TempDir()
	os.Remove(rec.Location)
	if _, err := testRingIn(t, ring.dir, Options{}).WritePublic(t.Context(), rec, empty); !errors.Is(err, ErrNotFound) {
		t.Errorf("without the private half: %v", err)
	}
	if left, _ := os.ReadDir(empty); len(left) != 0 {
		t.Errorf("half a pair: %v", left)
	}
}

func TestSecretsInFile(t *testing.T) {
	dir := t.TempDir()
	for _, kind := range []Kind{File, Keyring} {
		t.Run(string(kind), func(t *testing.T) {
			backend := &fakeKeyring{}
			ring := testRingIn(t, dir, Options{SecretKind: kind, testOnlyKeyring: backend})
			s := ring.SecretStore()
			name := "token:https://updates.example.com/" + string(kind)
			if _, err := s.Get(t.Context(), name); failure.CodeOf(err) != "secret_not_found" {
				t.Fatal(err)
			}
			for _, v := range []string{"one", "two"} {
				if err := s.Put(t.Context(), name, v); err != nil {
					t.Fatal(err)
				}
				if got, err := testRingIn(t, dir, Options{testOnlyKeyring: backend}).SecretStore().Get(t.Context(), name); got != v || err != nil {
					t.Fatalf("%q %v", got, err)
				}
			}
			if kind == Keyring {
				backend.fail = errors.New("failed to unlock correct collection '/x'")
				if _, err := s.Get(t.Context(), name); !errors.Is(err, ErrLocked) {
					t.Errorf("locked: %v", err)
				}
				backend.fail = nil
			} else if info, err := os.Stat(filepath.Join(dir, secretsFile)); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%v %v", info, err)
			}
			if err := s.Delete(t.Context(), name); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Get(t.Context(), name); failure.CodeOf(err) != "secret_not_found" {
				t.Fatal(err)
			}
			for _, bad := range []string{"", "a b", "../x\n", strings.Repeat("x", 300)} {
				if err := s.Put(t.Context(), bad, "v"); failure.ExitStatus(err) != 2 {
					t.Errorf("name %q: %v", bad, err)
				}
			}
			if err := s.Put(t.Context(), name, strings.Repeat("x", 5000)); failure.ExitStatus(err) != 2 {
				t.Errorf("a long secret: %v", err)
			}
		})
	}
}

func TestSignerShowsNothing(t *testing.T) {
	ref, pem := testPair(t, 0)
	key, err := ParsePrivate(pem)
	if err != nil {
		t.Fatal(err)
	}
	s := NewSigner(key)
	d := key.D.String()[:40]
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if out := fmt.Sprintf(format, s); strings.Contains(out, d) || !strings.Contains(out, ref.KeyID) {
			t.Errorf("%s prints %s", format, out)
		}
	}
}

func TestSignBatchIsSign(t *testing.T) {
	_, pem := testPair(t, 0)
	key, err := ParsePrivate(pem)
	if err != nil {
		t.Fatal(err)
	}
	with := NewSigner(key).(*signer)
	// As on a machine that signs one payload after the other.
	without := &signer{key, func() *multibuffer.Key { return nil }}
	payloads := [][]byte{[]byte("one"), []byte("two"), make([]byte, 48)}
	for _, s := range []*signer{with, without} {
		signed, err := s.SignBatch(payloads)
		if err != nil || len(signed) != len(payloads) {
			t.Fatalf("%d signatures: %v", len(signed), err)
		}
		for i, payload := range payloads {
			if want, err := s.Sign(nil, payload, crypto.Hash(0)); err != nil || !bytes.Equal(signed[i], want) {
				t.Errorf("signature %d is another (%v)", i, err)
			}
		}
		if signed, err := s.SignBatch([][]byte{payloads[0], make([]byte, 300)}); err == nil || signed != nil {
			t.Errorf("a payload that is too long: %d signatures", len(signed))
		}
	}
}

func TestLockHonoursItsContext(t *testing.T) {
	dir := t.TempDir()
	unlock, err := lock(t.Context(), dir, "lock")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := lock(ctx, dir, "lock"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("second lock: %v", err)
	}
	unlock()
	again, err := lock(t.Context(), dir, "lock")
	if err != nil {
		t.Fatal(err)
	}
	again()
}
