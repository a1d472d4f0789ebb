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
	"capstan/internal/servertest"
)

// capgoProject is a folder as Capacitor has it, for the real Capgo CLI, which
// finds the server by the settings that Capgo gives those who host it themselves.
type capgoProject struct {
	node, script, dir, token string
}

func newCapgoProject(t *testing.T, s *servertest.Server) *capgoProject {
	t.Helper()
	p := &capgoProject{script: peers.CapgoCLI(t), node: peers.Program(t, "node", "install Node.js 20 or later"), dir: t.TempDir(), token: s.Token}
	files := map[string]string{
		"capacitor.config.json": strings.ReplaceAll(fmt.Sprintf(`{"appId":%q,"appName":"A","webDir":"dist","plugins":{"CapacitorUpdater":{"version":"1.0.0",
			"updateUrl":"URL/updates","localApi":"URL","localApiFiles":"URL","localHost":"URL","localWebHost":"URL"}}}`, mine), "URL", s.BaseURL),
		"package.json":             `{"name":"a","version":"1.0.0","private":true,"dependencies":{"@capgo/capacitor-updater":"8.51.23","@capacitor/core":"8.0.0"}}`,
		"android/app/build.gradle": "android { defaultConfig {\n applicationId \"" + mine + "\"\n versionCode 100\n versionName \"1.0.0\"\n } }\n",
		"dist/index.html":          `<!doctype html><script src="a.js"></script>`,
		"dist/a.js":                `import { CapacitorUpdater } from "@capgo/capacitor-updater"; CapacitorUpdater.notifyAppReady()`,
		"node_modules/@capgo/capacitor-updater/package.json": `{"name":"@capgo/capacitor-updater","version":"8.51.23"}`,
		"node_modules/@capacitor/core/package.json":          `{"name":"@capacitor/core","version":"8.0.0"}`,
	}
	for name, text := range files {
		path := filepath.Join(p.dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// run gives what the CLI wrote and whether it was content.
func (p *capgoProject) run(t *testing.T, args ...string) (string, bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, p.node, append([]string{p.script}, args...)...)
	c.Dir = p.dir
	c.Env = append(os.Environ(), "HOME="+p.dir, "CI=1", "NO_COLOR=1", "CAPGO_DISABLE_TELEMETRY=1", "CAPGO_DISABLE_POSTHOG=1", "CAPGO_TOKEN="+p.token)
	out, err := c.CombinedOutput()
	return string(out), err == nil
}

// A team keeps its scripts around the stock Capgo CLI and moves its server only.
func TestCapgoCLIReleases(t *testing.T) {
	s := startWithApps(t)
	p := newCapgoProject(t, s)
	const sum = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
	upload := func(version string, more ...string) []string {
		return append([]string{"bundle", "upload", mine, "--external", "https://cdn.example.com/" + version + ".zip", "--bundle", version, "--channel", "production"}, more...)
	}
	for _, step := range []struct {
		args []string
		ok   bool
		want string
	}{
		{upload("1.1.0"), false, "--encrypted-checksum"},
		{upload("1.1.0", "--encrypted-checksum", sum), true, "Time to share your update"},
		{[]string{"channel", "set", "production", mine, "--bundle", "1.1.0", "--state", "default"}, true, "Done"},
		{upload("1.2.0", "--encrypted-checksum", sum), true, "public channel"}, // into a channel that is there
		{[]string{"bundle", "list", mine}, true, "1.2.0"},
		{[]string{"probe", "--platform", "android"}, true, "1.2.0"},
	} {
		if out, ok := p.run(t, step.args...); ok != step.ok || !strings.Contains(out, step.want) {
			t.Errorf("capgo %s: content %v, want %v and %q in:\n%s", strings.Join(step.args, " "), ok, step.ok, step.want, out)
		}
	}
	channel, err := s.Store().Channel(t.Context(), mine, "production")
	if err != nil || channel.Version == nil || channel.Version.Name != "1.2.0" || !channel.Public {
		t.Errorf("the channel is %+v, %v", channel, err)
	}
}

// The real Capgo CLI asks the server as a device would, and tells what its own
// code makes of the answer.
func TestCapgoProbe(t *testing.T) {
	s := startWithApps(t)
	p := newCapgoProject(t, s)
	bundleID(t, s, mine, "1.1.0")
	for _, c := range []struct{ change, want string }{
		{`{"app_id":"` + mine + `","channel":"production"}`, "no_channel"},
		{`{"app_id":"` + mine + `","channel":"production","public":true,"version":"1.1.0","disableAutoUpdate":"none"}`, "1.1.0"},
		{`{"app_id":"` + mine + `","channel":"production","disableAutoUpdate":"minor"}`, "disable_auto_update_to_minor"},
	} {
		post(t, s, "/channel", c.change)
		// its exit status says whether an update was offered
		if out, _ := p.run(t, "probe", "--platform", "android"); !strings.Contains(out, c.want) {
			t.Errorf("after %s the Capgo CLI says nothing of %s:\n%s", c.change, c.want, out)
		}
	}
}
