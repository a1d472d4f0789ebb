package views

import (
	"context"

	tea "charm.land/bubbletea/v2"

	"capstan/ui/text"
	"capstan/ui/widget"
)

// setupView is the doctor's list: what a first release needs, and what is missing.
type setupView struct {
	e      *Env
	doctor Resource[[]Finding]
}

// NewSetup makes the setup screen.
func NewSetup(e *Env) View { return &setupView{e: e} }

func (v *setupView) Title() string { return v.e.S.TabSetup }
func (v *setupView) Enter() tea.Cmd {
	e := v.e
	cmds := []tea.Cmd{e.LoadKeys(), e.LoadChannels(), e.LoadAbout()}
	if e.Services.Project != nil {
		cmds = append(cmds, v.doctor.LoadLocal(e, func(ctx context.Context) ([]Finding, error) { return e.Services.Project.Doctor(ctx) }))
	}
	return tea.Batch(cmds...)
}
func (v *setupView) CapturesText() bool { return false }
func (v *setupView) Back() bool         { return false }
func (v *setupView) Update(msg tea.Msg) tea.Cmd {
	if m, ok := msg.(RefreshMsg); ok && !m.Auto {
		return v.Enter()
	}
	return nil
}

func (v *setupView) Actions() []Action {
	e := v.e
	return []Action{
		{ID: "continue", Keys: []string{"enter"}, Help: e.S.HelpContinue, Long: e.S.LongStart, Primary: true, Run: func() tea.Cmd { return Go(ScreenRelease, "") }},
		{ID: "keys", Keys: []string{"K"}, Help: e.S.TabKeys, Long: e.S.LongNewKey, Run: func() tea.Cmd { return Go(ScreenKeys, "") }},
	}
}

func (v *setupView) Render(w, h int) string {
	e := v.e
	f := e.Facts
	col := 14
	lines := []string{"", " " + heading(e, e.S.SetupTitle, w-2)}
	row := func(ok bool, label, value, how string) {
		glyph := e.St.OK.Render("✓")
		if !ok {
			glyph = e.St.Warn.Render("!")
			value = how
		}
		lines = append(lines, " "+glyph+" "+field(e, label, e.St.Text.Render(widget.Cut(value, max(4, w-col-5))), col))
	}
	row(f.Root != "", e.S.SetupProject, text.Clean(f.Root), e.S.SetupNoProject)
	row(f.AppID != "", e.S.SetupApp, clean(f.AppID)+"  "+text.Clean(f.AppName), e.S.SetupNoApp)
	row(f.PluginVersion != "", e.S.SetupPlugin, "@capgo/capacitor-updater "+clean(f.PluginVersion), e.S.SetupNoPlugin)
	row(f.WebDir != "", e.S.BuildFolder, text.Clean(f.WebDir), e.S.SetupNoWebDir)
	server := e.S.Loading
	if e.Data.About.Ready() {
		server = clean(e.Data.About.Value.Server) + " " + text.Clean(e.Data.About.Value.Version) + "  " + text.Clean(f.ServerURL)
	}
	serverWhy := ""
	if e.Data.About.Err != nil {
		serverWhy = text.Clean(e.Data.About.Err.Error())
	}
	row(serverWhy == "", e.S.SetupServer, server, serverWhy)
	keys := e.Data.Keys.Value
	first := ""
	if len(keys) > 0 {
		first = shortKey(keys[0].ID) + "  " + storeName(e, keys[0].Store)
	}
	row(len(keys) > 0, e.S.SetupKey, first, e.S.AlertNoKeyHow)
	row(f.ConfigHasKey, e.S.SetupConfig, e.S.EditThere, e.S.SetupNoConfig)
	row(len(e.Data.Channels.Value) > 0, e.S.SetupChannel, sprintf(e.S.SetupChannels, len(e.Data.Channels.Value)), e.S.SetupNoChannel)
	if e.Services.Project != nil {
		lines = append(lines, "", " "+heading(e, e.S.DoctorTitle, w-2))
		switch {
		case v.doctor.Err != nil:
			lines = append(lines, " "+e.St.Danger.Render("× ")+e.St.Text.Render(widget.Cut(text.Clean(v.doctor.Err.Error()), w-4)))
		case v.doctor.Ready() && len(v.doctor.Value) == 0:
			lines = append(lines, " "+e.St.OK.Render("✓ ")+e.St.Text.Render(e.S.DoctorFine))
		case v.doctor.Ready():
			lines = append(lines, indentLines(findingLines(e, v.doctor.Value, w-2, max(2, h-len(lines)-1)), 1)...)
		default:
			lines = append(lines, " "+e.St.Muted.Render(e.S.Loading))
		}
	}
	return widget.Fit(join(lines), w, h)
}
