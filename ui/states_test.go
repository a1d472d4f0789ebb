package ui

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"capstan/core/failure"
	"capstan/internal/tuitest"
	"capstan/ui/views"
)

// states are what every screen has to be able to show.
var states = []struct {
	name  string
	fresh bool
	set   func(d *desk)
	then  func(term *tuitest.Terminal, d *desk)
}{
	{name: "loading", set: func(d *desk) { d.slow = time.Hour }},
	{name: "empty", fresh: true},
	{name: "error", set: func(d *desk) { d.down = offline() }},
	{name: "stale", then: func(term *tuitest.Terminal, d *desk) {
		d.mu.Lock()
		d.down = offline()
		d.mu.Unlock()
		term.Press("r")
		term.Wait(time.Second)
	}},
	{name: "data"},
}

func offline() error {
	return failure.New(failure.Unavailable, "unavailable", "read from https://updates.example.com", "connection refused", "check that the server runs and that the address in capstan.toml is right")
}

// TestStates compares every screen in every state with its golden screens.
func TestStates(t *testing.T) {
	for _, size := range []struct{ w, h int }{{80, 24}, {120, 40}} {
		for _, lang := range []string{"en", "es"} {
			if lang == "es" && size.w != 80 {
				continue
			}
			for i, s := range allScreens {
				if racing && (i%5 != 0 || lang == "es" || size.w != 80) {
					continue
				}
				name := fmt.Sprintf("%s-%dx%d-%s", s, size.w, size.h, lang)
				t.Run(name, func(t *testing.T) {
					var golden strings.Builder
					for _, state := range states {
						synctest.Test(t, func(t *testing.T) {
							fmt.Fprintf(&golden, "── %s\n%s", state.name, stateScreen(t, s, state.fresh, state.set, state.then, size.w, size.h, lang))
						})
					}
					tuitest.Golden(t, "states/"+name+".txt", golden.String())
				})
			}
		}
	}
}

func stateScreen(t *testing.T, s views.Screen, fresh bool, set func(*desk), then func(*tuitest.Terminal, *desk), w, h int, lang string) string {
	d := busyDesk()
	if fresh {
		d = newDesk()
	}
	if set != nil {
		set(d)
	}
	o := d.options()
	o.Start, o.Lang = s, lang
	if s == views.ScreenChannel {
		o.StartArg = "production"
	}
	term := open(t, o, w, h, true)
	term.Wait(time.Second)
	if then != nil {
		then(term, d)
	}
	screen := term.Screen()
	leave(t, term)
	return screen
}
