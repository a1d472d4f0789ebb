package ui

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
)

// A signal ends line mode while it waits for an answer that nobody gives.
func TestLineModeEndsWithItsContext(t *testing.T) {
	t.Parallel()
	stopped := errors.New("stopped by a signal")
	ctx, stop := context.WithCancelCause(t.Context())
	in, typed := io.Pipe()
	defer typed.Close()
	asked := make(chan struct{})
	var out bytes.Buffer
	o := busyDesk().options()
	o.Accessible, o.Input, o.Output = true, in, writerFunc(func(p []byte) (int, error) {
		if bytes.Contains(p, []byte("number: ")) {
			close(asked)
		}
		return out.Write(p)
	})
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, o) }()
	<-asked
	stop(stopped)
	if err := <-ended; !errors.Is(err, stopped) {
		t.Errorf("ended with %v after\n%s", err, out.String())
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
