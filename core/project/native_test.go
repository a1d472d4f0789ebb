package project

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"slices"
	"strings"
	"testing"
)

func TestAndroidVersions(t *testing.T) {
	cases := []struct {
		name               string
		files              map[string]string
		id, version, build string
		variants           []string
	}{
		{"groovy", map[string]string{"android/app/build.gradle": "android {\n  defaultConfig {\n    applicationId \"com.acme.shop\"\n    versionCode 42\n    versionName \"2.1.0\"\n  }\n}\n"}, "com.acme.shop", "2.1.0", "42", nil},
		{"groovy with equals signs", map[string]string{"android/app/build.gradle": "applicationId = 'com.acme.shop'\nversionCode = 42\nversionName = '2.1.0'\n"}, "com.acme.shop", "2.1.0", "42", nil},
		{"kotlin", map[string]string{"android/app/build.gradle.kts": "applicationId = \"com.acme.shop\"\nversionCode = 7\nversionName = \"2.1.0\"\n"}, "com.acme.shop", "2.1.0", "7", nil},
		{"comments", map[string]string{"android/app/build.gradle": "/* versionName \"9.9.9\" */\n// versionName \"8.8.8\"\nversionName \"2.1.0\" // versionName \"7.7.7\"\napplicationId \"com.acme.shop\"\n"}, "com.acme.shop", "2.1.0", "", nil},
		{"flavours", map[string]string{"android/app/build.gradle": "applicationId \"com.acme.shop\"\nversionName \"2.1.0\"\nproductFlavors {\n  blue { applicationId \"com.acme.blue\"\n versionName \"2.2.0\" }\n  beta { applicationIdSuffix \".beta\" }\n}\n"}, "com.acme.shop", "2.1.0", "", []string{"com.acme.blue", "2.2.0", ".beta"}},
		{"variable in variables.gradle", map[string]string{"android/app/build.gradle": "applicationId \"com.acme.shop\"\nversionName rootProject.ext.appVersion\n", "android/variables.gradle": "ext {\n  minSdkVersion = 23\n  appVersion = '3.0.1'\n}\n"}, "com.acme.shop", "3.0.1", "", nil},
		{"variable in the same file", map[string]string{"android/app/build.gradle": "def appVersion = \"3.0.2\"\nandroid { defaultConfig { versionName appVersion } }\n"}, "", "3.0.2", "", nil},
		{"properties", map[string]string{"android/app/build.gradle": "versionName \"${appVersion}\"\n", "android/gradle.properties": "appVersion=3.0.3\n"}, "", "3.0.3", "", nil},
		{"computed", map[string]string{"android/app/build.gradle": "versionName getVersion()\n"}, "", "", "", nil},
		{"nothing", map[string]string{"android/": ""}, "", "", "", nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			app := readNative(tree(t, c.files)).Android
			if app == nil {
				t.Fatal("no Android app")
			}
			if app.AppID != c.id || app.Version != c.version || app.Build != c.build || !slices.Equal(app.Variants, c.variants) {
				t.Errorf("got %+v", app)
			}
		})
	}
	if n := readNative(t.TempDir()); n.Android != nil || n.IOS != nil {
		t.Errorf("an empty folder has %+v", n)
	}
}

const plistHead = `<?xml version="1.0" encoding="UTF-8"?><plist version="1.0"><dict>`

func plistOf(pairs ...string) string {
	var b strings.Builder
	b.WriteString(plistHead)
	for i := 0; i < len(pairs); i += 2 {
		b.WriteString("\n\t<key>" + pairs[i] + "</key>\n\t<string>" + pairs[i+1] + "</string>")
	}
	return b.String() + "\n</dict></plist>\n"
}

func xcodeOf(configs ...string) string {
	var b strings.Builder
	b.WriteString("// !$*UTF8*$!\n{\n\tobjects = {\n")
	for i := 0; i < len(configs); i += 2 {
		b.WriteString("\t\tAA /* " + configs[i] + " */ = {\n\t\t\tisa = XCBuildConfiguration;\n\t\t\tbuildSettings = {\n\t\t\t\tALWAYS_SEARCH_USER_PATHS = NO;\n" + configs[i+1] + "\t\t\t};\n\t\t\tname = " + configs[i] + ";\n\t\t};\n")
	}
	return b.String() + "\t};\n}\n"
}

func TestIOSVersions(t *testing.T) {
	const plist, xcode = "ios/App/App/Info.plist", "ios/App/App.xcodeproj/project.pbxproj"
	references := plistOf("CFBundleIdentifier", "$(PRODUCT_BUNDLE_IDENTIFIER)", "CFBundleShortVersionString", "$(MARKETING_VERSION)", "CFBundleVersion", "${CURRENT_PROJECT_VERSION}")
	settings := func(id, version, build string) string {
		return "\t\t\t\tCURRENT_PROJECT_VERSION = " + build + ";\n\t\t\t\tMARKETING_VERSION = " + version + ";\n\t\t\t\tPRODUCT_BUNDLE_IDENTIFIER = " + id + ";\n"
	}
	cases := []struct {
		name               string
		files              map[string]string
		id, version, build string
		variants           []string
	}{
		{"references", map[string]string{plist: references, xcode: xcodeOf("Debug", settings("com.acme.shop", "2.1.0", "5"), "Release", settings("com.acme.shop", "2.1.0", "5"))}, "com.acme.shop", "2.1.0", "5", nil},
		{"plain plist", map[string]string{plist: plistOf("CFBundleIdentifier", "com.acme.shop", "CFBundleShortVersionString", "1.9", "CFBundleVersion", "3")}, "com.acme.shop", "1.9", "3", nil},
		{"release wins over debug", map[string]string{plist: references, xcode: xcodeOf("Debug", settings("com.acme.shop.dev", "2.2.0", "6"), "Release", settings("com.acme.shop", "2.1.0", "5"))}, "com.acme.shop", "2.1.0", "5", []string{"2.2.0", "com.acme.shop.dev"}},
		{"quoted values", map[string]string{plist: references, xcode: xcodeOf("Release", settings(`"com.acme.shop"`, `"2.1.0"`, `"5"`))}, "com.acme.shop", "2.1.0", "5", nil},
		{"no plist key", map[string]string{plist: plistOf("CFBundleName", "x"), xcode: xcodeOf("Release", settings("com.acme.shop", "2.1.0", "5"))}, "com.acme.shop", "2.1.0", "5", nil},
		{"xcconfig", map[string]string{plist: references, xcode: xcodeOf("Release", "\t\t\t\tPRODUCT_BUNDLE_IDENTIFIER = \"$(APP_ID)\";\n"), "ios/App/version.xcconfig": "// versions\nAPP_ID = com.acme.shop\nMARKETING_VERSION = 4.0.0\nCURRENT_PROJECT_VERSION = 8\n"}, "com.acme.shop", "4.0.0", "8", nil},
		{"a reference that leads nowhere", map[string]string{plist: references, xcode: xcodeOf("Release", "\t\t\t\tMARKETING_VERSION = \"$(NOWHERE)\";\n")}, "", "", "", nil},
		{"a reference in a circle", map[string]string{plist: plistOf("CFBundleShortVersionString", "$(A)"), "ios/a.xcconfig": "A = $(B)\nB = $(A)\n"}, "", "", "", nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			app := readNative(tree(t, c.files)).IOS
			if app == nil {
				t.Fatal("no iOS app")
			}
			if app.AppID != c.id || app.Version != c.version || app.Build != c.build || !slices.Equal(app.Variants, c.variants) {
				t.Errorf("got %+v", app)
			}
		})
	}
}

func TestNativePackages(t *testing.T) {
	root := tree(t, map[string]string{
		".git/": "", "capacitor.config.json": shop,
		"package.json": `{"dependencies":{"@capacitor/camera":"^8.0.0","cordova-plugin-device":"2.1.0","lodash":"4","java-docs":"1","absent":"1"},"devDependencies":{"@acme/kit":"workspace:*"}}`,
		"node_modules/@capacitor/camera/package.json":                    `{"version":"8.0.2","capacitor":{"ios":{"src":"ios"},"android":{"src":"android"}}}`,
		"node_modules/@capacitor/camera/CapacitorCamera.podspec":         "pod",
		"node_modules/@capacitor/camera/Package.swift":                   "package",
		"node_modules/@capacitor/camera/ios/Sources/b.swift":             "b",
		"node_modules/@capacitor/camera/ios/Sources/A.swift":             "a",
		"node_modules/@capacitor/camera/android/build.gradle":            "gradle",
		"node_modules/@capacitor/camera/android/src/main/java/Camera.kt": "kt",
		"node_modules/@capacitor/camera/android/src/main/res/values.xml": "not code",
		"node_modules/cordova-plugin-device/package.json":                `{"version":"2.1.0"}`,
		"node_modules/cordova-plugin-device/plugin.xml":                  "<plugin/>",
		"node_modules/cordova-plugin-device/src/android/Device.java":     "java",
		"node_modules/lodash/package.json":                               `{"version":"4.17.21"}`,
		"node_modules/java-docs/package.json":                            `{"version":"1.0.0"}`,
		"node_modules/java-docs/android/Example.java":                    "not a plugin",
		"node_modules/@acme/kit/package.json":                            `{"version":"0.1.0","capacitor":{"android":{}}}`,
	})
	p, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	if names := sortedNames(p.NativePackages); !slices.Equal(names, []string{"@capacitor/camera", "cordova-plugin-device"}) {
		t.Fatalf("native packages %q", names)
	}
	sum := func(parts ...string) string {
		h := sha256.New()
		for _, part := range parts {
			io.WriteString(h, part)
		}
		return hex.EncodeToString(h.Sum(nil))
	}
	camera := p.NativePackages["@capacitor/camera"]
	if camera.Version != "8.0.2" || camera.Requested != "^8.0.0" {
		t.Errorf("camera is %+v", camera)
	}
	if want := sum("CapacitorCamera.podspec", "pod", "ios/Sources/A.swift", "a", "ios/Sources/b.swift", "b", "Package.swift", "package"); camera.IOSChecksum != want {
		t.Errorf("iOS checksum %s, want %s", camera.IOSChecksum, want)
	}
	if want := sum("android/build.gradle", "gradle", "android/src/main/java/Camera.kt", "kt"); camera.AndroidChecksum != want {
		t.Errorf("Android checksum %s, want %s", camera.AndroidChecksum, want)
	}
	if device := p.NativePackages["cordova-plugin-device"]; device.IOSChecksum != "" || device.AndroidChecksum != "" {
		t.Errorf("a Cordova plugin without ios and android folders has checksums: %+v", device)
	}
}
