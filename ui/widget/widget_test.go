package widget

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"rsc.io/qr"

	"capstan/ui/text"
	"capstan/ui/theme"
)

var st = theme.New(theme.Dark, true)

func bare(s string) string { return ansi.Strip(s) }

func press(name string) tea.KeyPressMsg {
	switch name {
	case "enter":
		return tea.KeyPressMsg{Code: tea.KeyEnter}
	case "esc":
		return tea.KeyPressMsg{Code: tea.KeyEscape}
	case "tab":
		return tea.KeyPressMsg{Code: tea.KeyTab}
	case "left":
		return tea.KeyPressMsg{Code: tea.KeyLeft}
	case "down":
		return tea.KeyPressMsg{Code: tea.KeyDown}
	case "up":
		return tea.KeyPressMsg{Code: tea.KeyUp}
	case "backspace":
		return tea.KeyPressMsg{Code: tea.KeyBackspace}
	}
	r := []rune(name)[0]
	return tea.KeyPressMsg{Code: r, Text: name}
}

func TestFitIsExact(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "a", "版本版本版本", "one\ntwo\nthree", "\x1b[31mred text that is long\x1b[m", strings.Repeat("x\n", 50)} {
		for w := range 12 {
			for h := range 5 {
				got := Fit(s, w, h)
				if w == 0 || h == 0 {
					if got != "" {
						t.Errorf("Fit(%q, %d, %d) = %q", s, w, h, got)
					}
					continue
				}
				lines := strings.Split(got, "\n")
				if len(lines) != h {
					t.Errorf("Fit(%q, %d, %d) has %d lines", s, w, h, len(lines))
				}
				for _, l := range lines {
					if Width(l) != w {
						t.Errorf("Fit(%q, %d, %d) has a line of %d cells: %q", s, w, h, Width(l), l)
					}
				}
			}
		}
	}
}

func TestCutLeftKeepsTheEnd(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in   string
		w    int
		want string
	}{{"/home/maria/notes/dist", 12, "…/notes/dist"}, {"short", 10, "short"}, {"abc", 1, "…"}, {"abc", 0, ""}} {
		if got := CutLeft(c.in, c.w); got != c.want {
			t.Errorf("CutLeft(%q, %d) = %q, want %q", c.in, c.w, got, c.want)
		}
	}
}

func TestSparkline(t *testing.T) {
	t.Parallel()
	if got := bare(Sparkline([]float64{-1, 0, 0.5, 1}, 4, st.Bar, st.BarRest)); got != "·▁▄█" {
		t.Errorf("got %q", got)
	}
	if got := bare(Sparkline([]float64{0, 0, 1, 1}, 2, st.Bar, st.BarRest)); got != "██" {
		t.Errorf("the newest values are not the ones kept: %q", got)
	}
	if got := bare(Sparkline(nil, 3, st.Bar, st.BarRest)); got != "   " {
		t.Errorf("got %q", got)
	}
}

func TestBarNeverLies(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		share float64
		want  string
	}{{0, "──────────"}, {0.0001, "╸─────────"}, {0.25, "━━╸───────"}, {0.5, "━━━━━─────"}, {0.9999, "━━━━━━━━━╸"}, {1, "━━━━━━━━━━"}, {7, "━━━━━━━━━━"}, {-1, "──────────"}} {
		if got := bare(Bar(c.share, 10, st.Bar, st.BarRest)); got != c.want {
			t.Errorf("Bar(%v) = %q, want %q", c.share, got, c.want)
		}
	}
}

func TestSweepStaysInside(t *testing.T) {
	t.Parallel()
	for w := range 30 {
		for step := range 80 {
			if got := Width(Sweep(step, w, st.Bar, st.BarRest)); got != w {
				t.Fatalf("Sweep(%d, %d) has %d cells", step, w, got)
			}
		}
	}
}

func TestSharesFillTheBar(t *testing.T) {
	t.Parallel()
	for _, values := range [][]int64{{1}, {1, 1}, {1, 1_000_000}, {5, 3, 2}, {0, 7, 0}, {1, 1, 1, 1, 1, 1, 1}, {71, 15, 9, 4, 1}} {
		var parts []Part
		positive := 0
		for _, v := range values {
			parts = append(parts, Part{Value: v})
			if v > 0 {
				positive++
			}
		}
		for w := 1; w < 60; w++ {
			sum := 0
			for i, n := range shares(parts, w) {
				sum += n
				if w >= positive && values[i] > 0 && n == 0 {
					t.Errorf("%v in %d cells leaves part %d out", values, w, i)
				}
				if values[i] == 0 && n != 0 {
					t.Errorf("%v in %d cells gives %d cells to nothing", values, w, n)
				}
			}
			if sum != w {
				t.Errorf("%v in %d cells fills %d", values, w, sum)
			}
		}
	}
}

func TestCurve(t *testing.T) {
	t.Parallel()
	lines := Curve([]float64{0, 1}, 2, 1, st.Bar)
	if got := bare(strings.Join(lines, "")); got != "⣠⣾" {
		t.Errorf("got %q", got)
	}
	full := bare(strings.Join(Curve([]float64{1, 1, 1}, 3, 2, st.Bar), "|"))
	if full != "⣿⣿⣿|⣿⣿⣿" {
		t.Errorf("a full curve is %q", full)
	}
	if got := bare(strings.Join(Curve([]float64{-1, -1}, 3, 1, st.Bar), "")); got != "   " {
		t.Errorf("a curve of nothing is %q", got)
	}
}

func TestMeter(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var m Meter
	if m.Share() != -1 || m.Rate() != 0 || m.ETA(at) != 0 {
		t.Error("an empty meter foretells something")
	}
	for i := range 11 {
		m.Observe(at.Add(time.Duration(i)*time.Second), int64(i)<<20, 20<<20)
	}
	now := at.Add(10 * time.Second)
	if r := m.Rate(); r < 1<<20-1 || r > 1<<20+1 {
		t.Errorf("rate %f, want 1 MiB/s", r)
	}
	if eta := m.ETA(now); eta != 10*time.Second {
		t.Errorf("ETA %v, want 10 s", eta)
	}
	lines := m.View(now, 0, 60, st, text.Of("en"))
	if got := bare(lines[1]); !strings.Contains(got, "50 %") || !strings.Contains(got, "10.0 MiB / 20.0 MiB") || !strings.Contains(got, "1.0 MiB/s") || !strings.Contains(got, "ETA 0:10") {
		t.Errorf("the line is %q", got)
	}
	var early Meter
	early.Observe(at, 0, 100)
	early.Observe(at.Add(time.Second), 10, 100)
	if early.ETA(at.Add(time.Second)) != 0 {
		t.Error("an ETA after one second")
	}
}

type row struct {
	name string
	n    int
}

func newTable(n int) *Table[row] {
	t := NewTable(func(r row) string { return r.name }, func(r row) string { return r.name },
		Column[row]{Title: "Name", Width: 8, Flex: 1, Cell: func(r row) string { return r.name }, Compare: func(a, b row) int { return strings.Compare(a.name, b.name) }},
		Column[row]{Title: "N", Width: 5, Right: true, Drop: 30, Cell: func(r row) string { return fmt.Sprint(r.n) }, Compare: func(a, b row) int { return a.n - b.n }})
	rows := make([]row, n)
	for i := range rows {
		rows[i] = row{fmt.Sprintf("row%04d", i), (i * 7919) % n}
	}
	t.SetRows(rows)
	return t
}

func TestTableMovesFiltersAndSorts(t *testing.T) {
	t.Parallel()
	tb := newTable(1000)
	tb.View(40, 11, st)
	tb.Move("end")
	if r, _ := tb.Selected(); r.name != "row0999" {
		t.Errorf("end is %s", r.name)
	}
	if v := bare(tb.View(40, 11, st)); !strings.Contains(v, "row0999") || strings.Contains(v, "row0980") {
		t.Errorf("the end is not in sight:\n%s", v)
	}
	tb.Filter("ROW 99")
	if tb.Shown() != 19 || tb.Len() != 1000 {
		t.Errorf("filter shows %d of %d", tb.Shown(), tb.Len())
	}
	tb.Filter("nothing like it")
	if _, ok := tb.Selected(); ok {
		t.Error("a row is chosen among none")
	}
	tb.Filter("")
	tb.SortNext()
	tb.SortNext() // by name, descending
	tb.Move("home")
	if r, _ := tb.Selected(); r.name != "row0999" {
		t.Errorf("descending starts with %s", r.name)
	}
	tb.SortNext() // by n
	tb.Move("home")
	if r, _ := tb.Selected(); r.n != 0 {
		t.Errorf("by number starts with %d", r.n)
	}
	tb.SortNext()
	tb.SortNext() // the given order
	tb.Move("home")
	if r, _ := tb.Selected(); r.name != "row0000" {
		t.Errorf("the given order starts with %s", r.name)
	}
}

// Rows that come page by page make the same table as all rows at once.
func TestTableGrowsPageByPage(t *testing.T) {
	for _, filter := range []string{"", "7"} {
		for _, sorted := range []bool{false, true} {
			whole, grown := newTable(300), newTable(0)
			for _, table := range []*Table[row]{whole, grown} {
				table.Filter(filter)
				if sorted {
					table.SortNext()
				}
			}
			for from := 0; from < 300; from += 100 {
				grown.Append(whole.rows[from : from+100]...)
			}
			if !slices.Equal(whole.shown, grown.shown) || !slices.Equal(whole.hay, grown.hay) || whole.Len() != grown.Len() {
				t.Errorf("filter %q, sorted %v: %d of %d rows, want %d of %d", filter, sorted, grown.Shown(), grown.Len(), whole.Shown(), whole.Len())
			}
		}
	}
}

func TestTableKeepsTheChosenRow(t *testing.T) {
	t.Parallel()
	tb := newTable(100)
	tb.Select("row0042")
	rows := append([]row{{"new", 1}}, tb.rows...)
	tb.SetRows(rows)
	if r, _ := tb.Selected(); r.name != "row0042" {
		t.Errorf("the cursor went to %s", r.name)
	}
	tb.SetRows(rows[:3])
	if _, ok := tb.Selected(); !ok {
		t.Error("no row is chosen after the chosen one went")
	}
}

func TestTableIsExactAtEverySize(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 5, 200} {
		tb := newTable(n)
		for w := range 50 {
			for h := range 8 {
				v := tb.View(w, h, st)
				if w == 0 || h == 0 {
					continue
				}
				lines := strings.Split(v, "\n")
				if len(lines) != h {
					t.Fatalf("%d rows in %d×%d: %d lines", n, w, h, len(lines))
				}
				for _, l := range lines {
					if w >= 6 && Width(l) > w {
						t.Fatalf("%d rows in %d×%d: a line of %d cells: %q", n, w, h, Width(l), bare(l))
					}
				}
			}
		}
	}
}

func TestTableClick(t *testing.T) {
	t.Parallel()
	tb := newTable(100)
	tb.View(40, 11, st)
	if tb.Click(0) {
		t.Error("the header can be chosen")
	}
	if !tb.Click(3) {
		t.Error("row 3 cannot be chosen")
	}
	if r, _ := tb.Selected(); r.name != "row0002" {
		t.Errorf("the third line is %s", r.name)
	}
}

func TestConfirmPreselectsCancel(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	later := at.Add(time.Second)
	for _, c := range []struct {
		name string
		keys []string
		want Outcome
	}{
		{"enter refuses", []string{"enter"}, Refused},
		{"turn and enter", []string{"left", "enter"}, Confirmed},
		{"turn twice", []string{"tab", "tab", "enter"}, Refused},
		{"y", []string{"y"}, Confirmed},
		{"n", []string{"n"}, Refused},
		{"esc", []string{"esc"}, Refused},
		{"another key", []string{"x"}, Pending},
	} {
		d := Confirm{Title: "t", Verb: "Do"}
		d.Open(at)
		got := Pending
		for _, k := range c.keys {
			got = d.Update(later, press(k))
		}
		if got != c.want {
			t.Errorf("%s: outcome %d, want %d", c.name, got, c.want)
		}
	}
}

func TestConfirmGrace(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	d := Confirm{Title: "t", Verb: "Do"}
	d.Open(at)
	if d.Update(at.Add(100*time.Millisecond), press("y")) != Pending {
		t.Error("a key in flight confirmed")
	}
	if d.Update(at.Add(600*time.Millisecond), press("y")) != Confirmed {
		t.Error("a key after the pause does not confirm")
	}
	async := Confirm{Title: "t", Verb: "Do", Async: true}
	async.Open(at)
	for ms := 100; ms < 1500; ms += 100 { // somebody who types on
		if async.Update(at.Add(time.Duration(ms)*time.Millisecond), press("y")) != Pending {
			t.Fatalf("typing on confirmed after %d ms", ms)
		}
	}
	if async.Update(at.Add(1600*time.Millisecond), press("y")) != Confirmed {
		t.Error("the grace never ends")
	}
}

func TestConfirmByWord(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	d := Confirm{Title: "t", Verb: "Do", Word: "beta"}
	d.Open(at)
	later := at.Add(time.Second)
	if d.Update(later, press("y")) != Pending || d.Update(later, press("enter")) != Pending {
		t.Error("y and enter confirmed without the word")
	}
	d.Update(later, press("backspace"))
	d.Update(later, tea.PasteMsg{Content: "beta"})
	if d.Update(later, press("enter")) != Pending {
		t.Error("a pasted word confirmed")
	}
	for _, k := range "beta" {
		d.Update(later, press(string(k)))
	}
	if d.Update(later, press("enter")) != Confirmed {
		t.Error("the typed word does not confirm")
	}
}

func TestPickerCompletes(t *testing.T) {
	t.Parallel()
	p := NewPicker("/home/m")
	p.Recent = []string{"/r1", "/r2"}
	p.Found = []string{"/home/maria/dist", "/home/maria/docs"}
	typed, meant := p.Update(press("tab"))
	if !typed || !meant || p.Value() != "/home/maria/d" {
		t.Errorf("tab gives %q (typed %v, meant %v)", p.Value(), typed, meant)
	}
	p.Update(press("tab")) // nothing more in common: the list is entered
	if p.Value() != "/home/maria/dist" {
		t.Errorf("the list starts with %q", p.Value())
	}
	p.Update(press("down"))
	if p.Value() != "/home/maria/docs" {
		t.Errorf("down gives %q", p.Value())
	}
	if typed, _ := p.Update(press("x")); !typed || p.Value() != "/home/maria/dx" {
		t.Errorf("typing goes on from %q", p.Value())
	}
	p.Found = nil
	p.Update(press("down"))
	if p.Value() != "/r1" {
		t.Errorf("recent folders: %q", p.Value())
	}
}

func TestChoiceNarrowsAndSkipsWhatCannotBeChosen(t *testing.T) {
	t.Parallel()
	c := Choice{Title: "t", Items: []ChoiceItem{{Label: "alpha", Why: "no"}, {Label: "beta"}, {Label: "gamma"}}}
	if _, o := c.Update(press("enter")); o != Pending {
		t.Error("an item with a reason was chosen")
	}
	c.Update(press("g"))
	if at, o := c.Update(press("enter")); o != Confirmed || at != 2 {
		t.Errorf("g and enter choose %d (%d)", at, o)
	}
	if _, o := c.Update(press("esc")); o != Refused {
		t.Error("esc does not refuse")
	}
}

func TestDialogsFitEverySize(t *testing.T) {
	t.Parallel()
	s := text.Of("es")
	confirm := Confirm{Title: "Promover 2.5.0 a production", Verb: "Promover", Word: "production", Lines: []string{strings.Repeat("una línea larga ", 12), "otra"}}
	confirm.Open(time.Time{})
	plain := Confirm{Title: "t", Verb: "Hacer", Lines: []string{"x"}}
	choice := Choice{Title: "Elegir", Intro: strings.Repeat("palabra ", 30), Items: make([]ChoiceItem, 40)}
	message := Message{Title: "m", Lines: make([]string, 60)}
	for w := 1; w < 120; w += 7 {
		for h := 1; h < 40; h += 3 {
			for name, v := range map[string]string{"confirm": confirm.View(w, h, st, s), "plain": plain.View(w, h, st, s), "choice": choice.View(w, h, st, s), "message": message.View(w, h, st, s)} {
				for _, l := range strings.Split(v, "\n") {
					if Width(l) > w {
						t.Fatalf("%s in %d×%d has a line of %d cells", name, w, h, Width(l))
					}
				}
				if n := strings.Count(v, "\n") + 1; n > h {
					t.Fatalf("%s in %d×%d has %d lines", name, w, h, n)
				}
			}
		}
	}
}

// A code shows the modules that it has to, whatever draws them: white paint,
// the ink of a light terminal, or the paper of a dark one.
func TestQR(t *testing.T) {
	t.Parallel()
	const address = "http://192.168.1.20:8087"
	code, err := qr.Encode(address, qr.L)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name        string
		plain, dark bool
		inkIsDark   bool // a block stands for a dark module
	}{{"coloured", false, true, true}, {"plain on light", true, false, true}, {"plain on dark", true, true, false}} {
		if QR("", c.plain, c.dark) != nil || QR(strings.Repeat("x", 5000), c.plain, c.dark) != nil {
			t.Error("a code for nothing, or for too much")
		}
		lines := QR(address, c.plain, c.dark)
		if len(lines) != (code.Size+5)/2 {
			t.Fatalf("%s: %d lines for %d modules", c.name, len(lines), code.Size)
		}
		for row, l := range lines {
			if c.plain && l != bare(l) {
				t.Errorf("%s: a line has colours", c.name)
			}
			for col, r := range []rune(bare(l)) {
				for half, inked := range []bool{r == '█' || r == '▀', r == '█' || r == '▄'} {
					x, y := col-2, 2*row-2+half
					if y >= code.Size+2 {
						continue // half a line below the quiet zone
					}
					black := x >= 0 && y >= 0 && x < code.Size && y < code.Size && code.Black(x, y)
					if inked != (black == c.inkIsDark) {
						t.Fatalf("%s: module %d,%d is drawn wrong", c.name, x, y)
					}
				}
			}
		}
	}
}

func BenchmarkTableTenThousand(b *testing.B) {
	tb := newTable(10_000)
	for b.Loop() {
		tb.Move("down")
		tb.View(200, 60, st)
	}
}
