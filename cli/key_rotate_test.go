package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"capstan/core/keys"
)

// TestRotationCountsDevices takes an app from one key to another: bundles stay
// sealed with the old key while the config holds the new one already, and a real
// server tells how many devices still carry the old.
func TestRotationCountsDevices(t *testing.T) {
	c := newCommands(t)
	testOnlyWorkFactor = 8
	t.Cleanup(func() { testOnlyWorkFactor = 0 })
	passphrase := filepath.Join(t.TempDir(), "passphrase")
	writeTestFile(t, passphrase, "correct horse battery staple\n")
	t.Setenv("CAPSTAN_PASSPHRASE_FILE", passphrase)
	t.Setenv("CAPSTAN_KEY_STORE", "file")
	t.Setenv(keys.EnvironmentVariable, "")
	writeTestFile(t, filepath.Join(c.dir, "www", "app.js"), "CapacitorUpdater.notifyAppReady()")
	must := func(args ...string) map[string]any {
		t.Helper()
		status, out, errs := c.run("", append(args, "--json")...)
		if status != 0 {
			t.Fatalf("%v: status %d, %s", args, status, errs)
		}
		var result map[string]any
		lines := strings.Split(strings.TrimSpace(out), "\n")
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &result); err != nil {
			t.Fatalf("%v: %s", args, out)
		}
		return result
	}
	old := must("key", "create")["keyId"].(string)
	must("release", "--channel", "production", "--create-app")

	// The new key: into the config for the next native build.
	if err := os.Remove(filepath.Join(c.dir, keys.PublicFile)); err != nil {
		t.Fatal(err)
	}
	ring, err := (&Command{}).openRing(&keySource{passphraseFile: passphrase, passphraseFD: -1})
	if err != nil {
		t.Fatal(err)
	}
	rec, err := ring.Create(t.Context(), testApp, keys.File)
	if err != nil {
		t.Fatal(err)
	}
	must("key", "rotate", "--start", rec.KeyID)
	must("key", "save", "--key-data", rec.PublicPEM)
	if got := must("release", "--channel", "production", "--bump", "minor"); got["key_id"] != old && got["keyId"] != old || got["version"] != "1.1.0" {
		t.Errorf("released as %v, want key %s", got, old)
	}

	for i, key := range []string{old, old, rec.KeyID, ""} {
		ask := fmt.Sprintf(`{"app_id":%q,"device_id":"00000000-0000-4000-8000-00000000000%d","platform":"android","version_name":"builtin","version_build":"1.0.0","version_os":"14","version_code":"1","plugin_version":"8.51.23","is_emulator":false,"is_prod":true,"custom_id":"","key_id":%q}`, testApp, i, key)
		answer, err := http.Post(c.server.BaseURL+"/updates", "application/json", strings.NewReader(ask))
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
	}
	var devices map[string]any
	for range 500 { // the server writes down who asked a moment later
		got := must("key", "rotate", "--count")
		if devices, _ = got["devices"].(map[string]any); devices["total"] == 4.0 || devices["total"] == 5.0 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	// The release's own simulated device is one of the old key's, where it counts.
	if total, onOld := devices["total"], devices["onOld"]; total == nil || total.(float64)-onOld.(float64) != 1 {
		t.Errorf("counted %v", devices)
	}
	status, out, _ := c.run("", "key", "rotate")
	if status != 0 || !strings.Contains(out, "on the old key (") || !strings.Contains(out, rec.KeyID) {
		t.Errorf("status %d, %s", status, out)
	}
	if status, _, errs := c.run("", "release", "--channel", "production", "--bump", "big"); status != 2 || !strings.Contains(errs, "patch, minor or major") {
		t.Errorf("status %d, %s", status, errs)
	}
	if status, _, _ := c.run("", "release", "--channel", "production", "--bump", "patch", "--bundle", "2.0.0"); status != 2 {
		t.Errorf("both: status %d", status)
	}
}

// TestBundleCompatibility registers a bundle with the project's native packages
// and compares after one of them changed.
func TestBundleCompatibility(t *testing.T) {
	c := newCommands(t)
	writeTestFile(t, filepath.Join(c.dir, "www", "app.js"), "CapacitorUpdater.notifyAppReady()")
	plugin := filepath.Join(c.dir, "node_modules", "@acme", "camera")
	if err := os.MkdirAll(filepath.Join(plugin, "android", "src"), 0o755); err != nil {
		t.Fatal(err)
	}
	writeTestFile(t, filepath.Join(plugin, "package.json"), `{"name":"@acme/camera","version":"1.0.0","capacitor":{"android":{"src":"android"}}}`)
	writeTestFile(t, filepath.Join(plugin, "android", "src", "Camera.java"), "class Camera {}")
	writeTestFile(t, filepath.Join(c.dir, "package.json"), `{"name":"tides","version":"1.0.0","dependencies":{"@acme/camera":"^1.0.0"}}`)
	if status, _, errs := c.run("", "release", "--channel", "production", "--create-app", "--no-key"); status != 0 {
		t.Fatal(errs)
	}
	status, out, errs := c.run("", "bundle", "compatibility", "--json")
	if status != 0 || !strings.Contains(out, `"compatible":true`) || !strings.Contains(out, "@acme/camera") {
		t.Fatalf("status %d, %s%s", status, out, errs)
	}
	writeTestFile(t, filepath.Join(plugin, "android", "src", "Camera.java"), "class Camera { int zoom; }")
	status, out, errs = c.run("", "bundle", "compatibility")
	if status != 1 || !strings.Contains(out, "the native files differ") || !strings.Contains(errs, "min-update-version") {
		t.Errorf("status %d, %s%s", status, out, errs)
	}
	if status, _, _ := c.run("", "bundle", "compatibility", "--channel", "nowhere"); status != 3 {
		t.Errorf("no such channel: status %d", status)
	}
}
