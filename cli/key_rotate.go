package cli

import (
	"context"
	"fmt"

	"capstan/core/capgo"
	"capstan/core/keys"
	"capstan/core/profile"
	"capstan/core/project"
	"capstan/core/remote"
	"capstan/core/workspace"
)

// rotations opens what a change of keys needs; without a server in the profile
// it changes the key ring alone.
func (c *Command) rotations(ctx context.Context, ring *keys.Ring, dir string) (workspace.Rotations, error) {
	r := workspace.Rotations{Ring: ring, Note: func(line string) { c.Notef("%s", oneLine(line)) }}
	target, err := profile.Resolve(ctx, dir, c.Profile, profile.Flags{})
	if err != nil || target.Server == "" {
		return r, err
	}
	r.Client, err = target.Connect()
	return r, err
}

// startWithNew makes the key that an app changes to, announces the change, and
// puts the public half into the project, whose next native build carries it.
func (c *Command) startWithNew(ctx context.Context, ring *keys.Ring, p *project.Project, appID string, store keys.Kind) (keys.Rotation, error) {
	rotation, next, err := workspace.Rotations{Ring: ring}.Start(ctx, p, appID, store)
	if err != nil || p == nil || p.AppID != appID {
		return rotation, err
	}
	if _, _, err := c.writeConfig(ctx, p, next.PublicPEM); err != nil {
		return rotation, err
	}
	c.Notef("run npx cap sync and ship a native build with key %s; when it is out: capstan key rotate --to both", next.KeyID)
	c.Notef("make a backup: capstan key backup --out FILE")
	return rotation, nil
}

// secondOnRecord is the id of an app's second public key, "-" when there is none.
func secondOnRecord(a capgo.App) string { return keyOnRecord(capgo.App{PublicKey: a.SecondPublicKey}) }

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
