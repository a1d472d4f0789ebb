package widget

import (
	"strings"

	tea "charm.land/bubbletea/v2"

	"capstan/ui/text"
	"capstan/ui/theme"
)

// Prompt is a dialog with one line of text, such as a path.
type Prompt struct {
	Title string
	Lines []string // styled; what the text is for
	Label string
	Verb  string // label of what Enter does
	// Check says what is wrong with a value; "" when it will do.
	Check func(string) string

	input Input
	wrong string
}

// NewPrompt makes a prompt that proposes value.
func NewPrompt(title, label, verb, value string, lines ...string) Prompt {
	p := Prompt{Title: title, Label: label, Verb: verb, Lines: lines, input: NewInput("", 4096)}
	p.input.Set(value)
	return p
}

// Value is the text as typed.
func (p *Prompt) Value() string { return p.input.Value() }

// Update takes a key or a paste.
func (p *Prompt) Update(msg tea.Msg) Outcome {
	if press, ok := msg.(tea.KeyPressMsg); ok {
		switch press.String() {
		case "esc":
			return Refused
		case "enter":
			if p.Check != nil {
				if p.wrong = p.Check(p.Value()); p.wrong != "" {
					return Pending
				}
			}
			return Confirmed
		}
	}
	if p.input.Update(msg) {
		p.wrong = ""
	}
	return Pending
}

// View draws the dialog, at most w×h cells.
func (p *Prompt) View(w, h int, st *theme.Styles, s *text.Strings) string {
	width := min(w-2, 72)
	if width < 12 {
		return Fit(p.Title, w, min(h, 1))
	}
	inner := width - 6
	body := []string{""}
	for _, l := range p.Lines {
		for _, part := range Wrap(l, inner) {
			body = append(body, " "+part)
		}
	}
	body = append(body, "", " "+st.Muted.Render(p.Label), " "+st.Accent.Render("›")+" "+p.input.View(inner-2, st))
	if p.wrong != "" {
		body = append(body, " "+st.Warn.Render("! ")+st.Text.Render(Cut(p.wrong, inner-2)))
	}
	body = append(body, "", " "+st.Key.Render("↵")+" "+st.Muted.Render(p.Verb)+"  "+st.Key.Render("esc")+" "+st.Muted.Render(s.Cancel))
	return Box(st.Title.Render(p.Title), "", strings.Join(body, "\n"), width, min(h, len(body)+2), st.BorderFocus)
}
