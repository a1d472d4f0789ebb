package cli

import (
	"bytes"
	"crypto/rsa"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"capstan/core/bundle"
	"capstan/core/keys"
)

// sealProject is a small project whose key pair lies where the Capgo CLI leaves it.
func sealProject(t *testing.T, plugin string) (dir string, key *rsa.PrivateKey) {
	t.Helper()
	dir = t.TempDir()
	key, err := keys.Generate()
	if err != nil {
		t.Fatal(err)
	}
	pub := strings.ReplaceAll(string(keys.EncodePublic(&key.PublicKey)), "\n", `\n`)
	for name, content := range map[string]string{
		"capacitor.config.json": `{"appId":"com.example.a","appName":"A","webDir":"dist","plugins":{"CapacitorUpdater":{"publicKey":"` + pub + `"}}}`,
		"package.json":          `{"name":"a","version":"1.2.3","private":true,"dependencies":{"@capgo/capacitor-updater":"` + plugin + `"}}`,
		"node_modules/@capgo/capacitor-updater/package.json": `{"name":"@capgo/capacitor-updater","version":"` + plugin + `"}`,
		"dist/index.html": "<!doctype html>", "dist/app.js": "CapacitorUpdater.notifyAppReady()", "dist/app.js.map": "{}",
		privateKeyFile: string(keys.EncodePrivate(key)), publicKeyFile: string(keys.EncodePublic(&key.PublicKey)),
	} {
		path := filepath.Join(dir, name)
		os.MkdirAll(filepath.Dir(path), 0o755)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	return dir, key
}

// runJSON runs a command that must succeed and decodes what it printed.
func runJSON(t *testing.T, into any, args ...string) {
	t.Helper()
	status, out, errOut := runIn(t, append(args, "--json")...)
	if status != 0 {
		t.Fatalf("%v: status %d: %s", args, status, errOut)
	}
	decode(t, out, into)
}

// fails runs a command that must fail with an exit status and a code, and leave nothing behind.
func fails(t *testing.T, status int, code string, args ...string) {
	t.Helper()
	before, _ := os.ReadDir(".")
	got, out, errOut := runIn(t, append(args, "--json")...)
	if got != status || !strings.Contains(errOut, `"code":"`+code+`"`) || out != "" && !strings.Contains(out, `"verified":false`) {
		t.Errorf("%v: status %d, want %d and %s: %s%s", args, got, status, code, out, errOut)
	}
	if strings.Contains(errOut, "PRIVATE KEY") {
		t.Errorf("%v prints a key", args)
	}
	if after, _ := os.ReadDir("."); len(after) != len(before) {
		t.Errorf("%v leaves something behind: %v", args, after)
	}
}

func TestBundleZipEncryptDecryptVerify(t *testing.T) {
	for plugin, form := range map[string]bundle.Form{"8.51.23": bundle.FormV3, "7.29.0": bundle.FormV2} {
		t.Run(plugin, func(t *testing.T) {
			_, key := sealProject(t, plugin)
			var zip zipResult
			runJSON(t, &zip, "bundle", "zip")
			if zip.Bundle != "1.2.3" || zip.Filename != "com.example.a_1.2.3.zip" || zip.Files != 2 {
				t.Errorf("zip: %+v", zip)
			}
			var enc encryptResult
			runJSON(t, &enc, "bundle", "encrypt", zip.Filename, zip.Checksum)
			if enc.Filename != zip.Filename+"_encrypted.zip" || enc.KeyID != keys.KeyID(&key.PublicKey) || enc.PlainChecksum != zip.Checksum || len(enc.IVSessionKey) != 369 {
				t.Errorf("encrypt: %+v", enc)
			}
			if _, got, err := bundle.RecoverChecksum(&key.PublicKey, enc.Checksum); err != nil || got != form {
				t.Errorf("the checksum has form %s: %v", got, err)
			}
			var dec decryptResult
			runJSON(t, &dec, "bundle", "decrypt", enc.Filename, enc.IVSessionKey, "--checksum", enc.Checksum)
			if !dec.Verified || dec.Checksum != zip.Checksum || dec.Filename != enc.Filename+"_decrypted.zip" {
				t.Errorf("decrypt: %+v", dec)
			}
			a, _ := os.ReadFile(zip.Filename)
			if b, err := os.ReadFile(dec.Filename); err != nil || !bytes.Equal(a, b) {
				t.Errorf("another zip came back: %v", err)
			}
			var one, all verifyResult
			runJSON(t, &one, "bundle", "verify", enc.Filename, "--session-key", enc.IVSessionKey, "--checksum", enc.Checksum, "--plugin-version", plugin)
			runJSON(t, &all, "bundle", "verify", enc.Filename, "--session-key", enc.IVSessionKey, "--checksum", enc.Checksum)
			if !one.Verified || len(one.Verdicts) != 2 || len(one.Steps) < 3 || !all.Verified || len(all.Verdicts) != 2*len(fieldVersions) {
				t.Errorf("verify: %+v\n%+v", one, all)
			}
			for _, v := range all.Verdicts {
				if want := bundle.FormFor(v.PluginVersion) == form; v.Installed != want {
					t.Errorf("%s on %s installs: %v", v.PluginVersion, v.Platform, v.Installed)
				}
			}

			// In one pass: the same zip inside.
			var sealed zipResult
			runJSON(t, &sealed, "bundle", "zip", "--encrypt", "--name", "one.zip")
			if sealed.Checksum != zip.Checksum || sealed.EncryptedChecksum != enc.Checksum || sealed.ObjectSHA256 == enc.ObjectSHA256 {
				t.Errorf("one pass: %+v", sealed)
			}
			runJSON(t, &dec, "bundle", "decrypt", "one.zip", sealed.IVSessionKey, "--checksum", sealed.EncryptedChecksum)
			if !dec.Verified {
				t.Error("what one pass made is not verified")
			}

			// Text for people holds the same.
			for _, args := range [][]string{{"bundle", "inspect", zip.Filename}, {"bundle", "diff", zip.Filename, "dist"}, {"bundle", "verify", enc.Filename, "--session-key", enc.IVSessionKey, "--checksum", enc.Checksum}, {"bundle", "encrypt", zip.Filename}, {"bundle", "zip"}} {
				if status, out, errOut := runIn(t, args...); status != 0 || out == "" || strings.Contains(out, "\x1b") {
					t.Errorf("%v: status %d\n%s%s", args, status, out, errOut)
				}
			}
		})
	}
}

func TestBundleLocalRefusals(t *testing.T) {
	dir, key := sealProject(t, "8.51.23")
	var zip zipResult
	var enc encryptResult
	runJSON(t, &zip, "bundle", "zip")
	runJSON(t, &enc, "bundle", "encrypt", zip.Filename)
	other, err := keys.Generate()
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	object, _ := os.ReadFile(enc.Filename)
	flipped := bytes.Clone(object)
	flipped[40] ^= 1
	write("flipped.zip", flipped)
	write("cut.zip", object[:len(object)-16])
	write("other.pem", keys.EncodePrivate(other))
	write("other.pub", keys.EncodePublic(&other.PublicKey))
	write("not.zip", []byte(strings.Repeat("no zip ", 20)))

	fails(t, 3, "folder_missing", "bundle", "zip", "--path", "gone")
	fails(t, 2, "version_malformed", "bundle", "zip", "--bundle", "v1.0")
	fails(t, 2, "level_unknown", "bundle", "zip", "--level", "11")
	fails(t, 3, "no_index_html", "bundle", "zip", "--path", "node_modules")
	fails(t, 3, "zip_not_found", "bundle", "encrypt", "gone.zip")
	fails(t, 6, "zip_truncated", "bundle", "encrypt", "not.zip")
	fails(t, 6, "checksum_mismatch", "bundle", "encrypt", zip.Filename, strings.Repeat("0", 64))
	fails(t, 2, "checksum_malformed", "bundle", "encrypt", zip.Filename, "nothex")
	fails(t, 2, "format_unknown", "bundle", "encrypt", zip.Filename, "--checksum-format", "v4")
	fails(t, 7, "key_mismatch", "bundle", "encrypt", zip.Filename, "--key", "other.pem")
	fails(t, 3, "key_not_found", "bundle", "encrypt", zip.Filename, "--key", "gone.pem")
	fails(t, 6, "session_key_malformed", "bundle", "decrypt", enc.Filename, "nonsense")
	fails(t, 6, "session_key_refused", "bundle", "decrypt", enc.Filename, enc.IVSessionKey, "--key", "other.pub")
	fails(t, 6, "checksum_mismatch", "bundle", "decrypt", "flipped.zip", enc.IVSessionKey, "--checksum", enc.Checksum)
	fails(t, 6, "bundle_damaged", "bundle", "decrypt", "cut.zip", enc.IVSessionKey)
	fails(t, 6, "checksum_fail", "bundle", "verify", "flipped.zip", "--session-key", enc.IVSessionKey, "--checksum", enc.Checksum, "--plugin-version", "8.51.23")

	// What Capgo's scripts pass along still works.
	var again zipResult
	runJSON(t, &again, "bundle", "zip", "com.example.b", "-p", "dist", "-b", "2.0.0", "-n", "named.zip", "--no-code-check", "--key-v2")
	if again.Filename != "named.zip" || again.Bundle != "2.0.0" || again.Checksum != zip.Checksum {
		t.Errorf("zip by Capgo's flags: %+v", again)
	}
	runJSON(t, &enc, "bundle", "encrypt", zip.Filename, "--key", "other.pem", "--any-key", "--checksum-format", "v2")
	if enc.ChecksumFormat != bundle.FormV2 || enc.KeyID == keys.KeyID(&key.PublicKey) {
		t.Errorf("with another key: %+v", enc)
	}
	os.WriteFile("dist/app.js", []byte("nothing"), 0o600)
	fails(t, 1, "no_notify_app_ready", "bundle", "zip")
	runJSON(t, &again, "bundle", "zip", "--reason", "a page without script")
	if again.Reason == "" {
		t.Error("the reason is not kept")
	}
}
