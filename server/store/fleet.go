package store

import (
	"context"

	"capstan/core/capgo"
	"capstan/server/decide"
)

// fleetKinds bounds the kinds of devices that Fleet looks at: what they say of
// themselves is their own word. The rarest are counted as nothing special.
const fleetKinds = 5000

// Fleet says what the active production devices of an app would do with a
// bundle. Code cannot_find_app.
func (s *Store) Fleet(ctx context.Context, appID string) (capgo.Fleet, error) {
	now := s.now().UTC()
	f := capgo.Fleet{AppID: appID, At: now}
	if _, err := s.App(ctx, appID); err != nil {
		return f, err
	}
	app, err := s.Snapshot(ctx, appID)
	if err != nil {
		return f, fault("read the fleet", err)
	}
	if app == nil {
		return f, noApp() // deleted a moment ago
	}
	f.KeyID, f.SecondKeyID = app.KeyID, app.SecondKeyID
	return listed(ctx, s, func(from querier) (capgo.Fleet, error) { return fleetSharesIn(ctx, from, app, f) })
}

// fleetSharesIn fills in what the device rows say.
func fleetSharesIn(ctx context.Context, from querier, app *decide.App, f capgo.Fleet) (capgo.Fleet, error) {
	const active = ` FROM devices WHERE app_id = $1 AND polled_at >= $2 AND is_prod AND NOT is_emulator`
	since := f.At.Add(-activeFor).UnixMilli()
	if err := from.QueryRowContext(ctx, `SELECT COUNT(*)`+active, f.AppID, since).Scan(&f.Devices); err != nil {
		return f, fault("read the fleet", err)
	}
	const kind = `plugin_version, key_id, channel_id, platform`
	rows, err := from.QueryContext(ctx, `SELECT `+kind+`, COUNT(*)`+active+` GROUP BY `+kind+` ORDER BY COUNT(*) DESC, `+kind+` LIMIT $3`, f.AppID, since, fleetKinds)
	if err != nil {
		return f, fault("read the fleet", err)
	}
	defer rows.Close()
	for rows.Next() {
		var plugin, key, platform string
		var channel, n int64
		if err := rows.Scan(&plugin, &key, &channel, &platform, &n); err != nil {
			return f, fault("read the fleet", err)
		}
		for share, counts := range map[*capgo.FleetShare]bool{
			&f.Enforcing: capgo.EnforcesSignatures(plugin), &f.OtherKey: app.HoldsOtherKey(key), &f.WithoutKey: key == "",
			&f.OnSecond: app.HoldsSecondKey(key), &f.RefuseForm: app.RefusesForm(channel, platform, plugin),
		} {
			if counts {
				share.Devices += n
			}
		}
	}
	for _, share := range []*capgo.FleetShare{&f.Enforcing, &f.OtherKey, &f.WithoutKey, &f.OnSecond, &f.RefuseForm} {
		if f.Devices > 0 {
			// Devices may have been added between the two questions.
			share.Share = min(1, float64(share.Devices)/float64(f.Devices))
		}
	}
	return f, fault("read the fleet", rows.Err())
}
