// Package cli holds the headless commands: one file a noun. Each command calls
// the same core functions as the console, prints its result on stdout and
// everything else on stderr, and returns its error; Execute turns the error
// into one line (or one JSON object) and an exit status.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"capstan/core/failure"
)

// Command is what every command shares: its streams and the global flags.
type Command struct {
	In       io.Reader
	Out, Err io.Writer

	JSON    bool   // one object on stdout
	Quiet   bool   // no progress, no notes
	Plain   bool   // no console, lines only
	NoColor bool   // also from NO_COLOR
	Yes     bool   // answers moderate confirmations; never the typed ones
	Confirm string // the typed confirmation, e.g. the channel's name
	Profile string
	Lang    string

	// OpenConsole opens the console; main sets it, so that cli need not import ui.
	OpenConsole func(ctx context.Context, start ConsoleStart) error
	// Terminal says whether stdin and stdout are both terminals.
	Terminal bool
}

// ConsoleStart says what the console opens on.
type ConsoleStart struct {
	Dir      string // project folder
	Profile  string
	Lang     string
	ReadOnly bool
	NoColor  bool
	// Demo is set when the sandbox of capstan demo is behind the console.
	Demo *Sandbox
	// Accessible asks for numbered questions instead of the full screen.
	Accessible bool
}

// Result prints the outcome of a command: the object with --json, else what text writes.
func (c *Command) Result(object any, text func(w io.Writer)) error {
	if !c.JSON {
		text(c.Out)
		return nil
	}
	e := json.NewEncoder(c.Out)
	e.SetEscapeHTML(false)
	return e.Encode(object)
}

// Notef prints a line for people on stderr, unless --quiet or --json.
func (c *Command) Notef(format string, args ...any) {
	if c.Quiet || c.JSON {
		return
	}
	fmt.Fprintf(c.Err, format+"\n", args...)
}

// Confirmed reports whether a moderate change may go on: --yes, or the answer
// y on a terminal. Without either it gives a Usage failure that names the flag.
func (c *Command) Confirmed(question string) error {
	if c.Yes {
		return nil
	}
	if !c.Terminal {
		return failure.New(failure.Usage, "confirmation_missing", "", question, "repeat the command with --yes")
	}
	fmt.Fprintf(c.Err, "%s [y/N] ", question)
	var answer string
	_, _ = fmt.Fscanln(c.In, &answer)
	if a := strings.ToLower(answer); a == "y" || a == "yes" {
		return nil
	}
	return failure.New(failure.Usage, "declined", "", "nothing was changed", "")
}

// ConfirmedByName is for changes that cannot be undone or that reach every
// user: the name must be given with --confirm, or typed on a terminal.
func (c *Command) ConfirmedByName(question, name string) error {
	if c.Confirm == name {
		return nil
	}
	if c.Confirm != "" || !c.Terminal {
		return failure.Newf(failure.Usage, "confirmation_missing", "", "repeat the command with --confirm="+name, "%s", question)
	}
	fmt.Fprintf(c.Err, "%s\ntype %s to go on: ", question, name)
	var answer string
	_, _ = fmt.Fscanln(c.In, &answer)
	if answer == name {
		return nil
	}
	return failure.New(failure.Usage, "declined", "", "nothing was changed", "")
}

// Execute runs the command line and gives the exit status.
func Execute(ctx context.Context, c *Command, args []string) int {
	if err := checkArguments(args); err != nil {
		c.JSON = c.JSON || slices.Contains(args, "--json")
		c.Fail(err)
		return failure.ExitStatus(err)
	}
	root := newRoot(c)
	root.SetArgs(args)
	root.SetIn(c.In)
	root.SetOut(c.Out)
	root.SetErr(c.Err)
	ran, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	if _, known := failure.Find(err); !known && isUsage(err) {
		// The flag and its value say it; how Go reads numbers does not concern anybody.
		if said, _, cut := strings.Cut(err.Error(), ": strconv."); cut {
			err = errors.New(said)
		}
		err = failure.Wrap(err, failure.Usage, "usage", "", usageHint(ran, err))
	}
	c.Fail(err)
	return failure.ExitStatus(err)
}

// usageHint says where to look after a complaint of cobra's about cmd: at the
// command that was probably meant, and at the help of the one that was reached.
func usageHint(cmd *cobra.Command, err error) string {
	what := "its flags"
	if cmd.HasAvailableSubCommands() {
		what = "the commands"
	}
	hint := cmd.CommandPath() + " --help lists " + what
	var word string
	if n, _ := fmt.Sscanf(err.Error(), "unknown command %q", &word); n == 1 {
		cmd.SuggestionsMinimumDistance = 2
		if near := cmd.SuggestionsFor(word); len(near) > 0 {
			return "did you mean " + cmd.CommandPath() + " " + near[0] + "? " + hint
		}
	}
	return hint
}

// checkArguments refuses a private key among the arguments before anything
// could repeat it, keep it in a journal or send it somewhere. The Capgo CLI's
// --key-data alone may carry one.
func checkArguments(args []string) error {
	for i, arg := range args {
		if !failure.HoldsSecret(arg) || strings.HasPrefix(arg, "--key-data=") || i > 0 && args[i-1] == "--key-data" {
			continue
		}
		return failure.New(failure.Usage, "secret_in_arguments", "", "an argument is the text of a private key",
			"name the file that holds it, or set CAPSTAN_PRIVATE_KEY; whoever lists processes sees the arguments, so treat this key as seen")
	}
	return nil
}

// isUsage tells cobra's own complaints about arguments from a command's error.
func isUsage(err error) bool {
	text := err.Error()
	for _, start := range []string{"unknown command", "unknown flag", "unknown shorthand", "bad flag syntax", "flag needs an argument", "invalid argument", "accepts ", "requires ", "required flag", "if any flags in the group"} {
		if strings.HasPrefix(text, start) {
			return true
		}
	}
	return false
}

// Fail prints an error: one line and its hint, or one JSON object, on stderr.
func (c *Command) Fail(err error) {
	message, hint := oneLine(err.Error()), oneLine(failure.HintOf(err))
	if errors.Is(err, context.Canceled) {
		message, hint = "cancelled", ""
	}
	if c.JSON {
		type body struct {
			Code    string `json:"code"`
			Message string `json:"message"`
			Hint    string `json:"hint,omitempty"`
		}
		e := json.NewEncoder(c.Err)
		e.SetEscapeHTML(false)
		_ = e.Encode(map[string]body{"error": {failure.CodeOf(err), message, hint}})
		return
	}
	fmt.Fprintf(c.Err, "capstan: %s\n", message)
	if hint != "" {
		fmt.Fprintf(c.Err, "hint: %s\n", hint)
	}
}

// OneLine is what every command does to text from outside before it is printed.
func OneLine(s string) string { return oneLine(s) }

// oneLine makes text from outside safe to print: private keys are left out,
// line breaks become spaces, other control characters vanish.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t', r == '\r':
			return ' '
		case r < 0x20, r >= 0x7f && r < 0xa0, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
			return -1
		}
		return r
	}, strings.TrimSpace(failure.Redact(s)))
}

// newRoot assembles the tree; each noun's file adds its own command in
// registrations, so that a file can be read alone.
func newRoot(c *Command) *cobra.Command {
	root := &cobra.Command{
		Use:           "capstan",
		Short:         "Release console for self-hosted live updates of Capacitor apps",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
	}
	start := ConsoleStart{}
	root.RunE = func(cmd *cobra.Command, _ []string) error {
		if !c.Terminal && !start.Accessible || c.Plain || c.JSON { // questions and answers can come through a pipe
			return failure.New(failure.Usage, "no_terminal", "open the console", "the console needs a terminal",
				"capstan --help lists the commands for scripts")
		}
		start.Profile, start.Lang, start.NoColor = c.Profile, c.Lang, c.NoColor
		return c.OpenConsole(cmd.Context(), start)
	}
	root.Flags().StringVar(&start.Dir, "project", ".", "folder of the Capacitor project")
	root.Flags().BoolVar(&start.ReadOnly, "read-only", false, "look, change nothing")
	root.Flags().BoolVar(&start.Accessible, "accessible", false, "numbered questions instead of the full screen")
	f := root.PersistentFlags()
	f.BoolVar(&c.JSON, "json", false, "print one JSON object on stdout")
	f.BoolVarP(&c.Quiet, "quiet", "q", false, "print the result only")
	f.BoolVar(&c.Plain, "plain", false, "lines instead of the console")
	f.BoolVar(&c.NoColor, "no-color", os.Getenv("NO_COLOR") != "", "no colours")
	f.BoolVarP(&c.Yes, "yes", "y", false, "do not ask before ordinary changes")
	f.StringVar(&c.Confirm, "confirm", "", "the name that a dangerous change asks to be typed")
	f.StringVar(&c.Profile, "profile", os.Getenv("CAPSTAN_PROFILE"), "profile of capstan.toml to use")
	f.StringVar(&c.Lang, "lang", "", "en or es; default from the environment")
	for _, register := range registrations {
		root.AddCommand(register(c))
	}
	return root
}

// registrations are the constructors of the top-level commands; a noun's file
// appends to it in an init function.
var registrations []func(*Command) *cobra.Command
