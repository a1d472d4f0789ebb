package effect

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"capstan/core/capgo"
	"capstan/core/failure"
)

// Registry is what is asked of the place where an app's bundles are registered.
type Registry interface {
	About(ctx context.Context) (capgo.About, error)
	App(ctx context.Context, appID string) (capgo.App, error)
	Bundles(ctx context.Context, appID string) ([]capgo.Bundle, error)
	Channels(ctx context.Context, appID string) ([]capgo.Channel, error)
	Channel(ctx context.Context, appID, name string) (capgo.Channel, error)
	Devices(ctx context.Context, appID, cursor string, limit int) (capgo.DevicePage, error)
	History(ctx context.Context, appID, channel string) ([]capgo.Change, error)
	ChangeChannel(ctx context.Context, change capgo.ChannelChange) error
	BaseURL() string
}

// World is an app as its registry tells it.
type World struct {
	Server   string // capstan or capgo
	App      capgo.App
	Channels []capgo.Channel // by name, then id, as servers look through them
	bundles  map[string]*capgo.Bundle
}

// Read asks the registry.
func Read(ctx context.Context, r Registry, appID string) (*World, error) {
	about, err := r.About(ctx)
	if err != nil {
		return nil, err
	}
	app, err := r.App(ctx, appID)
	if err != nil {
		return nil, err
	}
	channels, err := r.Channels(ctx, appID)
	if err != nil {
		return nil, err
	}
	bundles, err := r.Bundles(ctx, appID)
	if err != nil {
		return nil, err
	}
	return NewWorld(about.Server, app, channels, bundles), nil
}

// NewWorld puts a world together; deleted bundles do not belong into it.
func NewWorld(server string, app capgo.App, channels []capgo.Channel, bundles []capgo.Bundle) *World {
	w := &World{Server: server, App: app, Channels: slices.Clone(channels), bundles: make(map[string]*capgo.Bundle, len(bundles))}
	slices.SortFunc(w.Channels, func(a, b capgo.Channel) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	for i := range bundles {
		if !bundles[i].Deleted {
			w.bundles[bundles[i].Name] = &bundles[i]
		}
	}
	return w
}

// channel finds a channel by name, nil when there is none.
func (w *World) channel(name string) *capgo.Channel {
	for i := range w.Channels {
		if w.Channels[i].Name == name {
			return &w.Channels[i]
		}
	}
	return nil
}

// live is the bundle that the channel points a platform at, nil for the store
// build and for one that is gone.
func (w *World) live(ch *capgo.Channel, platform string) *capgo.Bundle {
	if name := liveOn(ch, platform); name != capgo.Builtin {
		return w.bundles[name]
	}
	return nil
}

func (w *World) rollout(ch *capgo.Channel) *capgo.Bundle {
	if ch.RolloutVersionInfo == nil {
		return nil
	}
	return w.bundles[ch.RolloutVersionInfo.Name]
}

// resolves: a channel whose bundle was deleted serves nobody.
func (w *World) resolves(ch *capgo.Channel, platform string) bool {
	return liveOn(ch, platform) == capgo.Builtin || w.live(ch, platform) != nil
}

func liveName(ch capgo.Channel) string {
	if ch.Version == nil || ch.Version.Name == "" {
		return capgo.Builtin
	}
	return ch.Version.Name
}

// liveOn is what the channel points a platform at: its own bundle, where it has
// one, else the channel's.
func liveOn(ch *capgo.Channel, platform string) string {
	own, special := ch.PlatformVersions[platform]
	switch {
	case !special:
		return liveName(*ch)
	case own.Name == "":
		return capgo.Builtin
	}
	return own.Name
}

func rolloutName(ch capgo.Channel) string {
	if ch.RolloutVersionInfo == nil {
		return ""
	}
	return ch.RolloutVersionInfo.Name
}

// with gives the world in which the change was made.
func (w *World) with(c Change) *World {
	after := &World{Server: w.Server, App: w.App, Channels: slices.Clone(w.Channels), bundles: w.bundles}
	ch := after.channel(c.Channel)
	switch {
	case ch == nil:
	case len(c.Platforms) > 0:
		// The maps of the world before stay as they are.
		if ch.PlatformVersions = maps.Clone(ch.PlatformVersions); ch.PlatformVersions == nil {
			ch.PlatformVersions = map[string]capgo.VersionRef{}
		}
		for _, platform := range c.Platforms {
			ch.PlatformVersions[platform] = w.ref(c.Target)
		}
	case c.EndRollout:
		ch.RolloutVersion, ch.RolloutVersionInfo, ch.RolloutEnabled = nil, nil, false
	case c.Target == capgo.Builtin:
		ch.Version = nil
	default:
		ref := w.ref(c.Target)
		ch.Version = &ref
	}
	return after
}

func (w *World) ref(name string) capgo.VersionRef {
	ref := capgo.VersionRef{Name: name}
	if b := w.bundles[name]; b != nil {
		ref.ID = b.ID
	}
	return ref
}

// Active is how long a device counts after its last question.
const Active = 30 * 24 * time.Hour

// devicePage is how many devices are asked for at a time.
const devicePage = 1000

// eachDevice visits every device of the app that asked since then, once. A
// capstan server lists the last seen first, so that the listing may end at the
// first that is too old; a device that asks during the listing moves to its
// front, so the front is read again until what is known comes by.
func (w *World) eachDevice(ctx context.Context, r Registry, since time.Time, visit func(capgo.Device)) error {
	began := time.Time{}
	seen := map[string]bool{}
	pass := func(until time.Time) error {
		cursor, first := "", true
		for pages := 0; ; pages++ {
			page, err := r.Devices(ctx, w.App.AppID, cursor, devicePage)
			if err != nil {
				return err
			}
			for _, d := range page.Data {
				if first {
					began, first = d.UpdatedAt, false
				}
				if w.Server == "capstan" && d.UpdatedAt.Before(until) {
					return nil
				}
				if d.UpdatedAt.Before(since) || seen[d.DeviceID] {
					continue
				}
				seen[d.DeviceID] = true
				visit(d)
			}
			if page.NextCursor == "" || page.NextCursor == cursor {
				return nil
			}
			if pages == maxPages {
				return failure.Newf(failure.Failed, "list_too_long", "count the devices", "", "the list of devices did not end after %d pages", maxPages)
			}
			cursor = page.NextCursor
		}
	}
	if err := pass(since); err != nil || w.Server != "capstan" || began.IsZero() {
		return err
	}
	return pass(began)
}

// maxPages ends a listing on a server that never runs out of devices.
const maxPages = 100_000
