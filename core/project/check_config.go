package project

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"capstan/core/bundle"
	protocol "capstan/core/capgo"
	"capstan/core/failure"

	"github.com/Masterminds/semver/v3"
	"github.com/tailscale/hujson"
)

// checkConfig: can Capacitor read the config, and is it the one in use?
func checkConfig(_ context.Context, p *Project) []Finding {
	var found []Finding
	name := filepath.Base(p.ConfigPath)
	if problem := p.file.Strict(); problem != "" {
		f := Finding{Code: "config_not_strict_json", Level: Block, Text: problem,
			Hint: "remove comments and trailing commas, or rename it to capacitor.config.ts with: export default { … }"}
		f.Fix = p.fixTrailingCommas()
		found = append(found, f)
	}
	if p.file.Strict() == "" && p.ConfigError == nil {
		for _, warning := range p.Warnings {
			found = append(found, Finding{Code: "config_export", Level: Block, Text: warning, Hint: "export the object itself: as default from a .ts file, as module.exports from a .js file"})
		}
	}
	if p.ConfigError != nil {
		hint := failure.HintOf(p.ConfigError)
		if hint == "" {
			hint = "the values shown are those of the last cap sync"
		}
		found = append(found, Finding{Code: "config_unreadable", Level: Warn, Text: p.ConfigError.Error(), Hint: hint})
	}
	for _, other := range p.Shadowed {
		found = append(found, Finding{Code: "config_shadowed", Level: Warn,
			Text: filepath.Base(other) + " is ignored: Capacitor reads " + name, Hint: "delete the file that is not in use"})
	}
	text := name + " can be read"
	if len(p.EnvDependencies) > 0 {
		text += "; it depends on " + strings.Join(p.EnvDependencies, ", ")
	}
	return orOK(found, "config", text)
}

// fixTrailingCommas repairs a config that is not strict JSON only because of
// commas before closing brackets. Comments are left to a person: removing them
// loses something.
func (p *Project) fixTrailingCommas() *Fix {
	text := bytes.TrimPrefix(p.file.Text, []byte("\xef\xbb\xbf"))
	mark := p.file.Text[:len(p.file.Text)-len(text)]
	tree, err := hujson.Parse(bytes.Clone(text))
	if err != nil {
		return nil
	}
	var commas []int
	for v := range tree.All() {
		// A trailing comma is marked by white space kept behind the last value.
		var last *hujson.Value
		switch c := v.Value.(type) {
		case *hujson.Object:
			if n := len(c.Members); n > 0 && c.Members[n-1].Value.AfterExtra != nil {
				last = &c.Members[n-1].Value
			}
		case *hujson.Array:
			if n := len(c.Elements); n > 0 && c.Elements[n-1].AfterExtra != nil {
				last = &c.Elements[n-1]
			}
		}
		if last != nil {
			commas = append(commas, last.EndOffset+len(last.AfterExtra))
		}
	}
	fixed := bytes.Clone(text)
	for i := len(commas) - 1; i >= 0; i-- {
		if at := commas[i]; at < len(text) && text[at] == ',' {
			fixed[at] = 0
		}
	}
	fixed = append(bytes.Clone(mark), bytes.ReplaceAll(fixed, []byte{0}, nil)...)
	next, err := p.file.WithText(fixed)
	if err != nil || next.Strict() != "" {
		return nil
	}
	return &Fix{Text: "remove trailing commas from " + filepath.Base(p.ConfigPath), Apply: func(context.Context) error {
		return p.file.Replace(fixed)
	}}
}

// checkIdentity: do config and native projects speak of the same app?
func checkIdentity(_ context.Context, p *Project) []Finding {
	var found []Finding
	if p.AppID == "" {
		return []Finding{{Code: "app_id_missing", Level: Block, Text: "the config has no appId", Hint: "set appId to the app's id in the stores"}}
	}
	for _, app := range p.Native.apps() {
		platform := app.Platform
		if app.AppID == "" || app.AppID == p.AppID {
			continue
		}
		same := false
		for _, v := range app.Variants { // another flavour, or the id with its suffix
			same = same || v == p.AppID || app.AppID+v == p.AppID
		}
		if !same {
			found = append(found, Finding{Code: "native_app_id_differs", Level: Warn,
				Text: fmt.Sprintf("appId is %s, the %s project is %s", p.AppID, platform, app.AppID),
				Hint: "devices ask for updates of " + p.AppID + ": make sure that this is the app on the server"})
		}
	}
	if strings.HasPrefix(p.AppID, "io.ionic.starter") || p.AppID == "com.example.app" {
		found = append(found, Finding{Code: "app_id_placeholder", Level: Warn, Text: p.AppID + " is the id of a template", Hint: "set appId to the app's own id"})
	}
	return orOK(found, "app_id", "the app is "+p.AppID)
}

// checkVersion: is the bundle version one that devices and servers accept?
func checkVersion(_ context.Context, p *Project) []Finding {
	if p.Version == "" {
		return []Finding{{Code: "version_missing", Level: Warn, Text: "package.json has no version", Hint: "set version in package.json, or give --bundle with every release"}}
	}
	v, err := semver.StrictNewVersion(p.Version)
	if err != nil {
		hint := "use three numbers, such as 1.2.0"
		if lax, err := semver.NewVersion(loosen(p.Version)); err == nil {
			hint = "use " + lax.String()
		}
		return []Finding{{Code: "version_not_semver", Level: Block, Text: fmt.Sprintf("version %s in %s is not strict semver", p.Version, p.Relative(p.VersionIn)), Hint: hint}}
	}
	var found []Finding
	for _, app := range p.Native.apps() {
		platform := app.Platform
		if app.Version == "" {
			found = append(found, Finding{Code: "native_version_unknown", Level: Warn,
				Text: "the version of the " + platform + " app could not be found in " + p.Relative(app.Dir), Hint: "check that it is semver: devices send it with every update check"})
			continue
		}
		native, err := semver.StrictNewVersion(app.Version)
		if err != nil {
			found = append(found, Finding{Code: "native_version_not_semver", Level: Warn,
				Text: fmt.Sprintf("the %s app has version %s, which is not strict semver", platform, app.Version),
				Hint: "set it to three numbers, or set plugins.CapacitorUpdater.version: servers compare bundles with it"})
			continue
		}
		switch {
		case v.LessThan(native):
			found = append(found, Finding{Code: "version_below_native", Level: Warn,
				Text: fmt.Sprintf("bundle %s is below the %s app's %s", v, platform, native), Hint: "raise the version in package.json: channels can refuse bundles below the native version"})
		case v.Major() > native.Major():
			found = append(found, Finding{Code: "version_major_above_native", Level: Warn,
				Text: fmt.Sprintf("bundle %s has a higher major version than the %s app's %s", v, platform, native), Hint: "channels refuse major updates by default: release the native app first, or stay within its major version"})
		}
	}
	if filepath.Dir(p.VersionIn) == p.Workspace && p.Workspace != p.Root {
		if apps := configsBelow(p.Workspace); len(apps) > 1 {
			found = append(found, Finding{Code: "version_shared", Level: Warn,
				Text: fmt.Sprintf("version %s comes from the workspace's package.json, which %d apps share", p.Version, len(apps)), Hint: "give the app a package.json with a version of its own"})
		}
	}
	return orOK(found, "version", "version "+v.String()+" from "+p.Relative(p.VersionIn))
}

var leadingZeros = pattern(`(^|\.)0+([0-9])`)

// loosen makes semver of versions that people write: v1.2, 2026.04.06.
func loosen(version string) string {
	return leadingZeros().ReplaceAllString(strings.TrimPrefix(strings.TrimSpace(version), "v"), "$1$2")
}

// checkPlugin: is the plugin there, and which bundles does it take?
func checkPlugin(_ context.Context, p *Project) []Finding {
	if p.PluginVersion == "" {
		switch {
		case p.Plugin.Requested == "":
			return []Finding{{Code: "plugin_missing", Level: Block, Text: PluginName + " is not a dependency of the project", Hint: "npm install " + PluginName + "@8.51.23 && npx cap sync"}}
		case !p.installed():
			return []Finding{{Code: "plugin_not_installed", Level: Warn, Text: "the packages are not installed, so the plugin's exact version is unknown", Hint: "npm install"}}
		}
		return []Finding{{Code: "plugin_not_installed", Level: Warn, Text: PluginName + " is declared but not installed", Hint: "npm install"}}
	}
	v, err := semver.NewVersion(p.PluginVersion)
	if err != nil {
		return []Finding{{Code: "plugin_version_odd", Level: Warn, Text: "the plugin's version " + p.PluginVersion + " is not semver", Hint: "install a published version"}}
	}
	var found []Finding
	form := bundle.FormFor(p.PluginVersion)
	switch {
	case v.Major() >= 9 || v.String() == "7.0.0":
		found = append(found, Finding{Code: "plugin_misnumbered", Level: Block,
			Text: "plugin " + p.PluginVersion + " was published by mistake and holds code of 2023", Hint: "npm install " + PluginName + "@8.51.23"})
	case form == bundle.FormNone:
		found = append(found, Finding{Code: "plugin_cannot_verify", Level: Block,
			Text: "plugin " + p.PluginVersion + " cannot read signed bundles", Hint: "npm install " + PluginName + "@" + newestFor(p.CapacitorMajor)})
	case form == bundle.FormV2:
		found = append(found, Finding{Code: "plugin_old_checksum", Level: Warn,
			Text: "plugin " + p.PluginVersion + " wants the older form of the signed checksum", Hint: "capstan registers both forms; other tools must be told. Update to " + newestFor(p.CapacitorMajor)})
	}
	if p.PublicKey != "" && !protocol.EnforcesSignatures(p.PluginVersion) && len(found) == 0 {
		found = append(found, Finding{Code: "plugin_not_enforcing", Level: Warn,
			Text: "plugin " + p.PluginVersion + " is installed; signatures are enforced from " + protocol.EnforcesFrom, Hint: "npm install " + PluginName + "@8.51.23"})
	}
	if p.CapacitorMajor >= 5 && v.Major() < 9 && int(v.Major()) != p.CapacitorMajor {
		found = append(found, Finding{Code: "plugin_major_differs", Level: Warn,
			Text: fmt.Sprintf("plugin %s goes with Capacitor %d, the project has Capacitor %d", p.PluginVersion, v.Major(), p.CapacitorMajor), Hint: "npm install " + PluginName + "@" + newestFor(p.CapacitorMajor)})
	}
	return orOK(found, "plugin", "plugin "+p.PluginVersion+" from "+p.Relative(p.Plugin.From))
}

// newestFor is the newest plugin for a Capacitor version, as of late 2026.
func newestFor(capacitor int) string {
	switch capacitor {
	case 5:
		return "5.50.2"
	case 6:
		return "6.51.16"
	case 7:
		return "7.51.21"
	}
	return "8.51.23"
}

// checkURLs: whom will devices talk to?
func checkURLs(_ context.Context, p *Project) []Finding {
	var found []Finding
	settings := []struct{ name, value, what string }{
		{"updateUrl", p.UpdateURL, "update checks"},
		{"statsUrl", p.StatsURL, "statistics"},
		{"channelUrl", p.ChannelURL, "channel changes"},
	}
	own := 0
	for _, s := range settings {
		if s.value != "" && !vendorHost(s.value) {
			own++
		}
	}
	var hosts []string
	for _, s := range settings {
		code := strings.ToLower(strings.TrimSuffix(s.name, "Url")) + "_url"
		if s.value == "" || vendorHost(s.value) {
			if own > 0 || s.name == "updateUrl" {
				text := s.name + " is not set: " + s.what + " go to plugin.capgo.app"
				if s.value != "" {
					text = s.name + " points at the vendor: " + s.what + " go to " + hostOf(s.value)
				}
				found = append(found, Finding{Code: code + "_vendor", Level: Warn, Text: text, Hint: "set " + s.name + " to your own server, or leave all three to use Capgo's cloud"})
			}
			continue
		}
		u, err := url.Parse(s.value)
		switch {
		case err != nil || u.Host == "":
			found = append(found, Finding{Code: code + "_malformed", Level: Block, Text: s.name + " is not a URL", Hint: "write it as https://host/path"})
		case u.Scheme == "https":
			hosts = append(hosts, u.Host)
		case developmentHost(u.Hostname()):
			found = append(found, Finding{Code: code + "_development", Level: Warn, Text: s.name + " points at this network: " + u.Host, Hint: "devices in the field need an https address"})
		default:
			found = append(found, Finding{Code: code + "_not_https", Level: Block, Text: s.name + " is not https", Hint: "serve it over https: devices refuse plain http, and anybody on the way could change answers"})
		}
	}
	if len(found) == 0 && len(hosts) == 3 && (hosts[0] != hosts[1] || hosts[0] != hosts[2]) {
		return []Finding{{Code: "urls_differ", Level: Warn, Text: "updateUrl, statsUrl and channelUrl are on different hosts", Hint: "check that all three are meant"}}
	}
	return orOK(found, "urls", "devices talk to "+hostOf(p.UpdateURL))
}

func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Host
}

func vendorHost(address string) bool {
	host := strings.ToLower(hostOf(address))
	host, _, _ = strings.Cut(host, ":")
	return host == "capgo.app" || strings.HasSuffix(host, ".capgo.app")
}

// developmentHost tells addresses that only this machine or network has.
func developmentHost(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") || strings.HasSuffix(host, ".local") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && (ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast())
}

// checkUpdaterSettings: settings that open a door or stop updates.
func checkUpdaterSettings(_ context.Context, p *Project) []Finding {
	var found []Finding
	for _, s := range []struct{ name, danger string }{
		{"allowModifyUrl", "code in a bundle could point the app at another server"},
		{"persistModifyUrl", "an address that a bundle set stays after it is gone"},
		{"allowModifyAppId", "code in a bundle could ask for another app's bundles"},
		{"allowPreview", "anybody with a preview link can load another bundle"},
		{"allowShakeChannelSelector", "everybody who shakes the device can change its channel"},
		{"allowManualBundleError", "code in a bundle can mark bundles as broken"},
	} {
		if v, _ := p.Setting(s.name); v == true {
			found = append(found, Finding{Code: "setting_" + snake(s.name), Level: Warn, Text: s.name + " is on: " + s.danger, Hint: "remove " + s.name + " for release builds"})
		}
	}
	if v, _ := p.Setting("autoUpdate"); v == false || v == "off" {
		found = append(found, Finding{Code: "auto_update_off", Level: Warn, Text: "autoUpdate is off: the app must ask for updates itself", Hint: "set autoUpdate to true unless the app calls download and set"})
	}
	if p.ServerURL != "" {
		found = append(found, Finding{Code: "server_url_set", Level: Block, Text: "server.url is set to " + hostOf(p.ServerURL) + ": the plugin blocks all updates then", Hint: "remove server.url from the config of release builds"})
	}
	return orOK(found, "settings", "no setting of the plugin opens a door")
}

// snake turns camelCase into snake_case.
func snake(name string) string {
	var b strings.Builder
	for _, r := range name {
		if r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// checkTransport: is plain http allowed anywhere in the app?
func checkTransport(_ context.Context, p *Project) []Finding {
	var found []Finding
	add := func(code, text, hint string) {
		found = append(found, Finding{Code: code, Level: Warn, Text: text, Hint: hint})
	}
	server, _ := p.Config["server"].(map[string]any)
	if server["cleartext"] == true {
		add("cleartext_config", "server.cleartext is on: the app may use plain http", "remove it from release builds")
	}
	android, _ := p.Config["android"].(map[string]any)
	if android["allowMixedContent"] == true {
		add("mixed_content", "android.allowMixedContent is on: https pages may load plain http", "remove it from release builds")
	}
	main := filepath.Join(p.Root, "android", "app", "src", "main")
	if strings.Contains(readText(filepath.Join(main, "AndroidManifest.xml")), `usesCleartextTraffic="true"`) {
		add("cleartext_android", "the Android app allows plain http", `remove android:usesCleartextTraffic="true" from AndroidManifest.xml`)
	}
	if strings.Contains(readText(filepath.Join(main, "res", "xml", "network_security_config.xml")), `<base-config cleartextTrafficPermitted="true"`) {
		add("cleartext_android", "the Android app allows plain http to every host", "limit network_security_config.xml to development hosts")
	}
	if arbitraryLoads().MatchString(readText(filepath.Join(p.Root, "ios", "App", "App", "Info.plist"))) {
		add("cleartext_ios", "the iOS app allows plain http", "remove NSAllowsArbitraryLoads from Info.plist")
	}
	return orOK(found, "transport", "plain http is not allowed")
}

var arbitraryLoads = pattern(`<key>NSAllowsArbitraryLoads</key>\s*<true\s*/>`)

// checkNativeSync: does the next native build carry what the config says?
func checkNativeSync(_ context.Context, p *Project) []Finding {
	var found []Finding
	any := false
	for _, s := range p.synced {
		if !s.exists {
			continue
		}
		any = true
		name := map[string]string{"android": "Android", "ios": "iOS"}[s.platform]
		if s.config == nil {
			found = append(found, Finding{Code: "never_synced_" + s.platform, Level: Warn, Text: "the " + name + " project has no copy of the config", Hint: "run: npx cap sync"})
			continue
		}
		var stale []string
		for _, key := range []string{"publicKey", "updateUrl", "statsUrl", "channelUrl", "defaultChannel", "appId", "privateKey"} {
			if lookupText(s.config, "plugins", "CapacitorUpdater", key) != p.updater(key) {
				stale = append(stale, key)
			}
		}
		if lookupText(s.config, "appId") != p.text("appId") {
			stale = append(stale, "the app's id")
		}
		if lookupText(s.config, "server", "url") != p.ServerURL {
			stale = append(stale, "server.url")
		}
		if len(stale) == 0 {
			continue
		}
		f := Finding{Code: "not_synced_" + s.platform, Level: Warn,
			Text: fmt.Sprintf("%s differs in the %s project: its next build would carry the old value", strings.Join(stale, ", "), name), Hint: "run: npx cap sync"}
		if stale[0] == "publicKey" {
			f.Code, f.Level = "public_key_not_synced_"+s.platform, Block
			f.Text = "the public key of the config is not in the " + name + " project: its next build could not verify bundles"
		}
		found = append(found, f)
	}
	if !any && len(found) == 0 {
		return []Finding{{Code: "native_missing", Level: Warn, Text: "there is no android or ios folder", Hint: "run: npx cap add android, npx cap add ios"}}
	}
	return orOK(found, "native_sync", "the native projects have the config's values")
}

func lookupText(o map[string]any, keys ...string) string {
	q := &Project{Config: o}
	return q.text(keys...)
}

// appendLine adds a line to a text file such as .gitignore, once, with the
// file's own line ends.
func appendLine(path, line string) error {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for have := range strings.Lines(string(text)) {
		if strings.TrimSpace(have) == line {
			return nil
		}
	}
	eol := "\n"
	if strings.Contains(string(text), "\r\n") {
		eol = "\r\n"
	}
	if len(text) > 0 && !strings.HasSuffix(string(text), "\n") {
		line = eol + line
	}
	out, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = out.WriteString(line + eol)
	return errors.Join(err, out.Close())
}
