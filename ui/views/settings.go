package views

import (
	"context"

	tea "charm.land/bubbletea/v2"

	"capstan/ui/text"
	"capstan/ui/theme"
	"capstan/ui/widget"
)

// settingsView changes how the console looks and speaks, and shows where it releases to.
type settingsView struct {
	e      *Env
	chosen int
	saved  Resource[Settings]
	tried  Resource[[]Finding] // of the profile that is being set up
	trying Profile
}

// looks is the number of settings above the profiles: theme and language.
const looks = 2

// NewSettings makes the settings screen.
func NewSettings(e *Env) View { return &settingsView{e: e} }

func (v *settingsView) Title() string { return v.e.S.TabSettings }
func (v *settingsView) Enter() tea.Cmd {
	if v.e.Services.Preferences == nil {
		return nil
	}
	return v.saved.LoadLocal(v.e, v.e.Services.Preferences.Load)
}
func (v *settingsView) CapturesText() bool { return false }
func (v *settingsView) Back() bool         { return false }

func (v *settingsView) Update(msg tea.Msg) tea.Cmd {
	if m, ok := msg.(LoadedMsg); ok && m.Of(&v.tried) {
		return v.judged()
	}
	if m, ok := msg.(tea.KeyPressMsg); ok {
		v.chosen = step(m.String(), v.chosen, looks+len(v.saved.Value.Profiles))
		switch m.String() {
		case "left", "h":
			return v.turn(-1)
		case "right", "l", "space":
			return v.turn(1)
		}
	}
	return nil
}

// profile is the profile that the cursor is on, "" when it is on a setting.
func (v *settingsView) profile() string {
	if at := v.chosen - looks; at >= 0 && at < len(v.saved.Value.Profiles) {
		return v.saved.Value.Profiles[at].Name
	}
	return ""
}

// turn goes to the next or previous value of the chosen setting.
func (v *settingsView) turn(by int) tea.Cmd {
	e := v.e
	if v.chosen >= looks {
		return nil
	}
	if v.chosen == 0 {
		names := theme.Names()
		at := 0
		for i, n := range names {
			if n == e.Theme {
				at = i
			}
		}
		next := names[(at+by+len(names))%len(names)]
		return tea.Batch(func() tea.Msg { return ThemeMsg{next} }, v.save(string(next), e.Lang))
	}
	next := "es"
	if e.Lang == "es" {
		next = "en"
	}
	return tea.Batch(func() tea.Msg { return LangMsg{next} }, v.save(string(e.Theme), next))
}

func (v *settingsView) save(themeName, lang string) tea.Cmd {
	e := v.e
	if e.Services.Preferences == nil {
		return nil
	}
	s := v.saved.Value
	s.Theme, s.Lang = themeName, lang
	v.saved.Value = s
	return e.Do("", func(ctx context.Context) error { return e.Services.Preferences.Save(ctx, s) }, nil)
}

func (v *settingsView) Actions() []Action {
	e := v.e
	profile := Action{ID: "new-profile", Keys: []string{"N"}, Help: e.S.HelpNewProfile, Long: e.S.LongNewProfile, Primary: true, Dangerous: true, Run: v.newProfile}
	switch {
	case e.Services.Profiles == nil:
		profile.Disabled = e.S.WhyNoProfiles
	case v.tried.Loading():
		profile.Disabled = sprintf(e.S.ProfileTrying, text.Clean(v.trying.Name))
	}
	change := Action{ID: "change", Keys: []string{"enter"}, Help: e.S.HelpChange, Long: e.S.LongChangeSetting, Primary: true, Run: func() tea.Cmd { return v.turn(1) }}
	if name := v.profile(); name != "" {
		change = Action{ID: "use-profile", Keys: []string{"enter"}, Help: e.S.HelpUseProfile, Long: e.S.LongUseProfile, Primary: true,
			Run: func() tea.Cmd { return func() tea.Msg { return ProfileMsg{name} } }}
		switch {
		case !e.Facts.CanSwitch:
			change.Disabled = e.S.WhyNoProfiles
		case name == v.saved.Value.Profile:
			change.Disabled = e.S.WhyInUse
		}
	}
	return []Action{change, profile}
}

func (v *settingsView) Render(w, h int) string {
	e := v.e
	lines := []string{"", " " + heading(e, e.S.LooksTitle, w-2)}
	for i, r := range []struct{ name, value string }{{e.S.ThemeLabel, e.S.ThemeNames[string(e.Theme)]}, {e.S.LangLabel, e.S.LangName}} {
		line := e.St.Text.Render(widget.Pad(r.name, 16)) + " " + e.St.Muted.Render("‹ ") + e.St.Bold.Render(r.value) + e.St.Muted.Render(" ›")
		if i == v.chosen {
			lines = append(lines, e.St.Selected(e.St.Accent.Render("▌")+" "+widget.Pad(line, w-2)))
		} else {
			lines = append(lines, "  "+line)
		}
	}
	lines = append(lines, "", "  "+v.sample(), "", " "+heading(e, e.S.ProfilesTitle, w-2))
	switch {
	case e.Services.Preferences == nil:
		lines = append(lines, "  "+e.St.Muted.Render(e.S.NoProfiles))
	case v.saved.Err != nil:
		lines = append(lines, "  "+e.St.Warn.Render("! ")+e.St.Text.Render(widget.Cut(Failed(e, v.saved.Err), w-5)))
	case v.saved.Ready() && len(v.saved.Value.Profiles) == 0:
		lines = append(lines, "  "+e.St.Muted.Render(e.S.NoProfiles))
	}
	for i, p := range v.saved.Value.Profiles {
		mark := e.St.Muted.Render("○ ")
		if p.Name == v.saved.Value.Profile {
			mark = e.St.OK.Render("● ")
		}
		line := mark + e.St.Bold.Render(widget.Pad(text.Clean(p.Name), 14)) + " " + e.St.Text.Render(orElse(text.Clean(p.Server), e.S.ProfileNoServer)) + e.St.Muted.Render("  "+text.Clean(p.Channel))
		if looks+i == v.chosen {
			lines = append(lines, e.St.Selected(e.St.Accent.Render("▌")+" "+widget.Pad(line, w-2)))
		} else {
			lines = append(lines, "  "+line)
		}
		if p.Storage != "" {
			lines = append(lines, widget.Blank(19)+e.St.Muted.Render(widget.Cut(text.Clean(p.Storage), w-20)))
		}
	}
	if len(v.saved.Value.Profiles) > 1 && e.Facts.CanSwitch {
		lines = append(lines, "", "  "+e.St.Muted.Render(e.S.ProfileHow))
	}
	if v.tried.Loading() {
		lines = append(lines, "", "  "+e.St.Accent.Render(widget.Spinner(e.Step))+" "+e.St.Text.Render(sprintf(e.S.ProfileTrying, text.Clean(v.trying.Server))))
	}
	return widget.Fit(join(lines), w, h)
}

// sample shows the theme's meanings side by side.
func (v *settingsView) sample() string {
	e := v.e
	return e.St.OK.Render("✓ "+e.S.SampleOK) + "  " + e.St.Warn.Render("! "+e.S.SampleWarn) + "  " + e.St.Danger.Render("× "+e.S.SampleBad) + "  " + e.St.Info.Render("◔ "+e.S.SampleInfo) + "  " + e.St.Accent.Render("● "+e.S.SampleAccent) + "  " + e.St.Muted.Render("○ "+e.S.SampleMuted)
}
