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
	token := Token{Module: softHSM(t, key), Label: "capstan test", Key: "updates", PIN: fixedPassphrase("123456")}
	s, err := OpenToken(t.Context(), token)
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
		bend func(*Token)
		code string
	}{
		"wrong PIN":     {func(t *Token) { t.PIN = fixedPassphrase("000000") }, "passphrase_wrong"},
		"nobody to ask": {func(t *Token) { t.PIN = nil }, "passphrase_missing"},
		"no such token": {func(t *Token) { t.Label = "none" }, "token_absent"},
		"no such key":   {func(t *Token) { t.Key = "none" }, "key_not_found"},
		"no library":    {func(t *Token) { t.Module = "/nonexistent.so" }, "token_absent"},
	} {
		bent := token
		c.bend(&bent)
		var f *failure.Error
		if _, err := OpenToken(t.Context(), bent); !errors.As(err, &f) || f.Code != c.code {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
}
