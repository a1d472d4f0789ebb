package cli

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"capstan/core/bundle"
	"capstan/core/failure"
	"capstan/core/keys"
	"capstan/core/release"
	"capstan/internal/peers"
)

// oldProject turns the test project into one of the first scheme, with its key
// in the config and beside it, as the old Capgo CLI leaves them.
func oldProject(t *testing.T, dir, plugin string) (pem []byte) {
	t.Helper()
	key, err := keys.Generate()
	if err != nil {
		t.Fatal(err)
	}
	pem = keys.EncodePrivate(key)
	config, err := json.Marshal(map[string]any{"appId": testApp, "appName": "Old", "webDir": "www", "plugins": map[string]any{"CapacitorUpdater": map[string]any{"privateKey": string(pem)}}})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"capacitor.config.json": string(config), keys.PrivateFileV1: string(pem), keys.PublicFileV1: string(keys.EncodePublic(&key.PublicKey)),
		"www/index.html": "<html><script src=app.js></script></html>", "www/app.js": "CapacitorUpdater.notifyAppReady()",
		"package.json": `{"name":"old","version":"1.0.0","dependencies":{"@capgo/capacitor-updater":"` + plugin + `"}}`,
		"node_modules/@capgo/capacitor-updater/package.json": `{"name":"@capgo/capacitor-updater","version":"` + plugin + `"}`,
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		writeTestFile(t, path, text)
	}
	return pem
}

// TestFirstSchemeWithTheCapgoCLI: what each of the two encrypts, the other opens.
func TestFirstSchemeWithTheCapgoCLI(t *testing.T) {
	script, node := peers.CapgoCLIV1(t), peers.Program(t, "node", "install Node 20 or later")
	dir := keyHome(t)
	capgo := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(node, append([]string{script}, args...)...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "HOME="+t.TempDir(), "CI=1", "NO_COLOR=1") // it looks for a newer release of itself, by the machine's own way out
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("capgo %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	writeTestFile(t, filepath.Join(dir, "dist", "index.html"), "<html><script src=app.js></script></html>")
	writeTestFile(t, filepath.Join(dir, "dist", "app.js"), "CapacitorUpdater.notifyAppReady()")
	capgo("key", "create")
	capgo("bundle", "zip", "com.example.app", "--path", "dist", "--bundle", "1.2.3", "--name", "theirs.zip", "--no-code-check", "--json")
	session := regexp.MustCompile(`ivSessionKey: (\S+)`).FindStringSubmatch(capgo("bundle", "encrypt", "theirs.zip"))
	if session == nil {
		t.Fatal("the Capgo CLI printed no session key")
	}
	got := mustKey(t, "bundle", "decrypt", "theirs.zip_encrypted.zip", session[1], "--format", "v1")
	sameFiles(t, "theirs.zip", got["filename"].(string))

	mustKey(t, "bundle", "zip", "com.example.app", "--name", "ours.zip")
	ours := mustKey(t, "bundle", "encrypt", "ours.zip", "--format", "v1", "--key", keys.PublicFileV1)
	capgo("bundle", "decrypt", "ours.zip_encrypted.zip", ours["ivSessionKey"].(string))
	sameFiles(t, "ours.zip", "ours.zip_encrypted.zip_decrypted.zip")
}

func sameFiles(t *testing.T, a, b string) {
	t.Helper()
	x, errX := os.ReadFile(a)
	y, errY := os.ReadFile(b)
	if errX != nil || errY != nil || len(x) == 0 || !bytes.Equal(x, y) {
		t.Errorf("%s and %s differ: %v %v", a, b, errX, errY)
	}
}

// TestFirstSchemeUpload releases to a device that knows nothing newer: a real
// server answers it, and what it downloads opens with the key in the app.
func TestFirstSchemeUpload(t *testing.T) {
	c := newCommands(t)
	pem := oldProject(t, c.dir, "6.1.17")
	if status, _, errs := c.run("", "app", "add", testApp, "--name", "Old"); status != 0 {
		t.Fatal(errs)
	}
	if status, _, errs := c.run("", "channel", "add", "production", testApp, "--default"); status != 0 {
		t.Fatal(errs)
	}
	status, out, errs := c.run("", "bundle", "upload", "--format", "v1", "--channel", "production", "--bundle", "1.1.0", "--json")
	if status != 0 || strings.Contains(out+errs, "PRIVATE KEY") {
		t.Fatalf("status %d\n%s%s", status, out, errs)
	}
	var uploaded release.Result
	if err := json.Unmarshal([]byte(out), &uploaded); err != nil || len(uploaded.Warnings) == 0 || !strings.Contains(uploaded.Warnings[0], "vouches for nothing") {
		t.Fatalf("%s: %v", out, err)
	}
	ask := `{"app_id":"` + testApp + `","device_id":"6c3f1a52-0d1e-4a4e-9f0c-3f8f9b6f1d11","platform":"android","version_name":"builtin","version_build":"1.0.0","version_os":"13","version_code":"1","plugin_version":"6.1.17","is_emulator":false,"is_prod":true,"custom_id":""}`
	answer, err := http.Post(c.server.BaseURL+"/updates", "application/json", strings.NewReader(ask))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var offer struct {
		Version, URL, Checksum string
		SessionKey             string `json:"session_key"`
	}
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &offer); err != nil || offer.Version != "1.1.0" || offer.Checksum != uploaded.CRC32 || len(offer.Checksum) != 8 {
		t.Fatalf("the device hears %s: %v", text, err)
	}
	object, err := http.Get(offer.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer object.Body.Close()
	key, err := keys.ParsePrivate(pem)
	if err != nil {
		t.Fatal(err)
	}
	iv, session, err := bundle.RecoverSessionKeyV1(key, offer.SessionKey)
	if err != nil {
		t.Fatal(err)
	}
	var plain bytes.Buffer
	opened, err := bundle.OpenV1(t.Context(), object.Body, &plain, iv, session)
	if err != nil || !opened.Has(offer.Checksum) {
		t.Fatalf("%+v: %v", opened, err)
	}
	if _, err := bundle.CheckArchive(t.Context(), bytes.NewReader(plain.Bytes()), int64(plain.Len())); err != nil {
		t.Error(err)
	}

	// The key in the app's own config is enough for the proof.
	if err := os.Remove(filepath.Join(c.dir, keys.PrivateFileV1)); err != nil {
		t.Fatal(err)
	}
	status, out, errs = c.run("", "release", "--format", "v1", "--channel", "production", "--bundle", "1.1.1", "--json")
	if status != 0 || !strings.Contains(out, `"installed":true`) || strings.Contains(out+errs, "PRIVATE KEY") {
		t.Errorf("status %d\n%s%s", status, out, errs)
	}
}

// TestFirstSchemeRefusals: where the first scheme would not work, or where its
// key is taken for one that signs.
func TestFirstSchemeRefusals(t *testing.T) {
	dir := keyHome(t)
	oldProject(t, dir, "6.1.17")
	t.Chdir(dir)
	mustKey(t, "bundle", "zip", "--name", "a.zip")
	for name, c := range map[string]struct {
		plugin, code string
		status       int
		args         []string
	}{
		"no such format":      {"6.1.17", "format_unknown", 2, []string{"bundle", "encrypt", "a.zip", "--format", "v9"}},
		"another checksum":    {"6.1.17", "checksum_mismatch", 6, []string{"bundle", "encrypt", "a.zip", "00000000", "--format", "v1"}},
		"the plugin is newer": {"8.51.23", "format_unread", 7, []string{"bundle", "encrypt", "a.zip", "--format", "v1"}},
		"after 7.0.1":         {"7.0.2", "format_unread", 7, []string{"bundle", "encrypt", "a.zip", "--format", "v1"}},
		"another's private":   {"6.1.17", "session_key_malformed", 6, []string{"bundle", "decrypt", "a.zip", "AAAA:AAAA", "--format", "v1"}},
		"external and v1":     {"6.1.17", "usage", 2, []string{"bundle", "upload", "--format", "v1", "--external", "https://example.com/a.zip"}},
		"a plain file as key": {"6.1.17", "key_malformed", 2, []string{"bundle", "encrypt", "a.zip", "--format", "v1", "--key", "package.json"}},
		"encrypted with both": {"6.20.0", "", 0, []string{"bundle", "encrypt", "a.zip", "--format", "v1"}},
	} {
		t.Run(name, func(t *testing.T) {
			writeTestFile(t, filepath.Join(dir, "node_modules/@capgo/capacitor-updater/package.json"), `{"name":"@capgo/capacitor-updater","version":"`+c.plugin+`"}`)
			if c.status == 0 {
				mustKey(t, c.args...)
				return
			}
			wantKey(t, c.status, c.code, c.args...)
		})
	}
}

// TestFirstSchemeKeyFromTheRing: an imported key opens and encrypts bundles of
// its scheme, and never signs one of the second.
func TestFirstSchemeKeyFromTheRing(t *testing.T) {
	dir := keyHome(t)
	oldProject(t, dir, "6.1.17")
	t.Chdir(dir)
	mustKey(t, "bundle", "zip", "--name", "a.zip")
	imported := mustKey(t, "key", "import", keys.PrivateFileV1)
	ring, err := (&Command{}).ring()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ring.Signer(t.Context(), imported["keyId"].(string)); failure.CodeOf(err) != "key_scheme" {
		t.Errorf("it signs: %v", err)
	}
	if _, err := ring.Find(t.Context(), testApp); failure.CodeOf(err) != "key_not_found" {
		t.Errorf("it is the app's current key: %v", err)
	}
	for _, name := range []string{keys.PrivateFileV1, keys.PublicFileV1} {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	sealed := mustKey(t, "bundle", "encrypt", "a.zip", "--format", "v1")
	got := mustKey(t, "bundle", "decrypt", "a.zip_encrypted.zip", sealed["ivSessionKey"].(string), "--format", "v1", "--checksum", sealed["checksum"].(string))
	sameFiles(t, "a.zip", got["filename"].(string))
	wantKey(t, 6, "checksum_mismatch", "bundle", "decrypt", "a.zip_encrypted.zip", sealed["ivSessionKey"].(string), "--format", "v1", "--checksum", "00000000")
}

// TestKeyFilesOfTheRoot works in a folder below the project's root: the files
// that the Capgo CLI left at the root are found, in both schemes.
func TestKeyFilesOfTheRoot(t *testing.T) {
	dir := keyHome(t)
	oldProject(t, dir, "6.1.18")
	mustKey(t, "bundle", "zip", "com.example.app", "--path", "www", "--bundle", "1.2.3", "--name", "below.zip")
	current, err := keys.Generate()
	if err != nil {
		t.Fatal(err)
	}
	writeTestFile(t, filepath.Join(dir, keys.PrivateFile), string(keys.EncodePrivate(current)))
	if err := os.Rename("below.zip", filepath.Join("www", "below.zip")); err != nil {
		t.Fatal(err)
	}
	t.Chdir(filepath.Join(dir, "www"))

	first := mustKey(t, "bundle", "encrypt", "below.zip", "--format", "v1")
	opened := mustKey(t, "bundle", "decrypt", "below.zip_encrypted.zip", first["ivSessionKey"].(string), "--format", "v1")
	sameFiles(t, "below.zip", opened["filename"].(string))

	second := mustKey(t, "bundle", "encrypt", "below.zip")
	if second["keyId"] != keys.KeyID(&current.PublicKey) {
		t.Errorf("encrypted with %v, the root has %s", second["keyId"], keys.KeyID(&current.PublicKey))
	}
}
