//go:build linux

package storage_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"capstan/core/failure"
	"capstan/core/remote"
	"capstan/core/remote/storage"
	"capstan/core/remote/storage/storagetest"
	"capstan/internal/peers"
)

// openCommands opens a storage by a file of commands, in which DIR is dir.
func openCommands(t *testing.T, commands, dir, public string, c storage.Credentials) storage.Storage {
	t.Helper()
	path := filepath.Join(t.TempDir(), "commands.toml")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(commands, "DIR", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	return open(t, "exec://"+path, public, c)
}

// GNU's own programs; put reads its input, get knows no ranges.
const plainCommands = `
put    = ["install", "-D", "/dev/stdin", "DIR/{name}"]
stat   = ["stat", "-c", "%s", "DIR/{name}"]
get    = ["cat", "DIR/{name}"]
delete = ["rm", "DIR/{name}"]
list   = ["find", "DIR", "-type", "f", "-printf", "%s %P\n"]
absent = [1]
`

// As docs/storage.md writes it down; put wants a file, get takes ranges.
const rcloneCommands = `
put    = ["rclone", "copyto", "{file}", ":local:DIR/{name}"]
stat   = ["rclone", "lsf", "--format", "s", ":local:DIR/{name}"]
get    = ["rclone", "cat", "--offset", "{offset}", "--count", "{length}", ":local:DIR/{name}"]
delete = ["rclone", "deletefile", ":local:DIR/{name}"]
list   = ["rclone", "lsf", "-R", "--files-only", "--format", "sp", "--separator", " ", ":local:DIR"]
absent = [3, 4]
`

func TestExec(t *testing.T) {
	storagetest.Run(t, storagetest.Target{Fetches: true, Unconditional: true, Open: func(t *testing.T) storage.Storage {
		dir := t.TempDir()
		web := httptest.NewServer(http.FileServer(http.Dir(dir)))
		t.Cleanup(web.Close)
		// Several writers at once need a program that puts an object into its
		// place whole; install writes it there.
		script := filepath.Join(t.TempDir(), "put")
		if err := os.WriteFile(script, []byte(`mkdir -p "$(dirname "$1")" && cat >"$1.$$" && mv "$1.$$" "$1"`), 0o600); err != nil {
			t.Fatal(err)
		}
		commands := strings.Replace(plainCommands, `["install", "-D", "/dev/stdin", "DIR/{name}"]`, fmt.Sprintf(`["sh", %q, "DIR/{name}"]`, script), 1)
		return openCommands(t, commands, dir, web.URL, storage.Credentials{})
	}})
}

func TestExecRclone(t *testing.T) {
	peers.Program(t, "rclone", "scripts/install-peers.sh")
	t.Setenv("RCLONE_CONFIG", "/dev/null")
	if os.Getenv("CAPSTAN_LONG") == "" { // every call starts a program: the whole suite takes minutes
		s, content := openCommands(t, rcloneCommands, t.TempDir(), "", storage.Credentials{}), storagetest.Bytes(10_000, 1)
		const name = storagetest.AppID + "/1.0.0+7/a b.zip"
		if _, err := s.Put(t.Context(), name, bytes.NewReader(content), int64(len(content)), storagetest.Sum(content), nil); err != nil {
			t.Fatal(err)
		}
		r, err := s.Get(t.Context(), name, 4000, 500)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, content[4000:4500]) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if _, err := s.Stat(t.Context(), name+"x"); failure.CodeOf(err) != "object_not_found" {
			t.Errorf("an object that is not there gives %v", err)
		}
		return
	}
	storagetest.Run(t, storagetest.Target{Fetches: true, Unconditional: true, Coarse: true, Open: func(t *testing.T) storage.Storage {
		dir := t.TempDir()
		web := httptest.NewServer(http.FileServer(http.Dir(dir)))
		t.Cleanup(web.Close)
		return openCommands(t, rcloneCommands, dir, web.URL, storage.Credentials{})
	}})
}

// TestExecEnvironment: programs get the storage's token, and no other secret of ours.
func TestExecEnvironment(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("CAPSTAN_TOKEN", "of-the-server")
	t.Setenv("CAPGO_PRIVATE_KEY", "of-the-app")
	seen := filepath.Join(dir, "seen")
	s := openCommands(t, fmt.Sprintf(`
put    = ["sh", "-c", "env > %s; echo \"$CAPSTAN_STORAGE_TOKEN is wrong\" >&2; exit 5", "{name}"]
stat   = ["test", "-z", "{name}"]
get    = ["cat", "{name}"]
delete = ["rm", "{name}"]
absent = [1]
`, seen), dir, "", storage.Credentials{Token: remote.NewToken(token)})
	_, err := s.Put(t.Context(), "a/b.zip", strings.NewReader("x"), 1, storagetest.Sum([]byte("x")), nil)
	if failure.CodeOf(err) != "storage_command_failed" || strings.Contains(err.Error(), token) || !strings.Contains(err.Error(), "is wrong") {
		t.Errorf("a program that fails gives %v", err)
	}
	environment, err := os.ReadFile(seen)
	if err != nil {
		t.Fatal(err)
	}
	if text := string(environment); !strings.Contains(text, "CAPSTAN_STORAGE_TOKEN="+token) || strings.Contains(text, "of-the-server") || strings.Contains(text, "of-the-app") {
		t.Errorf("the program saw:\n%s", text)
	}
}

// TestExecDistrusts: a program that reports success and stored something else
// is not believed, and one that is cancelled leaves no half object.
func TestExecDistrusts(t *testing.T) {
	dir := t.TempDir()
	content := storagetest.Bytes(4<<20, 1)
	put := func(ctx context.Context, program string, progress func(int64)) error {
		t.Helper()
		s := openCommands(t, strings.Replace(plainCommands, `["install", "-D", "/dev/stdin", "DIR/{name}"]`, program, 1), dir, "", storage.Credentials{})
		_, err := s.Put(ctx, "a.zip", strings.NewReader(string(content)), int64(len(content)), storagetest.Sum(content), progress)
		return err
	}
	if err := put(t.Context(), `["sh", "-c", "head -c 1000 > DIR/a.zip; cat > /dev/null", "{name}"]`, nil); failure.CodeOf(err) != "storage_command_failed" {
		t.Errorf("a program that stores less than it got gives %v", err)
	}
	_ = os.Remove(filepath.Join(dir, "a.zip"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := put(ctx, `["tee", "DIR/{name}"]`, func(done int64) {
		if done > 1<<20 {
			cancel()
		}
	}); err != context.Canceled {
		t.Errorf("a cancelled program gives %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "a.zip")); !os.IsNotExist(err) {
		t.Error("a cancelled program leaves half an object")
	}
	if err := put(t.Context(), `["capstan-no-such-program", "{name}"]`, nil); failure.CodeOf(err) != "storage_command_missing" {
		t.Errorf("a program that is not there gives %v", err)
	}
}

func TestExecRefuses(t *testing.T) {
	dir := t.TempDir()
	for i, c := range []struct{ commands, code string }{
		{plainCommands, ""},
		{strings.Replace(plainCommands, `"install"`, `"{name}"`, 1), "storage_url_malformed"},
		{strings.Replace(plainCommands, `"DIR/{name}"`, `"DIR/x"`, 1), "storage_url_malformed"},
		{strings.Replace(plainCommands, `"%s"`, `"{token}"`, 1), "storage_url_malformed"},
		{strings.Replace(plainCommands, `"cat"`, `"cat", "{file}"`, 1), "storage_url_malformed"},
		{strings.Replace(plainCommands, `["rm", "DIR/{name}"]`, `[]`, 1), "storage_url_malformed"},
		{strings.Replace(plainCommands, `delete`, `remove`, 1), "storage_url_malformed"},
		{"put = 5", "storage_url_malformed"},
	} {
		path := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(path, []byte(c.commands), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := storage.Open(t.Context(), "exec://"+path, "", storage.Credentials{}); failure.CodeOf(err) != c.code && (err != nil || c.code != "") {
			t.Errorf("%s gives %v", c.commands, err)
		}
	}
	path := filepath.Join(dir, "0")
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	for rawURL, code := range map[string]string{
		"exec://" + path: "storage_commands_writable", "exec:relative.toml": "storage_url_malformed", "exec://host/x.toml": "storage_url_malformed",
		"exec:///absent.toml": "storage_commands_unreadable", "exec:?put=./steal": "storage_url_malformed",
	} {
		if _, err := storage.Open(t.Context(), rawURL, "", storage.Credentials{}); failure.CodeOf(err) != code {
			t.Errorf("%s gives %v, want %s", rawURL, err, code)
		}
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, "exec://"+path, "", storage.Credentials{}).Stat(t.Context(), "--help"); failure.CodeOf(err) != "object_name_invalid" {
		t.Errorf("a name like an option gives %v", err)
	}
}
