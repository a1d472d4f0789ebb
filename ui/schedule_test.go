package ui

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"capstan/core/capgo"
	"capstan/internal/tuitest"
	"capstan/ui/text"
	"capstan/ui/views"
)

// A plan is made with a few keys, shown on the channel and the board, and dropped.
func TestSchedule(t *testing.T) {
	drive(t, calmDesk, nil, func(term *tuitest.Terminal, d *desk) {
		term.Press("enter")
		term.Wait(time.Second)
		term.Press("W")
		term.Has("Which version to plan for production?")
		term.Press("enter") // 2.5.0
		term.Has("How does 2.5.0 go out?", "At a time", "5 % → 25 % → 100 % → everybody", "24 h each", "Other shares")
		term.Press("down", "enter")
		term.Has("When does it start?", "Nothing means at once.")
		term.Type("yesterday")
		term.Press("enter")
		term.Has("write it like 09:00")
		for range "yesterday" {
			term.Press("backspace")
		}
		term.Type("1999-12-31")
		term.Press("enter")
		term.Has("that has passed")
		for range "1999-12-31" {
			term.Press("backspace")
		}
		term.Type("+2h")
		term.Press("enter")
		term.Wait(time.Second)
		tuitest.Golden(t, "schedule/1-confirm.txt", term.Screen())
		term.Has("Plan 2.5.0 on production", "live now: 2.4.3 → 2.5.0", "12,480 devices", "To confirm, type production")
		term.Type("production")
		term.Press("enter")
		term.Wait(time.Second)
		if len(d.plans) != 1 || len(d.plans[0].Steps) != 3 || d.plans[0].Steps[1] != (capgo.PlanStep{Bps: 2500, SoakSeconds: 86400}) || !d.plans[0].Promote || d.plans[0].At == nil {
			t.Fatalf("planned %+v", d.plans)
		}
		term.Has("2.5.0 is planned on production", "next 02:00", "you planned 2.5.0")
		tuitest.Golden(t, "schedule/2-planned.txt", term.Screen())
		term.Press("1")
		term.Wait(time.Second)
		term.Has("◷ 2.5.0  5 % → 25 %", "next 02:00")
		term.Press("enter")
		term.Wait(time.Second)
		term.Press("W")
		term.Has("What about the plan of 2.5.0?", "Drop the plan")
		term.Press("down", "enter")
		term.Wait(time.Second)
		term.Press("y")
		term.Wait(time.Second)
		if len(d.plans) != 0 {
			t.Errorf("still planned: %+v", d.plans)
		}
		term.Has("nothing is planned on production any more")
	})
}

// Shares of one's own, and at once.
func TestScheduleSharesOfOnesOwn(t *testing.T) {
	drive(t, calmDesk, func(o *Options, _ *desk) { o.Start, o.StartArg = views.ScreenChannel, "beta" }, func(term *tuitest.Terminal, d *desk) {
		term.Press("W", "down", "enter", "end", "enter")
		term.Has("Growing shares", "5,25,100 2h")
		for range "25,100 2h" {
			term.Press("backspace")
		}
		term.Type("4 1h")
		term.Press("enter")
		term.Has("write growing shares")
		for range "4 1h" {
			term.Press("backspace")
		}
		term.Type("12.5,50 90m")
		term.Press("enter", "enter")
		term.Wait(time.Second)
		term.Has("Plan 2.4.3 on beta", "starts at once: 5 % → 12.5 % → 50 % → everybody, 90 min each")
		term.Press("y")
		term.Wait(time.Second)
		if len(d.plans) != 1 || d.plans[0].At != nil || d.plans[0].Steps[1] != (capgo.PlanStep{Bps: 1250, SoakSeconds: 5400}) {
			t.Errorf("planned %+v", d.plans)
		}
	})
}

// calmDesk is a busy one without a rollout on production.
func calmDesk() *desk {
	d := busyDesk()
	c := &d.channels[0]
	c.RolloutVersionInfo, c.RolloutPausedAt, c.RolloutPauseReason, c.RolloutEnabled, c.RolloutPercentageBps = nil, nil, nil, false, 0
	return d
}

// A freeze is set for two dates and every week, holds the board in sight, and is removed.
func TestFreezes(t *testing.T) {
	drive(t, calmDesk, func(o *Options, _ *desk) { o.Facts.Zone = "Europe/Madrid" }, func(term *tuitest.Terminal, d *desk) {
		term.Press("enter")
		term.Wait(time.Second)
		term.Press("F", "enter")
		term.Type("new/year")
		term.Press("enter")
		term.Has("a name of letters")
		for range "/year" {
			term.Press("backspace")
		}
		term.Type(" year")
		term.Press("enter")
		term.Has("From when is new year?")
		term.Press("enter")
		term.Has("Until when is new year?")
		term.Press("enter")
		term.Wait(time.Second)
		term.Has("Set the freeze new year")
		term.Press("y")
		term.Wait(time.Minute) // until it begins
		term.Has("‖ frozen until 2 Jan 00:01")
		if len(d.frozen) != 1 || d.frozen[0].To.Sub(*d.frozen[0].From) != 24*time.Hour {
			t.Fatalf("froze %+v", d.frozen)
		}
		term.Press("F")
		term.Has("new year", "Enter on one")
		tuitest.Golden(t, "schedule/3-freezes.txt", term.Screen())
		term.Press("down", "down", "enter")
		term.Type("weekend")
		term.Press("enter")
		term.Has("When is weekend every week?", "that of Europe/Madrid")
		term.Press("enter")
		term.Wait(time.Second)
		term.Has("Fri at 17:00 for 63 h (Europe/Madrid)")
		term.Press("y")
		term.Wait(time.Second)
		if f := d.frozen[1]; f.Name != "weekend" || f.Days[0] != "fri" || f.Start != "17:00" || f.Minutes != 63*60 || f.Zone != "Europe/Madrid" {
			t.Errorf("froze %+v", f)
		}
		term.Press("F", "enter")
		term.Wait(time.Second)
		term.Has("Remove the freeze new year")
		term.Press("y")
		term.Wait(time.Second)
		if len(d.frozen) != 1 || d.frozen[0].Name != "weekend" {
			t.Errorf("left %+v", d.frozen)
		}
		term.HasNot("frozen until")
	})
}

// frozenDesk is held by a freeze.
func frozenDesk() *desk {
	d := busyDesk()
	from, to := d.began.Add(-time.Hour), d.began.Add(100*time.Hour)
	d.frozen = []capgo.Freeze{{AppID: app, Name: "new year", From: &from, To: &to}}
	return d
}

// In a freeze what moves forward asks why, and the reason goes with it; going
// back and pausing ask for none.
func TestFreezeAsksForAReason(t *testing.T) {
	drive(t, frozenDesk, nil, func(term *tuitest.Terminal, d *desk) {
		term.Has("‖ frozen until 5 Jan 04:00")
		term.Press("down", "enter") // beta
		term.Wait(time.Second)
		term.Press("P", "down", "enter")
		term.Has("Frozen until 5 Jan 04:00", "Reason")
		term.Press("enter")
		term.Has("say why it cannot wait")
		term.Type("login is broken")
		term.Press("enter")
		term.Wait(time.Second)
		term.Has("Reason: login is broken", "Promote 2.4.3 to beta")
		term.Press("y")
		term.Wait(time.Second)
		if d.history[0].Note != "login is broken" || d.channels[1].Version.Name != "2.4.3" {
			t.Errorf("%+v", d.history[0])
		}
		term.Press("z")
		term.Wait(time.Second)
		term.Has("Take beta back to 2.5.0")
		term.HasNot("Reason")
		term.Press("esc", "1", "up", "enter")
		term.Wait(time.Second)
		term.Press("S") // resuming moves forward
		term.Has("Frozen until")
		term.Press("esc")
		term.Press("X") // disabling does not
		term.HasNot("Frozen until")
	})
}

// A release that meets a freeze asks for the reason before it asks whether.
func TestReleaseInAFreeze(t *testing.T) {
	drive(t, frozenDesk, nil, func(term *tuitest.Terminal, d *desk) {
		toPromote(term)
		term.Press("enter")
		term.Has("Frozen until 5 Jan 04:00")
		term.Type("hotfix")
		term.Press("enter")
		term.Wait(time.Second)
		term.Has("Promote 2.5.1 to production", "Reason: hotfix")
		term.Type("production")
		term.Press("enter")
		term.Wait(3 * time.Second)
		if d.promoted.Reason != "hotfix" {
			t.Errorf("promoted because of %q", d.promoted.Reason)
		}
	})
}

// Every action that the server writes into the audit has words in both languages.
func TestEveryAuditActionHasWords(t *testing.T) {
	files, err := filepath.Glob("../server/store/*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	found := map[string]bool{}
	written := regexp.MustCompile(`"((?:app|bundle|channel|rollout|schedule|freeze|device|token)\.[a-z]+)"`)
	for _, name := range files {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(name, "_test.go") {
			for _, m := range written.FindAllStringSubmatch(string(source), -1) {
				found[m[1]] = true
			}
		}
	}
	if len(found) < 25 {
		t.Errorf("only %d actions found: %v", len(found), found)
	}
	for action := range found {
		for _, lang := range []string{"en", "es"} {
			if text.Of(lang).Actions[action] == "" {
				t.Errorf("%s has no words for %s", lang, action)
			}
		}
	}
}
