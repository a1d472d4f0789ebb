package cli

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
	"capstan/core/profile"
	"capstan/core/project"
	"capstan/core/remote"
)

// rotateTo takes a rotation to its next state, here and on the server. Repeated,
// it does on the server what a failed first time left undone.
func (c *Command) rotateTo(ctx context.Context, ring *keys.Ring, dir, appID string, to keys.RotationState, anyway bool) (keys.Rotation, error) {
	rotation, ok, err := ring.Rotation(appID)
	if err != nil {
		return rotation, err
	}
	client, app, err := c.rotationServer(ctx, dir, appID)
	if err != nil {
		return rotation, err
	}
	if !ok || rotation.State != to {
		if ok && rotation.State == keys.Draining && to == keys.Retired && !anyway && client != nil {
			if err := sealedForNew(ctx, client, rotation); err != nil {
				return rotation, err
			}
		}
		if rotation, err = ring.AdvanceRotation(ctx, appID, to, anyway); err != nil {
			return rotation, err
		}
	}
	if client == nil {
		return rotation, nil
	}
	if err := c.putOnRecord(ctx, ring, client, app, rotation); err != nil {
		c.Notef("the rotation is %s here; the same command once more puts the keys on record at the server", rotation.State)
		return rotation, err
	}
	return rotation, nil
}

// rotationServer connects to the server that answers the app's devices by their
// key; nil, and a note that says so, where there is none.
func (c *Command) rotationServer(ctx context.Context, dir, appID string) (*remote.Client, capgo.App, error) {
	var app capgo.App
	target, err := profile.Resolve(ctx, dir, c.Profile, profile.Flags{})
	if err != nil {
		return nil, app, err
	}
	if target.Server == "" {
		c.Notef("no server is set: with one, the same command puts both keys on record there")
		return nil, app, nil
	}
	client, err := target.Connect()
	if err != nil {
		return nil, app, err
	}
	about, err := client.About(ctx)
	if err != nil {
		return nil, app, err
	}
	if !client.Can(ctx, capgo.CapTwoKeys) {
		c.Notef("the server (%s) answers all devices alike: releases are sealed for one key", oneLine(about.Server))
		return nil, app, nil
	}
	app, err = client.App(ctx, appID)
	if f, known := failure.Find(err); known && f.Class == failure.NotFound {
		c.Notef("the server does not know %s yet", oneLine(appID))
		return nil, app, nil
	}
	return client, app, err
}

// putOnRecord brings the keys that the server has on record to where the
// rotation stands: the old one with the new one beside it, or the new one alone.
func (c *Command) putOnRecord(ctx context.Context, ring *keys.Ring, client *remote.Client, app capgo.App, r keys.Rotation) error {
	const op = "put the keys on record"
	if r.State == keys.Announced {
		return nil
	}
	first, second := keyOnRecord(app), secondOnRecord(app)
	if first == "-" {
		return failure.Newf(failure.Conflict, "public_key_missing", op, "put the old key on record first: capstan app set-key", "the server has no key of %s on record", app.AppID)
	}
	if first != r.OldKeyID && first != r.NewKeyID {
		return failure.Newf(failure.Verification, "key_mismatch", op, "capstan app list shows it; capstan key rotate what the rotation is of",
			"the server has key %s on record for %s, which takes no part in the rotation", first, app.AppID)
	}
	next, err := ring.Find(ctx, r.NewKeyID)
	if err != nil {
		return err
	}
	if r.State == keys.Retired {
		if first == r.NewKeyID && second == "-" {
			return nil
		}
		return client.ReplacePublicKey(ctx, app.AppID, next.PublicPEM)
	}
	other := next
	if first == r.NewKeyID {
		if other, err = ring.Find(ctx, r.OldKeyID); err != nil {
			return err
		}
	}
	if second == other.KeyID {
		return nil
	}
	return client.SetSecondPublicKey(ctx, app.AppID, other.PublicPEM)
}

// secondOnRecord is the id of an app's second public key, "-" when there is none.
func secondOnRecord(a capgo.App) string { return keyOnRecord(capgo.App{PublicKey: a.SecondPublicKey}) }

// sealedForNew refuses to retire the old key while a channel serves a bundle that
// is sealed for it alone: no device would be offered that any more.
func sealedForNew(ctx context.Context, client *remote.Client, r keys.Rotation) error {
	channels, err := client.Channels(ctx, r.AppID)
	if err != nil {
		return err
	}
	bundles, err := client.Bundles(ctx, r.AppID)
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
				return failure.Newf(failure.Conflict, "bundle_one_key", "retire the old key", "release once more first, or retire it anyway: --anyway",
					"channel %s serves %s, which is sealed for the old key alone: no device would be offered it any more", ch.Name, ref.Name)
			}
		}
	}
	return nil
}

// drainText is how far the devices of an app have come in a change of keys, ""
// where the app changes none or the server cannot tell.
func drainText(ctx context.Context, client *remote.Client, appID string) string {
	if !client.Can(ctx, capgo.CapTwoKeys) || !client.Can(ctx, capgo.CapFleet) {
		return ""
	}
	fleet, err := client.Fleet(ctx, appID)
	if err != nil || fleet.SecondKeyID == "" {
		return "" // the channel itself is known all the same
	}
	return fmt.Sprintf("two in service; %d of %d devices (%.0f %%) carry %s, the rest %s or none that they name",
		fleet.OnSecond.Devices, fleet.Devices, 100*fleet.OnSecond.Share, fleet.SecondKeyID, fleet.KeyID)
}

// startWithNew makes the key that an app changes to, announces the change, and
// puts the public half into the project, whose next native build carries it.
func (c *Command) startWithNew(ctx context.Context, ring *keys.Ring, p *project.Project, appID string, store keys.Kind) (keys.Rotation, error) {
	const op = "start rotation"
	rotation, running, err := ring.Rotation(appID)
	if err != nil {
		return rotation, err
	}
	if running && rotation.State != keys.Retired {
		return rotation, failure.Newf(failure.Conflict, "rotation_running", op, "finish or cancel it first", "%s is changing from key %s to %s already", appID, rotation.OldKeyID, rotation.NewKeyID)
	}
	known, err := ring.List(ctx, appID)
	if err != nil {
		return rotation, err
	}
	var current []keys.Record
	for _, rec := range known {
		if rec.Scheme == keys.V2 && !rec.Retired && !rec.Unfinished {
			current = append(current, rec)
		}
	}
	switch len(current) {
	case 0:
		return rotation, failure.Newf(failure.NotFound, "key_not_found", op, "capstan key create makes the first one", "%s has no key to change from", appID)
	case 1:
	default:
		return rotation, failure.Newf(failure.Conflict, "key_exists", op, "announce it with --start KEY, or remove it", "%s has another key already, %s", appID, current[0].KeyID)
	}
	next, err := ring.Create(ctx, appID, store)
	if err != nil {
		return rotation, err
	}
	if rotation, err = ring.StartRotation(ctx, appID, next.KeyID); err != nil {
		return rotation, err
	}
	if p == nil || p.AppID != appID {
		return rotation, nil
	}
	// The file of the old key is public and known to the ring; that of the new one
	// takes its place.
	if keys.PublicFileFree(p.Root, current[0].PublicPEM) == nil {
		if err := os.Remove(filepath.Join(p.Root, keys.PublicFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return rotation, failure.Wrap(err, failure.Failed, "public_key_unwritable", op, "check the folder's rights; capstan key save puts the new key into the config")
		}
		if _, err := ring.WritePublic(ctx, next, p.Root); err != nil {
			return rotation, err
		}
	}
	if _, _, err := c.writeConfig(ctx, p, next.PublicPEM); err != nil {
		return rotation, err
	}
	c.Notef("run npx cap sync and ship a native build with key %s; when it is out: capstan key rotate --to both", next.KeyID)
	c.Notef("make a backup: capstan key backup --out FILE")
	return rotation, nil
}
