//go:build pkcs11

package cli

import (
	"os"
	"os/exec"
	"path/filepath"
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
	dir := keyHome(t)
	store := t.TempDir()
	writeTestFile(t, filepath.Join(store, "softhsm2.conf"), "directories.tokendir = "+store+"\n")
	t.Setenv("SOFTHSM2_CONF", filepath.Join(store, "softhsm2.conf"))
	if out, err := exec.Command(util, "--init-token", "--free", "--label", "release", "--pin", "123456", "--so-pin", "654321").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	pin := filepath.Join(store, "pin")
	writeTestFile(t, pin, "123456\n")
	t.Setenv("CAPSTAN_PASSPHRASE_FILE", pin)
	t.Setenv("CAPSTAN_PKCS11_MODULE", module)
	t.Setenv("CAPSTAN_PKCS11_TOKEN", "release")

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
}
