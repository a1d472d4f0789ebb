package store

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"capstan/core/capgo"
	"capstan/core/failure"
)

// How long statistics are kept.
const (
	keepEvents = 90 * 24 * time.Hour
	keepHours  = 400 * 24 * time.Hour
	keepSilent = 180 * 24 * time.Hour // devices that do not poll any more
)

// prunedAtOnce bounds the rows that one transaction deletes, so that devices'
// events never wait long for the writer.
const prunedAtOnce = 5_000

// Maintain looks at running rollouts every minute and drops old statistics
// every hour, until ctx ends.
func (s *Store) Maintain(ctx context.Context) {
	minute := time.NewTicker(time.Minute)
	defer minute.Stop()
	pruned := time.Time{}
	for {
		if s.now().Sub(pruned) >= time.Hour {
			pruned = s.now()
			if err := s.Prune(ctx); err != nil && ctx.Err() == nil {
				s.log.Error("old statistics not dropped", "error", err)
			}
		}
		if _, err := s.AutoPause(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("rollouts not checked", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-minute.C:
		}
	}
}

// Prune drops statistics and kept answers past their time, and the oldest events of apps that
// have more than Limits.EventsPerApp.
func (s *Store) Prune(ctx context.Context) error {
	now := s.now()
	ids, err := collect(ctx, s.db.read, query{text: `SELECT app_id FROM apps ORDER BY app_id`}, func(row scanner) (id string, err error) {
		return id, row.Scan(&id)
	})
	if err != nil {
		return err
	}
	dropped := false
	for _, p := range []struct {
		table, column string
		keep          time.Duration
	}{
		{"events", "at", keepEvents}, {"event_hours", "hour", keepHours}, {"poll_hours", "hour", keepHours},
		{"app_days", "day", keepHours}, {"version_days", "day", keepHours}, {"devices", "polled_at", keepSilent},
	} {
		for _, id := range ids { // by app, as the indexes are: millions of rows are not looked through
			n, err := s.pruneTable(ctx, p.table, `app_id = $1 AND `+p.column+` < $2`, id, now.Add(-p.keep).UnixMilli())
			if err != nil {
				return err
			}
			dropped = dropped || p.table == "devices" && n > 0
		}
	}
	if _, err := s.pruneTable(ctx, "answers", `at < $1`, now.Add(-keepAnswers).UnixMilli()); err != nil {
		return err
	}
	apps, err := collect(ctx, s.db.read, query{text: `SELECT app_id, COUNT(*), MAX(id) FROM events GROUP BY app_id`}, func(row scanner) (overfull, error) {
		var o overfull
		return o, row.Scan(&o.app, &o.rows, &o.last)
	})
	if err != nil {
		return err
	}
	for _, a := range apps {
		if a.rows <= s.limits.EventsPerApp {
			continue
		}
		var edge int64
		err := s.db.read.QueryRowContext(ctx, `SELECT id FROM events WHERE app_id = $1 ORDER BY id DESC LIMIT 1 OFFSET $2`, a.app, s.limits.EventsPerApp).Scan(&edge)
		if err != nil {
			return fault("drop old events", err)
		}
		if _, err := s.pruneTable(ctx, "events", `app_id = $1 AND id <= $2`, a.app, edge); err != nil {
			return err
		}
	}
	if !dropped {
		return nil
	}
	return s.recount(ctx)
}

type overfull struct {
	app  string
	rows int64
	last int64
}

// pruneTable deletes in portions and gives the number of rows; table and
// condition are Prune's own. Where there is nothing to delete it does not ask
// for the writer.
func (s *Store) pruneTable(ctx context.Context, table, condition string, args ...any) (total int64, err error) {
	var some bool
	if err := s.db.read.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM `+table+` WHERE `+condition+`)`, args...).Scan(&some); err != nil || !some {
		return 0, fault("drop old statistics", err)
	}
	row := "rowid"
	if s.db.engine == enginePostgres {
		row = "ctid"
	}
	for {
		var n int64
		err := s.change(ctx, func(t *tx) (err error) {
			q := query{args: args}
			q.text = `DELETE FROM ` + table + ` WHERE ` + row + ` IN (SELECT ` + row + ` FROM ` + table + ` WHERE ` + condition
			q.limit(prunedAtOnce, prunedAtOnce, prunedAtOnce)
			n, err = t.count(ctx, q.text+`)`, q.args...)
			return err
		})
		total += n
		if err != nil || n < prunedAtOnce {
			return total, err
		}
	}
}

// recount takes the number of device rows from the table again.
func (s *Store) recount(ctx context.Context) error {
	s.recorder.writing.Lock()
	defer s.recorder.writing.Unlock()
	return s.recorder.count(ctx)
}

// AutoPause stops the rollouts whose failures are too many, as their channels
// say, and gives their number. Devices count once; the rate compared is the
// lower bound of the Wilson interval, so that a few early failures of a small
// sample do not stop a rollout by chance.
func (s *Store) AutoPause(ctx context.Context) (int, error) {
	q := query{text: `SELECT ` + channelColumns + ` FROM ` + channelTables + ` WHERE c.auto_pause_enabled AND c.rollout_enabled
		AND c.rollout_bundle_id IS NOT NULL AND c.rollout_paused_at IS NULL AND c.auto_pause_rate_bps IS NOT NULL ORDER BY c.id`}
	list, err := collect(ctx, s.db.read, q, scanChannel)
	if err != nil {
		return 0, err
	}
	stopped := 0
	for _, c := range list {
		fired, err := s.autoPauseOne(ctx, c)
		if err != nil {
			return stopped, err
		}
		if fired {
			stopped++
		}
	}
	return stopped, nil
}

func (s *Store) autoPauseOne(ctx context.Context, c Channel) (bool, error) {
	now := s.now()
	p := c.AutoPause
	if p.TriggeredAt != nil && now.Sub(*p.TriggeredAt) < time.Duration(p.CooldownMinutes)*time.Minute {
		return false, nil
	}
	attempts, failures, err := s.sample(ctx, c, now.Add(-time.Duration(p.WindowMinutes)*time.Minute))
	if err != nil {
		return false, err
	}
	atLeast := func(n int64, want *int64) bool { return want == nil || n >= *want }
	if failures == 0 || !atLeast(attempts, p.MinAttempts) || !atLeast(failures, p.MinFailures) ||
		WilsonLower(failures, attempts, p.Confidence)*10000 < float64(*p.FailureRateBps) {
		return false, nil
	}
	reason := "auto-pause: " + counted(failures, attempts)
	change := ChannelChange{MustExist: true}
	change.Note = reason
	change.AppID, change.Channel, change.ExpectedRevision = c.AppID, c.Name, &c.Revision
	yes := true
	switch p.Action {
	case "rollback":
		change.Rollback = &yes
	case "pause":
		change.RolloutPaused, change.RolloutPauseReason = &yes, &reason
	}
	if p.Action != "notify" {
		if _, _, err := s.ChangeChannel(ctx, "auto-pause", change); err != nil {
			if failure.CodeOf(err) == "channel_moved" {
				return false, nil // an operator was faster
			}
			return false, err
		}
	}
	fired := false
	err = s.change(ctx, func(t *tx) error {
		// Of several nodes that see the same failures, one raises the alarm.
		n, err := t.count(ctx, `UPDATE channels SET auto_pause_triggered_at = $1, auto_pause_checked_at = $1
			WHERE id = $2 AND (auto_pause_triggered_at IS NULL OR auto_pause_triggered_at <= $3)`,
			now.UnixMilli(), c.ID, now.Add(-time.Duration(p.CooldownMinutes)*time.Minute).UnixMilli())
		if fired = n > 0; err != nil || !fired {
			return err
		}
		t.touch(c.AppID)
		if p.Action != "notify" {
			return nil
		}
		return s.note(ctx, t, capgo.Change{AppID: c.AppID, Channel: c.Name, Action: "rollout.alarm", Actor: "auto-pause", To: c.RolloutVersionInfo.Name, Note: reason})
	})
	if fired && err == nil {
		s.log.Warn("rollout fails on devices", "app", c.AppID, "channel", c.Name, "action", p.Action, "failures", failures, "attempts", attempts)
	}
	return fired && err == nil, err
}

// sample counts the devices that tried to install the rollout, and those of
// them that failed in any way. A device counts once, whatever it reports.
func (s *Store) sample(ctx context.Context, c Channel, since time.Time) (attempts, failures int64, err error) {
	q := query{}
	name := q.arg(c.RolloutVersionInfo.Name)
	failed := `action LIKE '%\_fail' ESCAPE '\'`
	for _, action := range slices.Sorted(maps.Keys(failureActions)) {
		failed += ` OR action = ` + q.arg(action)
	}
	q.text = `SELECT COUNT(DISTINCT device_id), COUNT(DISTINCT CASE WHEN ` + failed + ` THEN device_id END) FROM events
		WHERE counted AND (action = 'set' OR ` + failed + `)`
	// A failure of one file is reported as version:file.
	q.text += ` AND (version_name = ` + name + ` OR substr(version_name, 1, length(` + name + `) + 1) = ` + name + ` || ':')`
	q.and(`app_id = `, c.AppID)
	q.and(`at >= `, since.UnixMilli())
	err = s.db.read.QueryRowContext(ctx, q.text, q.args...).Scan(&attempts, &failures)
	return attempts, failures, fault("read the store", err)
}

// WilsonLower is the lower bound of the Wilson score interval of k successes
// in n, for a two-sided confidence between 0 and 1. 0 for n = 0.
func WilsonLower(k, n int64, confidence float64) float64 {
	if n == 0 {
		return 0
	}
	z := math.Sqrt2 * math.Erfinv(confidence)
	p, m := float64(k)/float64(n), float64(n)
	centre := p + z*z/(2*m)
	spread := z * math.Sqrt(p*(1-p)/m+z*z/(4*m*m))
	return max(0, (centre-spread)/(1+z*z/m))
}

func counted(failures, attempts int64) string {
	return fmt.Sprintf("%d of %d devices failed", failures, attempts)
}
