package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"capstan/core/keys"
	"capstan/examples"
	"capstan/internal/servertest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"capstan": main})
}

// TestScripts runs testdata/script/*.txtar: the binary as people and CI call
// it, against a real update server. Each script finds
//
//	$SERVER    the update server, $CAPSTAN_TOKEN an admin's token for it
//	$LEDGER_KEY  the public key of the server's ledger
//	$UPLOADS   a folder that is public at $UPLOADS_URL ("any upload")
//	app/       the sample Capacitor app, with its build in app/dist
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:   "testdata/script",
		Setup: func(env *testscript.Env) error { return setUpScript(t, env) },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"json":   jsonCommand,
			"edit":   editCommand,
			"device": deviceCommand,
			"oldkey": oldKeyCommand,
		},
	})
}

func setUpScript(t *testing.T, env *testscript.Env) error {
	server := servertest.Start(t)
	env.Values[scriptServer{}] = server
	uploads := filepath.Join(env.WorkDir, "uploads")
	if err := os.Mkdir(uploads, 0o755); err != nil {
		return err
	}
	public := httptest.NewServer(http.FileServer(http.Dir(uploads)))
	env.Defer(public.Close)
	if err := examples.Unpack(filepath.Join(env.WorkDir, "app")); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(env.WorkDir, "passphrase"), []byte("correct horse battery staple\n"), 0o600); err != nil {
		return err
	}
	env.Setenv("LEDGER_KEY", filepath.Join(server.DataDir, "ledger.pub"))
	env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
	env.Setenv("CAPSTAN_HOME", filepath.Join(env.WorkDir, "home", "capstan"))
	env.Setenv("CAPSTAN_PASSPHRASE_FILE", filepath.Join(env.WorkDir, "passphrase"))
	env.Setenv("CAPSTAN_SERVER", server.BaseURL)
	env.Setenv("SERVER", server.BaseURL)
	env.Setenv("CAPSTAN_TOKEN", server.Token)
	env.Setenv("UPLOADS", uploads)
	env.Setenv("UPLOADS_URL", public.URL)
	env.Setenv("NO_COLOR", "1")
	return os.MkdirAll(filepath.Join(env.WorkDir, "home"), 0o700)
}

// jsonCommand reads the last JSON object of a file (stdout, stderr or a path):
//
//	json FILE KEY=VALUE    fails unless the field has the value
//	json FILE KEY -> VAR   puts the field into an environment variable
//
// A key may be a path of fields and indices, with dots.
func jsonCommand(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: json FILE KEY=VALUE | json FILE KEY -> VAR")
	}
	object := lastObject(ts, ts.ReadFile(args[0]))
	if len(args) == 4 && args[2] == "->" {
		ts.Setenv(args[3], field(ts, object, args[1]))
		return
	}
	for _, want := range args[1:] {
		key, value, ok := strings.Cut(want, "=")
		if !ok {
			ts.Fatalf("%q is not KEY=VALUE", want)
		}
		if got := field(ts, object, key); (got == value) == neg {
			ts.Fatalf("%s is %q, want %q (negated: %v)", key, got, value, neg)
		}
	}
}

func lastObject(ts *testscript.TestScript, text string) any {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var last any
	for decoder.More() {
		if err := decoder.Decode(&last); err != nil {
			ts.Fatalf("not JSON: %v\n%s", err, text)
		}
	}
	return last
}

func field(ts *testscript.TestScript, object any, path string) string {
	for name := range strings.SplitSeq(path, ".") {
		switch o := object.(type) {
		case map[string]any:
			object = o[name]
		case []any:
			var i int
			if _, err := fmt.Sscan(name, &i); err != nil || i >= len(o) {
				ts.Fatalf("no element %s", name)
			}
			object = o[i]
		default:
			ts.Fatalf("%s: nothing below %v", path, object)
		}
	}
	if object == nil {
		return ""
	}
	return fmt.Sprint(object)
}

// deviceCommand asks the server as a device does: device KEYID VERSION [APPID
// [PLUGIN]]. The answer is the new stdout; the device is the same at every call.
// What it said is on record afterwards: the server writes polls down in groups.
func deviceCommand(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 || len(args) > 4 || neg {
		ts.Fatalf("usage: device KEYID VERSION [APPID [PLUGIN]]")
	}
	args = append(args, []string{"com.example.harbour", "8.51.23"}[len(args)-2:]...)
	ask, err := json.Marshal(map[string]any{
		"app_id": args[2], "device_id": "0b7f5f6a-6a8e-4c7e-9d5b-0d9a8f7c1e22", "platform": "android", "version_name": args[1],
		"version_build": "1.0.0", "version_os": "14", "version_code": "1", "plugin_version": args[3], "is_emulator": false, "is_prod": true,
		"custom_id": "", "key_id": args[0],
	})
	ts.Check(err)
	answer, err := http.Post(ts.Getenv("SERVER")+"/updates", "application/json", bytes.NewReader(ask))
	ts.Check(err)
	defer answer.Body.Close()
	_, err = io.Copy(ts.Stdout(), answer.Body)
	ts.Check(err)
	ts.Check(ts.Value(scriptServer{}).(*servertest.Server).Store().Flush(context.Background()))
}

// scriptServer is the key of a script's server among its values.
type scriptServer struct{}

// oldKeyCommand leaves a pair of the first scheme in a folder, as the Capgo CLI
// of that time did: oldkey DIR.
func oldKeyCommand(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 || neg {
		ts.Fatalf("usage: oldkey DIR")
	}
	key, err := keys.Generate()
	ts.Check(err)
	dir := ts.MkAbs(args[0])
	ts.Check(os.WriteFile(filepath.Join(dir, keys.PrivateFileV1), keys.EncodePrivate(key), 0o600))
	ts.Check(os.WriteFile(filepath.Join(dir, keys.PublicFileV1), keys.EncodePublic(&key.PublicKey), 0o644))
}

// editCommand replaces a text in a file: edit FILE OLD NEW.
func editCommand(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: edit FILE OLD NEW")
	}
	path := ts.MkAbs(args[0])
	text := ts.ReadFile(args[0])
	if !strings.Contains(text, args[1]) {
		ts.Fatalf("%s does not contain %q", args[0], args[1])
	}
	ts.Check(os.WriteFile(path, []byte(strings.Replace(text, args[1], args[2], 1)), 0o644))
}
