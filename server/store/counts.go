package store

import (
	"cmp"
	"context"
	"maps"
	"slices"
)

// counts are what one transaction adds to the counts by hour and day. They are
// kept in memory and written at its end, in one order on every node: thousands
// of rows share a few counts, and nodes that took them in different orders would
// wait for each other.
type counts struct {
	polls    map[pollHour]pollCount
	days     map[appDay]dayCount
	versions map[versionDay]int64
	events   map[eventHour]int64
}

type pollHour struct {
	app     string
	hour    int64
	channel int64
}

type pollCount struct{ devices, live int64 }

type appDay struct {
	app string
	day int64
}

type dayCount struct{ devices, fresh int64 }

type versionDay struct {
	app           string
	day           int64
	kind, version string
}

type eventHour struct {
	app                       string
	hour, channel             int64
	version, platform, action string
}

func newCounts() counts {
	return counts{polls: map[pollHour]pollCount{}, days: map[appDay]dayCount{}, versions: map[versionDay]int64{}, events: map[eventHour]int64{}}
}

func (w *eventWriter) writeCounts(ctx context.Context) error {
	c := &w.counts
	for _, k := range slices.SortedFunc(maps.Keys(c.polls), func(a, b pollHour) int {
		return cmp.Or(cmp.Compare(a.app, b.app), cmp.Compare(a.hour, b.hour), cmp.Compare(a.channel, b.channel))
	}) {
		_, err := w.exec(ctx, `INSERT INTO poll_hours (app_id, hour, channel_id, devices, on_live) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (app_id, hour, channel_id) DO UPDATE SET devices = poll_hours.devices + excluded.devices, on_live = poll_hours.on_live + excluded.on_live`,
			k.app, k.hour, k.channel, c.polls[k].devices, c.polls[k].live)
		if err != nil {
			return err
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(c.days), func(a, b appDay) int {
		return cmp.Or(cmp.Compare(a.app, b.app), cmp.Compare(a.day, b.day))
	}) {
		_, err := w.exec(ctx, `INSERT INTO app_days (app_id, day, devices, month_devices) VALUES ($1, $2, $3, $4)
			ON CONFLICT (app_id, day) DO UPDATE SET devices = app_days.devices + excluded.devices, month_devices = app_days.month_devices + excluded.month_devices`,
			k.app, k.day, c.days[k].devices, c.days[k].fresh)
		if err != nil {
			return err
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(c.versions), func(a, b versionDay) int {
		return cmp.Or(cmp.Compare(a.app, b.app), cmp.Compare(a.day, b.day), cmp.Compare(a.kind, b.kind), cmp.Compare(a.version, b.version))
	}) {
		if err := w.writeVersions(ctx, k, c.versions[k]); err != nil {
			return err
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(c.events), func(a, b eventHour) int {
		return cmp.Or(cmp.Compare(a.app, b.app), cmp.Compare(a.hour, b.hour), cmp.Compare(a.channel, b.channel), cmp.Compare(a.version, b.version),
			cmp.Compare(a.platform, b.platform), cmp.Compare(a.action, b.action))
	}) {
		_, err := w.exec(ctx, `INSERT INTO event_hours (app_id, hour, channel_id, version_name, platform, action, n) VALUES ($1, $2, $3, $4, $5, $6, $7)
			ON CONFLICT (app_id, hour, channel_id, version_name, platform, action) DO UPDATE SET n = event_hours.n + excluded.n`,
			k.app, k.hour, k.channel, k.version, k.platform, k.action, c.events[k])
		if err != nil {
			return err
		}
	}
	return nil
}

// writeVersions adds to the devices that ran a version on a day, or takes away
// those that went to another one.
func (w *eventWriter) writeVersions(ctx context.Context, k versionDay, n int64) (err error) {
	switch {
	case n > 0:
		_, err = w.exec(ctx, `INSERT INTO version_days (app_id, day, kind, version, devices) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (app_id, day, kind, version) DO UPDATE SET devices = version_days.devices + excluded.devices`, k.app, k.day, k.kind, k.version, n)
	case n < 0:
		_, err = w.exec(ctx, `UPDATE version_days SET devices = CASE WHEN devices > $5 THEN devices - $5 ELSE 0 END
			WHERE app_id = $1 AND day = $2 AND kind = $3 AND version = $4`, k.app, k.day, k.kind, k.version, -n)
	}
	return err
}
