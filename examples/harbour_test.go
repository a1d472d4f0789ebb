package examples

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"capstan/internal/peers"
)

// treeSum hashes names and contents of a folder.
func treeSum(t *testing.T, dir string) (sum string, files int) {
	t.Helper()
	h := sha256.New()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, name)
		one := sha256.Sum256(content)
		io.WriteString(h, filepath.ToSlash(rel)+"\x00"+hex.EncodeToString(one[:])+"\n")
		files++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil)), files
}

func TestUnpackIsDeterministicAndKeepsEdits(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	for _, dir := range []string{a, b, b} {
		if err := Unpack(dir); err != nil {
			t.Fatal(err)
		}
	}
	sumA, files := treeSum(t, a)
	if sumB, _ := treeSum(t, b); sumA != sumB {
		t.Error("two unpacked copies differ")
	}
	if _, dist := treeSum(t, filepath.Join(a, "dist")); dist < 250 {
		t.Errorf("dist has %d files, want a few hundred", dist)
	}
	t.Logf("%d files", files)

	config := filepath.Join(a, "capacitor.config.json")
	if err := os.WriteFile(config, []byte(`{"appId":"mine"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Unpack(a); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(config); string(text) != `{"appId":"mine"}` {
		t.Errorf("a second Unpack changed the config to %s", text)
	}
}

func TestSetVersionChangesTheBuild(t *testing.T) {
	dir := t.TempDir()
	if err := Unpack(dir); err != nil {
		t.Fatal(err)
	}
	first, _ := treeSum(t, filepath.Join(dir, "dist"))
	if err := SetVersion(dir, "1.0.1"); err != nil {
		t.Fatal(err)
	}
	second, _ := treeSum(t, filepath.Join(dir, "dist"))
	if first == second {
		t.Error("the new version has the same build")
	}
	for _, name := range []string{"package.json", "dist/index.html"} {
		if text, _ := os.ReadFile(filepath.Join(dir, name)); !strings.Contains(string(text), "1.0.1") {
			t.Errorf("%s does not name the version", name)
		}
	}
	if hue("1.0.0") == hue("1.0.1") {
		t.Error("the accent colour stays the same")
	}
	if err := SetVersion(dir, "1.0.0"); err != nil {
		t.Fatal(err)
	}
	if back, _ := treeSum(t, filepath.Join(dir, "dist")); back != first {
		t.Error("the same version does not give the same build again")
	}
	for _, bad := range []string{"", "v1.2.3", "1.2", "1.2.3\"", "01.2.3"} {
		if err := SetVersion(dir, bad); err == nil {
			t.Errorf("version %q was accepted", bad)
		}
	}
}

func TestPicturesAreWellFormed(t *testing.T) {
	for name, content := range assets() {
		if !strings.HasSuffix(name, ".svg") {
			continue
		}
		d := xml.NewDecoder(strings.NewReader(string(content)))
		for {
			_, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
}

// The app's own build script and this package make the same build.
func TestBuildScriptAgrees(t *testing.T) {
	node := peers.Program(t, "node", "install Node 20 or newer")
	for _, version := range []string{"1.0.0", "1.0.1", "2.3.0-beta.1"} {
		dir := t.TempDir()
		if err := Unpack(dir); err != nil {
			t.Fatal(err)
		}
		if err := SetVersion(dir, version); err != nil {
			t.Fatal(err)
		}
		ours, _ := treeSum(t, filepath.Join(dir, "dist"))
		cmd := exec.Command(node, "build.mjs")
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build.mjs: %v\n%s", err, out)
		}
		if theirs, _ := treeSum(t, filepath.Join(dir, "dist")); ours != theirs {
			t.Errorf("version %s: build.mjs and SetVersion differ", version)
		}
	}
}
