package views

import (
	"context"
	"net/url"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"

	"capstan/ui/text"
	"capstan/ui/widget"
)

// drivers are the storages that the wizard offers, with the form of their
// addresses; docs/storage.md describes each.
var drivers = []struct{ scheme, form string }{
	{"", ""},
	{"file", "file:///srv/www/updates"},
	{"s3", "s3://bucket/prefix?endpoint=s3.example.com&region=eu-central-1"},
	{"https+put", "https+put://artifacts.example.com/repository/updates"},
	{"sftp", "sftp://deploy@www.example.com/srv/www/updates"},
	{"azblob", "azblob://container/prefix"},
	{"gs", "gs://bucket/prefix"},
	{"exec", "exec:///home/me/rclone.toml"},
}

// newProfile asks for a place to release to, step by step, tries it out and saves it.
func (v *settingsView) newProfile() tea.Cmd {
	e := v.e
	ask := widget.NewPrompt(e.S.ProfileNameTitle, e.S.FreezeNameLabel, e.S.HelpContinue, "")
	ask.Check = func(s string) string {
		known := slices.ContainsFunc(v.saved.Value.Profiles, func(p Profile) bool { return p.Name == s })
		if known || s == "" || len(s) > 64 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != "" || strings.ContainsRune("._-", rune(s[0])) {
			return e.S.ProfileNameBad
		}
		return ""
	}
	return Prompt(ask, func(name string) tea.Cmd { return v.profileServer(Profile{Name: name}) })
}

// complete reports whether s is an address with a host or a path.
func complete(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Scheme != "" && (u.Host != "" || len(u.Path) > 1)
}

func (v *settingsView) profileServer(p Profile) tea.Cmd {
	e := v.e
	ask := widget.NewPrompt(e.S.ProfileServerTitle, e.S.ProfileServerLabel, e.S.HelpContinue, orElse(e.Facts.ServerURL, "https://"), e.St.Text.Render(e.S.ProfileServerWhat))
	ask.Check = func(s string) string {
		if !complete(s) || !strings.HasPrefix(s, "http") {
			return e.S.ProfileServerBad
		}
		return ""
	}
	return Prompt(ask, func(server string) tea.Cmd {
		p.Server = server
		return v.profileDriver(p)
	})
}

func (v *settingsView) profileDriver(p Profile) tea.Cmd {
	e := v.e
	built := e.Services.Profiles.Drivers()
	choice := widget.Choice{Title: e.S.ProfileStoreTitle}
	for _, d := range drivers {
		form, _, _ := strings.Cut(d.form, "?")
		item := widget.ChoiceItem{Label: e.S.DriverNames[d.scheme], Note: form}
		if d.scheme != "" && !slices.Contains(built, d.scheme) {
			item.Why = e.S.WhyNoDriver
		}
		choice.Items = append(choice.Items, item)
	}
	return Choose(choice, func(i int) tea.Cmd {
		if i == 0 {
			p.Storage = "capstan+" + p.Server
			return v.profileChannel(p)
		}
		return v.profileAddress(p, drivers[i].scheme, drivers[i].form)
	})
}

func (v *settingsView) profileAddress(p Profile, scheme, form string) tea.Cmd {
	e := v.e
	ask := widget.NewPrompt(e.S.ProfileAddressTitle, e.S.ProfileAddressLabel, e.S.HelpContinue, form, e.St.Text.Render(sprintf(e.S.ProfileAddressWhat, e.S.DriverKeys[scheme])))
	ask.Check = func(s string) string {
		begins := scheme + "://"
		if !complete(s) || !strings.HasPrefix(s, begins) && !(scheme == "https+put" && strings.HasPrefix(s, "http+put://")) {
			return sprintf(e.S.ProfileAddressBad, begins)
		}
		return ""
	}
	return Prompt(ask, func(storage string) tea.Cmd {
		p.Storage = storage
		return v.profilePublic(p)
	})
}

func (v *settingsView) profilePublic(p Profile) tea.Cmd {
	e := v.e
	ask := widget.NewPrompt(e.S.ProfilePublicTitle, e.S.ProfilePublicLabel, e.S.HelpContinue, "https://", e.St.Text.Render(e.S.ProfilePublicWhat))
	ask.Check = func(s string) string {
		if !complete(s) || !strings.HasPrefix(s, "http") {
			return e.S.ProfileServerBad
		}
		return ""
	}
	return Prompt(ask, func(public string) tea.Cmd {
		p.PublicURL = public
		return v.profileChannel(p)
	})
}

func (v *settingsView) profileChannel(p Profile) tea.Cmd {
	e := v.e
	ask := widget.NewPrompt(e.S.ProfileChannelTitle, e.S.Channel, e.S.HelpTry, orElse(e.Facts.Channel, "production"))
	ask.Check = func(s string) string {
		if strings.TrimSpace(s) == "" {
			return e.S.WhyNoChannel
		}
		return ""
	}
	return Prompt(ask, func(channel string) tea.Cmd {
		p.Channel = strings.TrimSpace(channel)
		v.trying = p
		return tea.Batch(Notice(NoticeInfo, sprintf(e.S.ProfileTrying, text.Clean(p.Server))), v.tried.LoadSlow(e, func(ctx context.Context) ([]Finding, error) {
			return e.Services.Profiles.Try(ctx, p)
		}))
	})
}

// judged shows how the trial went, and asks where to save what devices could use.
func (v *settingsView) judged() tea.Cmd {
	e, p := v.e, v.trying
	if v.tried.Err != nil {
		return NoticeErr(v.tried.Err)
	}
	findings := v.tried.Value
	blocked := slices.ContainsFunc(findings, func(f Finding) bool { return f.Level == "block" })
	lines := findingLines(e, findings, 60, 12)
	if blocked {
		return Say(sprintf(e.S.ProfileTried, text.Clean(p.Name)), append(lines, "", e.St.Danger.Render("× ")+e.St.Bold.Render(e.S.ProfileBlocked))...)
	}
	var said []string
	for _, f := range findings {
		said = append(said, findingText(e, f))
	}
	choice := widget.Choice{Title: sprintf(e.S.ProfileSaveTitle, text.Clean(p.Name)), Intro: strings.Join(said, "; "), Items: []widget.ChoiceItem{
		{Label: e.S.ProfileShared}, {Label: e.S.ProfileMine, Note: e.S.ProfileMineNote}}}
	if strings.HasPrefix(p.Storage, "exec:") {
		choice.Items[0].Why = e.S.ProfileExecWhy
		choice.Start(1)
	}
	return Choose(choice, func(i int) tea.Cmd {
		var path string
		e.Loads++
		return func() tea.Msg {
			ctx, stop := context.WithTimeout(e.Ctx, readLimit)
			defer stop()
			var err error
			path, err = e.Services.Profiles.Save(ctx, p, i == 1)
			return DoneMsg{err, sprintf(e.S.ProfileSaved, text.Clean(p.Name), text.Clean(path)), func() tea.Cmd { return v.Enter() }}
		}
	})
}
