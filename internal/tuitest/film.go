package tuitest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	uv "github.com/charmbracelet/ultraviolet"
)

// Film is an animated picture of a terminal. Each line of the screen is drawn
// once for each content that it has, and shown while it has it; renderers
// without animation, and people who asked for less motion, see the last frame.
type Film struct {
	page   Page
	w, h   int
	frames [][]string // by frame, the drawing of each line
	ends   []time.Duration
}

// NewFilm makes a film of screens that have the size of term's.
func NewFilm(term *Terminal, page Page) *Film {
	return &Film{page: page, w: term.emu.Width(), h: term.emu.Height()}
}

// Shoot adds what the terminal shows now, for a time on the film.
func (f *Film) Shoot(term *Terminal, shown time.Duration) {
	term.mu.Lock()
	defer term.mu.Unlock()
	rows := make([]string, f.h)
	for y := range rows {
		rows[y] = row(term.emu, y, f.page)
	}
	end := shown
	if n := len(f.ends); n > 0 {
		end += f.ends[n-1]
		if slices.Equal(f.frames[n-1], rows) {
			f.ends[n-1] = end
			return
		}
	}
	f.frames, f.ends = append(f.frames, rows), append(f.ends, end)
}

// row draws one line: each word as one element at its own place, stretched to
// its cells whatever font there is.
func row(screen cells, y int, page Page) string {
	var b strings.Builder
	backgrounds(&b, screen, y, page)
	word, attrs, from, next := "", "", 0, 0
	flush := func() {
		if word != "" {
			fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" textLength="%.1f" %s>%s</text>`+"\n",
				padding+float64(from)*cellW, padding+float64(y)*cellH+baseline, float64(next-from)*cellW, attrs, escape.Replace(word))
		}
		word = ""
	}
	for x := range screen.Width() {
		c := screen.CellAt(x, y)
		if c == nil || c.Width == 0 {
			continue
		}
		fg, _ := inks(c, page)
		left, top := padding+float64(x)*cellW, padding+float64(y)*cellH
		if c.Style.Underline != 0 {
			fmt.Fprintf(&b, `<rect x="%.1f" y="%.1f" width="%.1f" height="1.2" fill="%s"/>`+"\n", left, top+18, float64(c.Width)*cellW+seam, fg)
		}
		faint := ""
		if c.Style.Attrs&uv.AttrFaint != 0 {
			faint = ` opacity="0.6"`
		}
		if strings.TrimSpace(c.Content) == "" || shape(&b, c.Content, left, top, fg, faint) {
			flush()
			continue
		}
		style := `fill="` + fg + `"` + faint
		if c.Style.Attrs&uv.AttrBold != 0 {
			style += ` font-weight="bold"`
		}
		if c.Style.Attrs&uv.AttrItalic != 0 {
			style += ` font-style="italic"`
		}
		if style != attrs || x != next || word == "" || c.Width != 1 {
			flush()
			from, attrs = x, style
		}
		word += c.Content
		next = x + c.Width
		if c.Width != 1 {
			flush()
		}
	}
	flush()
	return b.String()
}

// span is a time in which a line has a content, in frames: from the first up to the last.
type span struct{ from, to int }

// SVG is the film. The same frames give the same bytes.
func (f *Film) SVG() string {
	width, height := 2*padding+float64(f.w)*cellW, 2*padding+float64(f.h)*cellH
	total := f.ends[len(f.ends)-1]
	var styles, body strings.Builder
	classes := map[string]string{} // by the spans
	for y := range f.h {
		spans := map[string][]span{}
		var order []string
		for i, rows := range f.frames {
			content := rows[y]
			if content == "" {
				continue
			}
			list, known := spans[content]
			if !known {
				order = append(order, content)
			}
			if n := len(list); n > 0 && list[n-1].to == i {
				list[n-1].to = i + 1
			} else {
				list = append(list, span{i, i + 1})
			}
			spans[content] = list
		}
		for _, content := range order {
			list := spans[content]
			if list[0] == (span{0, len(f.frames)}) { // it never goes
				body.WriteString(content)
				continue
			}
			key := fmt.Sprint(list)
			class, known := classes[key]
			if !known {
				class = fmt.Sprintf("k%d", len(classes))
				classes[key] = class
				f.keyframes(&styles, class, list, total)
			}
			hidden := ` visibility="hidden"`
			if list[len(list)-1].to == len(f.frames) {
				hidden = ""
			}
			fmt.Fprintf(&body, "<g class=\"%s\"%s>\n%s</g>\n", class, hidden, content)
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%.1f" height="%.1f" viewBox="0 0 %.1f %.1f">`+"\n", width, height, width, height)
	fmt.Fprintf(&b, "<style>\n@media (prefers-reduced-motion: no-preference) {\n%s}\n</style>\n", styles.String())
	fmt.Fprintf(&b, `<rect width="%.1f" height="%.1f" rx="8" fill="%s"/>`+"\n", width, height, f.page.Background)
	b.WriteString(`<g font-family="JetBrains Mono, DejaVu Sans Mono, Noto Sans Mono CJK JP, monospace" font-size="16" xml:space="preserve">` + "\n")
	b.WriteString(body.String())
	b.WriteString("</g>\n</svg>\n")
	return b.String()
}

// keyframes write when a class is seen.
func (f *Film) keyframes(b *strings.Builder, class string, list []span, total time.Duration) {
	percent := func(frame int) string {
		at := time.Duration(0)
		if frame > 0 {
			at = f.ends[frame-1]
		}
		return fmt.Sprintf("%.3f%%", 100*float64(at)/float64(total))
	}
	fmt.Fprintf(b, ".%s{animation:%s %.2fs step-end infinite}\n@keyframes %s{", class, class, total.Seconds(), class)
	if list[0].from > 0 {
		b.WriteString("0%{visibility:hidden}")
	}
	for _, s := range list {
		fmt.Fprintf(b, "%s{visibility:visible}", percent(s.from))
		if s.to < len(f.frames) {
			fmt.Fprintf(b, "%s{visibility:hidden}", percent(s.to))
		}
	}
	b.WriteString("}\n")
}
