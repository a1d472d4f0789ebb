package views

import (
	"context"
	"errors"
	"time"

	tea "charm.land/bubbletea/v2"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/core/release"
	"capstan/ui/text"
	"capstan/ui/theme"
	"capstan/ui/widget"
)

// Screen names a view; the palette and the tabs use it.
type Screen string

// The screens. Those of Tabs have a number key.
const (
	ScreenBoard    Screen = "board"
	ScreenRelease  Screen = "release"
	ScreenBundles  Screen = "bundles"
	ScreenDevices  Screen = "devices"
	ScreenFleet    Screen = "fleet"
	ScreenActivity Screen = "activity"
	ScreenKeys     Screen = "keys"
	ScreenServer   Screen = "server"
	ScreenSettings Screen = "settings"
	ScreenSetup    Screen = "setup"
	ScreenChannel  Screen = "channel"
)

// Tabs lists the screens that have a number key, in order.
func Tabs() []Screen {
	return []Screen{ScreenBoard, ScreenRelease, ScreenBundles, ScreenDevices, ScreenFleet, ScreenActivity, ScreenKeys, ScreenServer, ScreenSettings}
}

// Facts are what the console knows about where it was started.
type Facts struct {
	AppID          string
	AppName        string
	WebDir         string // absolute build folder, "" when unknown
	Root           string // project folder, "" outside a project
	Channel        string // the channel that releases go to unless another is named
	PluginVersion  string
	NativeVersion  string
	Production     string // name of the channel that users are on; typed to confirm. "" means Channel
	ServerURL      string
	Zone           string // name of this machine's time zone, "" when unknown
	CanSwitch      bool   // the console can be opened anew on another profile
	ConfigHasKey   bool   // plugins.CapacitorUpdater.publicKey is set
	DefaultVersion string
}

// Env is what every view shares. The root model owns it; views read it.
type Env struct {
	// Ctx ends when the console does.
	Ctx      context.Context
	Services Services
	Facts    Facts
	S        *text.Strings
	St       *theme.Styles
	Now      func() time.Time
	ReadOnly bool
	Demo     bool
	// Step counts animation frames, about ten a second, while something moves.
	Step int
	// Theme and Lang as the operator chose them.
	Theme theme.Name
	Lang  string
	// Busy is the running job's title, "" when none runs.
	Busy string
	// Data is what several screens show, read once for all of them.
	Data Data
	// Loads counts reads and changes under way; something moves while it is above zero.
	Loads int
	// Offline is why the last read failed, while what is shown is older than
	// that; nil when the last read worked. Since is when what is shown was read.
	Offline error
	Since   time.Time
	// lastBackup is the file that a backup went to in this console.
	lastBackup string
	// Undo is the inverse of the last pointer move made in this console.
	Undo *Undo
}

// IsProduction reports whether a channel reaches all users, so that changing it
// asks for its name.
func (e *Env) IsProduction(c capgo.Channel) bool {
	switch {
	case c.Name == e.Facts.Production && c.Name != "":
		return true
	case c.Name == "production" || c.Name == "prod":
		return true
	}
	return c.Public
}

// View is one screen. Methods are called from the program's loop only.
type View interface {
	// Title is the last crumb.
	Title() string
	// Enter is called each time the screen comes into sight.
	Enter() tea.Cmd
	// Update takes every message but keys that are an action's.
	Update(msg tea.Msg) tea.Cmd
	// Render draws the body into w×h cells.
	Render(w, h int) string
	// Actions lists what the screen can do now, for keys, help and palette.
	Actions() []Action
	// CapturesText is true while a text field has the keys.
	CapturesText() bool
	// Back handles esc and q inside the screen and reports whether it did.
	Back() bool
}

// Filterable is a view with a list that / filters.
type Filterable interface {
	SetFilter(s string)
	FilterText() string
	Counts() (shown, all int)
}

// Searcher is a Filterable whose list may be longer than what is here: Search
// takes the filter to where the rest is, and is nil when there is no need.
type Searcher interface {
	Search() tea.Cmd
}

// Action is one thing that a key does. Actions that cannot run now stay
// visible, dimmed, with their reason.
type Action struct {
	// ID is the palette's word for it, stable and in English.
	ID   string
	Keys []string
	// Help is one or two words for the help line; Long is a sentence for ? and the palette.
	Help, Long string
	// Disabled is the reason why it cannot run now; "" when it can.
	Disabled string
	// Dangerous actions change something that others see; read-only mode takes them away.
	Dangerous bool
	// Primary actions come first in the help line.
	Primary bool
	// Hidden actions work and stand in ?, but not in the help line.
	Hidden bool
	Run    func() tea.Cmd
}

// GoMsg asks the root to show a screen.
type GoMsg struct {
	To Screen
	// Arg says which one: a channel's name, a device's id, a bundle's name.
	Arg string
}

// Go asks for another screen.
func Go(to Screen, arg string) tea.Cmd { return func() tea.Msg { return GoMsg{to, arg} } }

// NoticeKind is how a line in the status bar is meant.
type NoticeKind int

// The kinds. An error stays until the next key; the others for six seconds.
const (
	NoticeInfo NoticeKind = iota
	NoticeOK
	NoticeWarn
	NoticeError
)

// NoticeMsg puts a line into the status bar.
type NoticeMsg struct {
	Kind       NoticeKind
	Text, Hint string
	// Code is of the failure that Text and Hint tell in English, "" when they are
	// in the console's language already.
	Code string
}

// Notice puts a line into the status bar.
func Notice(kind NoticeKind, line string) tea.Cmd {
	return func() tea.Msg { return NoticeMsg{Kind: kind, Text: text.Clean(line)} }
}

// NoticeErr puts an error and its hint into the status bar.
func NoticeErr(err error) tea.Cmd {
	line := err.Error()
	if f, ok := failure.Find(err); ok {
		line = f.Err.Error() // what was attempted is what the operator has just done
	}
	return func() tea.Msg {
		return NoticeMsg{NoticeError, text.Clean(line), text.Clean(failure.HintOf(err)), failure.CodeOf(err)}
	}
}

// ConfirmMsg opens a dialog; Then runs when it is confirmed.
type ConfirmMsg struct {
	Dialog widget.Confirm
	Then   func() tea.Cmd
}

// Ask opens a dialog.
func Ask(d widget.Confirm, then func() tea.Cmd) tea.Cmd {
	return func() tea.Msg { return ConfirmMsg{d, then} }
}

// PromptMsg opens a dialog with a line of text; Then gets it.
type PromptMsg struct {
	Dialog widget.Prompt
	Then   func(value string) tea.Cmd
}

// Prompt asks for a line of text.
func Prompt(d widget.Prompt, then func(value string) tea.Cmd) tea.Cmd {
	return func() tea.Msg { return PromptMsg{d, then} }
}

// SayMsg opens a dialog that only says something.
type SayMsg struct{ Dialog widget.Message }

// Say opens a dialog that only says something. Lines are styled.
func Say(title string, lines ...string) tea.Cmd {
	return func() tea.Msg { return SayMsg{widget.Message{Title: title, Lines: lines}} }
}

// ChooseMsg opens a list to choose from; Then gets the index of the chosen item.
type ChooseMsg struct {
	Choice widget.Choice
	Then   func(chosen int) tea.Cmd
}

// Choose opens a list to choose from.
func Choose(c widget.Choice, then func(chosen int) tea.Cmd) tea.Cmd {
	return func() tea.Msg { return ChooseMsg{c, then} }
}

// DoneMsg is the outcome of a short change of something remote; After runs
// when it worked, and Say is then put into the status bar.
type DoneMsg struct {
	Err   error
	Say   string
	After func() tea.Cmd
}

// Do runs a short change in the background.
func (e *Env) Do(say string, work func(ctx context.Context) error, after func() tea.Cmd) tea.Cmd {
	return e.do(30*time.Second, say, work, after)
}

// askLimit is how long something may take that asks the operator meanwhile.
const askLimit = 15 * time.Minute

// DoAsking is Do for work that may ask for a passphrase.
func (e *Env) DoAsking(say string, work func(ctx context.Context) error, after func() tea.Cmd) tea.Cmd {
	return e.do(askLimit, say, work, after)
}

func (e *Env) do(limit time.Duration, say string, work func(ctx context.Context) error, after func() tea.Cmd) tea.Cmd {
	e.Loads++
	return func() tea.Msg {
		ctx, stop := context.WithTimeout(e.Ctx, limit)
		defer stop()
		return DoneMsg{work(ctx), say, after}
	}
}

// JobMsg starts a job: long work with a context of its own, which goes on when
// its screen is left and can be cancelled from anywhere.
type JobMsg struct {
	// ID is chosen by the view, unique among running jobs; events carry it.
	ID    string
	Owner Screen
	Title string
	Run   func(ctx context.Context, emit func(release.Event)) (any, error)
}

// StartJob starts a job.
func StartJob(j JobMsg) tea.Cmd { return func() tea.Msg { return j } }

// JobEventMsg is one event of a running job, delivered to its owner.
type JobEventMsg struct {
	JobID string
	Owner Screen
	Event release.Event
}

// JobDoneMsg ends a job, delivered to its owner after all its events.
type JobDoneMsg struct {
	JobID string
	Owner Screen
	Value any
	Err   error
}

// CancelJobMsg asks the root to cancel a job.
type CancelJobMsg struct{ JobID string }

// RefreshMsg asks the visible view to read its data again.
type RefreshMsg struct {
	// Auto is set when the clock asks, not the operator.
	Auto bool
}

// CopyMsg puts text on the terminal's clipboard.
type CopyMsg struct{ Text, What string }

// Copy puts value on the clipboard; what names it in the status bar.
func Copy(value, what string) tea.Cmd { return func() tea.Msg { return CopyMsg{value, what} } }

// ThemeMsg and LangMsg change how the console looks and speaks.
type ThemeMsg struct{ Name theme.Name }

// LangMsg changes the language.
type LangMsg struct{ Lang string }

// ProfileMsg opens the console anew on another profile.
type ProfileMsg struct{ Name string }

// LoadedMsg is the outcome of a Load. The root settles it, then hands it to
// every view.
type LoadedMsg struct {
	resource interface{ take(*Env, LoadedMsg) }
	req      int
	value    any
	err      error
}

// Settle stores the outcome in its resource.
func (m LoadedMsg) Settle(e *Env) {
	e.Loads--
	m.resource.take(e, m)
}

// Of reports whether the outcome belongs to resource r.
func (m LoadedMsg) Of(r any) bool { return any(m.resource) == r }

// Resource is data from elsewhere with its age: what was read last, and
// whether a newer read is under way or has failed.
type Resource[T any] struct {
	Value T
	// At is when Value was read; zero when nothing was read yet.
	At  time.Time
	Err error
	// since is when the read under way began; zero when none is.
	since time.Time
	req   int
	stop  context.CancelFunc
	// local is set for reads of this machine, which say nothing about the server.
	local bool
	// limit bounds the read; zero is readLimit.
	limit time.Duration
}

// readLimit is how long a read may take before it counts as failed.
const readLimit = 20 * time.Second

// Load reads the resource again, giving up on a read still under way. The
// outcome is a LoadedMsg.
func (r *Resource[T]) Load(e *Env, read func(ctx context.Context) (T, error)) tea.Cmd {
	if r.stop != nil {
		r.stop()
	}
	limit := r.limit
	if limit == 0 {
		limit = readLimit
	}
	ctx, stop := context.WithTimeout(e.Ctx, limit)
	r.req++
	r.since, r.stop = e.Now(), stop
	req := r.req
	e.Loads++
	return func() tea.Msg {
		defer stop()
		value, err := read(ctx)
		return LoadedMsg{r, req, value, err}
	}
}

// LoadLocal is Load for something on this machine.
func (r *Resource[T]) LoadLocal(e *Env, read func(ctx context.Context) (T, error)) tea.Cmd {
	r.local = true
	return r.Load(e, read)
}

// slowLimit is how long a read may take that downloads bundles.
const slowLimit = 5 * time.Minute

// LoadSlow is Load for what downloads bundles; that it fails says nothing about
// the server either.
func (r *Resource[T]) LoadSlow(e *Env, read func(ctx context.Context) (T, error)) tea.Cmd {
	r.local, r.limit = true, slowLimit
	return r.Load(e, read)
}

// take stores the outcome of a Load. Answers to reads that were given up are dropped.
func (r *Resource[T]) take(e *Env, m LoadedMsg) {
	if m.req != r.req {
		return
	}
	r.since, r.stop = time.Time{}, nil
	if r.Err = m.err; m.err == nil {
		r.Value, _ = m.value.(T)
		r.At = e.Now()
		if !r.local {
			e.Offline = nil
		}
		return
	}
	if r.local {
		return
	}
	f, known := failure.Find(m.err)
	if away := known && f.Class == failure.Unavailable || errors.Is(m.err, context.DeadlineExceeded); away && r.Ready() {
		e.Offline, e.Since = m.err, r.At
	}
}

// Loading reports whether a read is under way.
func (r *Resource[T]) Loading() bool { return !r.since.IsZero() }

// Ready reports whether there is data to show, however old.
func (r *Resource[T]) Ready() bool { return !r.At.IsZero() }

// spinnerAfter is how long a read may take before anything moves on the screen.
const spinnerAfter = 150 * time.Millisecond

// Pending draws what stands in place of data that is not there: nothing at
// first, then a spinner, or the error with its hint. ok is false when there is
// data and the view shall draw it.
func (r *Resource[T]) Pending(e *Env, w, h int) (string, bool) {
	switch {
	case r.Ready():
		return "", false
	case r.Err != nil:
		return ErrorPanel(e, r.Err, w, h), true
	case r.Loading() && e.Now().Sub(r.since) >= spinnerAfter:
		return widget.Fit("\n  "+e.St.Accent.Render(widget.Spinner(e.Step))+" "+e.St.Muted.Render(e.S.Loading), w, h), true
	}
	return widget.Fit("", w, h), true
}

// Failed is an error in the console's language. Words that are not English leave
// out what was attempted: the screen says that.
func Failed(e *Env, err error) string {
	english := err.Error()
	if f, ok := failure.Find(err); ok && e.Lang != "en" {
		english = f.Err.Error()
	}
	return text.Failure(e.Lang, failure.CodeOf(err), english)
}

// Hinted is what to do about an error, in the console's language; "" for nothing.
func Hinted(e *Env, err error) string {
	return text.FailureHint(e.Lang, failure.CodeOf(err), failure.HintOf(err))
}

// ErrorPanel draws what failed, why, what to do, and how to try again.
func ErrorPanel(e *Env, err error, w, h int) string {
	room := max(1, min(w-4, 76))
	lines := []string{"", "  " + e.St.Danger.Render("× "+e.S.ErrorTitle)}
	for _, l := range widget.Wrap(Failed(e, err), room) {
		lines = append(lines, "    "+e.St.Text.Render(l))
	}
	if hint := Hinted(e, err); hint != "" {
		lines = append(lines, "")
		for i, l := range widget.Wrap(hint, room-2) {
			mark := "  "
			if i == 0 {
				mark = e.St.Info.Render("→ ")
			}
			lines = append(lines, "    "+mark+e.St.Text.Render(l))
		}
	}
	lines = append(lines, "", "    "+e.St.Key.Render("r")+" "+e.St.Muted.Render(e.S.TryAgain)+"   "+e.St.Muted.Render(e.S.Code+" "+failure.CodeOf(err)))
	return widget.Fit(join(lines), w, h)
}

// EmptyPanel draws why there is nothing, and what to do about it.
func EmptyPanel(e *Env, title, what string, w, h int) string {
	lines := []string{"", "  " + e.St.Bold.Render(title)}
	for _, l := range widget.Wrap(what, max(1, min(w-4, 72))) {
		lines = append(lines, "  "+e.St.Muted.Render(l))
	}
	return widget.Fit(join(lines), w, h)
}
