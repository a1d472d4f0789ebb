package effect

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/core/remote"
)

// format is the version of the plan's file.
const format = 1

// Plan is a change with what was seen when it was made. Its JSON is the file
// that capstan plan writes and capstan apply reads.
type Plan struct {
	Format int       `json:"capstan_plan"`
	ID     string    `json:"id"` // idempotency key of the change
	Made   time.Time `json:"made"`
	Server string    `json:"server"` // base URL
	AppID  string    `json:"app_id"`
	Action Action    `json:"action"`
	Change
	Seen   Seen   `json:"seen"`
	Effect Effect `json:"effect"`
}

// Action says in which direction a plan goes.
type Action string

// The actions.
const (
	Promote  Action = "promote"
	Rollback Action = "rollback"
)

// Seen is what must still hold when the plan is applied. Devices come and go
// and are no part of it.
type Seen struct {
	Live    string `json:"live"` // bundle, or builtin
	Rollout string `json:"rollout,omitempty"`
	// Revision is the channel's, 0 on a server without revisions; Rules is a
	// SHA-256 of everything else that decides who is served.
	Revision int64  `json:"revision,omitempty"`
	Rules    string `json:"rules"`
	// Target is a SHA-256 of the target's checksums, session key and address,
	// "" for the store build; Key one of the public key on record.
	Target string `json:"target,omitempty"`
	Key    string `json:"key,omitempty"`
}

// Draft makes the plan of a change: it reads the registry and counts the
// devices, and changes nothing. Target "" of a rollback is the bundle before
// the live one, or the end of a running rollout. Codes: channel_not_found,
// version_not_found, rollback_target_missing, already_live.
func Draft(ctx context.Context, r Registry, appID string, action Action, c Change, now time.Time) (Plan, error) {
	const op = "plan the change"
	p := Plan{Format: format, ID: newID(), Made: now.UTC(), Server: r.BaseURL(), AppID: appID, Action: action, Change: c}
	w, err := Read(ctx, r, appID)
	if err != nil {
		return p, err
	}
	ch, err := r.Channel(ctx, appID, c.Channel) // tells the revision, and that there is such a channel
	if err != nil {
		return p, err
	}
	if err := checkPlatforms(c); err != nil {
		return p, err
	}
	if len(c.Platforms) > 0 && w.Server != "capstan" {
		return p, failure.New(failure.Failed, "unsupported", op, "this server gives a platform no bundle of its own", "leave --platform out")
	}
	live := liveName(ch)
	switch {
	case p.Target != "":
	case action == Rollback && len(p.Platforms) > 0:
		return p, failure.New(failure.Usage, "version_missing", op, "the history does not say what a platform had before", "name the bundle with --to")
	case action == Rollback && ch.RolloutVersionInfo != nil:
		p.Target, p.EndRollout = live, true
	case action == Rollback:
		if p.Target, err = previous(ctx, r, appID, ch); err != nil {
			return p, err
		}
	default:
		return p, failure.New(failure.Usage, "version_missing", op, "which bundle is not said", "name it with --bundle")
	}
	if p.there(ch) && !p.EndRollout {
		return p, failure.Newf(failure.Conflict, "already_live", op, "", "%s is live on %s already", p.Target, p.where())
	}
	if p.Target != capgo.Builtin && w.bundles[p.Target] == nil {
		return p, failure.Newf(failure.NotFound, "version_not_found", op, "capstan bundle list shows the bundles", "%s has no bundle %s", appID, p.Target)
	}
	p.Seen = w.seen(ch, p.Target)
	p.Effect, err = w.Count(ctx, r, p.Change, now)
	return p, err
}

// checkPlatforms refuses what is no platform, and a platform named twice.
func checkPlatforms(c Change) error {
	for i, name := range c.Platforms {
		if !slices.Contains([]string{"ios", "android", "electron"}, name) || slices.Contains(c.Platforms[:i], name) {
			return failure.Newf(failure.Usage, "invalid_platform", "plan the change", "platforms are ios, android and electron, each once", "%q is no platform here", name)
		}
	}
	return nil
}

// there reports whether the channel has the change already.
func (c Change) there(ch capgo.Channel) bool {
	for _, platform := range c.Platforms {
		if own, special := ch.PlatformVersions[platform]; !special || own.Name != c.Target {
			return false
		}
	}
	return len(c.Platforms) > 0 || liveName(ch) == c.Target
}

// where names what is changed, for people.
func (c Change) where() string {
	if len(c.Platforms) == 0 {
		return c.Channel
	}
	return c.Channel + " for " + strings.Join(c.Platforms, " and ")
}

func newID() string {
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails
	return hex.EncodeToString(random[:])
}

// previous is the bundle before the live one, as the server's history has it.
func previous(ctx context.Context, r Registry, appID string, ch capgo.Channel) (string, error) {
	const op = "find the previous bundle"
	history, err := r.History(ctx, appID, ch.Name)
	if failure.CodeOf(err) == "unsupported" {
		return "", failure.New(failure.Usage, "rollback_target_missing", op, "this server keeps no history of its channels", "name the bundle with --to; capstan bundle list shows them")
	}
	if err != nil {
		return "", err
	}
	name, ok := remote.Previous(history, liveName(ch))
	if !ok {
		return "", failure.Newf(failure.NotFound, "rollback_target_missing", op, "name the bundle with --to; capstan bundle list shows them",
			"the history of %s does not say what was live before %s", ch.Name, liveName(ch))
	}
	return name, nil
}

// seen takes the prints of what a plan depends on.
func (w *World) seen(ch capgo.Channel, target string) Seen {
	s := Seen{Live: liveName(ch), Rollout: rolloutName(ch), Revision: ch.Revision, Rules: rules(ch)}
	if b := w.bundles[target]; b != nil {
		parts := []string{b.Checksum, b.ChecksumV2, b.ChecksumV3, b.PlainChecksum, b.SessionKey, b.KeyID, b.ExternalURL, b.ObjectSHA256, b.MinUpdateVersion}
		for _, seal := range b.Seals {
			parts = append(parts, seal.KeyID, seal.SessionKey, seal.ChecksumV2, seal.ChecksumV3, seal.ExternalURL, seal.ObjectSHA256)
		}
		s.Target = digest(parts...)
	}
	if w.App.PublicKey != "" {
		onRecord := []string{w.App.PublicKey}
		if w.App.SecondPublicKey != "" {
			onRecord = append(onRecord, w.App.SecondPublicKey)
		}
		s.Key = digest(onRecord...)
	}
	return s
}

// rules is a print of a channel without its pointers and times.
func rules(ch capgo.Channel) string {
	ch.Version, ch.Revision, ch.CreatedAt, ch.UpdatedAt = nil, 0, time.Time{}, time.Time{}
	encoded, err := json.Marshal(ch)
	if err != nil {
		panic(err) // plain data
	}
	return digest(string(encoded))
}

func digest(parts ...string) string {
	encoded, err := json.Marshal(parts)
	if err != nil {
		panic(err) // plain data
	}
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:])
}

// Applied says what Apply did.
type Applied struct {
	Live string `json:"live"`
	// Existed is set when the plan was applied before: nothing was changed now.
	Existed bool `json:"existed,omitempty"`
	// Revision of the channel now, 0 on a server without.
	Revision int64 `json:"revision,omitempty"`
}

// Check tells whether a plan can be applied as it stands: code channel_moved
// when the channel is not as it was seen, state_moved when the target, its
// content or the app's key is not, plan_other_server for another server's plan.
// done is true for a plan that was applied already.
func (p Plan) Check(ctx context.Context, r Registry) (ch capgo.Channel, done bool, err error) {
	const op = "check the plan"
	if r.BaseURL() != p.Server {
		return ch, false, failure.Newf(failure.Usage, "plan_other_server", op, "choose the plan's server with --server or --profile", "the plan is for %s, and this is %s", p.Server, r.BaseURL())
	}
	w, err := Read(ctx, r, p.AppID)
	if err != nil {
		return ch, false, err
	}
	if ch, err = r.Channel(ctx, p.AppID, p.Channel); err != nil {
		return ch, false, err
	}
	now := w.seen(ch, p.Target)
	again := "look at what changed, and make a new plan"
	switch {
	case p.applied(ch):
		return ch, true, nil
	case now.Live != p.Seen.Live:
		return ch, false, failure.Newf(failure.Conflict, "channel_moved", op, again, "%s had %s when the plan was made and has %s now", p.Channel, p.Seen.Live, now.Live)
	case now.Rollout != p.Seen.Rollout, now.Rules != p.Seen.Rules:
		return ch, false, failure.Newf(failure.Conflict, "channel_moved", op, again, "the rules or the rollout of %s were changed since the plan was made", p.Channel)
	case now.Revision != p.Seen.Revision:
		return ch, false, failure.Newf(failure.Conflict, "channel_moved", op, again, "%s was changed and changed back since the plan was made", p.Channel)
	case now.Target == "" && p.Target != capgo.Builtin:
		return ch, false, failure.Newf(failure.Conflict, "state_moved", op, again, "bundle %s is gone", p.Target)
	case now.Target != p.Seen.Target:
		return ch, false, failure.Newf(failure.Conflict, "state_moved", op, again, "bundle %s is not the one that was planned", p.Target)
	case now.Key != p.Seen.Key:
		return ch, false, failure.Newf(failure.Conflict, "state_moved", op, again, "the public key on record of %s was changed", p.AppID)
	}
	return ch, false, nil
}

// applied recognises the channel as this very plan leaves it, so that a plan
// whose answer got lost can be applied again. Without revisions a channel that
// has the target counts, whoever put it there.
func (p Plan) applied(ch capgo.Channel) bool {
	if !p.there(ch) || p.EndRollout != (p.Seen.Rollout != "" && ch.RolloutVersionInfo == nil) {
		return false
	}
	return ch.Revision == 0 || ch.Revision == p.Seen.Revision+1
}

// Apply makes the plan's change, exactly, or refuses as Check does.
func (p Plan) Apply(ctx context.Context, r Registry) (Applied, error) {
	ch, done, err := p.Check(ctx, r)
	if err != nil {
		return Applied{}, err
	}
	if done {
		return Applied{Live: p.Target, Existed: true, Revision: ch.Revision}, nil
	}
	change := capgo.ChannelChange{AppID: p.AppID, Channel: p.Channel}
	switch {
	case p.EndRollout:
		yes := true
		change.Rollback = &yes
	case len(p.Platforms) > 0:
		change.PlatformVersions = map[string]*string{}
		for _, platform := range p.Platforms {
			change.PlatformVersions[platform] = &p.Target
		}
	default:
		change.Version = &p.Target
	}
	if ch.Revision > 0 {
		change.ExpectedRevision = &ch.Revision
	}
	err = r.ChangeChannel(remote.WithIdempotencyKey(ctx, p.ID), change)
	now, readErr := r.Channel(ctx, p.AppID, p.Channel)
	switch {
	case err == nil && readErr != nil:
		return Applied{Live: p.Target}, nil // it is done; only its revision is unknown
	case err != nil && (readErr != nil || failure.CodeOf(err) != "outcome_unknown" || !p.applied(now)):
		return Applied{}, err
	}
	if len(p.Platforms) > 0 {
		return Applied{Live: p.Target, Revision: now.Revision}, nil
	}
	return Applied{Live: liveName(now), Revision: now.Revision}, nil
}

// Write saves the plan; a file at path is replaced as a whole.
func (p Plan) Write(path string) error {
	const op = "save the plan"
	encoded, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return failure.Wrap(err, failure.Failed, "plan_not_saved", op, "")
	}
	part, err := os.CreateTemp(filepath.Dir(path), ".capstan-plan-")
	if err != nil {
		return failure.Wrap(err, failure.Failed, "plan_not_saved", op, "name a file in a folder that can be written with --out")
	}
	defer os.Remove(part.Name())
	_, err = part.Write(append(encoded, '\n'))
	if err == nil {
		err = part.Sync()
	}
	if closed := part.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(part.Name(), path)
	}
	return failure.Wrap(err, failure.Failed, "plan_not_saved", op, "check the free space, or name another file with --out")
}

// maxPlan is the size of a plan's file that is read, in bytes.
const maxPlan = 16 << 20

// Load reads a plan's file. Codes plan_missing, plan_malformed.
func Load(path string) (Plan, error) {
	const op = "read the plan"
	var p Plan
	file, err := os.Open(path)
	if err != nil {
		return p, failure.Wrap(err, failure.NotFound, "plan_missing", op, "make one with capstan plan")
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxPlan))
	if err != nil {
		return p, failure.Wrap(err, failure.Failed, "plan_missing", op, "")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields() // what is not understood cannot be done exactly
	if err = d.Decode(&p); err == nil {
		err = p.complete()
	}
	return p, failure.Wrap(err, failure.Usage, "plan_malformed", op, "make a new one with capstan plan")
}

func (p Plan) complete() error {
	switch {
	case p.Format != format:
		return fmt.Errorf("the file is no plan of this version of capstan")
	case p.AppID == "" || p.Channel == "" || p.Target == "" || p.Server == "" || p.ID == "" || p.Seen.Live == "" || p.Seen.Rules == "":
		return fmt.Errorf("the plan is not complete")
	case p.Action != Promote && p.Action != Rollback:
		return fmt.Errorf("the plan's action %q is unknown", p.Action)
	}
	return checkPlatforms(p.Change)
}
