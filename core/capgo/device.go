// Package capgo is the protocol as types: what a device asks and hears, what
// it reports, and the rows of the management API. Client, server and simulated
// device all speak through it. It does no I/O.
//
// The shapes are those of the capacitor-updater plugin (4.61 to 8.51.23) and of
// Capgo's public REST API; docs/protocol.md describes them.
package capgo

// UpdateRequest is the body of POST /updates as the plugin sends it. The same
// fields open a stats event and a channel_self request.
type UpdateRequest struct {
	Platform       string `json:"platform"`  // android, ios, electron
	DeviceID       string `json:"device_id"` // UUID, lower case after decoding
	AppID          string `json:"app_id"`    // case-sensitive
	CustomID       string `json:"custom_id"`
	VersionBuild   string `json:"version_build"` // native version, semver
	VersionCode    string `json:"version_code"`
	VersionOS      string `json:"version_os"`
	VersionName    string `json:"version_name"` // current bundle, or "builtin"
	PluginVersion  string `json:"plugin_version"`
	IsEmulator     bool   `json:"is_emulator"`
	IsProd         bool   `json:"is_prod"`
	InstallSource  string `json:"install_source,omitempty"`
	DefaultChannel string `json:"defaultChannel"`
	KeyID          string `json:"key_id,omitempty"`
}

// UpdateAnswer is the body of an answer to POST /updates. An answer that offers
// a bundle holds Version, URL, SessionKey and Checksum and neither Error nor
// Kind nor Message: the plugin takes their mere presence for a refusal.
// A refusal holds Error, Message and Kind. Encode with Offer or Refusal shapes
// of AppendJSON, never with encoding/json on this struct: null and empty keys matter.
type UpdateAnswer struct {
	Version string `json:"version,omitempty"`
	URL     string `json:"url,omitempty"`
	// SessionKey is base64(IV):base64(RSA), 369 characters, or "" for a plain bundle.
	SessionKey string `json:"session_key,omitempty"`
	Checksum   string `json:"checksum,omitempty"`
	// Manifest is nil or has at least one entry; an empty list would select the delta path.
	Manifest []ManifestEntry `json:"manifest,omitempty"`
	Link     string          `json:"link,omitempty"`
	Comment  string          `json:"comment,omitempty"`

	Error   string `json:"error,omitempty"`
	Message string `json:"message,omitempty"`
	Kind    Kind   `json:"kind,omitempty"`
	Major   bool   `json:"major,omitempty"`
	Old     string `json:"old,omitempty"`

	DeviceKeyID string `json:"deviceKeyId,omitempty"`
	BundleKeyID string `json:"bundleKeyId,omitempty"`
}

// ManifestEntry is one file of a delta update.
type ManifestEntry struct {
	FileName    string `json:"file_name"`
	FileHash    string `json:"file_hash"`
	DownloadURL string `json:"download_url"`
}

// Kind says how the plugin treats an answer that offers nothing.
type Kind string

// The three kinds the plugin knows; anything else counts as KindFailed.
const (
	KindUpToDate Kind = "up_to_date"
	KindBlocked  Kind = "blocked"
	KindFailed   Kind = "failed"
)

// ResponseKind is how the plugin (8.45.11 and later) reads a kind.
func ResponseKind(s string) Kind {
	switch k := Kind(s); k {
	case KindUpToDate, KindBlocked:
		return k
	}
	return KindFailed
}

// Names of bundles that are not bundles.
const (
	Builtin = "builtin" // the web build inside the native app
	Unknown = "unknown"
)

// NoZipURL stands in the url of an answer that offers a manifest and no zip:
// the plugin wants a well-formed URL there and does not fetch it.
const NoZipURL = "https://404.capgo.app/no.zip"

// StatsEvent is one event of POST /stats: a lone object or an element of an array.
type StatsEvent struct {
	UpdateRequest
	OldVersionName string            `json:"old_version_name,omitempty"`
	Action         string            `json:"action"`
	Timestamp      int64             `json:"timestamp,omitempty"` // device clock, ms since 1970
	Metadata       map[string]string `json:"metadata,omitempty"`
}

// StatsResult is the verdict on one event of a batch.
type StatsResult struct {
	Status  string `json:"status"` // ok or error
	Error   string `json:"error,omitempty"`
	Message string `json:"message,omitempty"`
	Index   int    `json:"index"`
}

// APIError is the body of every refused request outside POST /updates.
type APIError struct {
	Error    string         `json:"error"`
	Message  string         `json:"message"`
	MoreInfo map[string]any `json:"moreInfo,omitempty"`
}

// OwnCode is the member of moreInfo in which capstan's server gives its own code
// for a refusal that it words as Capgo does.
const OwnCode = "capstan_code"
