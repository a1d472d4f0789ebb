package widget

import (
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"capstan/ui/text"
	"capstan/ui/theme"
)

// Outcome is what a key did to a dialog.
type Outcome int

// The outcomes.
const (
	Pending Outcome = iota
	Confirmed
	Refused
)

// Confirm asks before something happens. Without a Word it is a dialog with
// Cancel chosen beforehand; with a Word that word has to be typed.
type Confirm struct {
	Title string
	// Lines say what, where, and whether it can be undone and how. Styled, not wrapped.
	Lines []string
	Verb  string // label of the button that does it
	Word  string // typed confirmation, "" for none
	// Severe draws the frame in the colour of danger.
	Severe bool
	// Async is set when the dialog opened by itself, not by a key: keys that are
	// in flight then are ignored until the operator has paused.
	Async bool

	opened, lastKey time.Time
	yes             bool
	input           Input
	wrong           bool
}

const (
	// grace is the pause after which a key is taken as an answer to this dialog.
	grace = 425 * time.Millisecond
	// graceLimit ends the grace for somebody who never pauses.
	graceLimit = 1500 * time.Millisecond
)

// Open starts the dialog's clock.
func (c *Confirm) Open(now time.Time) {
	c.opened, c.lastKey = now, now
	c.Word = text.Clean(c.Word) // what is shown is what has to be typed
	c.input = NewInput(c.Word, 200)
	c.input.NoPaste = true
}

// early reports whether a key belongs to what was on the screen before.
func (c *Confirm) early(now time.Time, key string) bool {
	quiet := now.Sub(c.lastKey)
	c.lastKey = now
	if now.Sub(c.opened) >= graceLimit {
		return false
	}
	if c.Async {
		if quiet >= grace {
			c.Async = false // they have paused: from here on every key counts
			return false
		}
		return true
	}
	// Opened by a key: only what would confirm is held back.
	return now.Sub(c.opened) < grace && (key == "enter" || key == "y") && c.Word == ""
}

// Update takes a key or a paste.
func (c *Confirm) Update(now time.Time, msg tea.Msg) Outcome {
	press, ok := msg.(tea.KeyPressMsg)
	if !ok {
		return Pending
	}
	name := press.String()
	if name == "esc" {
		return Refused
	}
	if c.early(now, name) {
		return Pending
	}
	if c.Word != "" {
		if name == "enter" {
			if c.input.Value() == c.Word {
				return Confirmed
			}
			c.wrong = true
			return Pending
		}
		if c.input.Update(msg) {
			c.wrong = false
		}
		return Pending
	}
	switch name {
	case "left", "right", "tab", "shift+tab", "h", "l", "up", "down":
		c.yes = !c.yes
	case "y":
		return Confirmed
	case "n", "q":
		return Refused
	case "enter":
		if c.yes {
			return Confirmed
		}
		return Refused
	}
	return Pending
}

// View draws the dialog, at most w×h cells.
func (c *Confirm) View(w, h int, st *theme.Styles, s *text.Strings) string {
	width := min(w-2, 68)
	if width < 12 {
		return Fit(c.Title, w, min(h, 1))
	}
	inner := width - 6
	var body []string
	body = append(body, "")
	for _, l := range c.Lines {
		for _, part := range Wrap(l, inner) {
			body = append(body, " "+part)
		}
	}
	body = append(body, "")
	if c.Word != "" {
		ask := s.TypeToConfirm + " " + st.Bold.Render(text.Clean(c.Word))
		for _, part := range Wrap(ask, inner) {
			body = append(body, " "+part)
		}
		mark := st.Accent.Render("›")
		note := ""
		switch {
		case c.input.Value() == c.Word:
			mark, note = st.OK.Render("✓"), st.OK.Render(s.PressEnter)
		case c.wrong:
			note = st.Danger.Render(s.NotTheWord)
		}
		body = append(body, " "+mark+" "+c.input.View(max(2, min(30, inner-3-Width(note)-1)), st)+" "+note)
		body = append(body, "", " "+st.Muted.Render(s.EscCancels))
	} else {
		cancel, do := " "+s.Cancel+" ", " "+c.Verb+" "
		if c.yes {
			fill := st.BadgeAccent
			if c.Severe {
				fill = st.BadgeDanger
			}
			body = append(body, " "+Between("", st.Muted.Render("  "+cancel+"  ")+" "+fill.Render("▸ "+do+" "), inner))
		} else {
			body = append(body, " "+Between("", st.BadgeAccent.Render("▸ "+cancel+" ")+" "+st.Text.Render("  "+do+"  "), inner))
		}
	}
	edge := st.BorderFocus
	if c.Severe {
		edge = st.BorderDanger
	}
	height := min(h, len(body)+2)
	if len(body) > height-2 && height > 4 {
		// The answer stays in sight; the explanation gives way.
		keep := 3
		body = append(body[:height-2-keep:height-2-keep], body[len(body)-keep:]...)
	}
	return Box(st.Title.Render(c.Title), "", strings.Join(body, "\n"), width, height, edge)
}

// Message is a dialog that only says something; any of enter, esc and q closes it.
type Message struct {
	Title string
	Lines []string
}

// View draws the message, at most w×h cells.
func (m *Message) View(w, h int, st *theme.Styles, s *text.Strings) string {
	width := min(w-2, 76)
	if width < 12 {
		return Fit(m.Title, w, min(h, 1))
	}
	body := []string{""}
	for _, l := range m.Lines {
		for _, part := range Wrap(l, width-6) {
			body = append(body, " "+part)
		}
	}
	if room := h - 4; len(body) > room && room > 0 {
		body = body[:room]
	}
	body = append(body, "", " "+st.Key.Render("esc")+" "+st.Muted.Render(s.Close))
	return Box(st.Title.Render(m.Title), "", strings.Join(body, "\n"), width, min(h, len(body)+2), st.BorderFocus)
}
