// Package tuitest drives the console without a terminal: the program runs
// inside testing/synctest on a fake clock, draws into a terminal emulator, and
// is typed at through a pipe. What the emulator shows is compared with golden
// screens and written as pictures.
package tuitest

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/charmbracelet/x/vt"
)

// Terminal is an emulated terminal with a program in it. One made by Start must
// be used inside synctest.Test; one made by StartLive lives on the real clock.
type Terminal struct {
	live bool
	t    testing.TB
	emu  *vt.Emulator
	mu   sync.Mutex
	raw  bytes.Buffer
	keys *io.PipeWriter
	done chan error
	over bool
	err  error
}

// Start runs a program in a terminal of w×h cells. run gets the program's
// input and output and returns when the program ends, at the latest when
// t.Context() does. dark says what the
// terminal answers when it is asked for its background.
func Start(t testing.TB, w, h int, dark bool, run func(in io.Reader, out io.Writer) error) *Terminal {
	t.Helper()
	return start(t, false, w, h, dark, run)
}

// StartLive is Start on the real clock, for programs that talk to real servers:
// wait for what the screen shall show with Until, never for a time.
func StartLive(t testing.TB, w, h int, dark bool, run func(in io.Reader, out io.Writer) error) *Terminal {
	t.Helper()
	return start(t, true, w, h, dark, run)
}

func start(t testing.TB, live bool, w, h int, dark bool, run func(in io.Reader, out io.Writer) error) *Terminal {
	t.Helper()
	in, keys := io.Pipe()
	term := &Terminal{live: live, t: t, emu: vt.NewEmulator(w, h), keys: keys, done: make(chan error, 1)}
	// The emulator answers queries on its own; the answers are drained, and
	// those that matter are written by hand.
	go func() { _, _ = io.Copy(io.Discard, term.emu) }()
	go func() {
		err := run(in, term)
		_ = in.Close() // keys after the end fail instead of waiting for a reader
		term.done <- err
	}()
	// A failed test leaves the program running: its context, made from
	// t.Context, has ended by now, and the bubble must be left empty.
	t.Cleanup(func() {
		if !term.over {
			term.err = <-term.done
			term.close()
		}
	})
	term.idle()
	background := "\x1b]11;rgb:fafa/fafa/fafa\x1b\\"
	if dark {
		background = "\x1b]11;rgb:1e1e/1e1e/2e2e\x1b\\"
	}
	_, _ = io.WriteString(keys, background) // a program that has ended already needs no answer
	term.Wait(term.settle())
	return term
}

// idle waits until the program has nothing to do, where the clock can tell.
func (t *Terminal) idle() {
	if !t.live {
		synctest.Wait()
	}
}

// Write takes what the program draws. Without a TTY the renderer ends lines
// with a bare line feed, which a terminal would show as a staircase.
func (t *Terminal) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.raw.Write(p)
	if _, err := t.emu.Write(bytes.ReplaceAll(p, []byte("\n"), []byte("\r\n"))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// settle is the pause after each key: longer than the time in which a lone
// escape may still become the start of a sequence.
func (t *Terminal) settle() time.Duration {
	if t.live {
		return 60 * time.Millisecond
	}
	return 200 * time.Millisecond
}

// Send writes raw bytes to the program's input and lets it settle.
func (t *Terminal) Send(s string) {
	t.t.Helper()
	if _, err := io.WriteString(t.keys, s); err != nil {
		t.t.Fatalf("the program does not read keys any more: %v", err)
	}
	t.Wait(t.settle())
}

// names are the bytes that terminals send for keys with a name.
var names = map[string]string{
	"enter": "\r", "esc": "\x1b", "tab": "\t", "shift+tab": "\x1b[Z", "backspace": "\x7f", "space": " ",
	"up": "\x1b[A", "down": "\x1b[B", "right": "\x1b[C", "left": "\x1b[D", "home": "\x1b[H", "end": "\x1b[F",
	"pgup": "\x1b[5~", "pgdown": "\x1b[6~", "ctrl+c": "\x03", "ctrl+u": "\x15", "ctrl+d": "\x04", "ctrl+r": "\x12",
}

// Press presses keys one after the other, with a pause between them: names as
// Bubble Tea writes them, or single characters.
func (t *Terminal) Press(keys ...string) {
	t.t.Helper()
	for _, k := range keys {
		if code, ok := names[k]; ok {
			k = code
		}
		t.Send(k)
	}
}

// Type types text character by character.
func (t *Terminal) Type(s string) {
	t.t.Helper()
	for _, r := range s {
		t.Send(string(r))
	}
}

// Paste pastes text as terminals do, in brackets.
func (t *Terminal) Paste(s string) {
	t.t.Helper()
	t.Send("\x1b[200~" + s + "\x1b[201~")
}

// Resize tells the program a new size, as terminals with in-band resize do.
func (t *Terminal) Resize(w, h int) {
	t.t.Helper()
	t.mu.Lock()
	t.emu.Resize(max(1, w), max(1, h))
	t.mu.Unlock()
	t.Send("\x1b[48;" + itoa(h) + ";" + itoa(w) + ";0;0t")
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + string(rune('0'+n%10))
}

// Wait lets the clock advance and the program settle.
func (t *Terminal) Wait(d time.Duration) {
	time.Sleep(d)
	t.idle()
}

// Screen is the text on the screen, trailing blanks trimmed.
func (t *Terminal) Screen() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := strings.Split(t.emu.String(), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(l, " \r")
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n") + "\n"
}

// Raw is every byte the program has written so far.
func (t *Terminal) Raw() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.raw.String()
}

// AltScreen reports whether the alternate screen is shown.
func (t *Terminal) AltScreen() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.emu.IsAltScreen()
}

// SVG draws the screen as a picture.
func (t *Terminal) SVG(page Page) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return SVG(t.emu, page)
}

// Has fails the test unless the screen holds every text.
func (t *Terminal) Has(texts ...string) {
	t.t.Helper()
	screen := t.Screen()
	for _, want := range texts {
		if !strings.Contains(screen, want) {
			t.t.Fatalf("the screen has no %q:\n%s", want, screen)
		}
	}
}

// HasNot fails the test if the screen holds one of the texts.
func (t *Terminal) HasNot(texts ...string) {
	t.t.Helper()
	screen := t.Screen()
	for _, bad := range texts {
		if strings.Contains(screen, bad) {
			t.t.Fatalf("the screen has %q:\n%s", bad, screen)
		}
	}
}

// Until waits until the screen holds text, at most limit.
func (t *Terminal) Until(text string, limit time.Duration) {
	t.t.Helper()
	for waited := time.Duration(0); waited < limit; waited += 50 * time.Millisecond {
		if strings.Contains(t.Screen(), text) {
			return
		}
		t.Wait(50 * time.Millisecond)
	}
	t.t.Fatalf("no %q within %v:\n%s", text, limit, t.Screen())
}

// End waits until the program has ended by itself and gives its error.
func (t *Terminal) End() error {
	t.t.Helper()
	if !t.over {
		t.err = <-t.done
		t.close()
	}
	return t.err
}

// Running reports whether the program has not ended yet.
func (t *Terminal) Running() bool {
	if t.over {
		return false
	}
	select {
	case t.err = <-t.done:
		t.close()
		return false
	default:
		return true
	}
}

// close lets what is still under way on the fake clock end: a timer left over
// would end the bubble with a panic.
func (t *Terminal) close() {
	t.over = true
	_ = t.keys.Close()
	if !t.live {
		time.Sleep(time.Minute)
	}
	_ = t.emu.Close()
}
