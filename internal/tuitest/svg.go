package tuitest

import (
	"fmt"
	"image/color"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	uv "github.com/charmbracelet/ultraviolet"
)

// Page is what a terminal without colours of its own looks like.
type Page struct {
	Background, Foreground string
}

// The pages of the pictures.
var (
	DarkPage  = Page{Background: "#1e1e2e", Foreground: "#e6e6e6"}
	LightPage = Page{Background: "#fafafa", Foreground: "#1f2330"}
)

// Cells have this size; the numbers were chosen by eye for a font size of 16.
const (
	cellW    = 9.6
	cellH    = 20.0
	padding  = 12.0
	baseline = 15.4
	// seam is how much wider and higher than its cell a background is drawn, so
	// that no line shows between two of them.
	seam = 0.3
)

// cells is the part of an emulator that a picture needs.
type cells interface {
	CellAt(x, y int) *uv.Cell
	Width() int
	Height() int
}

// SVG draws every cell at its own place, so that no font can shift a line. The
// same screen gives the same bytes.
func SVG(screen cells, page Page) string {
	w, h := screen.Width(), screen.Height()
	width, height := 2*padding+float64(w)*cellW, 2*padding+float64(h)*cellH
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%.1f" height="%.1f" viewBox="0 0 %.1f %.1f">`+"\n", width, height, width, height)
	fmt.Fprintf(&b, `<rect width="%.1f" height="%.1f" rx="8" fill="%s"/>`+"\n", width, height, page.Background)
	b.WriteString(`<g font-family="JetBrains Mono, DejaVu Sans Mono, Noto Sans Mono CJK JP" font-size="16" xml:space="preserve">` + "\n")
	for y := range h {
		backgrounds(&b, screen, y, page)
	}
	for y := range h {
		for x := range w {
			glyph(&b, screen.CellAt(x, y), x, y, page)
		}
	}
	b.WriteString("</g>\n</svg>\n")
	return b.String()
}

// backgrounds draws one rectangle for each run of cells with the same background.
func backgrounds(b *strings.Builder, screen cells, y int, page Page) {
	for x := 0; x < screen.Width(); {
		_, bg := inks(screen.CellAt(x, y), page)
		end := x + 1
		for end < screen.Width() {
			if _, next := inks(screen.CellAt(end, y), page); next != bg {
				break
			}
			end++
		}
		if bg != "" {
			fmt.Fprintf(b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`+"\n",
				padding+float64(x)*cellW, padding+float64(y)*cellH, float64(end-x)*cellW+seam, cellH+seam, bg)
		}
		x = end
	}
}

// inks are a cell's colours after reversal; background "" is the page's.
func inks(c *uv.Cell, page Page) (fg, bg string) {
	if c == nil {
		return page.Foreground, ""
	}
	fg, bg = hexOf(c.Style.Fg, page.Foreground), hexOf(c.Style.Bg, "")
	if c.Style.Attrs&uv.AttrReverse != 0 {
		if bg == "" {
			bg = page.Background
		}
		fg, bg = bg, fg
	}
	return fg, bg
}

func hexOf(c color.Color, otherwise string) string {
	if c == nil {
		return otherwise
	}
	r, g, b, _ := c.RGBA()
	return fmt.Sprintf("#%02x%02x%02x", r>>8, g>>8, b>>8)
}

var escape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

func glyph(b *strings.Builder, c *uv.Cell, x, y int, page Page) {
	if c == nil || c.Width == 0 {
		return
	}
	fg, _ := inks(c, page)
	left, top := padding+float64(x)*cellW, padding+float64(y)*cellH
	if c.Style.Underline != 0 {
		fmt.Fprintf(b, `<rect x="%.1f" y="%.1f" width="%.1f" height="1.2" fill="%s"/>`+"\n", left, top+18, float64(c.Width)*cellW+seam, fg)
	}
	if strings.TrimSpace(c.Content) == "" {
		return
	}
	faint := ""
	if c.Style.Attrs&uv.AttrFaint != 0 {
		faint = ` opacity="0.6"`
	}
	if shape(b, c.Content, left, top, fg, faint) {
		return
	}
	attrs := faint
	if c.Style.Attrs&uv.AttrBold != 0 {
		attrs += ` font-weight="bold"`
	}
	if c.Style.Attrs&uv.AttrItalic != 0 {
		attrs += ` font-style="italic"`
	}
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" fill="%s"%s>%s</text>`+"\n", left, top+baseline, fg, attrs, escape.Replace(c.Content))
}

// shape draws block elements and box-drawing lines as geometry: fonts leave
// gaps between them that terminals, which draw them themselves, do not have.
func shape(b *strings.Builder, content string, left, top float64, fg, attrs string) bool {
	runes := []rune(content)
	if len(runes) != 1 {
		return false
	}
	rect := func(x, y, w, h float64) {
		fmt.Fprintf(b, `<rect x="%.2f" y="%.2f" width="%.2f" height="%.2f" fill="%s"%s/>`+"\n", left+x, top+y, w, h, fg, attrs)
	}
	midX, midY := cellW/2, cellH/2
	thin, thick := 1.3, 3.2
	switch r := runes[0]; {
	case r >= '▁' && r <= '█':
		part := cellH * float64(r-'▁'+1) / 8
		rect(0, cellH-part, cellW+seam, part)
	case r == '▀':
		rect(0, 0, cellW+seam, midY+seam)
	case r == '▌':
		rect(0, 0, midX, cellH+seam)
	case r == '─':
		rect(0, midY-thin/2, cellW+seam, thin)
	case r == '━':
		rect(0, midY-thick/2, cellW+seam, thick)
	case r == '╸':
		rect(0, midY-thick/2, midX, thick)
		rect(midX, midY-thin/2, midX+seam, thin)
	case r == '│':
		rect(midX-thin/2, 0, thin, cellH+seam)
	case r == '┃':
		rect(midX-thick/2, 0, thick, cellH+seam)
	case strings.ContainsRune("╭╮╰╯", r):
		radius := 5.0
		edgeX, edgeY, sx, sy := cellW, cellH, 1.0, 1.0 // ╭: right and down
		if r == '╮' || r == '╯' {
			edgeX, sx = 0, -1
		}
		if r == '╰' || r == '╯' {
			edgeY, sy = 0, -1
		}
		fmt.Fprintf(b, `<path d="M%.2f %.2f L%.2f %.2f Q%.2f %.2f %.2f %.2f L%.2f %.2f" fill="none" stroke="%s" stroke-width="%.1f"%s/>`+"\n",
			left+edgeX, top+midY, left+midX+sx*min(radius, midX), top+midY, left+midX, top+midY, left+midX, top+midY+sy*radius, left+midX, top+edgeY, fg, thin, attrs)
	case r >= 0x2801 && r <= 0x28ff:
		bits := []struct {
			bit  rune
			x, y int
		}{{1, 0, 0}, {2, 0, 1}, {4, 0, 2}, {8, 1, 0}, {16, 1, 1}, {32, 1, 2}, {64, 0, 3}, {128, 1, 3}}
		for _, d := range bits {
			if (r-0x2800)&d.bit != 0 {
				fmt.Fprintf(b, `<circle cx="%.2f" cy="%.2f" r="1.5" fill="%s"%s/>`+"\n", left+cellW*(0.25+0.5*float64(d.x)), top+cellH*(0.125+0.25*float64(d.y)), fg, attrs)
			}
		}
	default:
		return false
	}
	return true
}

// Picture keeps a picture under dir as name.svg and, where rsvg-convert is
// installed, name.png. Without -update it only compares the SVG.
func Picture(t testing.TB, dir, name, svg string) {
	t.Helper()
	path := filepath.Join(dir, name+".svg")
	if !*update {
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatalf("%v (make it with -update)", err)
		}
		if string(want) != svg {
			t.Errorf("%s is not what the console draws now; run with -update and look at it", path)
		}
		return
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(svg), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("rsvg-convert"); err != nil {
		t.Logf("no rsvg-convert: %s.png stays as it is", name)
		return
	}
	out, err := exec.CommandContext(t.Context(), "rsvg-convert", "-z", "1.5", "-o", filepath.Join(dir, name+".png"), path).CombinedOutput()
	if err != nil {
		t.Fatalf("rsvg-convert: %v\n%s", err, out)
	}
}
