package effect

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"capstan/core/capgo"
)

// Change is what shall happen to a channel.
type Change struct {
	Channel string `json:"channel"`
	// Target is the bundle that everybody on the channel is to have, or builtin.
	Target string `json:"target"`
	// Platforms (ios, android, electron) are those that get Target as a bundle of
	// their own, whatever the others get; none means the channel's bundle, which
	// platforms with one of their own do not follow.
	Platforms []string `json:"platforms,omitempty"`
	// EndRollout ends the channel's rollout, whose devices go back to the live
	// bundle; Target is then that bundle.
	EndRollout bool `json:"end_rollout,omitempty"`
}

// Effect counts what a change does to the devices that asked since Since. All
// of them are counted in one of the fields below.
type Effect struct {
	At    time.Time `json:"at"`
	Since time.Time `json:"since"`
	// Devices is the number of active devices of the app, Concerned how many of
	// them are on the channel or would be.
	Devices   int64  `json:"devices"`
	Concerned int64  `json:"concerned"`
	Moves     []Move `json:"moves"`
	// Already run what they are to have.
	Already int64  `json:"already"`
	Kept    []Kept `json:"kept"`
	// Own are on the channel, and on a platform that the change does not reach.
	Own []Own `json:"own,omitempty"`
	// Pinned were put on another channel by an operator, and would be on this
	// one otherwise.
	Pinned int64 `json:"pinned"`
	// Uncertain of the concerned have a plugin so old that the server keeps
	// which channel it chose, and does not tell.
	Uncertain int64 `json:"uncertain,omitempty"`
	// Estimated is set where the rollout's devices are drawn in a way that only
	// the server knows: their number is right, which ones they are is not.
	Estimated bool `json:"estimated,omitempty"`
}

// Move is a group of devices that are given another bundle.
type Move struct {
	From    string `json:"from"`
	To      string `json:"to"`
	Devices int64  `json:"devices"`
	Rollout bool   `json:"rollout,omitempty"` // To is the rollout's bundle, not the channel's
	// Platform is that of all these devices.
	Platform string `json:"platform"`
	// NativeNewer of them have a native app whose version is above To.
	NativeNewer int64 `json:"native_newer,omitempty"`
}

// Own is the devices of a platform that keeps a bundle of its own (or, in a
// change of single platforms, keeps following the channel).
type Own struct {
	Platform string `json:"platform"`
	Bundle   string `json:"bundle"`
	Devices  int64  `json:"devices"`
}

// Kept is a group of devices on the channel that are not given the target.
type Kept struct {
	Reason  string `json:"reason"` // code of the update protocol
	Text    string `json:"text"`
	Devices int64  `json:"devices"`
}

// Moving is the number of devices that are given another bundle.
func (e Effect) Moving() int64 {
	var n int64
	for _, m := range e.Moves {
		n += m.Devices
	}
	return n
}

// Count foretells a change for every active device.
func (w *World) Count(ctx context.Context, r Registry, c Change, now time.Time) (Effect, error) {
	t := newTally(w, c)
	since := now.Add(-Active)
	err := w.eachDevice(ctx, r, since, t.add)
	return t.effect(now, since), err
}

// tally collects the answers of devices.
type tally struct {
	after   *World
	change  Change
	total   Effect
	moves   map[Move]*Move
	kept    map[string]int64
	own     map[string]int64 // by platform
	minimum string
}

func newTally(w *World, c Change) *tally {
	t := &tally{after: w.with(c), change: c, moves: map[Move]*Move{}, kept: map[string]int64{}, own: map[string]int64{}}
	if b := w.bundles[c.Target]; b != nil {
		t.minimum = b.MinUpdateVersion
	}
	if ch := t.after.channel(c.Channel); ch != nil {
		t.total.Estimated = w.Server != "capstan" && ch.RolloutEnabled && ch.RolloutPercentageBps > 0 && ch.RolloutPercentageBps < 10000
	}
	return t
}

func (t *tally) add(d capgo.Device) {
	t.total.Devices++
	answer := t.after.Answer(d)
	if answer.Channel != t.change.Channel {
		if d.Channel != "" && answer.Channel == d.Channel {
			free := d
			free.Channel = ""
			if at := t.after.resolve(free); at != nil && at.Name == t.change.Channel {
				t.total.Pinned++
			}
		}
		return
	}
	t.total.Concerned++
	if !keepsChannel(d.PluginVersion) {
		t.total.Uncertain++
	}
	switch {
	case !t.reaches(d.Platform):
		t.own[d.Platform]++
	case answer.Moves():
		t.move(d, answer)
	case answer.Current():
		t.total.Already++
	default:
		t.kept[answer.Reason]++
	}
}

// reaches tells whether the change concerns a platform.
func (t *tally) reaches(platform string) bool {
	if len(t.change.Platforms) > 0 {
		return slices.Contains(t.change.Platforms, platform)
	}
	_, own := t.after.channel(t.change.Channel).PlatformVersions[platform]
	return !own
}

func (t *tally) move(d capgo.Device, a Answer) {
	key := Move{From: d.VersionName, To: a.Bundle, Rollout: a.InRollout, Platform: d.Platform}
	m := t.moves[key]
	if m == nil {
		m = new(key)
		t.moves[key] = m
	}
	m.Devices++
	if to, ok := parse(a.Bundle); ok {
		if native, _, ok := nativeVersion(d.VersionBuild); ok && native.GreaterThan(to) {
			m.NativeNewer++
		}
	}
}

func (t *tally) effect(now, since time.Time) Effect {
	e := t.total
	e.At, e.Since, e.Moves, e.Kept = now.UTC(), since.UTC(), []Move{}, []Kept{}
	for _, m := range t.moves {
		e.Moves = append(e.Moves, *m)
	}
	slices.SortFunc(e.Moves, func(a, b Move) int {
		return cmp.Or(cmp.Compare(b.Devices, a.Devices), cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To), cmp.Compare(a.Platform, b.Platform))
	})
	for platform, n := range t.own {
		e.Own = append(e.Own, Own{Platform: platform, Bundle: liveOn(t.after.channel(t.change.Channel), platform), Devices: n})
	}
	slices.SortFunc(e.Own, func(a, b Own) int { return cmp.Compare(a.Platform, b.Platform) })
	for reason, n := range t.kept {
		e.Kept = append(e.Kept, Kept{Reason: reason, Text: t.text(reason), Devices: n})
	}
	slices.SortFunc(e.Kept, func(a, b Kept) int {
		return cmp.Or(cmp.Compare(b.Devices, a.Devices), cmp.Compare(a.Reason, b.Reason))
	})
	return e
}

// text says in a few words why devices are kept from the target.
func (t *tally) text(reason string) string {
	switch reason {
	case capgo.CodePolicyVersionNumber:
		return fmt.Sprintf("too old natively (min %s)", t.minimum)
	case capgo.CodeUnderNative:
		return fmt.Sprintf("native app newer than %s", t.change.Target)
	case capgo.CodeChecksumForm:
		return "bundle not signed in the form that their plugin reads"
	}
	if text, known := keptTexts[reason]; known {
		return text
	}
	return reason
}

var keptTexts = map[string]string{
	capgo.CodePolicyMajor:      "native app of another major version",
	capgo.CodePolicyMinor:      "native app of another minor version",
	capgo.CodePolicyPatch:      "native app of another patch version",
	capgo.CodeEmulator:         "emulators",
	capgo.CodeDevice:           "real devices, which the channel does not take",
	capgo.CodeProdBuild:        "production builds, which the channel does not take",
	capgo.CodeDevBuild:         "development builds",
	capgo.CodeKeyMismatch:      "app carries another key",
	capgo.CodeBuiltinPlugin:    "plugin cannot go back to the store build",
	capgo.CodePluginVersion:    "plugin too old",
	capgo.CodeSemver:           "native version is no version",
	capgo.CodeMissingInfo:      "do not say enough of themselves",
	capgo.CodeMisconfigured:    "channel's rules cannot weigh the bundle",
	capgo.CodePlatformIOS:      "iOS, which the channel does not serve",
	capgo.CodePlatformAndroid:  "Android, which the channel does not serve",
	capgo.CodePlatformElectron: "Electron, which the channel does not serve",
	ReasonUnsigned:             "bundle not signed with the key on record",
}
