package ui

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"

	"capstan/core/failure"
	"capstan/ui/text"
	"capstan/ui/theme"
	"capstan/ui/views"
)

// Options say what the console opens on.
type Options struct {
	Services views.Services
	Facts    views.Facts
	// Start is the first screen; empty means the board.
	Start views.Screen
	// StartArg says which one: a channel's name, a device's id.
	StartArg string
	// Demo marks the sandbox, and lets the first screen lead a newcomer.
	Demo     bool
	ReadOnly bool
	// Accessible asks for numbered questions, line by line, instead of the screen.
	Accessible bool
	NoColor    bool
	NoMouse    bool
	Lang       string     // en or es; anything else is en
	Theme      theme.Name // empty is Auto

	// Passphrases brings questions for passphrases to the screen; nil when no
	// key of the services needs one.
	Passphrases *Passphrases

	// SwitchProfile, if not nil, is told which profile the operator chose before
	// Run returns; the caller then opens the console on that one.
	SwitchProfile func(name string)

	// OnCrash is told of a panic before the console ends in order; it may
	// write a crash file. It may be called from any goroutine.
	OnCrash func(value any, stack []byte)

	// For tests: streams in place of the terminal, its size, and the clock.
	Input         io.Reader
	Output        io.Writer
	Width, Height int
	Environment   []string
	Profile       *colorprofile.Profile
	Now           func() time.Time
}

// framesPerSecond bounds how often the screen is drawn. The first frame waits
// for the first beat, so it is short; nothing is written while nothing changes.
const framesPerSecond = 120

// jobGrace is how long jobs may take to stop when the console ends.
const jobGrace = 5 * time.Second

// Run opens the console and returns when it is closed. The terminal is
// restored whatever the end is: q, ctrl+c, the end of ctx or a panic. The
// caller's ctx should end on SIGINT, SIGTERM and SIGHUP: Run handles no signals.
// It returns nil after an ordinary end, the cause of ctx when that ended it, and
// a failure of class Crash after a panic.
func Run(ctx context.Context, o Options) error {
	if o.Accessible {
		return runLines(ctx, o)
	}
	// Bubble Tea would write every byte it draws into the file that this names.
	_ = os.Unsetenv("TEA_TRACE")
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := newRoot(o.env(ctx), o.start(), o.StartArg)
	r.plain, r.noMouse = o.NoColor, o.NoMouse
	r.onCrash, r.jobs.onCrash = o.OnCrash, o.OnCrash
	r.passphrases = o.Passphrases
	r.restyle()

	options := []tea.ProgramOption{tea.WithContext(ctx), tea.WithoutSignalHandler(), tea.WithFPS(framesPerSecond)}
	if o.Input != nil {
		options = append(options, tea.WithInput(o.Input))
	}
	if o.Output != nil {
		options = append(options, tea.WithOutput(o.Output))
	}
	if o.Width > 0 && o.Height > 0 {
		options = append(options, tea.WithWindowSize(o.Width, o.Height))
	}
	if o.Environment != nil {
		options = append(options, tea.WithEnvironment(o.Environment))
	}
	if o.Profile != nil {
		options = append(options, tea.WithColorProfile(*o.Profile))
	}
	_, err := tea.NewProgram(r, options...).Run()
	cause := context.Cause(ctx)
	cancel()
	r.jobs.finish(jobGrace)
	switch {
	case r.crash != nil:
		return r.crash
	case cause != nil:
		return cause
	case errors.Is(err, tea.ErrProgramPanic):
		return failure.Wrap(err, failure.Crash, "crash", "console", "")
	case errors.Is(err, tea.ErrInterrupted):
		return context.Canceled
	}
	if r.nextProfile != "" {
		o.SwitchProfile(r.nextProfile)
	}
	return err
}

// env makes what the views share.
func (o *Options) env(ctx context.Context) *views.Env {
	lang := o.Lang
	if lang != "es" {
		lang = "en"
	}
	words := *text.Of(lang) // a copy, so that switching the language changes it for everybody
	now := o.Now
	if now == nil {
		now = time.Now
	}
	name := o.Theme
	if name == "" {
		name = theme.Auto
	}
	o.Facts.CanSwitch = o.SwitchProfile != nil
	return &views.Env{Ctx: ctx, Services: o.Services, Facts: o.Facts, S: &words, St: theme.New(name, true), Now: now, ReadOnly: o.ReadOnly, Demo: o.Demo, Theme: name, Lang: lang}
}

func (o *Options) start() views.Screen {
	if o.Start == "" {
		return views.ScreenBoard
	}
	return o.Start
}
