// Command capstan is a terminal release console for self-hosted live updates of
// Capacitor apps. This file only wires: signals, streams, and whether the
// console or a headless command runs.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"golang.org/x/term"

	"capstan/cli"
	"capstan/core/failure"
)

func main() {
	os.Exit(run())
}

func run() (status int) {
	// Bubble Tea would append every byte it draws to the file that this names.
	_ = os.Unsetenv("TEA_TRACE")
	defer func() {
		if cause := recover(); cause != nil {
			fmt.Fprintf(os.Stderr, "capstan: internal error: %s\nhint: please report it with the output of CAPSTAN_DEBUG=1\n", cli.OneLine(fmt.Sprint(cause)))
			if os.Getenv("CAPSTAN_DEBUG") == "1" {
				fmt.Fprintf(os.Stderr, "%s", debug.Stack())
			}
			status = int(failure.Crash)
		}
	}()
	collect := collectLater(commandSpan)
	ctx, stop := withSignals(context.Background())
	defer stop()
	command := &cli.Command{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr,
		Terminal: term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stdout.Fd())),
		OpenConsole: func(ctx context.Context, start cli.ConsoleStart) error {
			collect.Reset(consoleSpan)
			return openConsole(ctx, start)
		},
	}
	status = cli.Execute(ctx, command, os.Args[1:])
	var sig *signalled
	if status != 0 && errors.As(context.Cause(ctx), &sig) {
		return 128 + int(sig.number)
	}
	return status
}

// signalled is the cause of a context that a signal ended.
type signalled struct{ number syscall.Signal }

func (s *signalled) Error() string { return "stopped by signal " + s.number.String() }

// withSignals ends the context on the first INT, TERM or HUP, with the signal
// as its cause; a second one kills the process at once.
func withSignals(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	arrived := make(chan os.Signal, 2)
	signal.Notify(arrived, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		number, _ := (<-arrived).(syscall.Signal)
		cancel(&signalled{number})
		number, _ = (<-arrived).(syscall.Signal)
		os.Exit(128 + int(number))
	}()
	return ctx, func() { signal.Stop(arrived); cancel(context.Canceled) }
}
