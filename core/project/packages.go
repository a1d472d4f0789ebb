package project

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// NativePackage is a dependency that brings native code. A web bundle works
// only in native apps that hold compatible ones. The checksums are Capgo's:
// SHA-256 over, for every native file in order, its path in the package and its
// content, in hex; empty where the package has no files for the platform.
type NativePackage struct {
	Name            string `json:"name"`
	Version         string `json:"version"`
	Requested       string `json:"requested_version,omitempty"`
	IOSChecksum     string `json:"ios_checksum,omitempty"`
	AndroidChecksum string `json:"android_checksum,omitempty"`
}

// findNativePackages looks at every dependency of the project.
func (p *Project) findNativePackages() map[string]NativePackage {
	found := map[string]NativePackage{}
	for name, requested := range p.dependencies() {
		dir := p.packageDir(name)
		if dir == "" {
			continue
		}
		m, err := readManifest(dir)
		if err != nil {
			continue
		}
		// Only Capacitor and Cordova plugins reach the native project.
		if len(m.Capacitor.IOS) == 0 && len(m.Capacitor.Android) == 0 && !exists(filepath.Join(dir, "plugin.xml")) {
			continue
		}
		if !hasNativeFile(dir) {
			continue
		}
		found[name] = NativePackage{
			Name: name, Version: m.Version, Requested: requested,
			IOSChecksum:     nativeChecksum(dir, "ios"),
			AndroidChecksum: nativeChecksum(dir, "android"),
		}
	}
	return found
}

func isNativeFile(name string) bool {
	switch filepath.Ext(name) {
	case ".java", ".swift", ".kt", ".scala":
		return true
	}
	return false
}

// packageFilesLimit bounds the walk through one package.
const packageFilesLimit = 20000

var errStop = errors.New("stop")

func hasNativeFile(dir string) bool {
	seen, found := 0, false
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if seen++; seen > packageFilesLimit {
			return errStop
		}
		if err == nil && !d.IsDir() && isNativeFile(d.Name()) {
			found = true
			return errStop
		}
		return nil
	})
	return found
}

// nativeChecksum hashes the native files of a platform and the files that say
// how they are built.
func nativeChecksum(dir, platform string) string {
	var files []string
	_ = filepath.WalkDir(filepath.Join(dir, platform), func(path string, d fs.DirEntry, err error) error {
		if len(files) > packageFilesLimit {
			return errStop
		}
		if err == nil && !d.IsDir() && isNativeFile(d.Name()) {
			files = append(files, path)
		}
		return nil
	})
	if platform == "ios" {
		specs, _ := filepath.Glob(filepath.Join(dir, "*.podspec"))
		files = append(files, specs...)
		// One inside ios counts twice, as a source and as a build file: so Capgo does.
		files = append(files, filepath.Join(dir, "Package.swift"), filepath.Join(dir, "ios", "Package.swift"))
	} else {
		files = append(files, filepath.Join(dir, "android", "build.gradle"), filepath.Join(dir, "android", "build.gradle.kts"))
	}
	files = slices.DeleteFunc(files, func(path string) bool { return !exists(path) })
	if len(files) == 0 {
		return ""
	}
	slices.SortStableFunc(files, compareAsLocale)
	h := sha256.New()
	for _, path := range files {
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			continue
		}
		io.WriteString(h, filepath.ToSlash(rel))
		in, err := os.Open(path)
		if err != nil {
			continue
		}
		_, _ = io.Copy(h, in)
		_ = in.Close()
	}
	return hex.EncodeToString(h.Sum(nil))
}

// localeOrder is the order of printable ASCII in the root collation of CLDR,
// which JavaScript's localeCompare uses: punctuation, digits, letters; case
// decides only between texts that are equal otherwise, small letters first.
const localeOrder = " _-,;:!?.'\"()[]{}@*/\\&#%`^+<=>|~$0123456789abcdefghijklmnopqrstuvwxyz"

func compareAsLocale(a, b string) int {
	weight := func(c byte) int {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if i := strings.IndexByte(localeOrder, c); i >= 0 {
			return i
		}
		return len(localeOrder) + int(c)
	}
	for i := range min(len(a), len(b)) {
		if d := weight(a[i]) - weight(b[i]); d != 0 {
			return d
		}
	}
	if d := len(a) - len(b); d != 0 {
		return d
	}
	for i := range len(a) {
		if a[i] != b[i] { // the same letter in two cases
			return cmp.Compare(b[i], a[i])
		}
	}
	return 0
}

// SortedNativePackages lists the native packages by name.
func (p *Project) SortedNativePackages() []NativePackage {
	list := make([]NativePackage, 0, len(p.NativePackages))
	for _, name := range sortedNames(p.NativePackages) {
		list = append(list, p.NativePackages[name])
	}
	return list
}
