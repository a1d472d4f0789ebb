package project

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"capstan/examples"
)

// pair is one key pair for all tests of the package.
var pair = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func privatePEM() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(pair())}))
}

func publicPEM() string { return encodePublic(&pair().PublicKey) }

// healthy is a project without a fault: doctor finds nothing to say.
func healthy(t *testing.T) (files map[string]string, updater map[string]any) {
	t.Helper()
	updater = map[string]any{
		"publicKey": publicPEM(), "updateUrl": "https://u.acme.dev/updates",
		"statsUrl": "https://u.acme.dev/stats", "channelUrl": "https://u.acme.dev/channel_self", "defaultChannel": "production",
	}
	return map[string]string{
		"package.json":             `{"version":"1.2.3","dependencies":{"@capgo/capacitor-updater":"^8.51.0","@capacitor/core":"^8.0.0"}}`,
		".gitignore":               ".capgo_key_v2\n",
		".git/":                    "",
		"dist/index.html":          "<script src=main.js></script>",
		"dist/main.js":             "x.notifyAppReady()",
		"android/app/build.gradle": "android {\n defaultConfig {\n applicationId \"com.acme.shop\"\n versionCode 7\n versionName \"1.2.0\"\n }\n}\n",
		"node_modules/@capgo/capacitor-updater/package.json": `{"version":"8.51.23"}`,
		"node_modules/@capacitor/core/package.json":          `{"version":"8.1.0"}`,
	}, updater
}

// render writes config and synced copy.
func render(t *testing.T, config map[string]any) string {
	t.Helper()
	text, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text) + "\n"
}

func TestDoctorCodes(t *testing.T) {
	synced := "android/app/src/main/assets/capacitor.config.json"
	type change struct {
		files   map[string]string // added or replaced; "-" removes
		updater map[string]any    // settings to change; nil removes
		config  map[string]any    // other values of the config
		stale   bool              // the synced copy keeps the old config
		raw     string            // text of the config instead of the rendered one
	}
	cases := []struct {
		name   string
		change change
		want   []string // codes with a level other than ok
		worst  Level
	}{
		{"healthy", change{}, nil, OK},
		{"comments in JSON", change{raw: "{\n // no\n \"appId\": \"com.acme.shop\",\n \"webDir\": \"dist\"\n}\n"}, []string{"config_not_strict_json", "public_key_missing", "update_url_vendor", "public_key_not_synced_android"}, Block},
		{"function export", change{files: map[string]string{"capacitor.config.json": "-", "capacitor.config.ts": "export default () => ({ appId: 'com.acme.shop', webDir: 'dist' })"}}, []string{"config_export", "public_key_missing", "update_url_vendor", "public_key_not_synced_android"}, Block},
		{"two configs", change{files: map[string]string{"capacitor.config.ts": "export default " + "{ appId: 'com.acme.shop', webDir: 'dist' }"}}, []string{"config_shadowed", "public_key_missing", "update_url_vendor", "public_key_not_synced_android"}, Block},
		{"no app id", change{config: map[string]any{"appId": nil}}, []string{"app_id_missing"}, Block},
		{"template id", change{config: map[string]any{"appId": "io.ionic.starter"}}, []string{"native_app_id_differs", "app_id_placeholder"}, Warn},
		{"other native id", change{config: map[string]any{"appId": "com.acme.mail"}}, []string{"native_app_id_differs"}, Warn},
		{"no version", change{files: map[string]string{"package.json": `{"dependencies":{"@capgo/capacitor-updater":"8"}}`}}, []string{"version_missing"}, Warn},
		{"date version", change{files: map[string]string{"package.json": `{"version":"2026.04.06"}`}}, []string{"version_not_semver"}, Block},
		{"below native", change{files: map[string]string{"package.json": `{"version":"1.1.9"}`}}, []string{"version_below_native"}, Warn},
		{"above native", change{files: map[string]string{"package.json": `{"version":"2.0.0"}`}}, []string{"version_major_above_native"}, Warn},
		{"odd native version", change{files: map[string]string{"android/app/build.gradle": `versionName "1.2"`}}, []string{"native_version_not_semver"}, Warn},
		{"no native version", change{files: map[string]string{"android/app/build.gradle": `versionName computeVersion()`}}, []string{"native_version_unknown"}, Warn},
		{"no build", change{files: map[string]string{"dist/index.html": "-", "dist/main.js": "-"}}, []string{"web_dir_missing"}, Block},
		{"no index", change{files: map[string]string{"dist/index.html": "-"}}, []string{"no_index_html"}, Block},
		{"one folder too high", change{files: map[string]string{"dist/index.html": "-", "dist/main.js": "-", "dist/browser/index.html": "x", "dist/browser/main.js": "notifyAppReady"}}, []string{"web_dir_too_high"}, Warn},
		{"no notifyAppReady", change{files: map[string]string{"dist/main.js": "ready()"}}, []string{"no_notify_app_ready"}, Block},
		{"source maps", change{files: map[string]string{"dist/main.js.map": "{}"}}, []string{"source_maps"}, Warn},
		{".env in the build", change{files: map[string]string{"dist/.env.production": "A=1"}}, []string{"env_in_build"}, Block},
		{"key in the build", change{files: map[string]string{"dist/assets/settings.json": `{"k":` + mustJSON(privatePEM()) + `}`}}, []string{"private_key_in_build"}, Block},
		{"PEM code in the build", change{files: map[string]string{"dist/vendor.js": `"-----BEGIN PRIVATE KEY-----\n" + body`}}, nil, OK},
		{"native code in the build", change{files: map[string]string{"dist/lib.so": "x"}}, []string{"native_in_build"}, Block},
		{"host adapter", change{files: map[string]string{"dist/_worker.js": "x"}}, []string{"adapter_leftovers"}, Warn},
		{"no plugin", change{files: map[string]string{"package.json": `{"version":"1.2.3"}`, "node_modules/@capgo/capacitor-updater/package.json": "-"}}, []string{"plugin_missing"}, Block},
		{"plugin not installed", change{files: map[string]string{"node_modules/@capgo/capacitor-updater/package.json": "-"}}, []string{"plugin_not_installed"}, Warn},
		{"stray plugin", change{files: map[string]string{"node_modules/@capgo/capacitor-updater/package.json": `{"version":"10.0.0"}`}}, []string{"plugin_misnumbered"}, Block},
		{"V1 plugin", change{files: map[string]string{"node_modules/@capgo/capacitor-updater/package.json": `{"version":"5.6.13"}`, "node_modules/@capacitor/core/package.json": `{"version":"5.7.0"}`}}, []string{"plugin_cannot_verify"}, Block},
		{"old checksum form", change{files: map[string]string{"node_modules/@capgo/capacitor-updater/package.json": `{"version":"7.9.2"}`, "node_modules/@capacitor/core/package.json": `{"version":"7.4.0"}`}}, []string{"plugin_old_checksum"}, Warn},
		{"plugin before 8.51.23", change{files: map[string]string{"node_modules/@capgo/capacitor-updater/package.json": `{"version":"8.47.8"}`}}, []string{"plugin_not_enforcing"}, Warn},
		{"plugin of another Capacitor", change{files: map[string]string{"node_modules/@capacitor/core/package.json": `{"version":"7.4.0"}`}}, []string{"plugin_major_differs"}, Warn},
		{"no key", change{updater: map[string]any{"publicKey": nil}}, []string{"public_key_missing"}, Warn},
		{"broken key", change{updater: map[string]any{"publicKey": "-----BEGIN PUBLIC KEY-----"}}, []string{"public_key_malformed"}, Block},
		{"V1 key in the config", change{updater: map[string]any{"privateKey": "x"}}, []string{"private_key_in_config"}, Block},
		{"another .pub", change{files: map[string]string{".capgo_key_v2.pub": "-----BEGIN RSA PUBLIC KEY-----\nMIIB\n-----END RSA PUBLIC KEY-----\n"}}, []string{"public_key_file_differs"}, Warn},
		{"the same .pub", change{files: map[string]string{".capgo_key_v2.pub": strings.ReplaceAll(publicPEM(), "\n", "\r\n")}}, nil, OK},
		{"only updateUrl", change{updater: map[string]any{"statsUrl": nil, "channelUrl": nil}}, []string{"stats_url_vendor", "channel_url_vendor"}, Warn},
		{"vendor written out", change{updater: map[string]any{"statsUrl": "https://plugin.capgo.app/stats"}}, []string{"stats_url_vendor"}, Warn},
		{"plain http", change{updater: map[string]any{"updateUrl": "http://u.acme.dev/updates"}}, []string{"update_url_not_https"}, Block},
		{"development server", change{updater: map[string]any{"updateUrl": "http://192.168.1.5:8080/updates"}}, []string{"update_url_development"}, Warn},
		{"malformed URL", change{updater: map[string]any{"channelUrl": "u.acme.dev/channel"}}, []string{"channel_url_malformed"}, Block},
		{"three hosts", change{updater: map[string]any{"statsUrl": "https://stats.acme.dev/stats"}}, []string{"urls_differ"}, Warn},
		{"open doors", change{updater: map[string]any{"allowModifyUrl": true, "persistModifyUrl": true, "allowModifyAppId": true, "allowPreview": true, "allowShakeChannelSelector": true, "allowManualBundleError": true}},
			[]string{"setting_allow_modify_url", "setting_persist_modify_url", "setting_allow_modify_app_id", "setting_allow_preview", "setting_allow_shake_channel_selector", "setting_allow_manual_bundle_error"}, Warn},
		{"closed doors", change{updater: map[string]any{"allowModifyUrl": false}}, nil, OK},
		{"auto update off", change{updater: map[string]any{"autoUpdate": "off"}}, []string{"auto_update_off"}, Warn},
		{"live reload", change{config: map[string]any{"server": map[string]any{"url": "http://10.0.0.2:5173", "cleartext": true}}}, []string{"server_url_set", "cleartext_config"}, Block},
		{"mixed content", change{config: map[string]any{"android": map[string]any{"allowMixedContent": true}}}, []string{"mixed_content"}, Warn},
		{"cleartext manifest", change{files: map[string]string{"android/app/src/main/AndroidManifest.xml": `<application android:usesCleartextTraffic="true">`}}, []string{"cleartext_android"}, Warn},
		{"cleartext everywhere", change{files: map[string]string{"android/app/src/main/res/xml/network_security_config.xml": `<network-security-config><base-config cleartextTrafficPermitted="true"/>`}}, []string{"cleartext_android"}, Warn},
		{"arbitrary loads", change{files: map[string]string{"ios/App/App/Info.plist": "<dict><key>CFBundleShortVersionString</key><string>1.2.0</string><key>NSAllowsArbitraryLoads</key>\n<true/></dict>", "ios/App/App/capacitor.config.json": "synced"}}, []string{"cleartext_ios"}, Warn},
		{"key not synced", change{stale: true, updater: map[string]any{"defaultChannel": "beta"}, files: map[string]string{synced: shop}}, []string{"public_key_not_synced_android"}, Block},
		{"channel not synced", change{stale: true, updater: map[string]any{"defaultChannel": "beta"}}, []string{"not_synced_android"}, Warn},
		{"never synced", change{files: map[string]string{synced: "-"}}, []string{"never_synced_android"}, Warn},
		{"no native projects", change{files: map[string]string{"android/app/build.gradle": "-", synced: "-"}}, []string{"native_missing"}, Warn},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			files, updater := healthy(t)
			config := map[string]any{"appId": "com.acme.shop", "appName": "Shop", "webDir": "dist", "plugins": map[string]any{"CapacitorUpdater": updater}}
			before := render(t, config)
			for key, value := range c.change.updater {
				if updater[key] = value; value == nil {
					delete(updater, key)
				}
			}
			for key, value := range c.change.config {
				if config[key] = value; value == nil {
					delete(config, key)
				}
			}
			now := render(t, config)
			files["capacitor.config.json"], files[synced] = now, now
			if c.change.stale {
				files[synced] = before
			}
			if c.change.raw != "" {
				files["capacitor.config.json"] = c.change.raw
			}
			for name, text := range c.change.files {
				switch files[name] = text; text {
				case "-":
					delete(files, name)
				case "synced":
					files[name] = now
				}
			}
			p, err := Open(tree(t, files))
			if err != nil {
				t.Fatal(err)
			}
			findings := Doctor(context.Background(), p)
			var got []string
			for _, f := range findings {
				if f.Level != OK {
					if got = append(got, f.Code); f.Hint == "" {
						t.Errorf("%s has no hint", f.Code)
					}
				}
				if strings.ContainsAny(f.Text+f.Hint, "\n\r") || f.Text == "" {
					t.Errorf("%s is not one line: %q %q", f.Code, f.Text, f.Hint)
				}
			}
			slices.Sort(got)
			slices.Sort(c.want)
			if !slices.Equal(got, c.want) || Worst(findings) != c.worst {
				t.Errorf("found %q (%s), want %q (%s)", got, Worst(findings), c.want, c.worst)
			}
		})
	}
}

func mustJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func find(findings []Finding, code string) *Finding {
	for i := range findings {
		if findings[i].Code == code {
			return &findings[i]
		}
	}
	return nil
}

// Private key files: mode, git, and whether they belong to the app; the fixes
// repair what they say and a second look finds nothing.
func TestDoctorPrivateKeyFiles(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes of files mean nothing on Windows")
	}
	files, updater := healthy(t)
	delete(files, ".git/")
	delete(files, ".gitignore")
	files["capacitor.config.json"] = render(t, map[string]any{"appId": "com.acme.shop", "webDir": "dist", "plugins": map[string]any{"CapacitorUpdater": updater}})
	files[".capgo_key_v2"] = privatePEM()
	root := tree(t, files)
	git(t, root, "init", "-q")
	ctx := context.Background()
	open := func() []Finding {
		p, err := Open(root)
		if err != nil {
			t.Fatal(err)
		}
		return Doctor(ctx, p)
	}
	findings := open()
	for _, code := range []string{"private_key_readable", "private_key_not_ignored"} {
		f := find(findings, code)
		if f == nil || f.Fix == nil {
			t.Fatalf("%s was not found, or has no fix: %+v", code, findings)
		}
		for range 2 { // a fix can be repeated
			if err := f.Fix.Apply(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	if f := find(findings, "key_pair_differs"); f != nil {
		t.Errorf("the key is the app's: %s", f.Text)
	}
	if info, _ := os.Stat(filepath.Join(root, ".capgo_key_v2")); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	if text := readText(filepath.Join(root, ".gitignore")); text != ".capgo_key_v2\n" {
		t.Errorf(".gitignore holds %q", text)
	}
	if f := find(open(), "private_key_file"); f == nil || f.Level != OK {
		t.Errorf("after the fixes: %+v", open())
	}
	git(t, root, "add", "-f", ".capgo_key_v2")
	if f := find(open(), "private_key_tracked"); f == nil || f.Level != Block || f.Fix != nil {
		t.Error("a tracked private key is not blocked, or would be changed without asking")
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(other)})
	if err := os.WriteFile(filepath.Join(root, ".capgo_key_v2"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	findings = open()
	if f := find(findings, "key_pair_differs"); f == nil || f.Level != Block {
		t.Error("a private key of another pair is not blocked")
	}
	for _, f := range findings {
		if strings.Contains(f.Text+f.Hint, "MII") {
			t.Errorf("key material in a finding: %s", f.Text)
		}
	}
}

func TestDoctorFixesTrailingCommas(t *testing.T) {
	broken := "\xef\xbb\xbf{\r\n\t\"appId\": \"com.acme.shop\",\r\n\t\"list\": [1, [2, ], ],\r\n\t\"plugins\": {\r\n\t\t\"CapacitorUpdater\": {\r\n\t\t\t\"updateUrl\": \"https://a,}/\",\r\n\t\t},\r\n\t},\r\n}\r\n"
	root := tree(t, map[string]string{".git/": "", "capacitor.config.json": broken})
	p, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	f := find(Doctor(context.Background(), p), "config_not_strict_json")
	if f == nil || f.Fix == nil {
		t.Fatalf("no fix: %+v", f)
	}
	if err := f.Fix.Apply(context.Background()); err != nil {
		t.Fatal(err)
	}
	want := "\xef\xbb\xbf{\r\n\t\"appId\": \"com.acme.shop\",\r\n\t\"list\": [1, [2 ] ],\r\n\t\"plugins\": {\r\n\t\t\"CapacitorUpdater\": {\r\n\t\t\t\"updateUrl\": \"https://a,}/\"\r\n\t\t}\r\n\t}\r\n}\r\n"
	if got := readText(p.ConfigPath); got != want {
		t.Errorf("got %q", got)
	}
	// Comments are for a person.
	root = tree(t, map[string]string{".git/": "", "capacitor.config.json": "{\"appId\": \"a\", // x\n}"})
	if p, err = Open(root); err != nil {
		t.Fatal(err)
	}
	if f := find(Doctor(context.Background(), p), "config_not_strict_json"); f == nil || f.Fix != nil {
		t.Errorf("a comment would be removed: %+v", f)
	}
}

func TestDoctorStaleBuild(t *testing.T) {
	dir := t.TempDir()
	if err := examples.Unpack(dir); err != nil {
		t.Fatal(err)
	}
	p, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if f := find(Doctor(context.Background(), p), "web_dir_stale"); f != nil {
		t.Errorf("a fresh build is called stale: %s", f.Text)
	}
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(filepath.Join(dir, "src", "main.js"), later, later); err != nil {
		t.Fatal(err)
	}
	f := find(Doctor(context.Background(), p), "web_dir_stale")
	if f == nil || f.Text != "dist is older than src/main.js" {
		t.Errorf("a stale build gives %+v", f)
	}
}

// Further checks run after the own ones.
func TestDoctorRunsFurtherChecks(t *testing.T) {
	p, err := Open(tree(t, map[string]string{".git/": "", "capacitor.config.json": shop}))
	if err != nil {
		t.Fatal(err)
	}
	findings := Doctor(context.Background(), p, func(_ context.Context, p *Project) []Finding {
		return []Finding{{Code: "mine", Level: OK, Text: p.AppID}, {Code: "worse", Level: Block, Text: "x"}}
	})
	last := findings[len(findings)-2:]
	if last[0].Code != "worse" || last[1].Code != "mine" || last[1].Text != "com.acme.shop" {
		t.Errorf("the last findings are %+v", last)
	}
}
