package ui

import (
	"context"
	"fmt"
	"strings"
	"time"

	"capstan/ui/views"
)

// keysIntro opens docs/keys.md.
const keysIntro = `# Keys of the console

This page is written by the program from its own key maps; a test fails when it is stale.
In the console, ` + "`?`" + ` shows the keys of the screen you are on and ` + "`:`" + ` finds every action by name.
A capital letter changes something that others see, and asks before it does.

`

// KeyTable writes all keys as Markdown, from the same declarations that the
// console answers to, so that documentation cannot go stale unseen.
func KeyTable(lang string) string {
	o := Options{Lang: lang, Now: func() time.Time { return time.Time{} }}
	r := newRoot(o.env(context.Background()), views.ScreenBoard, "")
	var b strings.Builder
	table := func(title string, actions []views.Action) {
		fmt.Fprintf(&b, "## %s\n\n", title)
		for _, a := range actions {
			if len(a.Keys) == 0 {
				continue
			}
			keys := make([]string, len(a.Keys))
			for i, k := range a.Keys {
				keys[i] = "`" + k + "`"
			}
			fmt.Fprintf(&b, "- %s: %s\n", strings.Join(keys, " "), a.Long)
		}
		b.WriteString("\n")
	}
	table(r.e.S.HelpEverywhere, r.globals())
	for _, s := range append(views.Tabs(), views.ScreenChannel, views.ScreenSetup) {
		r.stack = []views.Screen{s}
		if actions := r.actions(); len(actions) > 0 {
			table(r.tabName(s), actions)
		}
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}
