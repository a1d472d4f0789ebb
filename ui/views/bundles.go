package views

import (
	"cmp"
	"context"
	"strings"

	tea "charm.land/bubbletea/v2"

	"capstan/core/capgo"
	"capstan/ui/text"
	"capstan/ui/widget"
)

// keepNewest is how many of the newest bundles a clean-up always leaves.
const keepNewest = 10

// bundlesView lists every version with who signed it and what keeps it.
type bundlesView struct {
	e      *Env
	table  *widget.Table[capgo.Bundle]
	detail bool
	// page is what lies over the list: "files" or "diff", "" for nothing.
	page   string
	files  Resource[Inventory]
	diff   Resource[Diff]
	scroll int
	// running counts devices by bundle name, from the summary; waste is what a
	// clean-up would delete. Both are worked out when the data comes.
	running map[string]int64
	waste   []capgo.Bundle
}

// NewBundles makes the bundles screen.
func NewBundles(e *Env) View {
	v := &bundlesView{e: e}
	v.table = widget.NewTable(
		func(b capgo.Bundle) string { return b.Name },
		func(b capgo.Bundle) string {
			on, off := e.pointing(b.Name)
			return b.Name + " " + b.KeyID + " " + b.Comment + " " + strings.Join(on, " ") + " " + strings.Join(off, " ")
		},
		widget.Column[capgo.Bundle]{Title: e.S.ColVersion, Width: 16, Cell: func(b capgo.Bundle) string { return e.St.Bold.Render(text.Clean(b.Name)) },
			Compare: func(a, b capgo.Bundle) int { return compareVersions(a.Name, b.Name) }},
		widget.Column[capgo.Bundle]{Title: e.S.ColChannels, Width: 14, Flex: 1, Cell: func(b capgo.Bundle) string { return v.where(b) }},
		widget.Column[capgo.Bundle]{Title: e.S.ColDevices, Width: 9, Right: true, Cell: func(b capgo.Bundle) string { return v.devices(b) },
			Compare: func(a, b capgo.Bundle) int { return cmp.Compare(v.running[a.Name], v.running[b.Name]) }},
		widget.Column[capgo.Bundle]{Title: e.S.ColSize, Width: 10, Right: true, Cell: func(b capgo.Bundle) string { return e.St.Text.Render(v.size(b)) },
			Compare: func(a, b capgo.Bundle) int { return cmp.Compare(a.ObjectSize, b.ObjectSize) }},
		widget.Column[capgo.Bundle]{Title: e.S.ColSigned, Width: 10, Drop: 76, Cell: func(b capgo.Bundle) string { return signed(e, b) },
			Compare: func(a, b capgo.Bundle) int { return strings.Compare(a.KeyID, b.KeyID) }},
		widget.Column[capgo.Bundle]{Title: e.S.ColAge, Width: 9, Right: true, Cell: func(b capgo.Bundle) string { return e.St.Muted.Render(e.S.Span(e.Now().Sub(b.CreatedAt))) },
			Compare: func(a, b capgo.Bundle) int { return b.CreatedAt.Compare(a.CreatedAt) }},
		widget.Column[capgo.Bundle]{Title: e.S.ColComment, Width: 12, Flex: 2, Drop: 100, Cell: func(b capgo.Bundle) string { return e.St.Muted.Render(text.Clean(b.Comment)) }},
	)
	return v
}

func (v *bundlesView) Title() string { return v.e.S.TabBundles }
func (v *bundlesView) Enter() tea.Cmd {
	return tea.Batch(v.e.LoadBundles(), v.e.LoadChannels(), v.e.LoadSummary())
}
func (v *bundlesView) CapturesText() bool { return false }
func (v *bundlesView) Back() bool {
	if v.page != "" {
		v.page = ""
		return true
	}
	was := v.detail
	v.detail = false
	return was
}
func (v *bundlesView) SetFilter(s string) { v.table.Filter(s) }
func (v *bundlesView) FilterText() string { return v.table.FilterText() }
func (v *bundlesView) Counts() (int, int) { return v.table.Shown(), v.table.Len() }

// Open puts the cursor on a bundle.
func (v *bundlesView) Open(name string) {
	if v.page = ""; name != "" && v.table.Select(name) {
		v.detail = true
	}
}

func (v *bundlesView) Update(msg tea.Msg) tea.Cmd {
	e := v.e
	switch m := msg.(type) {
	case LoadedMsg:
		switch {
		case m.Of(&e.Data.Bundles), m.Of(&e.Data.Channels):
			v.table.SetRows(e.Data.Bundles.Value)
		case m.Of(&e.Data.Summary):
			v.running = e.Data.Summary.Value.Fleet["version_name"]
		default:
			return nil
		}
		v.waste = v.unused()
	case RefreshMsg:
		if v.page != "" {
			if b, ok := v.table.Selected(); ok && !m.Auto && v.page == "files" && v.files.Err != nil {
				return v.showFiles(b)
			}
			return nil
		}
		return v.Enter()
	case tea.KeyPressMsg:
		if v.page != "" {
			v.scroll += scrollStep(m.String())
			return nil
		}
		v.table.Move(m.String())
	case tea.MouseWheelMsg:
		if v.page != "" {
			v.scroll += wheel(m)
			return nil
		}
		v.table.Scroll(wheel(m))
	case tea.MouseClickMsg:
		if v.page == "" {
			v.table.Click(m.Y)
		}
	}
	return nil
}

// showFiles lists what is in a bundle.
func (v *bundlesView) showFiles(b capgo.Bundle) tea.Cmd {
	e := v.e
	v.page, v.scroll, v.files = "files", 0, Resource[Inventory]{}
	return v.files.LoadSlow(e, func(ctx context.Context) (Inventory, error) {
		return e.Services.Contents.Files(ctx, e.Facts.AppID, b.Name)
	})
}

// askCompare asks for the other side of a comparison, and shows what changes
// from the older to the newer of the two.
func (v *bundlesView) askCompare(b capgo.Bundle) tea.Cmd {
	e := v.e
	choice := widget.Choice{Title: sprintf(e.S.CompareWith, text.Clean(b.Name))}
	var others []capgo.Bundle
	for _, o := range e.Data.Bundles.Value {
		if o.Name == b.Name {
			choice.Start(len(others))
			continue
		}
		others = append(others, o)
		note := e.S.Ago(e.Now(), o.CreatedAt)
		if on, _ := e.pointing(o.Name); len(on) > 0 {
			note += "  " + sprintf(e.S.KeptLive, text.Clean(strings.Join(on, ", ")))
		}
		choice.Items = append(choice.Items, widget.ChoiceItem{Label: text.Clean(o.Name), Note: note})
	}
	return Choose(choice, func(i int) tea.Cmd {
		from, to := others[i].Name, b.Name
		if compareVersions(from, to) > 0 {
			from, to = to, from
		}
		v.page, v.scroll, v.diff = "diff", 0, Resource[Diff]{}
		return v.diff.LoadSlow(e, func(ctx context.Context) (Diff, error) {
			return e.Services.Contents.Compare(ctx, e.Facts.AppID, from, to)
		})
	})
}

// where says which channels show a bundle to devices.
func (v *bundlesView) where(b capgo.Bundle) string {
	e := v.e
	on, rolling := e.pointing(b.Name)
	var parts []string
	for _, n := range on {
		parts = append(parts, e.St.OK.Render("● ")+e.St.Text.Render(text.Clean(n)))
	}
	for _, n := range rolling {
		parts = append(parts, e.St.Info.Render("◔ ")+e.St.Text.Render(text.Clean(n)))
	}
	return strings.Join(parts, " ")
}

func (v *bundlesView) devices(b capgo.Bundle) string {
	if n := v.running[b.Name]; n > 0 {
		return v.e.St.Text.Render(v.e.S.Count(n))
	}
	return v.e.St.Muted.Render("–")
}

func (v *bundlesView) size(b capgo.Bundle) string {
	if b.ObjectSize > 0 {
		return v.e.S.Bytes(b.ObjectSize)
	}
	return "–"
}

func signed(e *Env, b capgo.Bundle) string {
	if b.SessionKey == "" {
		return e.St.Warn.Render("! " + e.S.Plain)
	}
	return e.St.OK.Render("✓ ") + e.St.Muted.Render(orElse(shortKey(b.KeyID), e.S.Signed))
}

// keeps says what still needs a bundle; "" when nothing does.
func (v *bundlesView) keeps(b capgo.Bundle) string {
	e := v.e
	on, rolling := e.pointing(b.Name)
	if len(on) > 0 {
		return sprintf(e.S.KeptLive, text.Clean(strings.Join(on, ", ")))
	}
	if len(rolling) > 0 {
		return sprintf(e.S.KeptRollout, text.Clean(strings.Join(rolling, ", ")))
	}
	return ""
}

func (v *bundlesView) Actions() []Action {
	e := v.e
	b, ok := v.table.Selected()
	why := ""
	if !ok {
		why = e.S.WhyNoBundles
	}
	del := Action{ID: "delete", Keys: []string{"D"}, Help: e.S.HelpDelete, Long: e.S.LongDelete, Dangerous: true, Disabled: why, Run: func() tea.Cmd { return v.delete(b) }}
	if ok && v.keeps(b) != "" {
		del.Disabled = v.keeps(b)
	}
	clean := Action{ID: "cleanup", Keys: []string{"C"}, Help: e.S.HelpCleanup, Long: sprintf(e.S.LongCleanup, keepNewest), Dangerous: true, Run: v.cleanup}
	if len(v.waste) == 0 {
		clean.Disabled = e.S.WhyNothingUnused
	}
	files := Action{ID: "files", Keys: []string{"f"}, Help: e.S.HelpFiles, Long: e.S.LongFiles, Disabled: why, Primary: true, Run: func() tea.Cmd { return v.showFiles(b) }}
	compare := Action{ID: "compare", Keys: []string{"d"}, Help: e.S.HelpCompare, Long: e.S.LongCompare, Disabled: why, Primary: true, Run: func() tea.Cmd { return v.askCompare(b) }}
	if e.Services.Contents == nil {
		files.Disabled, compare.Disabled = e.S.WhyNoContents, e.S.WhyNoContents
	} else if v.table.Len() == 1 {
		compare.Disabled = e.S.WhyOneBundle
	}
	open := Action{ID: "detail", Keys: []string{"enter"}, Help: e.S.HelpDetail, Long: e.S.LongDetail, Primary: true, Disabled: why, Run: func() tea.Cmd { v.detail = !v.detail; return nil }}
	if v.page != "" {
		return []Action{files, compare, {ID: "promote", Keys: []string{"P"}, Help: e.S.HelpPromote, Long: e.S.LongPromoteBundle, Dangerous: true, Disabled: why, Run: func() tea.Cmd { return v.promote(b) }}}
	}
	return []Action{open,
		{ID: "promote", Keys: []string{"P"}, Help: e.S.HelpPromote, Long: e.S.LongPromoteBundle, Dangerous: true, Primary: true, Disabled: why, Run: func() tea.Cmd { return v.promote(b) }},
		{ID: "release", Keys: []string{"U"}, Help: e.S.HelpRelease, Long: e.S.LongRelease, Dangerous: true, Run: func() tea.Cmd { return Go(ScreenRelease, "new") }},
		files, compare, del, clean,
		{ID: "sort", Keys: []string{"o"}, Help: e.S.HelpSort, Long: e.S.LongSort, Run: func() tea.Cmd { v.table.SortNext(); return nil }},
		{ID: "copy", Keys: []string{"y"}, Help: e.S.HelpCopy, Long: e.S.LongCopyVersion, Disabled: why, Hidden: true, Run: func() tea.Cmd { return Copy(b.Name, e.S.WhatVersion) }},
		{ID: "copy-checksum", Keys: []string{"Y"}, Help: e.S.HelpChecksum, Long: e.S.LongCopyChecksum, Disabled: why, Hidden: true, Run: func() tea.Cmd { return Copy(orElse(b.PlainChecksum, b.Checksum), e.S.WhatChecksum) }},
		e.undoAction()}
}

func (v *bundlesView) promote(b capgo.Bundle) tea.Cmd {
	e := v.e
	choice := widget.Choice{Title: sprintf(e.S.ChooseChannel, text.Clean(b.Name))}
	channels := e.Data.Channels.Value
	for _, c := range channels {
		item := widget.ChoiceItem{Label: text.Clean(c.Name), Note: sprintf(e.S.LiveNow, bundleName(e, live(c)))}
		if live(c) == b.Name {
			item.Why = e.S.AlreadyLive
		}
		choice.Items = append(choice.Items, item)
	}
	return Choose(choice, func(i int) tea.Cmd {
		return e.askMove(channels[i], b.Name, compareVersions(b.Name, live(channels[i])) < 0)
	})
}

func (v *bundlesView) delete(b capgo.Bundle) tea.Cmd {
	e := v.e
	lines := []string{e.St.Text.Render(sprintf(e.S.DeleteWhat, text.Clean(b.Name)))}
	if n := v.running[b.Name]; n > 0 {
		lines = append(lines, e.St.Warn.Render("! ")+e.St.Text.Render(sprintf(e.S.DeleteRunning, e.S.Count(n))))
	}
	lines = append(lines, "", e.St.Muted.Render(e.S.DeleteUndo))
	return Ask(widget.Confirm{Title: sprintf(e.S.DeleteTitle, text.Clean(b.Name)), Verb: e.S.HelpDelete, Lines: lines, Severe: true}, func() tea.Cmd {
		return e.Do(sprintf(e.S.Deleted, text.Clean(b.Name)), func(ctx context.Context) error {
			return e.Services.Registry.DeleteBundle(ctx, e.Facts.AppID, b.Name)
		}, func() tea.Cmd { return refresh })
	})
}

// unused are the bundles that nothing keeps: no channel, no device, and not
// among the newest.
func (v *bundlesView) unused() []capgo.Bundle {
	var out []capgo.Bundle
	for i, b := range v.e.Data.Bundles.Value {
		if i >= keepNewest && v.running[b.Name] == 0 && v.keeps(b) == "" {
			out = append(out, b)
		}
	}
	return out
}

func (v *bundlesView) cleanup() tea.Cmd {
	e := v.e
	list := v.waste
	var bytes int64
	for _, b := range list {
		bytes += b.ObjectSize
	}
	lines := []string{e.St.Text.Render(sprintf(e.S.CleanupWhat, e.S.Count(int64(len(list))), e.S.Bytes(bytes))), e.St.Text.Render(sprintf(e.S.CleanupKeeps, keepNewest))}
	for i, b := range list {
		if i == 6 {
			lines = append(lines, "  "+e.St.Muted.Render(sprintf(e.S.AndMore, len(list)-i)))
			break
		}
		lines = append(lines, "  "+e.St.Muted.Render(text.Clean(b.Name)+"  "+e.S.Ago(e.Now(), b.CreatedAt)))
	}
	lines = append(lines, "", e.St.Muted.Render(e.S.DeleteUndo))
	return Ask(widget.Confirm{Title: e.S.HelpCleanup, Verb: e.S.HelpDelete, Lines: lines, Severe: true}, func() tea.Cmd {
		return e.Do(sprintf(e.S.CleanedUp, e.S.Count(int64(len(list)))), func(ctx context.Context) error {
			for _, b := range list {
				if err := e.Services.Registry.DeleteBundle(ctx, e.Facts.AppID, b.Name); err != nil {
					return err
				}
			}
			return nil
		}, func() tea.Cmd { return refresh })
	})
}

func (v *bundlesView) Render(w, h int) string {
	e := v.e
	if p, pending := e.Data.Bundles.Pending(e, w, h); pending {
		return p
	}
	if v.page != "" {
		return v.pagePanel(w, h)
	}
	if v.table.Len() == 0 {
		return EmptyPanel(e, e.S.NoBundles, e.S.NoBundlesHow, w, h)
	}
	if v.table.Shown() == 0 {
		return EmptyPanel(e, e.S.NothingFound, sprintf(e.S.NothingMatches, text.Clean(v.table.FilterText())), w, h)
	}
	b, _ := v.table.Selected()
	if !v.detail {
		return v.table.View(w, h, e.St)
	}
	if w >= 110 {
		side := 46
		details := v.details(b, side-4)
		box := widget.Box(e.St.Accent.Render(text.Clean(b.Name)), "", join(details), side, min(h, len(details)+2), e.St.Border)
		return widget.Columns(1, widget.Fit(v.table.View(w-side-1, h, e.St), w-side-1, h), widget.Fit(box, side, h))
	}
	details := v.details(b, w-4)
	boxH := min(len(details)+2, h-4)
	return v.table.View(w, h-boxH, e.St) + "\n" + widget.Box(e.St.Accent.Render(text.Clean(b.Name)), "", join(details), w, boxH, e.St.Border)
}

// pagePanel draws the files of a bundle, or what changes between two.
func (v *bundlesView) pagePanel(w, h int) string {
	e := v.e
	var lines []string
	if v.page == "files" {
		if p, pending := v.files.Pending(e, w, h); pending {
			return p
		}
		lines = inventoryLines(e, v.files.Value, min(w-2, pageWidth))
	} else {
		if p, pending := v.diff.Pending(e, w, h); pending {
			return p
		}
		lines = diffLines(e, v.diff.Value, min(w-2, pageWidth))
	}
	lines = append([]string{""}, indentLines(lines, 1)...)
	return widget.Fit(join(scrolled(e, lines, &v.scroll, w, h)), w, h)
}

func (v *bundlesView) details(b capgo.Bundle, w int) []string {
	e := v.e
	col := 12
	var lines []string
	row := func(label, value string) {
		if widget.Width(value) > 0 {
			lines = append(lines, field(e, label, widget.Cut(value, max(4, w-col-1)), col))
		}
	}
	row(e.S.ColChannels, orElse(v.where(b), e.St.Muted.Render(e.S.OnNoChannel)))
	row(e.S.ColDevices, v.devices(b))
	row(e.S.ColSigned, signed(e, b))
	size := v.size(b)
	if b.PlainSize > 0 {
		size += e.St.Muted.Render(" (" + e.S.Bytes(b.PlainSize) + " zip)")
	}
	row(e.S.ColSize, size)
	row("SHA-256", e.St.Muted.Render(text.Clean(b.PlainChecksum)))
	row(e.S.Created, e.St.Text.Render(stamp(e, b.CreatedAt)+" · "+e.S.Ago(e.Now(), b.CreatedAt)))
	if b.MinUpdateVersion != "" {
		row(e.S.MinNative, e.St.Text.Render(text.Clean(b.MinUpdateVersion)))
	}
	row(e.S.ColComment, e.St.Text.Render(text.Clean(b.Comment)))
	row("Link", e.St.Info.Render(text.Clean(b.Link)))
	row("URL", e.St.Muted.Render(text.Clean(b.ExternalURL)))
	return lines
}
