package views

import (
	"context"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"capstan/ui/text"
	"capstan/ui/widget"
)

// Rotations takes an app from one key to another, here and on the server. Its
// methods may ask for a passphrase while they run, and wait for it.
type Rotations interface {
	// Read gives the change under way, or the last one; State "" for none.
	Read(ctx context.Context, appID string) (Rotation, error)
	// Start makes a key in a store and announces the change to it.
	Start(ctx context.Context, appID, kind string) (Rotation, error)
	// Advance goes to the next state. anyway retires the old key although devices
	// carry it.
	Advance(ctx context.Context, appID, to string, anyway bool) (Rotation, error)
	// Count asks the server how many devices carry which key.
	Count(ctx context.Context, appID string) (Rotation, error)
	// Cancel gives up a change that is only announced.
	Cancel(ctx context.Context, appID string) error
}

// Rotation is the change of an app from one key to another.
type Rotation struct {
	State              string // one of RotationStates, "" for none
	OldKeyID, NewKeyID string
	Changed            time.Time
	// OnOld of Total devices carried the old key when they were Counted; a zero
	// time is never.
	OnOld, Total int
	Counted      time.Time
}

// The states of a change, in order.
const (
	rotationAnnounced = "announced"
	rotationBoth      = "both"
	rotationDraining  = "draining"
	rotationRetired   = "retired"
)

// RotationStates lists the states in order.
func RotationStates() []string {
	return []string{rotationAnnounced, rotationBoth, rotationDraining, rotationRetired}
}

// running reports whether a change is under way.
func (r Rotation) running() bool { return r.State != "" && r.State != rotationRetired }

// drained is the share of devices that left the old key, 0 to 1.
func (r Rotation) drained() float64 {
	if r.Total == 0 {
		return 0
	}
	return float64(r.Total-r.OnOld) / float64(r.Total)
}

func (v *keysView) loadRotation() tea.Cmd {
	e := v.e
	if e.Services.Rotations == nil {
		return nil
	}
	return v.rotation.LoadLocal(e, func(ctx context.Context) (Rotation, error) { return e.Services.Rotations.Read(ctx, e.Facts.AppID) })
}

// rotateAction is the next step of a change of keys, whichever that is. why says
// why there is no key to change from.
func (v *keysView) rotateAction(why string) Action {
	e := v.e
	a := Action{ID: "rotate", Keys: []string{"R"}, Help: e.S.HelpRotate, Long: e.S.LongRotate, Dangerous: true, Disabled: why, Run: v.rotate}
	switch {
	case e.Services.Rotations == nil:
		a.Disabled = e.S.WhyNoCare
	case why == "" && !v.rotation.Ready():
		a.Disabled = e.S.Loading
	}
	return a
}

// rotate offers the steps that can be taken now.
func (v *keysView) rotate() tea.Cmd {
	e := v.e
	r := v.rotation.Value
	type step struct {
		label, note string
		run         func() tea.Cmd
	}
	var steps []step
	switch r.State {
	case rotationAnnounced:
		steps = []step{{e.S.RotateBoth, e.S.RotateBothNote, v.askBoth}, {e.S.RotateCancel, e.S.RotateCancelNote, v.askCancel}}
	case rotationBoth:
		steps = []step{{e.S.RotateDrain, e.S.RotateDrainNote, v.askDrain}}
	case rotationDraining:
		steps = []step{{e.S.RotateCount, e.S.RotateCountNote, v.count}, {e.S.RotateRetire, e.S.RotateRetireNote, v.askRetire}}
	default:
		return v.askStart()
	}
	choice := widget.Choice{Title: e.S.RotateTitle, Intro: v.rotationNext()}
	for _, s := range steps {
		choice.Items = append(choice.Items, widget.ChoiceItem{Label: s.label, Note: s.note})
	}
	return Choose(choice, func(i int) tea.Cmd { return steps[i].run() })
}

// askStart asks where the new key shall be kept, and then whether to announce it.
func (v *keysView) askStart() tea.Cmd {
	e := v.e
	choice := widget.Choice{Title: e.S.RotateStart, Intro: e.S.RotateStartWhat}
	stores := v.stores.Value
	for _, s := range stores {
		choice.Items = append(choice.Items, widget.ChoiceItem{Label: storeName(e, s.Kind), Note: e.S.StoreWhat[s.Kind], Why: text.Clean(s.Unusable)})
	}
	return Choose(choice, func(i int) tea.Cmd {
		return Ask(widget.Confirm{Title: e.S.RotateStart, Verb: e.S.HelpRotate, Lines: v.says(e.S.RotateStartDoes, e.S.RotateStartUndo)}, func() tea.Cmd {
			return v.turn(e.S.RotateStarted, func(ctx context.Context) (Rotation, error) {
				return e.Services.Rotations.Start(ctx, e.Facts.AppID, stores[i].Kind)
			})
		})
	})
}

func (v *keysView) askCancel() tea.Cmd {
	e := v.e
	return Ask(widget.Confirm{Title: e.S.RotateCancel, Verb: e.S.HelpRotate, Lines: v.says(e.S.RotateCancelDoes)}, func() tea.Cmd {
		return e.Do(e.S.RotateCancelled, func(ctx context.Context) error { return e.Services.Rotations.Cancel(ctx, e.Facts.AppID) }, v.reloaded)
	})
}

func (v *keysView) askBoth() tea.Cmd {
	e := v.e
	return Ask(widget.Confirm{Title: e.S.RotateBoth, Verb: e.S.HelpRotate, Lines: v.says(e.S.RotateBothDoes, e.S.RotateBothUndo)}, func() tea.Cmd {
		return v.advance(rotationBoth, false, e.S.RotatedBoth)
	})
}

func (v *keysView) askDrain() tea.Cmd {
	e := v.e
	return Ask(widget.Confirm{Title: e.S.RotateDrain, Verb: e.S.HelpRotate, Lines: v.says(e.S.RotateDrainDoes)}, func() tea.Cmd {
		return v.turn(e.S.RotateCounted, func(ctx context.Context) (Rotation, error) {
			if r, err := e.Services.Rotations.Advance(ctx, e.Facts.AppID, rotationDraining, false); err != nil {
				return r, err
			}
			return e.Services.Rotations.Count(ctx, e.Facts.AppID)
		})
	})
}

func (v *keysView) count() tea.Cmd {
	e := v.e
	return v.turn(e.S.RotateCounted, func(ctx context.Context) (Rotation, error) { return e.Services.Rotations.Count(ctx, e.Facts.AppID) })
}

// askRetire asks by the old key's short id: devices that carry it are left behind.
func (v *keysView) askRetire() tea.Cmd {
	e := v.e
	r := v.rotation.Value
	lines := v.says(e.S.RotateRetireDoes)
	anyway := r.OnOld > 0
	if anyway {
		lines = append(lines, e.St.Danger.Render("! ")+e.St.Text.Render(sprintf(e.S.RotateLeft, e.S.Count(int64(r.OnOld)), e.S.Count(int64(r.Total)))))
	}
	return Ask(widget.Confirm{Title: sprintf(e.S.RotateRetireTitle, shortKey(r.OldKeyID)), Verb: e.S.HelpRotate, Lines: lines, Word: shortKey(r.OldKeyID), Severe: true}, func() tea.Cmd {
		return v.advance(rotationRetired, anyway, e.S.RotatedRetired)
	})
}

func (v *keysView) says(lines ...string) []string {
	styled := make([]string, len(lines))
	for i, l := range lines {
		styled[i] = v.e.St.Text.Render(l)
	}
	return styled
}

func (v *keysView) advance(to string, anyway bool, say string) tea.Cmd {
	e := v.e
	return v.turn(say, func(ctx context.Context) (Rotation, error) {
		return e.Services.Rotations.Advance(ctx, e.Facts.AppID, to, anyway)
	})
}

// turn takes one step and reads again what it may have changed.
func (v *keysView) turn(say string, step func(ctx context.Context) (Rotation, error)) tea.Cmd {
	return v.e.DoAsking(say, func(ctx context.Context) error {
		_, err := step(ctx)
		return err
	}, v.reloaded)
}

func (v *keysView) reloaded() tea.Cmd {
	return tea.Batch(v.e.LoadKeys(), v.e.LoadSummary(), v.loadRotation(), v.planFor())
}

// rotationNext says what is waited for, and what the next step is.
func (v *keysView) rotationNext() string {
	e, r := v.e, v.rotation.Value
	switch {
	case r.State == rotationAnnounced:
		return e.S.RotateNextBoth
	case r.State == rotationBoth:
		return e.S.RotateNextDrain
	case r.State == rotationDraining && r.OnOld > 0:
		return e.S.RotateNextWait
	case r.State == rotationDraining:
		return e.S.RotateNextRetire
	}
	return e.S.RotateDone
}

// rotationPanel draws a change of keys: its states, how far the devices have
// come, the next step. Nothing when no change is under way.
func (v *keysView) rotationPanel(w int) []string {
	e, r := v.e, v.rotation.Value
	if !v.rotation.Ready() || !r.running() {
		return nil
	}
	states, at := RotationStates(), slices.Index(RotationStates(), r.State)
	marks := make([]string, len(states))
	for i, s := range states {
		name := e.S.RotationStates[s]
		switch {
		case i < at:
			marks[i] = e.St.OK.Render("✓ ") + e.St.Muted.Render(name)
		case i == at:
			marks[i] = e.St.Accent.Render("● ") + e.St.Bold.Render(name)
		default:
			marks[i] = e.St.Muted.Render("○ " + name)
		}
	}
	col := 13
	lines := []string{"", " " + heading(e, e.S.RotateTitle, w-2),
		" " + widget.Cut(strings.Join(marks, e.St.Border.Render(" ─ ")), w-2),
		" " + field(e, e.S.RotateKeys, e.St.Text.Render(shortKey(r.OldKeyID)+" → ")+e.St.Bold.Render(shortKey(r.NewKeyID))+"  "+e.St.Muted.Render(e.S.Ago(e.Now(), r.Changed)), col),
	}
	if !r.Counted.IsZero() && r.Total > 0 {
		bar := widget.Bar(r.drained(), min(20, max(4, w-72)), e.St.BarOK, e.St.BarRest)
		lines = append(lines, " "+field(e, e.S.RotateMoved, bar+" "+e.St.Text.Render(sprintf(e.S.RotateMovedOf, e.S.Percent(r.drained()), e.S.Count(int64(r.OnOld)), e.S.Count(int64(r.Total))))+"  "+e.St.Muted.Render(e.S.Ago(e.Now(), r.Counted)), col))
	}
	return append(lines, " "+field(e, e.S.RotateNext, e.St.Text.Render(widget.Cut(v.rotationNext(), max(10, w-col-3))), col))
}
