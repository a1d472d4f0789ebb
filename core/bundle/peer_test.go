package bundle

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"capstan/internal/peers"
)

// capgoProject is the smallest project that the real Capgo CLI takes; the
// plugin is a stub whose version decides the checksum's form.
type capgoProject struct {
	dir, script, node, home string
}

func newCapgoProject(t testing.TB, plugin string, files map[string][]byte) *capgoProject {
	t.Helper()
	p := &capgoProject{script: peers.CapgoCLI(t), node: peers.Program(t, "node", "install Node 20 or later"), home: t.TempDir()}
	all := map[string][]byte{
		"capacitor.config.json": []byte(`{"appId":"com.example.a","appName":"A","webDir":"dist","plugins":{"CapacitorUpdater":{}}}`),
		"package.json":          fmt.Appendf(nil, `{"name":"a","version":"1.2.3","private":true,"dependencies":{"@capgo/capacitor-updater":%q}}`, plugin),
		"node_modules/@capgo/capacitor-updater/package.json": fmt.Appendf(nil, `{"name":"@capgo/capacitor-updater","version":%q}`, plugin),
	}
	for name, content := range files {
		all["dist/"+name] = content
	}
	key := testKey()
	all["key.pem"] = pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	all["key.pub"] = publicPEM(key)
	p.dir = writeTree(t, all)
	return p
}

func publicPEM(key *rsa.PrivateKey) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&key.PublicKey)})
}

func (p *capgoProject) run(args ...string) (string, error) {
	cmd := exec.Command(p.node, append([]string{p.script}, args...)...)
	cmd.Dir = p.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.home, "CI=1", "NO_COLOR=1", "CAPGO_DISABLE_TELEMETRY=1", "CAPGO_DISABLE_POSTHOG=1"}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// runJSON parses the object that a command prints after any warnings.
func (p *capgoProject) runJSON(t testing.TB, into any, args ...string) {
	t.Helper()
	out, err := p.run(args...)
	at := strings.Index(out, "{")
	if err != nil || at < 0 {
		t.Fatalf("capgo %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	if err := json.NewDecoder(strings.NewReader(out[at:])).Decode(into); err != nil {
		t.Fatalf("capgo %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// TestBothWaysWithTheCapgoCLI: what we seal, the real CLI opens and verifies;
// what it zips and encrypts, we open and verify; and both make the same signed
// checksum of the same zip with the same key.
func TestBothWaysWithTheCapgoCLI(t *testing.T) {
	for _, test := range []struct {
		plugin string
		form   Form
	}{{"8.51.23", FormV3}, {"7.29.0", FormV2}} {
		t.Run(test.plugin, func(t *testing.T) {
			t.Parallel()
			files := sampleTree()
			p := newCapgoProject(t, test.plugin, files)
			ctx, pub := context.Background(), &testKey().PublicKey
			if got := FormFor(test.plugin); got != test.form {
				t.Fatalf("form for %s is %s", test.plugin, got)
			}

			plain, _ := packBytes(t, filepath.Join(p.dir, "dist"), Options{})
			var object bytes.Buffer
			sealed, err := PackSealed(ctx, filepath.Join(p.dir, "dist"), &object, testKey(), Options{})
			if err != nil {
				t.Fatal(err)
			}
			os.WriteFile(filepath.Join(p.dir, "ours.zip"), object.Bytes(), 0o644)
			out, err := p.run("bundle", "decrypt", "ours.zip", sealed.SessionKey, "--key", "key.pub", "--checksum", sealed.Checksum(test.form))
			if err != nil || !strings.Contains(out, "Checksum matches") {
				t.Fatalf("the CLI does not open what we sealed: %v\n%s", err, out)
			}
			if opened, err := os.ReadFile(filepath.Join(p.dir, "ours.zip_decrypted.zip")); err != nil || !bytes.Equal(opened, plain) {
				t.Errorf("the CLI opened another zip: %v", err)
			}

			var zip struct{ Filename, Checksum string }
			var enc struct{ Filename, Checksum, IVSessionKey string }
			p.runJSON(t, &zip, "bundle", "zip", "com.example.a", "--path", "dist", "--key-v2", "--json")
			p.runJSON(t, &enc, "bundle", "encrypt", zip.Filename, zip.Checksum, "--key", "key.pem", "--json")
			theirs, err := os.ReadFile(filepath.Join(p.dir, zip.Filename))
			if err != nil {
				t.Fatal(err)
			}
			theirObject, err := os.ReadFile(filepath.Join(p.dir, enc.Filename))
			if err != nil {
				t.Fatal(err)
			}
			sum, form, err := RecoverChecksum(pub, enc.Checksum)
			if err != nil || form != test.form || hexSum(theirs) != zip.Checksum {
				t.Fatalf("its checksum reads as %s: %v", form, err)
			}
			var back bytes.Buffer
			got, _, err := Decrypt(ctx, bytes.NewReader(theirObject), &back, enc.IVSessionKey, pub)
			if err != nil || got != sum || !bytes.Equal(back.Bytes(), theirs) {
				t.Errorf("we do not open what the CLI encrypted: %v", err)
			}
			a, err := CheckArchive(ctx, bytes.NewReader(theirs), int64(len(theirs)))
			if err != nil || len(a.Files) != len(files) {
				t.Errorf("its zip: %v", err)
			}
			resealed, err := Seal(ctx, bytes.NewReader(theirs), &bytes.Buffer{}, testKey(), nil)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "our checksum of its zip", resealed.Checksum(test.form), enc.Checksum)

			// Both refuse a damaged object and a value signed by another key.
			bad := bytes.Clone(object.Bytes())
			bad[len(bad)/2] ^= 1
			os.WriteFile(filepath.Join(p.dir, "bad.zip"), bad, 0o644)
			if out, err := p.run("bundle", "decrypt", "bad.zip", sealed.SessionKey, "--key", "key.pub", "--checksum", sealed.Checksum(test.form)); err == nil {
				t.Errorf("the CLI takes a damaged object:\n%s", out)
			}
		})
	}
}
