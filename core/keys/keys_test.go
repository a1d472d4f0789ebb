package keys

import (
	"crypto/rsa"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"capstan/internal/peers"
)

// The two pairs in testdata were made by the Capgo CLI and by Node.
func TestEncodingEqualsNode(t *testing.T) {
	for _, name := range []string{"capgo_key_v2", "second_key_v2"} {
		private, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		public, err := os.ReadFile(filepath.Join("testdata", name+".pub"))
		if err != nil {
			t.Fatal(err)
		}
		key, err := ParsePrivate(private)
		if err != nil {
			t.Fatal(err)
		}
		if string(EncodePrivate(key)) != string(private) || string(EncodePublic(&key.PublicKey)) != string(public) {
			t.Errorf("%s is not re-encoded byte for byte", name)
		}
		pub, err := ParsePublic(public)
		if err != nil || !pub.Equal(&key.PublicKey) {
			t.Errorf("public half: %v", err)
		}
		body := strings.Join(strings.Split(string(public), "\n")[1:], "")
		if KeyID(pub) != body[:20] {
			t.Errorf("key id %s, body %s", KeyID(pub), body[:20])
		}
		crlf := strings.ReplaceAll(string(private), "\n", "\r\n")
		if again, err := ParsePrivate([]byte(crlf)); err != nil || string(EncodePrivate(again)) != string(private) {
			t.Errorf("Windows line ends: %v", err)
		}
	}
}

// TestNodeReadsOurKeys lets Node's crypto import a new pair and export it again.
func TestNodeReadsOurKeys(t *testing.T) {
	node := peers.Program(t, "node", "install Node.js 22 or newer")
	dir := t.TempDir()
	key, err := Generate()
	if err != nil {
		t.Fatal(err)
	}
	if key.N.BitLen() != 2048 || key.E != 65537 {
		t.Fatal("policy")
	}
	private, public := filepath.Join(dir, "private"), filepath.Join(dir, "public")
	os.WriteFile(private, EncodePrivate(key), 0o600)
	os.WriteFile(public, EncodePublic(&key.PublicKey), 0o600)
	const script = `
const c = require('node:crypto'), fs = require('node:fs'), [priv, pub] = process.argv.slice(1).map(f => fs.readFileSync(f, 'utf8'));
const k = c.createPrivateKey(priv);
process.stdout.write(k.export({type: 'pkcs1', format: 'pem'}) + c.createPublicKey(pub).export({type: 'pkcs1', format: 'pem'}) + c.createPublicKey(k).export({type: 'pkcs1', format: 'pem'}));`
	out, err := exec.Command(node, "-e", script, private, public).Output()
	if err != nil {
		t.Fatal(err)
	}
	want := string(EncodePrivate(key)) + string(EncodePublic(&key.PublicKey)) + string(EncodePublic(&key.PublicKey))
	if string(out) != want {
		t.Errorf("Node writes\n%s\ncapstan writes\n%s", out, want)
	}
}

func TestFingerprintAndKeyID(t *testing.T) {
	ids := map[string]bool{}
	for range 3 {
		key, err := Generate()
		if err != nil {
			t.Fatal(err)
		}
		id, print := KeyID(&key.PublicKey), Fingerprint(&key.PublicKey)
		if len(id) != 20 || !strings.HasPrefix(id, "MIIBCgKCAQEA") || len(print) != 50 || ids[id] || ids[print] {
			t.Errorf("%s %s", id, print)
		}
		ids[id], ids[print] = true, true
	}
}

func FuzzParsePrivate(f *testing.F) {
	for _, name := range []string{"capgo_key_v2", "second_key_v2", "capgo_key_v2.pub"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	for _, c := range badPrivate(f) {
		f.Add(c.text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		key, err := ParsePrivate(text)
		if err != nil {
			refusal(t, err, text)
			return
		}
		accepted(t, &key.PublicKey)
		if _, err := ParsePrivate(EncodePrivate(key)); err != nil {
			t.Errorf("its own encoding is refused: %v", err)
		}
	})
}

func FuzzParsePublic(f *testing.F) {
	for _, name := range []string{"capgo_key_v2", "capgo_key_v2.pub", "second_key_v2.pub"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	for _, c := range badPublic(f) {
		f.Add(c.text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		key, err := ParsePublic(text)
		if err != nil {
			refusal(t, err, text)
			return
		}
		accepted(t, key)
		if again, err := ParsePublic(EncodePublic(key)); err != nil || !again.Equal(key) {
			t.Errorf("its own encoding is refused: %v", err)
		}
	})
}

// accepted holds a key that a parser accepted against the policy.
func accepted(t *testing.T, key *rsa.PublicKey) {
	t.Helper()
	if key.N.BitLen() != 2048 || key.E != 65537 || len(KeyID(key)) != 20 {
		t.Errorf("accepted %d bits, e=%d", key.N.BitLen(), key.E)
	}
	if block, rest := pem.Decode(EncodePublic(key)); block == nil || len(rest) != 0 {
		t.Error("no single block")
	}
}
