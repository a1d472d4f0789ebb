package cli

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"capstan/core/profile"
)

// answer runs a command line at a terminal where somebody answers.
func (c *commands) answer(answers []string, args ...string) (status int, output string) {
	c.t.Helper()
	var out bytes.Buffer
	status = Execute(c.t.Context(), &Command{In: strings.NewReader(strings.Join(answers, "\n") + "\n"), Out: &out, Err: &out, Terminal: true}, args)
	return status, out.String()
}

// place gives the number under which the wizard offers a kind of storage.
func place(t *testing.T, scheme string) string {
	t.Helper()
	for i, p := range profile.Places() {
		if p.Scheme == scheme {
			return string(rune('1' + i))
		}
	}
	t.Fatalf("%s is not offered", scheme)
	return ""
}

// TestProfileWizard answers the questions of the first time: a folder behind a
// web server, a PUT service that refuses, programs, the server itself, a URL.
func TestProfileWizard(t *testing.T) {
	c := newCommands(t)
	c.ok("app", "add")
	t.Setenv("CAPSTAN_SERVER", "")
	folder := t.TempDir()
	web := httptest.NewServer(http.FileServer(http.Dir(folder)))
	defer web.Close()
	closed := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer closed.Close()
	server := c.server.BaseURL

	status, out := c.answer([]string{server, place(t, "file"), folder, web.URL, "production"}, "profile", "init", "folder")
	if status != 0 || !strings.Contains(out, "Amazon S3") || !strings.Contains(out, "an interrupted download can go on") || !strings.Contains(out, "an object can be deleted") {
		t.Fatalf("%d %s", status, out)
	}
	if left, _ := filepath.Glob(filepath.Join(folder, "*", "*", "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	text, err := os.ReadFile(filepath.Join(c.dir, "capstan.toml"))
	if err != nil || !strings.Contains(string(text), "file://"+filepath.ToSlash(folder)) || !strings.Contains(string(text), web.URL) {
		t.Errorf("%s %v", text, err)
	}
	if status, out := c.answer([]string{server, place(t, "https+put"), closed.URL, "X-Api-Key", "", "production"}, "profile", "init", "refused"); status != 6 {
		t.Errorf("a service that refuses: %d %s", status, out)
	}
	if status, out := c.answer([]string{server, "1", "production"}, "profile", "init", "own"); status != 0 || !strings.Contains(out, "an object can be written") {
		t.Errorf("the server's own: %d %s", status, out)
	}
	if status, out := c.answer([]string{server, "file://" + filepath.ToSlash(folder), web.URL, "production"}, "profile", "init", "url"); status != 0 {
		t.Errorf("a URL: %d %s", status, out)
	}
	for _, answer := range []string{"99", "cloud", "-1"} {
		if status, out := c.answer([]string{server, answer}, "profile", "init", "none"); status != 2 || !strings.Contains(out, "there is no storage") {
			t.Errorf("%s: %d %s", answer, status, out)
		}
	}

	// Programs may only be named by the user's own file.
	if runtime.GOOS != "linux" {
		return // the programs are GNU's
	}
	commands := filepath.Join(t.TempDir(), "commands.toml")
	object := filepath.ToSlash(folder) + "/{name}"
	toml := strings.ReplaceAll(`put    = ["install", "-D", "-m", "644", "{file}", "OBJECT"]
stat   = ["find", "FOLDER", "-path", "OBJECT", "-printf", "%s"]
get    = ["cat", "OBJECT"]
delete = ["rm", "-f", "OBJECT"]
`, "OBJECT", object)
	if err := os.WriteFile(commands, []byte(strings.ReplaceAll(toml, "FOLDER", filepath.ToSlash(folder))), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, out := c.answer([]string{server, place(t, "exec"), commands, web.URL, "production"}, "profile", "init", "programs"); status != 0 {
		t.Errorf("programs: %d %s", status, out)
	}
	if text, err := os.ReadFile(filepath.Join(c.dir, "capstan.toml")); err != nil || strings.Contains(string(text), "exec:") {
		t.Errorf("the project names a program: %s %v", text, err)
	}
}

// TestDoctorStorage: doctor tries the storage out and drops what nobody finished.
func TestDoctorStorage(t *testing.T) {
	c := newCommands(t)
	folder := t.TempDir()
	web := httptest.NewServer(http.FileServer(http.Dir(folder)))
	defer web.Close()
	t.Setenv("CAPSTAN_STORAGE", "file://"+filepath.ToSlash(folder))
	t.Setenv("CAPSTAN_PUBLIC_URL", web.URL)
	for name, age := range map[string]time.Duration{"old": 48 * time.Hour, "new": time.Hour} {
		path := filepath.Join(folder, name+".zip.1234567890123456789.tmp")
		if err := os.WriteFile(path, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
		then := time.Now().Add(-age)
		if err := os.Chtimes(path, then, then); err != nil {
			t.Fatal(err)
		}
	}
	_, out, _ := c.run("", "doctor", "--storage")
	for _, want := range []string{"an object can be written", "devices can download it", "1 uploads were begun and never finished", "1 uploads of the last day", "[--fix]"} {
		if !strings.Contains(out, want) {
			t.Errorf("doctor does not say %q:\n%s", want, out)
		}
	}
	_, out, _ = c.run("", "doctor", "--storage", "--fix")
	if left, _ := filepath.Glob(filepath.Join(folder, "*.tmp")); len(left) != 1 || !strings.Contains(left[0], "new.zip") || !strings.Contains(out, "no upload was given up") {
		t.Errorf("%v are left\n%s", left, out)
	}
}
