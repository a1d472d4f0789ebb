package theme

import (
	"image/color"
	"strings"
	"testing"
)

// Text must be readable on the backgrounds that terminals commonly have, and
// on the row that is selected.
func TestContrast(t *testing.T) {
	t.Parallel()
	darks := []string{"#000000", "#1e1e2e", "#2e3440", "#282828"}
	lights := []string{"#ffffff", "#fafafa", "#fdf6e3"}
	for _, name := range []Name{Dark, Light, HighContrast, ColourBlind} {
		for _, isDark := range []bool{true, false} {
			if name == Dark && !isDark || name == Light && isDark {
				continue
			}
			k := TokensOf(name, isDark)
			grounds := lights
			if isDark {
				grounds = darks
			}
			inks := map[string]color.Color{"text": k.Text, "muted": k.Muted, "accent": k.Accent, "ok": k.OK, "warn": k.Warn, "danger": k.Danger, "info": k.Info}
			for token, ink := range inks {
				for _, ground := range grounds {
					if r := Contrast(ink, hex(ground)); r < 4.5 {
						t.Errorf("%s dark=%v: %s on %s has %.2f:1", name, isDark, token, ground, r)
					}
				}
				if r := Contrast(ink, k.Select); r < 4.5 {
					t.Errorf("%s dark=%v: %s on the selected row has %.2f:1", name, isDark, token, r)
				}
				if token == "text" || token == "muted" {
					continue
				}
				if r := Contrast(k.OnFill, ink); r < 4.5 {
					t.Errorf("%s dark=%v: text filled with %s has %.2f:1", name, isDark, token, r)
				}
			}
			for i, c := range k.Series {
				for _, ground := range grounds {
					if r := Contrast(c, hex(ground)); r < 3 {
						t.Errorf("%s dark=%v: series %d on %s has %.2f:1", name, isDark, i, ground, r)
					}
				}
			}
		}
	}
}

func TestContrastKnownValues(t *testing.T) {
	t.Parallel()
	if r := Contrast(hex("#000000"), hex("#ffffff")); r < 20.99 || r > 21.01 {
		t.Errorf("black on white: %.3f, want 21", r)
	}
	if r := Contrast(hex("#777777"), hex("#ffffff")); r < 4.47 || r > 4.49 {
		t.Errorf("#777 on white: %.3f, want 4.48", r)
	}
}

// A selected line keeps its background after each styled part.
func TestSelectedReachesTheWholeLine(t *testing.T) {
	t.Parallel()
	s := New(Dark, true)
	line := s.Selected(s.OK.Render("a") + " " + s.Danger.Render("b") + " c")
	if got := strings.Count(line, s.selectOpen); got != 3 {
		t.Errorf("the background opens %d times, want 3 (start, after a, after b)", got)
	}
}

func TestMonoHasNoColour(t *testing.T) {
	t.Parallel()
	s := New(Mono, true)
	for _, style := range []string{s.OK.Render("x"), s.Danger.Render("x"), s.TabOn.Render("x"), s.BadgeDanger.Render("x"), s.Selected("x")} {
		if strings.Contains(style, "38;") || strings.Contains(style, "48;") {
			t.Errorf("colour in %q", style)
		}
	}
}
