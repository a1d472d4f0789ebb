package ui

import (
	"context"
	"fmt"
	"os"

	tea "charm.land/bubbletea/v2"
	"golang.org/x/term"

	"capstan/core/failure"
	"capstan/ui/text"
	"capstan/ui/widget"
)

// leastPassphrase is the shortest passphrase for something new, in bytes; the
// key ring refuses shorter ones too.
const leastPassphrase = 8

// Passphrases carries questions from the goroutine that needs a passphrase to
// the console's dialog, and the answer straight back: it never is part of a
// message or of the model. Ask and AskNew are what a key ring takes.
type Passphrases struct{ questions chan *question }

type question struct {
	ctx    context.Context
	prompt string
	fresh  bool
	answer chan []byte // one answer; closed when there is none
}

// NewPassphrases makes the way for questions; give it to Options.
func NewPassphrases() *Passphrases { return &Passphrases{questions: make(chan *question)} }

// Ask asks for the passphrase of something that exists. The caller clears it.
func (p *Passphrases) Ask(ctx context.Context, prompt string) ([]byte, error) {
	return p.ask(ctx, prompt, false)
}

// AskNew asks twice, for something that is being made. The caller clears it.
func (p *Passphrases) AskNew(ctx context.Context, prompt string) ([]byte, error) {
	return p.ask(ctx, prompt, true)
}

func (p *Passphrases) ask(ctx context.Context, prompt string, fresh bool) ([]byte, error) {
	q := &question{ctx: ctx, prompt: prompt, fresh: fresh, answer: make(chan []byte, 1)}
	select {
	case p.questions <- q:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case typed, ok := <-q.answer:
		if !ok {
			return nil, failure.New(failure.KeyStore, "passphrase_missing", "", "no passphrase was given", "nothing was changed")
		}
		return typed, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// askedMsg brings a question to the program's loop.
type askedMsg struct{ question *question }

// listen waits for the next question.
func (p *Passphrases) listen(ctx context.Context) tea.Cmd {
	if p == nil {
		return nil
	}
	return func() tea.Msg {
		select {
		case q := <-p.questions:
			return askedMsg{q}
		case <-ctx.Done():
			return nil
		}
	}
}

// openSecret is a question on the screen.
type openSecret struct {
	widget.Secret
	question *question
}

func (r *root) asked(q *question) {
	s := r.e.S
	r.secret = &openSecret{question: q, Secret: widget.Secret{Title: s.SecretTitle, Prompt: q.prompt, Twice: q.fresh, Least: leastPassphrase}}
	if q.fresh {
		r.secret.Title = s.SecretNewTitle
	}
}

// secretKey takes a key or a paste for the passphrase.
func (r *root) secretKey(msg tea.Msg) tea.Cmd {
	open := r.secret
	switch open.Update(msg, r.e.S) {
	case widget.Confirmed:
		open.question.answer <- open.Take()
	case widget.Refused:
		close(open.question.answer)
	default:
		return nil
	}
	r.secret = nil
	return r.passphrases.listen(r.e.Ctx)
}

// dropSecret closes a question that nobody waits for any more.
func (r *root) dropSecret() tea.Cmd {
	if r.secret == nil || r.secret.question.ctx.Err() == nil {
		return nil
	}
	r.secret.Clear()
	close(r.secret.question.answer)
	r.secret = nil
	return r.passphrases.listen(r.e.Ctx)
}

// serveLines answers questions in line mode: on the terminal, without echo.
// It may read there because whoever asks has stopped reading answers meanwhile.
func (p *Passphrases) serveLines(ctx context.Context, in *os.File, out func(format string, args ...any), s *text.Strings) {
	for {
		select {
		case <-ctx.Done():
			return
		case q := <-p.questions:
			typed, ok := readHidden(in, out, q, s)
			if ok {
				q.answer <- typed
			}
			close(q.answer)
		}
	}
}

func readHidden(in *os.File, out func(string, ...any), q *question, s *text.Strings) ([]byte, bool) {
	if in == nil || !term.IsTerminal(int(in.Fd())) {
		return nil, false
	}
	for range 3 {
		out("%s (%s)", text.Clean(q.prompt), s.SecretUnseen)
		typed, err := term.ReadPassword(int(in.Fd()))
		switch {
		case err != nil || len(typed) == 0:
			return nil, false
		case !q.fresh:
			return typed, true
		case len(typed) < leastPassphrase:
			clear(typed)
			out("%s", s.SecretShort)
			continue
		}
		out("%s", s.SecretAgain)
		again, err := term.ReadPassword(int(in.Fd()))
		same := err == nil && string(again) == string(typed)
		clear(again)
		if same {
			return typed, true
		}
		clear(typed)
		out("%s", fmt.Sprint(s.SecretDiffers))
	}
	return nil, false
}
