package tuitest

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"
	"github.com/charmbracelet/x/vt"
)

type echo struct{ text, size string }

func (e echo) Init() tea.Cmd { return nil }
func (e echo) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch m := msg.(type) {
	case tea.KeyPressMsg:
		if m.String() == "q" {
			return e, tea.Quit
		}
		e.text += m.String() + " "
	case tea.WindowSizeMsg:
		e.size = itoa(m.Width) + "x" + itoa(m.Height)
	}
	return e, nil
}
func (e echo) View() tea.View {
	v := tea.NewView("size " + e.size + "\nkeys " + e.text)
	v.AltScreen = true
	return v
}

func run(t *testing.T, in io.Reader, out io.Writer) error {
	_, err := tea.NewProgram(echo{}, tea.WithContext(t.Context()), tea.WithInput(in), tea.WithOutput(out), tea.WithWindowSize(30, 4), tea.WithColorProfile(colorprofile.TrueColor),
		tea.WithEnvironment([]string{"TERM=xterm-256color"}), tea.WithoutSignalHandler()).Run()
	return err
}

func TestTerminalTypesResizesAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		term := Start(t, 30, 4, true, func(in io.Reader, out io.Writer) error { return run(t, in, out) })
		term.Press("a", "enter", "up")
		term.Has("size 30x4", "keys a enter up")
		term.Resize(40, 5)
		term.Has("size 40x5")
		if !term.AltScreen() {
			t.Error("not on the alternate screen")
		}
		term.Press("q")
		if err := term.End(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestSVGIsDeterministicAndEscapes(t *testing.T) {
	emu := vt.NewEmulator(12, 2)
	defer emu.Close()
	_, _ = emu.WriteString("\x1b[1;38;2;255;0;0m<&>\x1b[m \x1b[7mR\x1b[m ─█版")
	a, b := SVG(emu, DarkPage), SVG(emu, DarkPage)
	if a != b {
		t.Error("two pictures of one screen differ")
	}
	for _, want := range []string{"&lt;", "&amp;", "&gt;", `fill="#ff0000"`, `font-weight="bold"`, "版"} {
		if !strings.Contains(a, want) {
			t.Errorf("the picture has no %s", want)
		}
	}
	if !strings.Contains(a, `fill="`+DarkPage.Foreground+`"/>`) {
		t.Error("the reversed cell has no background")
	}
}
