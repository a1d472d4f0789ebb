package widget

import (
	"math"
	"strings"

	"capstan/ui/theme"
)

var eighths = []rune(" ▁▂▃▄▅▆▇█")

// Sparkline draws values of 0 to 1, one cell each, the newest at the right.
// Values below 0 mean "nobody asked" and are drawn as a dot. When there are
// more values than cells the oldest are left out.
func Sparkline(values []float64, w int, ink, rest theme.Ink) string {
	if w <= 0 {
		return ""
	}
	if len(values) > w {
		values = values[len(values)-w:]
	}
	var b strings.Builder
	runs(len(values), func(i int) bool { return values[i] < 0 }, func(from, to int, empty bool) {
		if empty {
			b.WriteString(rest.Render(strings.Repeat("·", to-from)))
			return
		}
		var cells strings.Builder
		for _, v := range values[from:to] {
			// Anything above nothing shows at least its lowest mark.
			cells.WriteRune(eighths[max(1, min(8, int(math.Ceil(v*8))))])
		}
		b.WriteString(ink.Render(cells.String()))
	})
	return b.String() + Blank(w-len(values))
}

// runs calls f for each stretch of equal class.
func runs(n int, class func(int) bool, f func(from, to int, class bool)) {
	for i := 0; i < n; {
		j := i + 1
		for j < n && class(j) == class(i) {
			j++
		}
		f(i, j, class(i))
		i = j
	}
}

// Bar draws a share of 0 to 1 in w cells, with halves of a cell.
func Bar(share float64, w int, ink, rest theme.Ink) string {
	if w <= 0 {
		return ""
	}
	halves := int(math.Round(min(1, max(0, share)) * float64(2*w)))
	if share > 0 && halves == 0 {
		halves = 1
	}
	if share < 1 && halves == 2*w {
		halves-- // only what is complete looks complete
	}
	full, half := halves/2, halves%2
	bar := strings.Repeat("━", full)
	if half == 1 {
		bar += "╸"
	}
	return ink.Render(bar) + rest.Render(strings.Repeat("─", w-full-half))
}

// Sweep is a bar for an unknown total: a short piece that wanders with step.
func Sweep(step, w int, ink, rest theme.Ink) string {
	if w <= 0 {
		return ""
	}
	piece := max(1, w/5)
	span := w - piece
	at := 0
	if span > 0 {
		at = step % (2 * span)
		if at > span {
			at = 2*span - at
		}
	}
	return rest.Render(strings.Repeat("─", at)) + ink.Render(strings.Repeat("━", piece)) + rest.Render(strings.Repeat("─", w-piece-at))
}

// Part is one piece of a stacked bar.
type Part struct {
	Label string
	Value int64
}

// StackFill are the cells that tell the parts of a stacked bar apart where
// there is no colour.
var stackFill = []string{"█", "▓", "▒", "░", "▚", "▞"}

// StackedBar draws parts as one bar of w cells. Every part above zero has at
// least one cell while there is room.
func StackedBar(parts []Part, w int, st *theme.Styles) string {
	cells := shares(parts, w)
	var b strings.Builder
	for i, n := range cells {
		if n == 0 {
			continue
		}
		fill := "█"
		if st.Mono {
			fill = stackFill[i%len(stackFill)]
		}
		b.WriteString(st.Series[i%len(st.Series)].Render(strings.Repeat(fill, n)))
	}
	return Pad(b.String(), w)
}

// Swatch is the mark that stands beside part i in a legend.
func Swatch(i int, st *theme.Styles) string {
	fill := "■"
	if st.Mono {
		fill = stackFill[i%len(stackFill)]
	}
	return st.Series[i%len(st.Series)].Render(fill)
}

// shares divides w cells by value: largest remainder, nobody above zero left out.
func shares(parts []Part, w int) []int {
	cells := make([]int, len(parts))
	var total int64
	positive := 0
	for _, p := range parts {
		if p.Value > 0 {
			total += p.Value
			positive++
		}
	}
	if total == 0 || w <= 0 {
		return cells
	}
	used := 0
	for i, p := range parts {
		if p.Value <= 0 {
			continue
		}
		n := int(float64(p.Value) / float64(total) * float64(w))
		if n == 0 && positive <= w {
			n = 1
		}
		cells[i] = n
		used += n
	}
	for used != w {
		// Give to the part that is furthest below its share, take from the one furthest above.
		best, gap := -1, 0.0
		for i, p := range parts {
			if p.Value <= 0 || used > w && cells[i] <= 1 {
				continue
			}
			d := float64(p.Value)/float64(total)*float64(w) - float64(cells[i])
			if used > w {
				d = -d
			}
			if best < 0 || d > gap {
				best, gap = i, d
			}
		}
		if best < 0 {
			break
		}
		if used < w {
			cells[best]++
			used++
		} else {
			cells[best]--
			used--
		}
	}
	return cells
}

// Curve draws values of 0 to 1 as a filled line of w×h cells in braille, two
// values a cell across and four steps a cell up; values below 0 leave a gap.
func Curve(values []float64, w, h int, ink theme.Ink) []string {
	if w <= 0 || h <= 0 {
		return nil
	}
	dots := make([][]rune, h)
	for y := range dots {
		dots[y] = make([]rune, w)
	}
	cols := 2 * w
	for x := range cols {
		v := at(values, x, cols)
		if v < 0 {
			continue
		}
		top := int(math.Round(min(1, v) * float64(4*h-1)))
		for step := 0; step <= top; step++ {
			row := 4*h - 1 - step
			dots[row/4][x/2] |= brailleDot[x%2][row%4]
		}
	}
	lines := make([]string, h)
	for y := range dots {
		var b strings.Builder
		for _, d := range dots[y] {
			if d == 0 {
				b.WriteByte(' ')
			} else {
				b.WriteRune(0x2800 | d)
			}
		}
		lines[y] = ink.Render(b.String())
	}
	return lines
}

var brailleDot = [2][4]rune{{0x01, 0x02, 0x04, 0x40}, {0x08, 0x10, 0x20, 0x80}}

// at samples values at column x of cols, in a straight line between neighbours.
func at(values []float64, x, cols int) float64 {
	n := len(values)
	switch {
	case n == 0:
		return -1
	case n == 1 || cols == 1:
		return values[n-1]
	}
	p := float64(x) / float64(cols-1) * float64(n-1)
	i := min(int(p), n-2)
	a, b := values[i], values[i+1]
	f := p - float64(i)
	if a < 0 || b < 0 {
		if f < 0.5 {
			return a
		}
		return b
	}
	return a + (b-a)*f
}
