package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"capstan/core/release"
)

// eventPrinter draws a release as lines: on a terminal the current stage's
// progress is rewritten in place, elsewhere only whole lines appear. With
// --json every event is one object on stdout, {"event":…}.
type eventPrinter struct {
	out      io.Writer
	json     bool
	quiet    bool
	live     bool // the output is a terminal: progress may be rewritten
	progress bool // a progress line stands without a line break
}

func (c *Command) eventPrinter(jsonLines bool) *eventPrinter {
	p := &eventPrinter{out: c.Err, json: c.JSON && jsonLines, quiet: c.Quiet || c.JSON, live: c.Terminal && !c.Plain}
	if p.json {
		p.out = c.Out
	}
	return p
}

func (p *eventPrinter) print(e release.Event) {
	if p.json {
		if e.Kind == release.EventDone {
			return // the result itself follows as the last object
		}
		encoder := json.NewEncoder(p.out)
		encoder.SetEscapeHTML(false)
		_ = encoder.Encode(e)
		return
	}
	if p.quiet {
		return
	}
	switch e.Kind {
	case release.EventProgress:
		if p.live {
			p.rewrite(fmt.Sprintf("  %-10s %s", stageWord(e.Stage), progressText(e)))
		}
	case release.EventFinding:
		if e.Level != "ok" {
			p.line(fmt.Sprintf("  %s %s%s", levelMark(e.Level), oneLine(e.Text), hintText(e.Hint)))
		}
	case release.EventStep:
		p.line(fmt.Sprintf("    %s %s", levelMark(e.Level), oneLine(e.Text)))
	case release.EventSkipped:
		p.line(fmt.Sprintf("- %-10s %s", stageWord(e.Stage), oneLine(e.Text)))
	case release.EventFinished:
		p.line(fmt.Sprintf("✓ %-10s %s", stageWord(e.Stage), oneLine(e.Text)))
	case release.EventFailed:
		// The command itself says what failed, as its last line.
		p.line("✗ " + stageWord(e.Stage))
	}
}

// line prints a whole line, over a progress line if one stands.
func (p *eventPrinter) line(text string) {
	if p.progress {
		fmt.Fprint(p.out, "\r\x1b[K")
		p.progress = false
	}
	fmt.Fprintln(p.out, text)
}

func (p *eventPrinter) rewrite(text string) {
	fmt.Fprint(p.out, "\r\x1b[K"+text)
	p.progress = true
}

func stageWord(stage release.StageName) string { return string(stage) }

func levelMark(level string) string {
	switch level {
	case "warn":
		return "!"
	case "block", "refused":
		return "✗"
	}
	return "✓"
}

func hintText(hint string) string {
	if hint == "" {
		return ""
	}
	return " (" + oneLine(hint) + ")"
}

// progressText is "[######    ]  61 %  1.2 of 2.0 MiB  4.1 MiB/s  3s left".
func progressText(e release.Event) string {
	var b strings.Builder
	if e.Total > 0 {
		const cells = 24
		full := int(min(e.Done, e.Total) * cells / e.Total)
		fmt.Fprintf(&b, "[%s%s] %3d %%  %s of %s", strings.Repeat("#", full), strings.Repeat(" ", cells-full),
			min(e.Done, e.Total)*100/e.Total, humanize.IBytes(uint64(e.Done)), humanize.IBytes(uint64(e.Total)))
	} else {
		b.WriteString(humanize.IBytes(uint64(e.Done)))
	}
	if e.Rate > 0 {
		fmt.Fprintf(&b, "  %s/s", humanize.IBytes(uint64(e.Rate)))
	}
	if e.ETA >= time.Second {
		fmt.Fprintf(&b, "  %s left", e.ETA.Round(time.Second))
	}
	return b.String()
}
