package views

import (
	"context"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"

	"capstan/core/capgo"
	"capstan/ui/text"
	"capstan/ui/widget"
)

// keysView lists the app's signing keys.
type keysView struct {
	e      *Env
	table  *widget.Table[Key]
	stores Resource[[]KeyStore]
	plan   Resource[Edit]
	making bool
	// rotation is the change from one key to another.
	rotation Resource[Rotation]
}

// NewKeys makes the keys screen.
func NewKeys(e *Env) View {
	v := &keysView{e: e}
	v.table = widget.NewTable(
		func(k Key) string { return k.ID },
		func(k Key) string { return k.ID + " " + k.AppID + " " + k.Store + " " + k.Location },
		widget.Column[Key]{Title: e.S.KeyID, Width: 20, Cell: func(k Key) string { return e.St.Bold.Render(clean(k.ID)) }},
		widget.Column[Key]{Title: e.S.ColStore, Width: 14, Flex: 1, Cell: func(k Key) string { return e.St.Text.Render(storeName(e, k.Store)) }},
		widget.Column[Key]{Title: e.S.ColChannels, Width: 12, Flex: 2, Drop: 106, Cell: func(k Key) string { return e.St.Text.Render(strings.Join(e.signedBy(k.ID), ", ")) }},
		widget.Column[Key]{Title: e.S.ColFleet, Width: 10, Right: true, Drop: 70, Cell: func(k Key) string {
			return e.St.Text.Render(e.S.Count(e.Data.Summary.Value.Fleet["key_id"][k.ID]))
		}},
		widget.Column[Key]{Title: e.S.ColBackup, Width: 12, Cell: func(k Key) string {
			if k.BackedUp.IsZero() {
				return e.St.Warn.Render("! " + e.S.NoBackup)
			}
			return e.St.OK.Render("✓ ") + e.St.Muted.Render(e.S.Span(e.Now().Sub(k.BackedUp)))
		}},
		widget.Column[Key]{Title: e.S.ColUsed, Width: 12, Right: true, Drop: 84, Cell: func(k Key) string { return e.St.Muted.Render(e.S.Ago(e.Now(), k.LastUsed)) },
			Compare: func(a, b Key) int { return b.LastUsed.Compare(a.LastUsed) }},
		widget.Column[Key]{Title: e.S.ColAge, Width: 8, Right: true, Cell: func(k Key) string { return e.St.Muted.Render(e.S.Span(e.Now().Sub(k.Created))) },
			Compare: func(a, b Key) int { return b.Created.Compare(a.Created) }},
	)
	return v
}

func (v *keysView) Title() string { return v.e.S.TabKeys }
func (v *keysView) Enter() tea.Cmd {
	return tea.Batch(v.e.LoadKeys(), v.e.LoadSummary(), v.e.LoadChannels(), v.e.LoadBundles(), v.stores.LoadLocal(v.e, v.e.Services.Keys.Stores), v.loadRotation())
}
func (v *keysView) CapturesText() bool { return false }
func (v *keysView) Back() bool         { return false }
func (v *keysView) SetFilter(s string) { v.table.Filter(s) }
func (v *keysView) FilterText() string { return v.table.FilterText() }
func (v *keysView) Counts() (int, int) { return v.table.Shown(), v.table.Len() }

func (v *keysView) Update(msg tea.Msg) tea.Cmd {
	e := v.e
	switch m := msg.(type) {
	case LoadedMsg:
		if m.Of(&e.Data.Keys) {
			v.table.SetRows(e.Data.Keys.Value)
			return v.planFor()
		}
	case newKeyMsg:
		v.making = false
		e.Loads--
		if m.err != nil {
			return NoticeErr(m.err)
		}
		return tea.Batch(e.LoadKeys(), Notice(NoticeOK, sprintf(e.S.KeyMade, shortKey(m.key.ID))))
	case RefreshMsg:
		return v.Enter()
	case tea.KeyPressMsg:
		if v.table.Move(m.String()) {
			return v.planFor()
		}
	case tea.MouseWheelMsg:
		v.table.Scroll(wheel(m))
	case tea.MouseClickMsg:
		v.table.Click(m.Y)
	}
	return nil
}

type newKeyMsg struct {
	key Key
	err error
}

// planFor asks what putting the chosen key into the project would change.
func (v *keysView) planFor() tea.Cmd {
	e := v.e
	k, ok := v.table.Selected()
	if !ok || e.Services.Project == nil {
		return nil
	}
	return v.plan.LoadLocal(e, func(ctx context.Context) (Edit, error) { return e.Services.Project.PlanKey(ctx, k.PublicPEM) })
}

func (v *keysView) Actions() []Action {
	e := v.e
	k, ok := v.table.Selected()
	why := ""
	if !ok {
		why = e.S.WhyNoKey
	}
	write := Action{ID: "write-key", Keys: []string{"W"}, Help: e.S.HelpWriteKey, Long: e.S.LongWriteKey, Dangerous: true, Primary: true, Disabled: why,
		Run: func() tea.Cmd { return e.askEdit(v.plan.Value, v.planFor) }}
	switch {
	case why != "":
	case e.Services.Project == nil:
		write.Disabled = e.S.WhyNoProject
	case v.plan.Ready() && v.plan.Value.Diff == "":
		write.Disabled = e.S.WhyWritten
	case !v.plan.Ready() || v.plan.Value.Apply == nil:
		write.Disabled = e.S.WhyNoEdit
	}
	newKey := Action{ID: "new-key", Keys: []string{"N"}, Help: e.S.HelpNewKey, Long: e.S.LongNewKey, Dangerous: true, Primary: true, Run: v.choose}
	if !v.stores.Ready() {
		newKey.Disabled = e.S.Loading
	}
	care := v.careActions(k, why)
	actions := []Action{
		newKey,
		care[0],
		{ID: "copy", Keys: []string{"y"}, Help: e.S.HelpCopyKey, Long: e.S.LongCopyKey, Disabled: why, Primary: true, Run: func() tea.Cmd { return Copy(k.PublicPEM, e.S.WhatPublicKey) }},
		{ID: "copy-id", Keys: []string{"Y"}, Help: e.S.HelpCopyID, Long: e.S.LongCopyKeyID, Disabled: why, Run: func() tea.Cmd { return Copy(k.ID, e.S.KeyID) }},
		write,
		{ID: "sort", Keys: []string{"o"}, Help: e.S.HelpSort, Long: e.S.LongSort, Run: func() tea.Cmd { v.table.SortNext(); return nil }},
	}
	return append(append(actions, care[1:]...), v.rotateAction(why))
}

// choose asks for the store of a new key, and warns when there is a key already.
func (v *keysView) choose() tea.Cmd {
	e := v.e
	intro := e.S.KeyIntro
	if v.table.Len() > 0 {
		intro = e.S.SecondKey
	}
	return e.askNewKey(intro, v.stores.Value, &v.making, func(k Key, err error) tea.Msg { return newKeyMsg{k, err} })
}

// askNewKey asks which of the stores shall keep a new key, and makes it. making
// is true from the choice on; done is the message that says how it ended.
func (e *Env) askNewKey(intro string, stores []KeyStore, making *bool, done func(Key, error) tea.Msg) tea.Cmd {
	choice := widget.Choice{Title: e.S.ChooseStore, Intro: intro}
	for _, s := range stores {
		choice.Items = append(choice.Items, widget.ChoiceItem{Label: storeName(e, s.Kind), Note: e.S.StoreWhat[s.Kind], Why: text.Clean(s.Unusable)})
	}
	return Choose(choice, func(i int) tea.Cmd {
		*making = true
		e.Loads++
		return func() tea.Msg {
			ctx, stop := context.WithTimeout(e.Ctx, askLimit)
			defer stop()
			return done(e.Services.Keys.Create(ctx, e.Facts.AppID, stores[i].Kind))
		}
	})
}

func (v *keysView) Render(w, h int) string {
	e := v.e
	if p, pending := e.Data.Keys.Pending(e, w, h); pending {
		return p
	}
	if v.table.Len() == 0 {
		return EmptyPanel(e, e.S.NoKeys, e.S.NoKeysHow, w, h)
	}
	listH := max(3, min(v.table.Shown()+1, h/3))
	k, ok := v.table.Selected()
	top := v.table.View(w, listH, e.St)
	if v.making {
		top += "\n " + e.St.Accent.Render(widget.Spinner(e.Step)) + " " + e.St.Text.Render(e.S.KeyMaking)
	}
	if panel := v.rotationPanel(w); len(panel) > 0 {
		top += "\n" + join(panel)
	}
	if !ok {
		return widget.Fit(top, w, h)
	}
	return widget.Fit(top+"\n"+join(v.detail(k, w)), w, h)
}

// signedBy names the channels that give out bundles which a key signed: live, for
// a platform of their own, or to a part of the devices.
func (e *Env) signedBy(keyID string) []string {
	signed := map[string]bool{}
	for _, b := range e.Data.Bundles.Value {
		if b.KeyID == keyID || slices.ContainsFunc(b.Seals, func(s capgo.Seal) bool { return s.KeyID == keyID }) {
			signed[b.Name] = true
		}
	}
	var names []string
	for _, c := range e.Data.Channels.Value {
		gives := signed[live(c)] || c.RolloutVersionInfo != nil && signed[c.RolloutVersionInfo.Name]
		for _, own := range c.PlatformVersions {
			gives = gives || signed[own.Name]
		}
		if gives {
			names = append(names, text.Clean(c.Name))
		}
	}
	return names
}

// use draws where a key is in use: the channels by name, and the devices.
func (v *keysView) use(k Key, w, col int) []string {
	e := v.e
	where := e.St.Muted.Render(e.S.KeyLiveNowhere)
	if names := e.signedBy(k.ID); len(names) > 0 {
		where = e.St.OK.Render("● ") + e.St.Text.Render(strings.Join(names, ", "))
	}
	held, all := e.Data.Summary.Value.Fleet["key_id"][k.ID], e.Data.Summary.Value.Devices
	devices := e.St.Muted.Render(e.S.KeyHeldNone)
	if held > 0 {
		devices = e.St.Text.Render(sprintf(e.S.KeyHeldBy, e.S.One(held, e.S.OneDevice, e.S.ManyDevices), e.S.Count(all)))
	}
	var lines []string
	if e.Data.Bundles.Ready() && e.Data.Channels.Ready() {
		for i, l := range widget.Wrap(where, max(8, w-col-3)) {
			label := ""
			if i == 0 {
				label = e.S.KeyLiveOn
			}
			lines = append(lines, " "+field(e, label, l, col))
		}
	}
	if e.Data.Summary.Ready() {
		lines = append(lines, " "+field(e, e.S.ColDevices, devices, col))
	}
	return lines
}

func (v *keysView) detail(k Key, w int) []string {
	e := v.e
	col := 13
	lines := []string{"", " " + heading(e, clean(k.ID), w-2),
		" " + field(e, e.S.KeyFinger, e.St.Text.Render(widget.Cut(clean(k.Fingerprint), w-col-3)), col),
		" " + field(e, e.S.KeyStored, e.St.Text.Render(storeName(e, k.Store))+"  "+e.St.Muted.Render(widget.CutLeft(text.Clean(k.Location), max(4, w-col-24))), col),
		" " + field(e, e.S.Created, e.St.Text.Render(stamp(e, k.Created)), col),
		" " + field(e, e.S.ColUsed, e.St.Text.Render(e.S.Ago(e.Now(), k.LastUsed)), col),
	}
	lines = append(lines, v.use(k, w, col)...)
	if k.BackedUp.IsZero() {
		lines = append(lines, " "+field(e, e.S.ColBackup, e.St.Warn.Render("! "+e.S.NoBackup)+"  "+e.St.Muted.Render(e.S.BackupHow), col))
	} else {
		proven := e.St.Warn.Render("! ") + e.St.Text.Render(e.S.NotDrilled)
		if !k.Drilled.IsZero() {
			proven = e.St.OK.Render("✓ ") + e.St.Text.Render(sprintf(e.S.Drilled, e.S.Ago(e.Now(), k.Drilled)))
		}
		lines = append(lines, " "+field(e, e.S.ColBackup, e.St.OK.Render("✓ ")+e.St.Text.Render(e.S.Ago(e.Now(), k.BackedUp))+"  "+proven, col))
	}
	if e.Services.Project != nil && v.plan.Ready() {
		state := e.St.OK.Render("✓ ") + e.St.Text.Render(e.S.EditThere)
		if v.plan.Value.Diff != "" {
			state = e.St.Warn.Render("! ") + e.St.Text.Render(sprintf(e.S.EditMissing, text.Clean(v.plan.Value.Path)))
		}
		lines = append(lines, " "+field(e, e.S.InProject, state, col))
	}
	lines = append(lines, "", " "+e.St.Muted.Render(e.S.PublicKey))
	for _, l := range strings.Split(strings.TrimSpace(k.PublicPEM), "\n") {
		lines = append(lines, "   "+e.St.Muted.Render(text.Clean(l)))
	}
	return lines
}
