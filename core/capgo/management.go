package capgo

import (
	"encoding/json"
	"time"
)

// App is a row of GET /app.
type App struct {
	AppID               string    `json:"app_id"`
	Name                string    `json:"name"`
	OwnerOrg            string    `json:"owner_org,omitempty"`
	DefaultUpload       string    `json:"default_upload_channel,omitempty"`
	ExposeMetadata      bool      `json:"expose_metadata"`
	AllowDeviceCustomID bool      `json:"allow_device_custom_id"`
	Retention           int64     `json:"retention"` // seconds
	CreatedAt           time.Time `json:"created_at"`
	UpdatedAt           time.Time `json:"updated_at"`
	// PublicKey is the PEM on record; capstan's own field. With one on record
	// an unsigned bundle is neither registered nor served.
	PublicKey string `json:"public_key,omitempty"`
	// SecondPublicKey is a second one, while an app changes from one key to
	// another: bundles may be sealed for either, or for both.
	SecondPublicKey string `json:"second_public_key,omitempty"`
	AppProfile
}

// AppProfile is what an app says of itself for Capgo's console and store pages;
// no answer to a device depends on it.
type AppProfile struct {
	IconURL                    string  `json:"icon_url"`
	IOSStoreURL                *string `json:"ios_store_url"`
	AndroidStoreURL            *string `json:"android_store_url"`
	NeedOnboarding             bool    `json:"need_onboarding"`
	ExistingApp                bool    `json:"existing_app"`
	BlockProviderInfraRequests bool    `json:"block_provider_infra_requests"`
}

// Bundle is a row of GET /bundle (Capgo's app_versions), newest first.
type Bundle struct {
	ID               int64           `json:"id"`
	AppID            string          `json:"app_id"`
	Name             string          `json:"name"` // the version, strict semver
	Checksum         string          `json:"checksum"`
	SessionKey       string          `json:"session_key,omitempty"`
	KeyID            string          `json:"key_id,omitempty"`
	ExternalURL      string          `json:"external_url,omitempty"`
	StorageProvider  string          `json:"storage_provider,omitempty"`
	R2Path           string          `json:"r2_path,omitempty"`
	MinUpdateVersion string          `json:"min_update_version,omitempty"`
	Link             string          `json:"link,omitempty"`
	Comment          string          `json:"comment,omitempty"`
	Deleted          bool            `json:"deleted"`
	NativePackages   json.RawMessage `json:"native_packages,omitempty"`
	ManifestCount    int             `json:"manifest_count"`
	CreatedAt        time.Time       `json:"created_at"`
	UpdatedAt        time.Time       `json:"updated_at"`

	// capstan's own fields: all forms of the checksum, chosen per plugin_version
	// when a device asks, and what the object in storage must be.
	PlainChecksum string `json:"plain_checksum,omitempty"` // SHA-256 of the zip, hex
	ChecksumV2    string `json:"checksum_v2,omitempty"`    // signed, base64, 344 characters
	ChecksumV3    string `json:"checksum_v3,omitempty"`    // signed, hex, 512 characters
	ObjectSHA256  string `json:"object_sha256,omitempty"`  // of the stored bytes, hex
	ObjectSize    int64  `json:"object_size,omitempty"`    // bytes as stored
	PlainSize     int64  `json:"plain_size,omitempty"`     // bytes of the zip
	// Seals are the same zip sealed for further keys.
	Seals []Seal `json:"seals,omitempty"`
}

// Seal is a bundle's zip sealed once more, for another key than the bundle's
// own: while an app changes keys, a device is answered with the one for the key
// that it carries.
type Seal struct {
	KeyID      string `json:"key_id"`
	SessionKey string `json:"session_key"`
	ChecksumV2 string `json:"checksum_v2"`
	ChecksumV3 string `json:"checksum_v3"`
	// ExternalURL or R2Path, as in a bundle.
	ExternalURL  string `json:"external_url,omitempty"`
	R2Path       string `json:"r2_path,omitempty"`
	ObjectSHA256 string `json:"object_sha256,omitempty"`
	ObjectSize   int64  `json:"object_size,omitempty"`
}

// With is the bundle as a device of the seal's key hears of it.
func (b Bundle) With(s Seal) Bundle {
	b.KeyID, b.SessionKey, b.Checksum, b.ChecksumV2, b.ChecksumV3 = s.KeyID, s.SessionKey, s.ChecksumV3, s.ChecksumV2, s.ChecksumV3
	b.ExternalURL, b.R2Path, b.ObjectSHA256, b.ObjectSize = s.ExternalURL, s.R2Path, s.ObjectSHA256, s.ObjectSize
	b.Seals = nil
	return b
}

// For is the bundle as a device that carries this key hears of it: sealed for
// that key where it is, and as registered otherwise.
func (b Bundle) For(keyID string) Bundle {
	if keyID == "" || b.KeyID == keyID {
		return b
	}
	for _, s := range b.Seals {
		if s.KeyID == keyID {
			return b.With(s)
		}
	}
	return b
}

// NewBundle is the body of POST /bundle.
type NewBundle struct {
	AppID       string `json:"app_id"`
	Version     string `json:"version"`
	ExternalURL string `json:"external_url"`
	Checksum    string `json:"checksum"`
	SessionKey  string `json:"session_key,omitempty"`
	KeyID       string `json:"key_id,omitempty"`

	// capstan's own fields; Capgo's server ignores them.
	PlainChecksum    string `json:"plain_checksum,omitempty"`
	ChecksumV2       string `json:"checksum_v2,omitempty"`
	ChecksumV3       string `json:"checksum_v3,omitempty"`
	ObjectSHA256     string `json:"object_sha256,omitempty"`
	ObjectSize       int64  `json:"object_size,omitempty"`
	PlainSize        int64  `json:"plain_size,omitempty"`
	MinUpdateVersion string `json:"min_update_version,omitempty"`
	Link             string `json:"link,omitempty"`
	Comment          string `json:"comment,omitempty"`
	// NativePackages is a JSON list of the native plugins that the web build was
	// made with: name, version, requested_version, ios_checksum, android_checksum.
	NativePackages json.RawMessage `json:"native_packages,omitempty"`
	// Manifest lists the files of a delta update, at most MaxManifest; for servers with CapDelta.
	Manifest []NewFile `json:"manifest,omitempty"`
	// Seals are the same zip sealed for further keys; for servers with CapTwoKeys.
	Seals []Seal `json:"seals,omitempty"`
}

// MaxManifest is how many files a delta update may have: the Capgo CLI's limit.
const MaxManifest = 10_000

// NewFile is one file of a bundle's delta update as it is registered.
type NewFile struct {
	FileName string `json:"file_name"` // path in the bundle, with .br when the stored bytes are brotli
	SHA256   string `json:"sha256"`    // of the plain file, hex
	HashV2   string `json:"hash_v2,omitempty"`
	HashV3   string `json:"hash_v3,omitempty"` // the same signed, as ChecksumV2 and ChecksumV3
	// URL is where devices download the stored bytes; Object is the name of an
	// object on the server itself, instead of a URL.
	URL    string `json:"url,omitempty"`
	Object string `json:"object,omitempty"`
	Size   int64  `json:"size"` // bytes as stored
}

// UpdatePolicy is a channel's limit on automatic updates.
type UpdatePolicy string

// The policies. PolicyNone means no restriction, not no updates.
const (
	PolicyMajor         UpdatePolicy = "major"
	PolicyMinor         UpdatePolicy = "minor"
	PolicyPatch         UpdatePolicy = "patch"
	PolicyVersionNumber UpdatePolicy = "version_number"
	PolicyNone          UpdatePolicy = "none"
)

// Channel is an element of GET /channel. The mixed naming is Capgo's.
type Channel struct {
	ID                           int64        `json:"id"`
	Name                         string       `json:"name"`
	AppID                        string       `json:"app_id"`
	Public                       bool         `json:"public"`
	DisableAutoUpdate            UpdatePolicy `json:"disableAutoUpdate"`
	DisableAutoUpdateUnderNative bool         `json:"disableAutoUpdateUnderNative"`
	AllowDeviceSelfSet           bool         `json:"allow_device_self_set"`
	AllowEmulator                bool         `json:"allow_emulator"`
	AllowDevice                  bool         `json:"allow_device"`
	AllowDev                     bool         `json:"allow_dev"`
	AllowProd                    bool         `json:"allow_prod"`
	RolloutVersion               *int64       `json:"rollout_version"`
	RolloutID                    string       `json:"rollout_id"`
	RolloutPercentageBps         int          `json:"rolloutPercentageBps"` // 0 to 10000
	RolloutEnabled               bool         `json:"rolloutEnabled"`
	RolloutPausedAt              *time.Time   `json:"rolloutPausedAt"`
	RolloutPauseReason           *string      `json:"rolloutPauseReason"`
	RolloutVersionInfo           *VersionRef  `json:"rollout_version_info"`
	// Version is the live bundle; nil is the store build ("builtin").
	Version   *VersionRef `json:"version"`
	CreatedAt time.Time   `json:"created_at"`
	UpdatedAt time.Time   `json:"updated_at"`

	// capstan's own fields. Capgo accepts the platform flags and never returns them.
	IOS      *bool `json:"ios,omitempty"`
	Android  *bool `json:"android,omitempty"`
	Electron *bool `json:"electron,omitempty"`
	// PlatformVersions are the bundles of platforms (ios, android, electron)
	// that do not follow the channel; the store build has the id 0.
	PlatformVersions map[string]VersionRef `json:"platform_versions,omitempty"`
	// Revision grows with every change; 0 where the server has none.
	Revision int64 `json:"revision,omitempty"`
}

// VersionRef names a bundle inside a channel.
type VersionRef struct {
	ID   int64  `json:"id"`
	Name string `json:"name"`
}

// ChannelChange is the body of POST /channel: an upsert by name in which a
// field left nil stays as it is.
type ChannelChange struct {
	AppID   string `json:"app_id"`
	Channel string `json:"channel"`
	// Version is a bundle name; "builtin" unlinks. nil keeps what is there.
	Version                      *string       `json:"version,omitempty"`
	Public                       *bool         `json:"public,omitempty"`
	DisableAutoUpdate            *UpdatePolicy `json:"disableAutoUpdate,omitempty"`
	DisableAutoUpdateUnderNative *bool         `json:"disableAutoUpdateUnderNative,omitempty"`
	IOS                          *bool         `json:"ios,omitempty"`
	Android                      *bool         `json:"android,omitempty"`
	Electron                     *bool         `json:"electron,omitempty"`
	AllowDeviceSelfSet           *bool         `json:"allow_device_self_set,omitempty"`
	AllowEmulator                *bool         `json:"allow_emulator,omitempty"`
	AllowDevice                  *bool         `json:"allow_device,omitempty"`
	AllowDev                     *bool         `json:"allow_dev,omitempty"`
	AllowProd                    *bool         `json:"allow_prod,omitempty"`
	RolloutVersion               *string       `json:"rolloutVersion,omitempty"`
	RolloutPercentageBps         *int          `json:"rolloutPercentageBps,omitempty"`
	RolloutEnabled               *bool         `json:"rolloutEnabled,omitempty"`
	RolloutPaused                *bool         `json:"rolloutPaused,omitempty"`
	RolloutPauseReason           *string       `json:"rolloutPauseReason,omitempty"`
	Rollback                     *bool         `json:"rollback,omitempty"`
	PromoteToStable              *bool         `json:"promoteToStable,omitempty"`
	// PlatformVersions gives platforms (ios, android, electron) a bundle of
	// their own, by name, which neither Version nor a rollout changes; nil lets
	// the platform follow the channel again. capstan's own.
	PlatformVersions map[string]*string `json:"platform_versions,omitempty"`
	// Note is the reason, kept in the history. Within a freeze a change that
	// moves forward needs one. capstan's own.
	Note string `json:"note,omitempty"`
	// ExpectedRevision, when set, makes the change fail with 409
	// channel_moved if somebody changed the channel meanwhile. capstan's own.
	ExpectedRevision *int64 `json:"expected_revision,omitempty"`
}

// Device is a row of GET /device.
type Device struct {
	DeviceID       string    `json:"device_id"`
	AppID          string    `json:"app_id"`
	CustomID       string    `json:"custom_id"`
	Platform       string    `json:"platform"`
	VersionName    string    `json:"version_name"`
	Version        int64     `json:"version,omitempty"` // the id of the bundle of that name
	VersionBuild   string    `json:"version_build"`
	VersionOS      string    `json:"os_version"`
	PluginVersion  string    `json:"plugin_version"`
	IsProd         bool      `json:"is_prod"`
	IsEmulator     bool      `json:"is_emulator"`
	InstallSource  string    `json:"install_source,omitempty"`
	DefaultChannel string    `json:"default_channel,omitempty"`
	KeyID          string    `json:"key_id,omitempty"`
	Channel        string    `json:"channel,omitempty"` // the override, when there is one
	UpdatedAt      time.Time `json:"updated_at"`
}

// DeviceSearch is the answer of GET /capstan/v1/devices: devices whose id or
// custom id holds a fragment, those that start with it first.
type DeviceSearch struct {
	Devices []Device `json:"devices"`
	// Cut says that the search ended before it had looked at every device: there
	// may be more.
	Cut bool `json:"cut"`
}

// DevicePage is the answer of GET /device without a device_id.
type DevicePage struct {
	Data       []Device `json:"data"`
	NextCursor string   `json:"nextCursor,omitempty"`
	HasMore    bool     `json:"hasMore"`
}
