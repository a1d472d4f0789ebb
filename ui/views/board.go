package views

import (
	"math"
	"strings"

	tea "charm.land/bubbletea/v2"

	"capstan/core/capgo"
	"capstan/ui/text"
	"capstan/ui/theme"
	"capstan/ui/widget"
)

// board is the home screen: a card a channel, and on top what needs attention.
type board struct {
	e      *Env
	cursor int
	top    int
	filter string
	// where cards were drawn last, for the mouse: first row and height, columns.
	cardsAt, cardH, columns, cardW int
}

// NewBoard makes the home screen.
func NewBoard(e *Env) View { return &board{e: e} }

func (b *board) Title() string { return b.e.S.TabBoard }

func (b *board) Enter() tea.Cmd {
	e := b.e
	return tea.Batch(e.LoadChannels(), e.LoadSummary(), e.LoadHistory(), e.LoadSchedule(), e.LoadKeys(), e.LoadUnfinished())
}

func (b *board) Update(msg tea.Msg) tea.Cmd {
	switch m := msg.(type) {
	case RefreshMsg:
		return b.Enter()
	case tea.KeyPressMsg:
		step := 1
		switch m.String() {
		case "up", "k":
			step = -max(1, b.columns)
		case "down", "j":
			step = max(1, b.columns)
		case "left", "h":
			step = -1
		case "right", "l":
		case "home", "g":
			step = -len(b.channels())
		case "end", "G":
			step = len(b.channels())
		default:
			return nil
		}
		b.cursor += step
	case tea.MouseWheelMsg:
		if m.Button == tea.MouseWheelUp {
			b.cursor -= max(1, b.columns)
		} else {
			b.cursor += max(1, b.columns)
		}
	case tea.MouseClickMsg:
		if b.cardH > 0 && m.Y >= b.cardsAt && b.cardW > 0 {
			at := (b.top+(m.Y-b.cardsAt)/b.cardH)*b.columns + min(m.X/(b.cardW+1), b.columns-1)
			if at < len(b.channels()) {
				if at == b.cursor {
					return Go(ScreenChannel, b.channels()[at].Name)
				}
				b.cursor = at
			}
		}
	}
	b.cursor = max(0, min(b.cursor, len(b.channels())-1))
	return nil
}

// channels are those that pass the filter.
func (b *board) channels() []capgo.Channel {
	all := b.e.Data.Channels.Value
	if b.filter == "" {
		return all
	}
	var kept []capgo.Channel
	for _, c := range all {
		if strings.Contains(strings.ToLower(c.Name), strings.ToLower(b.filter)) {
			kept = append(kept, c)
		}
	}
	return kept
}

func (b *board) SetFilter(s string) { b.filter, b.cursor = s, 0 }
func (b *board) FilterText() string { return b.filter }
func (b *board) Counts() (int, int) { return len(b.channels()), len(b.e.Data.Channels.Value) }
func (b *board) CapturesText() bool { return false }
func (b *board) Back() bool         { return false }

func (b *board) selected() (capgo.Channel, bool) {
	c := b.channels()
	if b.cursor < 0 || b.cursor >= len(c) {
		return capgo.Channel{}, false
	}
	return c[b.cursor], true
}

func (b *board) Actions() []Action {
	e := b.e
	open := Action{ID: "open", Keys: []string{"enter"}, Help: e.S.HelpOpen, Long: e.S.LongOpenChannel, Primary: true,
		Run: func() tea.Cmd {
			c, _ := b.selected()
			return Go(ScreenChannel, c.Name)
		}}
	if !b.started() {
		open = Action{ID: "start", Keys: []string{"enter"}, Help: e.S.HelpStart, Long: e.S.LongStart, Primary: true,
			Run: func() tea.Cmd { return Go(ScreenRelease, "") }}
	} else if _, ok := b.selected(); !ok {
		open.Disabled = e.S.WhyNoChannel
	}
	copyLive := Action{ID: "copy", Keys: []string{"y"}, Help: e.S.HelpCopy, Long: e.S.LongCopyLive, Hidden: true,
		Run: func() tea.Cmd {
			c, _ := b.selected()
			return Copy(live(c), e.S.WhatVersion)
		}}
	if _, ok := b.selected(); !ok {
		copyLive.Disabled = e.S.WhyNoChannel
	}
	resume := Action{ID: "resume", Keys: []string{"R"}, Help: e.S.HelpResumeRelease, Long: e.S.LongResumeRelease, Dangerous: true, Primary: true,
		Run: func() tea.Cmd { return Go(ScreenRelease, "resume:"+e.Data.Unfinished.Value[0].ID) }}
	switch {
	case len(e.Data.Unfinished.Value) == 0:
		resume.Disabled, resume.Hidden = e.S.WhyNoUnfinished, true
	case e.Busy != "":
		resume.Disabled = e.S.WhyBusy
	}
	return []Action{open, resume,
		{ID: "release", Keys: []string{"U"}, Help: e.S.HelpRelease, Long: e.S.LongRelease, Primary: true, Dangerous: true,
			Run: func() tea.Cmd { return Go(ScreenRelease, "new") }},
		copyLive, e.undoAction(), {ID: "setup", Keys: []string{"s"}, Help: e.S.HelpSetup, Long: e.S.LongSetup, Hidden: true,
			Run: func() tea.Cmd { return Go(ScreenSetup, "") }}}
}

// started reports whether some channel has a bundle of its own: before that the
// board shows the way there instead of cards.
func (b *board) started() bool {
	d := &b.e.Data
	if !d.Channels.Ready() {
		return true
	}
	for _, c := range d.Channels.Value {
		if c.Version != nil || c.RolloutVersionInfo != nil {
			return true
		}
	}
	return false
}

func (b *board) Render(w, h int) string {
	e := b.e
	if p, pending := e.Data.Channels.Pending(e, w, h); pending {
		return p
	}
	if !b.started() {
		return b.welcome(w, h)
	}
	var lines []string
	if alerts := b.alerts(w - 2); len(alerts) > 0 {
		limit := max(1, min(len(alerts), h/5))
		for _, a := range alerts[:limit] {
			lines = append(lines, " "+a)
		}
		if more := len(alerts) - limit; more > 0 {
			lines = append(lines, "   "+e.St.Muted.Render(sprintf(e.S.AndMore, more)))
		}
		lines = append(lines, "")
	}
	lines = append(lines, widget.Lines(b.cards(w, h-len(lines), len(lines)))...)
	if room := h - len(lines) - 1; room >= 5 && len(e.Data.History.Value)+len(e.Data.Summary.Value.Channels) > 0 {
		lines = append(append(lines, ""), widget.Lines(b.below(w, room))...)
	}
	return widget.Fit(join(lines), w, h)
}

// below fills what the cards leave: the chosen channel's adoption and what
// happened last.
func (b *board) below(w, h int) string {
	e := b.e
	c, ok := b.selected()
	left := 0
	if w >= 100 && ok && h >= 7 {
		left = w/2 - 1
	}
	right := w - left
	if left > 0 {
		right -= 2
	}
	recent := []string{" " + heading(e, e.S.RecentTitle, right-2)}
	for i, ch := range e.Data.History.Value {
		if i == h-1 {
			break
		}
		glyph, ink := changeMark(e, ch.Action)
		line := ink.Render(glyph+" ") + e.St.Text.Render(change(e, ch))
		if ch.Channel != "" {
			line += e.St.Muted.Render("  " + text.Clean(ch.Channel))
		}
		recent = append(recent, " "+widget.Between(line, e.St.Muted.Render(e.S.Ago(e.Now(), ch.At)), right-2))
	}
	if left == 0 {
		return join(recent)
	}
	return widget.Columns(2, widget.Fit(e.adoptionPanel(c, left, min(h, 12)), left, h), widget.Fit(join(recent), right, h))
}

// adoptionPanel draws how the live bundle spread over the last day.
func (e *Env) adoptionPanel(c capgo.Channel, w, h int) string {
	title := " " + heading(e, sprintf(e.S.AdoptionTitle, bundleName(e, live(c)), text.Clean(c.Name)), w-2)
	health, ok := e.health(c.Name)
	asked := false
	for _, v := range health.Adoption {
		asked = asked || v >= 0
	}
	if !ok || !asked || h < 5 {
		return title + "\n  " + e.St.Muted.Render(e.S.NoPolls)
	}
	const axis = 6
	rows := h - 2
	curve := widget.Curve(health.Adoption, w-axis-2, rows, e.St.Bar)
	lines := []string{title}
	for i, l := range curve {
		label := ""
		switch i {
		case 0:
			label = "100 %"
		case rows / 2:
			label = "50 %"
		case rows - 1:
			label = "0"
		}
		lines = append(lines, e.St.Muted.Render(widget.PadLeft(label, axis))+" "+l)
	}
	now := e.S.NowMark
	return join(append(lines, widget.Blank(axis+1)+e.St.Muted.Render(widget.Between("-24 h", now, w-axis-2))))
}

// cards draws the grid of channels, as many rows as fit, the chosen one in sight.
func (b *board) cards(w, h, at int) string {
	e := b.e
	channels := b.channels()
	b.columns = 1
	if w >= 116 && len(channels) > 1 {
		b.columns = 2
	}
	b.cardH, b.cardsAt = 6, at
	b.cardW = (w - (b.columns - 1)) / b.columns
	if len(channels) == 0 {
		return EmptyPanel(e, e.S.NothingFound, sprintf(e.S.NothingMatches, text.Clean(b.filter)), w, h)
	}
	rows := (len(channels) + b.columns - 1) / b.columns
	fit := max(1, h/b.cardH)
	row := b.cursor / b.columns
	b.top = max(0, min(b.top, rows-fit))
	if row < b.top {
		b.top = row
	}
	if row >= b.top+fit {
		b.top = row - fit + 1
	}
	var out []string
	for r := b.top; r < rows && r < b.top+fit; r++ {
		var blocks []string
		for i := r * b.columns; i < len(channels) && i < (r+1)*b.columns; i++ {
			blocks = append(blocks, b.card(channels[i], i == b.cursor, b.cardW))
		}
		out = append(out, widget.Columns(1, blocks...))
	}
	if rest := len(channels) - (b.top+fit)*b.columns; rest > 0 && h > fit*b.cardH {
		out = append(out, "  "+e.St.Muted.Render("↓ "+e.S.One(int64(rest), e.S.MoreChannel, e.S.MoreChannels)))
	}
	return join(out)
}

func (b *board) card(c capgo.Channel, chosen bool, w int) string {
	e := b.e
	health, known := e.health(c.Name)
	inner := w - 4
	edge, name := e.St.Border, e.St.Title.Render(text.Clean(c.Name))
	if chosen {
		edge, name = e.St.BorderFocus, e.St.Accent.Render(text.Clean(c.Name))
	}
	switch production := e.IsProduction(c); {
	case production && (c.Name == "production" || c.Name == e.S.Production):
		name = e.St.BadgeDanger.Render(" " + text.Clean(c.Name) + " ")
	case production:
		name += " " + e.St.BadgeDanger.Render(" "+e.S.Production+" ")
	}
	if chosen {
		name = e.St.Accent.Render("▸ ") + name // the frame's colour alone would not do
	}
	body := []string{b.liveLine(c, health, known, inner), b.rolloutLine(c, inner), b.healthLine(health, known, inner), b.lastLine(c, health, inner)}
	return widget.Box(name, e.St.Muted.Render(platforms(e, c)), join(body), w, 6, edge)
}

// liveLine is the live bundle at the left and how far it has come at the right.
func (b *board) liveLine(c capgo.Channel, health capgo.ChannelSummary, known bool, w int) string {
	e := b.e
	left := e.St.OK.Render("● ") + e.St.Bold.Render(bundleName(e, live(c)))
	if c.Version == nil {
		left = e.St.Muted.Render("○ " + e.S.Builtin)
	}
	if !known || health.Devices == 0 {
		return widget.Between(left, e.St.Muted.Render(e.S.NoPolls), w)
	}
	share := float64(health.OnLive) / float64(health.Devices)
	spark := widget.Sparkline(health.Adoption, min(24, max(0, w-44)), e.St.Bar, e.St.BarRest)
	right := e.St.Muted.Render(e.S.Adoption) + " " + spark + " " + e.St.Bold.Render(widget.PadLeft(e.S.Percent(share), 6))
	return widget.Between(left, right, w)
}

func (b *board) rolloutLine(c capgo.Channel, w int) string {
	e := b.e
	if c.RolloutVersionInfo == nil {
		if plan := e.planLine(c.Name, w); plan != "" {
			return plan
		}
		return e.St.Muted.Render("  " + e.S.NoRollout)
	}
	state, ink := "", e.St.Bar
	switch {
	case c.RolloutPausedAt != nil:
		state, ink = e.St.Warn.Render("‖ "+e.S.Paused), e.St.BarWarn
	case !c.RolloutEnabled:
		state, ink = e.St.Muted.Render("○ "+e.S.Off), e.St.BarRest
	default:
		state = e.St.Info.Render("▸ " + e.S.RollingOut)
	}
	left := e.St.Info.Render("◔ ") + e.St.Text.Render(bundleName(e, c.RolloutVersionInfo.Name)) + " "
	right := " " + widget.PadLeft(e.S.Bps(c.RolloutPercentageBps), 5) + "  " + state
	return left + widget.Bar(float64(c.RolloutPercentageBps)/10000, max(4, w-widget.Width(left)-widget.Width(right)), ink, e.St.BarRest) + right
}

func (b *board) healthLine(health capgo.ChannelSummary, known bool, w int) string {
	e := b.e
	if !known {
		return e.St.Muted.Render("  " + e.S.NoFigures)
	}
	left := "  " + e.St.Text.Render(e.S.One(health.Devices, e.S.OneDevice, e.S.ManyDevices))
	if w >= 64 {
		left += e.St.Muted.Render(" · " + e.S.In24h)
	}
	return widget.Between(left, failureRate(e, health), w)
}

// failureRate says how many installs fail, with the glyph that fits.
func failureRate(e *Env, health capgo.ChannelSummary) string {
	attempts := health.Installs + health.Failures
	if attempts == 0 {
		return e.St.Muted.Render(e.S.NoInstalls)
	}
	share := float64(health.Failures) / float64(attempts)
	ink, glyph := e.St.OK, "✓"
	switch {
	case share >= 0.05:
		ink, glyph = e.St.Danger, "×"
	case share >= 0.01:
		ink, glyph = e.St.Warn, "!"
	}
	rate := ink.Render(glyph + " " + e.S.Percent(share))
	switch failureTrend(health) {
	case 1:
		rate += e.St.Danger.Render(" ↑")
	case -1:
		rate += e.St.OK.Render(" ↓")
	}
	return rate + e.St.Muted.Render(" "+sprintf(e.S.FailOf, e.S.Count(attempts)))
}

// failureTrend compares the last hours with those of the day before them: 1
// when clearly more updates fail now, -1 when clearly fewer do, 0 when there
// are too few to tell or they are alike. Clearly is twice the standard error of
// the difference of two shares.
func failureTrend(h capgo.ChannelSummary) int {
	const enough = 20 // attempts on each side
	now, before := h.RecentInstalls+h.RecentFailures, h.Installs+h.Failures-h.RecentInstalls-h.RecentFailures
	if now < enough || before < enough {
		return 0
	}
	recent, earlier := float64(h.RecentFailures)/float64(now), float64(h.Failures-h.RecentFailures)/float64(before)
	pooled := float64(h.Failures) / float64(now+before)
	noise := 2 * math.Sqrt(pooled*(1-pooled)*(1/float64(now)+1/float64(before)))
	switch {
	case recent-earlier > noise:
		return 1
	case earlier-recent > noise:
		return -1
	}
	return 0
}

func (b *board) lastLine(c capgo.Channel, health capgo.ChannelSummary, w int) string {
	e := b.e
	last := health.LastChange
	if last == nil {
		for _, h := range e.Data.History.Value {
			if h.Channel == c.Name {
				last = &h
				break
			}
		}
	}
	if last == nil {
		return e.St.Muted.Render("  " + sprintf(e.S.Updated, e.S.Ago(e.Now(), c.UpdatedAt)))
	}
	glyph, ink := changeMark(e, last.Action)
	return widget.Between(ink.Render(glyph+" ")+e.St.Text.Render(change(e, *last)), e.St.Muted.Render(e.S.Ago(e.Now(), last.At)), w)
}

// platforms lists where a channel is open.
func platforms(e *Env, c capgo.Channel) string {
	var on []string
	for _, p := range []struct {
		flag *bool
		name string
	}{{c.IOS, "iOS"}, {c.Android, "Android"}, {c.Electron, "Electron"}} {
		if p.flag != nil && *p.flag {
			on = append(on, p.name)
		}
	}
	if c.Public {
		on = append(on, e.S.PublicChannel)
	}
	return strings.Join(on, " · ")
}

// alerts are the lines on top of the board, the worst first.
func (b *board) alerts(w int) []string {
	e := b.e
	var bad, warn, note []string
	say := func(to *[]string, style theme.Ink, glyph, what, line string) {
		*to = append(*to, widget.Cut(style.Render(glyph+" ")+e.St.Bold.Render(what)+" "+e.St.Text.Render(line), w))
	}
	for _, c := range e.Data.Channels.Value {
		name := text.Clean(c.Name)
		if c.RolloutPausedAt != nil && c.RolloutVersionInfo != nil {
			line := sprintf(e.S.AlertPaused, bundleName(e, c.RolloutVersionInfo.Name), e.S.Ago(e.Now(), *c.RolloutPausedAt))
			if c.RolloutPauseReason != nil && *c.RolloutPauseReason != "" {
				line += ": " + text.Note(e.Lang, strings.TrimPrefix(*c.RolloutPauseReason, "auto-pause: "))
			}
			say(&warn, e.St.Warn, "‖", name, line)
		}
		if h, ok := e.health(c.Name); ok {
			attempts := h.Installs + h.Failures
			if attempts >= 20 && float64(h.Failures)/float64(attempts) >= 0.05 {
				say(&bad, e.St.Danger, "×", name, sprintf(e.S.AlertFailures, e.S.Count(h.Failures), e.S.Count(attempts)))
			}
		}
	}
	if until := e.frozenUntil(); !until.IsZero() {
		say(&warn, e.St.Warn, "‖", sprintf(e.S.FrozenUntil, e.moment(until)), e.S.FrozenHow)
	}
	for _, u := range e.Data.Unfinished.Value {
		say(&warn, e.St.Warn, "!", sprintf(e.S.AlertUnfinished, clean(u.Version)), sprintf(e.S.AlertUnfinishedHow, e.S.StageNames[string(u.Stage)], e.S.Ago(e.Now(), u.At)))
	}
	if e.Data.Keys.Ready() && len(e.Data.Keys.Value) == 0 {
		say(&note, e.St.Info, "·", e.S.AlertNoKey, e.S.AlertNoKeyHow)
	}
	if e.Offline != nil {
		line := Failed(e, e.Offline)
		if hint := Hinted(e, e.Offline); hint != "" {
			line += " → " + text.Clean(hint)
		}
		say(&warn, e.St.Warn, "!", e.S.OfflineWord, line)
	}
	return append(append(bad, warn...), note...)
}

// welcome shows the way from nothing to a live release.
func (b *board) welcome(w, h int) string {
	e := b.e
	haveKey := len(e.Data.Keys.Value) > 0
	steps := []struct {
		what, how string
		done      bool
	}{
		{e.S.StepKey, e.S.StepKeyHow, haveKey},
		{e.S.StepFolder, e.S.StepFolderHow, false},
		{e.S.StepRelease, e.S.StepReleaseHow, false},
		{e.S.StepLive, e.S.StepLiveHow, false},
	}
	room := min(w-4, 74)
	lines := []string{"", "  " + e.St.Bold.Render(sprintf(e.S.Welcome, clean(e.Facts.AppName)))}
	for _, l := range widget.Wrap(e.S.WelcomeWhat, room) {
		lines = append(lines, "  "+e.St.Muted.Render(l))
	}
	lines = append(lines, "")
	next := true
	for i, s := range steps {
		num := sprintf(" %d ", i+1)
		mark, ink := e.St.Muted.Render(num), e.St.Muted
		switch {
		case s.done:
			mark, ink = e.St.OK.Render(" ✓ "), e.St.Muted
		case next:
			mark, ink = e.St.BadgeAccent.Render(num), e.St.Bold
			next = false
		}
		lines = append(lines, "  "+mark+" "+ink.Render(s.what), "      "+e.St.Muted.Render(widget.Cut(s.how, room-4)), "")
	}
	lines = append(lines, "  "+e.St.BadgeAccent.Render(" "+e.S.Enter+" ")+" "+e.St.Text.Render(e.S.WelcomeEnter))
	if h < len(lines) { // keep the steps and the way on, drop the air
		kept := lines[:0]
		for _, l := range lines {
			if l != "" {
				kept = append(kept, l)
			}
		}
		lines = kept
	}
	return widget.Fit(join(lines), w, h)
}
