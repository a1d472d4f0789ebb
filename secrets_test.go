package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"capstan/core/keys"
	"capstan/examples"
	"capstan/internal/keyringtest"
	"capstan/internal/servertest"
)

// canary is a home in which every secret is known, and the texts that must
// never be seen outside the files where the operator put them.
type canary struct {
	t       *testing.T
	capstan string
	home    string
	app     string
	env     []string
	pieces  map[string]string // of a secret, by what it is
	log     string            // of everything that was printed
}

const (
	canaryPassphrase = "canary-passphrase-7f3a1c-staple"
	canaryApp        = "com.example.harbour"
)

// newCanary plants a private key, a passphrase and a token.
func newCanary(t *testing.T, server, token string) *canary {
	t.Helper()
	home := t.TempDir()
	c := &canary{t: t, capstan: program(t), home: home, app: filepath.Join(home, "app"), pieces: map[string]string{}}
	if err := examples.Unpack(c.app); err != nil {
		t.Fatal(err)
	}
	key, err := keys.Generate()
	if err != nil {
		t.Fatal(err)
	}
	pem := keys.EncodePrivate(key)
	c.write("secret/.capgo_key_v2", string(pem))
	c.write("secret/passphrase", canaryPassphrase+"\n")
	c.write("secret/wrong", "not the right passphrase\n")
	body := strings.Split(string(pem), "\n")
	for i, line := range body[1 : len(body)-2] {
		if i > 5 { // the first lines hold the public half
			c.pieces[fmt.Sprintf("line %d of the key", i)] = line
		}
	}
	for name, number := range map[string][]byte{"d": key.D.Bytes(), "p": key.Primes[0].Bytes(), "q": key.Primes[1].Bytes()} {
		c.pieces["the key's "+name+" in hex"] = hex.EncodeToString(number)[20:60]
		c.pieces["the key's "+name+" in decimal"] = fmt.Sprint(new(big.Int).SetBytes(number))[20:60]
		c.pieces["the key's "+name+" in bytes"] = string(number[8:40])
	}
	c.pieces["the passphrase"] = canaryPassphrase
	c.pieces["the passphrase in base64"] = base64.RawStdEncoding.EncodeToString([]byte(canaryPassphrase))[:30]
	c.pieces["the token"] = token

	// Programs that capstan starts tell what they were started with.
	bin := filepath.Join(home, "bin")
	for _, name := range []string{"git", "printkey"} {
		then := "cat " + quote(filepath.Join(home, "secret/.capgo_key_v2"))
		if name == "git" {
			real, err := exec.LookPath("git")
			if err != nil {
				continue
			}
			then = "exec " + quote(real) + ` "$@"`
		}
		c.write("bin/"+name, "#!/bin/sh\n{ echo \"$0\" \"$@\"; env; } >>"+quote(filepath.Join(home, "children.log"))+"\n"+then+"\n")
		if err := os.Chmod(filepath.Join(bin, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	c.env = []string{
		"HOME=" + home, "CAPSTAN_HOME=" + filepath.Join(home, "capstan"), "PATH=" + bin + ":" + os.Getenv("PATH"), "TMPDIR=" + filepath.Join(home, "tmp"),
		"CAPSTAN_SERVER=" + server, "CAPSTAN_TOKEN=" + token, "CAPSTAN_PASSPHRASE_FILE=" + filepath.Join(home, "secret/passphrase"), "CAPSTAN_KEY_STORE=file",
		"DBUS_SESSION_BUS_ADDRESS=unix:path=/nonexistent", "LANG=C.UTF-8", "CAPSTAN_DEBUG=1",
	}
	if err := os.Mkdir(filepath.Join(home, "tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *canary) write(name, text string) {
	c.t.Helper()
	path := filepath.Join(c.home, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

func (c *canary) command(env []string, args ...string) *exec.Cmd {
	cmd := exec.Command(c.capstan, args...)
	cmd.Dir, cmd.Env = c.app, append(c.env[:len(c.env):len(c.env)], env...)
	return cmd
}

// run runs a command line and holds what it printed against the secrets.
func (c *canary) run(wantOK bool, env []string, args ...string) {
	c.t.Helper()
	out, err := c.command(env, args...).CombinedOutput()
	c.log += fmt.Sprintf("$ capstan %.40q\n%s\n", args, out)
	if (err == nil) != wantOK {
		c.t.Errorf("capstan %.60q: %v, wanted success %v\n%s", args, err, wantOK, out)
	}
	c.clean(fmt.Sprintf("capstan %.60q", args), out)
}

// clean fails if a text holds a piece of a secret.
func (c *canary) clean(where string, text []byte) {
	c.t.Helper()
	for what, piece := range c.pieces {
		if bytes.Contains(text, []byte(piece)) {
			c.t.Errorf("%s shows %s", where, what)
		}
	}
}

// cleanFiles looks into every file below the home, and at its name. The files
// of the folder secret are the operator's own.
func (c *canary) cleanFiles() (files int) {
	c.t.Helper()
	err := filepath.WalkDir(c.home, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(c.home, path)
		if name == "secret" {
			return filepath.SkipDir
		}
		c.clean("the name "+name, []byte(name))
		if !d.Type().IsRegular() {
			return nil
		}
		files++
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		c.clean("the file "+name, text)
		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return files
}

// TestSecretsNeverAppear plants a private key, a passphrase and a token, does
// what an operator does with them, rightly and wrongly, and then looks for them
// in all that was printed, kept, named, logged or handed to other programs.
func TestSecretsNeverAppear(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute; run without -short")
	}
	server := servertest.Start(t)
	c := newCanary(t, server.BaseURL, server.Token)
	file, wrong := filepath.Join(c.home, "secret/.capgo_key_v2"), []string{"CAPSTAN_PASSPHRASE_FILE=" + filepath.Join(c.home, "secret/wrong")}
	out := func(name string) string { return filepath.Join(c.home, name) }
	pem, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	given := []string{keys.EnvironmentVariable + "=" + string(pem)}
	broken := []string{keys.EnvironmentVariable + "=" + string(pem[:900])}

	c.run(true, nil, "key", "import", file)
	c.run(false, nil, "key", "import", file)
	c.run(true, nil, "key", "save")
	c.run(true, nil, "key", "list")
	c.run(true, nil, "key", "show", "--check", "--json")
	c.run(false, wrong, "key", "show", "--check")
	c.run(true, nil, "key", "export", "--out", out("export.age"))
	c.run(true, nil, "key", "backup", "--out", out("backup.age"))
	c.run(true, nil, "key", "restore", "--drill", out("backup.age"))
	c.run(false, wrong, "key", "restore", "--drill", out("backup.age"))
	c.run(false, nil, "key", "restore", out("export.age"))
	c.run(true, given, "key", "list", "--json")
	c.run(false, broken, "key", "list")
	c.run(true, nil, "key", "list", "--key-command", "printkey")
	c.run(false, nil, "key", "list", "--key-command", string(pem))
	c.run(false, []string{"CAPSTAN_KEY_COMMAND=" + string(pem)}, "key", "list")
	c.run(false, []string{"CAPSTAN_PASSPHRASE_FILE=" + canaryPassphrase + "/absent"}, "key", "show", "--check")

	c.run(false, nil, "release", "--channel", "production")
	c.run(false, wrong, "release", "--channel", "production", "--create-app")
	c.run(true, nil, "release", "--channel", "production", "--create-app")
	c.run(true, given, "release", "--channel", "production", "--bundle", "1.1.0", "--json")
	c.run(true, []string{"CAPSTAN_KEY_COMMAND=printkey"}, "release", "--channel", "production", "--bundle", "1.2.0")
	c.run(false, nil, "release", "--channel", "production", "--bundle", "1.2.0")
	c.run(false, []string{"CAPSTAN_SERVER=http://127.0.0.1:1"}, "release", "--channel", "production", "--bundle", "1.3.0")
	c.run(false, []string{"CAPSTAN_TOKEN=" + server.Token + "x"}, "release", "--channel", "production", "--bundle", "1.3.0")
	c.run(false, []string{"CAPSTAN_SERVER=http://user:" + canaryPassphrase + "@127.0.0.1:1"}, "release", "--channel", "production", "--bundle", "1.3.0")
	c.run(false, nil, "release", "--channel", "production", "--bundle", "1.3.0", "--comment", string(pem))
	c.run(false, nil, "release", string(pem), "--channel", "production")
	c.run(true, nil, "release", "--list", "--json")
	c.run(true, nil, "bundle", "zip", "--name", out("plain.zip"))
	c.run(true, nil, "bundle", "encrypt", out("plain.zip"), "--key", file)
	c.run(false, nil, "bundle", "encrypt", out("plain.zip"), "--key-data", string(pem[:900]))
	c.run(true, nil, "project")
	c.run(true, nil, "app", "list")
	c.run(true, nil, "token", "list", "--json")

	if children, err := os.ReadFile(out("children.log")); err != nil || !bytes.Contains(children, []byte("printkey")) {
		t.Errorf("no child told how it was started: %v", err)
	}
	if files := c.cleanFiles(); files < 20 {
		t.Errorf("only %d files were looked at", files)
	}
	logged := 0
	err = filepath.WalkDir(server.DataDir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		logged++
		text, err := os.ReadFile(path)
		c.clean("the server's "+d.Name(), text)
		return err
	})
	if err != nil || logged == 0 {
		t.Errorf("the server's data: %d files, %v", logged, err)
	}
}

// TestSecretsInTheKeyring does the same with a key that lives in a real Secret
// Service, where no passphrase is left lying about and the key must not be
// either.
func TestSecretsInTheKeyring(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a Secret Service; run without -short")
	}
	keyringtest.Run(t, keyringtest.Unlocked, "TestInsideKeyringSecrets")
}

func TestInsideKeyringSecrets(t *testing.T) {
	if keyringtest.State() == "" {
		t.Skip("runs inside a session, started by TestSecretsInTheKeyring")
	}
	server := servertest.Start(t)
	c := newCanary(t, server.BaseURL, server.Token)
	c.env = append(c.env, "DBUS_SESSION_BUS_ADDRESS="+os.Getenv("DBUS_SESSION_BUS_ADDRESS"), "CAPSTAN_KEY_STORE=keyring")
	c.run(true, nil, "key", "import", filepath.Join(c.home, "secret/.capgo_key_v2"), "--store", "keyring")
	c.run(false, nil, "key", "import", filepath.Join(c.home, "secret/.capgo_key_v2"), "--store", "keyring")
	c.run(true, nil, "key", "save")
	c.run(true, nil, "key", "show", "--check", "--json")
	c.run(true, nil, "key", "backup", "--out", filepath.Join(c.home, "backup.age"))
	c.run(true, nil, "release", "--channel", "production", "--create-app")
	keyringtest.LockNow(t)
	c.run(false, nil, "key", "show", "--check")
	c.run(false, nil, "release", "--channel", "production", "--bundle", "1.2.0")
	if !strings.Contains(c.log, "lock") {
		t.Errorf("nothing said that the keyring is locked:\n%s", c.log)
	}
	if files := c.cleanFiles(); files < 15 {
		t.Errorf("only %d files were looked at", files)
	}
}

// TestCrashShowsNoSecret kills a release that is unlocked and uploading, so that
// the runtime writes all stacks, and looks at what it wrote and left.
func TestCrashShowsNoSecret(t *testing.T) {
	server := servertest.Start(t)
	target, err := url.Parse(server.BaseURL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	uploading, stop := make(chan struct{}, 16), make(chan struct{})
	address := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPut {
			proxy.ServeHTTP(w, r)
			return
		}
		uploading <- struct{}{}
		select { // the upload hangs until the client is gone
		case <-r.Context().Done():
		case <-stop:
		}
	}), stop)
	c := newCanary(t, address, server.Token)
	c.run(true, nil, "key", "import", filepath.Join(c.home, "secret/.capgo_key_v2"))
	c.run(true, nil, "key", "save")
	cmd := c.command([]string{"GOTRACEBACK=all"}, "release", "--channel", "production", "--create-app")
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-uploading:
	case <-time.After(2 * time.Minute):
		_ = cmd.Process.Kill()
		t.Fatal("the release never uploaded")
	}
	if err := cmd.Process.Signal(syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(output.String(), "goroutine ") {
		t.Fatalf("no crash: %v\n%s", err, output.String())
	}
	c.clean("the crash text", output.Bytes())
	if files := c.cleanFiles(); files < 10 {
		t.Errorf("only %d files were looked at", files)
	}
}

// TestTerminalShowsNoSecret types a passphrase into a real terminal and looks
// at the screen after each step.
func TestTerminalShowsNoSecret(t *testing.T) {
	server := servertest.Start(t)
	c := newCanary(t, server.BaseURL, server.Token)
	env := []string{}
	for _, v := range c.env {
		if !strings.HasPrefix(v, "CAPSTAN_PASSPHRASE_FILE=") {
			env = append(env, quote(v))
		}
	}
	file := filepath.Join(c.home, "secret/.capgo_key_v2")
	term := openTerminal(t, 120, 40, env, "cd "+quote(c.app)+" && "+quote(c.capstan)+" key import --app "+canaryApp+" "+quote(file))
	for range 2 {
		screen := term.await("passphrase")
		c.clean("the screen that asks", []byte(screen))
		term.keys("-l", canaryPassphrase)
		term.keys("Enter")
		time.Sleep(200 * time.Millisecond)
		c.clean("the screen that was typed into", []byte(term.screen()))
	}
	screen := term.await("exit 0")
	c.clean("the screen at the end", []byte(screen))
	c.clean("what scrolled by", []byte(term.run("capture-pane", "-p", "-S", "-")))
	c.cleanFiles()
}

// serve runs a handler on loopback until the test ends.
func serve(t *testing.T, handler http.Handler, stop chan struct{}) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(func() { close(stop); server.Close() })
	return server.URL
}
