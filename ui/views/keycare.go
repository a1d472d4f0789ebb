package views

import (
	"context"
	"strings"

	tea "charm.land/bubbletea/v2"

	"capstan/ui/text"
	"capstan/ui/widget"
)

// careActions are the ways of a key in and out of its store. why says why the
// chosen key cannot be used.
func (v *keysView) careActions(k Key, why string) []Action {
	e := v.e
	none := ""
	if e.Services.KeyCare == nil {
		none, why = e.S.WhyNoCare, e.S.WhyNoCare
	}
	return []Action{
		{ID: "backup", Keys: []string{"B"}, Help: e.S.HelpBackup, Long: e.S.LongBackup, Dangerous: true, Primary: true, Disabled: why, Run: func() tea.Cmd { return e.askBackup() }},
		{ID: "drill", Keys: []string{"V"}, Help: e.S.HelpDrill, Long: e.S.LongDrill, Disabled: none, Run: func() tea.Cmd { return e.askDrill(e.lastBackup) }},
		{ID: "import", Keys: []string{"I"}, Help: e.S.HelpImport, Long: e.S.LongImport, Dangerous: true, Disabled: none, Run: v.askImport},
		{ID: "export", Keys: []string{"E"}, Help: e.S.HelpExport, Long: e.S.LongExport, Dangerous: true, Disabled: why, Run: func() tea.Cmd { return v.askExport(k) }},
		{ID: "remove", Keys: []string{"D"}, Help: e.S.HelpRemove, Long: e.S.LongRemove, Dangerous: true, Disabled: why, Run: func() tea.Cmd { return v.askRemove(k) }},
	}
}

// askPath asks for a file.
func (e *Env) askPath(title, what, verb, proposed string, then func(path string) tea.Cmd) tea.Cmd {
	p := widget.NewPrompt(title, e.S.PathLabel, verb, proposed, e.St.Text.Render(what))
	p.Check = func(path string) string {
		if strings.TrimSpace(path) == "" {
			return e.S.PathMissing
		}
		return ""
	}
	return Prompt(p, func(path string) tea.Cmd { return then(strings.TrimSpace(path)) })
}

func (v *keysView) askImport() tea.Cmd {
	e := v.e
	return e.askPath(e.S.ImportTitle, e.S.ImportWhat, e.S.HelpImport, "~/", func(path string) tea.Cmd {
		choice := widget.Choice{Title: e.S.ImportInto}
		stores := v.stores.Value
		for _, s := range stores {
			choice.Items = append(choice.Items, widget.ChoiceItem{Label: storeName(e, s.Kind), Note: e.S.StoreWhat[s.Kind], Why: text.Clean(s.Unusable)})
		}
		return Choose(choice, func(i int) tea.Cmd {
			var key Key
			var findings []Finding
			return e.DoAsking("", func(ctx context.Context) (err error) {
				key, findings, err = e.Services.KeyCare.Import(ctx, e.Facts.AppID, path, stores[i].Kind)
				return err
			}, func() tea.Cmd {
				cmds := []tea.Cmd{e.LoadKeys(), Notice(NoticeOK, sprintf(e.S.Imported, shortKey(key.ID)))}
				if len(findings) > 0 {
					cmds = append(cmds, Say(sprintf(e.S.ImportedTitle, shortKey(key.ID)), findingLines(e, findings, 66, 12)...))
				}
				return tea.Batch(cmds...)
			})
		})
	})
}

func (v *keysView) askExport(k Key) tea.Cmd {
	e := v.e
	return e.askPath(sprintf(e.S.ExportTitle, shortKey(k.ID)), e.S.ExportWhat, e.S.HelpExport, "~/"+fileName(k.AppID)+"-"+fileName(shortKey(k.ID))+".age", func(path string) tea.Cmd {
		return e.DoAsking(sprintf(e.S.Exported, text.Clean(path)), func(ctx context.Context) error { return e.Services.KeyCare.Export(ctx, k, path) }, nil)
	})
}

// fileName is s with nothing that a file's name could stumble over.
func fileName(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(".-_", r) {
			return r
		}
		return '-'
	}, s)
}

// askBackup asks for the file, makes the backup and offers to prove it.
func (e *Env) askBackup() tea.Cmd {
	proposed := "~/" + fileName(e.Facts.AppID) + "-keys-" + e.Now().Format("2006-01-02") + ".age"
	return e.askPath(sprintf(e.S.BackupTitle, text.Clean(e.Facts.AppID)), e.S.BackupWhat, e.S.HelpBackup, proposed, func(path string) tea.Cmd {
		return e.DoAsking(sprintf(e.S.BackedUp, text.Clean(path)), func(ctx context.Context) error {
			return e.Services.KeyCare.Backup(ctx, e.Facts.AppID, path)
		}, func() tea.Cmd {
			e.lastBackup = path
			offer := widget.Confirm{Title: e.S.DrillOffer, Verb: e.S.HelpDrill, Lines: []string{e.St.Text.Render(e.S.DrillOfferWhat)}, Async: true}
			return tea.Batch(e.LoadKeys(), Ask(offer, func() tea.Cmd { return e.drill(path) }))
		})
	})
}

func (e *Env) askDrill(proposed string) tea.Cmd {
	if proposed == "" {
		proposed = "~/"
	}
	return e.askPath(e.S.DrillTitle, e.S.DrillWhat, e.S.HelpDrill, proposed, e.drill)
}

// drill opens a backup and says what it holds.
func (e *Env) drill(path string) tea.Cmd {
	var held []Drilled
	return e.DoAsking("", func(ctx context.Context) (err error) {
		held, err = e.Services.KeyCare.Drill(ctx, path)
		return err
	}, func() tea.Cmd {
		lines := []string{e.St.Muted.Render(text.Clean(path)), ""}
		for _, d := range held {
			line := e.St.OK.Render("✓ ") + e.St.Text.Render(sprintf(e.S.DrilledKey, shortKey(d.KeyID), text.Clean(d.AppID)))
			if !d.Known {
				line += "  " + e.St.Warn.Render("! "+e.S.DrilledUnknown)
			}
			lines = append(lines, line)
		}
		return tea.Batch(e.LoadKeys(), Say(e.S.DrilledTitle, lines...))
	})
}

// askRemove asks by the key's short id: nothing brings the key back.
func (v *keysView) askRemove(k Key) tea.Cmd {
	e := v.e
	id := shortKey(k.ID)
	lines := []string{e.St.Text.Render(e.S.RemoveWhat)}
	if n := e.Data.Summary.Value.Fleet["key_id"][k.ID]; n > 0 {
		lines = append(lines, e.St.Warn.Render("! ")+e.St.Text.Render(sprintf(e.S.RemoveDevices, e.S.Count(n))))
	}
	if k.BackedUp.IsZero() {
		lines = append(lines, e.St.Danger.Render("! ")+e.St.Text.Render(e.S.RemoveNoBackup))
	}
	return Ask(widget.Confirm{Title: sprintf(e.S.RemoveTitle, id), Verb: e.S.HelpRemove, Lines: lines, Word: id, Severe: true}, func() tea.Cmd {
		return e.Do(sprintf(e.S.Removed, id), func(ctx context.Context) error { return e.Services.KeyCare.Remove(ctx, k) }, func() tea.Cmd { return e.LoadKeys() })
	})
}
