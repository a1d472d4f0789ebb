package plugin

import (
	"net/http"
	"net/url"
	"strings"

	"capstan/core/capgo"
	"capstan/server/decide"
)

// body is a device's JSON object with the fields that any endpoint reads. Keys
// are matched exactly; unknown ones are passed over.
type body struct {
	appID, deviceID, platform, customID               value
	versionBuild, versionCode, versionOS, versionName value
	pluginVersion, isEmulator, isProd, installSource  value
	defaultChannel, keyID, channel                    value
	action, oldVersionName, timestamp, metadata       value
	version, versionID, manifest, files               value
	// members counts the keys, known or not.
	members int
	// object is false for a body that is no object; it then has no fields.
	object bool
}

func (b *body) set(key string, v value) {
	b.members++
	switch key {
	case "app_id":
		b.appID = v
	case "device_id":
		b.deviceID = v
	case "platform":
		b.platform = v
	case "custom_id":
		b.customID = v
	case "version_build":
		b.versionBuild = v
	case "version_code":
		b.versionCode = v
	case "version_os":
		b.versionOS = v
	case "version_name":
		b.versionName = v
	case "plugin_version":
		b.pluginVersion = v
	case "is_emulator":
		b.isEmulator = v
	case "is_prod":
		b.isProd = v
	case "install_source":
		b.installSource = v
	case "defaultChannel":
		b.defaultChannel = v
	case "key_id":
		b.keyID = v
	case "channel":
		b.channel = v
	case "action":
		b.action = v
	case "old_version_name":
		b.oldVersionName = v
	case "timestamp":
		b.timestamp = v
	case "metadata":
		b.metadata = v
	case "version":
		b.version = v
	case "version_id":
		b.versionID = v
	case "manifest":
		b.manifest = v
	case "files":
		b.files = v
	}
}

// refusal is an error answer outside the update protocol's own refusals.
type refusal struct {
	status  int
	code    string
	message string
}

func badRequest(code, message string) *refusal {
	return &refusal{http.StatusBadRequest, code, message}
}

var (
	errJSON      = badRequest(capgo.CodeInvalidJSON, "Invalid JSON body")
	errBody      = badRequest(capgo.CodeInvalidBody, "Cannot parse body")
	errQuery     = badRequest("invalid_query_parameters", "Cannot parse body")
	errDeviceID  = badRequest("missing_device_id", "Cannot find device_id")
	errAppID     = badRequest("missing_app_id", "Cannot find app_id")
	errNoAppID   = badRequest("invalid_app_id", "App ID is required")
	errBadAppID  = badRequest("invalid_app_id", "App ID must be a reverse domain string")
	errMixedApps = badRequest("mixed_app_ids", "All events in a batch must have the same app_id")
)

// decode reads a whole JSON text into b.
func (b *body) decode(s string) *refusal {
	p := newScanner(s)
	p.space()
	if p.next() == '{' {
		b.object = true
		if !p.members(0, b.set) || !p.end() {
			return errJSON
		}
		return nil
	}
	v, ok := p.value(0)
	if !ok || !p.end() {
		return errJSON
	}
	b.stand(v)
	return nil
}

// fill makes b the object in v; any other value leaves it without fields.
func (b *body) fill(v value) {
	if v.kind != object {
		b.stand(v)
		return
	}
	b.object = true
	p := scanner{s: v.s}
	p.members(0, b.set) // v.s was scanned before: it cannot fail
}

// stand counts the keys JavaScript would see on a value that is no object.
func (b *body) stand(v value) {
	if v.kind == text && v.s != "" || v.kind == array && strings.TrimSpace(v.s[1:len(v.s)-1]) != "" {
		b.members = 1
	}
}

// query makes b what a query string says, as GET and DELETE send it. Every
// value is text; is_prod and is_emulator are true only for "true".
func (b *body) query(q url.Values) {
	for key := range q {
		b.set(key, value{text, q.Get(key)})
	}
	if b.members == 0 {
		return
	}
	b.object = true
	b.isEmulator = flag(b.isEmulator, false)
	b.isProd = flag(b.isProd, true)
}

func flag(v value, otherwise bool) value {
	if v.kind == text && v.s == "true" || v.kind == absent && otherwise {
		return value{boolean, "true"}
	}
	return value{boolean, "false"}
}

// rules say what an endpoint demands of the common body.
type rules struct {
	// malformed is the answer to a body whose fields are wrong.
	malformed *refusal
	// device demands device_id, and with it the rest of what a device says
	// about itself. The list of channels needs none of that.
	device bool
	// emptyVersions allows "" for version_name and version_build.
	emptyVersions bool
	// plugin demands a readable plugin_version.
	plugin bool
	// stats is the looser form for events: any platform, version_build may be
	// missing, version_os must be there.
	stats bool
}

var (
	updateRules  = rules{malformed: errBody, device: true, plugin: true}
	channelRules = rules{malformed: errBody, device: true, emptyVersions: true}
	unsetRules   = rules{malformed: errQuery, device: true, emptyVersions: true}
	listRules    = rules{malformed: errQuery}
	statsRules   = rules{malformed: errBody, device: true, emptyVersions: true, stats: true}
)

// request checks b by the rules and returns what the device says about itself:
// device_id in lower case, version_build in canonical form, version_name as it
// came.
func (b *body) request(r *rules) (req capgo.UpdateRequest, err *refusal) {
	switch {
	case b.members == 0:
		return req, r.malformed
	case r.device && b.deviceID.falsy():
		return req, errDeviceID
	case b.appID.falsy():
		return req, errAppID
	}
	req.VersionBuild = b.versionBuild.str()
	if req.VersionBuild != "" {
		canonical, ok := decide.NativeVersion(req.VersionBuild)
		if !ok {
			return req, badRequest(capgo.CodeSemver, decide.SemverMessage(req.VersionBuild))
		}
		req.VersionBuild = canonical
	}
	if !b.wellFormed(r) {
		return req, r.malformed
	}
	req.Platform = b.platform.str()
	req.DeviceID = strings.ToLower(b.deviceID.str())
	req.AppID = b.appID.s
	req.CustomID = strings.TrimSpace(b.customID.str())
	req.VersionCode = loose(b.versionCode)
	req.VersionOS = loose(b.versionOS)
	req.VersionName = b.versionName.str()
	req.PluginVersion = b.pluginVersion.str()
	req.IsEmulator = b.isEmulator.kind == boolean && b.isEmulator.s == "true"
	req.IsProd = b.isProd.kind != boolean || b.isProd.s == "true"
	req.InstallSource = strings.ToLower(strings.TrimSpace(b.installSource.str()))
	req.DefaultChannel = b.defaultChannel.str()
	req.KeyID = b.keyID.str()
	return req, nil
}

// loose is a field whose type nobody checks: text or a number as it came.
func loose(v value) string {
	if v.kind == text || v.kind == number {
		return v.s
	}
	return ""
}

const (
	maxDeviceID      = 36
	maxCustomID      = 36
	maxKeyID         = 20
	maxInstallSource = 64
)

// wellFormed checks the types and the form of the fields.
func (b *body) wellFormed(r *rules) bool {
	if b.appID.kind != text || !isAppID(b.appID.s) || !optionalBool(b.isEmulator) || !optionalBool(b.isProd) || !optionalText(b.keyID, maxKeyID) {
		return false
	}
	if r.stats {
		return b.wellFormedEvent()
	}
	if !isPlatform(b.platform) {
		return false
	}
	if !r.device {
		return true
	}
	if !b.identified() || !optionalText(b.defaultChannel, 0) || !optionalText(b.installSource, maxInstallSource) || b.versionBuild.kind != text {
		return false
	}
	if !r.emptyVersions && (b.versionName.s == "" || b.versionBuild.s == "") {
		return false
	}
	if r.plugin {
		return b.pluginVersion.kind == text && decide.PluginVersion(b.pluginVersion.s)
	}
	return optionalText(b.pluginVersion, 0) && optionalText(b.channel, 0)
}

func (b *body) wellFormedEvent() bool {
	return b.identified() && b.platform.kind == text && b.versionOS.kind == text &&
		optionalText(b.versionBuild, 0) && optionalText(b.versionCode, 0) && optionalText(b.defaultChannel, 0) &&
		optionalText(b.channel, 0) && optionalText(b.oldVersionName, 0) && optionalText(b.pluginVersion, 0) &&
		optionalText(b.installSource, maxInstallSource) && optionalText(b.customID, maxCustomID)
}

// identified checks device_id and version_name. A version_name of "builtin"
// stands for version_build and needs one.
func (b *body) identified() bool {
	if b.deviceID.kind != text || !isDeviceID(b.deviceID.s) || b.versionName.kind != text {
		return false
	}
	return b.versionName.s != capgo.Builtin || b.versionBuild.kind == text
}

// optionalBool accepts a boolean, null or nothing.
func optionalBool(v value) bool { return v.kind <= boolean }

// optionalText accepts text of at most max UTF-16 units (0: any length) or
// nothing, but not null.
func optionalText(v value, max int) bool {
	return v.kind == absent || v.kind == text && (max == 0 || len(v.s) <= max || length16(v.s) <= max)
}

func isPlatform(v value) bool {
	return v.kind == text && (v.s == "ios" || v.s == "android" || v.s == "electron")
}

// isAppID matches a reverse domain: letters and digits, then one or more parts
// of letters, digits, "_" and "-", each after a dot. Case is kept.
func isAppID(s string) bool {
	head, rest, dotted := strings.Cut(s, ".")
	if !dotted || !allOf(head, false) {
		return false
	}
	for dotted {
		var part string
		if part, rest, dotted = strings.Cut(rest, "."); !allOf(part, true) {
			return false
		}
	}
	return true
}

func allOf(s string, more bool) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || more && (c == '_' || c == '-')) {
			return false
		}
	}
	return s != ""
}

// isDeviceID matches 36 characters of hexadecimal and dashes, as UUIDs have them.
func isDeviceID(s string) bool {
	if len(s) != maxDeviceID {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if c != '-' {
				return false
			}
		} else if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F') {
			return false
		}
	}
	return true
}
