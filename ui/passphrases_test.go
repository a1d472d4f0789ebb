package ui

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"capstan/core/failure"
	"capstan/internal/tuitest"
	"capstan/ui/widget"
)

const spoken = "correct horse battery"

// asking puts a desk's file store behind a passphrase.
func asking(o *Options, d *desk) {
	d.ask = NewPassphrases()
	o.Passphrases = d.ask
}

// toFileStore chooses the encrypted file for a first key.
func toFileStore(term *tuitest.Terminal) {
	term.Press("2")
	term.Wait(time.Second)
	term.Press("down", "enter")
	term.Wait(time.Second)
}

// A passphrase for a new key is typed twice, is long enough, reaches the ring
// as typed, and is nowhere on the screen or in the bytes that drew it.
func TestNewPassphrase(t *testing.T) {
	drive(t, newDesk, asking, func(term *tuitest.Terminal, d *desk) {
		toFileStore(term)
		term.Has("A new passphrase", "Once more", "nothing typed yet")
		term.Press("enter")
		term.Has("type the passphrase first")
		term.Type("short")
		term.Press("enter")
		term.Has("too short")
		term.Press("ctrl+u")
		term.Type(spoken)
		tuitest.Golden(t, "passphrase-new.txt", term.Screen())
		term.Press("enter")
		term.Type("something else")
		term.Press("enter")
		term.Has("the two differ")
		term.Type(spoken + "x")
		term.Press("backspace", "enter")
		term.Wait(time.Second)
		term.Has("The key is yours")
		if d.told != spoken {
			t.Errorf("the ring was told %q", d.told)
		}
		for _, secret := range []string{spoken, "horse", "something else"} {
			if strings.Contains(term.Raw(), secret) {
				t.Errorf("%q was drawn", secret)
			}
		}
	})
}

func TestPassphraseGivenUp(t *testing.T) {
	drive(t, newDesk, asking, func(term *tuitest.Terminal, d *desk) {
		toFileStore(term)
		term.Type("half of i")
		term.Press("esc")
		term.Wait(time.Second)
		term.Has("no passphrase was given", "Create a signing key")
		// The next question is asked as the first was, with nothing left in it.
		term.Press("enter")
		term.Wait(time.Second)
		term.Has("nothing typed yet")
		term.Paste(spoken + "\n")
		term.Press("enter")
		term.Paste(spoken)
		term.Press("enter")
		term.Wait(time.Second)
		term.Has("The key is yours")
		if d.told != spoken {
			t.Errorf("the ring was told %q", d.told)
		}
	})
}

// A question whose asker is gone leaves the screen by itself.
func TestPassphraseNobodyWaitsFor(t *testing.T) {
	drive(t, newDesk, asking, func(term *tuitest.Terminal, d *desk) {
		ctx, stop := context.WithTimeout(context.Background(), 3*time.Second)
		defer stop()
		ended := make(chan error, 1)
		go func() {
			_, err := d.ask.Ask(ctx, "passphrase for the old key")
			ended <- err
		}()
		term.Wait(time.Second)
		term.Has("passphrase for the old key")
		term.Type("too la")
		term.Wait(4 * time.Second)
		term.HasNot("passphrase for the old key")
		if err := <-ended; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the asker got %v", err)
		}
	})
}

// Nothing that prints the dialog prints what is in it.
func TestSecretDoesNotPrint(t *testing.T) {
	t.Parallel()
	d := desk{}
	o := d.options()
	var s widget.Secret
	for _, r := range spoken {
		s.Update(typed(r), o.env(t.Context()).S)
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if printed := fmt.Sprintf(format, &s); strings.Contains(printed, spoken) || strings.Contains(printed, fmt.Sprint([]byte("horse"))) {
			t.Errorf("%s prints %s", format, printed)
		}
	}
	if got := s.Take(); string(got) != spoken {
		t.Errorf("took %q", got)
	}
	if got := s.Take(); len(got) != 0 {
		t.Errorf("took %q a second time", got)
	}
}

// The ways of a key: import, export, backup with its drill, removal.
func TestKeyCare(t *testing.T) {
	drive(t, busyDesk, asking, func(term *tuitest.Terminal, d *desk) {
		shot := func(name string) { tuitest.Golden(t, "keycare/"+name+".txt", term.Screen()) }
		say := func() { term.Type(spoken); term.Press("enter"); term.Wait(time.Second) }
		term.Press("7")
		term.Wait(time.Second)
		shot("1-keys")
		term.Press("B")
		shot("2-backup")
		term.Press("enter")
		term.Wait(time.Second)
		term.Type(spoken)
		term.Press("enter")
		say()
		term.Has("Prove the backup now?")
		shot("3-offer")
		term.Wait(2 * time.Second)
		term.Press("y")
		term.Wait(time.Second)
		say()
		shot("4-drilled")
		term.Has("The backup works")
		term.Press("esc")
		term.Wait(time.Second)
		term.Has("proven just now")

		term.Press("E", "enter")
		term.Wait(time.Second)
		term.Type(spoken)
		term.Press("enter")
		say()
		term.Has("exported to ~/com.example.notes-9f3c2e1b.age")

		term.Press("I")
		term.Type("old/.capgo_key_v2")
		shot("5-import")
		term.Press("enter")
		term.Wait(time.Second)
		term.Press("enter")
		term.Wait(time.Second)
		shot("6-imported")
		term.Has("readable by others")
		term.Press("esc")

		term.Press("D")
		term.Wait(time.Second)
		shot("7-remove")
		term.Type("9f3c2e1b")
		term.Press("enter")
		term.Wait(time.Second)
		if len(d.keys) != 1 || d.keys[0].ID != "MIIBCgKCAQEAimported" {
			t.Errorf("the keys are %+v", d.keys)
		}
	})
}

func TestWrongPassphrase(t *testing.T) {
	drive(t, busyDesk, func(o *Options, d *desk) {
		asking(o, d)
		d.wrong = failure.New(failure.KeyStore, "passphrase_wrong", "prove backup", "the passphrase or identity does not open the file", "nothing was changed; try again")
	}, func(term *tuitest.Terminal, d *desk) {
		term.Press("7")
		term.Wait(time.Second)
		term.Press("V", "enter")
		term.Wait(time.Second)
		term.Type(spoken)
		term.Press("enter")
		term.Wait(time.Second)
		term.Has("does not open the file", "nothing was changed")
	})
}

// typed is the key that types r.
func typed(r rune) tea.KeyPressMsg { return tea.KeyPressMsg{Code: r, Text: string(r)} }
