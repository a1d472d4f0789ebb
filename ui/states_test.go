package ui

import (
	"crypto/sha256"
	"fmt"
	"regexp"
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
	return failure.New(failure.Unavailable, "remote_unreachable", "read the channels", "updates.example.com did not answer: connection refused", "check the network and the server's address, then repeat the command")
}

// TestStates compares every screen in every state with its golden screens.
func TestStates(t *testing.T) {
	for _, size := range []struct{ w, h int }{{80, 24}, {120, 40}} {
		for _, lang := range []string{"en", "es"} {
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

// TestThemes keeps the look of every screen in every state and theme, colours
// included: a line for each with the hash of its picture.
func TestThemes(t *testing.T) {
	for _, theme := range []string{"dark", "light", "mono"} {
		if racing && theme != "light" {
			continue
		}
		t.Run(theme, func(t *testing.T) {
			var golden strings.Builder
			for _, s := range allScreens {
				for _, state := range states {
					synctest.Test(t, func(t *testing.T) {
						d := busyDesk()
						if state.fresh {
							d = newDesk()
						}
						if state.set != nil {
							state.set(d)
						}
						o := d.options()
						o.Start, o.NoColor = s, theme == "mono"
						if s == views.ScreenChannel {
							o.StartArg = "production"
						}
						page := tuitest.DarkPage
						if theme == "light" {
							page = tuitest.LightPage
						}
						term := open(t, o, 80, 24, theme != "light")
						term.Wait(time.Second)
						if state.then != nil {
							state.then(term, d)
						}
						picture := term.SVG(page)
						if theme == "mono" && coloured(picture, page) {
							t.Errorf("%s, %s: colours without colour", s, state.name)
						}
						fmt.Fprintf(&golden, "%-9s %-8s %x\n", s, state.name, sha256.Sum256([]byte(picture)))
						leave(t, term)
					})
				}
			}
			tuitest.Golden(t, "states/theme-"+theme+".txt", golden.String())
		})
	}
}

var ink = regexp.MustCompile(`fill="(#[0-9a-fA-F]{6})"`)

// coloured reports whether a picture has a fill that is not grey and not of the page.
func coloured(picture string, page tuitest.Page) bool {
	own := fmt.Sprint(page)
	for _, m := range ink.FindAllStringSubmatch(picture, -1) {
		c := m[1]
		if (c[1:3] != c[3:5] || c[3:5] != c[5:7]) && !strings.Contains(strings.ToLower(own), strings.ToLower(c)) {
			return true
		}
	}
	return false
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
