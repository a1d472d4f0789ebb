package capgo

import (
	"strconv"
	"unicode/utf8"
)

// Codes of the answers to POST /updates. JavaScript in released apps matches on
// them, so they are as fixed as the field names.
const (
	CodeUpToDate            = "no_new_version_available"
	CodeAlreadyBuiltin      = "already_on_builtin"
	CodeUnknownApp          = "on_premise_app"
	CodeNoChannel           = "no_channel"
	CodeNoBundle            = "no_bundle"
	CodeNoBundleURL         = "no_bundle_url"
	CodeKeyMismatch         = "key_id_mismatch"
	CodePlatformIOS         = "disabled_platform_ios"
	CodePlatformAndroid     = "disabled_platform_android"
	CodePlatformElectron    = "disabled_platform_electron"
	CodePolicyMajor         = "disable_auto_update_to_major"
	CodePolicyMinor         = "disable_auto_update_to_minor"
	CodePolicyPatch         = "disable_auto_update_to_patch"
	CodePolicyVersionNumber = "disable_auto_update_to_metadata"
	CodeUnderNative         = "disable_auto_update_under_native"
	CodeProdBuild           = "disable_prod_build"
	CodeDevBuild            = "disable_dev_build"
	CodeDevice              = "disable_device"
	CodeEmulator            = "disable_emulator"
	CodeMisconfigured       = "misconfigured_channel"
	CodeSemver              = "semver_error"
	CodePluginVersion       = "unsupported_plugin_version"
	CodeBuiltinPlugin       = "revert_to_builtin_plugin_version_too_old"
	CodeMissingInfo         = "missing_info"
	CodeInvalidBody         = "invalid_json_body"
	CodeInvalidJSON         = "invalid_json_parse_body"
	// CodeChecksumForm is capstan's own: the bundle is signed, but not in the
	// form of checksum that this plugin version reads.
	CodeChecksumForm = "checksum_form_unavailable"
	// CodeUnavailable is capstan's own, with HTTP 503: the server cannot know
	// right now. It must never be mistaken for "unknown app".
	CodeUnavailable = "service_unavailable"
)

// KindOf is the kind that goes with a refusal's code. Codes that are not listed
// mean failed, as on Capgo's server.
func KindOf(code string) Kind {
	switch code {
	case CodeUpToDate, CodeAlreadyBuiltin:
		return KindUpToDate
	case CodePlatformIOS, CodePlatformAndroid, CodePlatformElectron,
		CodePolicyMajor, CodePolicyMinor, CodePolicyPatch, CodePolicyVersionNumber,
		CodeUnderNative, CodeProdBuild, CodeDevBuild, CodeDevice, CodeEmulator,
		CodeKeyMismatch, CodeChecksumForm, CodeUnavailable:
		return KindBlocked
	}
	return KindFailed
}

// Offers tells whether the answer hands out a bundle: neither a refusal nor the
// order to return to the store build.
func (a *UpdateAnswer) Offers() bool { return a.Error == "" && a.Version != Builtin }

// AppendAnswer appends the JSON of an answer to dst. It writes one of three
// shapes and never mixes them, because the plugin reads the presence of a key:
//
//	refusal  error, message, then version, old, major, deviceKeyId, bundleKeyId where set, kind
//	revert   {"version":"builtin"} and nothing else
//	offer    version, url, session_key (also when empty), then checksum, manifest, link, comment where set
//
// An offer carries no error, message or kind, not even empty, and no key is
// ever null: Android reads a JSON null as the text "null".
func AppendAnswer(dst []byte, a *UpdateAnswer) []byte {
	switch {
	case a.Error != "":
		return appendRefusal(dst, a)
	case a.Version == Builtin:
		return append(dst, `{"version":"builtin"}`...)
	}
	dst = append(dst, `{"version":`...)
	dst = AppendString(dst, a.Version)
	dst = append(dst, `,"url":`...)
	dst = AppendString(dst, a.URL)
	dst = append(dst, `,"session_key":`...)
	dst = AppendString(dst, a.SessionKey)
	dst = appendMember(dst, "checksum", a.Checksum)
	if len(a.Manifest) > 0 {
		dst = append(dst, `,"manifest":`...)
		dst = AppendManifest(dst, a.Manifest)
	}
	dst = appendMember(dst, "link", a.Link)
	dst = appendMember(dst, "comment", a.Comment)
	return append(dst, '}')
}

// AppendManifest appends the JSON of a list of delta files.
func AppendManifest(dst []byte, files []ManifestEntry) []byte {
	dst = append(dst, '[')
	for i := range files {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"file_name":`...)
		dst = AppendString(dst, files[i].FileName)
		dst = append(dst, `,"file_hash":`...)
		dst = AppendString(dst, files[i].FileHash)
		dst = append(dst, `,"download_url":`...)
		dst = AppendString(dst, files[i].DownloadURL)
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

func appendRefusal(dst []byte, a *UpdateAnswer) []byte {
	dst = append(dst, `{"error":`...)
	dst = AppendString(dst, a.Error)
	dst = append(dst, `,"message":`...)
	dst = AppendString(dst, a.Message)
	if a.Major {
		dst = append(dst, `,"major":true`...)
	}
	dst = appendMember(dst, "version", a.Version)
	dst = appendMember(dst, "old", a.Old)
	dst = appendMember(dst, "deviceKeyId", a.DeviceKeyID)
	dst = appendMember(dst, "bundleKeyId", a.BundleKeyID)
	dst = appendMember(dst, "kind", string(a.Kind))
	return append(dst, '}')
}

func appendMember(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	dst = append(dst, `,"`...)
	dst = append(dst, name...)
	dst = append(dst, `":`...)
	return AppendString(dst, value)
}

const hexDigits = "0123456789abcdef"

// AppendString appends s as a JSON string. Bytes that are not UTF-8 become
// U+FFFD; < and > stay as they are, these bodies are never inside HTML.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				dst = append(append(dst, s[start:i]...), "\ufffd"...)
				start = i + 1
			}
			i += size
			continue
		}
		if c >= ' ' && c != '"' && c != '\\' {
			i++
			continue
		}
		dst = append(dst, s[start:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		start = i
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

// ChannelAnswer is the body of an answer to POST, PUT and DELETE /channel_self.
// A success has no error key; AllowSet is nil where plugins of that generation
// expect none.
type ChannelAnswer struct {
	Channel  string `json:"channel,omitempty"`
	Status   string `json:"status,omitempty"` // ok; override or default for PUT
	AllowSet *bool  `json:"allowSet,omitempty"`
	Error    string `json:"error,omitempty"`
	Message  string `json:"message,omitempty"`
	AppID    string `json:"app_id,omitempty"`
}

// ChannelChoice is an element of the answer to GET /channel_self.
type ChannelChoice struct {
	ID           int64  `json:"id"` // required by iOS
	Name         string `json:"name"`
	Public       bool   `json:"public"`
	AllowSelfSet bool   `json:"allow_self_set"`
}

// ManifestSize is the answer to POST /updates/manifest_size; sizes in bytes.
type ManifestSize struct {
	TotalSize    int64              `json:"totalSize"`
	KnownFiles   int                `json:"knownFiles"`
	UnknownFiles int                `json:"unknownFiles"`
	Files        []ManifestFileSize `json:"files"`
}

// ManifestFileSize is one file of a ManifestSize. Error is size_unknown where
// Size is 0.
type ManifestFileSize struct {
	FileName    *string `json:"file_name"`
	FileHash    string  `json:"file_hash"`
	DownloadURL *string `json:"download_url"`
	Size        int64   `json:"size,omitempty"`
	Error       string  `json:"error,omitempty"`
}

// AppendStatsResult appends the JSON of one event's verdict in a batch. info,
// when given, names the app and version that were not found.
func AppendStatsResult(dst []byte, r StatsResult, info *StatsInfo) []byte {
	dst = append(dst, `{"status":`...)
	dst = AppendString(dst, r.Status)
	dst = appendMember(dst, "error", r.Error)
	dst = appendMember(dst, "message", r.Message)
	dst = append(dst, `,"index":`...)
	dst = strconv.AppendInt(dst, int64(r.Index), 10)
	if info != nil {
		dst = append(dst, `,"moreInfo":{"app_id":`...)
		dst = AppendString(dst, info.AppID)
		dst = append(dst, `,"version_name":`...)
		dst = AppendString(dst, info.VersionName)
		dst = append(dst, '}')
	}
	return append(dst, '}')
}

// StatsInfo says which version of which app an event named in vain.
type StatsInfo struct{ AppID, VersionName string }
