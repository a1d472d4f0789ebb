package cli

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"capstan/core/project"
	"capstan/examples"
)

// sampleApp unpacks the sample app in a folder of its own.
func sampleApp(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "harbour")
	if err := examples.Unpack(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// runIn runs a command line without a terminal.
func runIn(t *testing.T, args ...string) (status int, out, errOut string) {
	t.Helper()
	t.Setenv("CAPSTAN_HOME", filepath.Join(t.TempDir(), "home"))
	var o, e bytes.Buffer
	status = Execute(t.Context(), &Command{In: strings.NewReader(""), Out: &o, Err: &e}, args)
	return status, o.String(), e.String()
}

func decode(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
}

func TestProjectShowsWhatItFound(t *testing.T) {
	dir := sampleApp(t)
	status, out, errOut := runIn(t, "project", "--project", filepath.Join(dir, "src"), "--json")
	if status != 0 || errOut != "" {
		t.Fatalf("status %d, %s", status, errOut)
	}
	var r projectResult
	decode(t, out, &r)
	if r.AppID != examples.AppID || r.Version != "1.0.0" || r.PluginVersion != "8.51.23" || r.Android == nil || r.Android.Version != "1.0.0" || r.NativePackages == nil || r.Env == nil {
		t.Errorf("found %+v", r)
	}
	if status, out, _ = runIn(t, "project", "--project", dir); status != 0 || !strings.Contains(out, "com.example.harbour") || strings.Contains(out, "\x1b") {
		t.Errorf("status %d: %s", status, out)
	}
	status, out, errOut = runIn(t, "project", "--project", t.TempDir(), "--json")
	if status != 3 || out != "" || !strings.Contains(errOut, `"code":"project_not_found"`) {
		t.Errorf("status %d, %q, %q", status, out, errOut)
	}
}

func TestProjectSet(t *testing.T) {
	dir := sampleApp(t)
	config := filepath.Join(dir, "capacitor.config.json")
	before, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	const setting = "defaultChannel=beta"

	status, out, _ := runIn(t, "project", "set", setting, "--project", dir, "--dry-run")
	if status != 0 || !strings.Contains(out, `-      "defaultChannel": "production"`) || !strings.Contains(out, `+      "defaultChannel": "beta"`) {
		t.Errorf("dry run: status %d\n%s", status, out)
	}
	status, _, errOut := runIn(t, "project", "set", setting, "--project", dir)
	if status != 2 || !strings.Contains(errOut, "--yes") {
		t.Errorf("without an answer: status %d, %s", status, errOut)
	}
	if now, _ := os.ReadFile(config); !bytes.Equal(now, before) {
		t.Fatal("the config was changed without a yes")
	}
	status, out, _ = runIn(t, "project", "set", setting, "--project", dir, "--yes", "--json")
	var r setResult
	decode(t, out, &r)
	if status != 0 || !r.Changed || r.Diff == "" {
		t.Errorf("status %d, %+v", status, r)
	}
	if now, _ := os.ReadFile(config); string(now) != strings.Replace(string(before), `"production"`, `"beta"`, 1) {
		t.Errorf("the config is now\n%s", now)
	}
	if status, out, _ = runIn(t, "project", "set", setting, "--project", dir, "--yes"); status != 0 || out != "nothing to change\n" {
		t.Errorf("again: status %d, %s", status, out)
	}
	for _, bad := range [][]string{{"defaultChannel"}, {"appId=x"}, {"updateUrl=nonsense"}, {"publicKey=x"}} {
		if status, _, _ := runIn(t, append([]string{"project", "set", "--project", dir, "--yes"}, bad...)...); status != 2 {
			t.Errorf("%q gave status %d, want 2", bad, status)
		}
	}
}

func TestProjectSetRefused(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "capacitor.config.ts")
	text := "export default { appId: 'com.acme.shop', plugins: { CapacitorUpdater: { defaultChannel: process.env.CHANNEL } } };\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	status, out, errOut := runIn(t, "project", "set", "defaultChannel=beta", "--project", dir, "--yes")
	if status != 1 || out != "" || !strings.Contains(errOut, "defaultChannel: 'beta'") || !strings.Contains(errOut, "capstan.settings.ts") || !strings.Contains(errOut, "computed") {
		t.Errorf("status %d, %q\n%s", status, out, errOut)
	}
	status, _, errOut = runIn(t, "project", "set", "defaultChannel=beta", "--project", dir, "--json")
	if status != 1 || !strings.Contains(errOut, `"code":"config_edit_refused"`) || !strings.Contains(errOut, "defaultChannel: 'beta'") {
		t.Errorf("status %d, %s", status, errOut)
	}
	if now, _ := os.ReadFile(config); string(now) != text {
		t.Error("a refused edit changed the file")
	}
}

func TestProjectOfAWorkspace(t *testing.T) {
	root := t.TempDir()
	for _, app := range []string{"shop", "mail"} {
		dir := filepath.Join(root, "apps", app)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "capacitor.config.json"), []byte(`{"appId":"com.acme.`+app+`"}`), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("CAPSTAN_HOME", filepath.Join(t.TempDir(), "home"))
	run := func(args ...string) (int, string, string) {
		var o, e bytes.Buffer
		status := Execute(t.Context(), &Command{In: strings.NewReader(""), Out: &o, Err: &e}, append(args, "--project", root))
		return status, o.String(), e.String()
	}
	if status, out, _ := run("project", "list"); status != 0 || out != "apps/mail\napps/shop\n" {
		t.Errorf("list: status %d, %q", status, out)
	}
	if status, _, errOut := run("doctor"); status != 2 || !strings.Contains(errOut, "apps/mail, apps/shop") {
		t.Errorf("doctor: status %d, %s", status, errOut)
	}
	if status, _, _ := run("project", "use", "nothing"); status != 3 {
		t.Errorf("use of an unknown name: status %d", status)
	}
	if status, _, errOut := run("project", "use", "apps/shop"); status != 0 {
		t.Errorf("use: %s", errOut)
	}
	if status, out, _ := run("project", "--json"); status != 0 || !strings.Contains(out, `"appId":"com.acme.shop"`) {
		t.Errorf("after use: status %d, %s", status, out)
	}
}

func TestDoctor(t *testing.T) {
	dir := sampleApp(t)
	status, out, errOut := runIn(t, "doctor", "--project", dir, "--json", "--channel", "production")
	var r doctorResult
	decode(t, out, &r)
	// The sample app has no key yet and was never synced: warnings, not faults.
	if status != 0 || errOut != "" || !r.OK || r.AppID != examples.AppID || len(r.Findings) < 10 {
		t.Errorf("status %d, %s, %+v", status, errOut, r)
	}
	codes := map[string]string{}
	for _, f := range r.Findings {
		codes[f.Code] = string(f.Level)
	}
	if codes["public_key_missing"] != "warn" || codes["never_synced_android"] != "warn" || codes["default_channel"] != "ok" || codes["plugin"] != "ok" {
		t.Errorf("findings %v", codes)
	}

	if err := os.WriteFile(filepath.Join(dir, ".capgo_key_v2"), []byte("not a key"), 0o644); err != nil {
		t.Fatal(err)
	}
	status, out, errOut = runIn(t, "doctor", "--project", dir)
	if status != 1 || !strings.Contains(out, "can be read by other users") || !strings.Contains(errOut, "1 problem keeps updates") || !strings.Contains(errOut, "--fix") {
		t.Errorf("status %d\n%s\n%s", status, out, errOut)
	}
	for _, line := range strings.Split(strings.TrimSuffix(out, "\n"), "\n") {
		if level, _, _ := strings.Cut(line, " "); level != "ok" && level != "warn" && level != "block" {
			t.Errorf("not a finding: %q", line)
		}
	}
	status, out, _ = runIn(t, "doctor", "--project", dir, "--fix", "--json")
	r = doctorResult{}
	decode(t, out, &r)
	if status != 0 || !r.OK || len(r.Fixed) == 0 {
		t.Errorf("after the fix: status %d, %+v", status, r)
	}

	status, out, errOut = runIn(t, "doctor", "--project", t.TempDir(), "--json")
	if status != 1 || !strings.Contains(out, "project_not_found") || !strings.Contains(errOut, "doctor_blocked") {
		t.Errorf("outside a project: status %d, %s, %s", status, out, errOut)
	}
}

// TestDoctorArtifact compares built apps with the project: one is of this
// project, one of another, one is no app at all.
func TestDoctorArtifact(t *testing.T) {
	dir := sampleApp(t)
	config, err := os.ReadFile(filepath.Join(dir, "capacitor.config.json"))
	if err != nil {
		t.Fatal(err)
	}
	built := t.TempDir()
	for name, text := range map[string]string{"own.apk": string(config), "other.apk": `{"appId":"com.example.other"}`} {
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		w, err := z.Create("assets/capacitor.config.json")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		writeTestFile(t, filepath.Join(built, name), b.String())
	}
	writeTestFile(t, filepath.Join(built, "no.apk"), "not an archive")
	for _, c := range []struct {
		name, code string
		level      project.Level
		status     int
	}{
		{"own.apk", "artifact", project.OK, 0},
		{"other.apk", "artifact_app_id", project.Block, 1},
		{"no.apk", "artifact_unreadable", project.Block, 1},
		{"none.apk", "artifact_unreadable", project.Block, 1},
	} {
		status, out, _ := runIn(t, "doctor", "--project", dir, "--artifact", filepath.Join(built, c.name), "--json")
		var r doctorResult
		decode(t, out, &r)
		found := false
		for _, f := range r.Findings {
			found = found || f.Code == c.code && f.Level == c.level
		}
		if status != c.status || !found {
			t.Errorf("%s: status %d, %s", c.name, status, out)
		}
	}
}

func TestDoctorBundleURL(t *testing.T) {
	dir := sampleApp(t)
	mux := http.NewServeMux()
	mux.HandleFunc("/page", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("<!doctype html><title>sign in</title>"))
	})
	mux.HandleFunc("/whole", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/zip")
		_, _ = w.Write([]byte("PK\x03\x04"))
	})
	mux.Handle("/", http.FileServer(http.Dir(dir)))
	server := httptest.NewServer(mux)
	defer server.Close()
	for path, want := range map[string]string{
		"/package.json": `"code":"bundle_url","level":"ok"`, "/page": `"bundle_url_html","level":"block"`,
		"/whole": `"bundle_url_no_ranges","level":"warn"`, "/missing.zip": `"bundle_url_status","level":"block"`,
	} {
		if _, out, _ := runIn(t, "doctor", "--project", dir, "--json", "--bundle-url", server.URL+path); !strings.Contains(out, want) {
			t.Errorf("%s: want %s in %s", path, want, out)
		}
	}
	if _, out, _ := runIn(t, "doctor", "--project", dir, "--json", "--bundle-url", "http://cdn.example.com/x.zip"); !strings.Contains(out, "bundle_url_not_https") {
		t.Errorf("plain http: %s", out)
	}
}
