package project

import (
	"context"
	"path/filepath"
	"regexp"
	"strings"

	"capstan/core/project/config"
)

// Native is what the native projects say of themselves. A nil part means that
// the project has none.
type Native struct {
	Android *NativeApp
	IOS     *NativeApp
}

// NativeApp is one native project.
type NativeApp struct {
	Platform string // Android or iOS
	Dir      string // android or ios folder
	AppID    string // applicationId, PRODUCT_BUNDLE_IDENTIFIER; empty when computed
	Version  string // versionName, CFBundleShortVersionString; empty when computed
	Build    string // versionCode, CFBundleVersion
	From     string // file that says Version
	// Variants are further values: per flavour, suffix or configuration.
	Variants []string
}

// apps lists the native projects that exist.
func (n Native) apps() []*NativeApp {
	var list []*NativeApp
	for _, app := range []*NativeApp{n.Android, n.IOS} {
		if app != nil {
			list = append(list, app)
		}
	}
	return list
}

func readNative(root string) Native {
	return Native{Android: readAndroid(filepath.Join(root, "android")), IOS: readIOS(filepath.Join(root, "ios"))}
}

var (
	gradleComment = pattern(`(?s:/\*.*?\*/)|(?m:(?:^|\s)//.*$)`)
	gradleID      = pattern(`\bapplicationId\s*(?:=\s*|\s+)["']([^"'$]+)["']`)
	gradleName    = pattern(`\bversionName\s*(?:=\s*|\s+)["']([^"'$]+)["']`)
	gradleNameVar = pattern(`\bversionName\s*(?:=\s*|\s+)(?:rootProject\.ext\.|project\.ext\.|ext\.)?["']?\$?\{?([A-Za-z_][\w.]*)\}?["']?`)
	gradleCode    = pattern(`\bversionCode\s*(?:=\s*|\s+)([0-9]+)`)
	gradleSuffix  = pattern(`\b(?:applicationIdSuffix|versionNameSuffix)\s*(?:=\s*|\s+)["']([^"']+)["']`)
)

func readAndroid(dir string) *NativeApp {
	if !exists(dir) {
		return nil
	}
	app := &NativeApp{Platform: "Android", Dir: dir}
	for _, name := range []string{"build.gradle", "build.gradle.kts"} {
		path := filepath.Join(dir, "app", name)
		text := gradleComment().ReplaceAllString(readText(path), "")
		if text == "" {
			continue
		}
		app.From = path
		app.AppID, app.Variants = firstAndRest(gradleID().FindAllStringSubmatch(text, -1))
		var more []string
		app.Version, more = firstAndRest(gradleName().FindAllStringSubmatch(text, -1))
		app.Variants = append(app.Variants, more...)
		if app.Version == "" {
			app.Version = gradleVariable(dir, text)
		}
		if m := gradleCode().FindStringSubmatch(text); m != nil {
			app.Build = m[1]
		}
		for _, m := range gradleSuffix().FindAllStringSubmatch(text, -1) {
			app.Variants = append(app.Variants, m[1])
		}
		break
	}
	return app
}

// gradleVariable follows versionName to a variable with a plain string in the
// files where projects keep it.
func gradleVariable(dir, text string) string {
	m := gradleNameVar().FindStringSubmatch(text)
	if m == nil {
		return ""
	}
	name := m[1][strings.LastIndexByte(m[1], '.')+1:]
	assigned, err := regexp.Compile(`(?m)\b` + regexp.QuoteMeta(name) + `\s*=\s*["']?([0-9][^"'\s]*)["']?`)
	if err != nil {
		return ""
	}
	for _, file := range []string{"", "variables.gradle", "build.gradle", "gradle.properties", "version.properties", "app/version.properties"} {
		body := text
		if file != "" {
			body = gradleComment().ReplaceAllString(readText(filepath.Join(dir, file)), "")
		}
		if m := assigned.FindStringSubmatch(body); m != nil {
			return m[1]
		}
	}
	return ""
}

// firstAndRest gives the first captured value and the others that differ from it.
func firstAndRest(matches [][]string) (string, []string) {
	value := ""
	var rest []string
	seen := map[string]bool{}
	for _, m := range matches {
		if seen[m[1]] {
			continue
		}
		seen[m[1]] = true
		if value == "" {
			value = m[1]
		} else {
			rest = append(rest, m[1])
		}
	}
	return value, rest
}

var (
	plistPair   = pattern(`(?s)<key>([^<]+)</key>\s*<string>([^<]*)</string>`)
	xcodeConfig = pattern(`(?s)isa = XCBuildConfiguration;.*?buildSettings = \{(.*?)\n\t\t\t\};\s*name = "?([^;"]+)"?;`)
	xcodeValue  = pattern(`(?m)^\s*"?([A-Z_]+)(?:\[[^\]]*\])?"? = "?([^;"]*)"?;`)
	xcodeRef    = pattern(`^\$[({]([A-Za-z_]+)(?::[^)}]*)?[)}]$`)
	xcconfigSet = pattern(`(?m)^\s*([A-Z_]+)\s*=\s*([^\r\n/]+)`)
)

func readIOS(dir string) *NativeApp {
	if !exists(dir) {
		return nil
	}
	app := &NativeApp{Platform: "iOS", Dir: dir}
	plistPath := filepath.Join(dir, "App", "App", "Info.plist")
	plist := map[string]string{}
	for _, m := range plistPair().FindAllStringSubmatch(readText(plistPath), -1) {
		plist[m[1]] = strings.TrimSpace(m[2])
	}
	settings, variants, projectPath := xcodeSettings(dir)
	app.From = plistPath
	if projectPath != "" {
		app.From = projectPath
	}
	resolve := func(plistKey, setting string) string {
		value, ok := plist[plistKey]
		if !ok {
			value = settings[setting]
		}
		for range 4 { // a reference may lead to another one
			m := xcodeRef().FindStringSubmatch(value)
			if m == nil {
				break
			}
			value = settings[m[1]]
		}
		if strings.Contains(value, "$") {
			return ""
		}
		return value
	}
	app.AppID = resolve("CFBundleIdentifier", "PRODUCT_BUNDLE_IDENTIFIER")
	app.Version = resolve("CFBundleShortVersionString", "MARKETING_VERSION")
	app.Build = resolve("CFBundleVersion", "CURRENT_PROJECT_VERSION")
	for _, v := range variants {
		if v != app.AppID && v != app.Version {
			app.Variants = append(app.Variants, v)
		}
	}
	return app
}

// xcodeSettings merges the build settings that matter: those of Release win
// over others, .xcconfig files fill what the project leaves open.
func xcodeSettings(dir string) (settings map[string]string, variants []string, path string) {
	settings = map[string]string{}
	path = filepath.Join(dir, "App", "App.xcodeproj", "project.pbxproj")
	text := readText(path)
	if text == "" {
		path = ""
	}
	wanted := map[string]bool{"PRODUCT_BUNDLE_IDENTIFIER": true, "MARKETING_VERSION": true, "CURRENT_PROJECT_VERSION": true}
	release := map[string]bool{}
	seen := map[string]bool{}
	for _, m := range xcodeConfig().FindAllStringSubmatch(text, -1) {
		for _, s := range xcodeValue().FindAllStringSubmatch(m[1], -1) {
			name, value := s[1], s[2]
			if !wanted[name] {
				continue
			}
			if name != "CURRENT_PROJECT_VERSION" && !seen[value] && !strings.Contains(value, "$") {
				seen[value] = true
				variants = append(variants, value)
			}
			if _, has := settings[name]; !has || m[2] == "Release" && !release[name] {
				settings[name] = value
				release[name] = m[2] == "Release"
			}
		}
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*.xcconfig"))
	inApp, _ := filepath.Glob(filepath.Join(dir, "App", "*.xcconfig"))
	for _, file := range append(files, inApp...) {
		for _, m := range xcconfigSet().FindAllStringSubmatch(readText(file), -1) {
			if _, has := settings[m[1]]; !has {
				settings[m[1]] = strings.TrimSpace(m[2])
			}
		}
	}
	return settings, variants, path
}

// synced is the copy of the config that cap sync or cap copy left in a native
// project: what the next native build carries.
type synced struct {
	platform string // android, ios
	path     string
	config   map[string]any // nil when it was never made, or is unreadable
	exists   bool           // the native project exists
}

func readSynced(root string) []synced {
	list := []synced{
		{platform: "android", path: filepath.Join(root, "android", "app", "src", "main", "assets", "capacitor.config.json")},
		{platform: "ios", path: filepath.Join(root, "ios", "App", "App", "capacitor.config.json")},
	}
	for i := range list {
		s := &list[i]
		s.exists = exists(filepath.Join(root, s.platform))
		if f, err := config.Read(s.path, ""); err == nil {
			if v, err := f.Evaluate(context.Background(), nil); err == nil {
				s.config = v.Object
			}
		}
	}
	return list
}
