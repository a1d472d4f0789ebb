package views

import (
	"context"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/Masterminds/semver/v3"

	"capstan/core/capgo"
)

// Data is what several screens show. Each part carries its own age.
type Data struct {
	About      Resource[capgo.About]
	Channels   Resource[[]capgo.Channel]
	Summary    Resource[capgo.Summary]
	History    Resource[[]capgo.Change]
	Bundles    Resource[[]capgo.Bundle]
	Keys       Resource[[]Key]
	Unfinished Resource[[]Unfinished]
	Schedule   Resource[Schedule]
}

// LoadAbout asks what the server is and can do.
func (e *Env) LoadAbout() tea.Cmd { return e.Data.About.Load(e, e.Services.Registry.About) }

// LoadChannels reads the channels, production first.
func (e *Env) LoadChannels() tea.Cmd {
	return e.Data.Channels.Load(e, func(ctx context.Context) ([]capgo.Channel, error) {
		channels, err := e.Services.Registry.Channels(ctx, e.Facts.AppID)
		if missing(err) {
			return nil, nil // an app that is not registered yet has no channels
		}
		slices.SortStableFunc(channels, func(a, b capgo.Channel) int {
			if pa, pb := e.IsProduction(a), e.IsProduction(b); pa != pb {
				if pa {
					return -1
				}
				return 1
			}
			return strings.Compare(a.Name, b.Name)
		})
		return channels, err
	})
}

// LoadSummary reads the health of the channels. A server that keeps none gives an empty one.
func (e *Env) LoadSummary() tea.Cmd {
	return e.Data.Summary.Load(e, func(ctx context.Context) (capgo.Summary, error) {
		s, err := e.Services.Registry.Summary(ctx, e.Facts.AppID)
		if missing(err) {
			return capgo.Summary{}, nil
		}
		return s, err
	})
}

// LoadHistory reads the audit of the app, newest first.
func (e *Env) LoadHistory() tea.Cmd {
	return e.Data.History.Load(e, func(ctx context.Context) ([]capgo.Change, error) {
		h, err := e.Services.Registry.History(ctx, e.Facts.AppID, "")
		if missing(err) {
			return nil, nil
		}
		return h, err
	})
}

// LoadBundles reads all bundles that are not deleted, newest first.
func (e *Env) LoadBundles() tea.Cmd {
	return e.Data.Bundles.Load(e, func(ctx context.Context) ([]capgo.Bundle, error) {
		all, err := e.Services.Registry.Bundles(ctx, e.Facts.AppID)
		if missing(err) {
			return nil, nil
		}
		kept := all[:0:0]
		for _, b := range all {
			if !b.Deleted {
				kept = append(kept, b)
			}
		}
		return kept, err
	})
}

// LoadKeys reads the app's signing keys.
func (e *Env) LoadKeys() tea.Cmd {
	return e.Data.Keys.LoadLocal(e, func(ctx context.Context) ([]Key, error) {
		return e.Services.Keys.List(ctx, e.Facts.AppID)
	})
}

// LoadUnfinished reads the releases that can be resumed.
func (e *Env) LoadUnfinished() tea.Cmd {
	return e.Data.Unfinished.LoadLocal(e, func(ctx context.Context) ([]Unfinished, error) {
		return e.Services.Releases.Unfinished(ctx, e.Facts.AppID)
	})
}

// channel finds a channel by name among those read last.
func (e *Env) channel(name string) (capgo.Channel, bool) {
	for _, c := range e.Data.Channels.Value {
		if c.Name == name {
			return c, true
		}
	}
	return capgo.Channel{}, false
}

// health finds a channel's summary.
func (e *Env) health(name string) (capgo.ChannelSummary, bool) {
	for _, c := range e.Data.Summary.Value.Channels {
		if c.Channel == name {
			return c, true
		}
	}
	return capgo.ChannelSummary{}, false
}

// Previous is what a channel pointed at before its live bundle, from the audit;
// "" when the audit does not say.
func (e *Env) Previous(channel, liveNow string) string {
	for _, c := range e.Data.History.Value {
		if c.Channel == channel && c.To == liveNow && c.From != "" && c.From != liveNow &&
			(c.Action == "channel.promote" || c.Action == "channel.rollback" || c.Action == "rollout.promote") {
			return c.From
		}
	}
	return ""
}

// pointing lists the channels that keep a bundle: as live or as rollout target.
func (e *Env) pointing(bundle string) (liveOn, rolloutOn []string) {
	for _, c := range e.Data.Channels.Value {
		if live(c) == bundle {
			liveOn = append(liveOn, c.Name)
		}
		if c.RolloutVersionInfo != nil && c.RolloutVersionInfo.Name == bundle {
			rolloutOn = append(rolloutOn, c.Name)
		}
	}
	return liveOn, rolloutOn
}

// below counts the active devices whose native version is below min.
func below(fleet map[string]int64, min string) (n int64, example string) {
	floor, err := semver.NewVersion(min)
	if err != nil {
		return 0, ""
	}
	var most int64
	for build, count := range fleet {
		v, err := semver.NewVersion(build)
		if err == nil && v.LessThan(floor) {
			n += count
			if count > most || count == most && build < example {
				most, example = count, build
			}
		}
	}
	return n, example
}

// Undo is a pointer move that can be planned back.
type Undo struct {
	Channel  string
	From, To string // what the move went from and to
	At       time.Time
}
