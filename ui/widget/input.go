package widget

import (
	"strings"

	"charm.land/bubbles/v2/key"
	"charm.land/bubbles/v2/textinput"
	tea "charm.land/bubbletea/v2"

	"capstan/ui/text"
	"capstan/ui/theme"
)

// Input is a one-line text field.
type Input struct {
	model textinput.Model
	// NoPaste drops pasted text: a confirmation is typed by hand.
	NoPaste bool
}

// NewInput makes a focused field. limit is the longest value in characters.
func NewInput(placeholder string, limit int) Input {
	m := textinput.New()
	m.Prompt = ""
	m.Placeholder = placeholder
	m.CharLimit = limit
	// The field reads no clipboard by itself: terminals paste with their own key.
	m.KeyMap.Paste = key.NewBinding(key.WithDisabled())
	// tab belongs to the screen, which completes or moves on.
	m.KeyMap.AcceptSuggestion = key.NewBinding(key.WithDisabled())
	m.KeyMap.NextSuggestion = key.NewBinding(key.WithDisabled())
	m.KeyMap.PrevSuggestion = key.NewBinding(key.WithDisabled())
	m.Focus()
	return Input{model: m}
}

// Value is the text as typed.
func (i *Input) Value() string { return i.model.Value() }

// Set replaces the text and puts the cursor at its end.
func (i *Input) Set(s string) {
	i.model.SetValue(text.Clean(s))
	i.model.CursorEnd()
}

// Update takes a key or a paste, and reports whether the text changed.
func (i *Input) Update(msg tea.Msg) bool {
	before := i.model.Value()
	switch m := msg.(type) {
	case tea.PasteMsg:
		if i.NoPaste {
			return false
		}
		msg = tea.PasteMsg{Content: text.Clean(strings.TrimSpace(m.Content))}
	case tea.KeyPressMsg:
	default:
		return false
	}
	i.model, _ = i.model.Update(msg)
	return i.model.Value() != before
}

// View draws the field in w cells, with a still cursor.
func (i *Input) View(w int, st *theme.Styles) string {
	if w < 2 {
		return Blank(w)
	}
	styles := textinput.Styles{}
	styles.Focused.Text, styles.Focused.Placeholder = st.Field()
	styles.Cursor.Blink = false
	if st.Tokens.Accent != nil {
		styles.Cursor.Color = st.Tokens.Accent
	}
	i.model.SetStyles(styles)
	i.model.SetWidth(w - 1)
	return Pad(i.model.View(), w)
}
