package management

import (
	"encoding/json"
	"strings"
	"time"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/server/store"
)

// channelRow is an element of GET /channel with every field of Capgo's.
type channelRow struct {
	capgo.Channel
	RolloutCacheTTLSeconds   int64      `json:"rolloutCacheTtlSeconds"`
	AutoPauseEnabled         bool       `json:"autoPauseEnabled"`
	AutoPauseWindowMinutes   int64      `json:"autoPauseWindowMinutes"`
	AutoPauseFailureRateBps  *int64     `json:"autoPauseFailureRateBps"`
	AutoPauseConfidence      float64    `json:"autoPauseConfidence"`
	AutoPauseMinAttempts     *int64     `json:"autoPauseMinAttempts"`
	AutoPauseMinFailures     *int64     `json:"autoPauseMinFailures"`
	AutoPauseAction          string     `json:"autoPauseAction"`
	AutoPauseCooldownMinutes int64      `json:"autoPauseCooldownMinutes"`
	AutoPauseLastTriggeredAt *time.Time `json:"autoPauseLastTriggeredAt"`
	AutoPauseLastCheckedAt   *time.Time `json:"autoPauseLastCheckedAt"`
	CreatedBy                string     `json:"created_by"`
}

func rowOf(c store.Channel) channelRow {
	p := c.AutoPause
	return channelRow{c.Channel, c.RolloutCacheTTL, p.Enabled, p.WindowMinutes, p.FailureRateBps, p.Confidence, p.MinAttempts, p.MinFailures,
		p.Action, p.CooldownMinutes, p.TriggeredAt, p.CheckedAt, c.CreatedBy}
}

func listChannels(c *call) error {
	name, offset := c.in.text("channel"), c.in.page(pageRows)
	if err := c.mustExist(); err != nil {
		return err
	}
	if name != "" {
		channel, err := c.api.Store.Channel(c.ctx, c.app, name)
		if err != nil {
			return err
		}
		return c.ok(rowOf(channel))
	}
	list, err := c.api.Store.Channels(c.ctx, c.app, offset, pageRows)
	if err != nil {
		return err
	}
	rows := []channelRow{}
	for _, channel := range list {
		if c.mayChannel(channel.Name) {
			rows = append(rows, rowOf(channel))
		}
	}
	return c.ok(rows)
}

// maxChannelName is Capgo's own bound in bytes.
const maxChannelName = 100

// changeChannel is Capgo's upsert. A token of scope promote may change what a
// channel points at and its rules; the change is compare-and-set when the
// caller says which revision it saw.
func changeChannel(c *call) error {
	change, err := c.readChange()
	if err != nil {
		return err
	}
	answers(c, changedChannel)
	after, created, err := c.api.Store.ChangeChannel(c.ctx, c.actor(), change)
	if err != nil {
		return err
	}
	return c.ok(changedChannel(store.Changed{Channel: after, Created: created}))
}

func changedChannel(done store.Changed) any {
	answer := map[string]any{"status": "ok", "revision": done.Channel.Revision}
	if done.Created {
		answer["id"], answer["public"] = done.Channel.ID, done.Channel.Public
	}
	return answer
}

func (c *call) readChange() (store.ChannelChange, error) {
	in := c.in
	var change store.ChannelChange
	in.coded("invalid_rollout_config", func() {
		change.RolloutCacheTTL = in.optInt(60, 31536000, "rolloutCacheTtlSeconds", "rollout_cache_ttl_seconds")
		change.AutoPauseWindowMinutes = in.optInt(1, 10080, "autoPauseWindowMinutes", "auto_pause_window_minutes")
		change.AutoPauseCooldownMinutes = in.optInt(0, 10080, "autoPauseCooldownMinutes", "auto_pause_cooldown_minutes")
		change.AutoPauseFailureRateBps = c.nullable(0, 10000, "autoPauseFailureRateBps", "auto_pause_failure_rate_bps")
		change.AutoPauseMinAttempts = c.nullable(0, 1<<53-1, "autoPauseMinAttempts", "auto_pause_min_attempts")
		change.AutoPauseMinFailures = c.nullable(0, 1<<53-1, "autoPauseMinFailures", "auto_pause_min_failures")
	})
	in.coded("invalid_auto_pause_confidence", func() {
		change.AutoPauseConfidence = in.optFloat(0, 1, "autoPauseConfidence", "auto_pause_confidence")
	})
	in.coded("invalid_auto_pause_action", func() {
		change.AutoPauseAction = in.optText("autoPauseAction", "auto_pause_action")
	})
	change.AutoPauseEnabled = in.optBool("autoPauseEnabled", "auto_pause_enabled")
	change.AsGiven = true
	change.AppID, change.Channel, change.Note = c.app, in.text("channel"), in.text("note", "reason")
	change.Public = in.optBool("public")
	change.DisableAutoUpdateUnderNative = in.optBool("disableAutoUpdateUnderNative", "disable_auto_update_under_native")
	change.IOS, change.Android, change.Electron = in.optBool("ios"), in.optBool("android"), in.optBool("electron")
	if yes := change.Public; yes != nil && *yes && change.Electron == nil && !sameBool(change.IOS, change.Android) {
		// The channel of one mobile platform is not that of the desktop.
		change.Electron = new(bool)
	}
	change.AllowDeviceSelfSet = in.optBool("allow_device_self_set")
	change.AllowEmulator, change.AllowDevice = in.optBool("allow_emulator"), in.optBool("allow_device")
	change.AllowDev, change.AllowProd = in.optBool("allow_dev"), in.optBool("allow_prod")
	change.RolloutEnabled = in.optBool("rolloutEnabled", "rollout_enabled")
	change.RolloutPaused = in.optBool("rolloutPaused", "rollout_paused")
	change.RolloutPauseReason = in.optText("rolloutPauseReason", "rollout_pause_reason")
	change.Rollback, change.PromoteToStable = in.optBool("rollback"), in.optBool("promoteToStable", "promote_to_stable")
	change.ExpectedRevision = in.optInt(0, 1<<53, "expected_revision")
	c.readPaused(&change)
	c.readPlatforms(&change)
	c.readBundles(&change)
	c.readPercentage(&change)
	if policy := in.optText("disableAutoUpdate", "disable_auto_update"); policy != nil {
		p := capgo.UpdatePolicy(*policy)
		switch p {
		case "metadata": // the Capgo CLI's word
			p = capgo.PolicyVersionNumber
		case capgo.PolicyMajor, capgo.PolicyMinor, capgo.PolicyPatch, capgo.PolicyVersionNumber, capgo.PolicyNone:
		default:
			return change, bad("invalid_json_body", "disableAutoUpdate is major, minor, patch, version_number or none")
		}
		change.DisableAutoUpdate = &p
	}
	if err := c.checked(); err != nil {
		return change, err
	}
	return change, checkChange(change)
}

func checkChange(change store.ChannelChange) error {
	name := change.Channel
	if name == "" {
		return bad("missing_channel", "channel is missing")
	}
	if len(name) > maxChannelName || name != clean(name) && len(name) <= 80 || strings.TrimSpace(name) != name {
		return bad("invalid_channel_name", "the channel's name is too long or holds odd characters")
	}
	if a := change.AutoPauseAction; a != nil && *a != "pause" && *a != "rollback" && *a != "notify" {
		return bad("invalid_auto_pause_action", "autoPauseAction is pause, rollback or notify")
	}
	if v := change.AutoPauseConfidence; v != nil && (*v <= 0 || *v >= 1) {
		return bad("invalid_auto_pause_confidence", "autoPauseConfidence is between 0 and 1")
	}
	if len(change.Note) > 500 || change.RolloutPauseReason != nil && len(*change.RolloutPauseReason) > 500 {
		return bad("invalid_json_body", "a reason is too long")
	}
	return nil
}

// nullable reads an integer that null takes away.
func (c *call) nullable(low, high int64, names ...string) **int64 {
	if c.in.null(names...) {
		var none *int64
		return &none
	}
	if n := c.in.optInt(low, high, names...); n != nil {
		return &n
	}
	return nil
}

func sameBool(a, b *bool) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// readPaused takes Capgo's other spelling of a pause, which goes before the
// first: its time, or null.
func (c *call) readPaused(change *store.ChannelChange) {
	for _, name := range []string{"rolloutPausedAt", "rollout_paused_at"} {
		if _, given := c.in.fields[name]; given {
			change.RolloutPausedAt = c.in.optTime(name)
			paused := change.RolloutPausedAt != nil
			change.RolloutPaused = &paused
			return
		}
	}
}

// readPlatforms reads the platforms' own bundles: by name, null to follow the channel.
func (c *call) readPlatforms(change *store.ChannelChange) {
	const name = "platform_versions"
	value, given := c.in.fields[name]
	if !given || value == nil {
		return
	}
	members, ok := value.(map[string]any)
	if !ok {
		c.in.wrong(name, "an object")
		return
	}
	change.PlatformVersions = map[string]*string{}
	for platform, value := range members {
		switch v := value.(type) {
		case nil:
			change.PlatformVersions[platform] = nil
		case string:
			change.PlatformVersions[platform] = &v
		default:
			c.in.wrong(name, "an object of bundle names")
		}
	}
}

// readBundles reads the bundles by name or id. null unlinks; what is left out stays.
func (c *call) readBundles(change *store.ChannelChange) {
	builtin := capgo.Builtin
	if change.Version = c.in.optText("version"); c.in.null("version") {
		change.Version = &builtin
	}
	names := []string{"rolloutVersion", "rollout_version"}
	name, value, given := c.in.find(names)
	switch {
	case !given:
	case value == nil:
		change.RolloutVersion = &builtin
	default:
		if number, ok := value.(json.Number); ok {
			if id, err := number.Int64(); err == nil && id > 0 {
				change.RolloutVersionID = &id
				return
			}
			c.in.wrong(name, "a bundle")
			return
		}
		change.RolloutVersion = c.in.optText(names...)
	}
}

// readPercentage reads a rollout's share in per cent or in basis points.
func (c *call) readPercentage(change *store.ChannelChange) {
	c.in.coded("invalid_rollout_percentage", func() {
		if percent := c.in.optFloat(0, 100, "rolloutPercentage", "rollout_percentage"); percent != nil {
			n := int(*percent*100 + 0.5)
			change.RolloutPercentageBps = &n
		}
	})
	c.in.coded("invalid_rollout_config", func() {
		if bps := c.in.optInt(0, 10000, "rolloutPercentageBps", "rollout_percentage_bps"); bps != nil {
			n := int(*bps)
			change.RolloutPercentageBps = &n
		}
	})
}

func deleteChannel(c *call) error {
	name := c.in.text("channel")
	if err := c.mustExist(); err != nil {
		return err
	}
	if name == "" {
		return bad("missing_channel_name", "channel is missing")
	}
	if d := c.in.optBool("delete_bundle"); d != nil && *d {
		// Which Capgo lets only the keys of its previews do.
		return failure.New(failure.Usage, "cannot_access_app", "", "a channel is deleted without its bundle", "delete the bundle with DELETE /bundle")
	}
	if err := c.api.Store.DeleteChannel(c.ctx, c.actor(), c.app, name); err != nil {
		return err
	}
	return c.ok(statusOK)
}
