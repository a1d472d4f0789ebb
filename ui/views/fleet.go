package views

import (
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"

	"capstan/core/capgo"
	"capstan/ui/text"
	"capstan/ui/widget"
)

// fleetView shows what the devices that poll are made of.
type fleetView struct {
	e      *Env
	scroll int
}

// NewFleet makes the fleet screen.
func NewFleet(e *Env) View { return &fleetView{e: e} }

func (v *fleetView) Title() string { return v.e.S.TabFleet }
func (v *fleetView) Enter() tea.Cmd {
	return tea.Batch(v.e.LoadSummary(), v.e.LoadBundles(), v.e.LoadKeys(), v.e.LoadChannels())
}
func (v *fleetView) CapturesText() bool { return false }
func (v *fleetView) Back() bool         { return false }
func (v *fleetView) Actions() []Action  { return nil }

func (v *fleetView) Update(msg tea.Msg) tea.Cmd {
	switch m := msg.(type) {
	case RefreshMsg:
		return v.Enter()
	case tea.KeyPressMsg:
		v.scroll = max(0, v.scroll+scrollStep(m.String()))
	case tea.MouseWheelMsg:
		v.scroll = max(0, v.scroll+wheel(m))
	}
	return nil
}

func (v *fleetView) Render(w, h int) string {
	e := v.e
	if p, pending := e.Data.Summary.Pending(e, w, h); pending {
		return p
	}
	s := e.Data.Summary.Value
	if s.Devices == 0 {
		return EmptyPanel(e, e.S.NoFleet, e.S.NoFleetHow, w, h)
	}
	lines := []string{" " + e.St.Bold.Render(e.S.One(s.Devices, e.S.OneDevice, e.S.ManyDevices)) + e.St.Muted.Render("  "+e.S.In30d), ""}
	lines = append(lines, v.conclusions(w-2)...)
	groups := []struct{ title, key string }{
		{e.S.FleetBundles, "version_name"}, {e.S.FleetNative, "version_build"}, {e.S.FleetPlugin, "plugin_version"}, {e.S.FleetPlatform, "platform"}, {e.S.FleetKeys, "key_id"},
	}
	if w >= 110 {
		half := (w - 4) / 2
		for i := 0; i < len(groups); i += 2 {
			left := v.group(groups[i].title, groups[i].key, half)
			var right []string
			if i+1 < len(groups) {
				right = v.group(groups[i+1].title, groups[i+1].key, half)
			}
			rows := max(len(left), len(right))
			lines = append(lines, widget.Lines(widget.Columns(2, widget.Fit(join(left), half, rows), widget.Fit(join(right), half, rows)))...)
		}
	} else {
		for _, g := range groups {
			lines = append(lines, v.group(g.title, g.key, w-1)...)
		}
	}
	return widget.Fit(join(scrolled(e, lines, &v.scroll, w, h)), w, h)
}

// group draws one attribute as a stacked bar with its legend.
func (v *fleetView) group(title, key string, w int) []string {
	e := v.e
	parts := topParts(e, e.Data.Summary.Value.Fleet[key], key)
	lines := []string{" " + heading(e, title, w-2), " " + widget.StackedBar(parts, max(1, w-2), e.St)}
	var total int64
	for _, p := range parts {
		total += p.Value
	}
	legend := ""
	for i, p := range parts {
		item := widget.Swatch(i, e.St) + " " + e.St.Text.Render(p.Label) + " " + e.St.Muted.Render(e.S.Percent(float64(p.Value)/float64(max(1, total))))
		if legend != "" && widget.Width(legend)+3+widget.Width(item) > w-2 {
			lines = append(lines, " "+legend)
			legend = ""
		}
		if legend != "" {
			legend += "   "
		}
		legend += item
	}
	return append(lines, " "+legend, "")
}

// topParts are the five largest values and the rest as one.
func topParts(e *Env, counts map[string]int64, key string) []widget.Part {
	var parts []widget.Part
	for value, n := range counts {
		label := clean(value)
		switch {
		case key == "version_name":
			label = bundleName(e, value)
		case key == "platform":
			label = platformName(value)
		case key == "key_id" && value == "":
			label = e.S.NoKeyID
		case key == "key_id" && !tellsKey(value):
			label = sprintf(e.S.ShortKeyID, clean(value))
		case key == "key_id":
			label = shortKey(value)
		}
		parts = append(parts, widget.Part{Label: label, Value: n})
	}
	slices.SortFunc(parts, func(a, b widget.Part) int {
		if a.Value != b.Value {
			return int(max(-1, min(1, b.Value-a.Value)))
		}
		return strings.Compare(a.Label, b.Label)
	})
	if len(parts) > 5 {
		rest := widget.Part{Label: e.S.Others}
		for _, p := range parts[5:] {
			rest.Value += p.Value
		}
		parts = append(parts[:5:5], rest)
	}
	return parts
}

// tellsKey reports whether a key id is long enough to tell keys apart: old
// plugins send four characters, which are the same for every key.
func tellsKey(id string) bool { return len(id) > 12 }

// conclusions say what the figures mean for the next release.
func (v *fleetView) conclusions(w int) []string {
	e := v.e
	s := e.Data.Summary.Value
	var lines []string
	say := func(level, line, how string) {
		ink, glyph := e.St.Level(level)
		for i, l := range widget.Wrap(line, max(8, w-3)) {
			mark := "  "
			if i == 0 {
				mark = ink.Render(glyph + " ")
			}
			lines = append(lines, " "+mark+e.St.Text.Render(l))
		}
		if how == "" {
			return
		}
		for i, l := range widget.Wrap(how, max(8, w-5)) {
			mark := "  "
			if i == 0 {
				mark = "→ "
			}
			lines = append(lines, "   "+e.St.Muted.Render(mark+l))
		}
	}
	var plugins int64
	for _, n := range s.Fleet["plugin_version"] {
		plugins += n
	}
	if plugins > 0 {
		old, example := lax(s.Fleet["plugin_version"])
		share := float64(plugins-old) / float64(plugins)
		if old == 0 {
			say("ok", e.S.AllEnforce, "")
		} else {
			say("warn", sprintf(e.S.SomeEnforce, e.S.Percent(share), capgo.EnforcesFrom, e.S.Count(old), clean(example)), e.S.SomeEnforceHow)
		}
	}
	for _, b := range e.Data.Bundles.Value {
		if b.MinUpdateVersion == "" {
			continue
		}
		if n, example := below(s.Fleet["version_build"], b.MinUpdateVersion); n > 0 {
			say("warn", sprintf(e.S.LeftBehind, clean(b.Name), e.S.Count(n), clean(example), clean(b.MinUpdateVersion)), e.S.LeftBehindHow)
		}
		break // the newest that has a floor speaks for the next release
	}
	if e.Data.Keys.Ready() {
		known := map[string]bool{}
		for _, k := range e.Data.Keys.Value {
			known[k.ID] = true
		}
		var strangers int64
		for id, n := range s.Fleet["key_id"] {
			if tellsKey(id) && !known[id] {
				strangers += n
			}
		}
		if strangers > 0 && len(known) > 0 {
			say("warn", sprintf(e.S.OtherKey, e.S.Count(strangers)), e.S.OtherKeyHow)
		}
	}
	if len(lines) > 0 {
		lines = append(lines, "")
	}
	return lines
}

// lax counts the devices whose plugin does not insist on a signature, and names
// the version that most of them have.
func lax(plugins map[string]int64) (n int64, example string) {
	var most int64
	for version, count := range plugins {
		if capgo.EnforcesSignatures(version) {
			continue
		}
		n += count
		if count > most || count == most && version < example {
			most, example = count, version
		}
	}
	return n, example
}

// activityView is the audit of the app.
type activityView struct {
	e     *Env
	table *widget.Table[capgo.Change]
}

// NewActivity makes the activity screen.
func NewActivity(e *Env) View {
	v := &activityView{e: e}
	v.table = widget.NewTable(
		func(c capgo.Change) string { return sprintf("%d", c.ID) },
		func(c capgo.Change) string { return change(e, c) + " " + c.Channel + " " + c.Note + " " + c.Action },
		widget.Column[capgo.Change]{Title: e.S.ColWhen, Width: 12, Cell: func(c capgo.Change) string { return e.St.Muted.Render(stamp(e, c.At)) }},
		widget.Column[capgo.Change]{Title: e.S.Channel, Width: 10, Cell: func(c capgo.Change) string { return e.St.Text.Render(clean(c.Channel)) },
			Compare: func(a, b capgo.Change) int { return strings.Compare(a.Channel, b.Channel) }},
		widget.Column[capgo.Change]{Title: e.S.ColWhat, Width: 24, Flex: 3, Cell: func(c capgo.Change) string {
			glyph, ink := changeMark(e, c.Action)
			return ink.Render(glyph+" ") + e.St.Text.Render(change(e, c))
		}},
		widget.Column[capgo.Change]{Title: e.S.ColNote, Width: 12, Flex: 1, Drop: 90, Cell: func(c capgo.Change) string { return e.St.Muted.Render(text.Note(e.Lang, c.Note)) }},
	)
	return v
}

func (v *activityView) Title() string      { return v.e.S.TabActivity }
func (v *activityView) Enter() tea.Cmd     { return v.e.LoadHistory() }
func (v *activityView) CapturesText() bool { return false }
func (v *activityView) Back() bool         { return false }
func (v *activityView) SetFilter(s string) { v.table.Filter(s) }
func (v *activityView) FilterText() string { return v.table.FilterText() }
func (v *activityView) Counts() (int, int) { return v.table.Shown(), v.table.Len() }

func (v *activityView) Update(msg tea.Msg) tea.Cmd {
	switch m := msg.(type) {
	case LoadedMsg:
		if m.Of(&v.e.Data.History) {
			v.table.SetRows(v.e.Data.History.Value)
		}
	case RefreshMsg:
		return v.Enter()
	case tea.KeyPressMsg:
		v.table.Move(m.String())
	case tea.MouseWheelMsg:
		v.table.Scroll(wheel(m))
	case tea.MouseClickMsg:
		v.table.Click(m.Y)
	}
	return nil
}

func (v *activityView) Actions() []Action {
	e := v.e
	c, ok := v.table.Selected()
	open := Action{ID: "open", Keys: []string{"enter"}, Help: e.S.HelpToChannel, Long: e.S.LongOpenChannel, Primary: true, Run: func() tea.Cmd { return Go(ScreenChannel, c.Channel) }}
	if !ok || c.Channel == "" {
		open.Disabled = e.S.WhyNoChannel
	}
	return []Action{open,
		{ID: "sort", Keys: []string{"o"}, Help: e.S.HelpSort, Long: e.S.LongSort, Run: func() tea.Cmd { v.table.SortNext(); return nil }}, e.undoAction()}
}

func (v *activityView) Render(w, h int) string {
	e := v.e
	if p, pending := e.Data.History.Pending(e, w, h); pending {
		return p
	}
	if v.table.Len() == 0 {
		return EmptyPanel(e, e.S.NoHistory, e.S.NoHistoryHow, w, h)
	}
	if v.table.Shown() == 0 {
		return EmptyPanel(e, e.S.NothingFound, sprintf(e.S.NothingMatches, text.Clean(v.table.FilterText())), w, h)
	}
	return v.table.View(w, h, e.St)
}
