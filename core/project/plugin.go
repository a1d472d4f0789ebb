package project

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// Plugin is what is known of the installed updater plugin.
type Plugin struct {
	Version   string // exact, e.g. 8.51.23; empty when it is not known
	Requested string // range in package.json, empty when not declared
	Dir       string // folder of the package, empty when read from a lock file
	From      string // file that says the version
}

// findPlugin looks for the plugin as Node would, then in lock files.
func (p *Project) findPlugin() Plugin {
	plugin := Plugin{Requested: p.dependencies()[PluginName]}
	if dir := p.packageDir(PluginName); dir != "" {
		if m, err := readManifest(dir); err == nil && m.Version != "" {
			plugin.Version, plugin.Dir, plugin.From = m.Version, dir, filepath.Join(dir, "package.json")
			return plugin
		}
	}
	plugin.Version, plugin.From = p.lockedVersion(PluginName)
	return plugin
}

// packageDir finds an installed package: node_modules of the project and of
// every folder above it up to the workspace (hoisted), with symlinks followed
// (pnpm), and pnpm's virtual store as the last place.
func (p *Project) packageDir(name string) string {
	dirs := upwards(p.Root, p.Workspace)
	for _, dir := range dirs {
		if found := filepath.Join(dir, "node_modules", filepath.FromSlash(name)); exists(filepath.Join(found, "package.json")) {
			if real, err := filepath.EvalSymlinks(found); err == nil {
				return real
			}
			return found
		}
	}
	for _, dir := range dirs {
		store := filepath.Join(dir, "node_modules", ".pnpm", strings.ReplaceAll(name, "/", "+")+"@*", "node_modules", filepath.FromSlash(name))
		if found, err := filepath.Glob(store); err == nil && len(found) == 1 {
			return found[0]
		}
	}
	return ""
}

// lockedVersion reads the version of a package from the lock files of npm,
// yarn (classic, berry and Plug'n'Play), pnpm and bun.
func (p *Project) lockedVersion(name string) (version, from string) {
	for _, dir := range upwards(p.Root, p.Workspace) {
		for _, lock := range []struct {
			file string
			read func(text, name string) string
		}{
			{".pnp.data.json", versionInPnp}, {".pnp.cjs", versionInPnp}, {"yarn.lock", versionInYarnLock},
			{"package-lock.json", versionInNpmLock}, {"npm-shrinkwrap.json", versionInNpmLock},
			{"pnpm-lock.yaml", versionInPnpmLock}, {"bun.lock", versionInBunLock},
		} {
			path := filepath.Join(dir, lock.file)
			text := readText(path)
			if text == "" {
				continue
			}
			if v := lock.read(text, name); v != "" {
				return v, path
			}
		}
	}
	return "", ""
}

// plausible gives a version only if it is one.
func plausible(version string) string {
	if _, err := semver.StrictNewVersion(version); err != nil {
		return ""
	}
	return version
}

func submatch(pattern, text string) string {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return ""
	}
	if m := re.FindStringSubmatch(text); m != nil {
		return plausible(m[1])
	}
	return ""
}

const versionPattern = `([0-9]+\.[0-9]+\.[0-9]+[-+.0-9A-Za-z]*)`

// Plug'n'Play lists ["@capgo/capacitor-updater", [["npm:8.51.23", {…}]]], or
// "virtual:…#npm:8.51.23" where peers differ; .pnp.cjs continues its lines with backslashes.
func versionInPnp(text, name string) string {
	return submatch(`\["`+regexp.QuoteMeta(name)+`",\s*\[\s*\["(?:virtual:[0-9a-f]+#)?npm:`+versionPattern+`"`, strings.ReplaceAll(text, "\\\n", "\n"))
}

// yarn.lock, both formats: a line with the name, then a version line.
func versionInYarnLock(text, name string) string {
	return submatch(`(?m)^"?(?:[^\n]*, ?)?"?`+regexp.QuoteMeta(name)+`@[^\n]*:\r?\n\s+version:? "?`+versionPattern, text)
}

func versionInNpmLock(text, name string) string {
	var lock struct {
		Packages     map[string]struct{ Version string }
		Dependencies map[string]struct{ Version string }
	}
	if json.Unmarshal([]byte(text), &lock) != nil {
		return ""
	}
	return plausible(first(lock.Packages["node_modules/"+name].Version, lock.Dependencies[name].Version))
}

// pnpm-lock.yaml keys: '@capgo/capacitor-updater@8.51.23(@capacitor/core@8.0.0)':
// and /@capgo/capacitor-updater@…: or /@capgo/capacitor-updater/…: before v9.
func versionInPnpmLock(text, name string) string {
	return submatch(`(?m)^\s+'?/?`+regexp.QuoteMeta(name)+`[@/]`+versionPattern, text)
}

func versionInBunLock(text, name string) string {
	return submatch(`"`+regexp.QuoteMeta(name)+`":\s*\["`+regexp.QuoteMeta(name)+`@`+versionPattern+`"`, text)
}

// capacitorMajor is the major version of @capacitor/core, installed, locked or
// at least asked for; 0 when unknown.
func (p *Project) capacitorMajor() int {
	version := ""
	if dir := p.packageDir("@capacitor/core"); dir != "" {
		if m, err := readManifest(dir); err == nil {
			version = m.Version
		}
	}
	if version == "" {
		version, _ = p.lockedVersion("@capacitor/core")
	}
	if version == "" {
		version = strings.TrimLeft(p.dependencies()["@capacitor/core"], "^~>=v ")
	}
	if v, err := semver.NewVersion(version); err == nil {
		return int(v.Major())
	}
	return 0
}

// installed reports whether the workspace has its packages at all.
func (p *Project) installed() bool {
	for _, dir := range upwards(p.Root, p.Workspace) {
		if info, err := os.Stat(filepath.Join(dir, "node_modules")); err == nil && info.IsDir() {
			return true
		}
		if exists(filepath.Join(dir, ".pnp.cjs")) {
			return true
		}
	}
	return false
}

// ReadsV1 reports whether the app opens bundles of the first encryption scheme:
// plugins up to 5.9.5, 6.1.17 and 7.0.1 always do, 6.1.18 to 6.27 where the
// config has a privateKey. False when the version is not known.
func (p *Project) ReadsV1() bool { return readsV1(p.PluginVersion, p.PrivateKey) }

func readsV1(version string, privateKey bool) bool {
	v, err := semver.StrictNewVersion(version)
	if err != nil {
		return false
	}
	upTo := func(last string) bool { return !v.GreaterThan(semver.MustParse(last)) }
	switch v.Major() {
	case 6:
		return upTo("6.1.17") || privateKey && upTo("6.27.99999")
	case 7:
		return upTo("7.0.1")
	}
	return upTo("5.9.5")
}

// readsV2 reports whether the plugin opens bundles of the second scheme when
// the config has a publicKey and no privateKey.
func readsV2(version string) bool {
	v, err := semver.StrictNewVersion(version)
	if err != nil {
		return false
	}
	switch v.Major() {
	case 6:
		return !v.LessThan(semver.MustParse("6.1.18"))
	case 7:
		return !v.LessThan(semver.MustParse("7.0.2"))
	case 5:
		return !v.LessThan(semver.MustParse("5.43.0"))
	}
	return v.Major() >= 8
}
