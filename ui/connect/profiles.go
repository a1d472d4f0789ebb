package connect

import (
	"context"
	"slices"

	"capstan/core/capgo"
	"capstan/core/profile"
	"capstan/core/remote/storage"
	"capstan/core/workspace"
	"capstan/ui/views"
)

// profiles sets up places to release to.
type profiles struct{ workspace *workspace.Workspace }

// Drivers implements views.Profiles.
func (profiles) Drivers() []string { return storage.Schemes() }

func stored(p views.Profile) profile.Profile {
	return profile.Profile{Name: p.Name, Server: p.Server, Storage: p.Storage, PublicURL: p.PublicURL, Channel: p.Channel}
}

// Try implements views.Profiles.
func (s profiles) Try(ctx context.Context, p views.Profile) ([]views.Finding, error) {
	r, err := profile.Prepare(ctx, s.workspace.Config.Dir, stored(p), profile.Flags{})
	if err != nil {
		return nil, err
	}
	client, err := r.Connect()
	if err != nil {
		return nil, err
	}
	about, err := client.About(ctx)
	if err != nil {
		return nil, err
	}
	apps, err := client.Apps(ctx)
	if err != nil {
		return nil, err
	}
	findings := []views.Finding{{Level: "ok", Code: "server", Text: about.Server + " " + about.Version}}
	if len(apps) == 0 {
		return append(findings, views.Finding{Level: "warn", Code: "storage_untried", Text: "the storage was not tried: the server has no app yet"}), nil
	}
	prefix := apps[0].AppID
	if project := s.workspace.Project; project != nil && slices.ContainsFunc(apps, func(a capgo.App) bool { return a.AppID == project.AppID }) {
		prefix = project.AppID
	}
	place, err := r.OpenStorage(ctx)
	if err != nil {
		return nil, err
	}
	for _, f := range storage.Check(ctx, place, prefix, nil) {
		findings = append(findings, views.Finding{Level: f.Level, Code: f.Code, Text: f.Text, Hint: f.Hint})
	}
	return findings, nil
}

// Save implements views.Profiles.
func (s profiles) Save(_ context.Context, p views.Profile, mine bool) (string, error) {
	return profile.Save(s.workspace.Config.Dir, stored(p), mine)
}
