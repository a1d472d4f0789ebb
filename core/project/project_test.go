package project

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"capstan/core/failure"
	"capstan/core/project/config"
	"capstan/examples"
)

// tree writes files below a new folder; names ending in / are folders.
func tree(t testing.TB, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	if real, err := filepath.EvalSymlinks(root); err == nil {
		root = real
	}
	for name, text := range files {
		path := filepath.Join(root, filepath.FromSlash(name))
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(path, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

const shop = `{"appId":"com.acme.shop","appName":"Shop","webDir":"dist","plugins":{"CapacitorUpdater":{}}}`

func TestOpenSampleApp(t *testing.T) {
	dir := t.TempDir()
	if err := examples.Unpack(dir); err != nil {
		t.Fatal(err)
	}
	p, err := Open(filepath.Join(dir, "src", "icons"))
	if err != nil {
		t.Fatal(err)
	}
	for name, pair := range map[string][2]string{
		"AppID":          {p.AppID, examples.AppID},
		"AppName":        {p.AppName, "Harbour"},
		"Version":        {p.Version, "1.0.0"},
		"PluginVersion":  {p.PluginVersion, "8.51.23"},
		"UpdateURL":      {p.UpdateURL, "https://updates.harbour.example/updates"},
		"StatsURL":       {p.StatsURL, "https://updates.harbour.example/stats"},
		"ChannelURL":     {p.ChannelURL, "https://updates.harbour.example/channel_self"},
		"DefaultChannel": {p.DefaultChannel, "production"},
		"WebDir":         {filepath.Base(p.WebDir), "dist"},
		"android id":     {p.Native.Android.AppID, examples.AppID},
		"android name":   {p.Native.Android.Version, "1.0.0"},
		"android code":   {p.Native.Android.Build, "1"},
		"ios id":         {p.Native.IOS.AppID, examples.AppID},
		"ios version":    {p.Native.IOS.Version, "1.0.0"},
		"ios build":      {p.Native.IOS.Build, "1"},
		"requested":      {p.Plugin.Requested, "8.51.23"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s is %q, want %q", name, pair[0], pair[1])
		}
	}
	if p.CapacitorMajor != 8 {
		t.Errorf("Capacitor %d, want 8", p.CapacitorMajor)
	}
	if !filepath.IsAbs(p.WebDir) || len(p.EnvDependencies) != 0 {
		t.Errorf("webDir %s, environment %q", p.WebDir, p.EnvDependencies)
	}
}

func TestFind(t *testing.T) {
	t.Setenv("CAPSTAN_HOME", t.TempDir())
	js := "module.exports = { appId: 'com.acme.js' }"
	cases := []struct {
		name  string
		files map[string]string
		from  string
		want  []string // names of the candidates
	}{
		{"the folder itself", map[string]string{"capacitor.config.json": shop}, ".", []string{"."}},
		{"a folder inside", map[string]string{"capacitor.config.json": shop, "src/app/": ""}, "src/app", []string{"."}},
		{"the native assets", map[string]string{"capacitor.config.json": shop, "android/app/src/main/assets/capacitor.config.json": shop}, "android/app/src/main/assets", []string{"."}},
		{"the iOS app", map[string]string{"capacitor.config.ts": js, "ios/App/App/capacitor.config.json": shop}, "ios/App/App", []string{"."}},
		{"Quasar from the top", map[string]string{"package.json": "{}", "src-capacitor/capacitor.config.json": shop}, ".", []string{"src-capacitor"}},
		{"Quasar from its sources", map[string]string{"package.json": "{}", "src/pages/": "", "src-capacitor/capacitor.config.js": js}, "src/pages", []string{"src-capacitor"}},
		{"Nx from the top", map[string]string{"nx.json": "{}", "apps/shop/capacitor.config.ts": js, "apps/api/": ""}, ".", []string{"apps/shop"}},
		{"Nx with two apps", map[string]string{"nx.json": "{}", "apps/shop/capacitor.config.ts": js, "apps/mail/capacitor.config.json": shop}, ".", []string{"apps/mail", "apps/shop"}},
		{"Nx from one of two apps", map[string]string{"nx.json": "{}", "apps/shop/capacitor.config.ts": js, "apps/mail/capacitor.config.json": shop, "apps/shop/src/": ""}, "apps/shop/src", []string{"apps/shop"}},
		{"Nx from a library", map[string]string{"nx.json": "{}", "apps/shop/capacitor.config.ts": js, "libs/ui/src/": ""}, "libs/ui/src", []string{"apps/shop"}},
		{"npm workspaces", map[string]string{"package.json": `{"workspaces":["mobile/*","web"]}`, "mobile/one/capacitor.config.json": shop, "web/": ""}, "web", []string{"mobile/one"}},
		{"yarn workspaces as object", map[string]string{"package.json": `{"workspaces":{"packages":["clients/**"]}}`, "clients/app/capacitor.config.json": shop}, ".", []string{"clients/app"}},
		{"pnpm workspaces", map[string]string{"pnpm-workspace.yaml": "# all\npackages:\n  - 'front/*' # apps\n  - \"!front/old\"\ncatalog:\n  - x\n", "front/app/capacitor.config.json": shop}, ".", []string{"front/app"}},
		{"pnpm workspaces on one line", map[string]string{"pnpm-workspace.yaml": "packages: [\"front/*\", other]\n", "front/app/capacitor.config.json": shop}, ".", []string{"front/app"}},
		{"names that Capacitor ignores", map[string]string{"capacitor.config.mts": js, "capacitor.config.prod.ts": js, "capacitor.config.jsonc": shop}, ".", nil},
		{"nothing", map[string]string{"package.json": "{}"}, ".", nil},
		{"not past a repository", map[string]string{"capacitor.config.json": shop, "other/.git/HEAD": "", "other/src/": ""}, "other/src", nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			root := tree(t, c.files)
			if !exists(filepath.Join(root, ".git")) {
				_ = os.Mkdir(filepath.Join(root, ".git"), 0o755) // keeps the search inside the test's folder
			}
			found, err := Find(filepath.Join(root, filepath.FromSlash(c.from)))
			if c.want == nil {
				if failure.CodeOf(err) != "project_not_found" || failure.ExitStatus(err) != 3 {
					t.Fatalf("found %v, %v; want project_not_found", found, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range found {
				rel, _ := filepath.Rel(root, f.Root)
				got = append(got, filepath.ToSlash(rel))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("found %q, want %q", got, c.want)
			}
		})
	}
}

func TestChoiceIsRemembered(t *testing.T) {
	t.Setenv("CAPSTAN_HOME", filepath.Join(t.TempDir(), "home"))
	root := tree(t, map[string]string{"nx.json": "{}", ".git/": "", "apps/a/capacitor.config.json": shop, "apps/b/capacitor.config.json": strings.Replace(shop, "shop", "mail", 1)})
	_, err := Open(root)
	if failure.CodeOf(err) != "project_ambiguous" || !strings.Contains(failure.HintOf(err), "apps/a, apps/b") {
		t.Fatalf("gave %v (%s)", err, failure.HintOf(err))
	}
	found, _ := Find(root)
	if err := Remember(found[1]); err != nil {
		t.Fatal(err)
	}
	p, err := Open(root)
	if err != nil || p.AppID != "com.acme.mail" {
		t.Fatalf("opened %+v, %v", p, err)
	}
	if p, err = Open(filepath.Join(root, "apps", "a")); err != nil || p.AppID != "com.acme.shop" {
		t.Errorf("inside an app its own config counts: %v", err)
	}
}

func TestVersions(t *testing.T) {
	installed := `{"name":"@capgo/capacitor-updater","version":"7.42.9"}`
	base := map[string]string{"nx.json": "{}", ".git/": "", "apps/shop/capacitor.config.json": shop}
	cases := []struct {
		name            string
		files           map[string]string
		version, plugin string
		from            string // file that says the plugin's version
	}{
		{"own package.json", map[string]string{"apps/shop/package.json": `{"version":"2.0.1"}`, "package.json": `{"version":"9.9.9"}`}, "2.0.1", "", ""},
		{"shared package.json", map[string]string{"apps/shop/package.json": `{"name":"shop"}`, "package.json": `{"version":"9.9.9"}`}, "9.9.9", "", ""},
		{"the config's version wins", map[string]string{"apps/shop/capacitor.config.json": `{"appId":"a","plugins":{"CapacitorUpdater":{"version":"3.1.0"}}}`, "package.json": `{"version":"9.9.9"}`}, "3.1.0", "", ""},
		{"no version", map[string]string{}, "", "", ""},
		{"node_modules of the app", map[string]string{"apps/shop/node_modules/@capgo/capacitor-updater/package.json": installed}, "", "7.42.9", "apps/shop/node_modules/@capgo/capacitor-updater/package.json"},
		{"hoisted", map[string]string{"node_modules/@capgo/capacitor-updater/package.json": installed}, "", "7.42.9", "node_modules/@capgo/capacitor-updater/package.json"},
		{"pnpm store without a link", map[string]string{"node_modules/.pnpm/@capgo+capacitor-updater@7.42.9_@capacitor+core@7.4.0/node_modules/@capgo/capacitor-updater/package.json": installed}, "", "7.42.9", "node_modules/.pnpm/@capgo+capacitor-updater@7.42.9_@capacitor+core@7.4.0/node_modules/@capgo/capacitor-updater/package.json"},
		{"Plug'n'Play", map[string]string{".pnp.cjs": `const RAW_RUNTIME_STATE =
'{\
  "packageRegistryData": [\
    ["@capgo/capacitor-updater", [\
      ["npm:8.47.8", {\
        "packageLocation": "./x"\
      }],\
      ["virtual:0a#npm:8.47.8", {}]\
    ]]]}';`}, "", "8.47.8", ".pnp.cjs"},
		{"yarn classic", map[string]string{"yarn.lock": "\"@capgo/capacitor-updater@^8.0.0\":\n  version \"8.47.8\"\n  resolved \"https://registry.example\"\n"}, "", "8.47.8", "yarn.lock"},
		{"yarn berry", map[string]string{"yarn.lock": "\"@capgo/camera@npm:^1.0.0\":\n  version: 1.0.0\n\n\"@capgo/capacitor-updater@npm:^8.0.0, @capgo/capacitor-updater@npm:^8.1.0\":\n  version: 8.47.9\n  resolution: \"x\"\n"}, "", "8.47.9", "yarn.lock"},
		{"npm lock", map[string]string{"package-lock.json": `{"lockfileVersion":3,"packages":{"node_modules/@capgo/capacitor-updater":{"version":"8.40.7"}}}`}, "", "8.40.7", "package-lock.json"},
		{"npm lock, old", map[string]string{"package-lock.json": `{"lockfileVersion":1,"dependencies":{"@capgo/capacitor-updater":{"version":"5.9.5"}}}`}, "", "5.9.5", "package-lock.json"},
		{"pnpm lock 9", map[string]string{"pnpm-lock.yaml": "packages:\n\n  '@capgo/capacitor-updater@8.51.14':\n    resolution: {}\n"}, "", "8.51.14", "pnpm-lock.yaml"},
		{"pnpm lock 6", map[string]string{"pnpm-lock.yaml": "packages:\n\n  /@capgo/capacitor-updater@6.51.16(@capacitor/core@6.0.0):\n    resolution: {}\n"}, "", "6.51.16", "pnpm-lock.yaml"},
		{"bun lock", map[string]string{"bun.lock": "{\n  \"packages\": {\n    \"@capgo/capacitor-updater\": [\"@capgo/capacitor-updater@8.51.23\", \"\", {}]\n"}, "", "8.51.23", "bun.lock"},
		{"a lock without it", map[string]string{"yarn.lock": "\"@capgo/capacitor-updater-ui@^8.0.0\":\n  version \"1.0.0\"\n"}, "", "", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			files := map[string]string{}
			for _, group := range []map[string]string{base, c.files} {
				for k, v := range group {
					files[k] = v
				}
			}
			root := tree(t, files)
			p, err := Open(filepath.Join(root, "apps", "shop"))
			if err != nil {
				t.Fatal(err)
			}
			from, _ := filepath.Rel(root, p.Plugin.From)
			if p.Plugin.From == "" {
				from = ""
			}
			if p.Version != c.version || p.PluginVersion != c.plugin || filepath.ToSlash(from) != c.from {
				t.Errorf("version %q, plugin %q from %q; want %q, %q from %q", p.Version, p.PluginVersion, from, c.version, c.plugin, c.from)
			}
		})
	}
}

func TestPluginBehindSymlink(t *testing.T) {
	root := tree(t, map[string]string{
		"capacitor.config.json": shop, ".git/": "", "node_modules/@capgo/": "",
		"node_modules/.pnpm/@capgo+capacitor-updater@8.4.2/node_modules/@capgo/capacitor-updater/package.json": `{"version":"8.4.2"}`,
		"node_modules/.pnpm/@capgo+capacitor-updater@8.4.1/node_modules/@capgo/capacitor-updater/package.json": `{"version":"8.4.1"}`,
	})
	err := os.Symlink("../.pnpm/@capgo+capacitor-updater@8.4.2/node_modules/@capgo/capacitor-updater", filepath.Join(root, "node_modules", "@capgo", "capacitor-updater"))
	if err != nil {
		t.Skip(err)
	}
	p, err := Open(root)
	if err != nil || p.PluginVersion != "8.4.2" {
		t.Errorf("plugin %q, %v", p.PluginVersion, err)
	}
}

// A config that cannot be evaluated is replaced by what cap sync copied.
func TestConfigErrorFallsBackToSyncedCopy(t *testing.T) {
	root := tree(t, map[string]string{
		"capacitor.config.ts": "import { execSync } from 'child_process';\nexport default { appId: execSync('id').toString() };\n",
		".git/":               "",
		"android/app/src/main/assets/capacitor.config.json": shop,
	})
	p, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	if p.AppID != "com.acme.shop" || failure.CodeOf(p.ConfigError) != "config_refused" || !strings.HasSuffix(p.ConfigFrom, "assets/capacitor.config.json") {
		t.Errorf("app %q from %s, %v", p.AppID, p.ConfigFrom, p.ConfigError)
	}
	if err := os.RemoveAll(filepath.Join(root, "android")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(root); failure.CodeOf(err) != "config_refused" {
		t.Errorf("without a copy: %v", err)
	}
}

func TestEnvironmentDependencies(t *testing.T) {
	root := tree(t, map[string]string{".git/": "", "capacitor.config.ts": "export default { appId: process.env.APP_ENV === 'production' ? 'com.acme.app' : 'com.acme.dev', plugins: { CapacitorUpdater: { appId: process.env.OTA } } };\n"})
	for _, c := range []struct {
		env  config.Environment
		want string
	}{
		{config.Environment{"APP_ENV": "production"}, "com.acme.app"},
		{config.Environment{}, "com.acme.dev"},
		{config.Environment{"OTA": "com.acme.other"}, "com.acme.other"},
	} {
		p, err := OpenWith(context.Background(), root, Options{Env: c.env})
		if err != nil {
			t.Fatal(err)
		}
		if p.AppID != c.want || strings.Join(p.EnvDependencies, " ") != "APP_ENV OTA" {
			t.Errorf("%v gave %q, depends on %q", c.env, p.AppID, p.EnvDependencies)
		}
	}
}

func TestPlanEditKeepsBackupOutsideGit(t *testing.T) {
	for _, inGit := range []bool{false, true} {
		root := tree(t, map[string]string{"capacitor.config.json": shop})
		if inGit {
			git(t, root, "init", "-q")
		}
		p, err := Open(root)
		if err != nil {
			t.Fatal(err)
		}
		edit, err := p.PlanEdit(map[string]string{"updateUrl": "https://u.acme.dev/updates"})
		if err != nil {
			t.Fatal(err)
		}
		if err := edit.Apply(); err != nil {
			t.Fatal(err)
		}
		if again, err := Open(root); err != nil || again.UpdateURL != "https://u.acme.dev/updates" {
			t.Errorf("after the edit: %v", err)
		}
		if backup := readText(filepath.Join(root, "capacitor.config.json.bak")); (backup == shop) == inGit {
			t.Errorf("in git %v: backup %q", inGit, backup)
		}
	}
}
