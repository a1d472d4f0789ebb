// Package examples carries the sample app that capstan demo releases: Harbour,
// a small Capacitor project without a framework. Unpack writes it, SetVersion
// makes the next release of it. Both are deterministic: the same version gives
// the same bytes on every machine, so its bundles have the same checksum.
package examples

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// AppID is the application id in the sample app's capacitor.config.json.
const AppID = "com.example.harbour"

//go:embed all:harbour
var harbour embed.FS

// pluginPackage stands in for the installed plugin, which npm would put there:
// tools that look for its version find one. It is not embedded because a
// node_modules folder does not belong in a repository.
const pluginPackage = `{
  "name": "@capgo/capacitor-updater",
  "version": "8.51.23",
  "capacitor": {
    "android": { "src": "android" },
    "ios": { "src": "ios" }
  }
}
`

// Unpack writes the sample app into dir, makes its assets and builds it. Files
// that exist already are left as they are, so that a second call repairs a
// folder without undoing what a user changed in it.
func Unpack(dir string) error {
	files := map[string][]byte{
		"node_modules/@capgo/capacitor-updater/package.json": []byte(pluginPackage),
	}
	err := fs.WalkDir(harbour, "harbour", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := harbour.ReadFile(name)
		if err != nil {
			return err
		}
		rel := strings.TrimPrefix(name, "harbour/")
		if rel == "gitignore.txt" { // under its own name it would hide files of this repository
			rel = ".gitignore"
		}
		files[rel] = content
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the sample app: %w", err)
	}
	for name, content := range assets() {
		files["src/"+name] = content
	}
	for name, content := range files {
		if err := writeNew(filepath.Join(dir, filepath.FromSlash(name)), content); err != nil {
			return fmt.Errorf("unpack the sample app: %w", err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "dist", "index.html")); err == nil {
		return nil
	}
	return build(dir)
}

// versionField is the version property of package.json.
var versionField = regexp.MustCompile(`("version"\s*:\s*")[^"]*(")`)

// SetVersion puts version into package.json and builds again: the new build
// names the version and has another accent colour. The version must be strict
// semver (no leading v).
func SetVersion(dir, version string) error {
	if _, err := semver.StrictNewVersion(version); err != nil {
		return fmt.Errorf("version %q of the sample app: %w", version, err)
	}
	path := filepath.Join(dir, "package.json")
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the sample app: %w", err)
	}
	if !versionField.Match(text) {
		return errors.New("package.json of the sample app has no version")
	}
	text = versionField.ReplaceAll(text, []byte("${1}"+version+"${2}"))
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return fmt.Errorf("write the sample app: %w", err)
	}
	return build(dir)
}

// build does what the sample app's build.mjs does, for machines without Node:
// dist becomes a copy of src with version and accent colour stamped in.
func build(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, "package.json"))
	if err != nil {
		return fmt.Errorf("build the sample app: %w", err)
	}
	var manifest struct{ Version string }
	if err := json.Unmarshal(text, &manifest); err != nil {
		return fmt.Errorf("build the sample app: package.json: %w", err)
	}
	stamp := strings.NewReplacer("__VERSION__", manifest.Version, "__HUE__", strconv.Itoa(hue(manifest.Version)))

	src, dist := filepath.Join(dir, "src"), filepath.Join(dir, "dist")
	if err := os.RemoveAll(dist); err != nil {
		return fmt.Errorf("build the sample app: %w", err)
	}
	return filepath.WalkDir(src, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("build the sample app: %w", err)
		}
		rel, err := filepath.Rel(src, name)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(dist, rel), 0o755)
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		switch rel {
		case "index.html", "main.js", "style.css":
			content = []byte(stamp.Replace(string(content)))
		}
		return os.WriteFile(filepath.Join(dist, rel), content, 0o644)
	})
}

// hue is the accent colour of a version in degrees. Neighbouring versions are
// 137 degrees apart, so that a new release is seen at a glance.
func hue(version string) int {
	if version == "1.0.0" {
		return 205
	}
	turn := 0
	for _, c := range []byte(version) {
		turn = (turn*31 + int(c)) % 997
	}
	return (205 + (1+turn%17)*137) % 360
}

// writeNew creates a file with its folders; one that exists is left alone.
func writeNew(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = bytes.NewReader(content).WriteTo(f)
	return errors.Join(err, f.Close())
}
