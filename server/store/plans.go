package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/server/schedule"
)

// scheduleActor is who the audit says moved a planned release.
const scheduleActor = "schedule"

const (
	maxSteps = 50
	maxSoak  = 30 * 24 * time.Hour
)

// plan is a row of plans with the channel that it moves.
type plan struct {
	capgo.ReleasePlan
	channelID, bundleID int64
	rolloutID           string
	bps                 int
	paused              bool
	since               int64
	revision            int64
}

const (
	planColumns = `p.app_id, c.name, b.name, p.channel_id, p.bundle_id, p.start_at, p.steps, p.promote, p.rollout_id, p.bps, p.paused, p.since, p.revision, p.created_by, p.created_at`
	planTables  = `plans p JOIN channels c ON c.id = p.channel_id JOIN bundles b ON b.id = p.bundle_id`
)

func scanPlan(row scanner) (plan, error) {
	var p plan
	var start, created int64
	var steps string
	err := row.Scan(&p.AppID, &p.Channel, &p.Version, &p.channelID, &p.bundleID, &start, &steps, &p.Promote, &p.rolloutID, &p.bps, &p.paused, &p.since, &p.revision, &p.CreatedBy, &created)
	if err != nil {
		return p, err
	}
	at := fromMS(created)
	p.CreatedAt = &at
	if start != 0 {
		at := fromMS(start)
		p.At = &at
	}
	return p, json.Unmarshal([]byte(steps), &p.Steps)
}

// scheduled is the plan as package schedule takes it.
func scheduled(p capgo.ReleasePlan) schedule.Plan {
	s := schedule.Plan{Promote: p.Promote}
	if p.At != nil {
		s.At = *p.At
	}
	for _, step := range p.Steps {
		s.Steps = append(s.Steps, schedule.Step{Bps: step.Bps, Soak: time.Duration(step.SoakSeconds) * time.Second})
	}
	return s
}

// look compares the plan with its channel: how far it has come, and whether
// somebody took the channel out of its hands (gone, in plain words).
func (p *plan) look(c Channel, now time.Time) (at schedule.Progress, gone string) {
	if c.Version != nil && c.Version.ID == p.bundleID {
		return schedule.Progress{Started: true, Done: true}, ""
	}
	running := c.RolloutVersion != nil && *c.RolloutVersion == p.bundleID
	switch {
	case p.rolloutID == "" && c.RolloutVersion != nil && !running:
		return at, "a rollout of " + c.RolloutVersionInfo.Name + " runs on the channel"
	case p.rolloutID != "" && (!running || c.RolloutID != p.rolloutID):
		return at, "its rollout was ended"
	case !running:
		return at, ""
	case p.rolloutID == "": // a rollout of the same bundle that runs already is taken over
		p.rolloutID, p.bps, p.since = c.RolloutID, c.RolloutPercentageBps, now.UnixMilli()
	}
	paused := c.RolloutPausedAt != nil || !c.RolloutEnabled
	if c.RolloutPercentageBps != p.bps || p.paused && !paused {
		p.since = now.UnixMilli() // moved or resumed by hand: the share soaks anew
	}
	p.bps, p.paused = c.RolloutPercentageBps, paused
	return schedule.Progress{Started: true, Bps: p.bps, Since: fromMS(p.since), Paused: paused}, ""
}

// Plans lists the plans of an app with their next moves, by channel. Code
// cannot_find_app.
func (s *Store) Plans(ctx context.Context, appID string) ([]capgo.ReleasePlan, error) {
	if _, err := s.App(ctx, appID); err != nil {
		return nil, err
	}
	q := query{text: `SELECT ` + planColumns + ` FROM ` + planTables + ` WHERE TRUE`}
	q.and(`p.app_id = `, appID)
	q.text += ` ORDER BY c.name`
	list, err := collect(ctx, s.db.read, q, scanPlan)
	if err != nil {
		return nil, err
	}
	_, freezes, err := freezesIn(ctx, s.db.read, appID)
	if err != nil {
		return nil, err
	}
	plans := []capgo.ReleasePlan{}
	for _, p := range list {
		c, err := s.ChannelByID(ctx, appID, p.channelID)
		if failure.CodeOf(err) == "channel_not_found" {
			continue // deleted since the list was read, and the plan with it
		}
		if err != nil {
			return nil, err
		}
		now := s.now()
		at, gone := p.look(c, now)
		move := scheduled(p.ReleasePlan).Next(at, freezes, now)
		if gone != "" {
			move = schedule.Move{Kind: schedule.Finish, Reason: gone}
		}
		p.Share, p.Next, p.Reason = at.Bps, string(move.Kind), move.Reason
		if move.Kind == schedule.Wait {
			until := move.NotBefore.UTC()
			p.NotBefore = &until
		}
		plans = append(plans, p.ReleasePlan)
	}
	return plans, nil
}

// SetPlan plans a release, in place of the plan that the channel may have.
// Codes plan_invalid, channel_not_found, cannot_find_version,
// cannot_promote_bundle, missing_stable_version, rollout_running.
func (s *Store) SetPlan(ctx context.Context, actor string, p capgo.ReleasePlan) error {
	if err := scheduled(p).Validate(); err != nil {
		return err
	}
	for _, step := range p.Steps {
		if step.SoakSeconds > int64(maxSoak/time.Second) {
			return failure.New(failure.Usage, "plan_invalid", "plan a release", "a step lasts longer than 30 days", "")
		}
	}
	if len(p.Steps) > maxSteps {
		return failure.Newf(failure.Usage, "plan_invalid", "plan a release", "", "a plan has at most %d steps", maxSteps)
	}
	steps, err := json.Marshal(p.Steps)
	if err != nil {
		return err
	}
	var start int64
	if p.At != nil {
		start = p.At.UnixMilli()
	}
	return s.change(ctx, func(t *tx) error {
		if err := t.lock(ctx, p.AppID); err != nil {
			return err
		}
		a, err := appIn(ctx, t, p.AppID)
		if err != nil {
			return err
		}
		c, err := channelIn(ctx, t, p.AppID, p.Channel)
		if err != nil {
			return err
		}
		target, _, err := s.target(ctx, t, onRecord(a), p.AppID, &p.Version, nil)
		if err != nil {
			return err
		}
		switch {
		case target == nil:
			return failure.New(failure.Usage, "plan_invalid", "plan a release", "the store build is no release", "roll back instead")
		case sameRef(target, c.Version):
			return failure.Newf(failure.Conflict, "already_live", "plan a release", "", "%s is live on %s already", target.Name, c.Name)
		case len(p.Steps) > 0 && c.Version == nil:
			return failure.New(failure.Usage, "missing_stable_version", "plan a release", "a rollout needs a bundle that is live already", "promote a bundle first")
		case c.RolloutVersion != nil && *c.RolloutVersion != target.ID:
			return failure.Newf(failure.Conflict, "rollout_running", "plan a release", "end it first", "a rollout of %s runs on %s", c.RolloutVersionInfo.Name, c.Name)
		}
		before, err := planIn(ctx, t, c.ID)
		if err != nil {
			return err
		}
		err = t.exec(ctx, `INSERT INTO plans (channel_id, app_id, bundle_id, start_at, steps, promote, revision, created_by, created_at) VALUES ($1, $2, $3, $4, $5, $6, 1, $7, $8)
			ON CONFLICT (channel_id) DO UPDATE SET bundle_id = excluded.bundle_id, start_at = excluded.start_at, steps = excluded.steps, promote = excluded.promote,
			rollout_id = '', bps = 0, paused = FALSE, since = 0, revision = plans.revision + 1, created_by = excluded.created_by, created_at = excluded.created_at`,
			c.ID, p.AppID, target.ID, start, string(steps), p.Promote, actor, s.ms())
		if err != nil {
			return err
		}
		return s.note(ctx, t, capgo.Change{AppID: p.AppID, Channel: p.Channel, Action: "schedule.set", Actor: actor, From: before, To: planText(p)})
	})
}

// planIn is the plan of a channel in one line, "" when it has none.
func planIn(ctx context.Context, from querier, channelID int64) (string, error) {
	q := query{text: `SELECT ` + planColumns + ` FROM ` + planTables + ` WHERE TRUE`}
	q.and(`p.channel_id = `, channelID)
	list, err := collect(ctx, from, q, scanPlan)
	if err != nil || len(list) == 0 {
		return "", err
	}
	return planText(list[0].ReleasePlan), nil
}

// planText is a plan in one line, for the audit.
func planText(p capgo.ReleasePlan) string {
	var b strings.Builder
	b.WriteString(p.Version)
	if p.At != nil {
		b.WriteString(" at " + p.At.UTC().Format(time.RFC3339))
	}
	for i, step := range p.Steps {
		if i > 0 {
			b.WriteString(",")
		}
		fmt.Fprintf(&b, " %g%% for %s", float64(step.Bps)/100, time.Duration(step.SoakSeconds)*time.Second)
	}
	if p.Promote && len(p.Steps) > 0 {
		b.WriteString(", then promote")
	}
	return b.String()
}

func noPlan() error {
	return failure.New(failure.NotFound, "plan_not_found", "", "the channel has no planned release", "")
}

// ClearPlan drops the plan of a channel; the channel stays as it is now. Codes
// channel_not_found, plan_not_found.
func (s *Store) ClearPlan(ctx context.Context, actor, appID, channel string) error {
	return s.change(ctx, func(t *tx) error {
		if err := t.lock(ctx, appID); err != nil {
			return err
		}
		c, err := channelIn(ctx, t, appID, channel)
		if err != nil {
			return err
		}
		before, err := planIn(ctx, t, c.ID)
		if err != nil {
			return err
		}
		if before == "" {
			return noPlan()
		}
		if err := t.exec(ctx, `DELETE FROM plans WHERE channel_id = $1`, c.ID); err != nil {
			return err
		}
		return s.note(ctx, t, capgo.Change{AppID: appID, Channel: channel, Action: "schedule.clear", Actor: actor, From: before})
	})
}

// RunPlans makes the moves that are due and gives their number. Any number of
// processes may call it: a move is made once, because it is compare-and-set on
// the channel and on the plan in one transaction.
func (s *Store) RunPlans(ctx context.Context) (int, error) {
	list, err := collect(ctx, s.db.read, query{text: `SELECT ` + planColumns + ` FROM ` + planTables + ` ORDER BY p.channel_id`}, scanPlan)
	if err != nil {
		return 0, err
	}
	moved := 0
	var failed error
	for _, p := range list {
		made, err := s.runPlan(ctx, p)
		failed = errors.Join(failed, err)
		if made {
			moved++
		}
	}
	return moved, failed
}

func (s *Store) runPlan(ctx context.Context, p plan) (moved bool, err error) {
	_, freezes, err := freezesIn(ctx, s.db.read, p.AppID)
	if err != nil {
		return false, err
	}
	c, err := s.ChannelByID(ctx, p.AppID, p.channelID)
	if err != nil {
		return false, ifStill(err)
	}
	was := p
	at, gone := p.look(c, s.now())
	if gone != "" {
		return false, s.stopPlan(ctx, p, gone)
	}
	move := scheduled(p.ReleasePlan).Next(at, freezes, s.now())
	change := ChannelChange{MustExist: true}
	change.AppID, change.Channel, change.ExpectedRevision = p.AppID, p.Channel, &c.Revision
	change.Note = "planned by " + p.CreatedBy + ": " + move.Reason
	yes := true
	switch move.Kind {
	case schedule.Raise:
		change.RolloutVersion, change.RolloutPercentageBps, change.RolloutEnabled = &p.Version, &move.Bps, &yes
		change.also = func(t *tx, after Channel) error {
			return p.keep(ctx, t, after.RolloutID, after.RolloutPercentageBps, false, s.ms())
		}
	case schedule.Promote:
		if at.Started {
			change.PromoteToStable = &yes
		} else {
			change.Version = &p.Version
		}
		change.also = func(t *tx, _ Channel) error { return p.drop(ctx, t) }
	case schedule.Finish:
		return false, ifStill(s.change(ctx, func(t *tx) error {
			if err := p.drop(ctx, t); err != nil {
				return err
			}
			return s.note(ctx, t, capgo.Change{AppID: p.AppID, Channel: p.Channel, Action: "schedule.done", Actor: scheduleActor, From: planText(p.ReleasePlan), Note: move.Reason})
		}))
	default:
		if p.rolloutID == was.rolloutID && p.bps == was.bps && p.paused == was.paused && p.since == was.since {
			return false, nil
		}
		return false, ifStill(s.change(ctx, func(t *tx) error { return p.keep(ctx, t, p.rolloutID, p.bps, p.paused, p.since) }))
	}
	_, _, err = s.ChangeChannel(ctx, scheduleActor, change)
	if f, known := failure.Find(err); known && f.Code != "channel_moved" && f.Code != "plan_not_found" && f.Class != failure.Unavailable {
		return false, s.stopPlan(ctx, p, f.Error()) // it would fail again for ever
	}
	return err == nil, ifStill(err)
}

// ifStill drops the errors that say that somebody else was faster.
func ifStill(err error) error {
	switch failure.CodeOf(err) {
	case "channel_moved", "plan_not_found", "channel_not_found":
		return nil
	}
	return err
}

// keep writes how the plan's rollout stands, unless the plan was changed meanwhile.
func (p plan) keep(ctx context.Context, t *tx, rolloutID string, bps int, paused bool, since int64) error {
	n, err := t.count(ctx, `UPDATE plans SET rollout_id = $1, bps = $2, paused = $3, since = $4, revision = revision + 1 WHERE channel_id = $5 AND revision = $6`,
		rolloutID, bps, paused, since, p.channelID, p.revision)
	if err == nil && n == 0 {
		err = noPlan()
	}
	return err
}

// drop removes the plan, unless it was changed meanwhile.
func (p plan) drop(ctx context.Context, t *tx) error {
	n, err := t.count(ctx, `DELETE FROM plans WHERE channel_id = $1 AND revision = $2`, p.channelID, p.revision)
	if err == nil && n == 0 {
		err = noPlan()
	}
	return err
}

// stopPlan gives up a plan that cannot go on, and says so in the audit.
func (s *Store) stopPlan(ctx context.Context, p plan, why string) error {
	s.log.Warn("planned release given up", "app", p.AppID, "channel", p.Channel, "bundle", p.Version, "reason", why)
	return ifStill(s.change(ctx, func(t *tx) error {
		if err := p.drop(ctx, t); err != nil {
			return err
		}
		return s.note(ctx, t, capgo.Change{AppID: p.AppID, Channel: p.Channel, Action: "schedule.stop", Actor: scheduleActor, From: planText(p.ReleasePlan), Note: clip(why, 500)})
	}))
}

// plansEvery is how often a server looks for moves that are due.
const plansEvery = 2 * time.Second

// Schedule makes the moves of planned releases when they are due, until ctx ends.
func (s *Store) Schedule(ctx context.Context) {
	tick := time.NewTicker(plansEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if _, err := s.RunPlans(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("planned releases not moved", "error", err)
		}
	}
}
