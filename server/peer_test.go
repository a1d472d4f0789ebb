package server_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"capstan/internal/peers"
)

// The real Capgo CLI asks the server as a device would, and tells what its own
// code makes of the answer.
func TestCapgoProbe(t *testing.T) {
	script := peers.CapgoCLI(t)
	node := peers.Program(t, "node", "install Node.js 20 or later")
	s := startWithApps(t)
	probe := func() string {
		t.Helper()
		dir := t.TempDir()
		files := map[string]string{
			"capacitor.config.json":    fmt.Sprintf(`{"appId":%q,"appName":"A","webDir":"dist","plugins":{"CapacitorUpdater":{"updateUrl":"%s/updates","version":"1.0.0"}}}`, mine, s.BaseURL),
			"package.json":             `{"name":"a","version":"1.0.0","private":true,"dependencies":{"@capgo/capacitor-updater":"8.51.23"}}`,
			"android/app/build.gradle": "android { defaultConfig {\n applicationId \"" + mine + "\"\n versionCode 100\n versionName \"1.0.0\"\n } }\n",
			"dist/index.html":          "<!doctype html>",
			"node_modules/@capgo/capacitor-updater/package.json": `{"name":"@capgo/capacitor-updater","version":"8.51.23"}`,
		}
		for name, text := range files {
			path := filepath.Join(dir, filepath.FromSlash(name))
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		c := exec.CommandContext(ctx, node, script, "probe", "--platform", "android")
		c.Dir = dir
		c.Env = append(os.Environ(), "HOME="+dir, "CI=1", "NO_COLOR=1", "CAPGO_DISABLE_TELEMETRY=1", "CAPGO_DISABLE_POSTHOG=1")
		out, _ := c.CombinedOutput() // its exit status says whether an update was offered
		return string(out)
	}
	bundleID(t, s, mine, "1.1.0")
	for _, c := range []struct{ change, want string }{
		{`{"app_id":"` + mine + `","channel":"production"}`, "no_channel"},
		{`{"app_id":"` + mine + `","channel":"production","public":true,"version":"1.1.0","disableAutoUpdate":"none"}`, "1.1.0"},
		{`{"app_id":"` + mine + `","channel":"production","disableAutoUpdate":"minor"}`, "disable_auto_update_to_minor"},
	} {
		post(t, s, "/channel", c.change)
		if out := probe(); !strings.Contains(out, c.want) {
			t.Errorf("after %s the Capgo CLI says nothing of %s:\n%s", c.change, c.want, out)
		}
	}
}
