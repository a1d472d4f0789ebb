// Package power makes images of what a disk may hold after a loss of power: a
// program's calls are recorded with strace, and replayed up to any of them with
// what was not synced yet there in full, in part, out of order, torn or not at
// all.
//
// A write counts from the moment it was issued, a sync for the writes that were
// issued before it began. Creating, renaming and removing a file keep their
// order, as on a file system with a journal; a removal may be undone until the
// folder is synced.
package power

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// ErrNoTrace says that the program did not run under strace to its end: most
// often because the system lets no process trace another.
var ErrNoTrace = errors.New("the program did not run under strace")

// Record runs a program with strace and further variables in its environment,
// and gives what it did to the files below dir.
func Record(strace, dir string, environment []string, program ...string) (*Trace, error) {
	out, err := os.CreateTemp("", "trace-*")
	if err != nil {
		return nil, err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	argv := append([]string{"-f", "-qq", "-y", "-xx", "-s", strconv.Itoa(1 << 22), "-o", out.Name(),
		"-e", "trace=open,openat,creat,lseek,write,pwrite64,writev,pwritev,ftruncate,fallocate,fsync,fdatasync,unlink,unlinkat,rename,renameat,renameat2"}, program...)
	c := exec.Command(strace, argv...)
	c.Env = append(os.Environ(), environment...)
	if text, err := c.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %v\n%s", ErrNoTrace, err, text)
	}
	return Read(out, dir)
}

// Trace is what a program did to the files below a folder, in order.
type Trace struct {
	dir   string
	steps []step
	fds   map[string]*descriptor
	sizes map[string]int64 // of the files so far
}

type stepKind int

const (
	stepCreate stepKind = iota
	stepWrite
	stepTruncate
	stepSync
	stepRemove
	stepRename
	stepSay
)

type step struct {
	kind   stepKind
	path   string // within the folder; "." is the folder itself
	to     string // of a rename
	offset int64  // of a write; the size of a truncation
	data   []byte
	upto   int // a sync covers the steps before this one
}

// descriptor is where a file is written next by calls that name no place.
type descriptor struct {
	at      int64
	appends bool
}

// Read understands the output of strace for what lies below dir, which was
// empty at the beginning.
func Read(in io.Reader, dir string) (*Trace, error) {
	t := &Trace{dir: dir, fds: map[string]*descriptor{}, sizes: map[string]int64{}}
	lines := bufio.NewReaderSize(in, 1<<20)
	begun := map[string]begin{}
	for {
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			return t, nil
		}
		if err != nil {
			return nil, err
		}
		thread, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		text = strings.TrimSpace(text)
		switch {
		case strings.HasSuffix(text, "<unfinished ...>"):
			text = strings.TrimSpace(strings.TrimSuffix(text, "<unfinished ...>"))
			begun[thread] = begin{text, len(t.steps)}
			if isWrite(text) {
				err = t.call(text+") = 0", len(t.steps), true)
			}
		case strings.HasPrefix(text, "<... "):
			b := begun[thread]
			delete(begun, thread)
			_, rest, _ := strings.Cut(text, "resumed>")
			if !isWrite(b.text) {
				err = t.call(b.text+rest, b.at, false)
			}
		default:
			err = t.call(text, len(t.steps), false)
		}
		if err != nil {
			return nil, fmt.Errorf("%.200s: %w", text, err)
		}
	}
}

// begin is a call that another thread's interrupted in the trace.
type begin struct {
	text string
	at   int
}

func isWrite(text string) bool {
	return strings.HasPrefix(text, "write(") || strings.HasPrefix(text, "pwrite64(")
}

// call adds one call to the trace. begun is one whose result is not known yet.
func (t *Trace) call(text string, at int, begun bool) error {
	name, rest, ok := strings.Cut(text, "(")
	end := strings.LastIndex(rest, "= ")
	if !ok || end < 0 {
		return nil // a signal, an exit
	}
	result, _, _ := strings.Cut(rest[end+len("= "):], " ")
	within := strings.TrimSuffix(strings.TrimRight(rest[:end], " "), ")") // strace pads a result to a column
	result, opened, _ := strings.Cut(result, "<")
	value, err := strconv.ParseInt(result, 0, 64)
	if err != nil || value < 0 {
		return nil // it failed, or the program died in it
	}
	args, err := arguments(within)
	if err != nil {
		return err
	}
	number := func(i int) int64 {
		n, _ := strconv.ParseInt(args[i].text, 0, 64)
		return n
	}
	switch name {
	case "open", "openat", "creat":
		flags := args[len(args)-1].text
		for _, a := range args {
			if strings.HasPrefix(a.text, "O_") {
				flags = a.text
			}
		}
		path, err := unhex(strings.TrimSuffix(opened, ">"))
		if err != nil {
			return err
		}
		t.open(result, string(path), name == "creat" || strings.Contains(flags, "O_CREAT"), name == "creat" || strings.Contains(flags, "O_TRUNC"), strings.Contains(flags, "O_APPEND"))
	case "lseek":
		if d := t.fds[args[0].text]; d != nil {
			d.at = value
		}
	case "write", "pwrite64":
		if args[0].text == "1" {
			t.add(step{kind: stepSay, data: args[1].data})
			return nil
		}
		path, ours := t.within(args[0].path)
		if !ours {
			return nil
		}
		s := step{kind: stepWrite, path: path, data: args[1].data}
		if !begun {
			s.data = s.data[:min(int(value), len(s.data))]
		}
		if name == "pwrite64" {
			s.offset = number(3)
		} else {
			s.offset = t.advance(args[0].text, path, int64(len(s.data)))
		}
		t.add(s)
	case "ftruncate":
		if path, ours := t.within(args[0].path); ours {
			t.add(step{kind: stepTruncate, path: path, offset: number(1)})
		}
	case "fsync", "fdatasync":
		if path, ours := t.within(args[0].path); ours {
			t.add(step{kind: stepSync, path: path, upto: at})
		}
	case "unlink", "unlinkat":
		if path, ours := t.named(args); ours {
			t.add(step{kind: stepRemove, path: path})
		}
	case "rename", "renameat", "renameat2":
		var names []string
		for i := range args {
			if args[i].quoted {
				path, ours := t.named(args[:i+1])
				if !ours {
					return nil
				}
				names = append(names, path)
			}
		}
		if len(names) == 2 {
			t.add(step{kind: stepRename, path: names[0], to: names[1]})
		}
	default: // writev, pwritev, fallocate
		if _, ours := t.within(args[0].path); ours {
			return fmt.Errorf("%s is not understood", name)
		}
	}
	return nil
}

func (t *Trace) open(fd, path string, creates, empties, appends bool) {
	t.fds[fd] = &descriptor{appends: appends}
	name, ours := t.within(path)
	if !ours || name == "." {
		return
	}
	if creates {
		t.add(step{kind: stepCreate, path: name})
	}
	if empties {
		t.add(step{kind: stepTruncate, path: name})
	}
}

// advance gives the place of a write that names none.
func (t *Trace) advance(fd, path string, n int64) int64 {
	d := t.fds[fd]
	if d == nil {
		d = &descriptor{}
		t.fds[fd] = d
	}
	if d.appends {
		d.at = t.sizes[path]
	}
	at := d.at
	d.at += n
	return at
}

// add appends a step and keeps the sizes.
func (t *Trace) add(s step) {
	t.steps = append(t.steps, s)
	switch s.kind {
	case stepWrite:
		t.sizes[s.path] = max(t.sizes[s.path], s.offset+int64(len(s.data)))
	case stepTruncate:
		t.sizes[s.path] = s.offset
	case stepRename:
		t.sizes[s.to] = t.sizes[s.path]
		delete(t.sizes, s.path)
	case stepRemove:
		delete(t.sizes, s.path)
	}
}

// within gives a path below the folder.
func (t *Trace) within(path string) (string, bool) {
	if path == t.dir {
		return ".", true
	}
	return strings.CutPrefix(path, t.dir+"/")
}

// named is the path that the last string of some arguments gives.
func (t *Trace) named(args []argument) (string, bool) {
	for i := len(args) - 1; i >= 0; i-- {
		if !args[i].quoted {
			continue
		}
		path := string(args[i].data)
		if !filepath.IsAbs(path) && i > 0 {
			path = filepath.Join(args[i-1].path, path)
		}
		return t.within(path)
	}
	return "", false
}

// argument is one argument of a call: a number with the path of its file, or a string.
type argument struct {
	text, path string
	data       []byte
	quoted     bool
}

// arguments splits what strace prints between a call's brackets. With -xx a
// string holds nothing but \xNN.
func arguments(text string) (list []argument, err error) {
	for text != "" {
		var a argument
		if rest, quoted := strings.CutPrefix(text, `"`); quoted {
			end := strings.IndexByte(rest, '"')
			if end < 0 {
				return nil, fmt.Errorf("a string has no end")
			}
			a.quoted = true
			if a.data, err = unhex(rest[:end]); err != nil {
				return nil, err
			}
			text = rest[end+1:]
			if strings.HasPrefix(text, "...") {
				return nil, fmt.Errorf("a string was cut")
			}
		}
		end := strings.Index(text, ", ")
		if end < 0 {
			end = len(text)
		}
		if !a.quoted {
			var path string
			a.text, path, _ = strings.Cut(text[:end], "<")
			raw, err := unhex(strings.TrimSuffix(path, ">"))
			if err != nil {
				return nil, err
			}
			a.path = string(raw)
		}
		list = append(list, a)
		text = strings.TrimPrefix(text[end:], ", ")
	}
	return list, nil
}

// unhex reads \xNN\xNN…; other text stands for itself.
func unhex(text string) ([]byte, error) {
	if !strings.HasPrefix(text, `\x`) {
		return []byte(text), nil
	}
	return hex.DecodeString(strings.ReplaceAll(text, `\x`, ""))
}

// file is a file as the disk has it, and what is still on its way there.
type file struct {
	durable []byte
	pending []*step
	at      []int // the number of each pending step
}

func (f *file) cached() []byte {
	content := bytes.Clone(f.durable)
	for _, s := range f.pending {
		content = s.write(content, len(s.data))
	}
	return content
}

// write does a write, of which n bytes arrive, or a truncation.
func (s *step) write(content []byte, n int) []byte {
	if s.kind == stepTruncate {
		if s.offset <= int64(len(content)) {
			return content[:s.offset]
		}
		return append(content, make([]byte, s.offset-int64(len(content)))...)
	}
	if end := s.offset + int64(n); end > int64(len(content)) {
		content = append(content, make([]byte, end-int64(len(content)))...)
	}
	copy(content[s.offset:], s.data[:n])
	return content
}

type disk struct {
	files  map[string]*file
	ghosts map[string]*file // removed, and the folder not synced since
	count  int
}

func newDisk() *disk { return &disk{files: map[string]*file{}, ghosts: map[string]*file{}} }

func (d *disk) find(path string) *file {
	f := d.files[path]
	if f == nil {
		f = &file{}
		d.files[path] = f
		delete(d.ghosts, path)
	}
	return f
}

func (d *disk) apply(s *step) {
	n := d.count
	d.count++
	switch s.kind {
	case stepCreate:
		d.find(s.path)
	case stepWrite, stepTruncate:
		f := d.find(s.path)
		f.pending, f.at = append(f.pending, s), append(f.at, n)
	case stepSync:
		if f := d.files[s.path]; f != nil {
			f.sync(s.upto)
			return
		}
		for path := range d.ghosts {
			if filepath.Dir(path) == s.path {
				delete(d.ghosts, path)
			}
		}
	case stepRemove:
		if f := d.files[s.path]; f != nil {
			d.ghosts[s.path] = f
			delete(d.files, s.path)
		}
	case stepRename:
		if f := d.files[s.path]; f != nil {
			d.files[s.to] = f
			delete(d.files, s.path)
			delete(d.ghosts, s.to)
		}
	}
}

func (f *file) sync(upto int) {
	done := 0
	for done < len(f.pending) && f.at[done] < upto {
		f.durable = f.pending[done].write(f.durable, len(f.pending[done].data))
		done++
	}
	f.pending, f.at = f.pending[done:], f.at[done:]
}

// Image is what the disk may hold at one moment.
type Image struct {
	Step int    // how many steps were begun
	Kind string // what became of that which was not synced
	// Said are the lines that the program had written to its standard output.
	Said  []string
	files map[string][]byte
}

// Write makes the files of an image in a folder.
func (i Image) Write(dir string) error {
	for name, content := range i.files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// sector is what a disk writes whole.
const sector = 512

// kinds are the fates of what was not synced.
var kinds = []string{"all there", "none there", "last write torn", "some there", "some there, some torn"}

// Kinds are the fates of what was not synced that images show in turn.
func Kinds() []string { return slices.Clone(kinds) }

// Steps is how many moments a trace has.
func (t *Trace) Steps() int { return len(t.steps) }

// Images gives n images from all over the trace, each kind in turn, until each
// returns an error. The seed makes them the same again.
func (t *Trace) Images(n int, seed uint64, each func(Image) error) error {
	random := rand.New(rand.NewPCG(seed, 0))
	d := newDisk()
	var said strings.Builder
	done := 0
	for i := range n {
		// Evenly, and anywhere within the interval.
		from, to := len(t.steps)*i/n, len(t.steps)*(i+1)/n
		at := from
		if to > from {
			at += random.IntN(to-from) + 1
		}
		for ; done < at; done++ {
			s := &t.steps[done]
			d.apply(s)
			if s.kind == stepSay {
				said.Write(s.data)
			}
		}
		image := Image{Step: at, Kind: kinds[i%len(kinds)], files: d.image(i%len(kinds), random)}
		if text := said.String(); text != "" {
			image.Said = strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		}
		if err := each(image); err != nil {
			return err
		}
	}
	return nil
}

func (d *disk) image(kind int, random *rand.Rand) map[string][]byte {
	files := map[string][]byte{}
	last, torn := -1, ""
	for path, f := range d.files {
		if n := len(f.at); n > 0 && f.at[n-1] > last {
			last, torn = f.at[n-1], path
		}
	}
	for path, f := range d.files {
		content := bytes.Clone(f.durable)
		for i, s := range f.pending {
			whole := len(s.data)
			part := 0 // how much of it arrives
			if whole > sector {
				part = random.IntN(whole/sector) * sector
			}
			switch kind {
			case 0:
				content = s.write(content, whole)
			case 2:
				if path == torn && i == len(f.pending)-1 && s.kind == stepWrite {
					whole = part
				}
				content = s.write(content, whole)
			case 3, 4:
				if random.IntN(2) == 0 {
					continue
				}
				if kind == 4 && s.kind == stepWrite && random.IntN(3) == 0 {
					whole = part
				}
				content = s.write(content, whole)
			}
		}
		files[path] = content
	}
	if kind != 0 {
		for path, f := range d.ghosts {
			if random.IntN(2) == 0 {
				files[path] = f.cached()
			}
		}
	}
	return files
}
