package ui

import (
	"context"
	"testing"
	"time"

	"capstan/core/failure"
	"capstan/internal/tuitest"
	"capstan/ui/views"
)

// turntable is a change of keys that devices follow as the test says.
type turntable struct {
	r             views.Rotation
	onOld         int
	anyway        bool
	made, refused bool
}

func (t *turntable) Read(context.Context, string) (views.Rotation, error) { return t.r, nil }
func (t *turntable) Start(_ context.Context, _, kind string) (views.Rotation, error) {
	t.made = kind == "keyring"
	t.r = views.Rotation{State: "announced", OldKeyID: "MIIBCgKCAQEA9f3c2e1b", NewKeyID: "MIIBCgKCAQEA41aa90cd", Changed: time.Now()}
	return t.r, nil
}
func (t *turntable) Advance(_ context.Context, _, to string, anyway bool) (views.Rotation, error) {
	if to == "retired" && t.refused {
		return t.r, failure.New(failure.Conflict, "bundle_one_key", "", "2.4.1 is sealed for the old key alone", "release once more first")
	}
	t.r.State, t.r.Changed, t.anyway = to, time.Now(), anyway
	return t.r, nil
}
func (t *turntable) Count(context.Context, string) (views.Rotation, error) {
	t.r.OnOld, t.r.Total, t.r.Counted = t.onOld, 14_820, time.Now()
	return t.r, nil
}
func (t *turntable) Cancel(context.Context, string) error {
	t.r = views.Rotation{}
	return nil
}

// The wizard of a change of keys: every state with its next step, and no step
// without a question that fits its danger.
func TestRotationWizard(t *testing.T) {
	turn := &turntable{onOld: 5146}
	drive(t, busyDesk, func(o *Options, _ *desk) { o.Services.Rotations = turn }, func(term *tuitest.Terminal, _ *desk) {
		shot := func(name string) { tuitest.Golden(t, "rotation/"+name+".txt", term.Screen()) }
		step := func(keys ...string) {
			for _, k := range keys {
				term.Press(k)
				term.Wait(time.Second)
			}
		}
		step("7", "R")
		shot("1-store")
		step("enter")
		shot("2-start")
		step("y")
		if !turn.made {
			t.Fatal("no key was made in the chosen store")
		}
		shot("3-announced")
		step("R")
		shot("4-steps")
		step("down", "enter", "y")
		term.Has("the change of keys is given up")
		if turn.r.State != "" {
			t.Errorf("cancelled: %+v", turn.r)
		}
		step("R", "enter", "y", "R", "enter")
		shot("5-both")
		step("y")
		term.Has("both keys are in service")
		step("R", "enter", "y")
		shot("6-draining")
		term.Has("5,146 of 14,820 on the old key")
		step("R", "down", "enter")
		shot("7-retire")
		step("y")
		if turn.r.State != "draining" {
			t.Error("a y alone retired the key")
		}
		term.Press("ctrl+u")
		term.Type("9f3c2e1b")
		turn.refused = true
		step("enter")
		term.Has("sealed for the old key alone", "release once more first")
		turn.refused = false
		step("R", "down", "enter")
		term.Type("9f3c2e1b")
		step("enter")
		term.Has("the old key is retired")
		if turn.r.State != "retired" || !turn.anyway {
			t.Errorf("retired: %+v", turn)
		}
	})
}

// The same in Spanish, at the moment when nobody is left on the old key.
func TestRotationDrained(t *testing.T) {
	turn := &turntable{r: views.Rotation{State: "draining", OldKeyID: "MIIBCgKCAQEA9f3c2e1b", NewKeyID: "MIIBCgKCAQEA41aa90cd"}}
	drive(t, busyDesk, func(o *Options, _ *desk) {
		turn.r.Changed = time.Now()
		o.Services.Rotations, o.Lang = turn, "es"
	}, func(term *tuitest.Terminal, _ *desk) {
		term.Press("7")
		term.Wait(time.Second)
		term.Press("R")
		term.Wait(time.Second)
		term.Press("enter")
		term.Wait(time.Second)
		tuitest.Golden(t, "rotation/8-drained-es.txt", term.Screen())
		term.Has("retírala con R")
		term.Press("R")
		term.Wait(time.Second)
		term.Press("down", "enter")
		term.Wait(time.Second)
		term.Type("9f3c2e1b")
		term.Press("enter")
		term.Wait(time.Second)
		if turn.r.State != "retired" || turn.anyway {
			t.Errorf("retired: %+v", turn)
		}
	})
}
