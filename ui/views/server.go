package views

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"

	"capstan/ui/text"
	"capstan/ui/widget"
)

// serverView is the update server that runs beside the console: what it is, how
// much it does, and its log, which can take the whole screen.
type serverView struct {
	e      *Env
	status Resource[ServerStatus]

	log    []string // all lines seen, oldest first, at most maxLines
	filter string
	whole  bool // the log has the screen
	halted bool // the log stands still
	last   int  // while halted: how many of the filtered lines are above the lower edge
	grown  int  // lines that came since it was halted
}

// maxLines is how many lines of the log the console keeps.
const maxLines = 5000

// NewServer makes the server screen.
func NewServer(e *Env) View { return &serverView{e: e} }

func (v *serverView) Title() string { return v.e.S.TabServer }
func (v *serverView) Enter() tea.Cmd {
	if v.e.Services.Server == nil {
		return v.e.LoadAbout()
	}
	return tea.Batch(v.read(), v.e.LoadAbout())
}

func (v *serverView) read() tea.Cmd { return v.status.Load(v.e, v.e.Services.Server.Status) }

func (v *serverView) CapturesText() bool { return false }

// Live makes the root read again every second: a log is watched as it grows.
func (v *serverView) Live() bool { return v.e.Services.Server != nil }

func (v *serverView) Back() bool {
	was := v.whole || v.halted
	v.whole = false
	v.follow()
	return was
}

func (v *serverView) SetFilter(s string) { v.filter = s; v.follow() }
func (v *serverView) FilterText() string { return v.filter }
func (v *serverView) Counts() (int, int) { return len(v.shown()), len(v.log) }

// follow keeps the newest line in sight.
func (v *serverView) follow() { v.halted, v.grown = false, 0 }

// halt stops where the log is.
func (v *serverView) halt() {
	if !v.halted {
		v.halted, v.last, v.grown = true, len(v.shown()), 0
	}
}

// shown are the lines that hold every word of the filter.
func (v *serverView) shown() []string {
	words := strings.Fields(strings.ToLower(v.filter))
	if len(words) == 0 {
		return v.log
	}
	var kept []string
next:
	for _, l := range v.log {
		low := strings.ToLower(l)
		for _, w := range words {
			if !strings.Contains(low, w) {
				continue next
			}
		}
		kept = append(kept, l)
	}
	return kept
}

// grow adds what is new in the server's own last lines.
func (v *serverView) grow(tail []string) {
	known := 0
	for n := min(len(v.log), len(tail)); n > 0; n-- {
		if slices.Equal(v.log[len(v.log)-n:], tail[:n]) {
			known = n
			break
		}
	}
	before := len(v.shown())
	v.log = append(v.log, tail[known:]...)
	if over := len(v.log) - maxLines; over > 0 {
		gone := before
		v.log = slices.Clone(v.log[over:])
		gone -= len(v.shown()) - (len(tail) - known)
		v.last = max(0, v.last-max(0, gone))
	}
	if v.halted {
		v.grown += max(0, len(v.shown())-before)
	}
}

func (v *serverView) Update(msg tea.Msg) tea.Cmd {
	switch m := msg.(type) {
	case LoadedMsg:
		if m.Of(&v.status) && v.status.Err == nil {
			v.grow(v.status.Value.Log)
		}
	case RefreshMsg:
		if m.Auto && v.e.Services.Server != nil {
			return v.read()
		}
		return v.Enter()
	case tea.KeyPressMsg:
		switch m.String() {
		case "up", "k":
			v.scroll(-1)
		case "down", "j":
			v.scroll(1)
		case "pgup", "ctrl+u":
			v.scroll(-10)
		case "pgdown", "ctrl+d":
			v.scroll(10)
		case "home", "g":
			v.scroll(-maxLines)
		case "end", "G":
			v.follow()
		}
	case tea.MouseWheelMsg:
		v.scroll(wheel(m))
	}
	return nil
}

// scroll moves the log by n lines; going up stops it, and its end follows again.
func (v *serverView) scroll(n int) {
	if n > 0 && !v.halted {
		return
	}
	v.halt()
	all := len(v.shown())
	if v.last = max(1, v.last+n); v.last >= all {
		v.follow()
	}
}

// address is what devices are pointed at.
func (v *serverView) address() string {
	if s := v.status.Value.PublicURL; s != "" {
		return s
	}
	if s := v.e.Data.About.Value.PublicURL; s != "" {
		return s
	}
	return v.e.Facts.ServerURL
}

func (v *serverView) Actions() []Action {
	e := v.e
	a := Action{ID: "copy", Keys: []string{"y"}, Help: e.S.HelpCopyAddress, Long: e.S.LongCopyAddress, Primary: !v.whole, Run: func() tea.Cmd { return Copy(v.address(), e.S.WhatAddress) }}
	if v.address() == "" {
		a.Disabled = e.S.Loading
	}
	whole := Action{ID: "log", Keys: []string{"l"}, Help: e.S.HelpLog, Long: e.S.LongLog, Primary: true, Run: func() tea.Cmd { v.whole = !v.whole; return nil }}
	if v.whole {
		whole.Help = e.S.HelpBack
	}
	halt := Action{ID: "pause-log", Keys: []string{"p", "space"}, Help: e.S.HelpHalt, Long: e.S.LongFollow, Primary: true, Run: func() tea.Cmd { v.halt(); return nil }}
	if v.halted {
		halt.Help, halt.Run = e.S.HelpFollow, func() tea.Cmd { v.follow(); return nil }
	}
	if e.Services.Server == nil {
		whole.Disabled, halt.Disabled = e.S.WhyNoLog, e.S.WhyNoLog
	}
	return []Action{a, whole, halt}
}

func (v *serverView) Render(w, h int) string {
	e := v.e
	if e.Services.Server == nil {
		return v.remote(w, h)
	}
	if p, pending := v.status.Pending(e, w, h); pending {
		return p
	}
	if v.whole {
		return v.logPanel(w, h)
	}
	head := v.overview(w)
	rest := h - len(head)
	qr, qrW := v.code(v.status.Value.PublicURL)
	if qrW == 0 || w < qrW+44 || rest < len(qr) {
		return widget.Fit(join(head)+"\n"+v.logPanel(w, rest), w, h)
	}
	logW := w - qrW - 3
	return widget.Fit(join(head)+"\n"+widget.Columns(1, v.logPanel(logW, rest), widget.Fit(join(qr), qrW, rest)), w, h)
}

// code is an address as a QR code under its caption, and its width; nothing for
// an address at which a phone would only find itself.
func (v *serverView) code(address string) (lines []string, w int) {
	e := v.e
	if Reach(address) == ReachHere {
		return nil, 0
	}
	side := widget.QR(address, e.St.Mono, e.St.Dark)
	if len(side) == 0 {
		return nil, 0
	}
	w = widget.Width(side[0])
	return append([]string{e.St.Muted.Render(widget.Centre(e.S.ScanMe, w))}, side...), w
}

// The places from which an address can be reached.
const (
	ReachHere   = "here"   // this machine only
	ReachLAN    = "lan"    // the same network
	ReachAnyone = "anyone" // as far as the address tells
)

// Reach tells from where an address can be reached.
func Reach(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ReachAnyone
	}
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	if ip, err := netip.ParseAddr(host); err == nil {
		switch {
		case ip.IsLoopback() || ip.IsUnspecified():
			return ReachHere
		case ip.IsPrivate() || ip.IsLinkLocalUnicast():
			return ReachLAN
		}
		return ReachAnyone
	}
	switch {
	case host == "localhost" || strings.HasSuffix(host, ".localhost"):
		return ReachHere
	case strings.HasSuffix(host, ".local") || strings.HasSuffix(host, ".home.arpa"):
		return ReachLAN
	}
	return ReachAnyone
}

// reachNotes say who reaches an address, when not everybody does.
func (v *serverView) reachNotes(address string, w int) []string {
	e := v.e
	switch Reach(address) {
	case ReachHere:
		return []string{e.St.Warn.Render("! ") + e.St.Text.Render(widget.Cut(e.S.LocalOnlyNote, w-2)), e.St.Muted.Render(widget.Cut("→ "+e.S.LocalOnlyHow, w))}
	case ReachLAN:
		return []string{e.St.Muted.Render(widget.Cut(e.S.LanNote, w))}
	}
	return nil
}

// remote is a server elsewhere: who it is, and what it can do.
func (v *serverView) remote(w, h int) string {
	e := v.e
	a := &e.Data.About
	if p, pending := a.Pending(e, w, h); pending {
		return p
	}
	const col = 12
	lines := []string{" " + heading(e, e.S.RemoteServer, w-2),
		" " + field(e, e.S.Address, e.St.Bold.Render(clean(e.Facts.ServerURL)), col),
	}
	for _, note := range v.reachNotes(v.address(), w-col-3) {
		lines = append(lines, " "+field(e, "", note, col))
	}
	lines = append(lines, " "+field(e, e.S.Version, e.St.Text.Render(clean(a.Value.Server)+" "+text.Clean(a.Value.Version)), col),
		"", " "+e.St.Muted.Render(e.S.CanDo))
	for _, c := range a.Value.Capabilities {
		lines = append(lines, "   "+e.St.OK.Render("✓ ")+e.St.Text.Render(text.Clean(strings.ReplaceAll(c, "_", " "))))
	}
	if len(a.Value.Capabilities) == 0 {
		for _, l := range widget.Wrap(e.S.CapgoOnly, min(w-4, 74)) {
			lines = append(lines, "   "+e.St.Muted.Render(l))
		}
	}
	if a.Value.Server != "capstan" { // devices are not pointed at anybody else's server by hand
		return widget.Fit(join(lines), w, h)
	}
	qr, qrW := v.code(v.address())
	const top = 3 // below the address, which may be long
	if qrW == 0 || w < qrW+44 || h < top+len(qr) {
		return widget.Fit(join(lines), w, h)
	}
	left := widget.Fit(join(lines[min(top, len(lines)):]), w-qrW-3, h-top)
	return widget.Fit(join(lines[:min(top, len(lines))])+"\n"+widget.Columns(1, left, widget.Fit(join(qr), qrW, h-top)), w, h)
}

// overview is what the server is and how much it does.
func (v *serverView) overview(w int) []string {
	e, s := v.e, v.status.Value
	const col = 12
	var lines []string
	row := func(label, value string) { lines = append(lines, " "+field(e, label, value, col)) }
	row(e.S.Address, e.St.Bold.Render(clean(s.Address)))
	row(e.S.ForDevices, e.St.Bold.Render(clean(s.PublicURL)))
	for _, note := range v.reachNotes(s.PublicURL, w-col-3) {
		row("", note)
	}
	row(e.S.Version, e.St.Text.Render("capstan "+clean(s.Version))+e.St.Muted.Render("   "+sprintf(e.S.UpSince, e.S.Span(e.Now().Sub(s.Started)))))
	row(e.S.DataFolder, e.St.Muted.Render(widget.CutLeft(text.Clean(s.DataDir), max(8, w-col-3))))
	top, now := 0.0, 0.0
	for _, r := range s.Requests {
		top, now = max(top, r), r
	}
	shares := make([]float64, len(s.Requests))
	for i, r := range s.Requests {
		if top > 0 {
			shares[i] = r / top
		}
	}
	row(e.S.Requests, widget.Sparkline(shares, min(60, max(8, w-50)), e.St.Bar, e.St.BarRest)+" "+e.St.Bold.Render(e.S.Decimal(now, 1)+"/s")+e.St.Muted.Render("  "+sprintf(e.S.TotalRequests, e.S.Count(s.Total))))
	row(e.S.ColDevices, e.St.Text.Render(sprintf(e.S.KnownDevices, e.S.Count(s.Devices))))
	return append(lines, "")
}

// logPanel draws the end of the log, or where it was stopped, in w×h cells.
func (v *serverView) logPanel(w, h int) string {
	e := v.e
	state := e.St.OK.Render("● ") + e.St.Muted.Render(e.S.LogFollows)
	if v.halted {
		state = e.St.Warn.Render("‖ ") + e.St.Text.Render(e.S.LogHalted)
		if v.grown > 0 {
			state += e.St.Muted.Render(" · " + sprintf(e.S.LogNew, e.S.Count(int64(v.grown))))
		}
	}
	shown := v.shown()
	title := e.S.LogTitle
	if v.whole {
		title += " · " + e.S.One(int64(len(shown)), e.S.LogLine, e.S.LogLines)
	}
	lines := []string{" " + widget.Between(heading(e, title, max(1, w-widget.Width(state)-4)), state, w-2)}
	if len(shown) == 0 {
		nothing := e.S.NoLog
		if v.filter != "" {
			nothing = sprintf(e.S.NothingMatches, text.Clean(v.filter))
		}
		return widget.Fit(join(append(lines, " "+e.St.Muted.Render(nothing))), w, h)
	}
	if v.halted {
		shown = shown[:min(v.last, len(shown))]
	}
	return widget.Fit(join(append(lines, v.logLines(shown, w-2, h-1)...)), w, h)
}

// logLines are the last h rows of lines. With the whole screen long lines are
// wrapped, else cut.
func (v *serverView) logLines(lines []string, w, h int) []string {
	e := v.e
	var rows []string
	for i := len(lines) - 1; i >= 0 && len(rows) < h; i-- {
		line := text.Clean(lines[i])
		ink := e.St.Muted
		switch {
		case strings.Contains(line, " ERROR "):
			ink = e.St.Danger
		case strings.Contains(line, " WARN "):
			ink = e.St.Warn
		case v.whole:
			ink = e.St.Text
		}
		parts := []string{widget.Cut(line, w)}
		if v.whole && widget.Width(line) > w {
			parts = widget.Wrap(line, max(8, w-4))
		}
		block := make([]string, len(parts))
		for n, p := range parts {
			if n > 0 {
				p = "    " + p
			}
			block[n] = " " + ink.Render(p)
		}
		rows = append(block, rows...)
	}
	return rows[max(0, len(rows)-h):]
}
