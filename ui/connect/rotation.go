package connect

import (
	"context"

	"capstan/core/keys"
	"capstan/core/workspace"
	"capstan/ui/views"
)

// rotations is the change of keys as the views see it.
type rotations struct {
	service   workspace.Rotations
	workspace *workspace.Workspace
}

func (r rotations) Read(_ context.Context, appID string) (views.Rotation, error) {
	rotation, _, err := r.service.Ring.Rotation(appID)
	return asRotation(rotation), err
}

func (r rotations) Start(ctx context.Context, appID, kind string) (views.Rotation, error) {
	rotation, _, err := r.service.Start(ctx, r.workspace.Project, appID, keys.Kind(kind))
	return asRotation(rotation), err
}

func (r rotations) Advance(ctx context.Context, appID, to string, anyway bool) (views.Rotation, error) {
	rotation, err := r.service.Advance(ctx, appID, keys.RotationState(to), anyway)
	return asRotation(rotation), err
}

func (r rotations) Count(ctx context.Context, appID string) (views.Rotation, error) {
	rotation, err := r.service.Count(ctx, appID)
	return asRotation(rotation), err
}

func (r rotations) Cancel(ctx context.Context, appID string) error {
	return r.service.Ring.CancelRotation(ctx, appID)
}

func asRotation(r keys.Rotation) views.Rotation {
	return views.Rotation{
		State: string(r.State), OldKeyID: r.OldKeyID, NewKeyID: r.NewKeyID, Changed: r.Changed,
		OnOld: r.Devices.OnOld, Total: r.Devices.Total, Counted: r.Devices.At,
	}
}

// releaseKey is the key to ask a release for: while an app changes keys, the
// change decides, whichever of its two keys the screen shows.
func releaseKey(w *workspace.Workspace, appID, chosen string) string {
	rotation, ok, err := w.Keys.Rotation(appID)
	if err == nil && ok && (chosen == rotation.OldKeyID || chosen == rotation.NewKeyID) {
		return ""
	}
	return chosen
}
