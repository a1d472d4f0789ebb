//go:build pkcs11

package keys

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"capstan/core/failure"
	"capstan/internal/peers"
)

// softHSM makes a token in a folder of its own and puts a key on it.
func softHSM(t *testing.T, key *rsa.PrivateKey) (module string) {
	t.Helper()
	util := peers.Program(t, "softhsm2-util", "apt-get install softhsm2")
	for _, path := range []string{"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so", "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so"} {
		if _, err := os.Stat(path); err == nil {
			module = path
		}
	}
	if module == "" {
		peers.Missing(t, "libsofthsm2.so", "apt-get install softhsm2")
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "softhsm2.conf")
	if err := os.Mkdir(filepath.Join(dir, "tokens"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, []byte("directories.tokendir = "+filepath.Join(dir, "tokens")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", config)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "key.pem")
	if err := os.WriteFile(file, block("PRIVATE KEY", der), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"--init-token", "--free", "--label", "capstan test", "--pin", "123456", "--so-pin", "654321"},
		{"--import", file, "--token", "capstan test", "--label", "updates", "--id", "01", "--pin", "123456"},
	} {
		if out, err := exec.Command(util, args...).CombinedOutput(); err != nil {
			t.Fatalf("softhsm2-util %s: %v\n%s", args[0], err, out)
		}
	}
	return module
}

// TestTokenSignsLikeSoftware compares a token's raw signatures with those of
// the same key in software, byte for byte.
func TestTokenSignsLikeSoftware(t *testing.T) {
	_, pem := testPair(t, 0)
	key, err := ParsePrivate(pem)
	if err != nil {
		t.Fatal(err)
	}
	token, pin := TokenKey{Module: softHSM(t, key), Token: "capstan test", Key: "updates"}, fixedPassphrase("123456")
	s, err := OpenToken(t.Context(), token, pin)
	if err != nil {
		t.Fatal(err)
	}
	if KeyID(s.Public().(*rsa.PublicKey)) != KeyID(&key.PublicKey) {
		t.Error("another key")
	}
	for i := range 500 {
		message := make([]byte, []int{16, 32, 48}[i%3])
		rand.Read(message)
		got, err := s.Sign(nil, message, crypto.Hash(0))
		if err != nil {
			t.Fatal(err)
		}
		want, err := key.Sign(nil, message, crypto.Hash(0))
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("message %d: the signatures differ, %v", i, err)
		}
	}
	if _, err := s.Sign(nil, make([]byte, 32), crypto.SHA256); failure.CodeOf(err) != "signature_unsupported" {
		t.Errorf("with a digest: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}

	for name, c := range map[string]struct {
		bend func(*TokenKey, *Ask)
		code string
	}{
		"wrong PIN":     {func(_ *TokenKey, pin *Ask) { *pin = fixedPassphrase("000000") }, "passphrase_wrong"},
		"nobody to ask": {func(_ *TokenKey, pin *Ask) { *pin = nil }, "passphrase_missing"},
		"no such token": {func(t *TokenKey, _ *Ask) { t.Token = "none" }, "token_absent"},
		"no such key":   {func(t *TokenKey, _ *Ask) { t.Key = "none" }, "key_not_found"},
		"no library":    {func(t *TokenKey, _ *Ask) { t.Module = "/nonexistent.so" }, "token_absent"},
	} {
		bent, ask := token, pin
		c.bend(&bent, &ask)
		var f *failure.Error
		if _, err := OpenToken(t.Context(), bent, ask); !errors.As(err, &f) || f.Code != c.code {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
}

// TestTokenInTheRing: a key that a token makes, and one that it has, are keys
// like others, except that they never leave.
func TestTokenInTheRing(t *testing.T) {
	_, pem := testPair(t, 0)
	key, err := ParsePrivate(pem)
	if err != nil {
		t.Fatal(err)
	}
	place := TokenKey{Module: softHSM(t, key), Token: "capstan test", Key: "updates"}
	dir := t.TempDir()
	open := func(pin string) *Ring {
		t.Helper()
		ring, err := NewRing(dir, Options{Passphrase: fixedPassphrase(pin), WorkFactor: 8})
		if err != nil {
			t.Fatal(err)
		}
		return ring
	}
	ring := open("123456")
	adopted, err := ring.AdoptToken(t.Context(), testApp, place)
	if err != nil || adopted.KeyID != KeyID(&key.PublicKey) || !adopted.Imported {
		t.Fatalf("adopt: %+v %v", adopted, err)
	}
	if _, err := ring.AdoptToken(t.Context(), testApp, place); !errors.Is(err, ErrExists) {
		t.Errorf("adopt twice: %v", err)
	}
	if _, err := ring.CreateOnToken(t.Context(), testApp, place); !errors.Is(err, ErrExists) {
		t.Errorf("make under a label that is taken: %v", err)
	}
	made := place
	made.Key = "made here"
	created, err := ring.CreateOnToken(t.Context(), testApp, made)
	if err != nil || created.KeyID == adopted.KeyID || created.Store != PKCS11 {
		t.Fatalf("create: %+v %v", created, err)
	}

	// Another run finds both by what the index says, and asks for the PIN.
	ring.Forget()
	if _, err := open("000000").Signer(t.Context(), adopted.KeyID); !errors.Is(err, ErrPassphraseWrong) {
		t.Errorf("with a wrong PIN: %v", err)
	}
	ring = open("123456")
	for _, rec := range []Record{adopted, created} {
		if err := ring.Check(t.Context(), rec); err != nil {
			t.Errorf("check: %v", err)
		}
		signer, err := ring.Signer(t.Context(), rec.KeyID)
		if err != nil {
			t.Fatal(err)
		}
		message := bytes.Repeat([]byte{7}, 32)
		signature, err := signer.Sign(nil, message, crypto.Hash(0))
		if err != nil {
			t.Fatal(err)
		}
		public, err := rec.Public()
		if err != nil || rsa.VerifyPKCS1v15(public, crypto.Hash(0), message, signature) != nil {
			t.Errorf("the signature of %s does not verify: %v", rec.KeyID, err)
		}
		if err := ring.Export(t.Context(), rec, Envelope{}, filepath.Join(dir, "out")); failure.CodeOf(err) != "key_not_exportable" {
			t.Errorf("export: %v", err)
		}
	}
	if found, err := ring.Find(t.Context(), testApp); err != nil || found.LastUsed.IsZero() {
		t.Errorf("the app's key: %+v %v", found, err)
	}
	if _, err := ring.WritePublic(t.Context(), created, dir); err != nil {
		t.Error(err)
	}
	if err := ring.Remove(t.Context(), adopted); err != nil {
		t.Error(err)
	}
	if _, err := ring.AdoptToken(t.Context(), testApp, place); err != nil {
		t.Errorf("forgotten, the key is still on the token: %v", err)
	}
	ring.Forget()
}
