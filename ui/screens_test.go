package ui

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/core/release"
	"capstan/internal/tuitest"
)

const pictures = "../screenshots"

// shots are the pictures that the README and the documentation show.
var shots = []struct {
	name   string
	w, h   int
	light  bool
	fresh  bool // an app at its very start
	set    func(o *Options, d *desk)
	script func(term *tuitest.Terminal)
}{
	{name: "board", w: 120, h: 40, script: func(term *tuitest.Terminal) {}},
	{name: "board-80", w: 80, h: 24, script: func(term *tuitest.Terminal) {}},
	{name: "board-light", w: 120, h: 40, light: true, script: func(term *tuitest.Terminal) {}},
	{name: "board-es", w: 80, h: 24, set: func(o *Options, _ *desk) { o.Lang = "es" }, script: func(term *tuitest.Terminal) {}},
	{name: "welcome", w: 80, h: 24, fresh: true, set: func(o *Options, _ *desk) { o.Demo = true }, script: func(term *tuitest.Terminal) {}},
	{name: "release-key", w: 80, h: 24, fresh: true, script: func(term *tuitest.Terminal) { term.Press("enter"); term.Wait(time.Second) }},
	{name: "release-key-made", w: 80, h: 24, fresh: true, script: func(term *tuitest.Terminal) {
		term.Press("enter")
		term.Wait(time.Second)
		term.Press("enter")
		term.Wait(time.Second)
	}},
	{name: "release-folder", w: 80, h: 24, script: func(term *tuitest.Terminal) { term.Press("2"); term.Wait(8 * time.Second) }},
	{name: "release-not-a-build", w: 80, h: 24, light: true, script: func(term *tuitest.Terminal) {
		term.Press("2")
		term.Wait(time.Second)
		for range 4 {
			term.Press("backspace")
		}
		term.Type("src")
		term.Wait(8 * time.Second)
	}},
	{name: "release-upload", w: 100, h: 30, script: func(term *tuitest.Terminal) { toUpload(term) }},
	{name: "release-prove", w: 80, h: 24, script: func(term *tuitest.Terminal) { toUpload(term); term.Until("214 files installed", time.Minute) }},
	{name: "release-failed", w: 80, h: 24, set: func(_ *Options, d *desk) {
		d.prepare = func(ctx context.Context, emit func(release.Event)) error {
			emit(release.Event{Stage: release.StagePreflight, Kind: release.EventStarted})
			emit(release.Event{Stage: release.StagePreflight, Kind: release.EventFinished, Text: "214 files, 3.2 MiB"})
			emit(release.Event{Stage: release.StageSeal, Kind: release.EventFinished, Text: "3.2 MiB"})
			emit(release.Event{Stage: release.StageUpload, Kind: release.EventStarted})
			return failure.New(failure.Unavailable, "storage_unavailable", "upload the object", "the storage answered 503", "try again in a minute; what was sealed is kept")
		}
	}, script: func(term *tuitest.Terminal) {
		term.Press("2")
		term.Wait(time.Second)
		term.Press("enter")
		term.Wait(time.Second)
		term.Press("enter")
		term.Wait(time.Second)
		term.Press("?", "esc")
	}},
	{name: "release-promote", w: 100, h: 30, script: func(term *tuitest.Terminal) { toPromote(term) }},
	{name: "release-details", w: 80, h: 24, script: func(term *tuitest.Terminal) { toPromote(term); term.Press("d") }},
	{name: "release-confirm", w: 80, h: 24, script: func(term *tuitest.Terminal) {
		toPromote(term)
		term.Press("enter")
		term.Wait(time.Second)
		term.Type("produc")
	}},
	{name: "release-done", w: 80, h: 24, script: func(term *tuitest.Terminal) {
		toPromote(term)
		term.Press("enter")
		term.Wait(time.Second)
		term.Type("production")
		term.Press("enter")
		term.Wait(3 * time.Second)
	}},
	{name: "channel", w: 120, h: 40, script: func(term *tuitest.Terminal) { term.Press("enter"); term.Wait(8 * time.Second) }},
	{name: "channel-80", w: 80, h: 24, light: true, script: func(term *tuitest.Terminal) { term.Press("enter"); term.Wait(8 * time.Second) }},
	{name: "schedule", w: 120, h: 40, set: func(_ *Options, d *desk) {
		c := &d.channels[0]
		c.RolloutVersionInfo, c.RolloutPausedAt, c.RolloutEnabled = nil, nil, false
		start, end := d.began.Add(34*time.Hour), d.began.Add(400*time.Hour)
		d.plans = []capgo.ReleasePlan{{AppID: app, Channel: "production", Version: "2.5.0", Steps: []capgo.PlanStep{{Bps: 500, SoakSeconds: 86400}, {Bps: 2500, SoakSeconds: 86400}, {Bps: 10000, SoakSeconds: 86400}}, Promote: true, Next: "wait", NotBefore: &start}}
		d.frozen = []capgo.Freeze{{AppID: app, Name: "weekend", Days: []string{"fri"}, Start: "17:00", Minutes: 63 * 60, Zone: "Europe/Madrid"}, {AppID: app, Name: "holidays", From: &start, To: &end}}
	}, script: func(term *tuitest.Terminal) { term.Press("enter"); term.Wait(8 * time.Second) }},
	{name: "log", w: 100, h: 30, script: func(term *tuitest.Terminal) {
		term.Press("8")
		term.Wait(time.Second)
		term.Press("l", "/")
		term.Type("updates")
		term.Press("enter")
	}},
	{name: "profile", w: 80, h: 24, set: func(o *Options, _ *desk) { o.Services.Profiles = &places{} }, script: func(term *tuitest.Terminal) {
		term.Press("9", "N")
		term.Type("staging")
		term.Press("enter", "enter")
		term.Wait(time.Second)
	}},
	{name: "bundles", w: 120, h: 40, script: func(term *tuitest.Terminal) {
		term.Press("3")
		term.Wait(time.Second)
		term.Press("down", "enter")
		term.Wait(time.Second)
	}},
	{name: "bundles-diff", w: 120, h: 40, light: true, script: func(term *tuitest.Terminal) {
		term.Press("3")
		term.Wait(time.Second)
		term.Press("d", "down", "enter")
		term.Wait(time.Second)
	}},
	{name: "bundles-files", w: 80, h: 24, script: func(term *tuitest.Terminal) {
		term.Press("3")
		term.Wait(time.Second)
		term.Press("f")
		term.Wait(time.Second)
	}},
	{name: "device", w: 120, h: 40, script: func(term *tuitest.Terminal) { toDevice(term) }},
	{name: "device-80", w: 80, h: 24, script: func(term *tuitest.Terminal) { toDevice(term) }},
	{name: "devices", w: 120, h: 40, light: true, script: func(term *tuitest.Terminal) { term.Press("4"); term.Wait(time.Second) }},
	{name: "fleet", w: 120, h: 40, script: func(term *tuitest.Terminal) { term.Press("5"); term.Wait(time.Second) }},
	{name: "activity", w: 100, h: 30, script: func(term *tuitest.Terminal) { term.Press("6"); term.Wait(time.Second) }},
	{name: "keys", w: 100, h: 30, script: func(term *tuitest.Terminal) { term.Press("7"); term.Wait(time.Second) }},
	{name: "server", w: 100, h: 30, script: func(term *tuitest.Terminal) { term.Press("8"); term.Wait(time.Second) }},
	{name: "server-mono", w: 100, h: 30, light: true, set: func(o *Options, _ *desk) { o.NoColor = true }, script: func(term *tuitest.Terminal) { term.Press("8"); term.Wait(time.Second) }},
	{name: "server-local", w: 80, h: 24, set: func(_ *Options, d *desk) { d.local = true }, script: func(term *tuitest.Terminal) { term.Press("8"); term.Wait(time.Second) }},
	{name: "settings", w: 80, h: 24, script: func(term *tuitest.Terminal) { term.Press("9"); term.Wait(time.Second) }},
	{name: "setup", w: 80, h: 24, script: func(term *tuitest.Terminal) { term.Press("s"); term.Wait(time.Second) }},
	{name: "help", w: 100, h: 30, script: func(term *tuitest.Terminal) { term.Press("?") }},
	{name: "palette", w: 100, h: 30, script: func(term *tuitest.Terminal) { term.Press(":"); term.Type("ro"); term.Wait(time.Second) }},
	{name: "mono", w: 80, h: 24, set: func(o *Options, _ *desk) { o.NoColor = true }, script: func(term *tuitest.Terminal) {}},
	{name: "colour-blind", w: 80, h: 24, set: func(o *Options, _ *desk) { o.Theme = "colour-blind" }, script: func(term *tuitest.Terminal) {}},
}

func toUpload(term *tuitest.Terminal) {
	term.Press("2")
	term.Wait(time.Second)
	term.Press("enter")
	term.Wait(time.Second)
	term.Press("enter")
	term.Wait(5 * time.Second)
}

func toPromote(term *tuitest.Terminal) {
	toUpload(term)
	term.Until("waits for you", time.Minute)
	term.Wait(time.Second)
}

func toDevice(term *tuitest.Terminal) {
	term.Press("4")
	term.Wait(time.Second)
	term.Press("/")
	term.Type("1.9.0")
	term.Press("enter")
	term.Wait(time.Second)
	term.Press("enter")
	term.Wait(8 * time.Second)
}

// TestScreenshots draws the pictures of screenshots/ from the running console.
// go test ./ui -run TestScreenshots -update makes them anew.
func TestScreenshots(t *testing.T) {
	for i, s := range shots {
		if racing && i%5 != 0 {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := busyDesk()
				if s.fresh {
					d = newDesk()
				}
				o := d.options()
				if s.set != nil {
					s.set(&o, d)
				}
				term := open(t, o, s.w, s.h, !s.light)
				term.Wait(8 * time.Second)
				s.script(term)
				page := tuitest.DarkPage
				if s.light {
					page = tuitest.LightPage
				}
				tuitest.Picture(t, pictures, s.name, term.SVG(page))
				leave(t, term)
			})
		})
	}
}

// TestFilm draws the animated picture of a first release, from the welcome to
// the live channel, from the frames of the running console.
func TestFilm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk()
		o := d.options()
		o.Demo = true
		term := open(t, o, 80, 24, true)
		term.Wait(time.Second)
		film := tuitest.NewFilm(term, tuitest.DarkPage)
		rest := func(seconds float64) { film.Shoot(term, time.Duration(seconds*float64(time.Second))) }
		// watch films for a time on the fake clock, each look for a while of its own.
		watch := func(d, every, shown time.Duration) {
			for range d / every {
				term.Wait(every)
				film.Shoot(term, shown)
			}
		}
		next := func() { term.Press("enter"); term.Wait(600 * time.Millisecond) }
		rest(2.4)
		next()
		rest(1.8)
		next()
		rest(2.4)
		term.Press("w")
		term.Wait(600 * time.Millisecond)
		rest(1.4)
		term.Press("y")
		term.Wait(600 * time.Millisecond)
		rest(1.4)
		next()
		rest(1.6)
		next()
		rest(1.4)
		term.Press("enter")
		watch(6600*time.Millisecond, 300*time.Millisecond, 160*time.Millisecond) // bytes: faster than they are
		watch(2400*time.Millisecond, 300*time.Millisecond, 500*time.Millisecond) // words: time to read them
		term.Until("waits for you", time.Minute)
		term.Wait(7 * time.Second)
		rest(3)
		next()
		for _, c := range "production" {
			term.Type(string(c))
			rest(0.13)
		}
		rest(0.6)
		term.Press("enter")
		term.Wait(3 * time.Second)
		rest(6) // live, proven, installed: the picture that stays
		tuitest.Picture(t, pictures, "first-release", film.SVG())
		leave(t, term)
	})
}
