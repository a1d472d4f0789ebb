package ui

import (
	"testing"
	"testing/synctest"
	"time"
)

// A newcomer gets from the first screen to a live release with Enter and one
// typed confirmation.
func TestFirstRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk()
		o := d.options()
		o.Demo = true
		term := open(t, o, 80, 24, true)
		term.Wait(time.Second)
		t.Log(term.Screen())
		term.Press("enter")
		term.Wait(time.Second)
		t.Log(term.Screen())
		term.Press("enter")
		term.Wait(time.Second)
		t.Log(term.Screen())
		term.Press("enter")
		term.Wait(time.Second)
		t.Log(term.Screen())
		term.Press("enter")
		term.Wait(time.Second)
		t.Log(term.Screen())
		term.Press("enter")
		term.Wait(4 * time.Second)
		t.Log(term.Screen())
		term.Wait(10 * time.Second)
		t.Log(term.Screen())
		term.Press("enter")
		term.Wait(time.Second)
		term.Type("production")
		t.Log(term.Screen())
		term.Press("enter")
		term.Wait(3 * time.Second)
		t.Log(term.Screen())
		term.Press("enter")
		term.Wait(time.Second)
		t.Log(term.Screen())
		leave(t, term)
	})
}
