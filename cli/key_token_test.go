//go:build pkcs11

package cli

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"capstan/internal/peers"
)

// TestTokenSealsABundle: a key that a real token makes is an app's key by the
// command line: made, shown, checked, and used to seal what a device opens.
func TestTokenSealsABundle(t *testing.T) {
	util := peers.Program(t, "softhsm2-util", "apt-get install softhsm2")
	module := ""
	for _, path := range []string{"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so", "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so"} {
		if _, err := os.Stat(path); err == nil {
			module = path
		}
	}
	if module == "" {
		peers.Missing(t, "libsofthsm2.so", "apt-get install softhsm2")
	}
	const pin = "canary-pin-83914027"
	dir := keyHome(t)
	store := t.TempDir()
	writeTestFile(t, filepath.Join(store, "softhsm2.conf"), "directories.tokendir = "+store+"\n")
	t.Setenv("SOFTHSM2_CONF", filepath.Join(store, "softhsm2.conf"))
	if out, err := exec.Command(util, "--init-token", "--free", "--label", "release", "--pin", pin, "--so-pin", "654321").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	pinFile := filepath.Join(store, "pin")
	writeTestFile(t, pinFile, pin+"\n")
	t.Setenv("CAPSTAN_PASSPHRASE_FILE", pinFile)
	t.Setenv("CAPSTAN_PKCS11_MODULE", module)
	t.Setenv("CAPSTAN_PKCS11_TOKEN", "release")

	// A wrong one first: once a process is logged in, the token asks no more.
	t.Setenv("CAPSTAN_DEBUG", "1")
	writeTestFile(t, pinFile, "wrong-"+pin+"\n")
	if status, out, errOut := runText(t, "key", "create", "--store", "pkcs11"); status == 0 || strings.Contains(out+errOut, pin) {
		t.Errorf("with a wrong PIN: status %d, %s%s", status, out, errOut)
	}
	writeTestFile(t, pinFile, pin+"\n")
	made := mustKey(t, "key", "create", "--store", "pkcs11")
	if made["store"] != "pkcs11" || made["location"] != "token release, key capstan" {
		t.Errorf("%v", made)
	}
	mustKey(t, "key", "show", "--check")
	writeTestFile(t, filepath.Join(dir, "dist", "index.html"), "<html><script src=app.js></script></html>")
	writeTestFile(t, filepath.Join(dir, "dist", "app.js"), "CapacitorUpdater.notifyAppReady()")
	mustKey(t, "bundle", "zip", "--name", "a.zip")
	sealed := mustKey(t, "bundle", "encrypt", "a.zip")
	opened := mustKey(t, "bundle", "decrypt", "a.zip_encrypted.zip", sealed["ivSessionKey"].(string), "--checksum", sealed["checksum"].(string))
	if opened["verified"] != true || sealed["keyId"] != made["keyId"] {
		t.Errorf("sealed %v, opened %v", sealed, opened)
	}
	wantKey(t, 2, "key_not_exportable", "key", "export", "--out", filepath.Join(store, "out"))
	wantKey(t, 3, "key_not_found", "key", "backup", "--out", filepath.Join(store, "backup"))

	// The token's PIN is seen nowhere: not in what is printed, not in any file
	// that capstan keeps.
	if _, out, errOut := runText(t, "key", "show", "--check"); strings.Contains(out+errOut, pin) {
		t.Errorf("key show --check prints the PIN: %s%s", out, errOut)
	}
	files := 0
	for _, root := range []string{os.Getenv("CAPSTAN_HOME"), dir} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			files++
			text, err := os.ReadFile(path)
			if strings.Contains(string(text), pin) {
				t.Errorf("%s holds the PIN", path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files < 5 {
		t.Errorf("only %d files were looked into", files)
	}
}
