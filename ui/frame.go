package ui

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"capstan/core/capgo"
	"capstan/ui/text"
	"capstan/ui/views"
	"capstan/ui/widget"
)

// draw composes the whole screen: exactly w×h cells.
func (r *root) draw() string {
	w, h := r.w, r.h
	if w <= 0 || h <= 0 {
		return ""
	}
	if r.tooSmall() {
		return r.small(w, h)
	}
	e := r.e
	bodyH := h - frameRows
	lines := []string{r.header(w), r.tabLine(w), e.St.Border.Render(strings.Repeat("─", w))}
	body := widget.Fit(r.view().Render(w, bodyH), w, bodyH)
	if over := r.overlay(w-4, bodyH); over != "" {
		body = widget.Overlay(body, over, w, bodyH, e.St.Border)
	}
	lines = append(lines, body, r.statusLine(w), r.helpLine(w))
	return strings.Join(lines, "\n")
}

// small is all that is shown in a terminal that is too small.
func (r *root) small(w, h int) string {
	e := r.e
	lines := []string{e.St.Warn.Render(e.S.TooSmallTitle), e.St.Muted.Render(fmt.Sprintf(e.S.TooSmall, w, h, minWidth, minHeight))}
	if t := r.jobs.title(); t != "" {
		lines = append(lines, e.St.Muted.Render(text.Clean(t)))
	}
	top := max(0, (h-len(lines))/2)
	var out []string
	for range top {
		out = append(out, "")
	}
	for _, l := range lines {
		out = append(out, widget.Centre(l, w))
	}
	return widget.Fit(strings.Join(out, "\n"), w, h)
}

// overlay is what lies over the screen: the topmost dialog.
func (r *root) overlay(w, h int) string {
	e := r.e
	switch {
	case r.secret != nil:
		return r.secret.View(w, h, e.St, e.S)
	case r.confirm != nil:
		return r.confirm.View(w, h, e.St, e.S)
	case r.prompt != nil:
		return r.prompt.View(w, h, e.St, e.S)
	case r.choose != nil:
		return r.choose.View(w, h, e.St, e.S)
	case r.message != nil:
		return r.message.View(w, h, e.St, e.S)
	case r.palette != nil:
		return r.palette.view(r, w, h)
	case r.help != nil:
		return r.help.view(r, w, h)
	}
	return ""
}

// header is where one is, at the left, and in what world, at the right.
func (r *root) header(w int) string {
	e := r.e
	var badges []string
	if k := e.Data.Keys.Value; len(k) > 0 && w >= 90 {
		badges = append(badges, e.St.Muted.Render(fmt.Sprintf(e.S.BadgeKey, views.ShortKey(k[0].ID))))
	}
	if e.Offline != nil {
		badges = append(badges, e.St.Warn.Render("! "+fmt.Sprintf(e.S.AsOf, e.Since.Format("15:04"))))
	}
	if e.ReadOnly {
		badges = append(badges, e.St.BadgeInfo.Render(" "+e.S.BadgeReadOnly+" "))
	}
	if e.Demo {
		badges = append(badges, e.St.BadgeWarn.Render(" "+e.S.BadgeDemo+" "))
	}
	if c := r.environment(); c != "" {
		badges = append(badges, c)
	}
	right := strings.Join(badges, " ")
	crumb := e.St.Border.Render(" › ")
	left := " " + e.St.Accent.Render("capstan")
	if app := text.Clean(e.Facts.AppID); app != "" {
		left += crumb + e.St.Text.Render(app)
	}
	for i, s := range r.stack {
		title := text.Clean(r.screens[s].Title())
		if i == len(r.stack)-1 {
			left += crumb + e.St.Bold.Render(title)
		} else {
			left += crumb + e.St.Muted.Render(title)
		}
	}
	return widget.Between(left, right+" ", w)
}

// environment marks the production channel while one looks at it or releases to it.
func (r *root) environment() string {
	e := r.e
	if r.screen() != views.ScreenChannel && r.screen() != views.ScreenRelease {
		return ""
	}
	name := e.Facts.Channel
	if r.screen() == views.ScreenChannel {
		name = r.view().Title()
	} else if c, ok := r.view().(interface{ Channel() string }); ok {
		name = c.Channel()
	}
	channel := capgo.Channel{Name: name} // as a first release makes it
	for _, c := range e.Data.Channels.Value {
		if c.Name == name {
			channel = c
		}
	}
	if !e.IsProduction(channel) {
		return ""
	}
	return e.St.BadgeDanger.Render(" " + strings.ToUpper(e.S.Production) + " ")
}

type tabAt struct {
	screen   views.Screen
	from, to int
	label    string
}

// tabs lays the tabs out in w cells. All nine are always there: their names while
// they fit, then the longest ones cut short, then numbers for those at the right.
// The chosen one keeps its name.
func (r *root) tabs(w int) []tabAt {
	all := views.Tabs()
	names := make([]string, len(all))
	chosen := -1
	for i, s := range all {
		names[i] = r.tabName(s)
		if s == r.stack[0] {
			chosen = i
		}
	}
	lay := func(gap int, keep func(i int) bool) ([]tabAt, int) {
		x := 1
		var out []tabAt
		for i, s := range all {
			label := fmt.Sprint(i + 1)
			if keep(i) {
				label += " " + names[i]
			}
			out = append(out, tabAt{s, x, x + widget.Width(label), label})
			x += widget.Width(label) + gap
		}
		return out, x - gap
	}
	every := func(int) bool { return true }
	for _, gap := range []int{3, 2, 1} {
		if out, end := lay(gap, every); end <= w {
			return out
		}
	}
	for _, i := range shortened(names, chosen) {
		names[i] = widget.Cut(names[i], shortTab)
		if out, end := lay(1, every); end <= w {
			return out
		}
	}
	for last := len(all) - 1; last >= 0; last-- {
		if out, end := lay(1, func(i int) bool { return i < last || i == chosen }); end <= w {
			return out
		}
	}
	out, _ := lay(1, func(i int) bool { return i == chosen })
	return out
}

// shortTab is how many cells a tab's name keeps when it is cut.
const shortTab = 4

// shortened is in which order the names that are not chosen are cut: the longest
// first, of equal ones the one further right.
func shortened(names []string, chosen int) []int {
	var order []int
	for i, n := range names {
		if i != chosen && widget.Width(n) > shortTab {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(widget.Width(names[b]), widget.Width(names[a])), cmp.Compare(b, a))
	})
	return order
}

func (r *root) tabName(s views.Screen) string {
	e := r.e
	return map[views.Screen]string{views.ScreenBoard: e.S.TabBoard, views.ScreenRelease: e.S.TabRelease, views.ScreenBundles: e.S.TabBundles, views.ScreenDevices: e.S.TabDevices,
		views.ScreenFleet: e.S.TabFleet, views.ScreenActivity: e.S.TabActivity, views.ScreenKeys: e.S.TabKeys, views.ScreenServer: e.S.TabServer, views.ScreenSettings: e.S.TabSettings,
		views.ScreenSetup: e.S.TabSetup, views.ScreenChannel: e.S.Channel}[s]
}

func (r *root) tabLine(w int) string {
	e := r.e
	var b strings.Builder
	x := 0
	for _, t := range r.tabs(w) {
		b.WriteString(widget.Blank(t.from - x))
		number, name, _ := strings.Cut(t.label, " ")
		ink := e.St.Tab
		if t.screen == r.stack[0] {
			ink = e.St.TabOn
		}
		b.WriteString(e.St.Muted.Render(number))
		if name != "" {
			b.WriteString(" " + ink.Render(name))
		}
		x = t.to
	}
	return widget.Pad(b.String(), w)
}

// statusLine is one line: the filter while it is typed, a notice, or what runs.
func (r *root) statusLine(w int) string {
	e := r.e
	right := r.jobStatus()
	left := ""
	switch {
	case r.filter != nil:
		left = " " + e.St.Accent.Render("/") + r.filter.View(min(40, w/2), e.St)
		if f, ok := r.view().(views.Filterable); ok {
			shown, all := f.Counts()
			right = e.St.Muted.Render(fmt.Sprintf(e.S.FilterCount, e.S.Count(int64(shown)), e.S.Count(int64(all))))
		}
	case !r.noticeAt.IsZero():
		if mark := r.filterMark(); mark != "" && right == "" && r.notice.Kind != views.NoticeError {
			right = mark
		}
		left = " " + r.noticeText(w-widget.Width(right)-3)
	default:
		if mark := r.filterMark(); mark != "" {
			left = " " + mark
		}
	}
	return widget.Between(left, right+" ", w)
}

// filterMark says that a filter hides rows, "" when none does.
func (r *root) filterMark() string {
	e := r.e
	f, ok := r.view().(views.Filterable)
	if !ok || f.FilterText() == "" {
		return ""
	}
	shown, all := f.Counts()
	return e.St.Accent.Render("/"+text.Clean(f.FilterText())) + e.St.Muted.Render("  "+fmt.Sprintf(e.S.FilterCount, e.S.Count(int64(shown)), e.S.Count(int64(all))))
}

func (r *root) noticeText(w int) string {
	e, n := r.e, r.notice
	ink, glyph := e.St.Info, "·"
	switch n.Kind {
	case views.NoticeOK:
		ink, glyph = e.St.OK, "✓"
	case views.NoticeWarn:
		ink, glyph = e.St.Warn, "!"
	case views.NoticeError:
		ink, glyph = e.St.Danger, "×"
	}
	line := ink.Render(glyph+" ") + e.St.Text.Render(n.Text)
	if n.Hint != "" {
		line += e.St.Muted.Render("  → " + n.Hint)
	}
	return widget.Cut(line, w)
}

// jobStatus is the running job in a few words.
func (r *root) jobStatus() string {
	e := r.e
	if !r.jobs.running() {
		return ""
	}
	one := r.jobs.list[len(r.jobs.list)-1]
	line := e.St.Accent.Render(widget.Spinner(e.Step)) + " " + e.St.Text.Render(text.Clean(one.msg.Title))
	if name := e.S.StageNames[string(one.stage)]; name != "" {
		line += e.St.Muted.Render(" · " + name)
	}
	if share := r.jobs.share(); share >= 0 {
		line += " " + widget.Bar(share, 10, e.St.Bar, e.St.BarRest) + e.St.Muted.Render(" "+e.S.Percent(float64(int(share*100))/100))
	}
	return line
}

// helpLine shows the keys that work now, the most useful first.
func (r *root) helpLine(w int) string {
	e := r.e
	type item struct{ key, what, why string }
	var items []item
	add := func(a views.Action) {
		if a.Hidden || len(a.Keys) == 0 {
			return
		}
		items = append(items, item{keyName(e.S, a.Keys[0]), a.Help, a.Disabled})
	}
	switch {
	case r.covered() || r.filter != nil:
	default:
		actions := r.actions()
		for _, a := range actions {
			if a.Primary && a.Disabled == "" {
				add(a)
			}
		}
		for _, a := range actions {
			if !a.Primary && a.Disabled == "" {
				add(a)
			}
		}
		for _, a := range actions {
			if a.Disabled != "" {
				add(a)
			}
		}
	}
	tail := []item{{"/", e.S.HelpFilter, ""}, {":", e.S.HelpPalette, ""}, {"?", e.S.HelpHelp, ""}, {"q", e.S.HelpQuit, ""}}
	if _, ok := r.view().(views.Filterable); !ok {
		tail = tail[1:]
	}
	if r.view().CapturesText() || r.filter != nil || r.covered() {
		tail = []item{{"esc", e.S.HelpBack, ""}}
	} else if len(r.stack) > 1 || r.screen() != views.ScreenBoard {
		tail[len(tail)-1].what = e.S.HelpBack
	}
	draw := func(it item) string {
		if it.why != "" {
			return e.St.KeyOff.Render(it.key + " " + it.what)
		}
		return e.St.Key.Render(it.key) + " " + e.St.Muted.Render(it.what)
	}
	right := ""
	for _, it := range tail {
		right += "  " + draw(it)
	}
	line := " "
	for i, it := range items {
		part := draw(it)
		if i > 0 {
			part = "  " + part
		}
		if widget.Width(line)+widget.Width(part)+widget.Width(right)+3 > w {
			line += e.St.Muted.Render(" …")
			break
		}
		line += part
	}
	return widget.Between(line, right+" ", w)
}

// keyName writes a key for people.
func keyName(s *text.Strings, key string) string {
	switch key {
	case "enter":
		return "↵"
	case "up":
		return "↑"
	case "down":
		return "↓"
	}
	return key
}
