package store

import (
	"context"
	"strings"
	"time"

	"capstan/core/capgo"
)

// failureActions are the stats actions that count as a failed update: those
// that end in _fail, and these. An app crash is not one of them.
var failureActions = map[string]bool{"checksum_required": true, "insufficient_disk_space": true}

// IsFailure reports whether a stats action says that an update failed.
func IsFailure(action string) bool {
	return strings.HasSuffix(action, "_fail") || failureActions[action]
}

// activeFor is how long a device counts as active after its last poll.
const activeFor = 30 * 24 * time.Hour

// recentHours are those of a day whose outcomes are told apart, for the trend.
const recentHours = 6

// fleetValues bounds the values kept of one attribute of the fleet; the rest
// are together under "other".
const fleetValues = 200

// Summary gives what a board shows of an app. Code cannot_find_app.
func (s *Store) Summary(ctx context.Context, appID string) (capgo.Summary, error) {
	if _, err := s.App(ctx, appID); err != nil {
		return capgo.Summary{}, err
	}
	channels, err := s.Channels(ctx, appID, 0, 1000)
	if err != nil {
		return capgo.Summary{}, err
	}
	now := s.now().UTC()
	return listed(ctx, s, func(from querier) (capgo.Summary, error) { return summaryIn(ctx, from, appID, channels, now) })
}

func summaryIn(ctx context.Context, from querier, appID string, channels []Channel, now time.Time) (capgo.Summary, error) {
	sum := capgo.Summary{AppID: appID, At: now, Channels: []capgo.ChannelSummary{}, Fleet: map[string]map[string]int64{}}
	since := now.Add(-activeFor).UnixMilli()
	err := from.QueryRowContext(ctx, `SELECT COUNT(*) FROM devices WHERE app_id = $1 AND polled_at >= $2`, appID, since).Scan(&sum.Devices)
	if err != nil {
		return sum, fault("read the store", err)
	}
	for _, attribute := range []string{"plugin_version", "version_build", "version_name", "platform", "key_id"} {
		if sum.Fleet[attribute], err = fleetIn(ctx, from, appID, attribute, since); err != nil {
			return sum, err
		}
	}
	for _, c := range channels {
		one, err := channelSummary(ctx, from, c, now)
		if err != nil {
			return sum, err
		}
		sum.Channels = append(sum.Channels, one)
	}
	return sum, nil
}

// fleetIn counts active devices by one attribute; column is one of Summary's own.
func fleetIn(ctx context.Context, from querier, appID, column string, since int64) (map[string]int64, error) {
	rows, err := from.QueryContext(ctx, `SELECT `+column+`, COUNT(*) FROM devices WHERE app_id = $1 AND polled_at >= $2
		GROUP BY `+column+` ORDER BY COUNT(*) DESC, `+column, appID, since)
	if err != nil {
		return nil, fault("read the store", err)
	}
	defer rows.Close()
	counts := map[string]int64{}
	for rows.Next() {
		var value string
		var n int64
		if err := rows.Scan(&value, &n); err != nil {
			return nil, fault("read the store", err)
		}
		if len(counts) >= fleetValues {
			value = "other"
		}
		counts[value] += n
	}
	return counts, fault("read the store", rows.Err())
}

func channelSummary(ctx context.Context, from querier, c Channel, now time.Time) (capgo.ChannelSummary, error) {
	sum := capgo.ChannelSummary{Channel: c.Name, Live: capgo.Builtin, Adoption: make([]float64, 24)}
	if c.Version != nil {
		sum.Live = c.Version.Name
	}
	if c.RolloutVersionInfo != nil {
		sum.Rollout = c.RolloutVersionInfo.Name
	}
	day := now.Add(-24 * time.Hour).UnixMilli()
	err := from.QueryRowContext(ctx, `SELECT COUNT(*), COALESCE(SUM(CASE WHEN on_live THEN 1 ELSE 0 END), 0) FROM devices
		WHERE app_id = $1 AND polled_at >= $2 AND channel_id = $3`, c.AppID, day, c.ID).Scan(&sum.Devices, &sum.OnLive)
	if err != nil {
		return sum, fault("read the store", err)
	}
	first := now.UnixMilli()/hour*hour - 23*hour
	for i := range sum.Adoption {
		sum.Adoption[i] = -1
	}
	rows, err := from.QueryContext(ctx, `SELECT hour, devices, on_live FROM poll_hours WHERE app_id = $1 AND channel_id = $2 AND hour >= $3`, c.AppID, c.ID, first)
	if err != nil {
		return sum, fault("read the store", err)
	}
	defer rows.Close()
	for rows.Next() {
		var h, devices, live int64
		if err := rows.Scan(&h, &devices, &live); err != nil {
			return sum, fault("read the store", err)
		}
		if i := (h - first) / hour; devices > 0 && i >= 0 && i < 24 {
			sum.Adoption[i] = float64(min(max(live, 0), devices)) / float64(devices)
		}
	}
	if err := rows.Err(); err != nil {
		return sum, fault("read the store", err)
	}
	if sum.Installs, sum.Failures, err = outcomes(ctx, from, c.AppID, c.ID, "", first); err != nil {
		return sum, err
	}
	if sum.RecentInstalls, sum.RecentFailures, err = outcomes(ctx, from, c.AppID, c.ID, "", first+(24-recentHours)*hour); err != nil {
		return sum, err
	}
	last, err := changesIn(ctx, from, ChangeFilter{AppID: c.AppID, Channel: c.Name, Limit: 1})
	if err == nil && len(last) > 0 {
		sum.LastChange = &last[0]
	}
	return sum, err
}

// outcomes counts installs and failed updates of a channel since an hour; of
// one bundle when version is not "".
func outcomes(ctx context.Context, from querier, appID string, channelID int64, version string, since int64) (installs, failures int64, err error) {
	q := query{text: `SELECT action, SUM(n) FROM event_hours WHERE TRUE`}
	q.and(`app_id = `, appID)
	q.and(`channel_id = `, channelID)
	q.and(`hour >= `, since)
	if version != "" {
		q.and(`version_name = `, version)
	}
	q.text += ` GROUP BY action`
	rows, err := from.QueryContext(ctx, q.text, q.args...)
	if err != nil {
		return 0, 0, fault("read the store", err)
	}
	defer rows.Close()
	for rows.Next() {
		var action string
		var n int64
		if err := rows.Scan(&action, &n); err != nil {
			return 0, 0, fault("read the store", err)
		}
		switch {
		case action == "set":
			installs += n
		case IsFailure(action):
			failures += n
		}
	}
	return installs, failures, fault("read the store", rows.Err())
}
