package views

import (
	"context"
	"strings"

	tea "charm.land/bubbletea/v2"

	"capstan/ui/text"
	"capstan/ui/widget"
)

// setupView leads through what a first release needs. Where it stands is not
// remembered but seen: each step looks at the world, so that the setup goes on
// after any interruption, and notices what was done elsewhere.
type setupView struct {
	e      *Env
	doctor Resource[[]Finding]
	stores Resource[[]KeyStore]
	plan   Resource[Edit]
	planID string // key that plan is for
	making bool
}

// setupStep is one line of the setup.
type setupStep struct {
	label, value string
	// done is false while the step waits; how says then what to do about it.
	done bool
	how  string
	// lines are more about it, drawn under the step that is next; brief is what
	// matters of them, for when there is no room.
	lines, brief []string
	// do is what Enter does; nil when it is not up to the console.
	do func() tea.Cmd
}

// NewSetup makes the setup screen.
func NewSetup(e *Env) View { return &setupView{e: e} }

func (v *setupView) Title() string      { return v.e.S.TabSetup }
func (v *setupView) CapturesText() bool { return false }
func (v *setupView) Back() bool         { return false }

func (v *setupView) Enter() tea.Cmd {
	e := v.e
	return tea.Batch(v.look(), e.LoadChannels(), e.LoadAbout(), v.stores.LoadLocal(e, e.Services.Keys.Stores))
}

// look reads what changes while the setup is open: keys, configuration, native projects.
func (v *setupView) look() tea.Cmd {
	e := v.e
	cmds := []tea.Cmd{e.LoadKeys()}
	if e.Services.Project != nil {
		cmds = append(cmds, v.doctor.LoadLocal(e, e.Services.Project.Doctor), v.planFor())
	}
	return tea.Batch(cmds...)
}

// planFor asks what putting the key into the project would change.
func (v *setupView) planFor() tea.Cmd {
	e := v.e
	keys := e.Data.Keys.Value
	if e.Services.Project == nil || len(keys) == 0 {
		return nil
	}
	if v.planID != keys[0].ID {
		v.planID, v.plan = keys[0].ID, Resource[Edit]{}
	}
	pem := keys[0].PublicPEM
	return v.plan.LoadLocal(e, func(ctx context.Context) (Edit, error) { return e.Services.Project.PlanKey(ctx, pem) })
}

func (v *setupView) Update(msg tea.Msg) tea.Cmd {
	e := v.e
	switch m := msg.(type) {
	case LoadedMsg:
		if m.Of(&e.Data.Keys) && len(e.Data.Keys.Value) > 0 && e.Data.Keys.Value[0].ID != v.planID {
			return v.planFor()
		}
	case setupKeyMsg:
		v.making = false
		e.Loads--
		if m.err != nil {
			return NoticeErr(m.err)
		}
		return tea.Batch(v.look(), Notice(NoticeOK, sprintf(e.S.KeyMade, shortKey(m.key.ID))))
	case RefreshMsg:
		if m.Auto {
			return v.look()
		}
		return v.Enter()
	}
	return nil
}

type setupKeyMsg struct {
	key Key
	err error
}

// makeKey asks where the first key shall be kept, and makes it.
func (v *setupView) makeKey() tea.Cmd {
	return v.e.askNewKey(v.e.S.KeyIntro, v.stores.Value, &v.making, func(k Key, err error) tea.Msg { return setupKeyMsg{k, err} })
}

// steps are what a release needs, in the order in which it is done.
func (v *setupView) steps() []setupStep {
	e, f := v.e, v.e.Facts
	steps := []setupStep{
		{label: e.S.SetupProject, done: f.Root != "", value: text.Clean(f.Root), how: e.S.SetupNoProject},
		{label: e.S.SetupApp, done: f.AppID != "", value: clean(f.AppID) + "  " + text.Clean(f.AppName), how: e.S.SetupNoApp},
		{label: e.S.SetupPlugin, done: f.PluginVersion != "", value: "@capgo/capacitor-updater " + clean(f.PluginVersion), how: e.S.SetupNoPlugin},
		{label: e.S.BuildFolder, done: f.WebDir != "", value: text.Clean(f.WebDir), how: e.S.SetupNoWebDir},
		v.serverStep(), v.keyStep(),
	}
	if e.Services.Project != nil {
		steps = append(steps, v.configStep(), v.syncStep())
	}
	if e.Services.KeyCare != nil {
		steps = append(steps, v.backupStep())
	}
	n := len(e.Data.Channels.Value)
	return append(steps, setupStep{label: e.S.SetupChannel, done: n > 0, value: v.channelNames(), how: e.S.SetupNoChannel,
		do: func() tea.Cmd { return Go(ScreenRelease, "") }})
}

// channelNames lists the channels, production first.
func (v *setupView) channelNames() string {
	var names []string
	for _, c := range v.e.Data.Channels.Value {
		names = append(names, text.Clean(c.Name))
	}
	return strings.Join(names, ", ")
}

func (v *setupView) serverStep() setupStep {
	e := v.e
	s := setupStep{label: e.S.SetupServer, done: true, value: e.S.Loading}
	switch a := &e.Data.About; {
	case a.Err != nil:
		s.done, s.how = false, Failed(e, a.Err)
	case a.Ready():
		s.value = clean(a.Value.Server) + " " + text.Clean(a.Value.Version) + "  " + text.Clean(e.Facts.ServerURL)
	}
	return s
}

func (v *setupView) keyStep() setupStep {
	e := v.e
	s := setupStep{label: e.S.SetupKey, how: e.S.SetupNoKey, do: v.makeKey}
	if keys := e.Data.Keys.Value; len(keys) > 0 {
		s.done, s.value = true, shortKey(keys[0].ID)+"  "+storeName(e, keys[0].Store)
	} else if v.making {
		s.how, s.do = e.S.KeyMaking, nil
	} else if !v.stores.Ready() {
		s.how, s.do = e.S.Loading, nil
	}
	return s
}

func (v *setupView) configStep() setupStep {
	e := v.e
	s := setupStep{label: e.S.SetupConfig, value: e.S.EditThere, how: e.S.SetupAfterKey}
	edit := v.plan.Value
	switch {
	case len(e.Data.Keys.Value) == 0 || !v.plan.Ready():
	case edit.Diff == "" && edit.Snippet == "":
		s.done = true
	case edit.Apply == nil:
		s.how = e.S.EditByHand
		for _, l := range strings.Split(edit.Snippet, "\n") {
			s.lines = append(s.lines, e.St.Muted.Render(text.Clean(l)))
		}
	default:
		s.how = sprintf(e.S.EditOffer, widget.CutLeft(text.Clean(edit.Path), 24))
		for _, l := range diffBody(edit.Diff) {
			drawn := diffLine(e, text.Clean(l))
			s.lines = append(s.lines, drawn)
			if strings.HasPrefix(l, "+") || strings.HasPrefix(l, "-") {
				s.brief = append(s.brief, drawn)
			}
		}
		s.do = func() tea.Cmd {
			return e.askEdit(edit, func() tea.Cmd { return v.look() })
		}
	}
	return s
}

// syncStep watches whether the native projects have what the configuration says.
func (v *setupView) syncStep() setupStep {
	e := v.e
	s := setupStep{label: e.S.SetupSync, done: true, value: e.S.SetupSynced}
	if !v.doctor.Ready() {
		s.done, s.how = false, e.S.Loading
	}
	for _, f := range v.doctor.Value {
		switch {
		case f.Code == "native_missing":
			s.value = e.S.SetupNoNative
		case syncing(f):
			s.done, s.how = false, e.S.SetupSyncHow
			s.lines = append(s.lines, e.St.Muted.Render(findingText(e, f)))
		}
	}
	return s
}

// syncing reports whether a finding is about npx cap sync.
func syncing(f Finding) bool {
	return f.Level != "ok" && (strings.Contains(f.Code, "not_synced_") || strings.HasPrefix(f.Code, "never_synced_"))
}

func (v *setupView) backupStep() setupStep {
	e := v.e
	s := setupStep{label: e.S.SetupBackup, how: e.S.SetupAfterKey}
	keys := e.Data.Keys.Value
	if len(keys) == 0 {
		return s
	}
	switch k := keys[0]; {
	case k.BackedUp.IsZero():
		s.how, s.do = e.S.SetupNoBackup, func() tea.Cmd { return e.askBackup() }
	case k.Drilled.IsZero():
		s.how, s.do = e.S.SetupNoDrill, func() tea.Cmd { return e.askDrill(e.lastBackup) }
	default:
		s.done, s.value = true, e.S.Ago(e.Now(), k.BackedUp)+"  "+sprintf(e.S.Drilled, e.S.Ago(e.Now(), k.Drilled))
	}
	return s
}

// next is the first step that is not done, -1 when all are.
func next(steps []setupStep) int {
	for i, s := range steps {
		if !s.done {
			return i
		}
	}
	return -1
}

func (v *setupView) Actions() []Action {
	e := v.e
	steps := v.steps()
	enter := Action{ID: "continue", Keys: []string{"enter"}, Help: e.S.HelpContinue, Long: e.S.LongSetupNext, Primary: true, Dangerous: true, Run: func() tea.Cmd { return Go(ScreenRelease, "") }}
	if at := next(steps); at >= 0 {
		enter.Run = steps[at].do
		if enter.Run == nil {
			enter.Disabled = steps[at].how
		}
	}
	return []Action{enter,
		{ID: "release", Keys: []string{"U"}, Help: e.S.HelpRelease, Long: e.S.LongRelease, Primary: true, Dangerous: true, Run: func() tea.Cmd { return Go(ScreenRelease, "") }},
		{ID: "keys", Keys: []string{"K"}, Help: e.S.TabKeys, Long: e.S.LongToKeys, Run: func() tea.Cmd { return Go(ScreenKeys, "") }},
	}
}

func (v *setupView) Render(w, h int) string {
	e := v.e
	col := 14
	steps := v.steps()
	at := next(steps)
	lines := []string{"", " " + heading(e, e.S.SetupTitle, w-2)}
	for i, s := range steps {
		glyph, value := e.St.OK.Render("✓"), e.St.Text.Render(widget.Cut(s.value, max(4, w-col-5)))
		switch {
		case s.done:
		case i == at:
			glyph, value = e.St.Accent.Render("●"), e.St.Bold.Render(widget.Cut(s.how, max(4, w-col-5)))
		default:
			glyph, value = e.St.Muted.Render("○"), e.St.Muted.Render(widget.Cut(s.how, max(4, w-col-5)))
		}
		lines = append(lines, " "+glyph+" "+field(e, s.label, value, col))
		if i != at {
			continue
		}
		more, room := s.lines, max(0, h-len(lines)-(len(steps)-i)-1)
		if len(more) > room && len(s.brief) > 0 {
			more = s.brief
		}
		more = more[:min(room, len(more))]
		for _, l := range more {
			lines = append(lines, widget.Blank(col+4)+widget.Cut(l, max(4, w-col-5)))
		}
		if s.do != nil {
			lines = append(lines, widget.Blank(col+4)+e.St.BadgeAccent.Render(" "+e.S.Enter+" ")+" "+e.St.Text.Render(e.S.SetupDo))
		}
	}
	if at < 0 {
		lines = append(lines, "", " "+e.St.OK.Render("✓ ")+e.St.Bold.Render(e.S.SetupDone))
	}
	if e.Services.Project != nil && h-len(lines) > 3 {
		lines = append(lines, "", " "+heading(e, e.S.DoctorTitle, w-2))
		switch {
		case v.doctor.Err != nil:
			lines = append(lines, " "+e.St.Danger.Render("× ")+e.St.Text.Render(widget.Cut(Failed(e, v.doctor.Err), w-4)))
		case v.doctor.Ready() && len(v.doctor.Value) == 0:
			lines = append(lines, " "+e.St.OK.Render("✓ ")+e.St.Text.Render(e.S.DoctorFine))
		case v.doctor.Ready():
			lines = append(lines, indentLines(findingLines(e, v.doctor.Value, w-2, max(2, h-len(lines))), 1)...)
		default:
			lines = append(lines, " "+e.St.Muted.Render(e.S.Loading))
		}
	}
	return widget.Fit(join(lines), w, h)
}
