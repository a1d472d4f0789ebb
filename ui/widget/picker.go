package widget

import (
	"path/filepath"
	"strings"

	tea "charm.land/bubbletea/v2"

	"capstan/ui/text"
	"capstan/ui/theme"
)

// Picker chooses a folder: a path with completion, and the folders used
// before. It reads no disk itself: the screen feeds it with what the file
// system said about Value.
type Picker struct {
	input  Input
	Recent []string
	// Found are the completions of the path as it was when they were asked for.
	Found  []string
	chosen int // in list(), -1 while the typed path is meant
}

// NewPicker starts with a path in the field.
func NewPicker(path string) *Picker {
	p := &Picker{input: NewInput("/", 1024), chosen: -1}
	p.input.Set(path)
	return p
}

// Value is the folder that is meant now.
func (p *Picker) Value() string {
	if l := p.list(); p.chosen >= 0 && p.chosen < len(l) {
		return l[p.chosen]
	}
	return p.input.Value()
}

// Typed is the path in the field, for completion.
func (p *Picker) Typed() string { return p.input.Value() }

// list is what stands below the field: completions while there are any beside
// the typed path itself, else the recent folders.
func (p *Picker) list() []string {
	typed := strings.TrimRight(p.input.Value(), "/\\")
	if len(p.Found) > 1 || len(p.Found) == 1 && strings.TrimRight(p.Found[0], "/\\") != typed {
		return p.Found
	}
	return p.Recent
}

// Set replaces the path.
func (p *Picker) Set(path string) {
	p.input.Set(path)
	p.chosen = -1
}

// Update takes a key or a paste. It reports whether the path in the field
// changed, so that the screen asks for completions, and whether the folder
// that is meant changed, so that it is inspected.
func (p *Picker) Update(msg tea.Msg) (typed, meant bool) {
	before := p.Value()
	if press, ok := msg.(tea.KeyPressMsg); ok {
		l := p.list()
		switch press.String() {
		case "down", "ctrl+n":
			p.chosen = min(p.chosen+1, len(l)-1)
			return false, p.Value() != before
		case "up", "ctrl+p":
			p.chosen = max(p.chosen-1, -1)
			return false, p.Value() != before
		case "tab":
			return p.complete(), p.Value() != before
		}
	}
	if p.input.Update(msg) {
		p.chosen = -1
		return true, p.Value() != before
	}
	return false, false
}

// complete takes the chosen folder, or what all completions have in common.
func (p *Picker) complete() bool {
	before := p.input.Value()
	switch {
	case p.chosen >= 0:
		p.Set(p.Value() + string(filepath.Separator))
	case len(p.Found) == 1:
		p.Set(strings.TrimRight(p.Found[0], "/\\") + string(filepath.Separator))
	case len(p.Found) > 1:
		if common := commonPrefix(p.Found); len(common) > len(before) {
			p.Set(common)
		} else {
			p.chosen = 0
			return false
		}
	}
	return p.input.Value() != before
}

func commonPrefix(paths []string) string {
	common := paths[0]
	for _, q := range paths[1:] {
		for !strings.HasPrefix(q, common) {
			r := []rune(common)
			common = string(r[:len(r)-1])
		}
	}
	return common
}

// Rows is the height that the field and its list take when there is room.
func (p *Picker) Rows() int {
	if n := len(p.list()); n > 0 {
		return n + 2
	}
	return 1
}

// View draws the field and the list in w×h cells.
func (p *Picker) View(w, h int, st *theme.Styles, s *text.Strings) string {
	if w < 8 || h < 1 {
		return Fit("", w, h)
	}
	lines := []string{st.Accent.Render("› ") + p.input.View(w-2, st)}
	l := p.list()
	if len(l) > 0 && h > 2 {
		title := s.PickerFound
		if len(p.Recent) > 0 && len(l) == len(p.Recent) && &l[0] == &p.Recent[0] {
			title = s.PickerRecent
		}
		lines = append(lines, st.Muted.Render("  "+title))
		room := h - 2
		from := max(0, min(p.chosen-room+1, len(l)-room))
		for i := from; i < len(l) && i < from+room; i++ {
			line := CutLeft(text.Clean(l[i]), w-4)
			if i == p.chosen {
				lines = append(lines, st.Selected(st.Accent.Render("▌")+" "+Pad(line, w-2)))
			} else {
				lines = append(lines, "  "+st.Text.Render(line))
			}
		}
	}
	return Fit(strings.Join(lines, "\n"), w, h)
}
