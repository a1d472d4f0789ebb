package store

import (
	"context"
	"time"
)

// Day is what one day of an app adds up to.
type Day struct {
	Date        string // 2006-01-02, UTC
	NewDevices  int64  // devices that polled for the first time in that month
	Installs    int64
	Failures    int64
	StoredBytes int64 // bytes of the bundles registered on that day
}

// Days lists the days of a range, both ends included, that have anything to say.
func (s *Store) Days(ctx context.Context, appID string, from, to time.Time) ([]Day, error) {
	return listed(ctx, s, func(db querier) ([]Day, error) { return daysIn(ctx, db, appID, from, to) })
}

func daysIn(ctx context.Context, db querier, appID string, from, to time.Time) ([]Day, error) {
	first, last := from.UnixMilli(), to.UnixMilli()+day
	days := map[string]*Day{}
	at := func(ms int64) *Day {
		date := fromMS(ms).Format(time.DateOnly)
		if days[date] == nil {
			days[date] = &Day{Date: date}
		}
		return days[date]
	}
	parts := []struct {
		text string
		add  func(d *Day, word string, n int64)
	}{
		{`SELECT day, '', month_devices FROM app_days WHERE app_id = $1 AND day >= $2 AND day < $3`, func(d *Day, _ string, n int64) { d.NewDevices += n }},
		{`SELECT hour, action, SUM(n) FROM event_hours WHERE app_id = $1 AND hour >= $2 AND hour < $3 GROUP BY hour, action`, func(d *Day, action string, n int64) {
			switch {
			case action == "set":
				d.Installs += n
			case IsFailure(action):
				d.Failures += n
			}
		}},
		{`SELECT created_at, '', object_size FROM bundles WHERE app_id = $1 AND created_at >= $2 AND created_at < $3 AND NOT deleted`, func(d *Day, _ string, n int64) { d.StoredBytes += n }},
	}
	for _, part := range parts {
		rows, err := db.QueryContext(ctx, part.text, appID, first, last)
		if err != nil {
			return nil, fault("read the statistics", err)
		}
		for rows.Next() {
			var ms, n int64
			var word string
			if err := rows.Scan(&ms, &word, &n); err != nil {
				rows.Close()
				return nil, fault("read the statistics", err)
			}
			part.add(at(ms), word, n)
		}
		if err := rows.Err(); err != nil {
			rows.Close()
			return nil, fault("read the statistics", err)
		}
		if err := rows.Close(); err != nil {
			return nil, fault("read the statistics", err)
		}
	}
	list := []Day{}
	for at := from; !at.After(to); at = at.Add(24 * time.Hour) {
		if d := days[at.Format(time.DateOnly)]; d != nil {
			list = append(list, *d)
		}
	}
	return list, nil
}

// UsageKind says which version of a device is counted.
type UsageKind string

// The kinds.
const (
	ByBundle UsageKind = "bundle"
	ByNative UsageKind = "native"
)

// Usage is the number of devices that ended a day on a version.
type Usage struct {
	Date    string
	Version string
	Devices int64
}

// Usage lists the versions of a range of days, both ends included, by day and version.
func (s *Store) Usage(ctx context.Context, appID string, kind UsageKind, from, to time.Time) ([]Usage, error) {
	q := query{text: `SELECT day, version, devices FROM version_days WHERE devices > 0`}
	q.and(`app_id = `, appID)
	q.and(`kind = `, string(kind))
	q.and(`day >= `, from.UnixMilli())
	q.and(`day <= `, to.UnixMilli())
	q.text += ` ORDER BY day, version`
	return listed(ctx, s, func(db querier) ([]Usage, error) { return collect(ctx, db, q, scanUsage) })
}

func scanUsage(row scanner) (Usage, error) {
	var u Usage
	var at int64
	err := row.Scan(&at, &u.Version, &u.Devices)
	u.Date = fromMS(at).Format(time.DateOnly)
	return u, err
}
