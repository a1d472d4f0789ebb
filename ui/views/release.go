package views

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/Masterminds/semver/v3"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/core/release"
	"capstan/ui/text"
	"capstan/ui/widget"
)

// phase is where the release screen stands.
type phase int

const (
	phaseKey phase = iota
	phaseFolder
	phasePlan
	phasePrepare
	phasePromote
	phasePromoting
	phaseDone
	phaseFailed
)

// Stages that the screen shows before those of the pipeline.
const (
	stageKey    release.StageName = "key"
	stageFolder release.StageName = "folder"
)

// stageLog is what happened in one stage.
type stageLog struct {
	state    string // waiting, current, done, failed
	note     string // what it ended with
	findings []release.Event
	steps    []release.Event
	meter    widget.Meter
}

// releaser is the release screen: a rail of stages and the current one's detail.
type releaser struct {
	e     *Env
	phase phase
	runs  int // counts jobs, for their ids
	job   string

	stores  Resource[[]KeyStore]
	store   int // chosen store
	making  bool
	madeKey *Key
	key     int // chosen among the app's keys
	plan    Resource[Edit]
	edited  bool

	picker    *widget.Picker
	report    Resource[FolderReport]
	asked     string // folder that report is read of
	seen      string // folder that report was read of last
	found     Resource[[]string]
	recent    Resource[[]string]
	version   widget.Input
	proposed  Resource[string]
	touched   bool // the operator typed a version
	field     int  // 0 version, 1 channel, 2 delta
	delta     bool
	channel   string
	resume    string
	logs      map[release.StageName]*stageLog
	prepared  *Prepared
	diff      Resource[Diff] // against what is live
	details   bool           // the page of files and proofs is open
	scroll    int
	result    *release.Result
	err       error
	cancelled bool
	began     time.Time
	took      time.Duration
}

// NewRelease makes the release screen.
func NewRelease(e *Env) View {
	r := &releaser{e: e}
	r.reset()
	return r
}

// reset goes back to the start of a new release.
func (r *releaser) reset() {
	e := r.e
	r.phase, r.job, r.resume, r.err = phaseFolder, "", "", nil
	r.prepared, r.result, r.madeKey, r.touched, r.field, r.cancelled = nil, nil, nil, false, 0, false
	r.picker = widget.NewPicker(e.Facts.WebDir)
	r.version = widget.NewInput("1.0.0", 64)
	r.channel = e.Facts.Channel
	r.logs = map[release.StageName]*stageLog{}
	r.report, r.proposed, r.diff = Resource[FolderReport]{}, Resource[string]{}, Resource[Diff]{}
	r.details = false
}

func (r *releaser) Title() string { return r.e.S.TabRelease }

func (r *releaser) Enter() tea.Cmd {
	e := r.e
	cmds := []tea.Cmd{e.LoadKeys(), e.LoadChannels(), e.LoadSummary(), e.LoadSchedule(), e.LoadAbout(), e.LoadUnfinished(),
		r.stores.LoadLocal(e, e.Services.Keys.Stores), r.recent.LoadLocal(e, e.Services.Folders.Recent)}
	if r.phase == phaseDone || r.phase == phaseFailed && r.err == nil {
		r.reset()
	}
	if r.phase <= phaseFolder {
		cmds = append(cmds, r.inspect())
	}
	return tea.Batch(cmds...)
}

// Begin is called by the root with the argument of GoMsg: "new" starts over
// when nothing runs, "resume:ID" continues a release.
func (r *releaser) Begin(arg string) tea.Cmd {
	switch {
	case r.running():
		return nil
	case strings.HasPrefix(arg, "resume:"):
		r.reset()
		r.resume = strings.TrimPrefix(arg, "resume:")
		for _, u := range r.e.Data.Unfinished.Value {
			if u.ID == r.resume {
				r.version.Set(u.Version)
				r.channel = u.Channel
			}
		}
		return r.prepare()
	case strings.HasPrefix(arg, "channel:"):
		r.reset()
		r.channel = strings.TrimPrefix(arg, "channel:")
		return r.inspect()
	case arg == "new" && r.phase >= phaseDone:
		r.reset()
		return r.inspect()
	}
	return nil
}

func (r *releaser) running() bool { return r.phase == phasePrepare || r.phase == phasePromoting }

// needsKey reports whether a key has to be made first.
func (r *releaser) needsKey() bool {
	k := &r.e.Data.Keys
	return k.Ready() && len(k.Value) == 0
}

// chosenKey is the key that signs.
func (r *releaser) chosenKey() (Key, bool) {
	keys := r.e.Data.Keys.Value
	if len(keys) == 0 {
		return Key{}, false
	}
	return keys[min(r.key, len(keys)-1)], true
}

func (r *releaser) CapturesText() bool {
	if !r.e.Data.Keys.Ready() || r.needsKey() || r.madeKey != nil {
		return false
	}
	return r.phase == phaseFolder || r.phase == phasePlan && r.field == 0
}

func (r *releaser) Back() bool {
	switch {
	case r.madeKey != nil:
		r.madeKey = nil
		return true
	case r.details:
		r.details = false
		return true
	case r.phase == phasePlan:
		r.phase = phaseFolder
		return true
	case r.phase == phaseFailed:
		r.phase = phaseFolder
		return true
	}
	return false
}

func (r *releaser) Actions() []Action {
	e := r.e
	enter := Action{ID: "continue", Keys: []string{"enter"}, Help: e.S.HelpContinue, Long: e.S.LongContinue, Primary: true, Dangerous: true, Run: r.forward}
	enter.Disabled = r.stuck()
	actions := []Action{enter}
	if r.running() {
		actions[0].Keys, actions[0].Hidden = nil, true
		actions = append(actions, Action{ID: "cancel", Keys: []string{"x"}, Help: e.S.HelpCancelJob, Long: e.S.LongCancelJob, Primary: true,
			Run: func() tea.Cmd { return func() tea.Msg { return CancelJobMsg{r.job} } }})
	}
	if r.phase == phaseFailed {
		actions[0].Help, actions[0].Long = e.S.HelpRetry, e.S.LongRetry
	}
	if r.phase == phasePromote {
		actions[0].ID, actions[0].Help, actions[0].Long = "promote", e.S.HelpPromote, e.S.LongPromote
		actions[0].Keys = []string{"enter", "P"}
		actions = append(actions, Action{ID: "details", Keys: []string{"d"}, Help: e.S.HelpDetails, Long: e.S.LongDetails, Primary: true, Run: func() tea.Cmd {
			r.details, r.scroll = !r.details, 0
			return nil
		}}, Action{ID: "later", Keys: []string{"n"}, Help: e.S.HelpLater, Long: e.S.LongLater, Run: func() tea.Cmd {
			r.phase = phaseDone
			return Notice(NoticeInfo, sprintf(e.S.RegisteredNotLive, r.prepared.Version))
		}})
	}
	if r.phase == phaseDone {
		actions[0].Help, actions[0].Long, actions[0].Dangerous = e.S.HelpToChannel, e.S.LongOpenChannel, false
		actions = append(actions, Action{ID: "again", Keys: []string{"U"}, Help: e.S.HelpAnother, Long: e.S.LongRelease, Dangerous: true,
			Run: func() tea.Cmd { r.reset(); return r.Enter() }}, e.undoAction())
	}
	if r.madeKey != nil {
		actions = append(actions, r.writeKeyAction(),
			Action{ID: "copy", Keys: []string{"y"}, Help: e.S.HelpCopyKey, Long: e.S.LongCopyKey, Primary: true,
				Run: func() tea.Cmd { return Copy(r.madeKey.PublicPEM, e.S.WhatPublicKey) }})
	} else if r.phase >= phasePromote && r.prepared != nil {
		actions = append(actions, Action{ID: "copy", Keys: []string{"y"}, Help: e.S.HelpCopy, Long: e.S.LongCopyVersion,
			Run: func() tea.Cmd { return Copy(r.prepared.Version, e.S.WhatVersion) }},
			Action{ID: "copy-checksum", Keys: []string{"Y"}, Help: e.S.HelpChecksum, Long: e.S.LongCopyChecksum, Hidden: true,
				Run: func() tea.Cmd { return Copy(r.prepared.Checksum, e.S.WhatChecksum) }})
	}
	return actions
}

// writeKeyAction puts the public key into the project's configuration.
func (r *releaser) writeKeyAction() Action {
	e := r.e
	a := Action{ID: "write-key", Keys: []string{"w"}, Help: e.S.HelpWriteKey, Long: e.S.LongWriteKey, Primary: true, Dangerous: true}
	switch {
	case e.Services.Project == nil:
		a.Disabled = e.S.WhyNoProject
	case r.edited:
		a.Disabled = e.S.WhyWritten
	case !r.plan.Ready() && r.plan.Err == nil:
		a.Disabled = e.S.Loading
	case !r.plan.Ready() || r.plan.Value.Apply == nil:
		a.Disabled = e.S.WhyNoEdit
	}
	a.Run = func() tea.Cmd { return e.askEdit(r.plan.Value, func() tea.Cmd { r.edited = true; return nil }) }
	return a
}

// askEdit shows a planned change of the configuration and applies it.
func (e *Env) askEdit(edit Edit, done func() tea.Cmd) tea.Cmd {
	lines := []string{e.St.Text.Render(clean(edit.Path)), ""}
	for _, l := range diffBody(edit.Diff) {
		lines = append(lines, diffLine(e, widget.Cut(text.Clean(l), 60)))
	}
	lines = append(lines, "", e.St.Muted.Render(e.S.EditUndo))
	return Ask(widget.Confirm{Title: e.S.EditTitle, Verb: e.S.EditVerb, Lines: lines}, func() tea.Cmd {
		return e.Do(sprintf(e.S.EditDone, text.Clean(edit.Path)), edit.Apply, done)
	})
}

// diffBody are the lines of a unified diff of one file, without the two that
// only repeat its name.
func diffBody(diff string) []string {
	var body []string
	for _, l := range strings.Split(strings.TrimRight(diff, "\n"), "\n") {
		if !strings.HasPrefix(l, "--- ") && !strings.HasPrefix(l, "+++ ") {
			body = append(body, l)
		}
	}
	return body
}

func diffLine(e *Env, l string) string {
	switch {
	case strings.HasPrefix(l, "+"):
		return e.St.OK.Render(l)
	case strings.HasPrefix(l, "-"):
		return e.St.Danger.Render(l)
	case strings.HasPrefix(l, "@@"):
		return e.St.Info.Render(l)
	}
	return e.St.Muted.Render(l)
}

// stuck says why Enter cannot go on.
func (r *releaser) stuck() string {
	e := r.e
	switch {
	case r.making:
		return e.S.WhyMakingKey
	case !e.Data.Keys.Ready():
		return e.S.Loading
	case r.madeKey != nil:
		return ""
	case r.needsKey() && !r.stores.Ready() && r.stores.Err == nil:
		return e.S.Loading // a locked keyring takes its time
	case r.needsKey():
		if s := r.stores.Value; r.store < len(s) && s[r.store].Unusable != "" {
			return text.Clean(s[r.store].Unusable)
		}
	case r.phase == phaseFolder:
		switch {
		case r.report.Loading() && !(r.report.Ready() && r.seen == r.picker.Value()):
			return e.S.WhyLooking
		case r.report.Err != nil:
			return Failed(e, r.report.Err)
		case !r.report.Ready() || !r.report.Value.Build:
			return e.S.WhyNoBuild
		}
	case r.phase == phasePlan && r.versionProblem() != "":
		return r.versionProblem()
	}
	return ""
}

// forward is Enter: the next step of the flow.
func (r *releaser) forward() tea.Cmd {
	e := r.e
	switch {
	case r.madeKey != nil:
		r.madeKey = nil
		return r.inspect()
	case r.needsKey():
		return r.createKey()
	case r.phase == phaseFolder:
		r.phase, r.field = phasePlan, 0
		return r.proposed.LoadLocal(e, func(ctx context.Context) (string, error) {
			return e.Services.Releases.NextVersion(ctx, e.Facts.AppID, r.report.Value.Dir)
		})
	case r.phase == phasePlan:
		return r.prepare()
	case r.phase == phasePromote:
		return r.askPromote()
	case r.phase == phaseDone:
		name := r.channel
		return Go(ScreenChannel, name)
	case r.phase == phaseFailed:
		return r.retry()
	}
	return nil
}

// createKey makes the app's first key pair.
func (r *releaser) createKey() tea.Cmd {
	e := r.e
	kind := ""
	if r.store < len(r.stores.Value) {
		kind = r.stores.Value[r.store].Kind
	}
	r.making = true
	e.Loads++
	return func() tea.Msg {
		ctx, stop := context.WithTimeout(e.Ctx, askLimit)
		defer stop()
		k, err := e.Services.Keys.Create(ctx, e.Facts.AppID, kind)
		return keyMadeMsg{k, err}
	}
}

type keyMadeMsg struct {
	key Key
	err error
}

// inspect asks what the folder in the picker is.
func (r *releaser) inspect() tea.Cmd {
	e, dir := r.e, r.picker.Value()
	if dir == "" {
		return nil
	}
	r.asked = dir
	return r.report.LoadLocal(e, func(ctx context.Context) (FolderReport, error) { return e.Services.Folders.Inspect(ctx, dir) })
}

func (r *releaser) complete() tea.Cmd {
	e, typed := r.e, r.picker.Typed()
	return r.found.LoadLocal(e, func(ctx context.Context) ([]string, error) { return e.Services.Folders.Complete(ctx, typed, 50) })
}

// versionProblem says why the version cannot be used.
func (r *releaser) versionProblem() string {
	v := r.version.Value()
	if v == "" {
		return r.e.S.WhyNoVersion
	}
	if _, err := semver.StrictNewVersion(v); err != nil {
		return r.e.S.WhyNotSemver
	}
	for _, b := range r.e.Data.Bundles.Value {
		if b.Name == v {
			return sprintf(r.e.S.WhyVersionExists, v)
		}
	}
	return ""
}

// prepare starts preflight … register as a job.
func (r *releaser) prepare() tea.Cmd {
	e := r.e
	request := ReleaseRequest{AppID: e.Facts.AppID, Dir: r.report.Value.Dir, Channel: r.channel, Version: r.version.Value(), Resume: r.resume, Delta: r.delta && r.canDelta()}
	if k, ok := r.chosenKey(); ok {
		request.KeyID = k.ID
	}
	r.phase, r.err, r.cancelled, r.began = phasePrepare, nil, false, e.Now()
	for _, l := range r.logs {
		if l.state == "failed" || l.state == "current" {
			*l = stageLog{state: "waiting"}
		}
	}
	r.runs++
	r.job = fmt.Sprintf("prepare-%d", r.runs)
	return StartJob(JobMsg{ID: r.job, Owner: ScreenRelease, Title: sprintf(e.S.JobRelease, request.Version), Run: func(ctx context.Context, emit func(release.Event)) (any, error) {
		return e.Services.Releases.Prepare(ctx, request, emit)
	}})
}

// retry continues a failed release where it stopped.
func (r *releaser) retry() tea.Cmd {
	e := r.e
	if r.prepared != nil {
		return r.promote()
	}
	// The journal knows the release that failed; without one it starts again.
	return func() tea.Msg {
		ctx, stop := context.WithTimeout(e.Ctx, readLimit)
		defer stop()
		open, err := e.Services.Releases.Unfinished(ctx, e.Facts.AppID)
		if err != nil {
			return resumeMsg{}
		}
		for _, u := range open {
			if r.resume != "" && u.ID == r.resume || r.resume == "" && u.Version == r.version.Value() {
				return resumeMsg{u.ID}
			}
		}
		return resumeMsg{}
	}
}

type resumeMsg struct{ id string }

// askPromote shows what promoting does and asks, by the channel's name when
// users are on it.
func (r *releaser) askPromote() tea.Cmd {
	return r.e.because(func(reason string) tea.Cmd {
		r.prepared.Reason = reason
		return r.askLive()
	})
}

func (r *releaser) askLive() tea.Cmd {
	e, p := r.e, r.prepared
	c, known := e.channel(p.Channel)
	if !known {
		c = capgo.Channel{Name: p.Channel}
	}
	lines := []string{
		e.St.Text.Render(sprintf(e.S.PromoteFromTo, bundleName(e, p.Live))) + " " + e.St.Muted.Render("→") + " " + e.St.Bold.Render(bundleName(e, p.Version)),
		e.St.Text.Render(e.reach(p.Channel)),
	}
	lines = append(append(lines, e.reasonLine(p.Reason)...), "",
		e.St.Muted.Render(sprintf(e.S.PromoteUndo, bundleName(e, p.Live))))
	d := widget.Confirm{Title: sprintf(e.S.PromoteTitle, text.Clean(p.Version), text.Clean(p.Channel)), Verb: e.S.HelpPromote, Lines: lines}
	if e.IsProduction(c) {
		d.Word, d.Severe = p.Channel, true
	}
	return Ask(d, r.promote)
}

func (r *releaser) promote() tea.Cmd {
	e, p := r.e, *r.prepared
	r.phase, r.err, r.details = phasePromoting, nil, false
	r.runs++
	r.job = fmt.Sprintf("promote-%d", r.runs)
	return StartJob(JobMsg{ID: r.job, Owner: ScreenRelease, Title: sprintf(e.S.JobPromote, p.Version), Run: func(ctx context.Context, emit func(release.Event)) (any, error) {
		return e.Services.Releases.Promote(ctx, p, emit)
	}})
}

func (r *releaser) Update(msg tea.Msg) tea.Cmd {
	switch m := msg.(type) {
	case keyMadeMsg:
		return r.keyMade(m)
	case resumeMsg:
		r.resume = m.id
		return r.prepare()
	case LoadedMsg:
		return r.loaded(m)
	case JobEventMsg:
		r.event(m.Event)
	case JobDoneMsg:
		return r.jobDone(m)
	case RefreshMsg:
		if m.Auto {
			return nil
		}
		return r.Enter()
	case tea.KeyPressMsg, tea.PasteMsg:
		return r.typed(msg)
	case tea.MouseWheelMsg:
		r.scroll += wheel(m)
	}
	return nil
}

func (r *releaser) keyMade(m keyMadeMsg) tea.Cmd {
	e := r.e
	r.making = false
	e.Loads--
	if m.err != nil {
		return NoticeErr(m.err)
	}
	r.madeKey, r.edited = &m.key, false
	cmds := []tea.Cmd{e.LoadKeys(), Notice(NoticeOK, sprintf(e.S.KeyMade, shortKey(m.key.ID)))}
	if e.Services.Project != nil {
		pem := m.key.PublicPEM
		cmds = append(cmds, r.plan.LoadLocal(e, func(ctx context.Context) (Edit, error) { return e.Services.Project.PlanKey(ctx, pem) }))
	}
	return tea.Batch(cmds...)
}

func (r *releaser) loaded(m LoadedMsg) tea.Cmd {
	switch {
	case m.Of(&r.report) && r.report.Err == nil && !r.report.Loading():
		r.seen = r.asked
	case m.Of(&r.found):
		r.picker.Found = r.found.Value
	case m.Of(&r.recent):
		r.picker.Recent = r.recent.Value
	case m.Of(&r.proposed):
		if !r.touched && r.proposed.Err == nil {
			r.version.Set(r.proposed.Value)
		}
	}
	return nil
}

// typed takes the keys that are not actions: those of the fields and lists.
func (r *releaser) typed(msg tea.Msg) tea.Cmd {
	press, isKey := msg.(tea.KeyPressMsg)
	name := ""
	if isKey {
		name = press.String()
	}
	switch {
	case r.details:
		r.scroll += scrollStep(name)
	case r.needsKey() && r.madeKey == nil:
		r.store = step(name, r.store, len(r.stores.Value))
	case r.phase == phaseFolder:
		typed, meant := r.picker.Update(msg)
		var cmds []tea.Cmd
		if typed {
			cmds = append(cmds, r.complete())
		}
		if meant {
			cmds = append(cmds, r.inspect())
		}
		return tea.Batch(cmds...)
	case r.phase == phasePlan:
		switch {
		case name == "tab" || r.field == 0 && name == "down" || r.field == 1 && name == "down" && r.channelAt() == len(r.channelNames())-1:
			r.field = (r.field + 1) % 3
		case name == "shift+tab" || r.field == 2 && name == "up" || r.field == 1 && name == "up" && r.channelAt() == 0:
			r.field = (r.field + 2) % 3
		case r.field == 2:
			switch name {
			case "space", "left", "right", "h", "l":
				r.delta = !r.delta && r.canDelta()
			}
		case r.field == 0:
			if r.version.Update(msg) {
				r.touched = true
			}
		default:
			names := r.channelNames()
			if at := step(name, r.channelAt(), len(names)); at < len(names) {
				r.channel = names[at]
			}
		}
	}
	return nil
}

// step moves a cursor in a short list.
func step(key string, at, n int) int {
	switch key {
	case "up", "k":
		at--
	case "down", "j":
		at++
	}
	return max(0, min(at, n-1))
}

// channelNames are the channels that a release can go to; the project's own
// first when it does not exist yet.
func (r *releaser) channelNames() []string {
	var names []string
	known := false
	for _, c := range r.e.Data.Channels.Value {
		names = append(names, c.Name)
		known = known || c.Name == r.e.Facts.Channel
	}
	if !known && r.e.Facts.Channel != "" {
		names = append([]string{r.e.Facts.Channel}, names...)
	}
	return names
}

func (r *releaser) channelAt() int {
	for i, n := range r.channelNames() {
		if n == r.channel {
			return i
		}
	}
	return 0
}

func (r *releaser) log(stage release.StageName) *stageLog {
	l := r.logs[stage]
	if l == nil {
		l = &stageLog{state: "waiting"}
		r.logs[stage] = l
	}
	return l
}

// maxLog is how many findings or steps a stage keeps.
const maxLog = 500

// event folds one event of the pipeline into what the screen shows.
func (r *releaser) event(ev release.Event) {
	l := r.log(ev.Stage)
	at := ev.Time
	if at.IsZero() {
		at = r.e.Now()
	}
	switch ev.Kind {
	case release.EventStarted:
		*l = stageLog{state: "current"}
		l.meter.Started = at
	case release.EventProgress:
		l.meter.Observe(at, ev.Done, ev.Total)
	case release.EventFinding:
		if len(l.findings) < maxLog {
			l.findings = append(l.findings, ev)
		}
	case release.EventStep:
		if len(l.steps) < maxLog {
			l.steps = append(l.steps, ev)
		}
	case release.EventSkipped:
		l.state, l.note = "done", text.Sentence(r.e.Lang, ev.Text)
		if l.note == "" {
			l.note = r.e.S.AlreadyDone
		}
	case release.EventFinished:
		l.state, l.note = "done", text.Sentence(r.e.Lang, ev.Text)
	case release.EventFailed:
		l.state, l.note = "failed", text.Clean(ev.Text)
	}
}

func (r *releaser) jobDone(m JobDoneMsg) tea.Cmd {
	e := r.e
	if m.JobID != r.job {
		return nil
	}
	if m.Err != nil {
		r.fail(m.Err)
		if r.cancelled {
			return tea.Batch(Notice(NoticeWarn, e.S.Cancelled), e.LoadUnfinished())
		}
		return tea.Batch(NoticeErr(m.Err), e.LoadUnfinished())
	}
	switch value := m.Value.(type) {
	case Prepared:
		r.prepared, r.phase = &value, phasePromote
		if value.Channel != "" {
			r.channel = value.Channel
		}
		return tea.Batch(Notice(NoticeOK, sprintf(e.S.ReadyToPromote, text.Clean(value.Version))), e.LoadChannels(), e.LoadSummary(), e.LoadBundles(), r.compare())
	case release.Result:
		r.result, r.phase, r.took = &value, phaseDone, e.Now().Sub(r.began)
		r.log(release.StagePromote).state = "done"
		if r.prepared.Live != "" {
			e.Undo = &Undo{Channel: r.channel, From: r.prepared.Live, To: value.Version, At: e.Now()}
		}
		return tea.Batch(Notice(NoticeOK, sprintf(e.S.IsLive, text.Clean(value.Version), text.Clean(r.channel))), e.LoadChannels(), e.LoadSummary(), e.LoadHistory(), e.LoadBundles(), e.LoadUnfinished())
	}
	return nil
}

// compare asks what changes from the live bundle to the prepared one.
func (r *releaser) compare() tea.Cmd {
	e, p := r.e, *r.prepared
	if r.diff = (Resource[Diff]{}); p.Diff != nil || e.Services.Contents == nil || p.Live == "" || p.Live == capgo.Builtin {
		return nil
	}
	return r.diff.LoadSlow(e, func(ctx context.Context) (Diff, error) {
		return e.Services.Contents.Compare(ctx, p.AppID, p.Live, p.Version)
	})
}

// change is what promoting changes, nil while unknown.
func (r *releaser) change() *Diff {
	switch {
	case r.prepared == nil:
		return nil
	case r.prepared.Diff != nil:
		return r.prepared.Diff
	case r.diff.Ready():
		return &r.diff.Value
	}
	return nil
}

// fail shows the error at the stage that was running.
func (r *releaser) fail(err error) {
	r.err, r.phase = err, phaseFailed
	r.cancelled = errors.Is(err, context.Canceled) || failure.CodeOf(err) == "cancelled"
	marked := false
	for _, l := range r.logs {
		marked = marked || l.state == "failed"
	}
	for _, l := range r.logs {
		if l.state == "current" {
			l.state = "failed"
			if marked {
				l.state = "waiting"
			}
		}
	}
}

// canDelta reports whether the server keeps the files of a delta update.
func (r *releaser) canDelta() bool {
	return slices.Contains(r.e.Data.About.Value.Capabilities, capgo.CapDelta)
}

// Channel is the channel that the release goes to.
func (r *releaser) Channel() string { return r.channel }
