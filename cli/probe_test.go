package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"capstan/core/device"
)

const probeData = "../core/bundle/testdata/capgo-cli/"

// probeServer answers every check with a body and serves the real CLI's artefacts.
func probeServer(t *testing.T, answer string, status int) *httptest.Server {
	t.Helper()
	data, err := filepath.Abs(probeData) // a test may change the folder
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServer(http.Dir(data)))
	var s *httptest.Server
	mux.HandleFunc("POST /updates", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, strings.ReplaceAll(answer, "HOST", s.URL))
	})
	s = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

// runProbe runs the a command line and gives its exit status and output.
func runProbe(t *testing.T, args ...string) (status int, out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	c := &Command{In: strings.NewReader(""), Out: &o, Err: &e}
	status = Execute(t.Context(), c, append([]string{"probe", "--app", "com.example.app"}, args...))
	return status, o.String(), e.String()
}

// sealedOffer is an answer that offers what the real CLI encrypted.
func sealedOffer(t *testing.T, file string) string {
	t.Helper()
	raw, err := os.ReadFile(probeData + "cli-8.68.1_for-plugin-8.51.23/encrypt.json")
	if err != nil {
		t.Fatal(err)
	}
	var made struct{ Checksum, IvSessionKey string }
	if err := json.Unmarshal(raw, &made); err != nil {
		t.Fatal(err)
	}
	answer, err := json.Marshal(map[string]string{"version": "1.2.3", "url": "HOST/" + file, "checksum": made.Checksum, "session_key": made.IvSessionKey})
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

func TestProbe(t *testing.T) {
	const key = probeData + "key_v2.pub"
	const good = "cli-8.68.1_for-plugin-8.51.23/encrypted.zip"
	cases := []struct {
		name   string
		answer string
		status int
		args   []string

		exit      int
		reason    string
		outcome   device.Outcome
		installed bool
		code      string // of the error
	}{
		{name: "offered and installed", answer: sealedOffer(t, good), args: []string{"--key", key}, reason: "offered", outcome: device.Offered, installed: true},
		{name: "as ios", answer: sealedOffer(t, good), args: []string{"--key", key, "--platform", "ios"}, reason: "offered", outcome: device.Offered, installed: true},
		{name: "key not known", answer: sealedOffer(t, good), reason: "offered", outcome: device.Offered},
		{name: "only asked", answer: sealedOffer(t, good), args: []string{"--key", key, "--no-install"}, reason: "offered", outcome: device.Offered},
		{name: "an older plugin wants the other form", answer: sealedOffer(t, good), args: []string{"--key", key, "--plugin-version", "7.27.8"}, exit: 6, reason: "download_fail", outcome: device.Offered, code: "download_fail"},
		{name: "damaged object", answer: sealedOffer(t, "tampered/t1.zip"), args: []string{"--key", key}, exit: 6, reason: "decrypt_fail", outcome: device.Offered, code: "decrypt_fail"},
		{name: "missing object", answer: sealedOffer(t, "nothing.zip"), args: []string{"--key", key}, exit: 3, reason: "download_fail", outcome: device.Offered, code: "download_fail"},
		{name: "unsigned bundle for an app with a key", answer: `{"version":"1.2.3","url":"HOST/x.zip","checksum":"00"}`, args: []string{"--key", key}, exit: 6, reason: "session_key_required", outcome: device.Silent, code: "session_key_required"},
		{name: "up to date", answer: `{"error":"no_new_version_available","message":"No new version available","kind":"up_to_date"}`, reason: "no_new_version_available", outcome: device.Quiet},
		{name: "blocked", answer: `{"error":"disable_emulator","message":"no","kind":"blocked"}`, args: []string{"--emulator"}, reason: "disable_emulator", outcome: device.Quiet},
		{name: "no channel", answer: `{"error":"no_channel","message":"no","kind":"failed"}`, reason: "no_channel", outcome: device.Failed},
		{name: "not the update server", answer: `<html>`, exit: 1, reason: "parse_error", outcome: device.Failed, code: "parse_error"},
		{name: "server in trouble", answer: `<html>`, status: 503, exit: 8, reason: "response_error", outcome: device.Failed, code: "response_error"},
		{name: "malformed request", answer: `{"error":"missing_app_id","message":"Cannot find app_id"}`, status: 400, exit: 1, reason: "missing_app_id", outcome: device.Failed, code: "missing_app_id"},
		{name: "back to the build inside the app", answer: `{"version":"builtin"}`, reason: "builtin", outcome: device.ToBuiltin},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if c.status == 0 {
				c.status = 200
			}
			s := probeServer(t, c.answer, c.status)
			exit, out, errOut := runProbe(t, append(c.args, "--json", "--update-url", s.URL+"/updates")...)
			if exit != c.exit {
				t.Errorf("exit %d, want %d; %s", exit, c.exit, errOut)
			}
			var got probeResult
			if err := json.Unmarshal([]byte(out), &got); err != nil {
				t.Fatalf("%v in %q", err, out)
			}
			if got.Reason != c.reason || got.Outcome != c.outcome || got.Installed != c.installed {
				t.Errorf("got %+v", got)
			}
			if len(got.Steps) < 2 {
				t.Errorf("steps %+v", got.Steps)
			}
			if c.code != "" && !strings.Contains(errOut, fmt.Sprintf("%q:%q", "code", c.code)) {
				t.Errorf("error %s", errOut)
			}
			// A refusal in the bundle is explained in one line with a hint.
			if c.exit == 6 && !strings.Contains(errOut, `"hint"`) {
				t.Errorf("no hint: %s", errOut)
			}
		})
	}
}

func TestProbeKeepsTheBundle(t *testing.T) {
	s := probeServer(t, sealedOffer(t, "cli-8.68.1_for-plugin-8.51.23/encrypted.zip"), 200)
	dir := filepath.Join(t.TempDir(), "device")
	exit, out, errOut := runProbe(t, "--json", "--update-url", s.URL+"/updates", "--key", probeData+"key_v2.pub", "--install", dir)
	if exit != 0 {
		t.Fatal(errOut)
	}
	var got probeResult
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(got.Dir, "index.html")); err != nil || !strings.HasPrefix(got.Dir, dir) {
		t.Errorf("%q: %v", got.Dir, err)
	}
}

// In a project nothing needs to be said.
func TestProbeInAProject(t *testing.T) {
	s := probeServer(t, sealedOffer(t, "cli-8.68.1_for-plugin-8.51.23/encrypted.zip"), 200)
	key, err := os.ReadFile(probeData + "key_v2.pub")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, object any) {
		text, err := json.Marshal(object)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	write("package.json", map[string]any{"name": "tides", "version": "1.0.0", "dependencies": map[string]string{"@capgo/capacitor-updater": "8.51.23"}})
	write("capacitor.config.json", map[string]any{"appId": "com.example.tides", "appName": "Tides", "webDir": "dist",
		"plugins": map[string]any{"CapacitorUpdater": map[string]any{"updateUrl": s.URL + "/updates", "publicKey": string(key), "version": "2.1.0"}}})
	run := func(args ...string) (int, probeResult, string) {
		var o, e bytes.Buffer
		c := &Command{In: strings.NewReader(""), Out: &o, Err: &e}
		status := Execute(t.Context(), c, append([]string{"probe", "--json"}, args...))
		var got probeResult
		if o.Len() > 0 {
			if err := json.Unmarshal(o.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
		}
		return status, got, e.String()
	}
	status, got, errOut := run("--project", dir)
	if status != 0 || !got.Installed || !strings.Contains(got.Steps[0].Detail, "native 2.1.0") {
		t.Errorf("exit %d, %+v, %s", status, got, errOut)
	}
	t.Chdir(dir)
	if status, got, errOut = run(); status != 0 || !got.Installed {
		t.Errorf("in the folder: exit %d, %+v, %s", status, got, errOut)
	}
	if status, _, errOut = run("--project", dir, "--app", "com.example.other"); status != 2 || !strings.Contains(errOut, "app_mismatch") {
		t.Errorf("another app: exit %d, %s", status, errOut)
	}
	if status, got, errOut = run("--app", "com.example.other", "--update-url", s.URL+"/updates"); status != 0 || got.Installed {
		t.Errorf("another app from the folder: exit %d, %+v, %s", status, got, errOut)
	}
	if status, _, errOut = run("--project", t.TempDir()); status != 3 {
		t.Errorf("no project: exit %d, %s", status, errOut)
	}
}

func TestProbeUsage(t *testing.T) {
	for _, c := range []struct {
		args []string
		exit int
		says string
	}{
		{[]string{}, 2, "update-url"},
		{[]string{"--update-url", "http://127.0.0.1:1/updates"}, 8, "does not answer"},
		{[]string{"--update-url", "http://127.0.0.1:1/updates", "--plugin-version", "8"}, 2, "8.51.23"},
		{[]string{"--update-url", "http://127.0.0.1:1/updates", "--platform", "palm"}, 2, "android or ios"},
		{[]string{"--update-url", "http://127.0.0.1:1/updates", "--key", "absent.pub"}, 3, "public key"},
		{[]string{"--update-url", "http://127.0.0.1:1/updates", "--install", "x", "--no-install"}, 2, "no-install"},
	} {
		exit, _, errOut := runProbe(t, c.args...)
		if exit != c.exit || !strings.Contains(errOut, c.says) {
			t.Errorf("%v: exit %d, %s", c.args, exit, errOut)
		}
	}
}

func TestProbeText(t *testing.T) {
	s := probeServer(t, sealedOffer(t, "cli-8.68.1_for-plugin-8.51.23/encrypted.zip"), 200)
	exit, out, errOut := runProbe(t, "--update-url", s.URL+"/updates", "--key", probeData+"key_v2.pub")
	if exit != 0 {
		t.Fatal(errOut)
	}
	for _, want := range []string{"version 1.2.3 is offered", "AES-128", "10 files", "the device installs 1.2.3"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}
