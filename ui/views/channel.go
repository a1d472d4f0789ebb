package views

import (
	"context"
	"strings"

	tea "charm.land/bubbletea/v2"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/ui/text"
	"capstan/ui/widget"
)

// channelView is one channel: what is live, its rollout, its rules in plain
// words, and its timeline.
type channelView struct {
	e        *Env
	name     string
	settings bool // the settings have the keys, not the timeline
	chosen   int  // setting
	table    *widget.Table[capgo.Change]
	timeline Resource[[]capgo.Change]
}

// NewChannel makes the channel screen.
func NewChannel(e *Env) View {
	v := &channelView{e: e}
	v.table = widget.NewTable(
		func(c capgo.Change) string { return sprintf("%d", c.ID) },
		func(c capgo.Change) string { return change(e, c) + " " + c.Note },
		widget.Column[capgo.Change]{Title: e.S.ColWhen, Width: 13, Cell: func(c capgo.Change) string { return e.St.Muted.Render(stamp(e, c.At)) }},
		widget.Column[capgo.Change]{Title: e.S.ColWhat, Width: 20, Flex: 1, Cell: func(c capgo.Change) string {
			glyph, ink := changeMark(e, c.Action)
			line := ink.Render(glyph+" ") + e.St.Text.Render(change(e, c))
			if mark := v.mark(c); mark != "" {
				line += "  " + mark
			}
			return line
		}},
		widget.Column[capgo.Change]{Title: e.S.ColNote, Width: 16, Flex: 0, Drop: 90, Cell: func(c capgo.Change) string { return e.St.Muted.Render(text.Note(e.Lang, c.Note)) }},
	)
	return v
}

// mark says what a version of the timeline is now: live, previous or a rollout's target.
func (v *channelView) mark(c capgo.Change) string {
	e := v.e
	ch, ok := e.channel(v.name)
	if !ok || c.To == "" || !strings.HasSuffix(c.Action, "promote") && !strings.HasSuffix(c.Action, "rollback") && c.Action != "rollout.start" {
		return ""
	}
	switch {
	case c.To == live(ch) && v.newest(c):
		return e.St.BadgeOK.Render(" " + e.S.Live + " ")
	case ch.RolloutVersionInfo != nil && c.To == ch.RolloutVersionInfo.Name && c.Action == "rollout.start":
		return e.St.BadgeInfo.Render(" " + e.S.Target + " ")
	}
	return ""
}

// newest reports whether c is the latest entry that set its version live.
func (v *channelView) newest(c capgo.Change) bool {
	for _, h := range v.timeline.Value {
		if h.To == c.To && (strings.HasSuffix(h.Action, "promote") || strings.HasSuffix(h.Action, "rollback")) {
			return h.ID == c.ID
		}
	}
	return false
}

// Open chooses the channel; the root calls it with the argument of GoMsg.
func (v *channelView) Open(name string) {
	if name != v.name {
		v.name, v.settings, v.chosen = name, false, 0
		v.timeline = Resource[[]capgo.Change]{}
		v.table.SetRows(nil)
	}
}

func (v *channelView) Title() string { return text.Clean(v.name) }

func (v *channelView) Enter() tea.Cmd {
	e, name := v.e, v.name
	return tea.Batch(e.LoadChannels(), e.LoadSummary(), e.LoadHistory(), e.LoadBundles(), e.LoadSchedule(),
		v.timeline.Load(e, func(ctx context.Context) ([]capgo.Change, error) {
			h, err := e.Services.Registry.History(ctx, e.Facts.AppID, name)
			if missing(err) {
				return nil, nil
			}
			return h, err
		}))
}

func (v *channelView) CapturesText() bool { return false }
func (v *channelView) Back() bool {
	if v.settings {
		v.settings = false
		return true
	}
	return false
}
func (v *channelView) SetFilter(s string) { v.table.Filter(s) }
func (v *channelView) FilterText() string { return v.table.FilterText() }
func (v *channelView) Counts() (int, int) { return v.table.Shown(), v.table.Len() }

func (v *channelView) Update(msg tea.Msg) tea.Cmd {
	switch m := msg.(type) {
	case LoadedMsg:
		if m.Of(&v.timeline) {
			v.table.SetRows(v.timeline.Value)
		}
	case RefreshMsg:
		return v.Enter()
	case tea.KeyPressMsg:
		switch m.String() {
		case "tab", "shift+tab":
			v.settings = !v.settings
		default:
			if v.settings {
				v.chosen = step(m.String(), v.chosen, len(v.rules()))
			} else {
				v.table.Move(m.String())
			}
		}
	case tea.MouseWheelMsg:
		v.table.Scroll(wheel(m))
	}
	return nil
}

// wheel is the number of rows that one notch of the mouse wheel moves.
func wheel(m tea.MouseWheelMsg) int {
	if m.Button == tea.MouseWheelUp {
		return -3
	}
	return 3
}

// rule is one setting of a channel in plain words.
type rule struct {
	name, value string
	// change is what Enter does; sentence says it. nil for what is only shown.
	change   func(c *capgo.ChannelChange)
	sentence string
}

// rules writes the channel's settings in plain words.
func (v *channelView) rules() []rule {
	e := v.e
	c, ok := v.e.channel(v.name)
	if !ok {
		return nil
	}
	toggle := func(name string, on bool, yes, no string, set func(*capgo.ChannelChange, *bool)) rule {
		value, next := no, yes
		if on {
			value, next = yes, no
		}
		to := !on
		return rule{name, value, func(ch *capgo.ChannelChange) { set(ch, &to) }, value + "  →  " + next}
	}
	policies := []capgo.UpdatePolicy{capgo.PolicyNone, capgo.PolicyMajor, capgo.PolicyMinor, capgo.PolicyPatch}
	next := policies[0]
	for i, p := range policies {
		if p == c.DisableAutoUpdate {
			next = policies[(i+1)%len(policies)]
		}
	}
	rules := []rule{
		toggle(e.S.RuleDefault, c.Public, e.S.RuleDefaultYes, e.S.RuleDefaultNo, func(ch *capgo.ChannelChange, b *bool) { ch.Public = b }),
		{e.S.RulePolicy, e.S.Policies[string(c.DisableAutoUpdate)], func(ch *capgo.ChannelChange) { ch.DisableAutoUpdate = &next },
			e.S.Policies[string(c.DisableAutoUpdate)] + "  →  " + e.S.Policies[string(next)]},
		toggle(e.S.RuleNative, c.DisableAutoUpdateUnderNative, e.S.RuleNativeYes, e.S.RuleNativeNo, func(ch *capgo.ChannelChange, b *bool) { ch.DisableAutoUpdateUnderNative = b }),
		toggle(e.S.RuleSelf, c.AllowDeviceSelfSet, e.S.RuleSelfYes, e.S.RuleSelfNo, func(ch *capgo.ChannelChange, b *bool) { ch.AllowDeviceSelfSet = b }),
		toggle(e.S.RuleProd, c.AllowProd, e.S.Allowed, e.S.TurnedAway, func(ch *capgo.ChannelChange, b *bool) { ch.AllowProd = b }),
		toggle(e.S.RuleDev, c.AllowDev, e.S.Allowed, e.S.TurnedAway, func(ch *capgo.ChannelChange, b *bool) { ch.AllowDev = b }),
		toggle(e.S.RulePhone, c.AllowDevice, e.S.Allowed, e.S.TurnedAway, func(ch *capgo.ChannelChange, b *bool) { ch.AllowDevice = b }),
		toggle(e.S.RuleEmulator, c.AllowEmulator, e.S.Allowed, e.S.TurnedAway, func(ch *capgo.ChannelChange, b *bool) { ch.AllowEmulator = b }),
	}
	for _, p := range []struct {
		flag *bool
		name string
		set  func(*capgo.ChannelChange, *bool)
	}{
		{c.IOS, "iOS", func(ch *capgo.ChannelChange, b *bool) { ch.IOS = b }},
		{c.Android, "Android", func(ch *capgo.ChannelChange, b *bool) { ch.Android = b }},
		{c.Electron, "Electron", func(ch *capgo.ChannelChange, b *bool) { ch.Electron = b }},
	} {
		own, has := c.PlatformVersions[strings.ToLower(p.name)]
		if p.flag == nil && !has {
			continue
		}
		r := toggle(p.name, p.flag == nil || *p.flag, e.S.Allowed, e.S.TurnedAway, p.set)
		if has {
			r.value += ", " + sprintf(e.S.OwnVersion, bundleName(e, own.Name))
		}
		rules = append(rules, r)
	}
	return rules
}

func (v *channelView) Actions() []Action {
	e := v.e
	c, ok := e.channel(v.name)
	why := ""
	if !ok {
		why = e.S.WhyNoChannel
	}
	prev := e.Previous(v.name, live(c))
	target := c.RolloutVersionInfo
	hasRollout := target != nil
	act := func(id, key, help, long string, disabled string, run func() tea.Cmd) Action {
		if disabled == "" {
			disabled = why
		}
		return Action{ID: id, Keys: []string{key}, Help: help, Long: long, Disabled: disabled, Dangerous: true, Run: run}
	}
	unless := func(good bool, reason string) string {
		if good {
			return ""
		}
		return reason
	}
	actions := []Action{
		act("promote", "P", e.S.HelpPromote, e.S.LongPromoteAny, unless(len(e.Data.Bundles.Value) > 0, e.S.WhyNoBundles), v.choosePromote),
		act("previous", "B", e.S.HelpPrevious, e.S.LongPrevious, unless(prev != "", e.S.WhyNoPrevious), func() tea.Cmd {
			return e.askMove(c, prev, true)
		}),
		act("rollout-start", "O", e.S.HelpRollout, e.S.LongRollout, unless(!hasRollout, e.S.WhyRolloutRuns), v.chooseRollout),
		act("rollout-share", "%", e.S.HelpShare, e.S.LongShare, unless(hasRollout, e.S.WhyNoRollout), v.chooseShare),
		act("rollout-pause", "S", e.S.HelpPause, e.S.LongPause, unless(hasRollout, e.S.WhyNoRollout), v.pause),
		act("rollout-disable", "X", e.S.HelpDisable, e.S.LongDisable, unless(hasRollout && c.RolloutEnabled, e.S.WhyNoRollout), v.disable),
		act("rollout-back", "R", e.S.HelpRollBack, e.S.LongRollBack, unless(hasRollout, e.S.WhyNoRollout), v.rollBack),
		act("rollout-promote", "A", e.S.HelpToAll, e.S.LongToAll, unless(hasRollout, e.S.WhyNoRollout), v.toAll),
	}
	if hasRollout && c.RolloutPausedAt != nil {
		actions[4].ID, actions[4].Help, actions[4].Long = "rollout-resume", e.S.HelpResume, e.S.LongResume
	}
	actions[0].Primary, actions[1].Primary, actions[4].Primary, actions[7].Primary = true, true, hasRollout, hasRollout
	if v.settings {
		rules := v.rules()
		set := act("change", "enter", e.S.HelpChange, e.S.LongChangeRule, unless(v.chosen < len(rules), e.S.WhyNoChannel), func() tea.Cmd { return v.changeRule(rules[v.chosen]) })
		set.Primary = true
		actions = append([]Action{set}, actions...)
	}
	probe := Action{ID: "probe", Keys: []string{"t"}, Help: e.S.HelpProbe, Long: e.S.LongProbe, Run: func() tea.Cmd { return e.probe(v.name) }, Disabled: why}
	if e.Services.Prober == nil {
		probe.Disabled = e.S.WhyNoProbe
	}
	release := Action{ID: "release", Keys: []string{"U"}, Help: e.S.HelpRelease, Long: e.S.LongRelease, Dangerous: true, Hidden: ok, Primary: !ok,
		Run: func() tea.Cmd { return Go(ScreenRelease, "channel:"+v.name) }}
	return append(append(actions, v.planActions(why)...), probe, release, e.undoAction(),
		Action{ID: "copy", Keys: []string{"y"}, Help: e.S.HelpCopy, Long: e.S.LongCopyLive, Hidden: true, Disabled: why, Run: func() tea.Cmd { return Copy(live(c), e.S.WhatVersion) }},
		Action{ID: "settings", Help: e.S.HelpPane, Long: e.S.LongPane, Hidden: true, Run: func() tea.Cmd { v.settings = !v.settings; return nil }})
}

// askMove asks to point a channel at another bundle, and moves it.
func (e *Env) askMove(c capgo.Channel, to string, back bool) tea.Cmd {
	if back { // that is never frozen
		return e.askMoveFor(c, to, true, "")
	}
	return e.because(func(reason string) tea.Cmd { return e.askMoveFor(c, to, false, reason) })
}

func (e *Env) askMoveFor(c capgo.Channel, to string, back bool, reason string) tea.Cmd {
	from := live(c)
	lines := []string{
		e.St.Text.Render(sprintf(e.S.PromoteFromTo, bundleName(e, from))) + " " + e.St.Muted.Render("→") + " " + e.St.Bold.Render(bundleName(e, to)),
	}
	if h, ok := e.health(c.Name); ok && h.Devices > 0 {
		lines = append(lines, e.St.Text.Render(e.S.One(h.Devices, e.S.ReachOne, e.S.ReachMany)))
	} else {
		lines = append(lines, e.St.Text.Render(e.S.ReachNone))
	}
	if back {
		lines = append(lines, e.St.Warn.Render("! ")+e.St.Text.Render(sprintf(e.S.BackWhat, bundleName(e, from))))
		if to == capgo.Builtin {
			lines = append(lines, e.St.Warn.Render("! ")+e.St.Text.Render(e.S.BackBuiltin))
		}
	}
	for _, b := range e.Data.Bundles.Value {
		if b.Name == to && b.MinUpdateVersion != "" {
			if n, example := below(e.Data.Summary.Value.Fleet["version_build"], b.MinUpdateVersion); n > 0 {
				lines = append(lines, e.St.Warn.Render("! ")+e.St.Text.Render(sprintf(e.S.CannotTake, e.S.Count(n), clean(example), clean(b.MinUpdateVersion))))
			}
		}
	}
	lines = append(append(lines, e.reasonLine(reason)...), "", e.St.Muted.Render(sprintf(e.S.MoveUndo, bundleName(e, from))))
	d := widget.Confirm{Title: sprintf(e.S.PromoteTitle, bundleName(e, to), text.Clean(c.Name)), Verb: e.S.HelpPromote, Lines: lines}
	if back {
		d.Title, d.Verb = sprintf(e.S.BackTitle, text.Clean(c.Name), bundleName(e, to)), e.S.HelpPrevious
	}
	if e.IsProduction(c) {
		d.Word, d.Severe = c.Name, true
	}
	say := sprintf(e.S.IsLive, bundleName(e, to), text.Clean(c.Name))
	return Ask(d, func() tea.Cmd {
		return e.Do(say, func(ctx context.Context) error {
			ch := e.changeOf(c)
			ch.Version, ch.Note = &to, reason
			return e.Services.Registry.ChangeChannel(ctx, ch)
		}, func() tea.Cmd {
			e.Undo = &Undo{Channel: c.Name, From: from, To: to, At: e.Now()}
			return refresh
		})
	})
}

func refresh() tea.Msg { return RefreshMsg{} }

// changeOf starts a change of a channel that fails when somebody else moved it meanwhile.
func (e *Env) changeOf(c capgo.Channel) capgo.ChannelChange {
	ch := capgo.ChannelChange{AppID: e.Facts.AppID, Channel: c.Name}
	if c.Revision != 0 {
		ch.ExpectedRevision = &c.Revision
	}
	return ch
}

// undoAction plans the last pointer move back.
func (e *Env) undoAction() Action {
	a := Action{ID: "undo", Keys: []string{"z"}, Help: e.S.HelpUndo, Long: e.S.LongUndo, Dangerous: true, Hidden: e.Undo == nil}
	if e.Undo == nil {
		a.Disabled = e.S.WhyNoUndo
		return a
	}
	u := *e.Undo
	a.Long = sprintf(e.S.LongUndoThis, text.Clean(u.Channel), bundleName(e, u.From))
	a.Run = func() tea.Cmd {
		c, ok := e.channel(u.Channel)
		if !ok {
			return NoticeErr(failure.New(failure.NotFound, "channel_not_found", "", e.S.WhyNoChannel, ""))
		}
		return e.askMove(c, u.From, true)
	}
	return a
}

// bundleChoice lists the bundles that a channel can be pointed at.
func (e *Env) bundleChoice(title string, c capgo.Channel) (widget.Choice, []string) {
	choice := widget.Choice{Title: title}
	var names []string
	for _, b := range e.Data.Bundles.Value {
		item := widget.ChoiceItem{Label: text.Clean(b.Name), Note: e.S.Ago(e.Now(), b.CreatedAt)}
		if b.Name == live(c) {
			item.Why = e.S.AlreadyLive
		}
		choice.Items = append(choice.Items, item)
		names = append(names, b.Name)
	}
	return choice, names
}

func (v *channelView) choosePromote() tea.Cmd {
	e := v.e
	c, _ := e.channel(v.name)
	choice, names := e.bundleChoice(sprintf(e.S.ChoosePromote, text.Clean(v.name)), c)
	if c.Version != nil {
		choice.Items = append(choice.Items, widget.ChoiceItem{Label: capgo.Builtin, Note: e.S.Builtin})
		names = append(names, capgo.Builtin)
	}
	return Choose(choice, func(i int) tea.Cmd { return e.askMove(c, names[i], names[i] == capgo.Builtin) })
}

var shareSteps = []int{100, 500, 1000, 2500, 5000, 7500, 10000}

func (v *channelView) chooseRollout() tea.Cmd {
	e := v.e
	c, _ := e.channel(v.name)
	choice, names := e.bundleChoice(sprintf(e.S.ChooseRollout, text.Clean(v.name)), c)
	return Choose(choice, func(i int) tea.Cmd {
		return v.share(sprintf(e.S.ChooseShare, text.Clean(names[i])), 0, func(bps int) tea.Cmd {
			on, off := true, false
			lines := []string{e.St.Text.Render(sprintf(e.S.RolloutWhat, text.Clean(names[i]), e.S.Bps(bps), bundleName(e, live(c)))), "", e.St.Muted.Render(e.S.RolloutUndo)}
			return v.askForward(sprintf(e.S.RolloutTitle, text.Clean(v.name)), e.S.HelpRollout, lines, sprintf(e.S.RolloutStarted, text.Clean(names[i]), e.S.Bps(bps)), func(ch *capgo.ChannelChange) {
				ch.RolloutVersion, ch.RolloutPercentageBps, ch.RolloutEnabled, ch.RolloutPaused = &names[i], &bps, &on, &off
			}, nil)
		})
	})
}

// share asks for a percentage.
func (v *channelView) share(title string, now int, then func(bps int) tea.Cmd) tea.Cmd {
	e := v.e
	choice := widget.Choice{Title: title}
	h, _ := e.health(v.name)
	for i, bps := range shareSteps {
		item := widget.ChoiceItem{Label: e.S.Bps(bps)}
		if h.Devices > 0 {
			item.Note = sprintf(e.S.AboutDevices, e.S.Count(h.Devices*int64(bps)/10000))
		}
		if bps == now {
			item.Why = e.S.AlreadySo
			choice.Start(min(i+1, len(shareSteps)-1))
		}
		choice.Items = append(choice.Items, item)
	}
	return Choose(choice, func(i int) tea.Cmd { return then(shareSteps[i]) })
}

func (v *channelView) chooseShare() tea.Cmd {
	e := v.e
	c, _ := e.channel(v.name)
	target := text.Clean(c.RolloutVersionInfo.Name)
	return v.share(sprintf(e.S.ChooseShare, target), c.RolloutPercentageBps, func(bps int) tea.Cmd {
		lines := []string{e.St.Text.Render(sprintf(e.S.ShareWhat, target, e.S.Bps(c.RolloutPercentageBps), e.S.Bps(bps)))}
		if bps < c.RolloutPercentageBps {
			lines = append(lines, e.St.Muted.Render(e.S.ShareDown))
		}
		lines = append(lines, "", e.St.Muted.Render(e.S.ShareUndo))
		title, say := sprintf(e.S.RolloutTitle, text.Clean(v.name)), sprintf(e.S.ShareSet, target, e.S.Bps(bps))
		set := func(ch *capgo.ChannelChange) { ch.RolloutPercentageBps = &bps }
		if bps < c.RolloutPercentageBps {
			return v.ask(title, e.S.HelpShare, lines, true, say, set)
		}
		return v.askForward(title, e.S.HelpShare, lines, say, set, nil)
	})
}

func (v *channelView) pause() tea.Cmd {
	e := v.e
	c, _ := e.channel(v.name)
	paused := c.RolloutPausedAt == nil
	title, what, say := e.S.HelpPause, e.S.PauseWhat, e.S.PausedSay
	if !paused {
		title, what, say = e.S.HelpResume, e.S.ResumeWhat, e.S.ResumedSay
	}
	lines := []string{e.St.Text.Render(sprintf(what, text.Clean(c.RolloutVersionInfo.Name)))}
	set := func(ch *capgo.ChannelChange) { ch.RolloutPaused = &paused }
	if paused {
		return v.ask(title, title, lines, false, say, set)
	}
	return v.askForward(title, title, lines, say, set, nil)
}

func (v *channelView) disable() tea.Cmd {
	e := v.e
	off := false
	return v.ask(e.S.HelpDisable, e.S.HelpDisable, []string{e.St.Text.Render(e.S.DisableWhat)}, false, e.S.DisabledSay, func(ch *capgo.ChannelChange) { ch.RolloutEnabled = &off })
}

func (v *channelView) rollBack() tea.Cmd {
	e := v.e
	c, _ := e.channel(v.name)
	on := true
	return v.ask(e.S.HelpRollBack, e.S.HelpRollBack, []string{e.St.Text.Render(sprintf(e.S.RollBackWhat, text.Clean(c.RolloutVersionInfo.Name), bundleName(e, live(c))))}, true, e.S.RolledBackSay,
		func(ch *capgo.ChannelChange) { ch.Rollback = &on })
}

func (v *channelView) toAll() tea.Cmd {
	e := v.e
	c, _ := e.channel(v.name)
	target, from, on := c.RolloutVersionInfo.Name, live(c), true
	lines := []string{
		e.St.Text.Render(sprintf(e.S.PromoteFromTo, bundleName(e, from))) + " " + e.St.Muted.Render("→") + " " + e.St.Bold.Render(bundleName(e, target)),
		e.St.Text.Render(sprintf(e.S.ToAllWhat, e.S.Bps(c.RolloutPercentageBps))), "", e.St.Muted.Render(sprintf(e.S.MoveUndo, bundleName(e, from))),
	}
	return v.askForward(sprintf(e.S.PromoteTitle, bundleName(e, target), text.Clean(v.name)), e.S.HelpToAll, lines, sprintf(e.S.IsLive, bundleName(e, target), text.Clean(v.name)), func(ch *capgo.ChannelChange) { ch.PromoteToStable = &on },
		func() { e.Undo = &Undo{Channel: c.Name, From: from, To: target, At: e.Now()} })
}

func (v *channelView) changeRule(r rule) tea.Cmd {
	e := v.e
	return v.ask(r.name, e.S.HelpChange, []string{e.St.Text.Render(r.sentence), "", e.St.Muted.Render(e.S.RuleUndo)}, true, sprintf(e.S.RuleSet, r.name), r.change)
}

// ask confirms a change of this channel and makes it. heavy changes of
// production ask for its name.
func (v *channelView) ask(title, verb string, lines []string, heavy bool, say string, set func(*capgo.ChannelChange)) tea.Cmd {
	return v.askThen(title, verb, lines, heavy, say, set, nil)
}

// askForward is ask for what brings a bundle to more devices: a freeze makes it
// ask for a reason first. after runs once it worked.
func (v *channelView) askForward(title, verb string, lines []string, say string, set func(*capgo.ChannelChange), after func()) tea.Cmd {
	return v.e.because(func(reason string) tea.Cmd {
		return v.askThen(title, verb, append(v.e.reasonLine(reason), lines...), true, say, func(ch *capgo.ChannelChange) {
			set(ch)
			ch.Note = reason
		}, after)
	})
}

func (v *channelView) askThen(title, verb string, lines []string, heavy bool, say string, set func(*capgo.ChannelChange), after func()) tea.Cmd {
	e := v.e
	c, _ := e.channel(v.name)
	d := widget.Confirm{Title: title, Verb: verb, Lines: lines}
	if heavy && e.IsProduction(c) {
		d.Word, d.Severe = v.name, true
	}
	return Ask(d, func() tea.Cmd {
		return e.Do(say, func(ctx context.Context) error {
			ch := e.changeOf(c)
			set(&ch)
			return e.Services.Registry.ChangeChannel(ctx, ch)
		}, func() tea.Cmd {
			if after != nil {
				after()
			}
			return refresh
		})
	})
}

func (v *channelView) Render(w, h int) string {
	e := v.e
	if p, pending := e.Data.Channels.Pending(e, w, h); pending {
		return p
	}
	c, ok := e.channel(v.name)
	if !ok {
		return EmptyPanel(e, sprintf(e.S.NoSuchChannel, clean(v.name)), e.S.NoSuchChannelHow, w, h)
	}
	b := board{e: e}
	head := b.card(c, false, w)
	lines := widget.Lines(head)
	plan := ""
	if c.RolloutVersionInfo != nil { // else it stands in the card
		plan = e.planLine(v.name, w-4)
	}
	for _, l := range []string{plan, e.frozenLine(w - 4)} {
		if l != "" {
			lines = append(lines, "  "+l)
		}
	}
	rest := h - len(lines)
	if w >= 110 {
		side := min(60, w*9/20)
		left := w - side - 2
		top := rest
		if rest >= 22 { // room for the curve below the timeline
			top = max(rest-12, min(v.table.Shown()+3, rest/2))
		}
		body := widget.Fit(v.history(left, top), left, top)
		if top < rest {
			body += "\n" + widget.Fit(e.adoptionPanel(c, left, min(12, rest-top)), left, rest-top)
		}
		lines = append(lines, widget.Lines(widget.Columns(2, body, widget.Fit(v.rulePanel(side, rest), side, rest)))...)
		return widget.Fit(join(lines), w, h)
	}
	tabs := " " + tab(e, e.S.Timeline, !v.settings) + "   " + tab(e, e.S.Rules, v.settings) + "   " + keyed(e, "tab", "")
	lines = append(lines, tabs)
	if v.settings {
		lines = append(lines, v.ruleLines(w-2)...)
	} else {
		lines = append(lines, v.timelineBody(w, rest-1))
	}
	return widget.Fit(join(lines), w, h)
}

func tab(e *Env, label string, on bool) string {
	if on {
		return e.St.TabOn.Render(label)
	}
	return e.St.Tab.Render(label)
}

func (v *channelView) history(w, h int) string {
	return " " + heading(v.e, v.e.S.Timeline, w-2) + "\n" + v.timelineBody(w, h-1)
}

func (v *channelView) timelineBody(w, h int) string {
	e := v.e
	if p, pending := v.timeline.Pending(e, w, h); pending {
		return p
	}
	if v.table.Len() == 0 {
		return EmptyPanel(e, e.S.NoHistory, e.S.NoHistoryHow, w, h)
	}
	return v.table.View(w, h, e.St)
}

func (v *channelView) rulePanel(w, h int) string {
	title := heading(v.e, v.e.S.Rules, w)
	lines := append([]string{title}, v.ruleLines(w)...)
	if v.e.Data.Schedule.Value.Supported {
		lines = append(append(lines, ""), v.scheduleLines(w)...)
	}
	return widget.Fit(join(lines), w, h)
}

func (v *channelView) ruleLines(w int) []string {
	e := v.e
	var lines []string
	for i, r := range v.rules() {
		line := e.St.Muted.Render(widget.Pad(r.name, 18)) + " " + e.St.Text.Render(widget.Cut(r.value, max(4, w-22)))
		if v.settings && i == v.chosen {
			lines = append(lines, e.St.Selected(e.St.Accent.Render("▌")+" "+widget.Pad(line, w-2)))
		} else {
			lines = append(lines, "  "+line)
		}
	}
	return lines
}
