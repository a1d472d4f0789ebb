package widget

import (
	"strings"
	"time"

	"capstan/ui/text"
	"capstan/ui/theme"
)

// Meter follows how much of something is done, and estimates rate and time
// left over a sliding window, so that one stall does not make them jump.
type Meter struct {
	Done, Total int64
	Started     time.Time
	samples     []sample
}

type sample struct {
	at   time.Time
	done int64
}

const (
	window = 10 * time.Second
	// settle is how long nothing is foretold: the first seconds say little.
	settle = 3 * time.Second
)

// Observe notes that done of total bytes are behind us. A total of 0 keeps the known one.
func (m *Meter) Observe(at time.Time, done, total int64) {
	if m.Started.IsZero() {
		m.Started = at
	}
	m.Done = done
	if total > 0 {
		m.Total = total
	}
	m.samples = append(m.samples, sample{at, done})
	for len(m.samples) > 2 && at.Sub(m.samples[0].at) > window {
		m.samples = m.samples[1:]
	}
}

// Share is how much is done, 0 to 1; -1 while the total is unknown.
func (m *Meter) Share() float64 {
	if m.Total <= 0 {
		return -1
	}
	return min(1, float64(m.Done)/float64(m.Total))
}

// Rate is bytes a second over the window, 0 while unknown.
func (m *Meter) Rate() float64 {
	if len(m.samples) < 2 {
		return 0
	}
	a, b := m.samples[0], m.samples[len(m.samples)-1]
	if took := b.at.Sub(a.at).Seconds(); took > 0 && b.done > a.done {
		return float64(b.done-a.done) / took
	}
	return 0
}

// ETA is the time left, 0 while it cannot be told honestly.
func (m *Meter) ETA(now time.Time) time.Duration {
	rate := m.Rate()
	if rate <= 0 || m.Total <= 0 || m.Done >= m.Total || now.Sub(m.Started) < settle {
		return 0
	}
	return time.Duration(float64(m.Total-m.Done) / rate * float64(time.Second))
}

// View draws the meter in two lines of w cells: the bar, and below it how
// much, how fast and how long. What does not fit is left out from the right.
func (m *Meter) View(now time.Time, step, w int, st *theme.Styles, s *text.Strings) []string {
	if m.Total <= 0 {
		note := ""
		if m.Done > 0 {
			note = st.Muted.Render(s.Bytes(m.Done))
		}
		return []string{Sweep(step, w, st.Bar, st.BarRest), Pad(note, w)}
	}
	share := m.Share()
	parts := []string{
		st.Bold.Render(PadLeft(s.Percent(float64(int(share*100))/100), 5)),
		st.Text.Render(s.Bytes(m.Done) + " / " + s.Bytes(m.Total)),
	}
	if rate := m.Rate(); rate > 0 && m.Done < m.Total {
		parts = append(parts, st.Muted.Render(s.Bytes(int64(rate))+"/s"))
		if eta := m.ETA(now); eta > 0 {
			parts = append(parts, st.Muted.Render(s.ETA+" "+s.Clock(eta)))
		}
	}
	line := ""
	for i, p := range parts {
		if i > 0 {
			p = "   " + p
		}
		if Width(line)+Width(p) > w {
			break
		}
		line += p
	}
	return []string{Bar(share, w, st.Bar, st.BarRest), Pad(line, w)}
}

var spin = []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")

// Spinner is one frame of a spinner.
func Spinner(step int) string { return string(spin[((step%len(spin))+len(spin))%len(spin)]) }

// Rail draws a vertical list of stages.
type Rail struct {
	Items []RailItem
}

// RailItem is one stage. State is one of done, current, failed, waiting.
type RailItem struct {
	Label, Note string
	State       string
}

// View draws the rail in w cells, two lines a stage when tall.
func (r Rail) View(w int, tall bool, step int, running bool, st *theme.Styles) string {
	var lines []string
	for i, it := range r.Items {
		glyph, ink := st.Muted.Render("○"), st.Muted
		switch it.State {
		case "done":
			glyph, ink = st.OK.Render("✓"), st.Text
		case "current":
			glyph, ink = st.Accent.Render("●"), st.Bold
			if running {
				glyph = st.Accent.Render(Spinner(step))
			}
		case "failed":
			glyph, ink = st.Danger.Render("×"), st.Danger
		}
		label := ink.Render(Cut(it.Label, w-3))
		lines = append(lines, Pad(glyph+" "+label, w))
		if tall && i < len(r.Items)-1 {
			note := st.Border.Render("│")
			if it.Note != "" {
				note += " " + st.Muted.Render(Cut(it.Note, w-3))
			}
			lines = append(lines, Pad(note, w))
		}
	}
	return strings.Join(lines, "\n")
}
