package cli

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"capstan/core/capgo"
	"capstan/core/keys"
	"capstan/core/release"
	"capstan/internal/servertest"
)

// commands is a home, a project folder and a server for commands to run against.
type commands struct {
	t      *testing.T
	server *servertest.Server
	dir    string
}

const testApp = "com.example.tides"

func newCommands(t *testing.T) *commands {
	t.Helper()
	s := servertest.Start(t)
	home := t.TempDir()
	for _, name := range []string{"CAPSTAN_TOKEN_FILE", "CAPGO_TOKEN", "CAPSTAN_STORAGE", "CAPSTAN_PUBLIC_URL", "CAPSTAN_CHANNEL", "CAPSTAN_KEY_STORE", "CAPSTAN_PROFILE", "CAPSTAN_APP"} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", home)
	t.Setenv("CAPSTAN_HOME", filepath.Join(home, "capstan"))
	t.Setenv("CAPSTAN_SERVER", s.BaseURL)
	t.Setenv("CAPSTAN_TOKEN", s.Token)
	// A keyring daemon of the machine is nothing that a test may touch.
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path="+filepath.Join(home, "no-bus"))
	dir := filepath.Join(home, "app")
	for name, content := range map[string]string{
		"capacitor.config.json": `{"appId":"` + testApp + `","appName":"Tides","webDir":"www"}`,
		"package.json":          `{"name":"tides","version":"1.0.0"}`,
		"www/index.html":        "<html></html>",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	return &commands{t: t, server: s, dir: dir}
}

// run runs a command line and gives its exit status and streams.
func (c *commands) run(stdin string, args ...string) (status int, stdout, stderr string) {
	c.t.Helper()
	var out, errs bytes.Buffer
	status = Execute(c.t.Context(), &Command{In: strings.NewReader(stdin), Out: &out, Err: &errs}, args)
	return status, out.String(), errs.String()
}

// ok runs a command that has to succeed.
func (c *commands) ok(args ...string) string {
	c.t.Helper()
	status, out, errs := c.run("", args...)
	if status != 0 {
		c.t.Fatalf("capstan %s ends with %d: %s%s", strings.Join(args, " "), status, out, errs)
	}
	return out
}

// fails runs a command that has to fail with a status and a code.
func (c *commands) fails(want int, code string, args ...string) string {
	c.t.Helper()
	status, out, errs := c.run("", append(args, "--json")...)
	var body struct {
		Error struct{ Code, Message, Hint string }
	}
	if err := json.Unmarshal([]byte(errs), &body); err != nil || status != want || body.Error.Code != code || out != "" {
		c.t.Errorf("capstan %s ends with %d, %s%s; want %d %s", strings.Join(args, " "), status, out, errs, want, code)
	}
	return body.Error.Message + body.Error.Hint
}

func (c *commands) json(into any, args ...string) {
	c.t.Helper()
	out := c.ok(append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), into); err != nil || strings.Count(out, "\n") != 1 {
		c.t.Fatalf("capstan %s prints no single object: %s", strings.Join(args, " "), out)
	}
}

func (c *commands) bundle(version string) {
	c.t.Helper()
	body := `{"app_id":"` + testApp + `","version":"` + version + `","external_url":"https://cdn.example.com/` + version + `.zip","checksum":"` + strings.Repeat("ab", 32) + `"}`
	if status, answer := c.server.Do(c.t, http.MethodPost, "/bundle", strings.NewReader(body), nil); status != http.StatusOK {
		c.t.Fatalf("register %s: %d %s", version, status, answer)
	}
}

func (c *commands) live(channel string) string {
	c.t.Helper()
	var ch capgo.Channel
	c.json(&ch, "channel", "show", channel)
	return live(ch)
}

func (c *commands) poll(id, running string) string {
	c.t.Helper()
	body := `{"platform":"android","device_id":"` + id + `","app_id":"` + testApp + `","version_build":"1.0.0","version_name":"` + running + `","version_os":"15",
		"plugin_version":"8.51.23","is_emulator":false,"is_prod":true,"defaultChannel":""}`
	_, answer := c.server.Do(c.t, http.MethodPost, "/updates", strings.NewReader(body), nil)
	if err := c.server.Store().Flush(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	return string(answer)
}

// TestClocksAreCompared: doctor and the commands that plan for a time notice a
// clock that differs from the server's.
func TestClocksAreCompared(t *testing.T) {
	c := newCommands(t)
	target, err := url.Parse(c.server.BaseURL)
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ModifyResponse: func(r *http.Response) error {
			r.Header.Set("Date", time.Now().Add(-7*time.Minute).UTC().Format(http.TimeFormat))
			return nil
		},
	})
	defer front.Close()
	c.ok("app", "add")
	c.bundle("1.0.0")
	c.ok("channel", "create", "production")
	schedule := []string{"channel", "schedule", "production", "--bundle", "1.0.0", "--at", "2036-03-01T09:00", "--confirm", "production"}
	if status, out, errs := c.run("", schedule...); status != 0 || strings.Contains(errs, "clock") {
		t.Errorf("with the same clock: %d, %s%s", status, out, errs)
	}
	if _, out, _ := c.run("", "doctor", "--online"); strings.Contains(out, "clock") {
		t.Errorf("with the same clock doctor says %s", out)
	}
	t.Setenv("CAPSTAN_SERVER", front.URL)
	if status, out, errs := c.run("", schedule...); status != 0 || !strings.Contains(errs, "7m ahead of that of") {
		t.Errorf("with another clock: %d, %s%s", status, out, errs)
	}
	if _, out, _ := c.run("", "doctor", "--online"); !strings.Contains(out, "warn   this machine's clock is 7m ahead of that of 127.0.0.1") {
		t.Errorf("doctor does not notice the clock: %s", out)
	}
}

func TestAppCommands(t *testing.T) {
	c := newCommands(t)
	if out := c.ok("app", "list", "--json"); out != "[]\n" {
		t.Errorf("no apps are listed as %q", out)
	}
	if out := c.ok("app", "add"); out != "created com.example.tides (Tides)\n" {
		t.Errorf("app add prints %q", out)
	}
	c.fails(7, "app_id_already_exists", "app", "add")
	var apps []capgo.App
	c.json(&apps, "app", "list")
	if len(apps) != 1 || apps[0].AppID != testApp || apps[0].Name != "Tides" {
		t.Errorf("app list gives %+v", apps)
	}
	c.fails(3, "public_key_missing", "app", "set-key")
	c.fails(3, "public_key_missing", "app", "set-key", "nowhere.pub")
	first, second := testPublicKey(t), testPublicKey(t)
	if err := os.WriteFile(filepath.Join(c.dir, ".capgo_key_v2.pub"), first, 0o644); err != nil {
		t.Fatal(err)
	}
	var set struct {
		KeyID   string `json:"key_id"`
		Changed bool   `json:"changed"`
	}
	if c.json(&set, "app", "set-key"); !set.Changed || len(set.KeyID) != 20 {
		t.Errorf("app set-key gives %+v", set)
	}
	if c.json(&set, "app", "set-key"); set.Changed {
		t.Errorf("the same key again gives %+v", set)
	}
	if err := os.WriteFile(filepath.Join(c.dir, "new.pub"), second, 0o644); err != nil {
		t.Fatal(err)
	}
	c.fails(2, "confirmation_missing", "app", "set-key", "new.pub")
	c.fails(2, "confirmation_missing", "app", "set-key", "new.pub", "--yes")
	c.ok("app", "set-key", "new.pub", "--confirm", testApp)
	if out := c.ok("app", "list"); strings.Contains(out, set.KeyID) {
		t.Errorf("the old key is still on record: %s", out)
	}
}

// TestAppDelete: an app goes when its name is given, and one that others may
// need only when that is said on purpose.
func TestAppDelete(t *testing.T) {
	c := newCommands(t)
	c.fails(3, "cannot_find_app", "app", "delete")
	c.ok("app", "add")
	c.ok("channel", "create", "production", "--default")
	c.poll(release.ProofDeviceID, "builtin") // no device of anybody's
	c.fails(2, "confirmation_missing", "app", "delete", "--yes")
	c.ok("app", "delete", "--confirm", testApp)
	c.fails(3, "cannot_find_app", "app", "delete", testApp)

	c.ok("app", "add")
	c.bundle("1.0.1")
	if text := c.fails(7, "app_not_empty", "app", "delete", "--confirm", testApp); !strings.Contains(text, "has 1 bundle") || !strings.Contains(text, "--force") {
		t.Errorf("an app with a bundle: %s", text)
	}
	c.ok("bundle", "delete", "1.0.1", "--confirm", "1.0.1")
	c.poll("0a0a0a0a-0000-4000-8000-00000000000a", "builtin")
	if text := c.fails(7, "app_not_empty", "app", "delete", "--confirm", testApp); !strings.Contains(text, "has devices") {
		t.Errorf("an app with a device: %s", text)
	}
	c.fails(2, "confirmation_missing", "app", "delete", "--force")
	c.ok("app", "delete", "--force", "--confirm", testApp)
	if out := c.ok("app", "list", "--json"); out != "[]\n" {
		t.Errorf("afterwards there is %s", out)
	}
}

func TestChannelCommands(t *testing.T) {
	c := newCommands(t)
	c.ok("app", "add")
	if out := c.ok("channel", "list", "--json"); out != "[]\n" {
		t.Errorf("no channels are listed as %q", out)
	}
	c.ok("channel", "create", "production", "--default", "--disable-auto-update", "none")
	c.fails(7, "channel_exists", "channel", "create", "production")
	c.ok("channel", "add", "beta", testApp)
	for _, v := range []string{"1.0.1", "1.0.2", "1.1.0"} {
		c.bundle(v)
	}
	if got := c.live("production"); got != "builtin" {
		t.Errorf("a new channel serves %s", got)
	}

	// The typed name, and nothing less, changes production.
	c.fails(2, "confirmation_missing", "channel", "set", "production", "--bundle", "1.0.1")
	c.fails(2, "confirmation_missing", "channel", "set", "production", "--bundle", "1.0.1", "--yes")
	c.fails(2, "confirmation_missing", "channel", "set", "production", "--bundle", "1.0.1", "--confirm", "beta")
	if got := c.live("production"); got != "builtin" {
		t.Fatalf("without a confirmation production serves %s", got)
	}
	for _, v := range []string{"1.0.1", "1.0.2"} {
		c.ok("channel", "set", "production", "--bundle", v, "--confirm", "production")
	}
	var changed channelResult
	c.json(&changed, "channel", "set", "production", "-b", "1.1.0", "--confirm=production")
	if changed.Previous != "1.0.2" || live(changed.Channel) != "1.1.0" {
		t.Errorf("channel set gives %+v", changed)
	}
	if out := c.ok("channel", "show", "production"); !strings.Contains(out, "live") || !strings.Contains(out, "1.1.0") {
		t.Errorf("channel show prints %s", out)
	}
	if out := c.ok("channel", "currentBundle", "--channel", "production"); out != "1.1.0\n" {
		t.Errorf("currentBundle prints %q", out)
	}

	// Back, and back again: not to and fro.
	for _, want := range []string{"1.0.2", "1.0.1", "builtin"} {
		c.fails(2, "confirmation_missing", "channel", "rollback", "production")
		c.ok("channel", "rollback", "production", "--confirm", "production")
		if got := c.live("production"); got != want {
			t.Errorf("rollback leads to %s, want %s", got, want)
		}
	}
	c.fails(3, "rollback_target_missing", "channel", "rollback", "production", "--confirm", "production")
	c.ok("channel", "rollback", "production", "--to", "1.0.2", "--confirm", "production")
	c.fails(7, "already_live", "channel", "rollback", "production", "--to", "1.0.2", "--confirm", "production")
	c.fails(3, "version_not_found", "channel", "rollback", "production", "--to", "9.9.9", "--confirm", "production")

	// A channel that is nobody's default needs no ceremony.
	c.ok("channel", "set", "beta", "--latest-remote", "--no-emulator", "--ios", "--no-android", "--disable-auto-update", "metadata", "--no-downgrade")
	var beta capgo.Channel
	c.json(&beta, "channel", "show", "beta")
	if live(beta) != "1.1.0" || beta.AllowEmulator || beta.IOS == nil || !*beta.IOS || *beta.Android || beta.DisableAutoUpdate != capgo.PolicyVersionNumber || !beta.DisableAutoUpdateUnderNative {
		t.Errorf("beta is %+v", beta)
	}
	c.fails(2, "nothing_to_change", "channel", "set", "beta")
	c.fails(2, "usage", "channel", "set", "beta", "--ios", "--no-ios")
	c.fails(2, "invalid_policy", "channel", "set", "beta", "--disable-auto-update", "sometimes")
	c.fails(3, "version_not_found", "channel", "set", "beta", "--bundle", "9.9.9")
	c.fails(3, "channel_not_found", "channel", "show", "nowhere")

	var history []capgo.Change
	c.json(&history, "channel", "history", "production")
	if len(history) < 7 || history[0].To != "1.0.2" {
		t.Errorf("the history is %+v", history)
	}
	c.fails(2, "confirmation_missing", "channel", "delete", "beta")
	c.ok("channel", "delete", "beta", "--yes")
	c.ok("channel", "delete", "beta", "--success-if-not-found")
	c.fails(3, "channel_not_found", "channel", "delete", "beta", "--yes")
	c.fails(2, "confirmation_missing", "channel", "delete", "production", "--yes")
}

func TestRolloutCommands(t *testing.T) {
	c := newCommands(t)
	c.ok("app", "add")
	c.bundle("1.0.1")
	c.bundle("1.1.0")
	c.ok("channel", "create", "production", "--default")
	c.ok("channel", "set", "production", "--bundle", "1.0.1", "--confirm", "production")
	c.fails(2, "missing_rollout_version", "channel", "rollout", "production", "--percentage", "5")
	c.fails(3, "missing_rollout_version", "channel", "pause", "production")
	c.fails(2, "invalid_rollout_percentage", "channel", "rollout", "production", "--bundle", "1.1.0", "--confirm", "production")
	c.fails(2, "invalid_rollout_percentage", "channel", "rollout", "production", "--bundle", "1.1.0", "--percentage", "101")
	c.fails(2, "confirmation_missing", "channel", "rollout", "production", "--bundle", "1.1.0", "--percentage", "2.5")
	var r channelResult
	c.json(&r, "channel", "rollout", "production", "--bundle", "1.1.0", "--percentage", "2.5", "--confirm", "production")
	if r.RolloutPercentageBps != 250 || !r.RolloutEnabled || r.RolloutVersionInfo.Name != "1.1.0" || live(r.Channel) != "1.0.1" {
		t.Errorf("rollout gives %+v", r)
	}
	c.json(&r, "channel", "pause", "production", "--reason", "crashes") // asks nothing
	if r.RolloutPausedAt == nil || r.RolloutPauseReason == nil || *r.RolloutPauseReason != "crashes" {
		t.Errorf("pause gives %+v", r)
	}
	c.fails(2, "confirmation_missing", "channel", "resume", "production")
	c.json(&r, "channel", "resume", "production", "--confirm", "production")
	c.json(&r, "channel", "rollout", "production", "--percentage", "50", "--confirm", "production")
	if r.RolloutPercentageBps != 5000 || r.RolloutPausedAt != nil {
		t.Errorf("a wider rollout is %+v", r)
	}
	r = channelResult{}
	c.json(&r, "channel", "rollback", "production", "--confirm", "production")
	if r.RolloutVersionInfo != nil || live(r.Channel) != "1.0.1" {
		t.Errorf("rollback of a rollout gives %+v", r)
	}
	c.ok("channel", "set", "production", "--rollout-bundle", "1.1.0", "--rollout-percentage-bps", "100", "--rollout-enable", "--confirm", "production")
	r = channelResult{}
	c.json(&r, "channel", "rollout", "production", "--promote", "--confirm", "production")
	if r.RolloutVersionInfo != nil || live(r.Channel) != "1.1.0" {
		t.Errorf("promote of a rollout gives %+v", r)
	}
}

func TestBundleCommands(t *testing.T) {
	c := newCommands(t)
	c.ok("app", "add")
	if out := c.ok("bundle", "list", "--json"); out != "[]\n" {
		t.Errorf("no bundles are listed as %q", out)
	}
	for _, v := range []string{"1.0.0", "1.0.1", "1.0.2", "1.1.0", "2.0.0", "2.0.1"} {
		c.bundle(v)
	}
	c.ok("channel", "create", "production")
	c.ok("channel", "set", "production", "--bundle", "1.0.1", "--confirm", "production")
	var bundles []capgo.Bundle
	c.json(&bundles, "bundle", "list")
	if len(bundles) != 6 || bundles[0].Name != "2.0.1" {
		t.Errorf("bundle list gives %+v", bundles)
	}
	if out := c.ok("bundle", "list"); !strings.Contains(out, "1.0.1") || !strings.Contains(out, "production") {
		t.Errorf("bundle list prints %s", out)
	}
	var b capgo.Bundle
	if c.json(&b, "bundle", "show", "1.1.0"); b.Name != "1.1.0" || b.ExternalURL == "" {
		t.Errorf("bundle show gives %+v", b)
	}
	c.fails(2, "confirmation_missing", "bundle", "delete", "2.0.0", "--yes")
	c.fails(7, "cannot_delete_linked_version", "bundle", "delete", "1.0.1", "--confirm", "1.0.1")
	c.fails(3, "version_not_found", "bundle", "delete", "9.9.9", "--confirm", "9.9.9")
	c.ok("bundle", "delete", "2.0.0", "--confirm", "2.0.0")

	var clean struct {
		Deleted []string `json:"deleted"`
		Would   []string `json:"would_delete"`
		Kept    int      `json:"kept"`
	}
	c.json(&clean, "bundle", "cleanup", "--keep", "1", "--dry-run")
	if strings.Join(clean.Would, " ") != "1.0.0 1.0.2 1.1.0" || len(clean.Deleted) != 0 || clean.Kept != 2 {
		t.Errorf("cleanup --dry-run gives %+v", clean)
	}
	c.fails(2, "confirmation_missing", "bundle", "cleanup", "--keep", "1")
	c.json(&clean, "bundle", "cleanup", "--keep", "1", "--bundle", "1.0.2", "--yes")
	if strings.Join(clean.Deleted, " ") != "1.0.2" {
		t.Errorf("cleanup of a range gives %+v", clean)
	}
	c.json(&clean, "bundle", "cleanup", "-k", "0", "-f")
	if strings.Join(clean.Deleted, " ") != "1.0.0 1.1.0 2.0.1" {
		t.Errorf("cleanup gives %+v", clean)
	}
	if c.json(&bundles, "bundle", "list"); len(bundles) != 1 || bundles[0].Name != "1.0.1" {
		t.Errorf("after the cleanup there is %+v", bundles)
	}
}

func TestDeviceCommands(t *testing.T) {
	c := newCommands(t)
	c.ok("app", "add")
	c.bundle("1.0.1")
	c.ok("channel", "create", "production", "--default")
	c.ok("channel", "create", "testers")
	c.ok("channel", "set", "production", "--bundle", "1.0.1", "--confirm", "production")
	const id = "0a0a0a0a-0000-4000-8000-00000000000a"
	if answer := c.poll(id, "builtin"); !strings.Contains(answer, "1.0.1") {
		t.Fatalf("the device is answered %s", answer)
	}
	var devices []capgo.Device
	if c.json(&devices, "device", "list"); len(devices) != 1 || devices[0].DeviceID != id {
		t.Errorf("device list gives %+v", devices)
	}
	if out := c.ok("device", "list", "--version-name", "1.0.1", "--json"); out != "[]\n" {
		t.Errorf("a filter that nothing passes gives %s", out)
	}
	var view deviceView
	c.json(&view, "device", "show", strings.ToUpper(id))
	if view.Device.DeviceID != id || view.Explanation == nil || view.Explanation.Answer.Version != "1.0.1" || len(view.Explanation.Checks) == 0 {
		t.Errorf("device show gives %+v", view)
	}
	if out := c.ok("device", "show", id); !strings.Contains(out, "would hear: install 1.0.1") || !strings.Contains(out, "pass") {
		t.Errorf("device show prints %s", out)
	}
	c.fails(2, "usage", "device", "override", id)
	c.fails(2, "usage", "device", "override", id, "testers", "--clear")
	c.fails(3, "channel_not_found", "device", "override", id, "nowhere")
	c.ok("device", "override", id, "testers")
	if out := c.ok("device", "show", id); !strings.Contains(out, "nothing to install") || !strings.Contains(out, "STOP") || !strings.Contains(out, "override") {
		t.Errorf("for a pinned device, device show prints %s", out)
	}
	if c.json(&devices, "device", "list", "--channel", "testers"); len(devices) != 1 {
		t.Errorf("device list gives %+v", devices)
	}
	c.ok("device", "override", id, "--clear")
	if answer := c.poll(id, "builtin"); !strings.Contains(answer, "1.0.1") {
		t.Errorf("the released device is answered %s", answer)
	}
	status, _ := c.server.Do(t, http.MethodPost, "/stats", strings.NewReader(`{"platform":"android","device_id":"`+id+`","app_id":"`+testApp+`","version_build":"1.0.0",
		"version_name":"1.0.1","old_version_name":"builtin","version_os":"15","plugin_version":"8.51.23","is_emulator":false,"is_prod":true,"action":"set"}`), nil)
	if status != http.StatusOK {
		t.Fatalf("stats are answered %d", status)
	}
	var events []capgo.DeviceEvent
	c.json(&events, "device", "log", id)
	found := false
	for _, e := range events {
		found = found || e.Action == "set" && e.DeviceID == id
	}
	if !found {
		t.Errorf("device log gives %+v", events)
	}
	c.fails(3, "device_not_found", "device", "show", "00000000-0000-4000-8000-000000000000")
}

func TestProfileCommands(t *testing.T) {
	c := newCommands(t)
	c.ok("app", "add")
	t.Setenv("CAPSTAN_SERVER", "")
	if out := c.ok("profile", "list", "--json"); out != "[]\n" {
		t.Errorf("no profiles are listed as %q", out)
	}
	c.fails(2, "server_missing", "channel", "list")
	c.ok("profile", "init", "live", "--server", c.server.BaseURL, "--channel", "production")
	if out := c.ok("channel", "list", "--json"); out != "[]\n" { // found through capstan.toml now
		t.Errorf("channel list gives %s", out)
	}
	c.ok("profile", "set", "live", "public_url=https://cdn.example.com", "key_store=file")
	c.ok("profile", "set", "live", "channel=night", "--mine")
	var shown struct {
		Server, Channel string
		PublicURL       string `json:"public_url"`
		Sources         map[string]string
		TokenSource     string `json:"token_source"`
	}
	c.json(&shown, "profile", "show")
	if shown.Server != c.server.BaseURL || shown.Channel != "night" || shown.PublicURL != "https://cdn.example.com" || shown.TokenSource != "CAPSTAN_TOKEN" || shown.Sources["server"] != "capstan.toml" {
		t.Errorf("profile show gives %+v", shown)
	}
	if out := c.ok("profile", "list"); !strings.Contains(out, "live") || strings.Contains(out, c.server.Token) {
		t.Errorf("profile list prints %s", out)
	}
	c.fails(2, "usage", "profile", "set", "live", "colour=red")
	if text := c.fails(2, "secret_in_profile", "profile", "set", "live", "headers.Authorization=Bearer canary-77"); strings.Contains(text, "canary") {
		t.Errorf("the error repeats the secret: %s", text)
	}
	// A storage that devices cannot download from is not saved.
	c.fails(6, "no_public_url", "profile", "init", "other", "--server", c.server.BaseURL, "--storage", "file://"+filepath.ToSlash(t.TempDir()))
	c.fails(8, "remote_unreachable", "profile", "init", "other", "--server", "http://127.0.0.1:1")
	c.fails(3, "profile_unknown", "profile", "show", "other")

	// The token goes into this user's store and works without the environment.
	t.Setenv("CAPSTAN_TOKEN", "")
	c.fails(4, "no_key_provided", "app", "list")
	if status, _, errs := c.run("not-a-token\n", "profile", "login"); status != 4 || strings.Contains(errs, "not-a-token") {
		t.Errorf("login with a wrong token ends with %d: %s", status, errs)
	}
	status, out, errs := c.run(c.server.Token+"\n", "profile", "login", "--json")
	if status != 0 || strings.Contains(out+errs, c.server.Token) {
		t.Fatalf("login ends with %d: %s%s", status, out, errs)
	}
	c.ok("app", "list")
	raw, err := os.ReadFile(filepath.Join(c.dir, "capstan.toml"))
	if err != nil || strings.Contains(string(raw), c.server.Token) {
		t.Errorf("capstan.toml is %s, %v", raw, err)
	}
}

// testPublicKey gives the public half of a fresh pair, as PEM.
func testPublicKey(t *testing.T) []byte {
	t.Helper()
	private, err := keys.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return keys.EncodePublic(&private.PublicKey)
}
