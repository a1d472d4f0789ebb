// Package theme holds the console's colours as semantic tokens, and the styles
// made from them. A view names what a thing means (danger, muted, selected),
// never a colour. Every token that carries text keeps a contrast of at least
// 4.5:1 on the backgrounds that terminals commonly have; a test recomputes it.
//
// Colour never stands alone: a glyph or a word says the same.
package theme

import (
	"image/color"
	"strings"

	"charm.land/lipgloss/v2"
)

// Name is a theme that an operator can choose.
type Name string

// The themes. Auto follows the terminal's background.
const (
	Auto         Name = "auto"
	Dark         Name = "dark"
	Light        Name = "light"
	Mono         Name = "mono"
	HighContrast Name = "high-contrast"
	ColourBlind  Name = "colour-blind" // blue and orange instead of green and red
)

// Names lists the themes in the order in which they are offered.
func Names() []Name { return []Name{Auto, Dark, Light, HighContrast, ColourBlind, Mono} }

// Tokens are the colours by meaning. A nil colour is the terminal's own.
type Tokens struct {
	Text, Muted, Accent    color.Color
	OK, Warn, Danger, Info color.Color
	// Border is for lines and empty parts of bars; it carries no text.
	Border color.Color
	// Select is the background of the chosen row; text tokens stay readable on it.
	Select color.Color
	// OnFill is text on a background of Accent, OK, Warn, Danger or Info.
	OnFill color.Color
	// Series are the colours of stacked bars and charts, in order.
	Series [6]color.Color
}

var hex = lipgloss.Color

var dark = Tokens{
	Text: hex("#E6E6E6"), Muted: hex("#A0A4B0"), Accent: hex("#A9A7FF"),
	OK: hex("#7BD88F"), Warn: hex("#FFC857"), Danger: hex("#FF8E95"), Info: hex("#7CC7FF"),
	Border: hex("#565B6E"), Select: hex("#2B2F45"), OnFill: hex("#14161F"),
	Series: [6]color.Color{hex("#A9A7FF"), hex("#7BD88F"), hex("#7CC7FF"), hex("#FFC857"), hex("#F5A3D7"), hex("#A0A4B0")},
}

var light = Tokens{
	Text: hex("#1F2330"), Muted: hex("#5B6070"), Accent: hex("#4B47C4"),
	OK: hex("#176B35"), Warn: hex("#7A5200"), Danger: hex("#B3202C"), Info: hex("#0B5CAD"),
	Border: hex("#B4B8C5"), Select: hex("#E7E6FA"), OnFill: hex("#FFFFFF"),
	Series: [6]color.Color{hex("#4B47C4"), hex("#176B35"), hex("#0B5CAD"), hex("#7A5200"), hex("#9C2C77"), hex("#5B6070")},
}

// The palette of Okabe and Ito, shifted until each colour carries text.
var colourBlindDark = Tokens{
	Text: hex("#E6E6E6"), Muted: hex("#A0A4B0"), Accent: hex("#D3A6E8"),
	OK: hex("#6CB6FF"), Warn: hex("#F0E442"), Danger: hex("#FF9E3D"), Info: hex("#66D9D0"),
	Border: hex("#565B6E"), Select: hex("#2B2F45"), OnFill: hex("#14161F"),
	Series: [6]color.Color{hex("#6CB6FF"), hex("#FF9E3D"), hex("#66D9D0"), hex("#F0E442"), hex("#D3A6E8"), hex("#A0A4B0")},
}

var colourBlindLight = Tokens{
	Text: hex("#1F2330"), Muted: hex("#5B6070"), Accent: hex("#7A3E9D"),
	OK: hex("#0B5CAD"), Warn: hex("#6B5B00"), Danger: hex("#A34700"), Info: hex("#00665E"),
	Border: hex("#B4B8C5"), Select: hex("#E7E6FA"), OnFill: hex("#FFFFFF"),
	Series: [6]color.Color{hex("#0B5CAD"), hex("#A34700"), hex("#00665E"), hex("#6B5B00"), hex("#7A3E9D"), hex("#5B6070")},
}

var contrastDark = Tokens{
	Text: hex("#FFFFFF"), Muted: hex("#D8DAE2"), Accent: hex("#C9C8FF"),
	OK: hex("#8CFFA6"), Warn: hex("#FFE08A"), Danger: hex("#FFB3B8"), Info: hex("#A9DCFF"),
	Border: hex("#A0A4B0"), Select: hex("#1D2A5E"), OnFill: hex("#000000"),
	Series: [6]color.Color{hex("#C9C8FF"), hex("#8CFFA6"), hex("#A9DCFF"), hex("#FFE08A"), hex("#FFC2E9"), hex("#D8DAE2")},
}

var contrastLight = Tokens{
	Text: hex("#000000"), Muted: hex("#33363F"), Accent: hex("#2A2691"),
	OK: hex("#0A4A21"), Warn: hex("#523700"), Danger: hex("#7D0F19"), Info: hex("#073F78"),
	Border: hex("#5B6070"), Select: hex("#DAD8FF"), OnFill: hex("#FFFFFF"),
	Series: [6]color.Color{hex("#2A2691"), hex("#0A4A21"), hex("#073F78"), hex("#523700"), hex("#6B1650"), hex("#33363F")},
}

// TokensOf gives a theme's colours. isDark says what the terminal's background
// is; it decides between the two halves of a theme that has both.
func TokensOf(name Name, isDark bool) Tokens {
	pick := func(d, l Tokens) Tokens {
		if isDark {
			return d
		}
		return l
	}
	switch name {
	case Dark:
		return dark
	case Light:
		return light
	case HighContrast:
		return pick(contrastDark, contrastLight)
	case ColourBlind:
		return pick(colourBlindDark, colourBlindLight)
	case Mono:
		return Tokens{}
	}
	return pick(dark, light)
}

// Styles are the styles that views draw with, made once for each theme.
type Styles struct {
	Tokens
	Name Name
	// Mono is set when meaning must be told by attributes and glyphs alone.
	Mono bool
	// Dark says that the terminal's background is dark.
	Dark bool

	Text, Muted, Bold, Accent         Ink
	OK, Warn, Danger, Info            Ink
	Border, BorderFocus, BorderDanger Ink
	Title                             Ink // heading of a panel
	Key, KeyOff                       Ink // a key in the help line; a key that does nothing now
	Tab, TabOn                        Ink
	BadgeAccent, BadgeWarn, BadgeInfo Ink
	BadgeDanger, BadgeOK              Ink
	Bar, BarRest, BarWarn, BarOK      Ink
	Cursor                            Ink
	Series                            [6]Ink
	selectOpen                        string
}

// New makes the styles of a theme.
func New(name Name, isDark bool) *Styles {
	t := TokensOf(name, isDark)
	base := lipgloss.NewStyle()
	fore := func(c color.Color) lipgloss.Style {
		if c == nil {
			return base
		}
		return base.Foreground(c)
	}
	fill := func(c color.Color) Ink {
		if c == nil {
			return inkOf(base.Reverse(true).Bold(true))
		}
		return inkOf(base.Background(c).Foreground(t.OnFill).Bold(true))
	}
	s := &Styles{Tokens: t, Name: name, Mono: name == Mono, Dark: isDark}
	// Without colours, weight tells what colour would.
	quiet, loud := fore(t.Muted), func(c color.Color) Ink { return inkOf(fore(c)) }
	line := fore(t.Border)
	if s.Mono {
		quiet, line = quiet.Faint(true), line.Faint(true)
		loud = func(c color.Color) Ink { return inkOf(base.Bold(true)) }
	}
	s.Text, s.Muted, s.Accent = inkOf(fore(t.Text)), inkOf(quiet), inkOf(fore(t.Accent).Bold(true))
	s.Bold, s.Title = inkOf(fore(t.Text).Bold(true)), inkOf(fore(t.Text).Bold(true))
	s.OK, s.Info, s.Warn, s.Danger = inkOf(fore(t.OK)), inkOf(fore(t.Info)), loud(t.Warn), loud(t.Danger)
	s.Border, s.BorderFocus, s.BorderDanger = inkOf(line), inkOf(fore(t.Accent)), inkOf(fore(t.Danger))
	s.Key, s.KeyOff = inkOf(fore(t.Accent).Bold(true)), inkOf(quiet)
	s.Tab, s.TabOn = inkOf(fore(t.Muted)), inkOf(fore(t.Accent).Bold(true).Underline(true))
	s.BadgeAccent, s.BadgeWarn, s.BadgeDanger = fill(t.Accent), fill(t.Warn), fill(t.Danger)
	s.BadgeInfo, s.BadgeOK = fill(t.Info), fill(t.OK)
	s.Bar, s.BarRest, s.BarWarn, s.BarOK = inkOf(fore(t.Accent)), inkOf(line), inkOf(fore(t.Warn)), inkOf(fore(t.OK))
	s.Cursor = inkOf(base.Reverse(true))
	for i, c := range t.Series {
		s.Series[i] = inkOf(fore(c))
	}
	marked := base.Reverse(true)
	if t.Select != nil {
		marked = base.Background(t.Select).Foreground(t.Text)
	}
	s.selectOpen = inkOf(marked).open
	return s
}

// Ink is a style worked out once: what opens it, before any single-line text.
// A frame has thousands of pieces, too many to work each style out anew.
type Ink struct{ open string }

func inkOf(style lipgloss.Style) Ink {
	open, _, _ := strings.Cut(style.Render("x"), "x")
	return Ink{open}
}

// Render styles one line of text.
func (i Ink) Render(s string) string {
	if i.open == "" || s == "" {
		return s
	}
	return i.open + s + "\x1b[m"
}

// Selected lays the background of the chosen row under a line, whatever styles
// the line holds already. Pad the line to its full width first.
func (s *Styles) Selected(line string) string {
	return s.selectOpen + strings.ReplaceAll(line, "\x1b[m", "\x1b[m"+s.selectOpen) + "\x1b[m"
}

// Field gives the styles of a text field's value and of its placeholder.
func (s *Styles) Field() (value, placeholder lipgloss.Style) {
	value, placeholder = lipgloss.NewStyle(), lipgloss.NewStyle().Faint(s.Mono)
	if s.Tokens.Text != nil {
		value = value.Foreground(s.Tokens.Text)
	}
	if s.Tokens.Muted != nil {
		placeholder = placeholder.Foreground(s.Tokens.Muted)
	}
	return value, placeholder
}

// Level gives the style and the glyph of a finding: ok, warn, block or refused.
func (s *Styles) Level(level string) (Ink, string) {
	switch level {
	case "ok":
		return s.OK, "✓"
	case "warn":
		return s.Warn, "!"
	case "block", "refused", "error":
		return s.Danger, "×"
	}
	return s.Info, "·"
}

// Contrast is the ratio of the WCAG between two opaque colours, 1 to 21.
func Contrast(a, b color.Color) float64 {
	la, lb := luminance(a), luminance(b)
	if la < lb {
		la, lb = lb, la
	}
	return (la + 0.05) / (lb + 0.05)
}
