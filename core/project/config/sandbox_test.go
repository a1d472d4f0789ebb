package config

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"capstan/core/failure"
)

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// What a hostile config tries, and how it ends: always by itself, always with
// one line.
func TestSandboxHolds(t *testing.T) {
	cases := map[string]struct{ script, code string }{
		"endless loop":          {`for (;;) {}`, "config_timeout"},
		"endless promise chain": {`const again = () => Promise.resolve().then(again); again();`, "config_timeout"},
		"deep recursion":        {`const f = (): number => f() + 1; f();`, "config_failed"},
		"growing string":        {`let s = 'x'; for (;;) s += s;`, "config_timeout"},
		"huge repeat":           {`'x'.repeat(1e9);`, "config_failed"},
		"huge fill":             {`new Array(4e9).fill(0);`, "config_failed"},
		"growing array":         {`const a: any[] = []; for (;;) a.push([a.length, {}]);`, "config_timeout"},
		"regular expression":    {`/^(a+)+$(?=b)/.test('a'.repeat(40) + '!');`, "config_timeout"},
		"process exit":          {`(process as any).exit(1);`, "config_failed"},
		"eval of require":       {`eval("require('child_process')");`, "config_refused"},
		"dynamic function":      {`new Function("return process.mainModule.require('fs')")();`, "config_failed"},
		"module loading":        {`require('mod' + 'ule');`, "config_refused"},
		"net":                   {`require('net').connect(80);`, "config_refused"},
		"read link to outside":  {`require('fs').readFileSync('link');`, "config_refused"},
		"read private key":      {`require('fs').readFileSync('.capgo_key_v2');`, "config_refused"},
		"read link to key":      {`require('fs').readFileSync('readme.txt');`, "config_refused"},
		"import link":           {`import x from './linked.json'; console.log(x);`, "config_syntax"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if c.code == "config_timeout" { // seconds each; the others must not wait behind their loops
				t.Parallel()
			}
			dir := t.TempDir()
			outside := filepath.Join(t.TempDir(), "outside.json")
			write(t, outside, `{"secret":1}`)
			if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
				t.Skip(err)
			}
			if err := os.Symlink(outside, filepath.Join(dir, "linked.json")); err != nil {
				t.Skip(err)
			}
			write(t, filepath.Join(dir, ".capgo_key_v2"), "canary")
			if err := os.Symlink(".capgo_key_v2", filepath.Join(dir, "readme.txt")); err != nil {
				t.Skip(err)
			}
			path := filepath.Join(dir, "capacitor.config.ts")
			write(t, path, c.script+"\nexport default { appId: 'com.acme.shop' };\n")
			f, err := Read(path, "")
			if err != nil {
				t.Fatal(err)
			}
			started := time.Now()
			_, err = f.Evaluate(context.Background(), nil)
			if failure.CodeOf(err) != c.code {
				t.Errorf("gave %v (%s), want %s", err, failure.CodeOf(err), c.code)
			}
			if err != nil && strings.Contains(err.Error(), "canary") {
				t.Errorf("key material in %q", err)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %q", err)
			}
			if took := time.Since(started); took > 20*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

func TestEvaluationCanBeCancelled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "capacitor.config.js")
	write(t, path, "for (;;) {}")
	f, err := Read(path, "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := f.Evaluate(ctx, nil); failure.CodeOf(err) != "cancelled" {
		t.Errorf("gave %v, want cancelled", err)
	}
}

// The environment is seen name by name and cannot be copied as a whole.
func TestEnvironmentIsNotCopied(t *testing.T) {
	path := filepath.Join(t.TempDir(), "capacitor.config.js")
	write(t, path, "module.exports = { appId: process.env.APP_ID, all: { ...process.env }, has: 'TOKEN' in process.env };")
	f, err := Read(path, "")
	if err != nil {
		t.Fatal(err)
	}
	v, err := f.Evaluate(context.Background(), Environment{"APP_ID": "com.acme.shop", "TOKEN": "canary"})
	if err != nil {
		t.Fatal(err)
	}
	if all, _ := v.Object["all"].(map[string]any); len(all) != 0 || v.Object["appId"] != "com.acme.shop" || v.Object["has"] != true {
		t.Errorf("the config is %v", v.Object)
	}
	if strings.Join(v.Env, ",") != "APP_ID,TOKEN" {
		t.Errorf("depends on %q", v.Env)
	}
}

func TestDotenv(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, ".env"), "# ids\nexport APP_ID=com.acme.shop\nNAME=\"Acme\\nShop\" # two lines\nEMPTY=\nPLAIN=a b # c\nCHANNEL='from file'\nnonsense\n")
	path := filepath.Join(dir, "capacitor.config.ts")
	write(t, path, "import 'dotenv/config';\nconst { APP_ID, NAME, EMPTY, PLAIN, CHANNEL } = process.env;\nexport default { appId: APP_ID, appName: NAME, empty: EMPTY, plain: PLAIN, channel: CHANNEL };\n")
	f, err := Read(path, "")
	if err != nil {
		t.Fatal(err)
	}
	v, err := f.Evaluate(context.Background(), Environment{"CHANNEL": "from outside"})
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"appId": "com.acme.shop", "appName": "Acme\nShop", "empty": "", "plain": "a b", "channel": "from outside"} {
		if v.Object[key] != want {
			t.Errorf("%s is %q, want %q", key, v.Object[key], want)
		}
	}
}

// Apply keeps mode and symlink, leaves no other file and refuses a file that
// was changed after the plan.
func TestApply(t *testing.T) {
	dir := t.TempDir()
	real := filepath.Join(dir, "shared.json")
	write(t, real, "{\n  \"appId\": \"com.acme.shop\"\n}\n")
	if err := os.Chmod(real, 0o640); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "capacitor.config.json")
	if err := os.Symlink("shared.json", path); err != nil {
		t.Skip(err)
	}
	f, err := Read(path, "")
	if err != nil {
		t.Fatal(err)
	}
	edit, err := f.Change(context.Background(), map[string]string{"defaultChannel": "beta"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := edit.Apply(); err != nil {
		t.Fatal(err)
	}
	if text := read(t, real); string(text) != string(edit.After) {
		t.Errorf("the file holds %s", text)
	}
	if info, _ := os.Stat(real); info.Mode().Perm() != 0o640 {
		t.Errorf("mode is %v", info.Mode())
	}
	if info, _ := os.Lstat(path); info.Mode()&os.ModeSymlink == 0 {
		t.Error("the symlink is gone")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	if err := edit.Apply(); failure.CodeOf(err) != "config_changed" {
		t.Errorf("a plan of an older text gave %v, want config_changed", err)
	}
}

func TestChangeRefusesValues(t *testing.T) {
	path := filepath.Join(t.TempDir(), "capacitor.config.json")
	write(t, path, `{"appId":"com.acme.shop"}`)
	f, err := Read(path, "")
	if err != nil {
		t.Fatal(err)
	}
	spki := strings.NewReplacer("RSA PUBLIC", "PUBLIC").Replace(corpusKey)
	for _, c := range []struct{ key, value, code string }{
		{"appId", "x", "config_setting_unknown"},
		{"", "x", "config_setting_unknown"},
		{"publicKey", "", "config_value_invalid"},
		{"publicKey", "nonsense", "config_value_invalid"},
		{"publicKey", "\n" + corpusKey, "config_value_invalid"},
		{"publicKey", spki, "config_value_invalid"},
		{"publicKey", strings.ReplaceAll(corpusKey, "PUBLIC", "PRIVATE"), "config_value_invalid"},
		{"publicKey", corpusKey + corpusKey, "config_value_invalid"},
		{"publicKey", corpusKey[:200], "config_value_invalid"},
		{"publicKey", corpusKey, ""},
		{"publicKey", strings.ReplaceAll(corpusKey, "\n", "\r\n"), ""},
		{"publicKey", strings.ReplaceAll(corpusKey, "\n", ""), ""},
		{"updateUrl", "updates.acme.dev", "config_value_invalid"},
		{"updateUrl", "ftp://acme.dev", "config_value_invalid"},
		{"updateUrl", "https://user:pass@acme.dev", "config_value_invalid"},
		{"updateUrl", "https://acme.dev/\n", "config_value_invalid"},
		{"updateUrl", "http://localhost:8080/updates", ""},
		{"defaultChannel", " ", "config_value_invalid"},
		{"defaultChannel", "prod\x1b[2J", "config_value_invalid"},
	} {
		_, err := f.Change(context.Background(), map[string]string{c.key: c.value}, nil)
		if got := failure.CodeOf(err); err != nil && got != c.code || err == nil && c.code != "" {
			t.Errorf("%s=%q gave %v, want %q", c.key, c.value, err, c.code)
		}
	}
	if _, err := f.Change(context.Background(), nil, nil); failure.CodeOf(err) != "config_no_change" {
		t.Errorf("no change gave %v", err)
	}
}

func TestUnified(t *testing.T) {
	var a, b strings.Builder
	for i := range 40 {
		line := strings.Repeat("x", i%7+1) + "\n"
		a.WriteString(line)
		if i == 5 {
			b.WriteString("new\n")
		}
		if i != 30 {
			b.WriteString(line)
		}
	}
	want := `--- a
+++ b
@@ -3,6 +3,7 @@
 xxx
 xxxx
 xxxxx
+new
 xxxxxx
 xxxxxxx
 x
@@ -28,7 +29,6 @@
 xxxxxxx
 x
 xx
-xxx
 xxxx
 xxxxx
 xxxxxx
`
	if got := unified("a", "b", []byte(a.String()), []byte(b.String())); got != want {
		t.Errorf("got\n%s", got)
	}
	if got := unified("a", "b", []byte("x"), []byte("x\n")); got != "--- a\n+++ b\n@@ -1,1 +1,1 @@\n-x\n\\ No newline at end of file\n+x\n" {
		t.Errorf("got\n%s", got)
	}
	if got := unified("/dev/null", "b", nil, []byte("x\n")); got != "--- /dev/null\n+++ b\n@@ -0,0 +1,1 @@\n+x\n" {
		t.Errorf("got\n%s", got)
	}
}

// FuzzChange edits arbitrary configs: no panic, strict stays strict, and an
// accepted edit changes what it says and can be repeated without effect.
func FuzzChange(f *testing.F) {
	folders, _ := filepath.Glob("testdata/corpus/*/capacitor.config.*")
	for _, path := range folders {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text), strings.TrimPrefix(filepath.Ext(path), "."))
	}
	dir := f.TempDir()
	changes := map[string]string{"defaultChannel": "x'\"`\\🚢", "updateUrl": "https://u.acme.dev/updates"}
	f.Fuzz(func(t *testing.T, text, language string) {
		switch Language(language) {
		case JSON, JavaScript, TypeScript:
		default:
			return
		}
		if len(text) > 1<<12 || strings.Contains(text, "for") || strings.Contains(text, "while") {
			return // loops only cost time
		}
		file := &File{Path: filepath.Join(dir, "capacitor.config."+language), Root: dir, Language: Language(language), Text: []byte(text)}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		edit, err := file.Change(ctx, changes, nil)
		if err != nil {
			return
		}
		after := file.with(edit.After)
		if file.Strict() == "" && after.Strict() != "" {
			t.Fatalf("strict JSON is lost: %q", edit.After)
		}
		v, err := after.Evaluate(ctx, nil)
		if err != nil {
			t.Fatalf("the edited config is unreadable: %v\n%q", err, edit.After)
		}
		for key, want := range changes {
			if got, _ := Lookup(v.Object, "plugins", "CapacitorUpdater", key); got != want {
				t.Fatalf("%s is %v", key, got)
			}
		}
		if again, err := after.Change(ctx, changes, nil); err != nil || again.Changed() {
			t.Fatalf("not idempotent: %v\n%s", err, again.Diff)
		}
	})
}
