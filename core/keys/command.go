package keys

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"capstan/core/failure"
)

// commandDeadline leaves time for a password manager's own prompt.
const commandDeadline = 2 * time.Minute

// newCommandStore reads the key from what a program prints, for example
// ["op", "read", "op://vault/item/key"]. No shell is involved. The program
// inherits the environment without the private key variable, and its
// complaints are not repeated, since they could quote what it read.
func newCommandStore(argv []string) *single {
	return &single{kind: Command, location: "command " + clean(argv[0]), read: func(ctx context.Context) ([]byte, error) {
		return runKeyCommand(ctx, argv)
	}}
}

func runKeyCommand(ctx context.Context, argv []string) ([]byte, error) {
	const op = "read key from command"
	ctx, cancel := context.WithTimeout(ctx, commandDeadline)
	defer cancel()
	name := clean(argv[0])
	var out limitedBuffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = environWithoutKey()
	cmd.Stdout = &out
	cmd.WaitDelay = 2 * time.Second
	err := cmd.Run()
	defer clear(out.data)
	var exit *exec.ExitError
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, failure.Newf(failure.KeyStore, "key_command_failed", op, "run the command by hand to see what it waits for", "%s did not end within %s", name, commandDeadline)
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case out.overflow:
		return nil, failure.Newf(failure.KeyStore, "key_command_failed", op, "the command must print the PEM of one private key and nothing else", "%s printed more than %d bytes", name, maxPEM)
	case errors.As(err, &exit):
		return nil, failure.Newf(failure.KeyStore, "key_command_failed", op, "run the command by hand to see why", "%s ended with exit status %d", name, exit.ExitCode())
	case err != nil:
		return nil, failure.Newf(failure.KeyStore, "key_command_failed", op, "check --key-command", "%s cannot be run", name)
	case len(bytes.TrimSpace(out.data)) == 0:
		return nil, failure.Newf(failure.KeyStore, "key_command_failed", op, "the command must print the PEM of one private key and nothing else", "%s printed nothing", name)
	}
	return bytes.Clone(out.data), nil
}

// environWithoutKey is the environment for child processes: without the key,
// and without the other settings of capstan, some of which are secrets too.
func environWithoutKey() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "CAPSTAN_") })
}

// limitedBuffer keeps at most maxPEM bytes and notes when there were more.
type limitedBuffer struct {
	data     []byte
	overflow bool
}

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if len(b.data)+len(p) > maxPEM {
		b.overflow = true
		return len(p), nil
	}
	b.data = append(b.data, p...)
	return len(p), nil
}

// SplitCommand reads a command line into its words: spaces separate, single and
// double quotes group, a backslash takes the next character outside single
// quotes. Nothing is expanded.
func SplitCommand(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	var quote rune
	inWord, escaped := false, false
	for _, r := range line {
		switch {
		case escaped:
			word.WriteRune(r)
			escaped = false
		case r == '\\' && quote != '\'' && runtime.GOOS != "windows": // there it separates folders
			escaped, inWord = true, true
		case quote != 0:
			if r == quote {
				quote = 0
			} else {
				word.WriteRune(r)
			}
		case r == '\'' || r == '"':
			quote, inWord = r, true
		case r == ' ' || r == '\t':
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	if quote != 0 || escaped {
		return nil, failure.New(failure.Usage, "usage", "read key command", "a quote in the command is not closed", "")
	}
	if inWord {
		words = append(words, word.String())
	}
	if len(words) == 0 {
		return nil, failure.New(failure.Usage, "usage", "read key command", "the command is empty", "")
	}
	return words, nil
}
