package workspace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/core/keys"
	"capstan/core/project"
	"capstan/core/remote"
)

// Rotations takes apps from one key to another, in the key ring and on the
// server, which answers devices by the key that they carry.
type Rotations struct {
	Ring   *keys.Ring
	Client *remote.Client // nil without a server
	// Note hears what was left out and why; nil for nobody.
	Note func(line string)
}

func (s Rotations) note(format string, args ...any) {
	if s.Note != nil {
		s.Note(fmt.Sprintf(format, args...))
	}
}

// Start makes the key that an app changes to, announces the change, and puts the
// new public half beside the project's config, whose next native build carries
// it; into the config itself only the caller does. p may be nil.
func (s Rotations) Start(ctx context.Context, p *project.Project, appID string, store keys.Kind) (rotation keys.Rotation, next keys.Record, err error) {
	const op = "start rotation"
	rotation, running, err := s.Ring.Rotation(appID)
	if err != nil {
		return rotation, next, err
	}
	if running && rotation.State != keys.Retired {
		return rotation, next, failure.Newf(failure.Conflict, "rotation_running", op, "finish or cancel it first", "%s is changing from key %s to %s already", appID, rotation.OldKeyID, rotation.NewKeyID)
	}
	known, err := s.Ring.List(ctx, appID)
	if err != nil {
		return rotation, next, err
	}
	var current []keys.Record
	for _, rec := range known {
		if rec.Scheme == keys.V2 && !rec.Retired && !rec.Unfinished {
			current = append(current, rec)
		}
	}
	switch len(current) {
	case 0:
		return rotation, next, failure.Newf(failure.NotFound, "key_not_found", op, "capstan key create makes the first one", "%s has no key to change from", appID)
	case 1:
	default:
		return rotation, next, failure.Newf(failure.Conflict, "key_exists", op, "announce it with capstan key rotate --start KEY, or remove it", "%s has another key already, %s", appID, current[0].KeyID)
	}
	if next, err = s.Ring.Create(ctx, appID, store); err != nil {
		return rotation, next, err
	}
	if rotation, err = s.Ring.StartRotation(ctx, appID, next.KeyID); err != nil {
		return rotation, next, err
	}
	// The file of the old key is public and known to the ring; that of the new one
	// takes its place.
	if p == nil || p.AppID != appID || keys.PublicFileFree(p.Root, current[0].PublicPEM) != nil {
		return rotation, next, nil
	}
	if err := os.Remove(filepath.Join(p.Root, keys.PublicFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return rotation, next, failure.Wrap(err, failure.Failed, "public_key_unwritable", op, "check the folder's rights; capstan key save puts the new key into the config")
	}
	_, err = s.Ring.WritePublic(ctx, next, p.Root)
	return rotation, next, err
}

// Advance takes a rotation to its next state, here and on the server. Repeated,
// it does on the server what a failed first time left undone. anyway retires the
// old key although devices still carry it.
func (s Rotations) Advance(ctx context.Context, appID string, to keys.RotationState, anyway bool) (keys.Rotation, error) {
	rotation, ok, err := s.Ring.Rotation(appID)
	if err != nil {
		return rotation, err
	}
	app, serves, err := s.server(ctx, appID)
	if err != nil {
		return rotation, err
	}
	if !ok || rotation.State != to {
		if ok && rotation.State == keys.Draining && to == keys.Retired && serves {
			if err := s.sealedForNew(ctx, rotation); err != nil {
				return rotation, err
			}
		}
		if rotation, err = s.Ring.AdvanceRotation(ctx, appID, to, anyway); err != nil {
			return rotation, err
		}
	}
	if !serves {
		return rotation, nil
	}
	if err := s.putOnRecord(ctx, app, rotation); err != nil {
		s.note("the rotation is %s here; the same step once more puts the keys on record at the server", rotation.State)
		return rotation, err
	}
	return rotation, nil
}

// Count asks the update server which keys the active devices carry, and notes
// it. A device that tells no key, or another one than the two, counts as on the
// old key: nothing shows that it has the new one.
func (s Rotations) Count(ctx context.Context, appID string) (keys.Rotation, error) {
	rotation, ok, err := s.Ring.Rotation(appID)
	if err != nil {
		return rotation, err
	}
	if !ok {
		return rotation, failure.Newf(failure.NotFound, "rotation_not_found", "count devices", "capstan key rotate --start KEY begins", "%s is not changing keys", appID)
	}
	if s.Client == nil {
		return rotation, failure.New(failure.Usage, "server_missing", "count devices", "no update server is configured", "run capstan profile init")
	}
	summary, err := s.Client.Summary(ctx, appID)
	if err != nil {
		return rotation, err
	}
	onNew := summary.Fleet["key_id"][rotation.NewKeyID]
	return s.Ring.CountDevices(ctx, appID, int(summary.Devices-onNew), int(summary.Devices))
}

// server reads the app from a server that answers devices by their key; serves
// is false, and a note says so, where there is none.
func (s Rotations) server(ctx context.Context, appID string) (app capgo.App, serves bool, err error) {
	if s.Client == nil {
		s.note("no server is set: with one, the same step puts both keys on record there")
		return app, false, nil
	}
	if _, err := s.Client.About(ctx); err != nil {
		return app, false, err
	}
	if !s.Client.Can(ctx, capgo.CapTwoKeys) {
		s.note("the server answers all devices alike: releases are sealed for one key")
		return app, false, nil
	}
	app, err = s.Client.App(ctx, appID)
	if f, known := failure.Find(err); known && f.Class == failure.NotFound {
		s.note("the server does not know %s yet", appID)
		return app, false, nil
	}
	return app, err == nil, err
}

// putOnRecord brings the keys that the server has on record to where the
// rotation stands: the old one with the new one beside it, or the new one alone.
func (s Rotations) putOnRecord(ctx context.Context, app capgo.App, r keys.Rotation) error {
	const op = "put the keys on record"
	if r.State == keys.Announced {
		return nil
	}
	first, second := idOnRecord(app.PublicKey), idOnRecord(app.SecondPublicKey)
	if first == "" {
		return failure.Newf(failure.Conflict, "public_key_missing", op, "put the old key on record first: capstan app set-key", "the server has no key of %s on record", app.AppID)
	}
	if first != r.OldKeyID && first != r.NewKeyID {
		return failure.Newf(failure.Verification, "key_mismatch", op, "capstan app list shows it; capstan key rotate what the rotation is of",
			"the server has key %s on record for %s, which takes no part in the rotation", first, app.AppID)
	}
	next, err := s.Ring.Find(ctx, r.NewKeyID)
	if err != nil {
		return err
	}
	if r.State == keys.Retired {
		if first == r.NewKeyID && second == "" {
			return nil
		}
		return s.Client.ReplacePublicKey(ctx, app.AppID, next.PublicPEM)
	}
	other := next
	if first == r.NewKeyID {
		if other, err = s.Ring.Find(ctx, r.OldKeyID); err != nil {
			return err
		}
	}
	if second == other.KeyID {
		return nil
	}
	return s.Client.SetSecondPublicKey(ctx, app.AppID, other.PublicPEM)
}

// idOnRecord is the id of a public key on record, "" of none.
func idOnRecord(pem string) string {
	public, err := keys.ParsePublic([]byte(pem))
	if err != nil {
		return ""
	}
	return keys.KeyID(public)
}

// sealedForNew refuses to retire the old key while a channel serves a bundle that
// is sealed for it alone: no device would be offered that any more.
func (s Rotations) sealedForNew(ctx context.Context, r keys.Rotation) error {
	channels, err := s.Client.Channels(ctx, r.AppID)
	if err != nil {
		return err
	}
	bundles, err := s.Client.Bundles(ctx, r.AppID)
	if err != nil {
		return err
	}
	sealed := map[string]bool{"": true, capgo.Builtin: true}
	for _, b := range bundles {
		sealed[b.Name] = b.For(r.NewKeyID).KeyID == r.NewKeyID
	}
	for _, ch := range channels {
		refs := []*capgo.VersionRef{ch.Version, ch.RolloutVersionInfo}
		for _, own := range ch.PlatformVersions {
			refs = append(refs, &own)
		}
		for _, ref := range refs {
			if ref != nil && !sealed[ref.Name] {
				return failure.Newf(failure.Conflict, "bundle_one_key", "retire the old key", "release once more first",
					"channel %s serves %s, which is sealed for the old key alone: no device would be offered it any more", ch.Name, ref.Name)
			}
		}
	}
	return nil
}
