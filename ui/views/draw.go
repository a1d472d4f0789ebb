package views

import (
	"fmt"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"capstan/core/capgo"
	"capstan/ui/text"
	"capstan/ui/theme"
	"capstan/ui/widget"
)

func sprintf(format string, args ...any) string { return fmt.Sprintf(format, args...) }

func join(lines []string) string { return strings.Join(lines, "\n") }

// clean is text.Clean with an em dash for nothing.
func clean(s string) string {
	if s = text.Clean(s); s == "" {
		return "–"
	}
	return s
}

// bundleName writes a bundle's name, with words for the build in the store.
func bundleName(e *Env, name string) string {
	if name == "" || name == capgo.Builtin {
		return e.S.Builtin
	}
	return text.Clean(name)
}

// live is the name of a channel's bundle.
func live(c capgo.Channel) string {
	if c.Version == nil {
		return capgo.Builtin
	}
	return c.Version.Name
}

// shortKey is the part of a key id that tells it from others. An id is the
// start of the public key's base64, whose first twelve characters are the same
// for every RSA-2048 key.
func shortKey(id string) string {
	id = text.Clean(id)
	if len(id) == 20 {
		return id[12:]
	}
	return widget.Cut(id, 8)
}

// ShortKey is how the frame names a key.
func ShortKey(id string) string { return shortKey(id) }

// field draws "label  value" with the label in a column of its own.
func field(e *Env, label, value string, col int) string {
	return e.St.Muted.Render(widget.Pad(label, col)) + " " + value
}

// keyed draws a key and what it does, for hints inside a screen.
func keyed(e *Env, key, what string) string {
	return e.St.Key.Render(key) + " " + e.St.Muted.Render(what)
}

// stamp writes a moment for people: the hour when it was today, else the day.
func stamp(e *Env, t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	now := e.Now()
	t = t.In(now.Location())
	switch {
	case t.Year() == now.Year() && t.YearDay() == now.YearDay():
		return t.Format("15:04:05")
	case now.Sub(t) < 300*24*time.Hour:
		return t.Format("02 ") + e.S.MonthNames[t.Month()-1] + t.Format(" 15:04")
	}
	return t.Format("2006-01-02")
}

// heading is a panel's title line with a rule after it.
func heading(e *Env, title string, w int) string {
	t := e.St.Title.Render(widget.Cut(title, w))
	return t + " " + e.St.Border.Render(strings.Repeat("─", max(0, w-widget.Width(t)-1)))
}

// change writes one audit entry as a sentence: "maria promoted 2.4.1".
func change(e *Env, c capgo.Change) string {
	verb, known := e.S.Actions[c.Action]
	if !known {
		verb = text.Clean(c.Action) + " %s"
	}
	name := func(v string) string {
		switch {
		case c.Action == "app.key":
			return shortKey(v)
		case v == capgo.Builtin:
			return e.S.Builtin
		}
		return text.Clean(v)
	}
	what := name(orElse(c.To, c.From))
	if c.From == "" && c.To == "" {
		what = ""
	}
	sentence := strings.TrimSpace(strings.ReplaceAll(verb, "%s", what))
	switch {
	case strings.HasSuffix(c.Action, ".settings") || c.Action == "channel.platform": // "public=true": what it is now says enough
		if c.To != "" {
			sentence += ": " + ruleWords(e, text.Clean(c.To))
		}
	case c.From != "" && c.To != "" && c.From != c.To:
		sentence += " " + sprintf(e.S.InsteadOf, name(c.From))
	}
	actor := text.Clean(c.Actor)
	if actor == "" {
		actor = e.S.Somebody
	}
	return actor + " " + sentence
}

// ruleWords says in words what the audit writes as "public=true policy=major".
// What it has no words for stays as it is.
func ruleWords(e *Env, line string) string {
	var said []string
	for _, rule := range strings.Fields(line) {
		words := e.S.RuleWords[rule]
		if policy, ok := strings.CutPrefix(rule, "policy="); ok && e.S.Policies[policy] != "" {
			words = e.S.Policies[policy]
		}
		if words == "" {
			return line
		}
		said = append(said, words)
	}
	return strings.Join(said, ", ")
}

// changeMark is the glyph and style of an audit entry.
func changeMark(e *Env, action string) (string, theme.Ink) {
	switch {
	case strings.HasSuffix(action, "rollback") || strings.HasSuffix(action, "delete") || action == "token.revoke":
		return "↩", e.St.Warn
	case strings.HasSuffix(action, "promote"):
		return "▲", e.St.OK
	case strings.HasSuffix(action, "pause"):
		return "‖", e.St.Warn
	case strings.HasPrefix(action, "schedule.") || strings.HasPrefix(action, "freeze."):
		return "◷", e.St.Info
	case strings.HasPrefix(action, "rollout."):
		return "◔", e.St.Info
	case strings.HasPrefix(action, "bundle."):
		return "+", e.St.Accent
	}
	return "·", e.St.Muted
}

// scrolled gives the h lines in sight of a longer page, keeping at inside it,
// and says how many lines are below.
func scrolled(e *Env, lines []string, at *int, w, h int) []string {
	*at = max(0, min(*at, len(lines)-h))
	end := min(len(lines), *at+h)
	seen := append([]string(nil), lines[*at:end]...)
	if rest := len(lines) - end; rest > 0 && len(seen) > 0 {
		last := len(seen) - 1
		mark := e.St.Accent.Render(sprintf("↓ %d", rest)) + " "
		if strings.HasSuffix(ansi.Strip(seen[last]), "─") { // a rule is shortened, not cut
			seen[last] = ansi.Truncate(seen[last], w-widget.Width(mark)-1, "")
		}
		seen[last] = widget.Between(seen[last], mark, w)
	}
	return seen
}
