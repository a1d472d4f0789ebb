package ui

import (
	"fmt"
	"runtime"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"

	"capstan/ui/text"
	"capstan/ui/theme"
	"capstan/ui/views"
	"capstan/ui/widget"
)

// globals are the actions that work on every screen.
func (r *root) globals() []views.Action {
	e := r.e
	actions := []views.Action{
		{ID: "palette", Keys: []string{":"}, Help: e.S.HelpPalette, Long: e.S.LongPalette, Run: func() tea.Cmd { r.palette = newPalette(); return nil }},
		{ID: "filter", Keys: []string{"/"}, Help: e.S.HelpFilter, Long: e.S.LongFilter, Run: r.openFilter},
		{ID: "help", Keys: []string{"?"}, Help: e.S.HelpHelp, Long: e.S.LongHelp, Run: func() tea.Cmd { r.help = &helpPage{}; return nil }},
		{ID: "back", Keys: []string{"esc"}, Help: e.S.HelpBack, Long: e.S.LongBack, Run: r.back},
		{ID: "quit", Keys: []string{"q"}, Help: e.S.HelpQuit, Long: e.S.LongQuit, Run: r.quitOrBack},
		{ID: "reload", Keys: []string{"r", "ctrl+r"}, Help: e.S.HelpReload, Long: e.S.LongReload, Run: func() tea.Cmd { return func() tea.Msg { return views.RefreshMsg{} } }},
		{ID: "theme", Keys: []string{"T"}, Help: e.S.ThemeLabel, Long: e.S.LongTheme, Run: func() tea.Cmd {
			names := theme.Names()
			r.e.Theme = names[(slices.Index(names, r.e.Theme)+1)%len(names)]
			r.restyle()
			return views.Notice(views.NoticeInfo, e.S.ThemeLabel+": "+e.S.ThemeNames[string(r.e.Theme)])
		}},
		{ID: "language", Keys: []string{"L"}, Help: e.S.LangLabel, Long: e.S.LongLang, Run: func() tea.Cmd {
			if r.e.Lang == "es" {
				return r.speak("en")
			}
			return r.speak("es")
		}},
		{ID: "suspend", Keys: []string{"ctrl+z"}, Help: "", Long: e.S.LongSuspend, Run: func() tea.Cmd { return tea.Suspend }},
		{ID: "interrupt", Keys: []string{"ctrl+c"}, Help: e.S.HelpQuit, Long: e.S.LongInterrupt, Run: r.interrupt},
	}
	if _, ok := r.view().(views.Filterable); !ok {
		actions[1].Disabled = e.S.WhyNoFilter
	}
	if runtime.GOOS == "windows" {
		actions[8].Disabled = e.S.WhySuspend
	}
	for i, s := range views.Tabs() {
		actions = append(actions, views.Action{ID: string(s), Keys: []string{fmt.Sprint(i + 1)}, Help: r.tabName(s), Long: fmt.Sprintf(e.S.LongScreen, r.tabName(s)), Run: func() tea.Cmd { return views.Go(s, "") }})
	}
	return actions
}

func (r *root) global(key string) (views.Action, bool) {
	for _, a := range r.globals() {
		if slices.Contains(a.Keys, key) {
			return a, true
		}
	}
	return views.Action{}, false
}

// helpPage lists every key, from the key maps themselves.
type helpPage struct{ top int }

func (r *root) helpKey(name string) tea.Cmd {
	switch name {
	case "esc", "q", "?", "enter":
		r.help = nil
	case "down", "j":
		r.help.top++
	case "up", "k":
		r.help.top--
	case "pgdown", "space", "ctrl+d":
		r.help.top += 10
	case "pgup", "ctrl+u":
		r.help.top -= 10
	case "home", "g":
		r.help.top = 0
	}
	return nil
}

func (p *helpPage) view(r *root, w, h int) string {
	e := r.e
	width := min(w, 100)
	inner := width - 4
	var lines []string
	section := func(title string, actions []views.Action) {
		lines = append(lines, e.St.Title.Render(title))
		for _, a := range actions {
			if len(a.Keys) == 0 {
				continue
			}
			names := make([]string, len(a.Keys))
			for i, k := range a.Keys {
				names[i] = keyName(e.S, k)
			}
			keys := widget.Pad(strings.Join(names, " "), 9)
			if a.Disabled != "" {
				lines = append(lines, "  "+e.St.KeyOff.Render(keys)+" "+e.St.Muted.Render(a.Long+" – "+a.Disabled))
				continue
			}
			lines = append(lines, "  "+e.St.Key.Render(keys)+" "+e.St.Text.Render(a.Long))
		}
		lines = append(lines, "")
	}
	section(e.S.HelpHere+": "+text.Clean(r.view().Title()), r.actions())
	section(e.S.HelpMove, []views.Action{
		{Keys: []string{"↑↓", "k", "j"}, Long: e.S.MoveLines}, {Keys: []string{"pgup", "pgdn"}, Long: e.S.MovePages}, {Keys: []string{"^u", "^d"}, Long: e.S.MoveHalf},
		{Keys: []string{"g", "G"}, Long: e.S.MoveEnds}, {Keys: []string{"tab"}, Long: e.S.MoveFields},
	})
	section(e.S.HelpEverywhere, r.globals())
	room := max(1, h-4)
	p.top = max(0, min(p.top, len(lines)-room))
	pages := (len(lines) + room - 1) / room
	note := ""
	if pages > 1 {
		note = e.St.Muted.Render(fmt.Sprintf(e.S.HelpPage, p.top/room+1+min(1, p.top%room), pages) + " ↓↑")
	}
	body := lines[p.top:min(len(lines), p.top+room)]
	body = append(slices.Clone(body), "", e.St.Key.Render("esc")+" "+e.St.Muted.Render(e.S.Close))
	for i, l := range body {
		body[i] = widget.Cut(l, inner)
	}
	return widget.Box(e.St.Title.Render(e.S.HelpTitle), note, strings.Join(body, "\n"), width, min(h, len(body)+2), e.St.BorderFocus)
}

// palette finds an action by name.
type palette struct {
	input  widget.Input
	cursor int
}

func newPalette() *palette { return &palette{input: widget.NewInput("", 120)} }

// paletteItem is one line of the palette.
type paletteItem struct {
	word, long, key, why string
	run                  func() tea.Cmd
}

// items lists what matches the query, the best first.
func (p *palette) items(r *root) []paletteItem {
	e := r.e
	query := strings.ToLower(strings.TrimSpace(p.input.Value()))
	var all []paletteItem
	add := func(a views.Action) {
		key := ""
		if len(a.Keys) > 0 {
			key = keyName(e.S, a.Keys[0])
		}
		all = append(all, paletteItem{a.ID, a.Long, key, a.Disabled, a.Run})
	}
	for _, a := range r.actions() {
		add(a)
	}
	for _, a := range r.globals() {
		if a.ID != "palette" && a.ID != "interrupt" {
			add(a)
		}
	}
	all = append(all, paletteItem{word: "setup", long: e.S.LongSetup, run: func() tea.Cmd { return views.Go(views.ScreenSetup, "") }})
	for _, c := range e.Data.Channels.Value {
		all = append(all, paletteItem{word: "channel " + text.Clean(c.Name), long: e.S.LongOpenChannel, run: func() tea.Cmd { return views.Go(views.ScreenChannel, c.Name) }})
	}
	if id, ok := strings.CutPrefix(query, "device "); ok && id != "" {
		all = append(all, paletteItem{word: query, long: e.S.LongLookUp, run: func() tea.Cmd { return views.Go(views.ScreenDevices, id) }})
	}
	type ranked struct {
		paletteItem
		rank int
	}
	var hits []ranked
	seen := map[string]bool{}
	for _, it := range all {
		rank := match(query, strings.ToLower(it.word), strings.ToLower(it.long))
		if rank < 0 || seen[it.word] {
			continue
		}
		seen[it.word] = true
		hits = append(hits, ranked{it, rank})
	}
	slices.SortStableFunc(hits, func(a, b ranked) int { return a.rank - b.rank })
	out := make([]paletteItem, len(hits))
	for i, h := range hits {
		out[i] = h.paletteItem
	}
	return out
}

// match ranks a candidate: 0 the word itself, then its start, a part of it,
// a part of the sentence, its letters in order; -1 for no match.
func match(query, word, long string) int {
	switch {
	case query == "":
		return 3
	case query == word:
		return 0
	case strings.HasPrefix(word, query):
		return 1
	case strings.Contains(word, query):
		return 2
	case strings.Contains(long, query):
		return 3
	}
	rest := []rune(query)
	for _, c := range word {
		if len(rest) > 0 && c == rest[0] {
			rest = rest[1:]
		}
	}
	if len(rest) == 0 {
		return 4
	}
	return -1
}

func (r *root) paletteKey(m tea.KeyPressMsg) tea.Cmd {
	p := r.palette
	items := p.items(r)
	switch m.String() {
	case "esc":
		r.palette = nil
	case "up", "ctrl+p", "shift+tab":
		p.cursor = max(0, p.cursor-1)
	case "down", "ctrl+n":
		p.cursor = min(len(items)-1, p.cursor+1)
	case "tab":
		if p.cursor < len(items) {
			p.input.Set(items[p.cursor].word)
			p.cursor = 0
		}
	case "enter":
		if p.cursor >= len(items) || len(items) == 0 {
			return nil
		}
		it := items[max(0, p.cursor)]
		if it.why != "" {
			return views.Notice(views.NoticeWarn, it.why)
		}
		r.palette = nil
		if it.run != nil {
			return it.run()
		}
	default:
		if p.input.Update(m) {
			p.cursor = 0
		}
	}
	return nil
}

func (p *palette) view(r *root, w, h int) string {
	e := r.e
	width := min(w, 76)
	inner := width - 4
	items := p.items(r)
	body := []string{e.St.Accent.Render(": ") + p.input.View(inner-2, e.St), ""}
	room := max(1, min(10, h-5))
	from := max(0, min(p.cursor-room+1, len(items)-room))
	for i := from; i < len(items) && i < from+room; i++ {
		it := items[i]
		ink, long := e.St.Bold, e.St.Muted.Render(it.long)
		if it.why != "" {
			ink, long = e.St.Muted, e.St.Muted.Render(it.long+" – "+it.why)
		}
		line := ink.Render(widget.Pad(it.word, 18)) + " " + long
		line = widget.Between(widget.Cut(line, inner-6), e.St.Key.Render(it.key), inner-2)
		if i == p.cursor {
			body = append(body, e.St.Selected(e.St.Accent.Render("▌")+" "+line))
		} else {
			body = append(body, "  "+line)
		}
	}
	if len(items) == 0 {
		body = append(body, "  "+e.St.Muted.Render(e.S.PaletteNone))
	}
	return widget.Box(e.St.Title.Render(e.S.PalettePrompt), "", strings.Join(body, "\n"), width, min(h, len(body)+2), e.St.BorderFocus)
}
