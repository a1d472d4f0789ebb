// Package connect gives the console's views what they ask for: it stands between
// the interfaces of ui/views and an open workspace. It is the one place of the
// console that touches files and the network, always off the event loop.
package connect

import (
	"context"
	"os"
	"strings"
	"time"

	"capstan/core/failure"
	"capstan/core/profile"
	"capstan/core/remote"
	"capstan/core/workspace"
	"capstan/ui/views"
)

// Options change what Services does around the workspace.
type Options struct {
	// BeforeSeal is called with the version before a release begins: the demo
	// builds its sample app there. It may change the project, which is then read again.
	BeforeSeal func(ctx context.Context, version string) error
	// CreateApp lets a release create the app on the server and put the key on record.
	CreateApp bool
	// Server tells of an update server that runs in this process.
	Server views.Server
}

// Services opens the workspace's parts for the console.
func Services(w *workspace.Workspace, o Options) (views.Services, error) {
	if w.Registry == nil {
		return views.Services{}, failure.New(failure.Usage, "server_missing", "open the console", "no update server is configured",
			"start one with capstan serve, then run capstan profile init; or look around first with capstan demo")
	}
	s := views.Services{
		Registry:  w.Registry,
		Keys:      keeper{ring{w.Keys}, w},
		KeyCare:   keeper{ring{w.Keys}, w},
		Rotations: rotations{workspace.Rotations{Ring: w.Keys, Client: w.Registry}, w},
		Releases:  &releases{workspace: w, options: o},
		Folders:   folders{w.Journals},
		Contents:  newContents(w),
		Prober:    prober{w},
		Server:    o.Server,
	}
	if w.Project != nil {
		s.Project = &capacitor{workspace: w}
		s.Profiles = profiles{w}
	}
	if dir, err := profile.ConfigDir(); err == nil {
		s.Preferences = preferences{workspace: w, dir: dir}
	}
	return s, nil
}

// Facts are what the console knows before it asks anybody.
func Facts(w *workspace.Workspace, appID string) views.Facts {
	target := w.Config.Target
	f := views.Facts{AppID: appID, Channel: target.Channel, ServerURL: target.Server, Zone: zone()}
	if f.Channel == "" {
		f.Channel = "production"
	}
	f.Production = "production"
	p := w.Project
	if p == nil {
		return f
	}
	if f.AppID == "" {
		f.AppID = p.AppID
	}
	f.AppName, f.WebDir, f.Root = p.AppName, p.WebDir, p.Root
	f.PluginVersion, f.ConfigHasKey, f.DefaultVersion = p.PluginVersion, p.PublicKey != "", p.Version
	if a := p.Native.Android; a != nil {
		f.NativeVersion = a.Version
	}
	return f
}

// zone is the name of this machine's time zone in the IANA database, "" when it
// cannot be told.
func zone() string {
	name := time.Local.String()
	if name == "Local" {
		link, err := os.Readlink("/etc/localtime")
		if err != nil {
			return ""
		}
		_, name, _ = strings.Cut(link, "zoneinfo/")
	}
	if _, err := time.LoadLocation(name); err != nil {
		return ""
	}
	return name
}

var _ views.Registry = (*remote.Client)(nil)
