package views

import (
	"strings"

	"capstan/ui/text"
	"capstan/ui/widget"
)

// scrollStep is how far a key moves a page of text.
func scrollStep(key string) int {
	switch key {
	case "down", "j":
		return 1
	case "up", "k":
		return -1
	case "pgdown", "space", "ctrl+d":
		return 8
	case "pgup", "ctrl+u":
		return -8
	case "home", "g":
		return -1 << 20
	case "end", "G":
		return 1 << 20
	}
	return 0
}

// changeCounts writes how many files came, changed and went.
func changeCounts(e *Env, d Diff) string {
	return e.St.OK.Render(sprintf("+%d", d.Added)) + " " + e.St.Warn.Render(sprintf("~%d", d.Changed)) + " " + e.St.Danger.Render(sprintf("-%d", d.Removed))
}

// diffLines draw a comparison: what it adds up to, what is new to the outside,
// then every file.
func diffLines(e *Env, d Diff, w int) []string {
	lines := []string{e.St.Bold.Render(widget.Cut(sprintf(e.S.DiffTitle, bundleName(e, d.From), bundleName(e, d.To)), w))}
	sum := changeCounts(e, d)
	if d.Same > 0 {
		sum += e.St.Muted.Render("   " + sprintf(e.S.SameFiles, e.S.Count(int64(d.Same))))
	}
	sum += e.St.Muted.Render("   " + e.S.Bytes(d.BytesBefore) + " → " + e.S.Bytes(d.BytesAfter))
	delta := ""
	if d.DeltaBytes > 0 {
		delta = e.St.Muted.Render(sprintf(e.S.DeltaOf, e.S.Bytes(d.DeltaBytes)))
	}
	switch {
	case delta == "":
		lines = append(lines, " "+widget.Cut(sum, w-1))
	case widget.Width(sum)+3+widget.Width(delta) < w:
		lines = append(lines, " "+sum+"   "+delta)
	default:
		lines = append(lines, " "+widget.Cut(sum, w-1), " "+widget.Cut(delta, w-1))
	}
	for _, o := range d.NewOrigins {
		lines = append(lines, " "+e.St.Warn.Render("! ")+e.St.Text.Render(widget.Cut(e.S.OriginsLabel+": "+text.Clean(o), w-3)))
	}
	for _, c := range d.NewNativeCalls {
		lines = append(lines, " "+e.St.Warn.Render("! ")+e.St.Text.Render(widget.Cut(e.S.NativeLabel+": "+text.Clean(c), w-3)))
	}
	lines = append(lines, "")
	if len(d.Files) == 0 {
		return append(lines, " "+e.St.Muted.Render(e.S.NothingChanged))
	}
	for _, f := range d.Files {
		lines = append(lines, " "+fileLine(e, f, w-2))
	}
	return lines
}

// proofLines draw what each plugin version did: one line a version, its
// platforms side by side where they agree.
func proofLines(e *Env, proof []Proof, w int) []string {
	type row struct {
		first     Proof
		platforms []string
	}
	var rows []row
	for _, p := range proof {
		at := -1
		for i := range rows {
			f := rows[i].first
			if f.Plugin == p.Plugin && f.Delta == p.Delta && f.Form == p.Form && f.Offered == p.Offered && f.Installed == p.Installed && f.Code == p.Code {
				at = i
			}
		}
		if at < 0 {
			rows = append(rows, row{first: p})
			at = len(rows) - 1
		}
		rows[at].platforms = append(rows[at].platforms, platformName(p.Platform))
	}
	var lines []string
	for _, r := range rows {
		p := r.first
		ink, glyph, why := e.St.OK, "✓", ""
		switch {
		case !p.Offered:
			ink, glyph, why = e.St.Info, "·", e.S.ProofNotOffered
		case !p.Installed:
			ink, glyph, why = e.St.Danger, "×", text.Clean(p.Code)
		}
		line := ink.Render(glyph) + " " + e.St.Text.Render(widget.Pad(text.Clean(p.Plugin), 10)) + " " + e.St.Muted.Render(widget.Pad(strings.Join(r.platforms, ", "), 13))
		if p.Form != "" && p.Offered {
			line += " " + e.St.Muted.Render(widget.Pad(sprintf(e.S.ProofForm, text.Clean(p.Form)), 15))
		}
		if p.Delta {
			line += " " + e.St.Muted.Render("delta")
		}
		if why != "" {
			line += " " + ink.Render(why)
		}
		lines = append(lines, widget.Cut(line, w))
	}
	return lines
}

// pageWidth is the most that a list of files takes: sizes stay near their names.
const pageWidth = 104

// inventoryLines draw the files of a bundle.
func inventoryLines(e *Env, v Inventory, w int) []string {
	lines := []string{e.St.Bold.Render(sprintf(e.S.FilesTitle, bundleName(e, v.Name))) + e.St.Muted.Render("   "+
		sprintf(e.S.FilesSum, e.S.One(int64(len(v.Files)), e.S.OneFile, e.S.ManyFiles), e.S.Bytes(v.Bytes))), ""}
	for _, f := range v.Files {
		size := widget.PadLeft(e.S.Bytes(f.Bytes), 10)
		packed := ""
		if f.Packed > 0 {
			packed = widget.PadLeft(e.S.Bytes(f.Packed), 10) + " zip"
		}
		room := max(4, w-widget.Width(size)-widget.Width(packed)-3)
		lines = append(lines, " "+e.St.Text.Render(widget.Pad(widget.CutLeft(text.Clean(f.Path), room), room))+" "+e.St.Text.Render(size)+e.St.Muted.Render(packed))
	}
	return lines
}
