package views

import (
	"context"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/ui/text"
	"capstan/ui/widget"
)

// pageSize is how many devices one read asks for; maxDevices ends reading on.
const (
	pageSize   = 1000
	maxDevices = 100_000
)

// devicesView is the support desk: find a device, and say in one sentence what
// it runs, what it would be answered, and why.
type devicesView struct {
	e      *Env
	table  *widget.Table[capgo.Device]
	page   Resource[capgo.DevicePage]
	cursor string // of the next page
	more   bool
	found  Resource[capgo.DeviceSearch] // by id, custom id or a part of one, when it is not in the list

	// searched is set while the table shows what the server found, and loaded are
	// the devices that it showed before.
	searched *capgo.DeviceSearch
	loaded   []capgo.Device
	asked    string // what was searched for

	open    *capgo.Device
	explain Resource[capgo.Explanation]
	events  Resource[[]capgo.DeviceEvent]
	scroll  int
}

// NewDevices makes the devices screen.
func NewDevices(e *Env) View {
	v := &devicesView{e: e}
	v.table = widget.NewTable(
		func(d capgo.Device) string { return d.DeviceID },
		func(d capgo.Device) string {
			return d.DeviceID + " " + d.CustomID + " " + d.Platform + " " + d.VersionName + " " + d.VersionBuild + " " + d.PluginVersion + " " + d.Channel
		},
		widget.Column[capgo.Device]{Title: e.S.ColDevice, Width: 16, Flex: 8, Cell: func(d capgo.Device) string { return e.St.Text.Render(text.Clean(d.DeviceID)) }},
		widget.Column[capgo.Device]{Title: e.S.ColCustom, Width: 12, Flex: 1, Drop: nowhere, Cell: func(d capgo.Device) string { return e.St.Text.Render(clean(d.CustomID)) },
			Compare: func(a, b capgo.Device) int { return strings.Compare(a.CustomID, b.CustomID) }},
		widget.Column[capgo.Device]{Title: e.S.ColRuns, Width: 12, Cell: func(d capgo.Device) string { return e.St.Bold.Render(bundleName(e, d.VersionName)) },
			Compare: func(a, b capgo.Device) int { return compareVersions(a.VersionName, b.VersionName) }},
		widget.Column[capgo.Device]{Title: e.S.ColPlatform, Width: 8, Cell: func(d capgo.Device) string { return e.St.Text.Render(platformName(d.Platform)) },
			Compare: func(a, b capgo.Device) int { return strings.Compare(a.Platform, b.Platform) }},
		widget.Column[capgo.Device]{Title: e.S.ColNative, Width: 8, Cell: func(d capgo.Device) string { return e.St.Muted.Render(clean(d.VersionBuild)) },
			Compare: func(a, b capgo.Device) int { return compareVersions(a.VersionBuild, b.VersionBuild) }},
		widget.Column[capgo.Device]{Title: e.S.ColPlugin, Width: 8, Drop: 96, Cell: func(d capgo.Device) string { return e.St.Muted.Render(clean(d.PluginVersion)) },
			Compare: func(a, b capgo.Device) int { return compareVersions(a.PluginVersion, b.PluginVersion) }},
		widget.Column[capgo.Device]{Title: e.S.ColForced, Width: 10, Drop: nowhere, Cell: func(d capgo.Device) string { return e.St.Info.Render(text.Clean(d.Channel)) }},
		widget.Column[capgo.Device]{Title: e.S.ColSeen, Width: 8, Right: true, Cell: func(d capgo.Device) string { return e.St.Muted.Render(e.S.Span(e.Now().Sub(d.UpdatedAt))) },
			Compare: func(a, b capgo.Device) int { return b.UpdatedAt.Compare(a.UpdatedAt) }},
	)
	return v
}

// nowhere is wider than any table: a column that is dropped below it is never drawn.
const nowhere = 1 << 20

// fillColumns draws the columns of custom ids and forced channels, in tables wide
// enough, once a device has one; else the devices' own ids have the room.
func (v *devicesView) fillColumns(page []capgo.Device) {
	for _, c := range []struct {
		column, from int
		has          func(capgo.Device) bool
	}{
		{1, 76, func(d capgo.Device) bool { return d.CustomID != "" }},
		{6, 108, func(d capgo.Device) bool { return d.Channel != "" }},
	} {
		column := &v.table.Columns[c.column]
		if v.cursor == "" {
			column.Drop = nowhere
		}
		if slices.ContainsFunc(page, c.has) {
			column.Drop = c.from
		}
	}
}

func platformName(p string) string {
	switch p {
	case "ios":
		return "iOS"
	case "android":
		return "Android"
	case "electron":
		return "Electron"
	}
	return clean(p)
}

func (v *devicesView) Title() string {
	if v.open != nil {
		return v.e.S.TabDevices + " › " + widget.Cut(text.Clean(v.open.DeviceID), 13)
	}
	return v.e.S.TabDevices
}

func (v *devicesView) Enter() tea.Cmd {
	if v.open != nil {
		return v.ask()
	}
	if v.page.Ready() && v.table.Len()+len(v.loaded) > pageSize { // a long list is read again only when asked
		return v.e.LoadChannels()
	}
	return tea.Batch(v.e.LoadChannels(), v.firstPage())
}

func (v *devicesView) firstPage() tea.Cmd {
	return v.nextPage("")
}

func (v *devicesView) nextPage(cursor string) tea.Cmd {
	e := v.e
	v.cursor = cursor
	return v.page.Load(e, func(ctx context.Context) (capgo.DevicePage, error) {
		p, err := e.Services.Registry.Devices(ctx, e.Facts.AppID, cursor, pageSize)
		if missing(err) {
			return capgo.DevicePage{}, nil
		}
		return p, err
	})
}

func (v *devicesView) CapturesText() bool { return false }
func (v *devicesView) Back() bool {
	was := v.open != nil
	v.open = nil
	return was
}
func (v *devicesView) SetFilter(s string) {
	if v.searched != nil && s == "" {
		v.table.SetRows(v.loaded)
		v.searched, v.loaded = nil, nil
	}
	v.table.Filter(s)
}
func (v *devicesView) FilterText() string {
	if v.open != nil {
		return "" // the open device has the screen, and esc leaves it first
	}
	return v.table.FilterText()
}
func (v *devicesView) Counts() (int, int) { return v.table.Shown(), v.table.Len() }

// Open shows the device with this id.
func (v *devicesView) Open(id string) tea.Cmd {
	if id == "" {
		return nil
	}
	return v.look(id)
}

// isDeviceID tells a UUID, which is what devices call themselves.
func isDeviceID(s string) bool {
	for i, c := range []byte(s) {
		if dash := i == 8 || i == 13 || i == 18 || i == 23; dash != (c == '-') || !dash && !strings.ContainsRune("0123456789abcdef", rune(c)) {
			return false
		}
	}
	return len(s) == 36
}

// shortestFragment is how many characters a server's search needs.
const shortestFragment = 3

// Search takes the filter to the server when there are more devices than are
// here; nil when all are here, or the filter is too short to search for.
func (v *devicesView) Search() tea.Cmd {
	q := strings.TrimSpace(v.table.FilterText())
	whole := v.page.Ready() && !v.page.Loading() && !v.more
	if whole || v.open != nil || len([]rune(q)) < shortestFragment {
		return nil
	}
	return v.look(q)
}

// look asks the server for the device with an id, or for those with a custom id
// or a part of either.
func (v *devicesView) look(id string) tea.Cmd {
	v.asked = strings.TrimSpace(id)
	return v.found.Load(v.e, v.e.Find(id))
}

// Find gives the read that looks for a device by its id, for those with a custom
// id, or else for those whose ids hold a fragment. That there is none is an error.
func (e *Env) Find(id string) func(ctx context.Context) (capgo.DeviceSearch, error) {
	id = strings.TrimSpace(id)
	none, cut := sprintf(e.S.NoDeviceNamed, text.Clean(id)), e.S.SearchCutHow
	return func(ctx context.Context) (capgo.DeviceSearch, error) {
		if low := strings.ToLower(id); isDeviceID(low) {
			d, err := e.Services.Registry.Device(ctx, e.Facts.AppID, low)
			return capgo.DeviceSearch{Devices: []capgo.Device{d}}, err
		}
		named, err := e.Services.Registry.DevicesNamed(ctx, e.Facts.AppID, id)
		if err != nil || len(named) > 0 {
			return capgo.DeviceSearch{Devices: named}, err
		}
		var found capgo.DeviceSearch
		if len([]rune(id)) >= shortestFragment {
			found, err = e.Services.Registry.SearchDevices(ctx, e.Facts.AppID, id)
			if failure.CodeOf(err) == "unsupported" {
				err = nil // Capgo's own server finds whole ids only
			}
		}
		if err == nil && len(found.Devices) == 0 {
			hint := ""
			if found.Cut {
				hint = cut
			}
			err = failure.New(failure.NotFound, "device_not_found", "", none, hint)
		}
		return found, err
	}
}

// showFound opens the one device that was found, asks which of a few with one custom
// id is meant, or lists what holds a fragment.
func (v *devicesView) showFound() tea.Cmd {
	found := v.found.Value
	first := found.Devices[0]
	switch {
	case len(found.Devices) == 1 && !found.Cut:
		return v.show(first)
	case first.CustomID != "" && len(found.Devices) <= fewDevices && !slices.ContainsFunc(found.Devices, func(d capgo.Device) bool { return d.CustomID != first.CustomID }):
		return v.choose(found.Devices)
	}
	if v.searched == nil {
		v.loaded = v.table.Rows()
	}
	v.searched = &found
	v.table.SetRows(slices.Clone(found.Devices))
	v.table.Filter(v.asked) // esc clears it, and shows the list again
	v.fillColumns(found.Devices)
	return nil
}

// fewDevices are as many as a dialog can list.
const fewDevices = 12

// choose asks which of several devices with one custom id is meant.
func (v *devicesView) choose(found []capgo.Device) tea.Cmd {
	e := v.e
	choice := widget.Choice{Title: sprintf(e.S.WhichDevice, text.Clean(found[0].CustomID))}
	for _, d := range found {
		choice.Items = append(choice.Items, widget.ChoiceItem{Label: text.Clean(d.DeviceID), Note: platformName(d.Platform) + " · " + bundleName(e, d.VersionName) + " · " + e.S.Ago(e.Now(), d.UpdatedAt)})
	}
	return Choose(choice, func(i int) tea.Cmd { return v.show(found[i]) })
}

func (v *devicesView) show(d capgo.Device) tea.Cmd {
	v.open, v.scroll = &d, 0
	v.explain, v.events = Resource[capgo.Explanation]{}, Resource[[]capgo.DeviceEvent]{}
	return v.ask()
}

// ask reads what the open device would be answered, and what it reported.
func (v *devicesView) ask() tea.Cmd {
	e, d := v.e, *v.open
	return tea.Batch(e.LoadChannels(),
		v.explain.Load(e, func(ctx context.Context) (capgo.Explanation, error) {
			return e.Services.Registry.Explain(ctx, RequestOf(d))
		}),
		v.events.Load(e, func(ctx context.Context) ([]capgo.DeviceEvent, error) {
			ev, err := e.Services.Registry.Events(ctx, d.AppID, d.DeviceID)
			if missing(err) {
				return nil, nil
			}
			return ev, err
		}))
}

// RequestOf is what the device would send now.
func RequestOf(d capgo.Device) capgo.UpdateRequest {
	return capgo.UpdateRequest{Platform: d.Platform, DeviceID: d.DeviceID, AppID: d.AppID, CustomID: d.CustomID, VersionBuild: d.VersionBuild, VersionOS: d.VersionOS,
		VersionName: d.VersionName, PluginVersion: d.PluginVersion, IsEmulator: d.IsEmulator, IsProd: d.IsProd, InstallSource: d.InstallSource, DefaultChannel: d.DefaultChannel, KeyID: d.KeyID}
}

func (v *devicesView) Update(msg tea.Msg) tea.Cmd {
	switch m := msg.(type) {
	case LoadedMsg:
		switch {
		case m.Of(&v.page) && v.page.Err == nil:
			return v.take(v.page.Value)
		case m.Of(&v.found):
			if v.found.Err != nil {
				return NoticeErr(v.found.Err)
			}
			return v.showFound()
		}
	case RefreshMsg:
		if v.open != nil {
			return v.ask()
		}
		if m.Auto || v.page.Loading() {
			return nil // a long list is read again only when asked
		}
		return v.firstPage()
	case tea.KeyPressMsg:
		if v.open != nil {
			v.scroll = max(0, v.scroll+map[string]int{"down": 1, "j": 1, "up": -1, "k": -1, "pgdown": 8, "pgup": -8}[m.String()])
			return nil
		}
		v.table.Move(m.String())
	case tea.MouseWheelMsg:
		v.table.Scroll(wheel(m))
	case tea.MouseClickMsg:
		v.table.Click(m.Y)
	}
	return nil
}

// take puts a page of devices behind those that are here, and reads on.
func (v *devicesView) take(p capgo.DevicePage) tea.Cmd {
	v.fillColumns(p.Data)
	v.more = p.HasMore && p.NextCursor != ""
	have := 0
	switch {
	case v.searched != nil && v.cursor == "":
		v.loaded = slices.Clone(p.Data)
		have = len(v.loaded)
	case v.searched != nil:
		v.loaded = append(v.loaded, p.Data...)
		have = len(v.loaded)
	case v.cursor == "":
		v.table.SetRows(slices.Clone(p.Data))
		have = v.table.Len()
	default:
		v.table.Append(p.Data...)
		have = v.table.Len()
	}
	if v.more && have < maxDevices {
		return v.nextPage(p.NextCursor)
	}
	return nil
}

func (v *devicesView) Actions() []Action {
	e := v.e
	if v.open == nil {
		d, ok := v.table.Selected()
		open := Action{ID: "why", Keys: []string{"enter"}, Help: e.S.HelpWhy, Long: e.S.LongWhy, Primary: true, Run: func() tea.Cmd { return v.show(d) }}
		if !ok {
			if q := v.table.FilterText(); q != "" {
				open.Help, open.Long = e.S.HelpLookUp, e.S.LongLookUp
				open.Run = func() tea.Cmd { return v.look(q) }
			} else {
				open.Disabled = e.S.WhyNoDevice
			}
		}
		copyID := Action{ID: "copy", Keys: []string{"y"}, Help: e.S.HelpCopyID, Long: e.S.LongCopyID, Run: func() tea.Cmd { return Copy(d.DeviceID, e.S.WhatDevice) }}
		if !ok {
			copyID.Disabled = e.S.WhyNoDevice
		}
		return []Action{open, copyID, {ID: "sort", Keys: []string{"o"}, Help: e.S.HelpSort, Long: e.S.LongSort, Run: func() tea.Cmd { v.table.SortNext(); return nil }}}
	}
	d := *v.open
	verdict := Action{ID: "copy", Keys: []string{"y"}, Help: e.S.HelpCopyVerdict, Long: e.S.LongCopyVerdict, Primary: true, Run: func() tea.Cmd { return Copy(v.verdict(), e.S.WhatVerdict) }}
	if !v.explain.Ready() {
		verdict.Disabled = e.S.Loading
	}
	clear := Action{ID: "clear-override", Keys: []string{"X"}, Help: e.S.HelpClear, Long: e.S.LongClear, Dangerous: true, Run: func() tea.Cmd { return v.override("") }}
	if d.Channel == "" {
		clear.Disabled = e.S.WhyNoOverride
	}
	force := Action{ID: "override", Keys: []string{"O"}, Help: e.S.HelpForce, Long: e.S.LongForce, Dangerous: true, Primary: true, Run: v.chooseOverride}
	if len(e.Data.Channels.Value) == 0 {
		force.Disabled = e.S.WhyNoChannel
	}
	return []Action{verdict, force, clear,
		{ID: "copy-id", Keys: []string{"Y"}, Help: e.S.HelpCopyID, Long: e.S.LongCopyID, Run: func() tea.Cmd { return Copy(d.DeviceID, e.S.WhatDevice) }}}
}

func (v *devicesView) chooseOverride() tea.Cmd {
	e := v.e
	choice := widget.Choice{Title: e.S.ChooseOverride}
	channels := e.Data.Channels.Value
	for _, c := range channels {
		item := widget.ChoiceItem{Label: text.Clean(c.Name), Note: sprintf(e.S.LiveNow, bundleName(e, live(c)))}
		if c.Name == v.open.Channel {
			item.Why = e.S.AlreadySo
		}
		choice.Items = append(choice.Items, item)
	}
	return Choose(choice, func(i int) tea.Cmd { return v.override(channels[i].Name) })
}

// override forces the open device onto a channel, or frees it again.
func (v *devicesView) override(channel string) tea.Cmd {
	e, d := v.e, *v.open
	title, what, say := e.S.HelpForce, sprintf(e.S.ForceWhat, text.Clean(channel)), sprintf(e.S.Forced, text.Clean(channel))
	if channel == "" {
		title, what, say = e.S.HelpClear, sprintf(e.S.ClearWhat, text.Clean(d.Channel)), e.S.Cleared
	}
	lines := []string{e.St.Text.Render(clean(d.DeviceID)), e.St.Text.Render(what), "", e.St.Muted.Render(e.S.ForceUndo)}
	return Ask(widget.Confirm{Title: title, Verb: title, Lines: lines}, func() tea.Cmd {
		return e.Do(say, func(ctx context.Context) error {
			if channel == "" {
				return e.Services.Registry.ClearOverride(ctx, e.Facts.AppID, d.DeviceID)
			}
			return e.Services.Registry.SetOverride(ctx, e.Facts.AppID, d.DeviceID, channel)
		}, func() tea.Cmd { return v.look(d.DeviceID) })
	})
}

// verdict is what the open device's page says in one sentence.
func (v *devicesView) verdict() string { return Verdict(v.e, *v.open, v.explain.Value) }

// Verdict is the support desk's answer in one sentence: what a device runs,
// what it would be answered now, and why.
func Verdict(e *Env, d capgo.Device, x capgo.Explanation) string {
	runs := sprintf(e.S.VerdictRuns, platformName(d.Platform), bundleName(e, d.VersionName), clean(d.VersionBuild))
	channel := clean(x.Channel)
	switch {
	case x.Answer.URL != "" || x.Answer.Version != "" && x.Answer.Error == "":
		return runs + " " + sprintf(e.S.VerdictOffered, channel, bundleName(e, x.Answer.Version))
	case x.Answer.Kind == capgo.KindUpToDate:
		return runs + " " + sprintf(e.S.VerdictCurrent, channel)
	}
	why := text.Clean(x.Answer.Message)
	for _, c := range x.Checks {
		if !c.Passed {
			why = text.Sentence(e.Lang, c.Detail)
		}
	}
	if x.Channel == "" {
		return runs + " " + sprintf(e.S.VerdictNoChannel, orElse(why, clean(x.Reason)))
	}
	return runs + " " + sprintf(e.S.VerdictRefused, channel, orElse(why, clean(x.Reason)))
}

func (v *devicesView) Render(w, h int) string {
	e := v.e
	if v.open != nil {
		return v.device(w, h)
	}
	if v.table.Len() == 0 {
		if p, pending := v.page.Pending(e, w, h); pending {
			return p
		}
		return EmptyPanel(e, e.S.NoDevices, e.S.NoDevicesHow, w, h)
	}
	if v.table.Shown() == 0 {
		return EmptyPanel(e, e.S.NothingFound, sprintf(e.S.NoDeviceMatches, text.Clean(v.table.FilterText())), w, h)
	}
	status := e.S.One(int64(v.table.Len()), e.S.OneDevice, e.S.ManyDevices)
	switch {
	case v.searched != nil && v.searched.Cut:
		status += "  " + e.St.Warn.Render("! ") + e.S.SearchCut
	case v.searched != nil:
		status += "  " + e.S.SearchedAll
	case v.found.Loading():
		status += "  " + widget.Spinner(e.Step) + " " + e.S.Searching
	case v.table.FilterText() != "" && (v.more || v.page.Loading()):
		status += "  " + e.S.SearchOffer
	case v.page.Err != nil:
		status += "  " + e.St.Warn.Render("! "+Failed(e, v.page.Err))
	case v.page.Loading():
		status += "  " + widget.Spinner(e.Step) + " " + e.S.ReadingOn
	case v.more:
		status += "  " + e.S.NotAll
	}
	return v.table.View(w, h-1, e.St) + "\n" + widget.Pad("  "+e.St.Muted.Render(status), w)
}

func (v *devicesView) device(w, h int) string {
	e, d := v.e, *v.open
	col := 11
	head := []string{
		" " + e.St.Bold.Render(platformName(d.Platform)) + "  " + e.St.Text.Render(clean(d.DeviceID)) + "  " + e.St.Muted.Render(text.Clean(d.CustomID)),
		" " + field(e, e.S.ColRuns, e.St.Bold.Render(bundleName(e, d.VersionName))+e.St.Muted.Render("   "+sprintf(e.S.NativeAndPlugin, clean(d.VersionBuild), clean(d.PluginVersion))), col),
		" " + field(e, e.S.ColSeen, e.St.Text.Render(e.S.Ago(e.Now(), d.UpdatedAt))+e.St.Muted.Render("   "+v.kind(d)), col),
	}
	x := &v.explain
	if x.Ready() {
		head = append(head, " "+field(e, e.S.Channel, e.St.Text.Render(clean(x.Value.Channel))+e.St.Muted.Render("   "+e.S.Sources[x.Value.ChannelSource]), col))
	}
	var body []string
	body = append(body, "")
	if x.Ready() {
		ink, glyph := e.St.Warn, "!"
		switch {
		case x.Value.Answer.URL != "" || x.Value.Reason == "offered":
			ink, glyph = e.St.OK, "▼"
		case x.Value.Answer.Kind == capgo.KindUpToDate:
			ink, glyph = e.St.OK, "✓"
		}
		var said []string
		for i, l := range widget.Wrap(v.verdict(), min(w-8, 110)) {
			mark := "  "
			if i == 0 {
				mark = ink.Render(glyph + " ")
			}
			said = append(said, mark+e.St.Text.Render(l))
		}
		body = append(body, widget.Lines(widget.Box(e.St.Title.Render(e.S.VerdictTitle), e.St.Key.Render("y")+" "+e.St.Muted.Render(e.S.HelpCopy), join(said), w, len(said)+2, ink))...)
	} else if p, pending := x.Pending(e, w, 4); pending {
		if x.Err != nil && failure.CodeOf(x.Err) == "unsupported" {
			p = " " + e.St.Muted.Render(e.S.NoExplain)
		}
		body = append(body, widget.Lines(p)...)
	}
	checks := v.checks(w)
	events := v.eventLines(w)
	if w >= 110 {
		left := (w - 3) * 3 / 5
		checks, events = v.checks(left), v.eventLines(w-left-2)
		body = append(body, widget.Lines(widget.Columns(2, widget.Fit(join(checks), left, max(len(checks), len(events))), join(events)))...)
	} else {
		body = append(append(body, checks...), events...)
	}
	return widget.Fit(join(append(head, scrolled(e, body, &v.scroll, w, max(1, h-len(head)))...)), w, h)
}

// kind says what sort of installation a device is.
func (v *devicesView) kind(d capgo.Device) string {
	e := v.e
	parts := []string{e.S.KindDev}
	if d.IsProd {
		parts[0] = e.S.KindProd
	}
	if d.IsEmulator {
		parts = append(parts, e.S.KindEmulator)
	}
	if d.KeyID != "" {
		parts = append(parts, sprintf(e.S.KindKey, shortKey(d.KeyID)))
	}
	return strings.Join(parts, " · ")
}

func (v *devicesView) checks(w int) []string {
	e := v.e
	if !v.explain.Ready() {
		return nil
	}
	lines := []string{" " + heading(e, e.S.ChecksTitle, w-2)}
	for _, c := range v.explain.Value.Checks {
		ink, glyph := e.St.OK, "✓"
		switch {
		case c.Passed:
		case v.explain.Value.Answer.Kind == capgo.KindUpToDate:
			ink, glyph = e.St.Info, "=" // it ends the questions, and nothing is wrong
		default:
			ink, glyph = e.St.Danger, "×"
		}
		name := orElse(e.S.CheckNames[c.Name], text.Clean(c.Name))
		wrapped := widget.Wrap(text.Sentence(e.Lang, c.Detail), max(8, w-24))
		for i, l := range wrapped {
			if i == 0 {
				lines = append(lines, " "+ink.Render(glyph)+" "+e.St.Text.Render(widget.Pad(name, 18))+" "+e.St.Muted.Render(l))
			} else {
				lines = append(lines, widget.Blank(22)+e.St.Muted.Render(l))
			}
		}
	}
	return lines
}

func (v *devicesView) eventLines(w int) []string {
	e := v.e
	lines := []string{" " + heading(e, e.S.EventsTitle, w-2)}
	switch {
	case v.events.Err != nil:
		lines = append(lines, " "+e.St.Warn.Render("! "+widget.Cut(Failed(e, v.events.Err), w-4)))
	case v.events.Ready() && len(v.events.Value) == 0:
		lines = append(lines, "  "+e.St.Muted.Render(e.S.NoEvents))
	}
	for i, ev := range v.events.Value {
		if i == 50 {
			break
		}
		ink := e.St.Muted
		glyph := "·"
		switch {
		case strings.HasSuffix(ev.Action, "_fail") || strings.Contains(ev.Action, "crash"):
			ink, glyph = e.St.Danger, "×"
		case ev.Action == "set":
			ink, glyph = e.St.OK, "✓"
		}
		lines = append(lines, " "+ink.Render(glyph)+" "+e.St.Muted.Render(widget.Pad(stamp(e, ev.At), 12))+" "+e.St.Text.Render(widget.Pad(text.Clean(ev.Action), 20))+" "+e.St.Text.Render(widget.Cut(bundleName(e, ev.VersionName), max(4, w-38))))
	}
	return lines
}
