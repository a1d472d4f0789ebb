package widget

import (
	"strings"

	tea "charm.land/bubbletea/v2"

	"capstan/ui/text"
	"capstan/ui/theme"
)

// ChoiceItem is one line of a Choice. A line with a Why cannot be chosen.
type ChoiceItem struct {
	Label, Note, Why string
}

// Choice is a dialog with a list of which one is chosen. Typing narrows the list.
type Choice struct {
	Title, Intro string
	Items        []ChoiceItem
	cursor       int
	query        string
}

// shown are the indices of the items that hold the query.
func (c *Choice) shown() []int {
	var at []int
	for i, it := range c.Items {
		if c.query == "" || strings.Contains(strings.ToLower(it.Label+" "+it.Note), strings.ToLower(c.query)) {
			at = append(at, i)
		}
	}
	return at
}

// Start puts the cursor on item i.
func (c *Choice) Start(i int) { c.cursor = i }

// Update takes a key; chosen is the index of the item when Outcome is Confirmed.
func (c *Choice) Update(msg tea.Msg) (chosen int, o Outcome) {
	press, ok := msg.(tea.KeyPressMsg)
	if !ok {
		return 0, Pending
	}
	shown := c.shown()
	switch press.String() {
	case "esc":
		return 0, Refused
	case "up", "ctrl+p", "shift+tab":
		c.cursor--
	case "down", "ctrl+n", "tab":
		c.cursor++
	case "pgup":
		c.cursor -= 8
	case "pgdown":
		c.cursor += 8
	case "home":
		c.cursor = 0
	case "end":
		c.cursor = len(shown) - 1
	case "backspace":
		if r := []rune(c.query); len(r) > 0 {
			c.query = string(r[:len(r)-1])
		}
	case "enter":
		if c.cursor < len(shown) && c.cursor >= 0 && c.Items[shown[c.cursor]].Why == "" {
			return shown[c.cursor], Confirmed
		}
	default:
		if t := press.Key().Text; t != "" && len(c.query) < 64 {
			c.query += text.Clean(t)
			c.cursor = 0
		}
	}
	c.cursor = max(0, min(c.cursor, len(c.shown())-1))
	return 0, Pending
}

// View draws the dialog, at most w×h cells.
func (c *Choice) View(w, h int, st *theme.Styles, s *text.Strings) string {
	width := min(w-2, 72)
	if width < 12 {
		return Fit(c.Title, w, min(h, 1))
	}
	inner := width - 4
	var body []string
	if c.Intro != "" {
		for _, l := range Wrap(c.Intro, inner-1) {
			body = append(body, " "+st.Muted.Render(l))
		}
		body = append(body, "")
	}
	shown := c.shown()
	room := max(1, min(len(shown), h-len(body)-5))
	from := max(0, min(c.cursor-room/2, len(shown)-room))
	label, notes := 0, 0 // columns; a label without a note has the whole line
	for _, i := range shown {
		if n := max(Width(c.Items[i].Note), Width(c.Items[i].Why)); n > 0 {
			label, notes = max(label, Width(c.Items[i].Label)), max(notes, n)
		}
	}
	label = min(label, max(inner/2, inner-4-notes))
	for i := from; i < len(shown) && i < from+room; i++ {
		it := c.Items[shown[i]]
		note, ink := st.Muted.Render(it.Note), st.Text
		if it.Why != "" {
			note, ink = st.Warn.Render(it.Why), st.Muted
		}
		line := ink.Render(it.Label)
		if it.Note != "" || it.Why != "" {
			line = ink.Render(Pad(it.Label, label)) + "  " + note
		}
		if i == c.cursor {
			body = append(body, st.Selected(st.Accent.Render("▌")+" "+Pad(line, inner-2)))
		} else {
			body = append(body, "  "+Cut(line, inner-2))
		}
	}
	if len(shown) == 0 {
		body = append(body, "  "+st.Muted.Render(s.NothingFound))
	}
	foot := st.Key.Render("↵") + " " + st.Muted.Render(s.HelpChoose) + "  " + st.Key.Render("esc") + " " + st.Muted.Render(s.Cancel)
	if c.query != "" {
		foot = st.Accent.Render("/"+c.query) + "   " + foot
	} else if len(c.Items) > 8 {
		foot += "   " + st.Muted.Render(s.TypeToNarrow)
	}
	body = append(body, "", " "+foot)
	return Box(st.Title.Render(c.Title), "", strings.Join(body, "\n"), width, min(h, len(body)+2), st.BorderFocus)
}
