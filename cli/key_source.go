package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"capstan/core/failure"
	"capstan/core/keys"
)

// keySource says where passphrases and keys from outside come from. None of it
// is a secret: passphrases are in a file, behind a descriptor or typed, never
// in the arguments.
type keySource struct {
	passphraseFile string
	passphraseFD   int
	keyCommand     string
	token          keys.TokenKey
}

func (s *keySource) add(cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	f.StringVar(&s.passphraseFile, "passphrase-file", os.Getenv("CAPSTAN_PASSPHRASE_FILE"), "file whose first line is the passphrase")
	f.IntVar(&s.passphraseFD, "passphrase-fd", -1, "open file descriptor to read the passphrase from")
	f.StringVar(&s.token.Module, "pkcs11-module", os.Getenv("CAPSTAN_PKCS11_MODULE"), "with --store pkcs11: the token's library")
	f.StringVar(&s.token.Token, "pkcs11-token", os.Getenv("CAPSTAN_PKCS11_TOKEN"), "with --store pkcs11: the token's label")
	f.StringVar(&s.token.Key, "pkcs11-key", envOr("CAPSTAN_PKCS11_KEY", "capstan"), "with --store pkcs11: the key's label on it")
	f.StringVar(&s.keyCommand, "key-command", os.Getenv("CAPSTAN_KEY_COMMAND"), "command that prints the private key, e.g. 'op read op://vault/key/pem'")
}

// environmentKeySource is for commands without those flags.
func environmentKeySource() *keySource {
	return &keySource{passphraseFile: os.Getenv("CAPSTAN_PASSPHRASE_FILE"), passphraseFD: -1, keyCommand: os.Getenv("CAPSTAN_KEY_COMMAND")}
}

// testOnlyWorkFactor makes passphrase files cheap; zero is scrypt's ordinary cost.
var testOnlyWorkFactor int

// ringOptions are how a command's key ring asks and looks.
func (c *Command) ringOptions(s *keySource) (keys.Options, error) {
	o := keys.Options{
		Environment: keys.TakeEnvironment(),
		WorkFactor:  testOnlyWorkFactor,
		Waiting:     func(message string) { c.Notef("%s…", message) },
	}
	if s.keyCommand != "" {
		words, err := keys.SplitCommand(s.keyCommand)
		if err != nil {
			return o, err
		}
		o.KeyCommand = words
	}
	switch {
	case s.passphraseFD >= 0:
		o.Passphrase = onceRead(func() (io.ReadCloser, error) {
			f := os.NewFile(uintptr(s.passphraseFD), "passphrase")
			if f == nil {
				return nil, os.ErrInvalid
			}
			return f, nil
		})
	case s.passphraseFile != "":
		o.Passphrase = onceRead(func() (io.ReadCloser, error) { return os.Open(s.passphraseFile) })
	default:
		if in, ok := c.In.(*os.File); ok && term.IsTerminal(int(in.Fd())) {
			o.Passphrase = func(ctx context.Context, prompt string) ([]byte, error) { return c.readHidden(ctx, in, prompt) }
			o.NewPassphrase = func(ctx context.Context, prompt string) ([]byte, error) { return c.readTwice(ctx, in, prompt) }
		}
	}
	return o, nil
}

// openRing opens the user's key ring.
func (c *Command) openRing(s *keySource) (*keys.Ring, error) {
	dir, err := keys.DefaultDir()
	if err != nil {
		return nil, err
	}
	o, err := c.ringOptions(s)
	if err != nil {
		return nil, err
	}
	return keys.NewRing(dir, o)
}

// maxPassphrase bounds the first line of a passphrase file, in bytes.
const maxPassphrase = 4096

// onceRead takes the passphrase from the first line of a source, which is read
// once: a descriptor gives its bytes only once.
func onceRead(open func() (io.ReadCloser, error)) keys.Ask {
	read := sync.OnceValues(func() ([]byte, error) {
		unreadable := failure.New(failure.Usage, "passphrase_missing", "read passphrase", "the passphrase cannot be read from the file or descriptor", "check --passphrase-file or --passphrase-fd")
		r, err := open()
		if err != nil {
			return nil, unreadable
		}
		defer r.Close()
		text, err := io.ReadAll(io.LimitReader(r, maxPassphrase+1))
		if err != nil || len(text) > maxPassphrase {
			return nil, unreadable
		}
		line, _, _ := bytes.Cut(text, []byte("\n"))
		return bytes.TrimSuffix(line, []byte("\r")), nil
	})
	return func(context.Context, string) ([]byte, error) {
		p, err := read()
		return bytes.Clone(p), err // the asker clears what it was given
	}
}

// readHidden asks on the terminal without echo. A cancelled wait gives the
// terminal back as it was.
func (c *Command) readHidden(ctx context.Context, in *os.File, prompt string) ([]byte, error) {
	fd := int(in.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return nil, failure.Wrap(err, failure.Failed, "passphrase_missing", "read passphrase", "")
	}
	fmt.Fprintf(c.Err, "%s: ", oneLine(prompt))
	type answer struct {
		text []byte
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		text, err := term.ReadPassword(fd)
		got <- answer{text, err}
	}()
	select {
	case a := <-got:
		fmt.Fprintln(c.Err)
		if a.err != nil {
			return nil, failure.New(failure.KeyStore, "passphrase_missing", "read passphrase", "no passphrase was given", "")
		}
		return a.text, nil
	case <-ctx.Done():
		_ = term.Restore(fd, before) // the program is ending; there is nobody left to tell
		fmt.Fprintln(c.Err)
		return nil, ctx.Err()
	}
}

// readTwice asks for a new passphrase until it was typed twice alike.
func (c *Command) readTwice(ctx context.Context, in *os.File, prompt string) ([]byte, error) {
	for range 3 {
		first, err := c.readHidden(ctx, in, prompt)
		if err != nil || len(first) == 0 {
			return first, err
		}
		second, err := c.readHidden(ctx, in, "again")
		if err != nil {
			return nil, err
		}
		alike := bytes.Equal(first, second)
		clear(second)
		if alike {
			return first, nil
		}
		clear(first)
		fmt.Fprintln(c.Err, "the two differ, try again")
	}
	return nil, failure.New(failure.KeyStore, "passphrase_missing", "read passphrase", "the passphrase was not typed twice alike", "")
}

// EnvironmentKeys are the key ring's options as the environment gives them
// (CAPSTAN_PASSPHRASE_FILE, CAPSTAN_KEY_COMMAND, CAPSTAN_PRIVATE_KEY), for the
// console: where Passphrase is nil, the console asks for it in a dialog.
func EnvironmentKeys() (keys.Options, error) {
	o, err := (&Command{Quiet: true}).ringOptions(environmentKeySource())
	o.Waiting = nil // a line would go through the screen
	return o, err
}
