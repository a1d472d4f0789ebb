package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"capstan/core/keys"
	"capstan/internal/peers"
)

// keyHome is a throw-away home for key commands: no keyring, a passphrase file,
// and a Capacitor project to stand in.
func keyHome(t *testing.T) (project string) {
	t.Helper()
	testOnlyWorkFactor = 8
	t.Cleanup(func() { testOnlyWorkFactor = 0 })
	home := t.TempDir()
	passphrase := filepath.Join(home, "passphrase")
	writeTestFile(t, passphrase, "correct horse battery staple\nsecond line\n")
	t.Setenv("CAPSTAN_HOME", filepath.Join(home, "capstan"))
	t.Setenv("CAPSTAN_PASSPHRASE_FILE", passphrase)
	t.Setenv("CAPSTAN_KEY_STORE", "file")
	t.Setenv(keys.EnvironmentVariable, "")
	project = filepath.Join(home, "app")
	if err := os.MkdirAll(filepath.Join(project, "dist"), 0o755); err != nil {
		t.Fatal(err)
	}
	writeTestFile(t, filepath.Join(project, "package.json"), `{"name":"app","version":"1.0.0","dependencies":{"@capgo/capacitor-updater":"8.51.23","@capacitor/core":"8.0.0"}}`)
	writeTestFile(t, filepath.Join(project, "capacitor.config.json"), "{\n  \"appId\": \"com.example.app\",\n  \"appName\": \"App\",\n  \"webDir\": \"dist\",\n  \"plugins\": {\n    \"CapacitorUpdater\": {\n      \"autoUpdate\": true\n    }\n  }\n}\n")
	t.Chdir(project)
	return project
}

func writeTestFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// runKey runs a command line and decodes its JSON result, or its JSON error.
func runKey(t *testing.T, args ...string) (status int, result map[string]any) {
	t.Helper()
	status, out, errOut := runText(t, append(args, "--json")...)
	text := out
	if status != 0 {
		text = errOut
	}
	if err := json.Unmarshal([]byte(text), &result); err != nil {
		t.Fatalf("%v printed %q and %q: %v", args, out, errOut, err)
	}
	if status != 0 {
		result, _ = result["error"].(map[string]any)
	}
	return status, result
}

func runText(t *testing.T, args ...string) (status int, out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	c := &Command{In: strings.NewReader(""), Out: &o, Err: &e}
	status = Execute(t.Context(), c, args)
	return status, o.String(), e.String()
}

func mustKey(t *testing.T, args ...string) map[string]any {
	t.Helper()
	status, result := runKey(t, args...)
	if status != 0 {
		t.Fatalf("%v: status %d, %v", args, status, result)
	}
	return result
}

func wantKey(t *testing.T, status int, code string, args ...string) {
	t.Helper()
	got, result := runKey(t, args...)
	if got != status || result["code"] != code {
		t.Errorf("%v: status %d, %v; want %d, %s", args, got, result, status, code)
	}
}

func configKey(t *testing.T, project string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(project, "capacitor.config.json"))
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		Plugins struct {
			CapacitorUpdater struct{ PublicKey, PrivateKey string }
		}
	}
	if err := json.Unmarshal(text, &c); err != nil {
		t.Fatal(err)
	}
	return c.Plugins.CapacitorUpdater.PublicKey
}

func TestKeyCreateInProject(t *testing.T) {
	project := keyHome(t)
	made := mustKey(t, "key", "create")
	pub, err := os.ReadFile(filepath.Join(project, ".capgo_key_v2.pub"))
	if err != nil {
		t.Fatal(err)
	}
	if made["publicKey"] != string(pub) || configKey(t, project) != string(pub) || made["store"] != "file" || made["keyId"] == "" {
		t.Errorf("%v", made)
	}
	if config, _ := made["config"].(string); filepath.Base(config) != "capacitor.config.json" {
		t.Errorf("config %q", config)
	}
	if _, err := os.Stat(filepath.Join(project, ".capgo_key_v2")); !os.IsNotExist(err) {
		t.Errorf("a private key lies in the project: %v", err)
	}
	shown := mustKey(t, "key", "show", "--check")
	if shown["keyId"] != made["keyId"] || shown["fingerprint"] != made["fingerprint"] {
		t.Errorf("%v", shown)
	}
	status, out, _ := runText(t, "key", "list")
	if id, _ := made["keyId"].(string); status != 0 || !strings.Contains(out, id) {
		t.Errorf("list: %d %s", status, out)
	}

	// Nothing is overwritten, and what is missing is completed with the same key.
	wantKey(t, 7, "key_exists", "key", "create")
	os.Remove(filepath.Join(project, ".capgo_key_v2.pub"))
	again := mustKey(t, "key", "create")
	if again["keyId"] != made["keyId"] || again["resumed"] != true {
		t.Errorf("%v", again)
	}
	if back, _ := os.ReadFile(filepath.Join(project, ".capgo_key_v2.pub")); !bytes.Equal(back, pub) {
		t.Error("the public file is not completed")
	}
}

func TestKeyCreateStopsBeforeItMakesHalfAPair(t *testing.T) {
	project := keyHome(t)
	foreign := foreignPublic(t)
	nothing := func(what string) {
		t.Helper()
		_, out, _ := runText(t, "key", "list", "--json")
		if strings.TrimSpace(out) != "[]" {
			t.Errorf("%s left a key: %s", what, out)
		}
	}
	writeTestFile(t, filepath.Join(project, ".capgo_key_v2.pub"), foreign)
	wantKey(t, 7, "key_exists", "key", "create")
	nothing("a foreign public file")
	os.Remove(filepath.Join(project, ".capgo_key_v2.pub"))

	mustKey(t, "key", "save", "--key-data", foreign)
	if configKey(t, project) != foreign {
		t.Fatal("key save did not write the config")
	}
	wantKey(t, 7, "key_exists", "key", "create")
	nothing("a foreign key in the config")

	empty := t.TempDir()
	t.Chdir(empty)
	wantKey(t, 3, "project_not_found", "key", "create")
	wantKey(t, 2, "app_missing", "key", "create", "--no-config")
	wantKey(t, 2, "app_id_malformed", "key", "create", "--no-config", "--app", "../x")
	wantKey(t, 2, "store_unknown", "key", "create", "--no-config", "--app", "com.example.two", "--store", "usb")
	nothing("refused commands")
	made := mustKey(t, "key", "create", "--no-config", "--app", "com.example.two")
	if made["config"] != "" {
		t.Errorf("%v", made)
	}
	if _, err := os.Stat(filepath.Join(empty, ".capgo_key_v2.pub")); err != nil {
		t.Error(err)
	}
}

// foreignPublic is a public key that no ring here knows.
func foreignPublic(t *testing.T) string {
	t.Helper()
	key, err := keys.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return string(keys.EncodePublic(&key.PublicKey))
}

func TestKeyMovesAndReturns(t *testing.T) {
	keyHome(t)
	made := mustKey(t, "key", "create")
	id, _ := made["keyId"].(string)
	dir := t.TempDir()
	sealed, plain, backup := filepath.Join(dir, "key.age"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "backup.age")

	mustKey(t, "key", "export", "--out", sealed)
	wantKey(t, 7, "file_exists", "key", "export", "--out", sealed)
	wantKey(t, 2, "confirmation_missing", "key", "export", "--plain", "--out", plain)
	wantKey(t, 2, "confirmation_missing", "key", "export", "--plain", "--out", plain, "--yes")
	if _, err := os.Stat(plain); !os.IsNotExist(err) {
		t.Fatal("a plain key was written without the confirmation")
	}
	mustKey(t, "key", "export", "--plain", "--out", plain, "--confirm", "com.example.app")
	for path, want := range map[string]string{sealed: "-----BEGIN AGE ENCRYPTED FILE-----", plain: "-----BEGIN RSA PRIVATE KEY-----"} {
		text, err := os.ReadFile(path)
		info, serr := os.Stat(path)
		if err != nil || serr != nil || !strings.HasPrefix(string(text), want) || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v %v", path, err, info.Mode(), string(text[:30]))
		}
	}
	mustKey(t, "key", "backup", "--out", backup)
	drill := mustKey(t, "key", "restore", "--drill", backup)
	if held, _ := drill["keys"].([]any); len(held) != 1 {
		t.Errorf("%v", drill)
	}
	if shown := mustKey(t, "key", "show"); shown["lastBackup"] == nil || shown["lastDrill"] == nil {
		t.Errorf("%v", shown)
	}

	wantKey(t, 2, "confirmation_missing", "key", "remove", id, "--yes")
	wantKey(t, 2, "confirmation_missing", "key", "remove", id, "--confirm", "com.example.app")
	mustKey(t, "key", "remove", id, "--confirm", id)
	wantKey(t, 3, "key_not_found", "key", "show")
	for _, back := range [][]string{{"key", "import", sealed}, {"key", "import", plain}, {"key", "restore", backup}} {
		mustKey(t, back...)
		if shown := mustKey(t, "key", "show", "--check"); shown["keyId"] != id {
			t.Errorf("%v gave %v", back, shown)
		}
		mustKey(t, "key", "remove", id, "--confirm", id)
	}
}

func TestKeyImportWarns(t *testing.T) {
	project := keyHome(t)
	private, err := keys.Generate()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(project, ".capgo_key_v2")
	writeTestFile(t, path, string(keys.EncodePrivate(private)))
	writeTestFile(t, path+".pub", foreignPublic(t))
	mustKey(t, "key", "save")
	got := warningCodes(mustKey(t, "key", "import", path))
	for _, want := range []string{"loose_mode", "pair_differs", "public_differs"} {
		if !strings.Contains(got, want) {
			t.Errorf("warnings %q lack %s", got, want)
		}
	}
	wantKey(t, 7, "key_exists", "key", "import", path)
	wantKey(t, 3, "key_file_missing", "key", "import", "none")
	wantKey(t, 2, "key_malformed", "key", "import", path+".pub")
	wantKey(t, 2, "usage", "key", "import")
	wantKey(t, 2, "usage", "key", "import", path, "--format", "v3")
}

// TestCommandKeyIsRemembered is a key that stays in a password manager.
func TestCommandKeyIsRemembered(t *testing.T) {
	project := keyHome(t)
	private, err := keys.Generate()
	if err != nil {
		t.Fatal(err)
	}
	writeTestFile(t, filepath.Join(project, "vault key"), string(keys.EncodePrivate(private)))
	made := mustKey(t, "key", "import", "--key-command", "cat 'vault key'")
	if made["store"] != "command" {
		t.Errorf("%v", made)
	}
	shown := mustKey(t, "key", "show", "--check")
	if shown["keyId"] != keys.KeyID(&private.PublicKey) {
		t.Errorf("%v", shown)
	}
	os.Remove(filepath.Join(project, "vault key"))
	wantKey(t, 5, "key_command_failed", "key", "show", "--check")
	id, _ := made["keyId"].(string)
	mustKey(t, "key", "remove", id, "--confirm", id)
}

// TestPlantedSecretsStayHidden runs every key command over a key and a
// passphrase that are recognised anywhere, and looks at all that was printed.
func TestPlantedSecretsStayHidden(t *testing.T) {
	project := keyHome(t)
	private, err := keys.Generate()
	if err != nil {
		t.Fatal(err)
	}
	pem := string(keys.EncodePrivate(private))
	lines := strings.Split(strings.TrimSpace(pem), "\n")
	lines = lines[7 : len(lines)-1] // beyond the public numbers
	writeTestFile(t, filepath.Join(project, ".capgo_key_v2"), pem)
	writeTestFile(t, filepath.Join(project, "broken"), strings.Replace(pem, lines[0], "!"+lines[0], 1))
	t.Setenv("EDITOR", "false")
	id := keys.KeyID(&private.PublicKey)
	for _, args := range [][]string{
		{"key", "import", ".capgo_key_v2"}, {"key", "import", ".capgo_key_v2"}, {"key", "import", "broken"}, {"key", "list"}, {"key", "show", "--check"},
		{"key", "save", "--key", ".capgo_key_v2"}, {"key", "save", "--key-data", pem}, {"key", "create"}, {"key", "export", "--out", "out.age"}, {"key", "backup", "--out", "backup.age"},
		{"key", "restore", "--drill", "backup.age"}, {"key", "restore", "broken"}, {"key", "restore", "backup.age", "--passphrase-file", "broken"},
		{"key", "rotate"}, {"key", "show", "--key-command", "cat broken"}, {"key", "show", pem}, {"key", "list", "--app", pem},
		{"key", "import", "--identity", "broken", ".capgo_key_v2"}, {"key", "export", "--recipient", pem, "--out", "x"}, {"key", "remove", id, "--confirm", id},
	} {
		for _, more := range [][]string{nil, {"--json"}} {
			_, out, errOut := runText(t, append(args, more...)...)
			said := out + errOut
			if strings.Contains(said, "correct horse") {
				t.Errorf("%v shows the passphrase: %s", args[:2], said)
			}
			for _, line := range lines {
				if strings.Contains(said, line) {
					t.Errorf("%.40q shows a part of the private key: %.300q", args, said)
					break
				}
			}
		}
	}
	for _, dir := range []string{project, os.Getenv("CAPSTAN_HOME")} {
		err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Base(path) == ".capgo_key_v2" || filepath.Base(path) == "broken" {
				return err
			}
			text, err := os.ReadFile(path)
			for _, line := range append(lines, "correct horse") {
				if bytes.Contains(text, []byte(line)) {
					t.Errorf("%s holds a secret in the clear", path)
					break
				}
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func TestKeyRotateCommand(t *testing.T) {
	keyHome(t)
	old := mustKey(t, "key", "create")["keyId"].(string)
	t.Chdir(t.TempDir())
	private, err := keys.Generate()
	if err != nil {
		t.Fatal(err)
	}
	writeTestFile(t, "next.pem", string(keys.EncodePrivate(private)))
	next := mustKey(t, "key", "import", "next.pem", "--app", "com.example.app")["keyId"].(string)
	app := []string{"--app", "com.example.app"}
	if r := mustKey(t, append([]string{"key", "rotate", "--start", next}, app...)...); r["state"] != "announced" || r["oldKeyId"] != old {
		t.Fatalf("%v", r)
	}
	if shown := mustKey(t, "key", "show", "com.example.app"); shown["keyId"] != old {
		t.Errorf("while announced the app's key is %v", shown["keyId"])
	}
	wantKey(t, 7, "rotation_order", append([]string{"key", "rotate", "--to", "retired"}, app...)...)
	mustKey(t, append([]string{"key", "rotate", "--to", "both"}, app...)...)
	wantKey(t, 7, "key_in_rotation", "key", "remove", old, "--confirm", old)
	mustKey(t, append([]string{"key", "rotate", "--to", "draining"}, app...)...)
	wantKey(t, 7, "rotation_not_counted", append([]string{"key", "rotate", "--to", "retired"}, app...)...)
	mustKey(t, append([]string{"key", "rotate", "--on-old", "3", "--devices", "10"}, app...)...)
	wantKey(t, 7, "rotation_not_drained", append([]string{"key", "rotate", "--to", "retired"}, app...)...)
	wantKey(t, 2, "confirmation_missing", append([]string{"key", "rotate", "--to", "retired", "--anyway"}, app...)...)
	mustKey(t, append([]string{"key", "rotate", "--on-old", "0", "--devices", "10"}, app...)...)
	mustKey(t, append([]string{"key", "rotate", "--to", "retired"}, app...)...)
	if shown := mustKey(t, "key", "show", "com.example.app"); shown["keyId"] != next {
		t.Errorf("after the change the app's key is %v", shown["keyId"])
	}
	mustKey(t, "key", "remove", old, "--confirm", old)
}

func TestKeyDeleteOld(t *testing.T) {
	project := keyHome(t)
	if r := mustKey(t, "key", "delete_old"); r["config"] != "" {
		t.Errorf("%v", r)
	}
	config := filepath.Join(project, "capacitor.config.json")
	const with = "{\n  \"appId\": \"com.example.app\",\n  \"webDir\": \"dist\",\n  \"plugins\": {\n    \"CapacitorUpdater\": {\n      \"autoUpdate\": true,\n      \"privateKey\": \"x\"\n    }\n  }\n}\n"
	for _, c := range []struct{ before, after string }{
		{with, strings.Replace(with, ",\n      \"privateKey\": \"x\"", "", 1)},
		{strings.Replace(with, "\"autoUpdate\": true,\n      \"privateKey\": \"x\"", "\"privateKey\": \"x\",\n      \"autoUpdate\": true", 1), strings.Replace(with, ",\n      \"privateKey\": \"x\"", "", 1)},
	} {
		writeTestFile(t, config, c.before)
		writeTestFile(t, filepath.Join(project, ".capgo_key"), "old")
		wantKey(t, 2, "confirmation_missing", "key", "delete_old")
		r := mustKey(t, "key", "delete_old", "--yes")
		if removed, _ := r["removed"].([]any); len(removed) != 1 {
			t.Errorf("%v", r)
		}
		after, _ := os.ReadFile(config)
		if string(after) != c.after {
			t.Errorf("config is\n%s\nwant\n%s", after, c.after)
		}
		if _, err := os.Stat(filepath.Join(project, ".capgo_key")); !os.IsNotExist(err) {
			t.Error("the old key file is still there")
		}
	}
}

// TestKeysWithTheCapgoCLI lets each tool read what the other made, in one
// project folder.
func TestKeysWithTheCapgoCLI(t *testing.T) {
	capgo := peers.CapgoCLI(t)
	project := keyHome(t)
	cli := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("node", append([]string{capgo}, args...)...)
		cmd.Dir = project
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("capgo %v: %v\n%s", args, err, out)
		}
		return string(out)
	}

	// capstan's key: the Capgo CLI encrypts with its export, and saves its public half.
	made := mustKey(t, "key", "create")
	exported := filepath.Join(t.TempDir(), "private.pem")
	mustKey(t, "key", "export", "--plain", "--out", exported, "--confirm", "com.example.app")
	writeTestFile(t, filepath.Join(project, "dist", "index.html"), "<script>notifyAppReady()</script>")
	writeTestFile(t, filepath.Join(project, "bundle.zip"), "PK\x05\x06"+strings.Repeat("\x00", 18))
	sum := strings.Repeat("0123456789abcdef", 4)
	out := cli("bundle", "encrypt", "bundle.zip", sum, "--key", exported, "--json")
	var encrypted struct{ IVSessionKey string }
	if err := json.Unmarshal([]byte(out[strings.Index(out, "{"):]), &encrypted); err != nil || len(encrypted.IVSessionKey) != 369 {
		t.Errorf("bundle encrypt --key: %v\n%s", err, out)
	}
	cli("key", "save", "--key", ".capgo_key_v2.pub")
	if configKey(t, project) != made["publicKey"] {
		t.Error("the Capgo CLI saved another key than capstan wrote")
	}

	// the Capgo CLI's key: capstan imports it and says what it thinks of the file.
	os.Remove(filepath.Join(project, ".capgo_key_v2.pub"))
	id, _ := made["keyId"].(string)
	mustKey(t, "key", "remove", id, "--confirm", id)
	cli("key", "create", "--force")
	theirs := mustKey(t, "key", "import", ".capgo_key_v2")
	pub, err := os.ReadFile(filepath.Join(project, ".capgo_key_v2.pub"))
	if err != nil || theirs["publicKey"] != string(pub) {
		t.Errorf("import: %v %v", theirs, err)
	}
	codes := warningCodes(theirs)
	if !strings.Contains(codes, "loose_mode") || strings.Contains(codes, "differs") {
		t.Errorf("warnings %s", codes)
	}
	back := filepath.Join(t.TempDir(), "back.pem")
	mustKey(t, "key", "export", "--plain", "--out", back, "--confirm", "com.example.app")
	a, _ := os.ReadFile(filepath.Join(project, ".capgo_key_v2"))
	if b, _ := os.ReadFile(back); !bytes.Equal(a, b) {
		t.Error("the exported key differs from the file of the Capgo CLI")
	}
}

func warningCodes(result map[string]any) string {
	var codes []string
	all, _ := result["warnings"].([]any)
	for _, w := range all {
		codes = append(codes, w.(map[string]any)["code"].(string))
	}
	return strings.Join(codes, " ")
}

// TestUsageHints points to the command that was meant, or to the help that knows it.
func TestUsageHints(t *testing.T) {
	keyHome(t)
	for _, c := range []struct{ line, hint string }{
		{"relese", "did you mean capstan release? capstan --help lists the commands"},
		{"channel promote production", "did you mean capstan channel set? capstan channel --help lists the commands"},
		{"frobnicate", "capstan --help lists the commands"},
		{"release --chanel production", "capstan release --help lists its flags"},
		{"device list --limit many", "capstan device list --help lists its flags"},
		{"bundle verify a.zip", "capstan bundle verify --help lists its flags"},
	} {
		status, _, errOut := runText(t, strings.Fields(c.line)...)
		if status != 2 || !strings.Contains(errOut, "hint: "+c.hint+"\n") {
			t.Errorf("%s: status %d, %s", c.line, status, errOut)
		}
		if strings.Contains(errOut, "strconv") {
			t.Errorf("%s: %s", c.line, errOut)
		}
	}
}
