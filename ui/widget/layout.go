// Package widget holds the parts that screens are built from: boxes, bars,
// charts, the table, the directory picker and the dialogs. A widget draws
// into the width and height it is given and never outside; it does no I/O.
package widget

import (
	"strings"

	"github.com/charmbracelet/x/ansi"

	"capstan/ui/theme"
)

// Width is the number of cells that s takes.
func Width(s string) int { return ansi.StringWidth(s) }

// Cut shortens s to w cells, ending in … when something was cut.
func Cut(s string, w int) string {
	if w <= 0 {
		return ""
	}
	return ansi.Truncate(s, w, "…")
}

// CutLeft shortens s from the left, for paths, whose end says most.
func CutLeft(s string, w int) string {
	have := Width(s)
	if have <= w {
		return s
	}
	if w <= 1 {
		return Cut(s, w)
	}
	return "…" + ansi.TruncateLeft(s, have-w+1, "")
}

// Pad makes s exactly w cells wide.
func Pad(s string, w int) string {
	have := Width(s)
	if have > w {
		s = Cut(s, w)
		have = Width(s)
	}
	return s + Blank(w-have)
}

// PadLeft is Pad with s on the right.
func PadLeft(s string, w int) string {
	have := Width(s)
	if have >= w {
		return Pad(s, w)
	}
	return Blank(w-have) + s
}

// Centre puts s in the middle of w cells.
func Centre(s string, w int) string {
	have := Width(s)
	if have >= w {
		return Pad(s, w)
	}
	return Pad(Blank((w-have)/2)+s, w)
}

const blanks = "                                                                                                                                "

// Blank is n spaces.
func Blank(n int) string {
	switch {
	case n <= 0:
		return ""
	case n <= len(blanks):
		return blanks[:n]
	}
	return strings.Repeat(" ", n)
}

// Between puts left at the left end of w cells and right at the right end; the
// left one gives way.
func Between(left, right string, w int) string {
	r := Width(right)
	if r >= w {
		return Pad(right, w)
	}
	if r > 0 {
		left = Pad(left, w-r-1) + " "
	}
	return Pad(left, w-r) + right
}

// Lines splits text into lines.
func Lines(s string) []string { return strings.Split(s, "\n") }

// Fit makes s exactly w×h cells: lines are cut or padded, missing lines added.
func Fit(s string, w, h int) string {
	if w <= 0 || h <= 0 {
		return ""
	}
	lines := strings.Split(s, "\n")
	if len(lines) > h {
		lines = lines[:h]
	}
	for i, l := range lines {
		lines[i] = Pad(l, w)
	}
	for len(lines) < h {
		lines = append(lines, Blank(w))
	}
	return strings.Join(lines, "\n")
}

// Wrap breaks s at words into lines of at most w cells.
func Wrap(s string, w int) []string {
	if w <= 0 {
		return nil
	}
	return strings.Split(ansi.Wrap(s, w, ""), "\n")
}

// Box draws a rounded frame of exactly w×h cells around body. title and note
// sit in the upper edge, left and right.
func Box(title, note, body string, w, h int, edge theme.Ink) string {
	if w < 4 || h < 2 {
		return Fit(body, w, h)
	}
	inner := w - 4
	var b strings.Builder
	b.WriteString(boxTop(title, note, w, edge))
	side := edge.Render("│")
	lines := strings.Split(body, "\n")
	for i := range h - 2 {
		line := ""
		if i < len(lines) {
			line = lines[i]
		}
		b.WriteString("\n" + side + " " + Pad(line, inner) + " " + side)
	}
	b.WriteString("\n" + edge.Render("╰"+strings.Repeat("─", w-2)+"╯"))
	return b.String()
}

func boxTop(title, note string, w int, edge theme.Ink) string {
	room := w - 4
	if note != "" && Width(note)+Width(title)+4 > room {
		note = Cut(note, room-Width(title)-4)
	}
	left, right := "", ""
	if title != "" {
		left = " " + Cut(title, room-2) + " "
	}
	if note != "" {
		right = " " + note + " "
	}
	rest := max(0, w-4-Width(left)-Width(right))
	return edge.Render("╭─") + left + edge.Render(strings.Repeat("─", rest)) + right + edge.Render("─╮")
}

// Columns joins blocks of the same height side by side with gap blanks between.
func Columns(gap int, blocks ...string) string {
	split := make([][]string, len(blocks))
	widths := make([]int, len(blocks))
	rows := 0
	for i, b := range blocks {
		split[i] = strings.Split(b, "\n")
		for _, l := range split[i] {
			widths[i] = max(widths[i], Width(l))
		}
		rows = max(rows, len(split[i]))
	}
	var out strings.Builder
	for r := range rows {
		if r > 0 {
			out.WriteByte('\n')
		}
		for i := range blocks {
			if i > 0 {
				out.WriteString(Blank(gap))
			}
			line := ""
			if r < len(split[i]) {
				line = split[i][r]
			}
			out.WriteString(Pad(line, widths[i]))
		}
	}
	return out.String()
}

// Overlay lays top over the middle of base, which steps back into one quiet
// ink. Both are blocks of lines; base is w×h cells.
func Overlay(base, top string, w, h int, quiet theme.Ink) string {
	under, over := strings.Split(Fit(ansi.Strip(base), w, h), "\n"), strings.Split(top, "\n")
	for i, l := range under {
		under[i] = quiet.Render(l)
	}
	if len(over) > h {
		over = over[:h]
	}
	tw := 0
	for _, l := range over {
		tw = max(tw, Width(l))
	}
	tw = min(tw, w)
	x, y := (w-tw)/2, (h-len(over))/2
	for i, l := range over {
		row := under[y+i]
		under[y+i] = ansi.Truncate(row, x, "") + "\x1b[m" + Pad(l, tw) + "\x1b[m" + ansi.TruncateLeft(row, x+tw, "")
	}
	return strings.Join(under, "\n")
}
