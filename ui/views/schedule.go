package views

import (
	"context"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	tea "charm.land/bubbletea/v2"

	"capstan/core/capgo"
	"capstan/ui/text"
	"capstan/ui/widget"
)

// Schedule is what moves by itself, and when nothing may.
type Schedule struct {
	// Supported is false for a server that plans nothing.
	Supported bool
	Plans     []capgo.ReleasePlan
	Freezes   capgo.Freezes
}

// LoadSchedule reads the planned releases and the freezes of the app.
func (e *Env) LoadSchedule() tea.Cmd {
	return e.Data.Schedule.Load(e, func(ctx context.Context) (Schedule, error) {
		plans, err := e.Services.Registry.Plans(ctx, e.Facts.AppID)
		if missing(err) {
			return Schedule{}, nil
		}
		if err != nil {
			return Schedule{}, err
		}
		freezes, err := e.Services.Registry.Freezes(ctx, e.Facts.AppID)
		return Schedule{Supported: true, Plans: plans, Freezes: freezes}, err
	})
}

// planOf is the plan of a channel.
func (e *Env) planOf(channel string) (capgo.ReleasePlan, bool) {
	for _, p := range e.Data.Schedule.Value.Plans {
		if p.Channel == channel {
			return p, true
		}
	}
	return capgo.ReleasePlan{}, false
}

// frozenUntil is when the freeze that holds the app now lets go; zero when none does.
func (e *Env) frozenUntil() time.Time {
	until := e.Data.Schedule.Value.Freezes.FrozenUntil
	if until == nil || !e.Now().Before(*until) {
		return time.Time{}
	}
	return *until
}

// because asks for a reason first while a freeze holds what moves forward.
func (e *Env) because(then func(reason string) tea.Cmd) tea.Cmd {
	until := e.frozenUntil()
	if until.IsZero() {
		return then("")
	}
	p := widget.NewPrompt(sprintf(e.S.FrozenTitle, e.moment(until)), e.S.ReasonLabel, e.S.HelpContinue, "", e.St.Text.Render(e.S.FrozenWhat))
	p.Check = func(s string) string {
		if strings.TrimSpace(s) == "" {
			return e.S.ReasonMissing
		}
		return ""
	}
	return Prompt(p, func(reason string) tea.Cmd { return then(strings.TrimSpace(reason)) })
}

// reasonLine repeats the reason in the dialog that follows it.
func (e *Env) reasonLine(reason string) []string {
	if reason == "" {
		return nil
	}
	return []string{e.St.Warn.Render("‖ ") + e.St.Text.Render(sprintf(e.S.ReasonGiven, text.Clean(reason)))}
}

// moment writes a time to come: the hour when it is today, else the day too.
func (e *Env) moment(t time.Time) string {
	now := e.Now()
	t = t.In(now.Location())
	switch {
	case t.Year() == now.Year() && t.YearDay() == now.YearDay():
		return t.Format("15:04")
	case t.Sub(now) < 300*24*time.Hour:
		return t.Format("2 ") + e.S.MonthNames[t.Month()-1] + t.Format(" 15:04")
	}
	return t.Format("2006-01-02 15:04")
}

// length writes how long something lasts, exactly: "63 h", "90 min".
func length(d time.Duration) string {
	if d >= time.Hour && d%time.Hour == 0 {
		return sprintf("%d h", int64(d/time.Hour))
	}
	return sprintf("%d min", int64(d/time.Minute))
}

// planSteps writes the shares that a plan passes: "5 % → 25 % → everybody, 2 h each".
func (e *Env) planSteps(p capgo.ReleasePlan) string {
	if len(p.Steps) == 0 {
		return e.S.PlanEverybody
	}
	each := p.Steps[0].SoakSeconds
	for _, s := range p.Steps {
		if s.SoakSeconds != each {
			each = -1
		}
	}
	soak := func(seconds int64) string { return length(time.Duration(seconds) * time.Second) }
	var parts []string
	for _, s := range p.Steps {
		part := e.S.Bps(s.Bps)
		if each < 0 {
			part += " (" + soak(s.SoakSeconds) + ")"
		}
		parts = append(parts, part)
	}
	if p.Promote {
		parts = append(parts, e.S.PlanEverybody)
	}
	line := strings.Join(parts, " → ")
	if each >= 0 {
		line += ", " + sprintf(e.S.PlanEach, soak(each))
	}
	return line
}

// rampItem is one way to go out, to choose from.
func (e *Env) rampItem(p capgo.ReleasePlan) widget.ChoiceItem {
	shares, each, _ := strings.Cut(e.planSteps(p), ", ")
	return widget.ChoiceItem{Label: shares, Note: each}
}

// planNext says what a plan does next.
func (e *Env) planNext(p capgo.ReleasePlan) string {
	switch p.Next {
	case "wait":
		if p.NotBefore != nil {
			return sprintf(e.S.PlanNext, e.moment(*p.NotBefore))
		}
	case "hold":
		return "‖ " + e.S.PlanHold
	case "finish":
		return e.S.PlanLast
	}
	return e.S.PlanNow
}

// planLine is a channel's plan in one line, "" when it has none.
func (e *Env) planLine(channel string, w int) string {
	p, ok := e.planOf(channel)
	if !ok {
		return ""
	}
	right := e.St.Muted.Render(e.planNext(p))
	left := e.St.Info.Render("◷ ") + e.St.Text.Render(bundleName(e, p.Version)) + "  " + e.St.Muted.Render(e.planSteps(p))
	return widget.Between(widget.Cut(left, max(4, w-widget.Width(right)-1)), right, w)
}

// frozenLine says that nothing moves forward now, "" when it does.
func (e *Env) frozenLine(w int) string {
	until := e.frozenUntil()
	if until.IsZero() {
		return ""
	}
	return widget.Cut(e.St.Warn.Render("‖ ")+e.St.Bold.Render(sprintf(e.S.FrozenUntil, e.moment(until)))+e.St.Muted.Render("  "+e.S.FrozenHow), w)
}

// scheduleLines show the channel's plan and the app's freezes.
func (v *channelView) scheduleLines(w int) []string {
	e := v.e
	lines := []string{heading(e, e.S.ScheduleTitle, w)}
	if p, ok := e.planOf(v.name); ok {
		lines = append(lines, "  "+widget.Between(e.St.Info.Render("◷ ")+e.St.Text.Render(bundleName(e, p.Version)), e.St.Muted.Render(e.planNext(p)), w-2),
			"    "+e.St.Muted.Render(widget.Cut(e.planSteps(p), w-4)))
	} else {
		lines = append(lines, "  "+widget.Between(e.St.Muted.Render(e.S.PlanNothing), keyed(e, "W", e.S.HelpPlan), w-2))
	}
	freezes := e.Data.Schedule.Value.Freezes.Freezes
	for _, f := range freezes {
		lines = append(lines, "  "+e.St.Warn.Render("‖ ")+widget.Cut(e.St.Text.Render(text.Clean(f.Name))+"  "+e.St.Muted.Render(e.freezeWhen(f)), w-4))
	}
	if len(freezes) == 0 {
		lines = append(lines, "  "+widget.Between(e.St.Muted.Render(e.S.FreezeNothing), keyed(e, "F", e.S.HelpFreeze), w-2))
	}
	return lines
}

// planActions are the schedule's two keys on a channel.
func (v *channelView) planActions(why string) []Action {
	e := v.e
	plan := Action{ID: "schedule", Keys: []string{"W"}, Help: e.S.HelpPlan, Long: e.S.LongPlan, Disabled: why, Dangerous: true, Run: v.plan}
	freeze := Action{ID: "freeze", Keys: []string{"F"}, Help: e.S.HelpFreeze, Long: e.S.LongFreeze, Disabled: why, Dangerous: true, Run: e.freezes}
	s := &e.Data.Schedule
	switch {
	case !s.Ready():
		plan.Disabled, freeze.Disabled = orElse(why, e.S.Loading), orElse(why, e.S.Loading)
	case !s.Value.Supported:
		plan.Disabled, freeze.Disabled = orElse(why, e.S.WhyNoSchedule), orElse(why, e.S.WhyNoSchedule)
	case len(e.Data.Bundles.Value) == 0:
		plan.Disabled = orElse(why, e.S.WhyNoBundles)
	}
	return []Action{plan, freeze}
}

// plan is W: what to do with the plan that there is, or a new one.
func (v *channelView) plan() tea.Cmd {
	e := v.e
	c, _ := e.channel(v.name)
	old, planned := e.planOf(v.name)
	if !planned {
		return v.newPlan()
	}
	do := []func() tea.Cmd{v.newPlan, v.dropPlan}
	choice := widget.Choice{Title: sprintf(e.S.ChoosePlanDo, bundleName(e, old.Version)), Intro: e.planSteps(old) + " · " + e.planNext(old), Items: []widget.ChoiceItem{
		{Label: e.S.PlanReplace, Note: e.S.PlanReplaceNote}, {Label: e.S.PlanDrop, Note: e.S.PlanDropNote}}}
	if c.RolloutVersionInfo != nil && c.RolloutPausedAt == nil {
		choice.Items = append(choice.Items, widget.ChoiceItem{Label: e.S.PlanPause, Note: e.S.PlanPauseNote})
		do = append(do, v.pause)
	}
	return Choose(choice, func(i int) tea.Cmd { return do[i]() })
}

// reschedule runs a change of the schedule and reads everything again.
func (e *Env) reschedule(say string, work func(ctx context.Context) error) tea.Cmd {
	return e.Do(say, work, func() tea.Cmd { return refresh })
}

func (v *channelView) dropPlan() tea.Cmd {
	e, name := v.e, v.name
	d := widget.Confirm{Title: e.S.PlanDrop, Verb: e.S.PlanDrop, Lines: []string{e.St.Text.Render(sprintf(e.S.PlanDropWhat, text.Clean(name))), e.St.Muted.Render(e.S.PlanDropNote)}}
	return Ask(d, func() tea.Cmd {
		return e.reschedule(sprintf(e.S.PlanDropped, text.Clean(name)), func(ctx context.Context) error {
			return e.Services.Registry.ClearPlan(ctx, e.Facts.AppID, name)
		})
	})
}

// ramps are the shares that are offered, in per cent, and how long each lasts.
var ramps = []struct {
	shares []float64
	each   time.Duration
}{{[]float64{5, 25, 100}, 24 * time.Hour}, {[]float64{1, 10, 50, 100}, 6 * time.Hour}}

// newPlan asks which version goes out, how, and when it starts.
func (v *channelView) newPlan() tea.Cmd {
	e := v.e
	c, _ := e.channel(v.name)
	choice, names := e.bundleChoice(sprintf(e.S.ChoosePlanVersion, text.Clean(v.name)), c)
	return Choose(choice, func(i int) tea.Cmd {
		p := capgo.ReleasePlan{AppID: e.Facts.AppID, Channel: v.name, Version: names[i], Promote: true}
		how := widget.Choice{Title: sprintf(e.S.ChoosePlanHow, bundleName(e, p.Version)), Items: []widget.ChoiceItem{{Label: e.S.PlanAt, Note: e.S.PlanAtNote}}}
		for _, r := range ramps {
			shown := p
			shown.Steps = planSteps(r.shares, r.each)
			how.Items = append(how.Items, e.rampItem(shown))
		}
		how.Items = append(how.Items, widget.ChoiceItem{Label: e.S.PlanOwn, Note: e.S.PlanOwnNote})
		return Choose(how, func(i int) tea.Cmd {
			switch {
			case i == 0:
				return v.planTime(p)
			case i <= len(ramps):
				p.Steps = planSteps(ramps[i-1].shares, ramps[i-1].each)
				return v.planTime(p)
			}
			return v.planShares(p)
		})
	})
}

func planSteps(shares []float64, each time.Duration) []capgo.PlanStep {
	var steps []capgo.PlanStep
	for _, s := range shares {
		steps = append(steps, capgo.PlanStep{Bps: int(math.Round(s * 100)), SoakSeconds: int64(each / time.Second)})
	}
	return steps
}

func (v *channelView) planShares(p capgo.ReleasePlan) tea.Cmd {
	e := v.e
	ask := widget.NewPrompt(e.S.PlanSharesTitle, e.S.PlanSharesLabel, e.S.HelpContinue, "5,25,100 2h", e.St.Text.Render(e.S.PlanSharesWhat))
	ask.Check = func(s string) string {
		if _, ok := parseShares(s); !ok {
			return e.S.PlanSharesBad
		}
		return ""
	}
	return Prompt(ask, func(s string) tea.Cmd {
		p.Steps, _ = parseShares(s)
		return v.planTime(p)
	})
}

// parseShares reads "5,25,100 2h".
func parseShares(s string) ([]capgo.PlanStep, bool) {
	words := strings.Fields(strings.ReplaceAll(s, ", ", ","))
	if len(words) != 2 {
		return nil, false
	}
	each, err := time.ParseDuration(words[1])
	if err != nil || each < time.Minute || each > 30*24*time.Hour {
		return nil, false
	}
	var shares []float64
	last := 0.0
	for _, w := range strings.Split(words[0], ",") {
		share, err := strconv.ParseFloat(strings.TrimSuffix(w, "%"), 64)
		if err != nil || !(share > last) || share > 100 || share < 0.01 {
			return nil, false
		}
		shares, last = append(shares, share), share
	}
	return planSteps(shares, each), true
}

// planTime asks when a plan starts, and then whether it shall.
func (v *channelView) planTime(p capgo.ReleasePlan) tea.Cmd {
	e := v.e
	now := e.Now()
	what, first := []string{e.St.Text.Render(e.S.PlanTimeWhat)}, ""
	if len(p.Steps) > 0 {
		what = append(what, e.St.Muted.Render(e.S.PlanTimeNone))
	} else {
		first = time.Date(now.Year(), now.Month(), now.Day()+1, 9, 0, 0, 0, now.Location()).Format("2006-01-02 15:04")
	}
	ask := widget.NewPrompt(e.S.PlanTimeTitle, e.S.PlanTimeLabel, e.S.HelpContinue, first, what...)
	ask.Check = e.laterThan(now, len(p.Steps) > 0)
	return Prompt(ask, func(s string) tea.Cmd {
		if at, _ := parseMoment(s, e.Now()); !at.IsZero() {
			p.At = &at
		}
		return v.askPlan(p)
	})
}

// laterThan checks a time that is typed.
func (e *Env) laterThan(after time.Time, optional bool) func(string) string {
	return func(s string) string {
		at, ok := parseMoment(s, e.Now())
		switch {
		case !ok || at.IsZero() && !optional:
			return e.S.PlanTimeBad
		case !at.IsZero() && !at.After(e.Now()) && !after.After(e.Now()):
			return e.S.PlanTimePast
		case !at.IsZero() && !at.After(after):
			return sprintf(e.S.PlanTimeOrder, e.moment(after))
		}
		return ""
	}
}

// parseMoment reads a time that is typed, in the zone of now: "09:00" is the
// next such time, "+2h" is from now. Nothing gives the zero time.
func parseMoment(s string, now time.Time) (at time.Time, ok bool) {
	s = strings.TrimSpace(s)
	if s == "" {
		return time.Time{}, true
	}
	if after, relative := strings.CutPrefix(s, "+"); relative {
		d, err := time.ParseDuration(after)
		return now.Add(d), err == nil && d > 0
	}
	if clock, err := time.Parse("15:04", s); err == nil {
		at := time.Date(now.Year(), now.Month(), now.Day(), clock.Hour(), clock.Minute(), 0, 0, now.Location())
		if !at.After(now) {
			at = at.AddDate(0, 0, 1)
		}
		return at, true
	}
	for _, layout := range []string{"2006-01-02 15:04", "2006-01-02T15:04", time.RFC3339, time.DateOnly} {
		if at, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return at, true
		}
	}
	return time.Time{}, false
}

// askPlan shows what the plan does and sets it; production asks for its name.
func (v *channelView) askPlan(p capgo.ReleasePlan) tea.Cmd {
	e := v.e
	c, _ := e.channel(v.name)
	start := e.S.PlanAtOnce
	if p.At != nil {
		start = e.moment(*p.At)
	}
	lines := []string{
		e.St.Text.Render(sprintf(e.S.PromoteFromTo, bundleName(e, live(c)))) + " " + e.St.Muted.Render("→") + " " + e.St.Bold.Render(bundleName(e, p.Version)),
		e.St.Text.Render(sprintf(e.S.PlanStarts, start) + ": " + e.planSteps(p)),
		e.St.Text.Render(e.reach(v.name)), "",
		e.St.Muted.Render(e.S.PlanWhat), e.St.Muted.Render(e.S.PlanUndo),
	}
	d := widget.Confirm{Title: sprintf(e.S.PlanConfirm, bundleName(e, p.Version), text.Clean(v.name)), Verb: e.S.HelpPlan, Lines: lines}
	if e.IsProduction(c) {
		d.Word, d.Severe = v.name, true
	}
	return Ask(d, func() tea.Cmd {
		return e.reschedule(sprintf(e.S.Planned, bundleName(e, p.Version), text.Clean(v.name)), func(ctx context.Context) error {
			return e.Services.Registry.SetPlan(ctx, p)
		})
	})
}

// reach says how many devices a change of a channel reaches.
func (e *Env) reach(channel string) string {
	if h, ok := e.health(channel); ok && h.Devices > 0 {
		return e.S.One(h.Devices, e.S.ReachOne, e.S.ReachMany)
	}
	return e.S.ReachNone
}

// freezeWhen writes when a freeze is.
func (e *Env) freezeWhen(f capgo.Freeze) string {
	if f.From != nil && f.To != nil {
		return sprintf(e.S.FreezeRange, e.moment(*f.From), e.moment(*f.To))
	}
	var days []string
	for _, d := range f.Days {
		days = append(days, orElse(e.S.DayNames[d], text.Clean(d)))
	}
	return sprintf(e.S.FreezeEvery, strings.Join(days, ", "), text.Clean(f.Start), length(time.Duration(f.Minutes)*time.Minute)) + " (" + orElse(text.Clean(f.Zone), "UTC") + ")"
}

// freezes is F: the freezes of the app, each of which can be removed, and new ones.
func (e *Env) freezes() tea.Cmd {
	all := e.Data.Schedule.Value.Freezes.Freezes
	choice := widget.Choice{Title: sprintf(e.S.FreezesTitle, clean(e.Facts.AppID)), Intro: e.S.FreezesIntro}
	for _, f := range all {
		choice.Items = append(choice.Items, widget.ChoiceItem{Label: text.Clean(f.Name), Note: e.freezeWhen(f)})
	}
	choice.Items = append(choice.Items, widget.ChoiceItem{Label: "+ " + e.S.FreezeOnce}, widget.ChoiceItem{Label: "+ " + e.S.FreezeWeekly})
	return Choose(choice, func(i int) tea.Cmd {
		if i < len(all) {
			return e.askUnfreeze(all[i])
		}
		return e.freezeName(i == len(all))
	})
}

func (e *Env) askUnfreeze(f capgo.Freeze) tea.Cmd {
	d := widget.Confirm{Title: sprintf(e.S.FreezeAskRemove, text.Clean(f.Name)), Verb: e.S.HelpRemove, Lines: []string{
		e.St.Text.Render(e.freezeWhen(f)), e.St.Text.Render(e.S.FreezeRemoveWhat)}}
	return Ask(d, func() tea.Cmd {
		return e.reschedule(sprintf(e.S.FreezeRemoved, text.Clean(f.Name)), func(ctx context.Context) error {
			return e.Services.Registry.ClearFreeze(ctx, e.Facts.AppID, f.Name)
		})
	})
}

// namesFreeze tells what a freeze may be called.
func namesFreeze(s string) bool {
	for i, c := range s {
		if !unicode.IsLetter(c) && !unicode.IsDigit(c) && (i == 0 || !strings.ContainsRune(" ._-", c)) {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

func (e *Env) freezeName(once bool) tea.Cmd {
	ask := widget.NewPrompt(e.S.FreezeNameTitle, e.S.FreezeNameLabel, e.S.HelpContinue, "")
	ask.Check = func(s string) string {
		if !namesFreeze(strings.TrimSpace(s)) {
			return e.S.FreezeNameBad
		}
		return ""
	}
	return Prompt(ask, func(name string) tea.Cmd {
		f := capgo.Freeze{AppID: e.Facts.AppID, Name: strings.TrimSpace(name)}
		if once {
			return e.freezeFrom(f)
		}
		return e.freezeWeek(f)
	})
}

func (e *Env) freezeFrom(f capgo.Freeze) tea.Cmd {
	ask := widget.NewPrompt(sprintf(e.S.FreezeFromTitle, text.Clean(f.Name)), e.S.PlanTimeLabel, e.S.HelpContinue, e.Now().Add(time.Minute).Format("2006-01-02 15:04"), e.St.Text.Render(e.S.PlanTimeWhat))
	ask.Check = e.laterThan(e.Now().Add(-time.Minute), false)
	return Prompt(ask, func(s string) tea.Cmd {
		from, _ := parseMoment(s, e.Now())
		f.From = &from
		to := widget.NewPrompt(sprintf(e.S.FreezeToTitle, text.Clean(f.Name)), e.S.FreezeNameLabel, e.S.HelpContinue, from.Add(24*time.Hour).Format("2006-01-02 15:04"), e.St.Text.Render(e.S.PlanTimeWhat))
		to.Label = e.S.TimeLabel
		to.Check = e.laterThan(from, false)
		return Prompt(to, func(s string) tea.Cmd {
			end, _ := parseMoment(s, e.Now())
			f.To = &end
			return e.askFreeze(f)
		})
	})
}

func (e *Env) freezeWeek(f capgo.Freeze) tea.Cmd {
	f.Zone = e.Facts.Zone
	ask := widget.NewPrompt(sprintf(e.S.FreezeWeekTitle, text.Clean(f.Name)), e.S.FreezeWeekLabel, e.S.HelpContinue, strings.ToLower(e.S.DayNames["fri"])+" 17:00 63h",
		e.St.Text.Render(sprintf(e.S.FreezeWeekWhat, orElse(f.Zone, "UTC"))))
	ask.Check = func(s string) string {
		if _, ok := e.parseWeek(s, f); !ok {
			return e.S.FreezeWeekBad
		}
		return ""
	}
	return Prompt(ask, func(s string) tea.Cmd {
		f, _ = e.parseWeek(s, f)
		return e.askFreeze(f)
	})
}

// parseWeek reads "fri 17:00 63h", with the days in English or in the console's language.
func (e *Env) parseWeek(s string, f capgo.Freeze) (capgo.Freeze, bool) {
	words := strings.Fields(strings.ToLower(strings.ReplaceAll(s, ", ", ",")))
	if len(words) != 3 {
		return f, false
	}
	f.Days = nil
	for _, word := range strings.Split(words[0], ",") {
		day := ""
		for name, here := range e.S.DayNames {
			if word == name || word == strings.ToLower(here) {
				day = name
			}
		}
		if day == "" || slices.Contains(f.Days, day) {
			return f, false
		}
		f.Days = append(f.Days, day)
	}
	clock, err := time.Parse("15:04", words[1])
	if err != nil {
		return f, false
	}
	lasts, err := time.ParseDuration(words[2])
	if err != nil || lasts < time.Minute || lasts > 7*24*time.Hour {
		return f, false
	}
	f.Start, f.Minutes = clock.Format("15:04"), int64(lasts/time.Minute)
	return f, true
}

func (e *Env) askFreeze(f capgo.Freeze) tea.Cmd {
	d := widget.Confirm{Title: sprintf(e.S.FreezeAsk, text.Clean(f.Name)), Verb: e.S.HelpSet, Lines: []string{
		e.St.Bold.Render(e.freezeWhen(f)), e.St.Text.Render(e.S.FreezeWhat), "", e.St.Muted.Render(e.S.FreezeUndo)}}
	return Ask(d, func() tea.Cmd {
		return e.reschedule(sprintf(e.S.FreezeSaid, text.Clean(f.Name)), func(ctx context.Context) error {
			return e.Services.Registry.SetFreeze(ctx, f)
		})
	})
}
