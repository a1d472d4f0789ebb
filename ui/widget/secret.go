package widget

import (
	"strings"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"

	"capstan/ui/text"
	"capstan/ui/theme"
)

// Secret is a dialog for a passphrase. What is typed is never drawn and never
// part of a message: Take hands it over once, and Clear overwrites it.
type Secret struct {
	Title  string
	Prompt string // what it opens or will protect
	// Twice asks for it a second time: it will protect something new.
	Twice bool
	// Least is how many bytes a new one must have.
	Least int

	typed [2][]byte
	at    int // field that has the keys
	note  string
}

// maxSecret is the longest passphrase in bytes. The fields never grow beyond
// it, so that no copy is left behind in memory.
const maxSecret = 1024

// String keeps the content out of every way of printing the dialog.
func (s *Secret) String() string { return "passphrase dialog" }

// GoString is String.
func (s *Secret) GoString() string { return s.String() }

// Update takes a key or a paste. After Confirmed, Take gives the passphrase.
func (s *Secret) Update(msg tea.Msg, words *text.Strings) Outcome {
	switch m := msg.(type) {
	case tea.PasteMsg:
		s.add(strings.TrimRight(m.Content, "\r\n"))
	case tea.KeyPressMsg:
		return s.key(m, words)
	}
	return Pending
}

func (s *Secret) key(m tea.KeyPressMsg, words *text.Strings) Outcome {
	field := &s.typed[s.at]
	switch m.String() {
	case "esc":
		s.Clear()
		return Refused
	case "tab", "shift+tab", "up", "down":
		if s.Twice {
			s.at = 1 - s.at
		}
	case "backspace":
		_, n := utf8.DecodeLastRune(*field)
		kept := len(*field) - n
		clear((*field)[kept:])
		*field = (*field)[:kept]
	case "ctrl+u":
		wipe(field)
	case "enter":
		return s.enter(words)
	default:
		s.add(m.Key().Text)
	}
	return Pending
}

func (s *Secret) enter(words *text.Strings) Outcome {
	switch first := s.typed[0]; {
	case len(first) == 0:
		s.note = words.SecretEmpty
	case !s.Twice:
		return Confirmed
	case len(first) < s.Least:
		s.note, s.at = words.SecretShort, 0
	case s.at == 0:
		s.note, s.at = "", 1
	case string(first) != string(s.typed[1]):
		s.note = words.SecretDiffers
		wipe(&s.typed[1])
	default:
		return Confirmed
	}
	return Pending
}

func (s *Secret) add(typed string) {
	field := &s.typed[s.at]
	if typed == "" || len(*field)+len(typed) > maxSecret {
		return
	}
	if *field == nil {
		*field = make([]byte, 0, maxSecret)
	}
	*field, s.note = append(*field, typed...), ""
}

// Take hands the passphrase over and forgets it. The caller clears it.
func (s *Secret) Take() []byte {
	out := append([]byte(nil), s.typed[0]...)
	s.Clear()
	return out
}

// Clear overwrites what was typed.
func (s *Secret) Clear() {
	wipe(&s.typed[0])
	wipe(&s.typed[1])
	s.at, s.note = 0, ""
}

func wipe(field *[]byte) {
	clear((*field)[:cap(*field)])
	*field = (*field)[:0]
}

// View draws the dialog, at most w×h cells. A field shows that something is
// typed, not how much.
func (s *Secret) View(w, h int, st *theme.Styles, words *text.Strings) string {
	width := min(w-2, 68)
	if width < 12 {
		return Fit(s.Title, w, min(h, 1))
	}
	inner := width - 6
	body := []string{""}
	for _, l := range Wrap(text.Clean(s.Prompt), inner) {
		body = append(body, " "+st.Text.Render(l))
	}
	body = append(body, "")
	labels := []string{words.SecretField}
	if s.Twice {
		labels = append(labels, words.SecretAgain)
	}
	for i, label := range labels {
		mark, state := "  ", st.Muted.Render(words.SecretNothing)
		if i == s.at {
			mark = st.Accent.Render("› ")
		}
		if len(s.typed[i]) > 0 {
			state = st.OK.Render("✓ ") + st.Text.Render(words.SecretTyped)
		}
		if i == s.at {
			state += st.Cursor.Render(" ")
		}
		body = append(body, " "+mark+st.Muted.Render(Pad(label, 18))+" "+state)
	}
	note := st.Muted.Render(words.SecretUnseen)
	if s.note != "" {
		note = st.Warn.Render("! ") + st.Text.Render(s.note)
	}
	body = append(body, "", " "+Cut(note, inner))
	if s.Twice {
		for _, l := range Wrap(words.SecretAdvice, inner) {
			body = append(body, " "+st.Muted.Render(l))
		}
	}
	body = append(body, "", " "+st.Key.Render("↵")+" "+st.Muted.Render(words.HelpContinue)+"  "+st.Key.Render("^u")+" "+st.Muted.Render(words.SecretClear)+"  "+st.Key.Render("esc")+" "+st.Muted.Render(words.Cancel))
	return Box(st.Title.Render(s.Title), "", strings.Join(body, "\n"), width, min(h, len(body)+2), st.BorderFocus)
}
