package release

import (
	"fmt"
	"strings"

	"github.com/Masterminds/semver/v3"

	"capstan/core/failure"
	"capstan/core/keys"
)

// Plan is what an operator asked for. It is written to the journal before
// anything happens, so that a release can be continued without asking again.
type Plan struct {
	AppID   string `json:"app_id"`
	AppName string `json:"app_name,omitempty"`
	Version string `json:"version"` // strict semver; the bundle's name
	Channel string `json:"channel,omitempty"`
	// Dir is the web build, absolute.
	Dir string `json:"dir"`
	// External registers an object that somebody uploaded already; Dir is then empty.
	External *External `json:"external,omitempty"`
	// KeyID names the key in the ring; "" packs a plain bundle, which only an
	// app without a key on record takes.
	KeyID string `json:"key_id,omitempty"`
	// PublicKey is the PEM of that key's public half.
	PublicKey string `json:"public_key,omitempty"`
	// Second is the other key of an app that changes keys: the build is sealed for
	// both, where the server keeps two keys on record.
	Second *SecondKey `json:"second_key,omitempty"`
	// Scheme is v1 for plugins that read nothing newer; "" is v2. KeyID and
	// PublicKey are then of the pair whose private half the app carries.
	Scheme keys.Scheme `json:"scheme,omitempty"`
	// PluginVersion is what the project has installed; the proof always covers it.
	PluginVersion string `json:"plugin_version,omitempty"`
	// UpdateURL is where a capstan server answers devices, AppUpdateURL where the
	// app is configured to ask. The release ends by asking as a device would and
	// installing what comes: at a capstan server itself, else where the app asks.
	UpdateURL        string `json:"update_url,omitempty"`
	AppUpdateURL     string `json:"app_update_url,omitempty"`
	MinUpdateVersion string `json:"min_update_version,omitempty"`
	// AutoMinUpdateVersion takes the minimum of the bundle that the channel has, or
	// this version where the native packages differ.
	AutoMinUpdateVersion bool `json:"auto_min_update_version,omitempty"`
	// FailOnIncompatible makes native packages that differ block the release.
	FailOnIncompatible bool   `json:"fail_on_incompatible,omitempty"`
	Link               string `json:"link,omitempty"`
	Comment            string `json:"comment,omitempty"`
	// NativePackages is the JSON of the project's, as capgo.NewBundle has them.
	NativePackages string `json:"native_packages,omitempty"`
	// Reason overrides preflight findings that block; it is kept with the bundle's comment and the journal.
	Reason string `json:"reason,omitempty"`
	// SizeBudget, if not 0, is how many bytes the files may have before compression.
	SizeBudget int64 `json:"size_budget,omitempty"`
	// Uncommitted says that the project had changes in git when it was planned.
	Uncommitted bool `json:"uncommitted,omitempty"`
	// SourceMaps packs *.map files, which are left out otherwise.
	SourceMaps bool `json:"source_maps,omitempty"`
	// NoCodeCheck skips the checks for index.html and notifyAppReady.
	NoCodeCheck bool `json:"no_code_check,omitempty"`
	// Delta makes and registers the single files too, so that devices fetch only
	// what they do not have. DeltaQuality of brotli is 1 to 11; 0 is the default.
	Delta        bool `json:"delta,omitempty"`
	DeltaQuality int  `json:"delta_quality,omitempty"`
	// CreateApp lets the release create the app and put the key on record when
	// the registry has neither yet.
	CreateApp bool `json:"create_app,omitempty"`
}

// External is a sealed object that is in its place already.
type External struct {
	URL        string `json:"url"`
	SessionKey string `json:"session_key"` // base64(IV):base64(RSA), "" for a plain bundle
	// Checksum is signed in either form, or a plain SHA-256; "" has it made
	// from the object with the app's private key.
	Checksum string `json:"checksum,omitempty"`
}

// check refuses a plan that could not work, before anything is touched.
func (p Plan) check() error {
	const op = "plan the release"
	switch {
	case p.AppID == "":
		return failure.New(failure.Usage, "app_missing", op, "no app id", "run capstan in a Capacitor project, or name the app")
	case p.External != nil && p.External.SessionKey == "" && p.KeyID != "":
		return failure.New(failure.Usage, "session_key_missing", op, "the object's session key is missing", "give what bundle encrypt printed with --iv-session-key")
	case p.External != nil && p.Delta:
		return failure.New(failure.Usage, "delta_external", op, "delta files are made from a build folder, and an external object has none", "leave --delta out, or release the folder")
	case p.DeltaQuality < 0 || p.DeltaQuality > 11:
		return failure.Newf(failure.Usage, "level_unknown", op, "choose a quality from 1 to 11", "there is no brotli quality %d", p.DeltaQuality)
	case p.AutoMinUpdateVersion && p.MinUpdateVersion != "":
		return failure.New(failure.Usage, "usage", op, "--min-update-version and --auto-min-update-version both choose the lowest native version", "give one of them")
	case p.Dir == "" && p.External == nil:
		return failure.New(failure.Usage, "folder_missing", op, "no build folder", "name it with --path")
	case p.KeyID != "" && p.PublicKey == "":
		return failure.New(failure.Usage, "key_missing", op, "the key has no public half on record", "run capstan key list")
	}
	if err := p.checkScheme(); err != nil {
		return err
	}
	return CheckVersion(p.Version)
}

// CheckVersion refuses what is not a strict semantic version: devices compare
// versions, and a name that cannot be compared blocks a channel's policies.
func CheckVersion(version string) error {
	if version == "" {
		return failure.New(failure.Usage, "version_missing", "", "the release has no version", "set it in package.json or name it with --bundle")
	}
	if _, err := semver.StrictNewVersion(version); err != nil {
		hint := "use three numbers, for example 1.4.0 or 1.4.0-beta.2"
		if fixed := strings.TrimPrefix(strings.TrimSpace(version), "v"); fixed != version {
			if _, err := semver.StrictNewVersion(fixed); err == nil {
				hint = fmt.Sprintf("did you mean %s?", fixed)
			}
		}
		return failure.Newf(failure.Usage, "version_not_semver", "", hint, "%q is not a semantic version", version)
	}
	return nil
}
