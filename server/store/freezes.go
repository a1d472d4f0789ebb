package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // zones have names also where the machine knows none

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/server/schedule"
)

// freezesKept bounds the freezes of an app: each change of a channel reads them.
const freezesKept = 100

// weekdays as the API writes them, in the order of time.Weekday.
var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// freezeOf turns a freeze of the API into one that can be asked. Code freeze_invalid.
func freezeOf(f capgo.Freeze) (schedule.Freeze, error) {
	invalid := func(text string) error {
		return failure.New(failure.Usage, "freeze_invalid", "set a freeze", text, "give two times, or days of the week with a time and a length of up to seven days")
	}
	s := schedule.Freeze{Name: f.Name, Location: time.UTC, Length: time.Duration(f.Minutes) * time.Minute}
	if f.Name == "" || len(f.Name) > 80 {
		return s, invalid("a freeze needs a name of at most 80 characters")
	}
	if f.From != nil {
		s.From = *f.From
	}
	if f.To != nil {
		s.To = *f.To
	}
	if len(f.Days) > 0 && (f.From != nil || f.To != nil) {
		return s, invalid("a freeze is weekly or has two times, not both")
	}
	for _, day := range f.Days {
		i := slices.Index(weekdays, day)
		if i < 0 {
			return s, invalid("a day of the week is mon, tue, wed, thu, fri, sat or sun")
		}
		s.Days = append(s.Days, time.Weekday(i))
	}
	if f.Start != "" {
		start, err := time.Parse("15:04", f.Start)
		if err != nil {
			return s, invalid("the time of day is not of the form 17:00")
		}
		s.Start = time.Duration(start.Hour())*time.Hour + time.Duration(start.Minute())*time.Minute
	}
	if f.Zone != "" {
		zone, err := time.LoadLocation(f.Zone)
		if err != nil || f.Zone == "Local" { // the server's own zone means nothing to the operator
			return s, invalid("the time zone is not known: write it like Europe/Berlin")
		}
		s.Location = zone
	}
	if f.Minutes < 0 || f.Minutes > 7*24*60 {
		return s, invalid("a weekly freeze lasts up to seven days")
	}
	return s, s.Validate()
}

const freezeColumns = `app_id, name, from_at, to_at, days, start_minute, minutes, zone`

func scanFreeze(row scanner) (capgo.Freeze, error) {
	var f capgo.Freeze
	var from, to, start int64
	var days string
	if err := row.Scan(&f.AppID, &f.Name, &from, &to, &days, &start, &f.Minutes, &f.Zone); err != nil {
		return f, err
	}
	if days == "" {
		a, b := fromMS(from), fromMS(to)
		f.From, f.To = &a, &b
		return f, nil
	}
	f.Start = fmt.Sprintf("%02d:%02d", start/60, start%60)
	return f, json.Unmarshal([]byte(days), &f.Days)
}

func freezesIn(ctx context.Context, from querier, appID string) ([]capgo.Freeze, []schedule.Freeze, error) {
	q := query{text: `SELECT ` + freezeColumns + ` FROM freezes WHERE TRUE`}
	q.and(`app_id = `, appID)
	q.text += ` ORDER BY name`
	list, err := collect(ctx, from, q, scanFreeze)
	if err != nil {
		return nil, nil, err
	}
	asked := make([]schedule.Freeze, len(list))
	for i, f := range list {
		if asked[i], err = freezeOf(f); err != nil {
			return nil, nil, err
		}
	}
	return list, asked, nil
}

// Freezes lists the freezes of an app by name, and says until when it is
// frozen now. Code cannot_find_app.
func (s *Store) Freezes(ctx context.Context, appID string) (capgo.Freezes, error) {
	if _, err := s.App(ctx, appID); err != nil {
		return capgo.Freezes{}, err
	}
	list, asked, err := freezesIn(ctx, s.db.read, appID)
	answer := capgo.Freezes{Freezes: list}
	if until, frozen := schedule.FrozenUntil(asked, s.now()); frozen {
		until = until.UTC()
		answer.FrozenUntil = &until
	}
	return answer, err
}

// SetFreeze adds a freeze or replaces the one of its name. Codes
// freeze_invalid, too_many_freezes, cannot_find_app.
func (s *Store) SetFreeze(ctx context.Context, actor string, f capgo.Freeze) error {
	asked, err := freezeOf(f)
	if err != nil {
		return err
	}
	days := ""
	if len(f.Days) > 0 {
		text, err := json.Marshal(f.Days)
		if err != nil {
			return err
		}
		days = string(text)
	}
	var from, to int64
	if days == "" {
		from, to = asked.From.UnixMilli(), asked.To.UnixMilli()
	}
	return s.change(ctx, func(t *tx) error {
		if err := t.lock(ctx, f.AppID); err != nil {
			return err
		}
		if _, err := appIn(ctx, t, f.AppID); err != nil {
			return err
		}
		before, _, err := freezesIn(ctx, t, f.AppID)
		if err != nil {
			return err
		}
		was := slices.IndexFunc(before, func(b capgo.Freeze) bool { return b.Name == f.Name })
		if was < 0 && len(before) >= freezesKept {
			return failure.Newf(failure.Conflict, "too_many_freezes", "set a freeze", "remove those that are over", "the app has %d freezes", len(before))
		}
		entry := capgo.Change{AppID: f.AppID, Action: "freeze.set", Actor: actor, To: freezeText(f)}
		if was >= 0 {
			entry.From = freezeText(before[was])
		}
		err = t.exec(ctx, `INSERT INTO freezes (`+freezeColumns+`) VALUES (`+placeholders(1, 8)+`) ON CONFLICT (app_id, name) DO UPDATE SET
			from_at = excluded.from_at, to_at = excluded.to_at, days = excluded.days, start_minute = excluded.start_minute, minutes = excluded.minutes, zone = excluded.zone`,
			f.AppID, f.Name, from, to, days, int64(asked.Start/time.Minute), f.Minutes, f.Zone)
		if err != nil {
			return err
		}
		return s.note(ctx, t, entry)
	})
}

// ClearFreeze removes a freeze. Code freeze_not_found.
func (s *Store) ClearFreeze(ctx context.Context, actor, appID, name string) error {
	return s.change(ctx, func(t *tx) error {
		if err := t.lock(ctx, appID); err != nil {
			return err
		}
		n, err := t.count(ctx, `DELETE FROM freezes WHERE app_id = $1 AND name = $2`, appID, name)
		if err != nil {
			return err
		}
		if n == 0 {
			return failure.New(failure.NotFound, "freeze_not_found", "", "there is no such freeze", "capstan channel freeze lists them")
		}
		return s.note(ctx, t, capgo.Change{AppID: appID, Action: "freeze.clear", Actor: actor, From: name})
	})
}

// freezeText is a freeze in one line, for the audit.
func freezeText(f capgo.Freeze) string {
	if len(f.Days) == 0 {
		return f.Name + ": " + f.From.UTC().Format(time.RFC3339) + " to " + f.To.UTC().Format(time.RFC3339)
	}
	zone := f.Zone
	if zone == "" {
		zone = "UTC"
	}
	return f.Name + ": " + strings.Join(f.Days, " ") + " at " + f.Start + " " + zone + " for " + strconv.FormatInt(f.Minutes, 10) + "m"
}

// forward are the actions that bring a bundle to more devices. What takes it
// away from them is never frozen.
var forward = map[string]bool{
	"channel.promote": true, "channel.platform": true, "rollout.start": true, "rollout.percentage": true, "rollout.promote": true, "rollout.resume": true,
}

// checkFreeze refuses a change that moves forward within a freeze and gives no
// reason. Code channel_frozen.
func (s *Store) checkFreeze(ctx context.Context, t *tx, c ChannelChange, before, after Channel, actions []string) error {
	moves := slices.ContainsFunc(actions, func(a string) bool {
		return forward[a] && (a != "rollout.percentage" || after.RolloutPercentageBps > before.RolloutPercentageBps)
	})
	if !moves || c.Note != "" {
		return nil
	}
	_, freezes, err := freezesIn(ctx, t, c.AppID)
	if err != nil {
		return err
	}
	if until, frozen := schedule.FrozenUntil(freezes, s.now()); frozen {
		return failure.Newf(failure.Conflict, "channel_frozen", "change the channel", "wait, or give a reason, which the history keeps",
			"a freeze holds channel %s until %s", c.Channel, until.UTC().Format(time.RFC3339))
	}
	return nil
}
