package storage

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"hash/crc32"
	"io"
	"iter"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/BurntSushi/toml"

	"capstan/core/failure"
	"capstan/core/remote/transport"
)

func init() { drivers["exec"] = openCommands }

// commands is any place that programs can reach: rclone's seventy services, a
// company's own upload tool.
//
//	exec:///home/me/.config/capstan/rclone.toml
//
// The file names one program for each verb as a list of arguments; no shell is
// involved. {name}, {size}, {sha256} and {file} are replaced inside arguments,
// {offset} and {length} in get as well.
//
//	put    = ["rclone", "copyto", "{file}", "company:updates/{name}"]
//	stat   = ["rclone", "lsf", "--format", "s", "company:updates/{name}"]
//	get    = ["rclone", "cat", "--offset", "{offset}", "--count", "{length}", "company:updates/{name}"]
//	delete = ["rclone", "deletefile", "company:updates/{name}"]
//	list   = ["rclone", "lsf", "-R", "--files-only", "--format", "sp", "--separator", " ", "company:updates"]
//	absent = [3, 4]
//
// put reads its standard input where it names no {file}. stat prints the size
// in bytes, or prints nothing or ends with a status in absent where there is no
// object. get prints the object, from its start where it names no {offset}.
// list, which may be left out, prints a line SIZE NAME for each object.
type commands struct {
	path, public                 string
	put, stat, get, delete, list []string
	absent                       []int
	token                        transport.Secret
	// turns lets the writers of one name in this process follow each other:
	// programs replace a file while another one looks at it.
	turns [64]chan struct{}
}

var _ Storage = (*commands)(nil)

// placeholders of the verbs.
var placeholder = regexp.MustCompile(`\{[a-z0-9]+\}`)

func openCommands(_ context.Context, u *url.URL, public string, c Credentials) (Storage, error) {
	const op = "open the storage's commands"
	malformed := func(hint, format string, args ...any) error {
		return failure.Newf(failure.Usage, "storage_url_malformed", op, hint, format, args...)
	}
	path := filepath.FromSlash(u.Path)
	if runtime.GOOS == "windows" {
		path = strings.TrimPrefix(path, `\`)
	}
	if u.Host != "" || u.RawQuery != "" || !filepath.IsAbs(path) {
		return nil, malformed("write it like exec:///home/me/rclone.toml", "not the absolute path of a file of commands")
	}
	raw, err := readCommands(path)
	if err != nil {
		return nil, err
	}
	var f struct {
		Put, Stat, Get, Delete, List []string
		Absent                       []int
	}
	meta, err := toml.Decode(string(raw), &f)
	if err != nil {
		return nil, malformed("", "%s is no TOML", path)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return nil, malformed("known are put, stat, get, delete, list and absent", "%s: unknown key %s", path, transport.Clean(unknown[0].String()))
	}
	s := &commands{path: path, public: public, put: f.Put, stat: f.Stat, get: f.Get, delete: f.Delete, list: f.List, absent: f.Absent, token: c.Token}
	for i := range s.turns {
		s.turns[i] = make(chan struct{}, 1)
	}
	for _, verb := range []struct {
		name string
		argv []string
		with []string
	}{
		{"put", s.put, []string{"{name}", "{size}", "{sha256}", "{file}"}},
		{"stat", s.stat, []string{"{name}"}},
		{"get", s.get, []string{"{name}", "{offset}", "{length}"}},
		{"delete", s.delete, []string{"{name}"}},
		{"list", s.list, nil},
	} {
		switch {
		case len(verb.argv) == 0 && verb.name == "list":
		case len(verb.argv) == 0 || verb.argv[0] == "":
			return nil, malformed("", "%s names no program to %s with", path, verb.name)
		case placeholder.MatchString(verb.argv[0]):
			return nil, malformed("the program is fixed, its arguments are not", "%s: the program to %s with is a placeholder", path, verb.name)
		case len(verb.with) > 0 && !strings.Contains(strings.Join(verb.argv[1:], "\x00"), "{name}"):
			return nil, malformed("", "%s: %s does not say {name}", path, verb.name)
		}
		for _, arg := range verb.argv {
			for _, used := range placeholder.FindAllString(arg, -1) {
				if !slices.Contains(verb.with, used) {
					return nil, malformed("", "%s: %s cannot fill %s", path, verb.name, used)
				}
			}
		}
	}
	return s, nil
}

// maxCommands bounds the file of commands in bytes.
const maxCommands = 64 << 10

// readCommands reads the file of commands. One that anybody on the machine may
// write could run anything in this user's name.
func readCommands(path string) ([]byte, error) {
	const op = "read the storage's commands"
	f, err := os.Open(path)
	if err != nil {
		return nil, failure.Wrap(err, failure.Usage, "storage_commands_unreadable", op, "name the file of commands in the storage's URL")
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, failure.Wrap(err, failure.Usage, "storage_commands_unreadable", op, "")
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o022 != 0 {
		return nil, failure.Newf(failure.Usage, "storage_commands_writable", op, "chmod go-w "+path, "others may write %s, and it names programs to run", path)
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxCommands+1))
	if err != nil || len(raw) > maxCommands {
		return nil, failure.Newf(failure.Usage, "storage_commands_unreadable", op, "", "%s cannot be read, or is larger than %d bytes", path, maxCommands)
	}
	return raw, nil
}

func (s *commands) String() string { return "exec://" + filepath.ToSlash(s.path) }

func (s *commands) PublicURL(name string) string { return publicURL(s.public, name) }

// checkName refuses, beside what no storage takes, what a program could read
// as an option.
func (s *commands) checkName(name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if strings.HasPrefix(name, "-") {
		return failure.Newf(failure.Usage, "object_name_invalid", "name the object", "", "the name %q cannot be used: it starts like an option", transport.Clean(name))
	}
	return nil
}

// fill replaces the placeholders of a template; what a value holds is not
// looked at again.
func fill(template []string, pairs ...string) []string {
	replace := strings.NewReplacer(pairs...)
	argv := slices.Clone(template)
	for i := range argv[1:] {
		argv[i+1] = replace.Replace(argv[i+1])
	}
	return argv
}

func (s *commands) command(ctx context.Context, argv []string) (*exec.Cmd, *tail) {
	return prepare(ctx, argv, s.token)
}

// prepare prepares a program. It inherits the environment without capstan's and
// Capgo's own settings, some of which are secrets of other things; the storage's
// token is there as CAPSTAN_STORAGE_TOKEN.
func prepare(ctx context.Context, argv []string, token transport.Secret) (*exec.Cmd, *tail) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "CAPSTAN_") || strings.HasPrefix(v, "CAPGO_")
	})
	if !token.Empty() {
		cmd.Env = append(cmd.Env, "CAPSTAN_STORAGE_TOKEN="+token.Reveal())
	}
	said := &tail{}
	cmd.Stderr = said
	cmd.WaitDelay = 5 * time.Second // for children that keep a pipe open
	return cmd, said
}

// tail keeps the last bytes of what a program complains about.
type tail struct {
	mu   sync.Mutex
	last []byte
}

const maxTail = 400

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = append(t.last, p...)
	if len(t.last) > maxTail {
		t.last = append([]byte(nil), t.last[len(t.last)-maxTail:]...)
	}
	return len(p), nil
}

// line gives the last line that says something.
func (t *tail) line() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(strings.ToValidUTF8(string(t.last), "")), "\n")
	return transport.Clean(strings.TrimSpace(lines[len(lines)-1]))
}

// errAbsent says that a program's exit status means that there is no object.
var errAbsent = errors.New("absent")

// judge turns the end of a program into a failure.
func (s *commands) judge(ctx context.Context, op string, argv []string, said *tail, err error) error {
	var exit *exec.ExitError
	program := transport.Clean(filepath.Base(argv[0]))
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &exit) && slices.Contains(s.absent, exit.ExitCode()):
		return errAbsent
	case errors.As(err, &exit):
		return failure.Newf(failure.Failed, "storage_command_failed", op, "run the command by hand to see why",
			"%s ended with %s: %s", program, exit.ProcessState, s.token.Scrub(said.line()))
	}
	return failure.Newf(failure.Failed, "storage_command_missing", op, "install it, or correct "+s.path, "%s cannot be run", program)
}

// output runs a program and gives what it prints, at most limit bytes of it.
func (s *commands) output(ctx context.Context, op string, argv []string, limit int64) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	cmd, said := s.command(ctx, argv)
	out := &bytes.Buffer{}
	cmd.Stdout = &limited{out, limit}
	err := cmd.Run()
	return out.Bytes(), s.judge(ctx, op, argv, said, err)
}

// limited drops what is too much.
type limited struct {
	to   *bytes.Buffer
	room int64
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(int64(len(p)), l.room)
	l.room -= n
	l.to.Write(p[:n])
	return len(p), nil
}

func (s *commands) Stat(ctx context.Context, name string) (Object, error) {
	const op = "look at the object"
	if err := s.checkName(name); err != nil {
		return Object{}, err
	}
	out, err := s.output(ctx, op, fill(s.stat, "{name}", name), 4096)
	words := strings.Fields(string(out))
	if errors.Is(err, errAbsent) || err == nil && len(words) == 0 {
		return Object{}, errNotFound(op, name)
	}
	if err != nil {
		return Object{}, err
	}
	size, err := strconv.ParseInt(words[0], 10, 64)
	if err != nil || size < 0 {
		return Object{}, failure.Newf(failure.Failed, "storage_command_failed", op, "stat prints the size in bytes and nothing before it", "%s printed no size", transport.Clean(filepath.Base(s.stat[0])))
	}
	return Object{Name: name, Size: size}, nil
}

func (s *commands) Put(ctx context.Context, name string, src io.ReaderAt, size int64, sha256Hex string, progress func(int64)) (Object, error) {
	if err := s.checkName(name); err != nil {
		return Object{}, err
	}
	if err := checkPut(name, size, sha256Hex); err != nil {
		return Object{}, err
	}
	turn := s.turns[crc32.ChecksumIEEE([]byte(name))%uint32(len(s.turns))]
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-ctx.Done():
		return Object{}, ctx.Err()
	}
	done := Object{Name: name, Size: size, SHA256: sha256Hex}
	if there, err := s.same(ctx, name, size, sha256Hex); err != nil || there {
		done.Existed = there
		return done, err
	}
	if progress == nil {
		progress = func(int64) {}
	}
	// The program shows what it gets to everybody: wrong bytes have to be
	// noticed before.
	file, drop, err := s.source(ctx, name, src, size, sha256Hex)
	if err != nil {
		return Object{}, err
	}
	defer drop()
	progress(0)
	if err := s.send(ctx, fill(s.put, "{name}", name, "{size}", strconv.FormatInt(size, 10), "{sha256}", sha256Hex, "{file}", file), src, name, size, sha256Hex, progress); err != nil {
		s.sweep(ctx, name, size)
		return Object{}, err
	}
	if stored, err := s.Stat(ctx, name); err != nil {
		return Object{}, err
	} else if stored.Size != size {
		return Object{}, failure.Newf(failure.Failed, "storage_command_failed", "store the object", "run the command by hand to see why",
			"%s reported success, and %d of %d bytes are there", transport.Clean(filepath.Base(s.put[0])), stored.Size, size)
	}
	progress(size)
	return done, nil
}

// source checks the bytes and, where put wants a file, gives the path of one:
// a copy that nobody else may read, gone after drop.
func (s *commands) source(ctx context.Context, name string, src io.ReaderAt, size int64, sha256Hex string) (path string, drop func(), err error) {
	drop = func() {}
	into := io.Discard
	if strings.Contains(strings.Join(s.put, "\x00"), "{file}") {
		copied, err := os.CreateTemp("", "capstan-*.zip")
		if err != nil {
			return "", drop, failure.Wrap(err, failure.Failed, "temporary_file", "copy the object for the command", "check the temporary folder, TMPDIR")
		}
		path, into = copied.Name(), copied
		drop = func() { _ = os.Remove(copied.Name()) }
		defer copied.Close()
	}
	body := newUpload(ctx, src, size, sha256Hex, nil, nil)
	written, err := io.Copy(into, body)
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case body.fault(name) != nil:
		err = body.fault(name)
	case err != nil:
		err = failure.Wrap(err, failure.Failed, "temporary_file", "copy the object for the command", "check the space in the temporary folder, TMPDIR")
	case written != size:
		err = errHash(name)
	}
	if err != nil {
		drop()
		return "", func() {}, err
	}
	return path, drop, nil
}

// send runs put; where it reads its input, progress counts what it took.
func (s *commands) send(ctx context.Context, argv []string, src io.ReaderAt, name string, size int64, sha256Hex string, progress func(int64)) error {
	const op = "store the object"
	if err := ctx.Err(); err != nil {
		return err
	}
	cmd, said := s.command(ctx, argv)
	var body *upload
	if !strings.Contains(strings.Join(s.put, "\x00"), "{file}") {
		body = newUpload(ctx, src, size, sha256Hex, progress, nil)
		// Hides WriterTo and ReaderFrom, so that Read sees how far the program is.
		cmd.Stdin = struct{ io.Reader }{body}
	}
	err := cmd.Run()
	if body != nil && ctx.Err() == nil && body.fault(name) != nil {
		return body.fault(name)
	}
	if err = s.judge(ctx, op, argv, said, err); errors.Is(err, errAbsent) {
		return failure.Newf(failure.Failed, "storage_command_failed", op, "check where the command writes to", "%s found nowhere to write: %s", transport.Clean(filepath.Base(argv[0])), s.token.Scrub(said.line()))
	}
	return err
}

// sweep removes what an interrupted put left: an object that is not whole.
// There was none before, and one of the right size may be another writer's.
func (s *commands) sweep(ctx context.Context, name string, size int64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	if left, err := s.Stat(ctx, name); err == nil && left.Size != size {
		_ = s.Delete(ctx, name) // the next attempt refuses it as other content
	}
}

// same reads what is there and compares.
func (s *commands) same(ctx context.Context, name string, size int64, sha256Hex string) (bool, error) {
	object, err := s.Stat(ctx, name)
	switch {
	case failure.CodeOf(err) == "object_not_found":
		return false, nil
	case err != nil:
		return false, err
	case object.Size != size:
		return false, errExists(name)
	}
	r, err := s.Get(ctx, name, 0, -1)
	if err != nil {
		return false, err
	}
	defer r.Close()
	sum, _, err := hashOf(ctx, r)
	switch {
	case err != nil:
		return false, err
	case sum != sha256Hex:
		return false, errExists(name)
	}
	return true, nil
}

func (s *commands) Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	const op = "read the object"
	object, err := s.Stat(ctx, name)
	if err != nil {
		return nil, err
	}
	if offset < 0 || offset > object.Size {
		return nil, errRange(name, offset)
	}
	if rest := object.Size - offset; length < 0 || length > rest {
		length = rest
	}
	if length == 0 {
		return io.NopCloser(strings.NewReader("")), nil
	}
	argv := fill(s.get, "{name}", name, "{offset}", strconv.FormatInt(offset, 10), "{length}", strconv.FormatInt(length, 10))
	ctx, stop := context.WithCancel(ctx)
	cmd, said := s.command(ctx, argv)
	pipe, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		defer stop()
		return nil, s.judge(ctx, op, argv, said, err)
	}
	r := &printed{pipe: pipe, left: length, stop: stop, end: func() error {
		return s.judge(ctx, op, argv, said, cmd.Wait())
	}}
	if !strings.Contains(strings.Join(s.get, "\x00"), "{offset}") {
		if _, err := io.CopyN(io.Discard, pipe, offset); err != nil {
			_ = r.Close()
			return nil, errPrinted(op)
		}
	}
	return r, nil
}

func errPrinted(op string) error {
	return failure.New(failure.Unavailable, "storage_command_failed", op, "the command ended before it had printed the object", "repeat the command")
}

// printed is the output of a program up to a length; less than that is an error.
type printed struct {
	pipe io.Reader
	left int64
	stop func()
	end  func() error
	once sync.Once
}

func (p *printed) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	n, err := p.pipe.Read(b[:min(int64(len(b)), p.left)])
	p.left -= int64(n)
	if err == nil || p.left == 0 {
		return n, nil
	}
	err = errPrinted("read the object")
	p.once.Do(func() {
		if ended := p.end(); ended != nil && !errors.Is(ended, errAbsent) {
			err = ended
		}
		p.stop()
	})
	return n, err
}

// Close ends the program, which may have more to print than was asked for.
func (p *printed) Close() error {
	p.once.Do(func() {
		p.stop()
		_ = p.end()
	})
	return nil
}

func (s *commands) Delete(ctx context.Context, name string) error {
	if err := s.checkName(name); err != nil {
		return err
	}
	// Not every program takes it well when there is nothing to delete.
	if _, err := s.Stat(ctx, name); failure.CodeOf(err) == "object_not_found" {
		return nil
	}
	_, err := s.output(ctx, "delete the object", fill(s.delete, "{name}", name), 0)
	if errors.Is(err, errAbsent) {
		return nil
	}
	return err
}

// maxListed bounds a line of list.
const maxListed = 4096

func (s *commands) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	const op = "list the objects"
	if len(s.list) == 0 {
		return none(errUnsupported(op, "the storage's commands have no list"))
	}
	return func(yield func(Object, error) bool) {
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		cmd, said := s.command(ctx, s.list)
		pipe, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			yield(Object{}, s.judge(ctx, op, s.list, said, err))
			return
		}
		lines := bufio.NewScanner(pipe)
		lines.Buffer(nil, maxListed)
		for lines.Scan() {
			number, name, _ := strings.Cut(strings.TrimRight(lines.Text(), "\r"), " ")
			size, err := strconv.ParseInt(number, 10, 64)
			if err != nil || s.checkName(name) != nil || !strings.HasPrefix(name, prefix) {
				continue // not one of ours
			}
			if !yield(Object{Name: name, Size: size}, nil) {
				stop()
				_ = cmd.Wait()
				return
			}
		}
		if lines.Err() != nil {
			stop()
		}
		if err := s.judge(ctx, op, s.list, said, cmd.Wait()); err != nil && !errors.Is(err, errAbsent) {
			yield(Object{}, err)
		}
	}
}
