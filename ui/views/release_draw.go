package views

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"

	"capstan/core/bundle"
	"capstan/core/failure"
	"capstan/core/release"
	"capstan/ui/text"
	"capstan/ui/widget"
)

func (r *releaser) Render(w, h int) string {
	e := r.e
	if p, pending := e.Data.Keys.Pending(e, w, h); pending {
		return p
	}
	railW := 18
	if w < 64 {
		return r.detail(w, h)
	}
	if w >= 100 {
		railW = 24
	}
	rail := " \n" + r.rail().View(railW-2, h >= 17, e.Step, r.running(), e.St)
	side := strings.Repeat(e.St.Border.Render("│")+"\n", max(0, h-1)) + e.St.Border.Render("│")
	return widget.Columns(0, widget.Fit(indent(rail, 2), railW, h), side, widget.Fit(r.detail(w-railW-2, h), w-railW-1, h))
}

// indent puts n blanks before each line.
func indent(s string, n int) string {
	lines := widget.Lines(s)
	for i, l := range lines {
		lines[i] = widget.Blank(n) + l
	}
	return join(lines)
}

// rail lists all stages with their state.
func (r *releaser) rail() widget.Rail {
	e := r.e
	key := widget.RailItem{Label: e.S.StageNames[string(stageKey)], State: "done"}
	folder := widget.RailItem{Label: e.S.StageNames[string(stageFolder)], State: "waiting"}
	k, have := r.chosenKey()
	switch {
	case r.madeKey != nil:
		key.State = "current"
	case !have:
		key.State = "current"
	default:
		key.Note = shortKey(k.ID)
	}
	if key.State == "done" {
		switch {
		case r.phase <= phasePlan:
			folder.State = "current"
		default:
			folder.State = "done"
		}
		if r.phase > phaseFolder && r.report.Ready() {
			folder.Note = e.S.Bytes(r.report.Value.Bytes)
		}
	}
	items := []widget.RailItem{key, folder}
	for _, s := range release.Stages() {
		l := r.log(s)
		it := widget.RailItem{Label: e.S.StageNames[string(s)], State: l.state}
		if s == release.StagePromote && r.phase == phasePromote {
			it.State = "current"
		}
		items = append(items, it)
	}
	return widget.Rail{Items: items}
}

func (r *releaser) detail(w, h int) string {
	switch {
	case r.madeKey != nil:
		return r.keyMadePanel(w, h)
	case r.needsKey():
		return r.keyPanel(w, h)
	case r.phase == phaseFolder:
		return r.folderPanel(w, h)
	case r.phase == phasePlan:
		return r.planPanel(w, h)
	case r.phase == phasePromote && r.details:
		return r.detailsPanel(w, h)
	case r.phase == phasePromote:
		return r.promotePanel(w, h)
	case r.phase == phaseDone:
		return r.donePanel(w, h)
	}
	return r.runPanel(w, h)
}

// panel is the frame of every stage's detail: a title, a sentence, the rest.
func (r *releaser) panel(title, intro string, w int) []string {
	e := r.e
	lines := []string{"", " " + e.St.Title.Render(widget.Cut(title, w-2))}
	if intro != "" {
		for _, l := range widget.Wrap(intro, min(w-2, 76)) {
			lines = append(lines, " "+e.St.Muted.Render(l))
		}
	}
	return append(lines, "")
}

func (r *releaser) keyPanel(w, h int) string {
	e := r.e
	lines := r.panel(e.S.KeyTitle, e.S.KeyIntro, w)
	for i, s := range r.stores.Value {
		name, what := e.S.StoreNames[s.Kind], e.S.StoreWhat[s.Kind]
		if name == "" {
			name = clean(s.Kind)
		}
		if s.Unusable != "" {
			what = text.Clean(s.Unusable)
		}
		row := e.St.Bold.Render(widget.Pad(name, 16))
		if s.Unusable != "" {
			row = e.St.Muted.Render(widget.Pad(name, 16))
		}
		if i == r.store {
			lines = append(lines, e.St.Selected(e.St.Accent.Render("▌")+" "+widget.Pad(row, w-4)))
		} else {
			lines = append(lines, "  "+row)
		}
		for _, l := range widget.Wrap(what, max(8, w-6)) {
			lines = append(lines, "    "+e.St.Muted.Render(l))
		}
	}
	lines = append(lines, "")
	switch {
	case r.making:
		lines = append(lines, " "+e.St.Accent.Render(widget.Spinner(e.Step))+" "+e.St.Text.Render(e.S.KeyMaking))
	case r.stores.Err != nil:
		lines = append(lines, " "+e.St.Danger.Render("× "+Failed(e, r.stores.Err)))
	default:
		lines = append(lines, " "+keyed(e, e.S.Enter, e.S.KeyEnter))
	}
	return widget.Fit(join(lines), w, h)
}

func (r *releaser) keyMadePanel(w, h int) string {
	e, k := r.e, r.madeKey
	lines := r.panel(e.S.KeyMadeTitle, e.S.KeyMadeIntro, w)
	lines = append(lines,
		" "+field(e, e.S.KeyID, e.St.Bold.Render(clean(k.ID)), 13),
		" "+field(e, e.S.KeyStored, e.St.Text.Render(clean(storeName(e, k.Store))+"  "+e.St.Muted.Render(text.Clean(k.Location))), 13), "")
	edit := r.plan.Value
	switch {
	case r.edited:
		lines = append(lines, " "+e.St.OK.Render("✓")+" "+e.St.Text.Render(sprintf(e.S.EditDone, text.Clean(edit.Path))), "   "+e.St.Muted.Render(e.S.CapSync))
	case r.plan.Ready() && edit.Diff != "":
		lines = append(lines, " "+e.St.Text.Render(sprintf(e.S.EditOffer, widget.CutLeft(text.Clean(edit.Path), 24))))
		for _, l := range diffBody(edit.Diff) {
			lines = append(lines, "   "+diffLine(e, widget.Cut(text.Clean(l), w-5)))
		}
		lines = append(lines, " "+keyed(e, "w", e.S.HelpWriteKey))
	case r.plan.Ready() && edit.Snippet != "":
		lines = append(lines, " "+e.St.Text.Render(e.S.EditByHand))
		for _, l := range strings.Split(edit.Snippet, "\n") {
			lines = append(lines, "   "+e.St.Muted.Render(widget.Cut(text.Clean(l), w-5)))
		}
	case r.plan.Ready():
		lines = append(lines, " "+e.St.OK.Render("✓")+" "+e.St.Text.Render(e.S.EditThere))
	}
	lines = append(lines, "")
	for i, l := range widget.Wrap(e.S.BackupReminder, max(8, w-4)) {
		mark := "  "
		if i == 0 {
			mark = e.St.Warn.Render("! ")
		}
		lines = append(lines, " "+mark+e.St.Muted.Render(l))
	}
	lines = append(lines, "", " "+keyed(e, e.S.Enter, e.S.ToFolder))
	if len(lines) > h { // the way on stays in sight
		lines = append(lines[:max(0, h-1)], lines[len(lines)-1])
	}
	return widget.Fit(join(lines), w, h)
}

func storeName(e *Env, kind string) string {
	if n := e.S.StoreNames[kind]; n != "" {
		return n
	}
	return text.Clean(kind)
}

func (r *releaser) folderPanel(w, h int) string {
	e := r.e
	lines := r.panel(e.S.FolderTitle, e.S.FolderIntro, w)
	verdict := r.verdict(w - 2)
	pickH := max(1, min(8, r.picker.Rows(), h-len(lines)-len(verdict)-3))
	lines = append(lines, indentLines(widget.Lines(r.picker.View(w-2, pickH, e.St, e.S)), 1)...)
	lines = append(lines, "")
	lines = append(lines, indentLines(verdict, 1)...)
	if r.stuck() == "" {
		lines = append(lines, "", " "+keyed(e, e.S.Enter, e.S.ToPlan)+"   "+keyed(e, "tab", e.S.HelpComplete))
	} else {
		lines = append(lines, "", " "+keyed(e, "tab", e.S.HelpComplete)+"   "+keyed(e, "↑↓", e.S.HelpChoose))
	}
	return widget.Fit(join(lines), w, h)
}

func indentLines(lines []string, n int) []string {
	out := make([]string, len(lines))
	for i, l := range lines {
		out[i] = widget.Blank(n) + l
	}
	return out
}

// verdict says what the folder is, or why it is not a build.
func (r *releaser) verdict(w int) []string {
	e, rep := r.e, &r.report
	switch {
	case rep.Loading() && !rep.Ready():
		return []string{e.St.Accent.Render(widget.Spinner(e.Step)) + " " + e.St.Muted.Render(e.S.WhyLooking)}
	case rep.Err != nil:
		lines := []string{e.St.Danger.Render("× ") + e.St.Text.Render(widget.Cut(Failed(e, rep.Err), w-2))}
		if hint := Hinted(e, rep.Err); hint != "" {
			lines = append(lines, "  "+e.St.Muted.Render(widget.Cut(text.Clean(hint), w-2)))
		}
		return lines
	case !rep.Ready():
		return []string{e.St.Muted.Render(e.S.FolderType)}
	}
	v := rep.Value
	var lines []string
	if v.Build {
		lines = append(lines, e.St.OK.Render("✓ ")+e.St.Text.Render(sprintf(e.S.FolderIsBuild, e.S.One(int64(v.Files), e.S.OneFile, e.S.ManyFiles), e.S.Bytes(v.Bytes))))
	} else {
		lines = append(lines, e.St.Danger.Render("× ")+e.St.Text.Render(e.S.FolderNoBuild))
	}
	return append(lines, findingLines(e, slices.DeleteFunc(slices.Clone(v.Findings), smallTalk), w, 6)...)
}

// smallTalk is what the line above the findings says already.
func smallTalk(f Finding) bool { return f.Level == "ok" && f.Code == "size" }

func findingText(e *Env, f Finding) string { return text.Finding(e.Lang, f.Code, f.Text) }

// findingLines draws findings with their hints, the blocking ones first.
func findingLines(e *Env, findings []Finding, w, limit int) []string {
	var lines []string
	for _, level := range []string{"block", "warn", "ok"} {
		for _, f := range findings {
			if f.Level != level {
				continue
			}
			ink, glyph := e.St.Level(f.Level)
			lines = append(lines, ink.Render(glyph+" ")+e.St.Text.Render(widget.Cut(findingText(e, f), w-2)))
			if f.Hint != "" && f.Level != "ok" {
				for i, l := range widget.Wrap(text.Hint(e.Lang, f.Code, f.Hint), max(8, w-4)) {
					mark := "    "
					if i == 0 {
						mark = "  → "
					}
					lines = append(lines, e.St.Muted.Render(mark+l))
				}
			}
		}
	}
	if len(lines) > limit {
		lines = append(lines[:limit-1], e.St.Muted.Render("  …"))
	}
	return lines
}

func (r *releaser) planPanel(w, h int) string {
	e := r.e
	lines := r.panel(e.S.PlanTitle, "", w)
	mark := func(on bool) string {
		if on {
			return e.St.Accent.Render("› ")
		}
		return "  "
	}
	note := ""
	switch {
	case r.proposed.Loading():
		note = e.St.Muted.Render(e.S.Loading)
	case r.versionProblem() != "":
		note = e.St.Danger.Render("× ") + e.St.Text.Render(r.versionProblem())
	case !r.touched && r.proposed.Ready():
		note = e.St.Muted.Render(e.S.Proposed)
	}
	lines = append(lines, " "+e.St.Muted.Render(e.S.Version), " "+mark(r.field == 0)+r.version.View(min(24, w-4), r.e.St)+" "+widget.Cut(note, max(0, w-30)), "", " "+e.St.Muted.Render(e.S.Channel))
	names := r.channelNames()
	room := max(2, h-len(lines)-9)
	from := max(0, min(r.channelAt()-room+1, len(names)-room))
	for i := from; i < len(names) && i < from+room; i++ {
		n := names[i]
		state := e.St.Muted.Render(e.S.NewChannel)
		if c, ok := e.channel(n); ok {
			state = e.St.Muted.Render(sprintf(e.S.LiveNow, bundleName(e, live(c))))
			if e.IsProduction(c) {
				state += " " + e.St.Danger.Render(e.S.Production)
			}
		}
		dot, ink := "○ ", e.St.Text
		if n == r.channel {
			dot, ink = "● ", e.St.Bold
		}
		row := ink.Render(widget.Pad(dot+text.Clean(n), 18)) + " " + state
		if n == r.channel && r.field == 1 {
			lines = append(lines, e.St.Selected(e.St.Accent.Render("▌")+" "+widget.Pad(" "+row, w-3)))
		} else {
			lines = append(lines, "   "+row)
		}
	}
	k, _ := r.chosenKey()
	v := r.report.Value
	delta := e.St.Text.Render(e.S.DeltaOff)
	switch {
	case !r.canDelta():
		delta = e.St.Muted.Render(e.S.DeltaNone)
	case r.delta:
		delta = e.St.OK.Render("● ") + e.St.Text.Render(e.S.DeltaOn)
	}
	row := " " + field(e, e.S.DeltaLabel, delta, 13)
	if r.field == 2 {
		row = e.St.Selected(e.St.Accent.Render("▌") + widget.Pad(strings.TrimPrefix(row, " "), w-3))
	}
	more := keyed(e, "tab", e.S.HelpField)
	if r.field == 2 && r.canDelta() {
		more = keyed(e, e.S.Space, e.S.DeltaTurn)
	}
	lines = append(lines, "", row,
		" "+field(e, e.S.BuildFolder, e.St.Text.Render(widget.CutLeft(text.Clean(v.Dir), max(8, w-18))), 13),
		" "+field(e, e.S.SignedWith, e.St.Text.Render(shortKey(k.ID))+"  "+e.St.Muted.Render(storeName(e, k.Store)), 13),
		"", " "+keyed(e, e.S.Enter, e.S.ToRun)+"   "+more)
	return widget.Fit(join(lines), w, h)
}

// runPanel draws the stages of the pipeline as they go.
func (r *releaser) runPanel(w, h int) string {
	e := r.e
	title := sprintf(e.S.RunTitle, clean(r.version.Value()), clean(r.channel))
	if r.prepared != nil {
		title = sprintf(e.S.RunTitle, clean(r.prepared.Version), clean(r.channel))
	}
	lines := r.panel(title, "", w)
	var body []string
	current := -1
	for _, s := range release.Stages() {
		l := r.log(s)
		if l.state == "waiting" {
			continue
		}
		if l.state == "current" || l.state == "failed" {
			current = len(body)
		}
		body = append(body, r.stageLines(s, l, w-2)...)
	}
	if r.phase == phaseFailed {
		body = append(body, r.failLines(w-2)...)
		current = len(body) - 1
	}
	room := max(1, h-len(lines))
	from := 0
	if len(body) > room { // the newest lines stay in sight, and the current stage's head when it fits
		from = len(body) - room
		if current >= 0 && current < from {
			body[from] = body[current]
		}
	}
	for i := from; i < len(body); i++ {
		lines = append(lines, " "+body[i])
	}
	return widget.Fit(join(lines), w, h)
}

func (r *releaser) stageLines(s release.StageName, l *stageLog, w int) []string {
	e := r.e
	name := e.S.StageNames[string(s)]
	var lines []string
	switch l.state {
	case "done":
		lines = append(lines, e.St.OK.Render("✓ ")+e.St.Text.Render(widget.Pad(name, 15))+" "+e.St.Muted.Render(widget.Cut(l.note, w-18)))
	case "failed":
		lines = append(lines, e.St.Danger.Render("× "+name))
	default:
		doing := e.S.StageDoing[string(s)]
		lines = append(lines, e.St.Accent.Render(widget.Spinner(e.Step)+" ")+e.St.Bold.Render(widget.Cut(doing, w-2)))
		if l.meter.Total > 0 || l.meter.Done > 0 || s == release.StageRegister || s == release.StagePromote || len(l.steps) == 0 {
			lines = append(lines, indentLines(l.meter.View(e.Now(), e.Step, min(w-3, 60), e.St, e.S), 2)...)
		}
	}
	for _, f := range l.findings {
		if l.state == "done" && f.Level == "ok" {
			continue
		}
		ink, glyph := e.St.Level(f.Level)
		lines = append(lines, "  "+ink.Render(glyph+" ")+e.St.Text.Render(widget.Cut(text.Finding(e.Lang, f.Code, f.Text), w-4)))
		if f.Hint != "" && f.Level != "ok" {
			lines = append(lines, "    "+e.St.Muted.Render(widget.Cut("→ "+text.Hint(e.Lang, f.Code, f.Hint), w-4)))
		}
	}
	if l.state != "done" {
		lines = append(lines, stepLines(e, l.steps, w)...)
	}
	return lines
}

// stepLines draws what a simulated device did, step by step.
func stepLines(e *Env, steps []release.Event, w int) []string {
	var lines []string
	for _, s := range steps {
		ink, glyph := e.St.Level(s.Level)
		line := text.Step(e.Lang, s.Text)
		if s.Code != "" && s.Level != "ok" {
			line += "  " + text.Clean(s.Code)
		}
		lines = append(lines, "  "+ink.Render(glyph+" ")+e.St.Text.Render(widget.Cut(line, w-4)))
	}
	return lines
}

func (r *releaser) failLines(w int) []string {
	e := r.e
	var lines []string
	if r.cancelled || errors.Is(r.err, context.Canceled) {
		lines = append(lines, "", e.St.Warn.Render("! "+e.S.Cancelled), "  "+e.St.Muted.Render(e.S.CancelledWhat))
	} else {
		for _, l := range widget.Wrap(Failed(e, r.err), w-4) {
			lines = append(lines, "  "+e.St.Text.Render(l))
		}
		if hint := Hinted(e, r.err); hint != "" {
			for i, l := range widget.Wrap(text.Clean(hint), w-6) {
				mark := "  "
				if i == 0 {
					mark = e.St.Info.Render("→ ")
				}
				lines = append(lines, "  "+mark+e.St.Text.Render(l))
			}
		}
		lines = append(lines, "  "+e.St.Muted.Render(e.S.Code+" "+failure.CodeOf(r.err)))
	}
	return append(lines, "", keyed(e, e.S.Enter, e.S.LongRetry)+"   "+keyed(e, "esc", e.S.HelpBack))
}

// hostOnly shortens addresses to their hosts.
var hostOnly = regexp.MustCompile(`https?://([^/\s]+)\S*`)

// promotePanel shows what promoting would do, before it is done.
func (r *releaser) promotePanel(w, h int) string {
	e, p := r.e, r.prepared
	lines := r.panel(sprintf(e.S.PromoteTitle, clean(p.Version), clean(p.Channel)), e.S.PromoteIntro, w)
	col := 13
	row := func(label, value string) { lines = append(lines, " "+field(e, label, value, col)) }
	row(e.S.LiveLabel, e.St.Text.Render(bundleName(e, p.Live))+e.St.Muted.Render("  →  ")+e.St.OK.Render("● ")+e.St.Bold.Render(bundleName(e, p.Version)))
	row(e.S.BundleLabel, e.St.Text.Render(e.S.One(int64(p.Files), e.S.OneFile, e.S.ManyFiles)+" · "+e.S.Bytes(p.Size))+e.St.Muted.Render(" · "+sprintf(e.S.SignedBy, shortKey(p.KeyID))))
	row(e.S.DevicesLabel, e.St.Text.Render(e.reach(p.Channel)))
	if p.MinNative != "" {
		if n, example := below(e.Data.Summary.Value.Fleet["version_build"], p.MinNative); n > 0 {
			for i, l := range widget.Wrap(sprintf(e.S.CannotTake, e.S.Count(n), clean(example), clean(p.MinNative)), max(8, w-col-6)) {
				mark := "  "
				if i == 0 {
					mark = e.St.Warn.Render("! ")
				}
				row("", mark+e.St.Text.Render(l))
			}
		}
	}
	switch d := r.change(); {
	case d != nil:
		row(e.S.ChangesLabel, changeCounts(e, *d)+e.St.Muted.Render("   "+e.S.Bytes(d.BytesBefore)+" → "+e.S.Bytes(d.BytesAfter)))
		for i, f := range d.Files {
			if i == 3 || len(lines) > h-9 {
				break
			}
			row("", fileLine(e, f, w-col-3))
		}
		if len(d.NewOrigins) > 0 {
			row(e.S.OriginsLabel, e.St.Warn.Render("! ")+e.St.Text.Render(widget.Cut(text.Clean(strings.Join(d.NewOrigins, ", ")), max(4, w-col-5))))
		}
		if len(d.NewNativeCalls) > 0 {
			row(e.S.NativeLabel, e.St.Warn.Render("! ")+e.St.Text.Render(widget.Cut(text.Clean(strings.Join(d.NewNativeCalls, ", ")), max(4, w-col-5))))
		}
	case r.diff.Loading():
		row(e.S.ChangesLabel, e.St.Accent.Render(widget.Spinner(e.Step))+" "+e.St.Muted.Render(sprintf(e.S.ComparingWith, bundleName(e, p.Live))))
	case r.diff.Err != nil:
		row(e.S.ChangesLabel, e.St.Muted.Render(widget.Cut(sprintf(e.S.CannotCompare, bundleName(e, p.Live), Failed(e, r.diff.Err)), max(4, w-col-3))))
	}
	label := e.S.WarningsLabel
	for _, f := range r.warnings() {
		if len(lines) > h-9 {
			break // the details have them all
		}
		row(label, e.St.Warn.Render("! ")+e.St.Text.Render(widget.Cut(text.Finding(e.Lang, f.Code, f.Text), max(4, w-col-5))))
		label = ""
	}
	proof := r.log(release.StageProve)
	if proof.state == "done" {
		said := hostOnly.ReplaceAllString(orElse(proof.note, e.S.ProofDone), "$1")
		for i, l := range widget.Wrap(said, max(8, w-col-5)) {
			if i == 0 {
				row(e.S.ProofLabel, e.St.OK.Render("✓ ")+e.St.Text.Render(l))
			} else if len(lines) < h-6 {
				row("", "  "+e.St.Text.Render(l))
			}
		}
	}
	if table := proofLines(e, p.Proof, w-col-3); len(table) > 0 && len(lines)+len(table) <= h-4 {
		for _, l := range table {
			row("", l)
		}
	}
	row(e.S.UndoLabel, e.St.Muted.Render(widget.Cut(sprintf(e.S.PromoteUndo, bundleName(e, p.Live)), max(4, w-col-3))))
	if c, ok := e.channel(p.Channel); ok && p.Revision != 0 && c.Revision != p.Revision {
		lines = append(lines, " "+e.St.Warn.Render("! ")+e.St.Text.Render(sprintf(e.S.ChannelMoved, bundleName(e, live(c)))))
	}
	lines = append(lines, "", " "+e.St.BadgeAccent.Render(" "+e.S.Enter+" ")+" "+e.St.Text.Render(e.S.HelpPromote+"…")+"    "+keyed(e, "d", e.S.HelpDetails)+"    "+keyed(e, "n", e.S.HelpLater))
	return widget.Fit(join(lines), w, h)
}

// detailsPanel is the whole comparison with what is live, and the whole proof.
func (r *releaser) detailsPanel(w, h int) string {
	e, p := r.e, r.prepared
	lines := []string{"", " " + heading(e, sprintf(e.S.DetailsTitle, clean(p.Version)), w-2)}
	if warnings := r.warnings(); len(warnings) > 0 {
		lines = append(lines, "", " "+e.St.Bold.Render(e.S.WarningsLabel))
		for _, f := range warnings {
			said := widget.Wrap(text.Finding(e.Lang, f.Code, f.Text), max(8, w-5))
			lines = append(lines, "  "+e.St.Warn.Render("! ")+e.St.Text.Render(said[0]))
			for _, more := range said[1:] {
				lines = append(lines, "    "+e.St.Text.Render(more))
			}
			if f.Hint != "" {
				for i, l := range widget.Wrap(text.Hint(e.Lang, f.Code, f.Hint), max(8, w-7)) {
					lines = append(lines, "    "+e.St.Muted.Render(map[bool]string{true: "→ ", false: "  "}[i == 0]+l))
				}
			}
		}
	}
	if table := proofLines(e, p.Proof, w-3); len(table) > 0 {
		lines = append(lines, "", " "+e.St.Bold.Render(e.S.ProofTitle))
		lines = append(lines, indentLines(table, 2)...)
	}
	switch d := r.change(); {
	case d != nil:
		lines = append(lines, "")
		lines = append(lines, indentLines(diffLines(e, *d, w-2), 1)...)
	case r.diff.Loading():
		lines = append(lines, "", " "+e.St.Accent.Render(widget.Spinner(e.Step))+" "+e.St.Muted.Render(sprintf(e.S.ComparingWith, bundleName(e, p.Live))))
	case r.diff.Err != nil:
		lines = append(lines, "")
		for _, l := range widget.Wrap(sprintf(e.S.CannotCompare, bundleName(e, p.Live), Failed(e, r.diff.Err)), w-2) {
			lines = append(lines, " "+e.St.Muted.Render(l))
		}
	}
	return widget.Fit(join(scrolled(e, lines, &r.scroll, w, h)), w, h)
}

// warnings are the findings of all stages that did not stop the release.
func (r *releaser) warnings() []release.Event {
	var list []release.Event
	for _, s := range release.Stages() {
		for _, f := range r.log(s).findings {
			if f.Level == bundle.LevelWarn {
				list = append(list, f)
			}
		}
	}
	return list
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// fileLine is one file of a diff with what became of its size.
func fileLine(e *Env, f DiffFile, w int) string {
	ink, glyph, size := e.St.Warn, "~", ""
	switch {
	case f.Before < 0:
		ink, glyph, size = e.St.OK, "+", e.S.Bytes(f.After)
	case f.After < 0:
		ink, glyph, size = e.St.Danger, "-", e.S.Bytes(f.Before)
	default:
		size = e.S.Bytes(f.Before) + " → " + e.S.Bytes(f.After)
	}
	room := max(4, w-widget.Width(size)-4)
	return ink.Render(glyph+" ") + e.St.Text.Render(widget.Pad(widget.CutLeft(text.Clean(f.Path), room), room)) + " " + e.St.Muted.Render(size)
}

// donePanel is the end: what is live, and what the device did.
func (r *releaser) donePanel(w, h int) string {
	e := r.e
	if r.result == nil {
		v := ""
		if r.prepared != nil {
			v = r.prepared.Version
		}
		lines := r.panel(sprintf(e.S.RegisteredNotLive, clean(v)), e.S.RegisteredWhat, w)
		return widget.Fit(join(lines), w, h)
	}
	res := r.result
	lines := []string{"", " " + e.St.BadgeOK.Render(" "+e.S.Live+" ") + " " + e.St.Title.Render(sprintf(e.S.IsLive, clean(res.Version), clean(r.channel))), ""}
	col := 13
	row := func(label, value string) { lines = append(lines, " "+field(e, label, value, col)) }
	if res.Previous != "" || r.prepared.Live != "" {
		row(e.S.BeforeLabel, e.St.Text.Render(bundleName(e, orElse(res.Previous, r.prepared.Live))))
	}
	row(e.S.BundleLabel, e.St.Text.Render(e.S.One(int64(res.Files), e.S.OneFile, e.S.ManyFiles)+" · "+e.S.Bytes(res.Size))+e.St.Muted.Render(" · "+sprintf(e.S.SignedBy, shortKey(res.KeyID))))
	row("SHA-256", e.St.Muted.Render(widget.Cut(clean(res.Checksum), max(8, w-col-3))))
	lines = append(lines, "")
	if d := res.Device; d != nil {
		if d.Installed {
			lines = append(lines, " "+e.St.OK.Render("✓ ")+e.St.Bold.Render(sprintf(e.S.DeviceTook, clean(d.PluginVersion), clean(res.Version))))
		} else {
			lines = append(lines, " "+e.St.Danger.Render("× ")+e.St.Bold.Render(sprintf(e.S.DeviceRefused, clean(d.PluginVersion), text.Sentence(e.Lang, d.Reason))))
		}
		steps := stepLines(e, r.log(release.StagePromote).steps, w-2)
		if room := max(0, h-len(lines)-3); len(steps) > room {
			steps = steps[len(steps)-room:]
		}
		lines = append(lines, indentLines(steps, 1)...)
	}
	lines = append(lines, "", " "+e.St.BadgeAccent.Render(" "+e.S.Enter+" ")+" "+e.St.Text.Render(e.S.HelpToChannel)+"    "+keyed(e, "U", e.S.HelpAnother))
	return widget.Fit(join(lines), w, h)
}
