package connect

import (
	"context"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/core/release"
	"capstan/core/workspace"
	"capstan/ui/views"
)

// releases runs the pipeline in the console's two phases.
type releases struct {
	workspace *workspace.Workspace
	options   Options
}

func (r *releases) NextVersion(ctx context.Context, appID, _ string) (string, error) {
	return r.workspace.NextVersion(ctx, appID)
}

func (r *releases) Prepare(ctx context.Context, request views.ReleaseRequest, emit func(release.Event)) (views.Prepared, error) {
	if request.Resume != "" {
		pipeline, err := r.workspace.Pipeline()
		if err != nil {
			return views.Prepared{}, err
		}
		result, err := pipeline.ResumePrepare(ctx, request.Resume, emit)
		return r.prepared(result, err)
	}
	if request.Version == "" {
		version, err := r.workspace.NextVersion(ctx, request.AppID)
		if err != nil {
			return views.Prepared{}, err
		}
		request.Version = version
	}
	if r.options.BeforeSeal != nil {
		if err := r.options.BeforeSeal(ctx, request.Version); err != nil {
			return views.Prepared{}, err
		}
	}
	// The key may have been written into the project since the console opened,
	// which did not ask git.
	config := r.workspace.Config
	config.NoGit = false
	w, err := workspace.Open(ctx, config)
	if err != nil {
		return views.Prepared{}, err
	}
	plan, err := w.Plan(ctx, workspace.Request{
		AppID: request.AppID, Dir: request.Dir, Channel: request.Channel, Version: request.Version, KeyID: releaseKey(r.workspace, request.AppID, request.KeyID), CreateApp: r.options.CreateApp, Delta: request.Delta,
	})
	if err != nil {
		return views.Prepared{}, err
	}
	pipeline, err := w.Pipeline()
	if err != nil {
		return views.Prepared{}, err
	}
	// The ring of this process may hold an unlocked key; the new one does not.
	pipeline.Signer = r.workspace.Keys.Signer
	result, err := pipeline.Prepare(ctx, plan, emit)
	return r.prepared(result, err)
}

// prepared reads what the journal has of a release that waits for its promotion.
func (r *releases) prepared(result release.Result, err error) (views.Prepared, error) {
	if err != nil {
		return views.Prepared{ID: result.ID}, err
	}
	state, err := r.workspace.Journals.Read(result.ID)
	if err != nil {
		return views.Prepared{}, err
	}
	p := views.Prepared{
		ID: result.ID, AppID: result.App, Version: result.Version, Channel: result.Channel, Size: result.Size, Files: result.Files,
		Checksum: result.Checksum, URL: result.URL, KeyID: result.KeyID, MinNative: state.Plan.MinUpdateVersion,
	}
	if state.Preflight != nil {
		p.Live, p.Revision = state.Preflight.Live, state.Preflight.Revision
	}
	if state.Proved != nil {
		for _, v := range state.Proved.Verdicts {
			p.Proof = append(p.Proof, views.Proof{
				Plugin: v.PluginVersion, Platform: v.Platform, Delta: v.Delta, Form: string(v.Form),
				Offered: v.Offered, Installed: v.Installed, Code: v.Code, Reason: v.Reason,
			})
		}
	}
	return p, nil
}

func (r *releases) Promote(ctx context.Context, prepared views.Prepared, emit func(release.Event)) (release.Result, error) {
	pipeline, err := r.workspace.Pipeline()
	if err != nil {
		return release.Result{}, err
	}
	pipeline.Reason = prepared.Reason
	return pipeline.Resume(ctx, prepared.ID, emit)
}

func (r *releases) Unfinished(ctx context.Context, appID string) ([]views.Unfinished, error) {
	states, err := r.workspace.Journals.List(ctx)
	if err != nil {
		return nil, err
	}
	var list []views.Unfinished
	for _, s := range states {
		if s.Ended || appID != "" && s.Plan.AppID != appID {
			continue
		}
		list = append(list, views.Unfinished{ID: s.ID, AppID: s.Plan.AppID, Version: s.Plan.Version, Channel: s.Plan.Channel, Stage: s.Next(), At: s.Updated})
	}
	return list, nil
}

// prober lets a simulated device of the project ask the server.
type prober struct{ workspace *workspace.Workspace }

func (p prober) Check(ctx context.Context, appID, channel string, emit func(release.Event)) (release.DeviceResult, error) {
	record, err := p.workspace.Keys.Find(ctx, appID)
	if err != nil && failure.CodeOf(err) != "key_not_found" {
		return release.DeviceResult{}, err
	}
	var pluginVersion string
	if p.workspace.Project != nil {
		pluginVersion = p.workspace.Project.PluginVersion
	}
	live, err := p.workspace.Registry.Channel(ctx, appID, channel)
	if err != nil {
		return release.DeviceResult{}, err
	}
	var native string
	if live.Version != nil {
		native = release.JustBelow(live.Version.Name)
	}
	address, err := p.workspace.UpdateURL(ctx)
	if err != nil {
		return release.DeviceResult{}, err
	}
	var stats string
	if p.workspace.Registry.Can(ctx, capgo.CapEvents) {
		stats = release.StatsURL(address)
	}
	return release.Ask(ctx, release.Asking{
		NativeVersion: native, StatsURL: stats,
		UpdateURL: address, AppID: appID, Channel: channel, PluginVersion: pluginVersion, PublicKey: record.PublicPEM,
	}, emit)
}
