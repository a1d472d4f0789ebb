package views

import (
	"strings"

	tea "charm.land/bubbletea/v2"

	"capstan/ui/text"
	"capstan/ui/widget"
)

// serverView is the update server that runs beside the console.
type serverView struct {
	e      *Env
	status Resource[ServerStatus]
}

// NewServer makes the server screen.
func NewServer(e *Env) View { return &serverView{e: e} }

func (v *serverView) Title() string { return v.e.S.TabServer }
func (v *serverView) Enter() tea.Cmd {
	if v.e.Services.Server == nil {
		return v.e.LoadAbout()
	}
	return tea.Batch(v.status.Load(v.e, v.e.Services.Server.Status), v.e.LoadAbout())
}
func (v *serverView) CapturesText() bool { return false }
func (v *serverView) Back() bool         { return false }
func (v *serverView) Update(msg tea.Msg) tea.Cmd {
	if _, ok := msg.(RefreshMsg); ok {
		return v.Enter()
	}
	return nil
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
	a := Action{ID: "copy", Keys: []string{"y"}, Help: e.S.HelpCopyAddress, Long: e.S.LongCopyAddress, Primary: true, Run: func() tea.Cmd { return Copy(v.address(), e.S.WhatAddress) }}
	if v.address() == "" {
		a.Disabled = e.S.Loading
	}
	return []Action{a}
}

func (v *serverView) Render(w, h int) string {
	e := v.e
	col := 12
	var lines []string
	row := func(label, value string) { lines = append(lines, " "+field(e, label, value, col)) }
	if e.Services.Server == nil {
		a := &e.Data.About
		if p, pending := a.Pending(e, w, h); pending {
			return p
		}
		lines = append(lines, " "+heading(e, e.S.RemoteServer, w-2))
		row(e.S.Address, e.St.Bold.Render(clean(e.Facts.ServerURL)))
		row(e.S.Version, e.St.Text.Render(clean(a.Value.Server)+" "+text.Clean(a.Value.Version)))
		lines = append(lines, "", " "+e.St.Muted.Render(e.S.CanDo))
		for _, c := range a.Value.Capabilities {
			lines = append(lines, "   "+e.St.OK.Render("✓ ")+e.St.Text.Render(text.Clean(strings.ReplaceAll(c, "_", " "))))
		}
		if len(a.Value.Capabilities) == 0 {
			for _, l := range widget.Wrap(e.S.CapgoOnly, min(w-4, 74)) {
				lines = append(lines, "   "+e.St.Muted.Render(l))
			}
		}
		return widget.Fit(join(lines), w, h)
	}
	if p, pending := v.status.Pending(e, w, h); pending {
		return p
	}
	s := v.status.Value
	row(e.S.Address, e.St.Bold.Render(clean(s.Address)))
	row(e.S.ForDevices, e.St.Bold.Render(clean(s.PublicURL)))
	if s.LocalOnly {
		row("", e.St.Muted.Render(widget.Cut(e.S.LocalOnlyNote, w-col-3)))
		row("", e.St.Muted.Render(widget.Cut("→ "+e.S.LocalOnlyHow, w-col-3)))
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
	lines = append(lines, "")
	var side []string
	if !s.LocalOnly { // a phone would only find itself there
		side = widget.QR(s.PublicURL, e.St.Mono, e.St.Dark)
	}
	qrW := 0
	if len(side) > 0 {
		qrW = widget.Width(side[0])
	}
	logW := w
	room := h - len(lines)
	showQR := qrW > 0 && w >= qrW+44 && room >= len(side)+1
	if showQR {
		logW = w - qrW - 3
	}
	log := []string{" " + heading(e, e.S.LogTitle, logW-2)}
	tail := s.Log
	if n := room - 1; len(tail) > n && n > 0 {
		tail = tail[len(tail)-n:]
	}
	for _, l := range tail {
		log = append(log, " "+e.St.Muted.Render(widget.Cut(text.Clean(l), logW-2)))
	}
	if len(tail) == 0 {
		log = append(log, " "+e.St.Muted.Render(e.S.NoLog))
	}
	body := widget.Fit(join(log), logW, room)
	if showQR {
		qr := append([]string{e.St.Muted.Render(widget.Centre(e.S.ScanMe, qrW))}, side...)
		body = widget.Columns(1, body, widget.Fit(join(qr), qrW, room))
	}
	return widget.Fit(join(lines)+"\n"+body, w, h)
}
