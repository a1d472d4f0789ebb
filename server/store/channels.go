package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"capstan/core/capgo"
	"capstan/core/failure"
)

// AutoPause says when a rollout stops by itself.
type AutoPause struct {
	Enabled         bool
	WindowMinutes   int64
	FailureRateBps  *int64
	Confidence      float64
	MinAttempts     *int64
	MinFailures     *int64
	Action          string // pause, rollback, notify
	CooldownMinutes int64
	TriggeredAt     *time.Time
	CheckedAt       *time.Time
}

// Channel is a row of channels.
type Channel struct {
	capgo.Channel
	RolloutCacheTTL int64 // seconds; kept for Capgo's clients, the draw needs no cache
	AutoPause       AutoPause
	CreatedBy       string
}

const channelColumns = `c.id, c.name, c.app_id, c.public, c.ios, c.android, c.electron, c.allow_device_self_set, c.allow_emulator,
	c.allow_device, c.allow_dev, c.allow_prod, c.disable_auto_update, c.disable_auto_update_under_native,
	c.bundle_id, b.name, c.rollout_bundle_id, r.name, c.rollout_id, c.rollout_bps, c.rollout_enabled, c.rollout_paused_at,
	c.rollout_pause_reason, c.rollout_cache_ttl, c.auto_pause_enabled, c.auto_pause_window_minutes, c.auto_pause_rate_bps,
	c.auto_pause_confidence, c.auto_pause_min_attempts, c.auto_pause_min_failures, c.auto_pause_action,
	c.auto_pause_cooldown_minutes, c.auto_pause_triggered_at, c.auto_pause_checked_at, c.created_by, c.revision, c.created_at, c.updated_at,
	c.ios_bundle_id, pi.name, c.android_bundle_id, pa.name, c.electron_bundle_id, pe.name`

const channelTables = `channels c LEFT JOIN bundles b ON b.id = c.bundle_id LEFT JOIN bundles r ON r.id = c.rollout_bundle_id
	LEFT JOIN bundles pi ON pi.id = c.ios_bundle_id LEFT JOIN bundles pa ON pa.id = c.android_bundle_id LEFT JOIN bundles pe ON pe.id = c.electron_bundle_id`

// platforms in the order of their columns.
var platforms = [3]string{"ios", "android", "electron"}

func scanChannel(row scanner) (Channel, error) {
	var c Channel
	var policy string
	var bundleID, rolloutID, pausedAt, triggered, checked sql.NullInt64
	var bundleName, rolloutName sql.NullString
	var created, updated int64
	var ownID [len(platforms)]sql.NullInt64
	var ownName [len(platforms)]sql.NullString
	c.IOS, c.Android, c.Electron = new(bool), new(bool), new(bool)
	err := row.Scan(&c.ID, &c.Name, &c.AppID, &c.Public, c.IOS, c.Android, c.Electron, &c.AllowDeviceSelfSet, &c.AllowEmulator,
		&c.AllowDevice, &c.AllowDev, &c.AllowProd, &policy, &c.DisableAutoUpdateUnderNative,
		&bundleID, &bundleName, &rolloutID, &rolloutName, &c.RolloutID, &c.RolloutPercentageBps, &c.RolloutEnabled, &pausedAt,
		&c.RolloutPauseReason, &c.RolloutCacheTTL, &c.AutoPause.Enabled, &c.AutoPause.WindowMinutes, &c.AutoPause.FailureRateBps,
		&c.AutoPause.Confidence, &c.AutoPause.MinAttempts, &c.AutoPause.MinFailures, &c.AutoPause.Action,
		&c.AutoPause.CooldownMinutes, &triggered, &checked, &c.CreatedBy, &c.Revision, &created, &updated,
		&ownID[0], &ownName[0], &ownID[1], &ownName[1], &ownID[2], &ownName[2])
	if err != nil {
		return c, err
	}
	c.DisableAutoUpdate = capgo.UpdatePolicy(policy)
	if bundleID.Valid {
		c.Version = &capgo.VersionRef{ID: bundleID.Int64, Name: bundleName.String}
	}
	if rolloutID.Valid {
		c.RolloutVersion = &rolloutID.Int64
		c.RolloutVersionInfo = &capgo.VersionRef{ID: rolloutID.Int64, Name: rolloutName.String}
	}
	for i, id := range ownID {
		if !id.Valid {
			continue
		}
		if c.PlatformVersions == nil {
			c.PlatformVersions = map[string]capgo.VersionRef{}
		}
		c.PlatformVersions[platforms[i]] = capgo.VersionRef{ID: id.Int64, Name: ownName[i].String}
		if id.Int64 == 0 {
			c.PlatformVersions[platforms[i]] = capgo.VersionRef{Name: capgo.Builtin}
		}
	}
	c.RolloutPausedAt = fromNullMS(pausedAt)
	c.AutoPause.TriggeredAt, c.AutoPause.CheckedAt = fromNullMS(triggered), fromNullMS(checked)
	c.CreatedAt, c.UpdatedAt = fromMS(created), fromMS(updated)
	return c, nil
}

func noChannel() error {
	return failure.New(failure.NotFound, "channel_not_found", "", "there is no such channel", "see the names in the list of channels")
}

// Channels lists the channels of an app, oldest first. limit is 1 to 1000, 50
// when zero.
func (s *Store) Channels(ctx context.Context, appID string, offset, limit int) ([]Channel, error) {
	q := channelQuery(appID)
	q.text += ` ORDER BY c.id`
	q.limit(limit, 50, 1000)
	q.text += ` OFFSET ` + q.arg(max(offset, 0))
	return collect(ctx, s.db.read, q, scanChannel)
}

func channelQuery(appID string) query {
	q := query{text: `SELECT ` + channelColumns + ` FROM ` + channelTables + ` WHERE TRUE`}
	q.and(`c.app_id = `, appID)
	return q
}

// Channel gives one channel by name. Code channel_not_found.
func (s *Store) Channel(ctx context.Context, appID, name string) (Channel, error) {
	return channelIn(ctx, s.db.read, appID, name)
}

// ChannelByID gives one channel of this app. Code channel_not_found.
func (s *Store) ChannelByID(ctx context.Context, appID string, id int64) (Channel, error) {
	q := channelQuery(appID)
	q.and(`c.id = `, id)
	return one(ctx, s.db.read, q, scanChannel, noChannel())
}

func channelIn(ctx context.Context, from querier, appID, name string) (Channel, error) {
	q := channelQuery(appID)
	q.and(`c.name = `, name)
	return one(ctx, from, q, scanChannel, noChannel())
}

// ChannelChange is an upsert of a channel by name; a nil field keeps what is there.
type ChannelChange struct {
	capgo.ChannelChange
	// VersionID and RolloutVersionID name the bundles by id instead of by name.
	VersionID        *int64
	RolloutVersionID *int64
	RolloutCacheTTL  *int64

	AutoPauseEnabled         *bool
	AutoPauseWindowMinutes   *int64
	AutoPauseFailureRateBps  **int64
	AutoPauseConfidence      *float64
	AutoPauseMinAttempts     **int64
	AutoPauseMinFailures     **int64
	AutoPauseAction          *string
	AutoPauseCooldownMinutes *int64

	// MustExist refuses to create: code channel_not_found.
	MustExist bool
	// RolloutPausedAt is when a rollout that RolloutPaused pauses was; now when nil.
	RolloutPausedAt *time.Time
	// AsGiven leaves the rollout's switch and share as the channel has them when
	// the change names a bundle for it and says nothing of them, as Capgo does;
	// else a new rollout is switched on, at 0. The share of another bundle's
	// rollout is never taken over: it would reach those devices at once.
	AsGiven bool

	// also runs at the end of the transaction; its error undoes the change.
	also func(t *tx, after Channel) error
}

// Changed is what ChangeChannel gives.
type Changed struct {
	Channel Channel
	Created bool
}

// ChangeChannel applies a change in one transaction and gives the channel as
// it is then. With ExpectedRevision it is compare-and-set: code channel_moved
// when somebody changed the channel meanwhile. Other codes: cannot_find_version,
// missing_stable_version, missing_rollout_version, invalid_rollout_config,
// cannot_promote_bundle for a bundle that does not verify, channel_frozen within
// a freeze when Note gives no reason.
func (s *Store) ChangeChannel(ctx context.Context, actor string, c ChannelChange) (channel Channel, created bool, err error) {
	err = s.change(ctx, func(t *tx) error {
		created = false
		if err := t.lock(ctx, c.AppID); err != nil {
			return err
		}
		a, err := appIn(ctx, t, c.AppID)
		if err != nil {
			return err
		}
		before, err := channelIn(ctx, t, c.AppID, c.Channel)
		switch {
		case errors.Is(err, &failure.Error{Code: "channel_not_found"}):
			if c.MustExist || c.movesRollout() {
				return err
			}
			if c.ExpectedRevision != nil && *c.ExpectedRevision != 0 {
				return moved(c.Channel)
			}
			created = true
			if err := s.createChannel(ctx, t, actor, c.AppID, c.Channel); err != nil {
				return err
			}
			if before, err = channelIn(ctx, t, c.AppID, c.Channel); err != nil {
				return err
			}
		case err != nil:
			return err
		case c.ExpectedRevision != nil && *c.ExpectedRevision != before.Revision:
			return moved(c.Channel)
		}
		after := before
		actions, err := s.apply(ctx, t, onRecord(a), &after, c)
		if err != nil {
			return err
		}
		if err := s.checkFreeze(ctx, t, c, before, after, actions); err != nil {
			return err
		}
		if after.Public {
			if err := s.demoteOthers(ctx, t, actor, after); err != nil {
				return err
			}
		}
		if err := s.writeChannel(ctx, t, after); err != nil {
			return err
		}
		t.touch(c.AppID)
		if len(actions) == 0 && !created {
			actions = []string{"channel.settings"}
		}
		for _, action := range actions {
			entry := capgo.Change{AppID: c.AppID, Channel: c.Channel, Action: action, Actor: actor, Note: c.Note}
			entry.From, entry.To = described(action, before, after)
			if err := s.note(ctx, t, entry); err != nil {
				return err
			}
		}
		if channel, err = channelIn(ctx, t, c.AppID, c.Channel); err != nil {
			return err
		}
		t.result = Changed{channel, created}
		if c.also == nil {
			return nil
		}
		return c.also(t, channel)
	})
	return channel, created, err
}

// movesRollout reports whether a change needs a channel that is there.
func (c ChannelChange) movesRollout() bool {
	yes := func(b *bool) bool { return b != nil && *b }
	return c.RolloutVersion != nil || c.RolloutVersionID != nil || yes(c.Rollback) || yes(c.PromoteToStable)
}

func moved(channel string) error {
	return failure.Newf(failure.Conflict, "channel_moved", "", "look at the channel as it is now and decide again", "channel %s was changed meanwhile", channel)
}

func (s *Store) createChannel(ctx context.Context, t *tx, actor, appID, name string) error {
	now := s.ms()
	err := t.exec(ctx, `INSERT INTO channels (app_id, name, rollout_id, created_by, revision, created_at, updated_at) VALUES ($1, $2, $3, $4, 0, $5, $5)`,
		appID, name, newID(), actor, now)
	if err != nil {
		return err
	}
	return s.note(ctx, t, capgo.Change{AppID: appID, Channel: name, Action: "channel.create", Actor: actor})
}

// newID gives a random UUID (version 4).
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// apply works the change into the row and names what happened in the words of
// the audit.
func (s *Store) apply(ctx context.Context, t *tx, known recordedKeys, row *Channel, c ChannelChange) (actions []string, err error) {
	settings := *row
	set(&row.Public, c.Public)
	set(&row.DisableAutoUpdate, c.DisableAutoUpdate)
	set(&row.DisableAutoUpdateUnderNative, c.DisableAutoUpdateUnderNative)
	row.IOS, row.Android, row.Electron = chosen(row.IOS, c.IOS), chosen(row.Android, c.Android), chosen(row.Electron, c.Electron)
	set(&row.AllowDeviceSelfSet, c.AllowDeviceSelfSet)
	set(&row.AllowEmulator, c.AllowEmulator)
	set(&row.AllowDevice, c.AllowDevice)
	set(&row.AllowDev, c.AllowDev)
	set(&row.AllowProd, c.AllowProd)
	set(&row.RolloutCacheTTL, c.RolloutCacheTTL)
	set(&row.AutoPause.Enabled, c.AutoPauseEnabled)
	set(&row.AutoPause.WindowMinutes, c.AutoPauseWindowMinutes)
	set(&row.AutoPause.FailureRateBps, c.AutoPauseFailureRateBps)
	set(&row.AutoPause.Confidence, c.AutoPauseConfidence)
	set(&row.AutoPause.MinAttempts, c.AutoPauseMinAttempts)
	set(&row.AutoPause.MinFailures, c.AutoPauseMinFailures)
	set(&row.AutoPause.Action, c.AutoPauseAction)
	set(&row.AutoPause.CooldownMinutes, c.AutoPauseCooldownMinutes)
	if settingsOf(settings) != settingsOf(*row) {
		actions = append(actions, "channel.settings")
	}

	if target, given, err := s.target(ctx, t, known, c.AppID, c.Version, c.VersionID); err != nil {
		return nil, err
	} else if given && !sameRef(row.Version, target) {
		// Going back to a bundle that is older than the live one is a rollback.
		action := "channel.promote"
		if row.Version != nil && (target == nil || target.ID < row.Version.ID) {
			action = "channel.rollback"
		}
		row.Version = target
		actions = append(actions, action)
	}

	pinned, err := s.applyPlatforms(ctx, t, known, row, c)
	if err != nil {
		return nil, err
	}
	actions = append(actions, pinned...)
	rolled, err := s.applyRollout(ctx, t, known, row, c)
	return append(actions, rolled...), err
}

// applyPlatforms gives platforms bundles of their own or takes them away.
func (s *Store) applyPlatforms(ctx context.Context, t *tx, known recordedKeys, row *Channel, c ChannelChange) (actions []string, err error) {
	own := maps.Clone(row.PlatformVersions)
	if own == nil {
		own = map[string]capgo.VersionRef{}
	}
	for platform, name := range c.PlatformVersions {
		if !slices.Contains(platforms[:], platform) {
			return nil, failure.New(failure.Usage, "invalid_platform", "", "a platform is ios, android or electron", "")
		}
		if name == nil {
			delete(own, platform)
			continue
		}
		target, _, err := s.target(ctx, t, known, c.AppID, name, nil)
		if err != nil {
			return nil, err
		}
		if target == nil {
			target = &capgo.VersionRef{Name: capgo.Builtin}
		}
		own[platform] = *target
	}
	if !maps.Equal(own, row.PlatformVersions) {
		actions = []string{"channel.platform"}
	}
	row.PlatformVersions = own
	return actions, nil
}

func (s *Store) applyRollout(ctx context.Context, t *tx, known recordedKeys, row *Channel, c ChannelChange) (actions []string, err error) {
	yes := func(b *bool) bool { return b != nil && *b }
	if yes(c.Rollback) && yes(c.PromoteToStable) {
		return nil, failure.New(failure.Usage, "invalid_rollout_config", "", "a rollout is either rolled back or promoted", "send one of rollback and promoteToStable")
	}
	if yes(c.Rollback) {
		if row.RolloutVersion == nil && !c.AsGiven {
			return nil, failure.New(failure.Usage, "missing_rollout_version", "", "the channel has no rollout", "")
		}
		endRollout(row)
		return []string{"rollout.rollback"}, nil
	}
	if yes(c.PromoteToStable) {
		if row.RolloutVersion == nil {
			return nil, failure.New(failure.Usage, "missing_rollout_version", "", "the channel has no rollout", "")
		}
		row.Version = row.RolloutVersionInfo
		endRollout(row)
		return []string{"rollout.promote"}, nil
	}
	if target, given, err := s.target(ctx, t, known, c.AppID, c.RolloutVersion, c.RolloutVersionID); err != nil {
		return nil, err
	} else if given && !sameRef(row.RolloutVersionInfo, target) {
		if target == nil {
			endRollout(row)
			return []string{"rollout.rollback"}, nil
		}
		if row.Version == nil {
			return nil, failure.New(failure.Usage, "missing_stable_version", "", "a rollout needs a bundle that is live already", "promote a bundle first")
		}
		enabled, bps := true, 0
		if c.AsGiven {
			enabled = row.RolloutEnabled
			if row.RolloutVersion == nil {
				bps = row.RolloutPercentageBps
			}
		}
		endRollout(row)
		row.RolloutVersion, row.RolloutVersionInfo, row.RolloutEnabled, row.RolloutPercentageBps = &target.ID, target, enabled, bps
		actions = append(actions, "rollout.start")
	}
	if c.RolloutPercentageBps != nil && *c.RolloutPercentageBps != row.RolloutPercentageBps {
		row.RolloutPercentageBps = *c.RolloutPercentageBps
		actions = append(actions, "rollout.percentage")
	}
	if c.RolloutEnabled != nil && *c.RolloutEnabled != row.RolloutEnabled {
		if *c.RolloutEnabled && row.RolloutVersion == nil && !c.AsGiven {
			return nil, failure.New(failure.Usage, "missing_rollout_version", "", "the channel has no rollout", "give rolloutVersion")
		}
		row.RolloutEnabled = *c.RolloutEnabled
		actions = append(actions, "channel.settings")
	}
	if c.RolloutPaused != nil {
		switch paused := row.RolloutPausedAt != nil; {
		case *c.RolloutPaused && !paused:
			now := s.now().UTC()
			row.RolloutPausedAt = &now
			if c.RolloutPausedAt != nil {
				row.RolloutPausedAt = c.RolloutPausedAt
			}
			actions = append(actions, "rollout.pause")
		case !*c.RolloutPaused && paused:
			row.RolloutPausedAt, row.RolloutPauseReason = nil, nil
			actions = append(actions, "rollout.resume")
		}
	}
	if c.RolloutPauseReason != nil && row.RolloutPausedAt != nil {
		row.RolloutPauseReason = c.RolloutPauseReason
	}
	return actions, nil
}

// endRollout clears a rollout; the next one draws its devices anew.
func endRollout(row *Channel) {
	row.RolloutVersion, row.RolloutVersionInfo = nil, nil
	row.RolloutEnabled, row.RolloutPercentageBps = false, 0
	row.RolloutPausedAt, row.RolloutPauseReason = nil, nil
	row.RolloutID = newID()
}

// target finds the bundle that a change names, by id or by name. given is
// false when it names none; builtin, unknown and "" are the store build, nil.
func (s *Store) target(ctx context.Context, t *tx, known recordedKeys, appID string, name *string, id *int64) (ref *capgo.VersionRef, given bool, err error) {
	f := BundleFilter{AppID: appID}
	switch {
	case id != nil:
		f.ID = *id
	case name == nil:
		return nil, false, nil
	case *name == "" || *name == capgo.Builtin || *name == capgo.Unknown:
		return nil, true, nil
	default:
		f.Name = *name
	}
	b, err := bundleIn(ctx, t, f)
	if err != nil {
		return nil, true, err
	}
	if err := verifyAny(known, b); err != nil {
		return nil, true, failure.Wrap(err, failure.Verification, "cannot_promote_bundle", "point a channel at bundle "+b.Name, failure.HintOf(err))
	}
	return &capgo.VersionRef{ID: b.ID, Name: b.Name}, true, nil
}

func sameRef(a, b *capgo.VersionRef) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.ID == b.ID
}

func chosen(old, new *bool) *bool {
	if new != nil {
		return new
	}
	return old
}

// settingsOf writes a channel's rules as one line for the audit.
func settingsOf(c Channel) string {
	opt := func(v *int64) string {
		if v == nil {
			return "none"
		}
		return strconv.FormatInt(*v, 10)
	}
	return fmt.Sprintf("public=%t ios=%t android=%t electron=%t self_set=%t emulator=%t device=%t dev=%t prod=%t policy=%s under_native=%t cache_ttl=%d "+
		"auto_pause=%t/%dm/%sbps/%g/%s/%s/%s/%dm",
		c.Public, *c.IOS, *c.Android, *c.Electron, c.AllowDeviceSelfSet, c.AllowEmulator, c.AllowDevice, c.AllowDev, c.AllowProd,
		c.DisableAutoUpdate, c.DisableAutoUpdateUnderNative, c.RolloutCacheTTL, c.AutoPause.Enabled, c.AutoPause.WindowMinutes,
		opt(c.AutoPause.FailureRateBps), c.AutoPause.Confidence, opt(c.AutoPause.MinAttempts), opt(c.AutoPause.MinFailures),
		c.AutoPause.Action, c.AutoPause.CooldownMinutes)
}

// described gives the before and after of an audit entry.
func described(action string, before, after Channel) (from, to string) {
	live := func(r *capgo.VersionRef) string {
		if r == nil {
			return capgo.Builtin
		}
		return r.Name
	}
	percent := func(c Channel) string {
		return strconv.FormatFloat(float64(c.RolloutPercentageBps)/100, 'f', -1, 64) + "%"
	}
	switch action {
	case "channel.promote", "channel.rollback", "rollout.promote":
		return live(before.Version), live(after.Version)
	case "rollout.start":
		return live(after.Version), live(after.RolloutVersionInfo)
	case "rollout.rollback":
		return live(before.RolloutVersionInfo), live(after.Version)
	case "rollout.percentage":
		return percent(before), percent(after)
	case "channel.platform":
		return changedWords(platformsOf(before), platformsOf(after))
	case "rollout.pause", "rollout.resume":
		return "", live(after.RolloutVersionInfo)
	}
	return changedWords(settingsOf(before), settingsOf(after))
}

// platformsOf writes the platforms' own bundles as one line for the audit.
func platformsOf(c Channel) string {
	var words []string
	for _, platform := range platforms {
		name := "channel"
		if own, ok := c.PlatformVersions[platform]; ok {
			name = own.Name
		}
		words = append(words, platform+"="+name)
	}
	return strings.Join(words, " ")
}

// changedWords keeps the words that differ between two lines of equal length.
func changedWords(before, after string) (from, to string) {
	b, a := strings.Fields(before), strings.Fields(after)
	var f, g []string
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			f, g = append(f, b[i]), append(g, a[i])
		}
	}
	return strings.Join(f, " "), strings.Join(g, " ")
}

// demoteOthers keeps one public channel a platform: the ones that overlap with
// the channel that became public stop being so, and lose nothing else.
func (s *Store) demoteOthers(ctx context.Context, t *tx, actor string, c Channel) error {
	q := channelQuery(c.AppID)
	q.and(`c.name <> `, c.Name)
	q.text += ` AND c.public ORDER BY c.id`
	others, err := collect(ctx, t, q, scanChannel)
	if err != nil {
		return err
	}
	for _, o := range others {
		if !(*o.IOS && *c.IOS || *o.Android && *c.Android || *o.Electron && *c.Electron) {
			continue
		}
		if err := t.exec(ctx, `UPDATE channels SET public = FALSE, revision = revision + 1, updated_at = $1 WHERE id = $2`, s.ms(), o.ID); err != nil {
			return err
		}
		entry := capgo.Change{AppID: c.AppID, Channel: o.Name, Action: "channel.settings", Actor: actor, From: "public=true", To: "public=false", Note: c.Name + " became public"}
		if err := s.note(ctx, t, entry); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) writeChannel(ctx context.Context, t *tx, c Channel) error {
	id := func(r *capgo.VersionRef) *int64 {
		if r == nil {
			return nil
		}
		return &r.ID
	}
	own := func(platform int) *int64 {
		if ref, ok := c.PlatformVersions[platforms[platform]]; ok {
			return &ref.ID
		}
		return nil
	}
	ms := func(at *time.Time) *int64 {
		if at == nil {
			return nil
		}
		v := at.UnixMilli()
		return &v
	}
	return t.exec(ctx, `UPDATE channels SET bundle_id = $1, public = $2, ios = $3, android = $4, electron = $5, allow_device_self_set = $6,
		allow_emulator = $7, allow_device = $8, allow_dev = $9, allow_prod = $10, disable_auto_update = $11, disable_auto_update_under_native = $12,
		rollout_bundle_id = $13, rollout_id = $14, rollout_bps = $15, rollout_enabled = $16, rollout_paused_at = $17, rollout_pause_reason = $18,
		rollout_cache_ttl = $19, auto_pause_enabled = $20, auto_pause_window_minutes = $21, auto_pause_rate_bps = $22, auto_pause_confidence = $23,
		auto_pause_min_attempts = $24, auto_pause_min_failures = $25, auto_pause_action = $26, auto_pause_cooldown_minutes = $27,
		revision = revision + 1, updated_at = $28, ios_bundle_id = $29, android_bundle_id = $30, electron_bundle_id = $31 WHERE id = $32`,
		id(c.Version), c.Public, *c.IOS, *c.Android, *c.Electron, c.AllowDeviceSelfSet,
		c.AllowEmulator, c.AllowDevice, c.AllowDev, c.AllowProd, string(c.DisableAutoUpdate), c.DisableAutoUpdateUnderNative,
		id(c.RolloutVersionInfo), c.RolloutID, c.RolloutPercentageBps, c.RolloutEnabled, ms(c.RolloutPausedAt), c.RolloutPauseReason,
		c.RolloutCacheTTL, c.AutoPause.Enabled, c.AutoPause.WindowMinutes, c.AutoPause.FailureRateBps, c.AutoPause.Confidence,
		c.AutoPause.MinAttempts, c.AutoPause.MinFailures, c.AutoPause.Action, c.AutoPause.CooldownMinutes, s.ms(), own(0), own(1), own(2), c.ID)
}

// DeleteChannel removes a channel with the overrides that point at it. Code
// channel_not_found.
func (s *Store) DeleteChannel(ctx context.Context, actor, appID, name string) error {
	return s.change(ctx, func(t *tx) error {
		if err := t.lock(ctx, appID); err != nil {
			return err
		}
		c, err := channelIn(ctx, t, appID, name)
		if err != nil {
			return err
		}
		if err := t.exec(ctx, `DELETE FROM channels WHERE id = $1`, c.ID); err != nil {
			return err
		}
		t.touch(appID)
		from := capgo.Builtin
		if c.Version != nil {
			from = c.Version.Name
		}
		return s.note(ctx, t, capgo.Change{AppID: appID, Channel: name, Action: "channel.delete", Actor: actor, From: from})
	})
}
