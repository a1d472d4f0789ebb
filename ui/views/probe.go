package views

import (
	"context"
	"strings"

	tea "charm.land/bubbletea/v2"

	"capstan/core/failure"
	"capstan/core/release"
	"capstan/ui/text"
	"capstan/ui/widget"
)

// probe lets a simulated device ask now and shows what it did.
func (e *Env) probe(channel string) tea.Cmd {
	return func() tea.Msg {
		ctx, stop := context.WithTimeout(e.Ctx, 2*readLimit)
		defer stop()
		var steps []release.Event
		result, err := e.Services.Prober.Check(ctx, e.Facts.AppID, channel, func(ev release.Event) {
			if ev.Kind == release.EventStep && len(steps) < maxLog {
				steps = append(steps, ev)
			}
		})
		return ProbedMsg{channel, steps, result, err}
	}
}

// ProbedMsg is what a simulated device did; the root shows it.
type ProbedMsg struct {
	Channel string
	Steps   []release.Event
	Result  release.DeviceResult
	Err     error
}

// Dialog draws the outcome of a probe as a dialog's lines.
func (m ProbedMsg) Dialog(e *Env) widget.Message {
	d := widget.Message{Title: sprintf(e.S.ProbeTitle, text.Clean(m.Channel))}
	d.Lines = append(d.Lines, stepLines(e, m.Steps, 60)...)
	switch {
	case m.Err != nil:
		d.Lines = append(d.Lines, e.St.Danger.Render("× ")+e.St.Text.Render(Failed(e, m.Err)))
		if hint := Hinted(e, m.Err); hint != "" {
			d.Lines = append(d.Lines, e.St.Info.Render("→ ")+e.St.Text.Render(text.Clean(hint)))
		}
	case m.Result.Installed:
		d.Lines = append(d.Lines, "", e.St.OK.Render("✓ ")+e.St.Bold.Render(strings.TrimSpace(sprintf(e.S.ProbeTook, clean(m.Result.PluginVersion)))))
	default:
		d.Lines = append(d.Lines, "", e.St.Warn.Render("! ")+e.St.Bold.Render(sprintf(e.S.ProbeNothing, orElse(text.Sentence(e.Lang, m.Result.Reason), "–"))))
	}
	return d
}

// missing reports whether a server has no such thing: an app that is not there
// yet, or a route that it does not offer.
func missing(err error) bool {
	f, ok := failure.Find(err)
	return ok && (f.Class == failure.NotFound || f.Code == "unsupported")
}
