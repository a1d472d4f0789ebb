// Package ui is the console: one Bubble Tea program with one root model. The
// root owns the frame, the router, the dialogs and the jobs; the screens are in
// ui/views and draw into what the frame leaves them.
package ui

import (
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"

	"capstan/core/failure"
	"capstan/ui/text"
	"capstan/ui/theme"
	"capstan/ui/views"
	"capstan/ui/widget"
)

// The smallest terminal in which the console draws itself.
const (
	minWidth  = 60
	minHeight = 16
)

// frameRows are the lines around the body: header, tabs, rule, status, help.
const frameRows = 5

// bodyTop is the first line of the body.
const bodyTop = 3

// noticeFor is how long a notice that is no error stays.
const noticeFor = 6 * time.Second

// refreshEvery is how often the visible screen reads its data again.
const refreshEvery = 5 * time.Second

// root is the program's only tea.Model.
type root struct {
	e       *views.Env
	w, h    int
	dark    bool
	plain   bool // no colours: NO_COLOR, --no-color or a terminal without any
	noMouse bool

	screens map[views.Screen]views.View
	// stack holds the screens from the tab to the visible one.
	stack []views.Screen

	secret      *openSecret
	passphrases *Passphrases
	confirm     *openConfirm
	prompt      *openPrompt
	choose      *openChoice
	message     *widget.Message
	help        *helpPage
	palette     *palette
	filter      *widget.Input // set while the filter is typed

	notice   views.NoticeMsg
	noticeAt time.Time // zero when there is no notice

	first       views.GoMsg
	jobs        jobs
	nextProfile string // to open the console on after this one
	quitting    bool
	ticking     bool // the fast tick is on its way
	lastRead    time.Time
	crash       error
	onCrash     func(value any, stack []byte)
}

type openConfirm struct {
	widget.Confirm
	then func() tea.Cmd
}

type openPrompt struct {
	widget.Prompt
	then func(string) tea.Cmd
}

type openChoice struct {
	widget.Choice
	then func(int) tea.Cmd
}

// slowTick comes once a second; fastTick ten times, while something moves.
type (
	slowTick  time.Time
	fastTick  time.Time
	crashMsg  struct{ err error }
	forceQuit struct{}
)

func newRoot(e *views.Env, start views.Screen, arg string) *root {
	r := &root{e: e, dark: true, stack: []views.Screen{views.ScreenBoard}, first: views.GoMsg{To: start, Arg: arg}}
	r.jobs.dead = make(chan struct{})
	r.build()
	return r
}

// build makes all screens, in the language and theme of now.
func (r *root) build() {
	e := r.e
	r.screens = map[views.Screen]views.View{
		views.ScreenBoard: views.NewBoard(e), views.ScreenRelease: views.NewRelease(e), views.ScreenBundles: views.NewBundles(e),
		views.ScreenDevices: views.NewDevices(e), views.ScreenFleet: views.NewFleet(e), views.ScreenActivity: views.NewActivity(e),
		views.ScreenKeys: views.NewKeys(e), views.ScreenServer: views.NewServer(e), views.ScreenSettings: views.NewSettings(e),
		views.ScreenSetup: views.NewSetup(e), views.ScreenChannel: views.NewChannel(e),
	}
}

// view is the visible screen.
func (r *root) view() views.View { return r.screens[r.stack[len(r.stack)-1]] }

func (r *root) screen() views.Screen { return r.stack[len(r.stack)-1] }

func (r *root) Init() tea.Cmd {
	return r.guard(tea.Batch(tea.RequestBackgroundColor, r.navigate(r.first), r.slow(), r.fast(), r.passphrases.listen(r.e.Ctx)))
}

func (r *root) slow() tea.Cmd {
	return tea.Tick(time.Second, func(t time.Time) tea.Msg { return slowTick(t) })
}

// fast starts the quick tick when something moves and none is on its way.
func (r *root) fast() tea.Cmd {
	if r.ticking || r.e.Loads <= 0 && !r.jobs.running() {
		return nil
	}
	r.ticking = true
	return tea.Tick(100*time.Millisecond, func(t time.Time) tea.Msg { return fastTick(t) })
}

// Update handles a message. A panic below it ends the program in order, with
// the terminal restored, instead of tearing it down.
func (r *root) Update(msg tea.Msg) (model tea.Model, cmd tea.Cmd) {
	defer func() {
		if p := recover(); p != nil {
			model, cmd = r, r.crashed(p)
		}
	}()
	cmd = r.update(msg)
	return r, r.guard(tea.Batch(cmd, r.fast()))
}

func (r *root) crashed(p any) tea.Cmd {
	if r.onCrash != nil {
		r.onCrash(p, debug.Stack())
	}
	r.crash = failure.Newf(failure.Crash, "crash", "console", "", "internal error: %s", text.Clean(fmt.Sprint(p)))
	return tea.Quit
}

// guard makes a command's panic a message, batches included.
func (r *root) guard(cmd tea.Cmd) tea.Cmd {
	if cmd == nil {
		return nil
	}
	return func() (msg tea.Msg) {
		defer func() {
			if p := recover(); p != nil {
				if r.onCrash != nil {
					r.onCrash(p, debug.Stack())
				}
				msg = crashMsg{failure.Newf(failure.Crash, "crash", "console", "", "internal error: %s", text.Clean(fmt.Sprint(p)))}
			}
		}()
		msg = cmd()
		if batch, ok := msg.(tea.BatchMsg); ok {
			for i := range batch {
				batch[i] = r.guard(batch[i])
			}
		}
		return msg
	}
}

func (r *root) update(msg tea.Msg) tea.Cmd {
	switch m := msg.(type) {
	case tea.WindowSizeMsg:
		r.w, r.h = m.Width, m.Height
	case tea.BackgroundColorMsg:
		r.dark = m.IsDark()
		r.restyle()
	case tea.ColorProfileMsg:
		if m.Profile <= colorprofile.ASCII {
			r.plain = true
			r.restyle()
		}
	case crashMsg:
		r.crash = m.err
		return tea.Quit
	case forceQuit:
		return tea.Quit
	case slowTick:
		return tea.Batch(r.slow(), r.second(), r.dropSecret())
	case askedMsg:
		r.asked(m.question)
	case fastTick:
		r.ticking = false
		r.e.Step++
	case views.LoadedMsg:
		m.Settle(r.e)
		return r.everywhere(m)
	case views.JobMsg:
		return r.startJob(m)
	case views.JobEventMsg:
		r.jobs.note(m.JobID, m.Event)
		return tea.Batch(r.screens[m.Owner].Update(m), r.jobs.next(m.JobID))
	case views.JobDoneMsg:
		return r.endJob(m)
	case views.CancelJobMsg:
		return r.askCancel()
	case views.DoneMsg:
		return r.done(m)
	case views.GoMsg:
		return r.navigate(m)
	case views.NoticeMsg:
		if m.Code != "" {
			m.Text, m.Hint = text.Failure(r.e.Lang, m.Code, m.Text), text.FailureHint(r.e.Lang, m.Code, m.Hint)
		}
		r.notice, r.noticeAt = m, r.e.Now()
		if m.Text == "" {
			r.noticeAt = time.Time{}
		}
	case views.ConfirmMsg:
		r.confirm = &openConfirm{m.Dialog, m.Then}
		r.confirm.Open(r.e.Now())
	case views.PromptMsg:
		r.prompt = &openPrompt{m.Dialog, m.Then}
	case views.SayMsg:
		r.message = &m.Dialog
	case views.ChooseMsg:
		r.choose = &openChoice{m.Choice, m.Then}
	case views.ProbedMsg:
		d := m.Dialog(r.e)
		r.message = &d
		return r.view().Update(views.RefreshMsg{})
	case views.CopyMsg:
		return tea.Batch(tea.SetClipboard(m.Text), views.Notice(views.NoticeOK, fmt.Sprintf(r.e.S.Copied, m.What)))
	case views.ThemeMsg:
		r.e.Theme = m.Name
		r.restyle()
	case views.LangMsg:
		return r.speak(m.Lang)
	case views.ProfileMsg:
		if r.jobs.running() {
			return views.Notice(views.NoticeWarn, r.e.S.WhyBusy)
		}
		r.nextProfile = m.Name
		return tea.Quit
	case views.RefreshMsg:
		r.lastRead = r.e.Now()
		return r.view().Update(m)
	case tea.KeyPressMsg:
		return r.key(m)
	case tea.PasteMsg:
		return r.paste(m)
	case tea.MouseClickMsg:
		return r.click(m)
	case tea.MouseWheelMsg:
		if !r.covered() {
			return r.view().Update(m)
		}
	case tea.SuspendMsg, tea.ResumeMsg, tea.KeyReleaseMsg, tea.MouseReleaseMsg, tea.MouseMotionMsg, tea.FocusMsg, tea.BlurMsg:
	default:
		return r.everywhere(msg)
	}
	return nil
}

// everywhere hands a message to all screens: only those concerned react.
func (r *root) everywhere(msg tea.Msg) tea.Cmd {
	cmds := make([]tea.Cmd, 0, len(r.screens))
	for _, v := range r.screens {
		cmds = append(cmds, v.Update(msg))
	}
	return tea.Batch(cmds...)
}

// second is what happens once a second: old notices go, data is read again.
func (r *root) second() tea.Cmd {
	now := r.e.Now()
	if !r.noticeAt.IsZero() && r.notice.Kind != views.NoticeError && now.Sub(r.noticeAt) >= noticeFor {
		r.noticeAt = time.Time{}
	}
	if r.lastRead.IsZero() {
		r.lastRead = now
	}
	every := refreshEvery
	if live, ok := r.view().(interface{ Live() bool }); ok && live.Live() {
		every = time.Second
	}
	if now.Sub(r.lastRead) < every || r.e.Loads > 0 || r.covered() {
		return nil
	}
	r.lastRead = now
	return r.view().Update(views.RefreshMsg{Auto: true})
}

// covered reports whether something lies over the screen and has the keys.
func (r *root) covered() bool {
	return r.secret != nil || r.confirm != nil || r.prompt != nil || r.choose != nil || r.message != nil || r.help != nil || r.palette != nil
}

// restyle makes the styles anew for the theme and the terminal.
func (r *root) restyle() {
	name := r.e.Theme
	if r.plain {
		name = theme.Mono
	}
	*r.e.St = *theme.New(name, r.dark)
}

// speak changes the language. The screens are made anew: their columns carry words.
func (r *root) speak(lang string) tea.Cmd {
	r.e.Lang = lang
	*r.e.S = *text.Of(lang)
	if !r.jobs.running() {
		r.build()
		if len(r.stack) > 1 {
			r.stack = r.stack[:1]
		}
	}
	return r.view().Enter()
}

// navigate shows a screen. A tab starts a new stack; a channel or the setup
// lies on top of where one was.
func (r *root) navigate(m views.GoMsg) tea.Cmd {
	r.closeFilter()
	r.help, r.palette = nil, nil
	if m.To == views.ScreenChannel || m.To == views.ScreenSetup {
		if r.screen() == m.To {
			r.stack = r.stack[:len(r.stack)-1]
		}
		if len(r.stack) == 0 || r.stack[0] == views.ScreenRelease {
			r.stack = []views.Screen{views.ScreenBoard}
		}
		r.stack = append(r.stack, m.To)
	} else {
		r.stack = []views.Screen{m.To}
	}
	r.lastRead = r.e.Now()
	var open tea.Cmd
	switch v := r.view().(type) {
	case interface{ Begin(string) tea.Cmd }:
		open = v.Begin(m.Arg)
	case interface{ Open(string) tea.Cmd }:
		open = v.Open(m.Arg)
	case interface{ Open(string) }:
		v.Open(m.Arg)
	}
	return tea.Batch(r.view().Enter(), open)
}

// done shows how a change went and reads the data again.
func (r *root) done(m views.DoneMsg) tea.Cmd {
	r.e.Loads--
	if m.Err != nil {
		return tea.Batch(views.NoticeErr(m.Err), r.view().Update(views.RefreshMsg{}))
	}
	var cmds []tea.Cmd
	if m.Say != "" {
		cmds = append(cmds, views.Notice(views.NoticeOK, m.Say))
	}
	if m.After != nil {
		cmds = append(cmds, m.After())
	}
	return tea.Batch(cmds...)
}

// key routes a key: dialogs first, then text fields, then what works
// everywhere, then the screen.
func (r *root) key(m tea.KeyPressMsg) tea.Cmd {
	if r.notice.Kind == views.NoticeError {
		r.noticeAt = time.Time{}
	}
	name := m.String()
	if name == "ctrl+c" {
		return r.interrupt()
	}
	if r.tooSmall() {
		return nil
	}
	switch {
	case r.secret != nil:
		return r.secretKey(m)
	case r.confirm != nil:
		return r.confirmKey(m)
	case r.prompt != nil:
		return r.promptKey(m)
	case r.choose != nil:
		at, outcome := r.choose.Update(m)
		then := r.choose.then
		if outcome != widget.Pending {
			r.choose = nil
		}
		if outcome == widget.Confirmed {
			return then(at)
		}
		return nil
	case r.message != nil:
		if name == "esc" || name == "enter" || name == "q" {
			r.message = nil
		}
		return nil
	case r.palette != nil:
		return r.paletteKey(m)
	case r.help != nil:
		return r.helpKey(name)
	case r.filter != nil:
		return r.filterKey(m)
	}
	v := r.view()
	if v.CapturesText() {
		if name == "esc" {
			return r.back()
		}
		// Only actions on keys that type nothing reach past a text field.
		if m.Key().Text == "" || name == "enter" {
			if cmd, ok := r.act(name); ok {
				return cmd
			}
		}
		if a, ok := r.global(name); ok && m.Key().Text == "" && a.Disabled == "" {
			return a.Run()
		}
		return v.Update(m)
	}
	if cmd, ok := r.act(name); ok {
		return cmd
	}
	if a, ok := r.global(name); ok {
		if a.Disabled != "" {
			return views.Notice(views.NoticeWarn, a.Disabled)
		}
		return a.Run()
	}
	return v.Update(m)
}

// act runs the screen's action on a key, or says why it cannot.
func (r *root) act(name string) (tea.Cmd, bool) {
	for _, a := range r.actions() {
		for _, k := range a.Keys {
			if k != name {
				continue
			}
			if a.Disabled != "" {
				return views.Notice(views.NoticeWarn, a.Help+": "+a.Disabled), true
			}
			return a.Run(), true
		}
	}
	return nil, false
}

// actions are the screen's actions, those that change something taken away in
// read-only mode.
func (r *root) actions() []views.Action {
	actions := r.view().Actions()
	if r.e.ReadOnly {
		for i := range actions {
			if actions[i].Dangerous {
				actions[i].Disabled, actions[i].Run = r.e.S.WhyReadOnly, nil
			}
		}
	}
	return actions
}

func (r *root) confirmKey(m tea.KeyPressMsg) tea.Cmd {
	c := r.confirm
	switch c.Update(r.e.Now(), m) {
	case widget.Confirmed:
		r.confirm = nil
		return c.then()
	case widget.Refused:
		r.confirm = nil
	}
	return nil
}

func (r *root) promptKey(m tea.Msg) tea.Cmd {
	p := r.prompt
	switch p.Update(m) {
	case widget.Confirmed:
		r.prompt = nil
		return p.then(p.Value())
	case widget.Refused:
		r.prompt = nil
	}
	return nil
}

func (r *root) paste(m tea.PasteMsg) tea.Cmd {
	switch {
	case r.secret != nil && !r.tooSmall():
		return r.secretKey(m)
	case r.prompt != nil && r.confirm == nil && !r.tooSmall():
		return r.promptKey(m)
	case r.tooSmall() || r.choose != nil || r.message != nil || r.help != nil:
		return nil
	case r.confirm != nil:
		r.confirm.Update(r.e.Now(), m)
		return nil
	case r.palette != nil:
		r.palette.input.Update(m)
		return nil
	case r.filter != nil:
		if r.filter.Update(m) {
			r.applyFilter()
		}
		return nil
	case r.view().CapturesText():
		return r.view().Update(m)
	}
	return nil
}

// back closes what is open, clears the filter, or goes one screen back. It
// never quits.
func (r *root) back() tea.Cmd {
	v := r.view()
	if f, ok := v.(views.Filterable); ok && f.FilterText() != "" {
		f.SetFilter("")
		return nil
	}
	if v.Back() {
		return v.Enter()
	}
	if len(r.stack) > 1 {
		r.stack = r.stack[:len(r.stack)-1]
		return r.view().Enter()
	}
	if r.screen() != views.ScreenBoard {
		r.stack = []views.Screen{views.ScreenBoard}
		return r.view().Enter()
	}
	return nil
}

// quitOrBack is q: back at depth, quit at home.
func (r *root) quitOrBack() tea.Cmd {
	if len(r.stack) > 1 || r.screen() != views.ScreenBoard {
		return r.back()
	}
	return r.quit()
}

// quit leaves, asking first while a job runs.
func (r *root) quit() tea.Cmd {
	if !r.jobs.running() {
		return tea.Quit
	}
	e := r.e
	r.confirm = &openConfirm{widget.Confirm{Title: e.S.QuitTitle, Verb: e.S.HelpQuit, Lines: []string{e.St.Text.Render(fmt.Sprintf(e.S.QuitWhat, r.jobs.title()))}}, r.stopAndQuit}
	r.confirm.Open(e.Now())
	return nil
}

// stopAndQuit cancels the jobs and waits a little for them to end.
func (r *root) stopAndQuit() tea.Cmd {
	r.quitting = true
	r.jobs.cancel()
	return tea.Batch(views.Notice(views.NoticeWarn, r.e.S.Stopping), tea.Tick(5*time.Second, func(time.Time) tea.Msg { return forceQuit{} }))
}

// interrupt is ctrl+c: it cancels a running job after asking, and quits
// otherwise. A second one forces.
func (r *root) interrupt() tea.Cmd {
	switch {
	case r.quitting || r.jobs.cancelling:
		return tea.Quit
	case r.jobs.running():
		if r.confirm != nil {
			// Twice in a row: they mean it.
			r.confirm = nil
			return r.stopAndQuit()
		}
		return r.askCancel()
	}
	return tea.Quit
}

// askCancel asks before a job is cancelled; going on is chosen beforehand.
func (r *root) askCancel() tea.Cmd {
	if !r.jobs.running() {
		return nil
	}
	e := r.e
	r.confirm = &openConfirm{widget.Confirm{Title: e.S.StopTitle, Verb: e.S.StopVerb, Lines: []string{e.St.Text.Render(fmt.Sprintf(e.S.StopWhat, r.jobs.title()))}}, func() tea.Cmd {
		r.jobs.cancel()
		return views.Notice(views.NoticeWarn, e.S.Stopping)
	}}
	r.confirm.Open(e.Now())
	return nil
}

func (r *root) startJob(m views.JobMsg) tea.Cmd {
	cmd := r.jobs.start(r.e.Ctx, m)
	r.e.Busy = r.jobs.title()
	return cmd
}

func (r *root) endJob(m views.JobDoneMsg) tea.Cmd {
	r.jobs.end(m.JobID)
	r.e.Busy = r.jobs.title()
	if r.confirm != nil && !r.jobs.running() && (r.confirm.Title == r.e.S.StopTitle || r.confirm.Title == r.e.S.QuitTitle) {
		r.confirm = nil // there is nothing left to cancel
	}
	cmd := r.screens[m.Owner].Update(m)
	if r.quitting && !r.jobs.running() {
		return tea.Batch(cmd, tea.Quit)
	}
	return cmd
}

func (r *root) openFilter() tea.Cmd {
	f, ok := r.view().(views.Filterable)
	if !ok {
		return nil
	}
	in := widget.NewInput("", 200)
	in.Set(f.FilterText())
	r.filter = &in
	return nil
}

func (r *root) closeFilter() { r.filter = nil }

func (r *root) applyFilter() {
	if f, ok := r.view().(views.Filterable); ok && r.filter != nil {
		f.SetFilter(r.filter.Value())
	}
}

func (r *root) filterKey(m tea.KeyPressMsg) tea.Cmd {
	switch m.String() {
	case "esc":
		r.filter.Set("")
		r.applyFilter()
		r.closeFilter()
	case "enter":
		r.closeFilter()
		if s, ok := r.view().(views.Searcher); ok {
			if cmd := s.Search(); cmd != nil {
				return cmd
			}
		}
		if f, ok := r.view().(views.Filterable); ok {
			if shown, _ := f.Counts(); shown <= 1 {
				cmd, _ := r.act("enter") // one hit, or none: open it or look it up
				return cmd
			}
		}
	case "up", "down", "pgup", "pgdown":
		return r.view().Update(m)
	default:
		if r.filter.Update(m) {
			r.applyFilter()
		}
	}
	return nil
}

func (r *root) click(m tea.MouseClickMsg) tea.Cmd {
	if r.covered() || r.tooSmall() || m.Button != tea.MouseLeft {
		return nil
	}
	if m.Y == 1 {
		for _, t := range r.tabs(r.w) {
			if m.X >= t.from && m.X < t.to {
				return views.Go(t.screen, "")
			}
		}
		return nil
	}
	if m.Y >= bodyTop && m.Y < r.h-2 {
		m.Y -= bodyTop
		return r.view().Update(m)
	}
	return nil
}

func (r *root) tooSmall() bool { return r.w < minWidth || r.h < minHeight }

// View draws everything.
func (r *root) View() (v tea.View) {
	defer func() {
		if p := recover(); p != nil {
			// Drawing cannot end the program by itself: the next message does.
			if r.crash == nil {
				r.crashed(p)
			}
			v = tea.NewView("")
			v.AltScreen = true
		}
	}()
	v = tea.NewView(r.draw())
	v.AltScreen = true
	if !r.noMouse {
		v.MouseMode = tea.MouseModeCellMotion
	}
	v.WindowTitle = r.title()
	v.ProgressBar, v.ProgramStatus = r.outside()
	return v
}

// title is the terminal's window title.
func (r *root) title() string {
	parts := []string{"capstan"}
	if app := text.Clean(r.e.Facts.AppID); app != "" {
		parts = append(parts, app)
	}
	parts = append(parts, text.Clean(r.view().Title()))
	if t := r.jobs.title(); t != "" {
		parts = append([]string{text.Clean(t)}, parts...)
	}
	return widget.Cut(strings.Join(parts, " · "), 100)
}

// outside is what terminals show beside the screen: a progress bar in the tab,
// and whether the program works or waits.
func (r *root) outside() (*tea.ProgressBar, *tea.ProgramStatus) {
	if !r.jobs.running() {
		return nil, nil
	}
	share := r.jobs.share()
	if share < 0 {
		return tea.NewProgressBar(tea.ProgressBarIndeterminate, 0), nil
	}
	return tea.NewProgressBar(tea.ProgressBarDefault, int(share*100)), nil
}
