package config

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"capstan/internal/peers"
)

// capacitorCLI gives a folder with @capacitor/cli and typescript installed.
func capacitorCLI(t *testing.T) string {
	t.Helper()
	const how = "npm install --ignore-scripts @capacitor/cli@8.5.2 typescript@5 in a folder and set CAPSTAN_CAPACITOR_CLI to it"
	dir := os.Getenv("CAPSTAN_CAPACITOR_CLI")
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "@capacitor", "cli", "dist", "config.js")); dir == "" || err != nil {
		peers.Missing(t, "the Capacitor CLI", how)
	}
	return dir
}

// The configs of the corpus have the same value for capstan as for the real
// Capacitor CLI, before an edit and after it.
func TestSameAsCapacitor(t *testing.T) {
	cli := capacitorCLI(t)
	node := peers.Program(t, "node", "install Node 20 or newer")
	// Its value is the current time.
	skip := map[string]bool{"ts-date": true}

	root := t.TempDir()
	var folders []string
	cases, err := filepath.Glob("testdata/corpus/*/case.json")
	if err != nil {
		t.Fatal(err)
	}
	add := func(name, from string, edited []byte) {
		dir := filepath.Join(root, name)
		if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
		if edited != nil {
			found, _ := filepath.Glob(filepath.Join(dir, "capacitor.config.*"))
			if err := os.WriteFile(found[0], edited, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := os.Stat(filepath.Join(dir, "package.json")); err != nil {
			if err := os.WriteFile(filepath.Join(dir, "package.json"), []byte("{}"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink(filepath.Join(cli, "node_modules"), filepath.Join(dir, "node_modules")); err != nil {
			t.Skip(err)
		}
		folders = append(folders, dir)
	}
	for _, path := range cases {
		from := filepath.Dir(path)
		if name := filepath.Base(from); !skip[name] {
			add(name, from, nil)
			if want, err := os.ReadFile(filepath.Join(from, "want")); err == nil {
				add(name+" edited", from, want)
			}
		}
	}
	list, err := json.Marshal(folders)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, "testdata/load.cjs", cli)
	cmd.Stdin = bytes.NewReader(list)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + root}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var results []struct {
		Config json.RawMessage
		Error  string
	}
	if err := json.Unmarshal(out, &results); err != nil || len(results) != len(folders) {
		t.Fatalf("%d results for %d folders: %v", len(results), len(folders), err)
	}
	same, warned := 0, 0
	for i, r := range results {
		name := filepath.Base(folders[i])
		found, _ := filepath.Glob(filepath.Join(folders[i], "capacitor.config.*"))
		f, err := Read(found[0], "")
		if err != nil {
			t.Fatal(err)
		}
		ours, err := f.Evaluate(t.Context(), nil)
		if r.Error != "" {
			continue // it needs a package or a variable that is not there
		}
		theirs, decodeErr := decodeObject(r.Config)
		switch {
		case strings.Contains(strings.Join(ours.Warnings, " "), "takes the config for empty"):
			if _, has := theirs["appId"]; has {
				t.Errorf("%s: Capacitor takes %s although: %s", name, r.Config, ours.Warnings)
			}
			warned++
		case err != nil && f.Language == JSON:
			if string(r.Config) != "{}" && decodeErr == nil {
				t.Errorf("%s: Capacitor takes %s, capstan says %v", name, r.Config, err)
			}
		case err != nil:
			// What the sandbox refuses, Node may do.
			t.Logf("%s: capstan refuses it: %v", name, err)
		case decodeErr != nil:
			t.Logf("%s: Capacitor gives %s", name, r.Config)
		case !reflect.DeepEqual(normal(t, ours.Object), normal(t, theirs)):
			t.Errorf("%s: capstan has\n%v\nCapacitor has\n%v", name, ours.Object, theirs)
		default:
			same++
		}
	}
	if same < 120 {
		t.Errorf("only %d configs could be compared", same)
	}
	t.Logf("%d configs have the same value, %d are empty for Capacitor and capstan says so", same, warned)
}

// normal puts numbers through float64, as JavaScript does.
func normal(t *testing.T, v any) any {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal([]byte(strings.TrimSpace(string(text))), &out); err != nil {
		t.Fatal(err)
	}
	return out
}
