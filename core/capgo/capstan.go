package capgo

import "time"

// The types of /capstan/v1: what capstan's own server adds to Capgo's API.
// docs/openapi.yaml describes the routes.

// About is the answer of GET /capstan/v1/about: who answers, and what it can do.
type About struct {
	Server       string   `json:"server"` // "capstan"
	Version      string   `json:"version"`
	PublicURL    string   `json:"public_url"` // base of the device endpoints and of /files
	Capabilities []string `json:"capabilities"`
	MaxObject    int64    `json:"max_object"` // bytes
}

// Capabilities a server may announce.
const (
	CapHistory        = "history"         // GET /capstan/v1/history
	CapExplain        = "explain"         // POST /capstan/v1/explain
	CapEvents         = "events"          // GET /capstan/v1/events
	CapSummary        = "summary"         // GET /capstan/v1/summary
	CapObjects        = "objects"         // PUT /capstan/v1/objects/{name}, served under /files
	CapCompareAndSet  = "compare_and_set" // ChannelChange.ExpectedRevision is honoured
	CapPublicKey      = "public_key"      // an app has a public key on record
	CapChecksumForms  = "checksum_forms"  // the checksum form is chosen per plugin_version
	CapNamesReusable  = "names_reusable"  // the name of a deleted bundle may be registered again
	CapPlatformFlags  = "platform_flags"  // a channel's ios, android, electron flags are returned
	CapUnsecuredHTTP  = "http_urls"       // external_url may be http on loopback
	CapRolloutByHash  = "rollout_by_hash" // a rollout's draw is stable and grows monotonically
	CapDeviceOverride = "device_override"
	CapPlatforms      = "platform_versions" // a channel's platforms may have bundles of their own
	CapSchedule       = "schedule"          // planned releases and freezes
	CapFleet          = "fleet"             // GET /capstan/v1/fleet
	CapDeviceSearch   = "device_search"     // GET /capstan/v1/devices
	CapDelta          = "delta"             // NewBundle.Manifest is kept and served
	CapIdempotency    = "idempotency_keys"  // a change is made once for its Idempotency-Key, and answered again for a day
	CapTwoKeys        = "two_keys"          // App.SecondPublicKey and NewBundle.Seals are kept, and a device is answered by its key_id
)

// Change is one entry of the append-only audit: who changed what, and when.
type Change struct {
	ID      int64     `json:"id"`
	At      time.Time `json:"at"`
	AppID   string    `json:"app_id"`
	Channel string    `json:"channel,omitempty"`
	// Action is a verb of the release vocabulary: app.create, app.key,
	// bundle.register, bundle.delete, channel.create, channel.promote,
	// channel.rollback, channel.platform, channel.settings, channel.delete, rollout.start,
	// rollout.percentage, rollout.pause, rollout.resume, rollout.promote,
	// rollout.rollback, app.second_key, schedule.set, schedule.clear, schedule.done,
	// schedule.stop, freeze.set, freeze.clear, device.override, device.clear, token.create, token.revoke.
	Action string `json:"action"`
	Actor  string `json:"actor"` // name of the token
	From   string `json:"from,omitempty"`
	To     string `json:"to,omitempty"`
	Note   string `json:"note,omitempty"`
}

// Check is one step of a decision, in the order in which it was taken.
type Check struct {
	Name   string `json:"name"` // stable, e.g. "platform", "policy", "key_id"
	Passed bool   `json:"passed"`
	// Detail says in plain words what was compared, e.g. "native 1.9.0 is below the bundle's minimum 2.0.0".
	Detail string `json:"detail"`
}

// Explanation is the answer of POST /capstan/v1/explain, whose body is an
// UpdateRequest: what that device would hear right now, and why.
type Explanation struct {
	Answer        UpdateAnswer `json:"answer"`
	Reason        string       `json:"reason"`         // stable code: "offered" or the answer's error code
	Channel       string       `json:"channel"`        // "" when none was resolved
	ChannelSource string       `json:"channel_source"` // override, self_set, default_channel, public
	Bundle        string       `json:"bundle"`         // the bundle that was weighed
	InRollout     bool         `json:"in_rollout"`
	Checks        []Check      `json:"checks"`
}

// DeviceEvent is a stats event as the server kept it.
type DeviceEvent struct {
	At          time.Time         `json:"at"` // server clock
	DeviceID    string            `json:"device_id"`
	Action      string            `json:"action"`
	VersionName string            `json:"version_name"`
	OldVersion  string            `json:"old_version_name,omitempty"`
	Metadata    map[string]string `json:"metadata,omitempty"`
}

// Summary is the answer of GET /capstan/v1/summary?app_id=: what the board shows.
type Summary struct {
	AppID    string           `json:"app_id"`
	At       time.Time        `json:"at"`
	Channels []ChannelSummary `json:"channels"`
	// Fleet counts active devices (polled within 30 days) by attribute value:
	// keys "plugin_version", "version_build", "version_name", "platform", "key_id".
	Fleet map[string]map[string]int64 `json:"fleet"`
	// Devices is the number of active devices.
	Devices int64 `json:"devices"`
}

// ChannelSummary is one channel's health.
type ChannelSummary struct {
	Channel string `json:"channel"`
	Live    string `json:"live"`    // bundle name, or builtin
	Rollout string `json:"rollout"` // bundle name, "" when none
	// Devices that polled this channel in the last 24 hours, and how many of them run the live bundle.
	Devices int64 `json:"devices"`
	OnLive  int64 `json:"on_live"`
	// Installs and Failures of the last 24 hours, from stats events (set, and the *_fail actions).
	Installs int64 `json:"installs"`
	Failures int64 `json:"failures"`
	// RecentInstalls and RecentFailures are those of the last 6 hours among
	// them, for the trend.
	RecentInstalls int64 `json:"recent_installs"`
	RecentFailures int64 `json:"recent_failures"`
	// Adoption is the share (0 to 1) of polling devices on the live bundle for
	// each of the last 24 hours, oldest first; -1 where nobody polled.
	Adoption   []float64 `json:"adoption"`
	LastChange *Change   `json:"last_change,omitempty"`
}

// TokenScope limits what a token may do. Each scope includes those before it.
type TokenScope string

// The scopes, from least to most.
const (
	ScopeRead    TokenScope = "read"
	ScopeUpload  TokenScope = "upload"  // register bundles and put objects
	ScopePromote TokenScope = "promote" // change channels and devices
	ScopeAdmin   TokenScope = "admin"   // apps, keys, tokens, deletion
)

// Token is a row of GET /capstan/v1/tokens. The secret itself appears once, in
// the answer of POST.
type Token struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Scope     TokenScope `json:"scope"`
	Apps      []string   `json:"apps,omitempty"`     // none = all
	Channels  []string   `json:"channels,omitempty"` // none = all
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	CreatedAt time.Time  `json:"created_at"`
	LastUsed  *time.Time `json:"last_used,omitempty"`
	Revoked   bool       `json:"revoked"`
	Secret    string     `json:"secret,omitempty"`
}
