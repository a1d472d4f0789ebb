package widget

import (
	"slices"
	"strings"

	"capstan/ui/theme"
)

// Column is one column of a Table.
type Column[T any] struct {
	Title string
	// Width is the number of cells; Flex shares of what is left are added to it.
	Width, Flex int
	Right       bool
	// Drop is the table width below which the column is left out; 0 keeps it always.
	Drop int
	// Cell gives the text, cleaned and styled, at most w cells wide after cutting.
	Cell func(row T) string
	// Compare orders rows by this column; nil means it cannot be sorted by.
	Compare func(a, b T) int
}

// Table is a list of rows with a cursor, a filter and an order. Only the rows
// in sight are drawn, so its cost does not grow with their number.
type Table[T any] struct {
	Columns []Column[T]
	// ID tells rows apart, so that the cursor stays on its row when the rows are replaced.
	ID func(T) string
	// Hay is the text that the filter searches.
	Hay func(T) string

	rows   []T
	hay    []string
	shown  []int // indices into rows, filtered and ordered
	filter string
	sortBy int // column, -1 for the given order
	desc   bool
	cursor int
	top    int
	height int
}

// NewTable makes an empty table in the order in which rows are given.
func NewTable[T any](id, hay func(T) string, columns ...Column[T]) *Table[T] {
	return &Table[T]{Columns: columns, ID: id, Hay: hay, sortBy: -1, height: 10}
}

// SetRows replaces the rows; filter, order and the chosen row stay.
func (t *Table[T]) SetRows(rows []T) {
	chosen := ""
	if row, ok := t.Selected(); ok {
		chosen = t.ID(row)
	}
	t.rows = rows
	t.hay = make([]string, len(rows))
	for i, r := range rows {
		t.hay[i] = strings.ToLower(t.Hay(r))
	}
	t.arrange()
	if chosen != "" {
		for i, at := range t.shown {
			if t.ID(t.rows[at]) == chosen {
				t.cursor = i
				break
			}
		}
	}
	t.clamp()
}

// Append adds rows at the end. What is there is not looked at again unless the
// rows are ordered by a column.
func (t *Table[T]) Append(rows ...T) {
	if t.sortBy >= 0 {
		t.SetRows(append(t.rows, rows...))
		return
	}
	words := strings.Fields(strings.ToLower(t.filter))
	for _, r := range rows {
		hay := strings.ToLower(t.Hay(r))
		if holds(hay, words) {
			t.shown = append(t.shown, len(t.rows))
		}
		t.rows, t.hay = append(t.rows, r), append(t.hay, hay)
	}
	t.clamp()
}

func holds(hay string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(hay, w) {
			return false
		}
	}
	return true
}

// Filter shows only rows that hold every word of s.
func (t *Table[T]) Filter(s string) {
	t.filter = s
	t.arrange()
	t.cursor, t.top = 0, 0
}

// FilterText is the filter in force.
func (t *Table[T]) FilterText() string { return t.filter }

// SortNext orders by the next column that can be sorted by: ascending, then
// descending, then the next column, and last the given order again.
func (t *Table[T]) SortNext() {
	switch {
	case t.sortBy >= 0 && !t.desc:
		t.desc = true
	default:
		t.desc = false
		next := t.sortBy + 1
		for next < len(t.Columns) && t.Columns[next].Compare == nil {
			next++
		}
		if next == len(t.Columns) {
			next = -1
		}
		t.sortBy = next
	}
	t.arrange()
}

func (t *Table[T]) arrange() {
	words := strings.Fields(strings.ToLower(t.filter))
	t.shown = t.shown[:0]
	for i := range t.rows {
		if holds(t.hay[i], words) {
			t.shown = append(t.shown, i)
		}
	}
	if t.sortBy >= 0 && t.sortBy < len(t.Columns) && t.Columns[t.sortBy].Compare != nil {
		compare := t.Columns[t.sortBy].Compare
		slices.SortStableFunc(t.shown, func(a, b int) int {
			c := compare(t.rows[a], t.rows[b])
			if t.desc {
				return -c
			}
			return c
		})
	}
	t.clamp()
}

func (t *Table[T]) clamp() {
	t.cursor = max(0, min(t.cursor, len(t.shown)-1))
}

// Rows are all rows in the order in which they were given.
func (t *Table[T]) Rows() []T { return t.rows }

// Len is the number of rows; Shown how many of them pass the filter.
func (t *Table[T]) Len() int { return len(t.rows) }

// Shown is the number of rows that pass the filter.
func (t *Table[T]) Shown() int { return len(t.shown) }

// Selected is the row under the cursor.
func (t *Table[T]) Selected() (T, bool) {
	if len(t.shown) == 0 {
		var none T
		return none, false
	}
	return t.rows[t.shown[min(t.cursor, len(t.shown)-1)]], true
}

// Select puts the cursor on the row with this id, if it is shown.
func (t *Table[T]) Select(id string) bool {
	for i, at := range t.shown {
		if t.ID(t.rows[at]) == id {
			t.cursor = i
			return true
		}
	}
	return false
}

// Move handles the keys that move the cursor, and reports whether key was one.
func (t *Table[T]) Move(key string) bool {
	page := max(1, t.height-1)
	switch key {
	case "up", "k":
		t.cursor--
	case "down", "j":
		t.cursor++
	case "pgup":
		t.cursor -= page
	case "pgdown":
		t.cursor += page
	case "ctrl+u":
		t.cursor -= page / 2
	case "ctrl+d":
		t.cursor += page / 2
	case "home", "g":
		t.cursor = 0
	case "end", "G":
		t.cursor = len(t.shown) - 1
	default:
		return false
	}
	t.clamp()
	return true
}

// Scroll moves the cursor by n rows, as a mouse wheel does.
func (t *Table[T]) Scroll(n int) {
	t.cursor += n
	t.clamp()
}

// Click puts the cursor on the row drawn at line y of the last View (0 is the
// header), and reports whether there is one.
func (t *Table[T]) Click(y int) bool {
	at := t.top + y - 1
	if y < 1 || at >= len(t.shown) {
		return false
	}
	t.cursor = at
	return true
}

// View draws header and rows in w×h cells.
func (t *Table[T]) View(w, h int, st *theme.Styles) string {
	if w <= 0 || h <= 0 {
		return ""
	}
	t.height = max(1, h-1)
	t.top = max(0, min(t.top, len(t.shown)-t.height))
	if t.cursor < t.top {
		t.top = t.cursor
	}
	if t.cursor >= t.top+t.height {
		t.top = t.cursor - t.height + 1
	}
	bar := len(t.shown) > t.height
	room := w - 2
	if bar {
		room--
	}
	columns, widths := t.layout(room)
	lines := make([]string, 0, h)
	lines = append(lines, Pad("  "+t.header(columns, widths, st), w))
	for y := range h - 1 {
		at := t.top + y
		if at >= len(t.shown) {
			lines = append(lines, Blank(w))
			continue
		}
		var b strings.Builder
		row := t.rows[t.shown[at]]
		for i, c := range columns {
			if i > 0 {
				b.WriteString("  ")
			}
			cell := t.Columns[c].Cell(row)
			if t.Columns[c].Right {
				b.WriteString(PadLeft(cell, widths[i]))
			} else {
				b.WriteString(Pad(cell, widths[i]))
			}
		}
		line := Pad(b.String(), room)
		if at == t.cursor {
			line = st.Selected(st.Accent.Render("▌") + " " + line)
		} else {
			line = "  " + line
		}
		if bar {
			line += t.thumb(y, st)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func (t *Table[T]) header(columns, widths []int, st *theme.Styles) string {
	var b strings.Builder
	for i, c := range columns {
		if i > 0 {
			b.WriteString("  ")
		}
		title := t.Columns[c].Title
		ink := st.Muted
		if c == t.sortBy {
			arrow := "↑"
			if t.desc {
				arrow = "↓"
			}
			title = Cut(title, widths[i]-1) + arrow
			ink = st.Accent
		}
		if t.Columns[c].Right {
			b.WriteString(ink.Render(PadLeft(title, widths[i])))
		} else {
			b.WriteString(ink.Render(Pad(title, widths[i])))
		}
	}
	return b.String()
}

// layout gives the columns in sight and their widths for room cells.
func (t *Table[T]) layout(room int) (columns, widths []int) {
	used, flex := 0, 0
	for i, c := range t.Columns {
		if c.Drop > 0 && room < c.Drop {
			continue
		}
		columns = append(columns, i)
		used += c.Width + 2
		flex += c.Flex
	}
	for used-2 > room && len(columns) > 1 { // what still does not fit goes, from the right
		last := columns[len(columns)-1]
		columns = columns[:len(columns)-1]
		used -= t.Columns[last].Width + 2
		flex -= t.Columns[last].Flex
	}
	left := max(0, room-used+2)
	widths = make([]int, len(columns))
	for i, c := range columns {
		widths[i] = t.Columns[c].Width
		if flex > 0 && t.Columns[c].Flex > 0 {
			share := left * t.Columns[c].Flex / flex
			widths[i] += share
			left -= share
			flex -= t.Columns[c].Flex
		}
	}
	return columns, widths
}

// thumb is the scroll bar's cell at row y.
func (t *Table[T]) thumb(y int, st *theme.Styles) string {
	n := len(t.shown)
	size := max(1, t.height*t.height/n)
	at := 0
	if n > t.height {
		at = t.top * (t.height - size) / (n - t.height)
	}
	if y >= at && y < at+size {
		return st.Muted.Render("┃")
	}
	return st.Border.Render("│")
}
