package bundle

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"capstan/core/failure"
)

// Options say what goes into a bundle and how. The zero value is what
// most releases want.
type Options struct {
	// Include brings back files that are left out by default, Exclude leaves
	// out more; Exclude wins. Patterns are those of path.Match on the path
	// below the folder, with ** for any number of folders; a pattern without a
	// slash is tried on every name, and one that matches a folder stands for
	// all that is in it.
	Include, Exclude []string
	// SourceMaps keeps *.map files.
	SourceMaps bool
	// Level is the deflate level from 1 (fast) to 9 (dense); 0 is DefaultLevel.
	Level int
	// SizeBudget, if not 0, is how many bytes the files may have before
	// compression; Preflight blocks more.
	SizeBudget int64
	// Progress, if not nil, is told the bytes of the folder packed so far and
	// their total. It is called from one goroutine.
	Progress func(done, total int64)
	// Found, if not nil, is told what Preflight would find, without reading the
	// files a second time: what names and sizes tell before the first byte is
	// written, what is in the files after the last. An error of it ends the
	// packing and comes back as it is. It is called from one goroutine.
	Found func(Finding) error
}

// DefaultLevel gives archives within half a per cent of the size of zlib at its
// level 6, in a fraction of the time. It takes files below tinyFile, which have
// little to find, one level lower: a twentieth of the time of a build of
// thousands of files, for less than a thousandth of its size.
const (
	DefaultLevel = 7
	tinyFile     = 8 << 10
	tinyLevel    = DefaultLevel - 1
)

func (o Options) level() (int, error) {
	if o.Level == 0 {
		return DefaultLevel, nil
	}
	if o.Level < 1 || o.Level > 9 {
		return 0, failure.Newf(failure.Usage, "level_unknown", "pack bundle", "choose a level from 1 to 9", "there is no compression level %d", o.Level)
	}
	return o.Level, nil
}

// Limits of a bundle. Archives beyond the zip format's 16- and 32-bit fields
// need zip64, which the plugin does not promise to read; the largest number of
// each field is the mark of one.
const (
	MaxFiles = 65534
	MaxBytes = 1<<32 - 2
)

// Omitted is a file or folder that is left out of a bundle, with the reason.
type Omitted struct {
	Name   string `json:"name"`
	Reason string `json:"reason"` // "dotfile", "source map", "dependencies", "metadata", "excluded"
}

// tree is a build folder as it was found: the files in the order of their
// names' bytes.
type tree struct {
	dir   string
	files []file
	left  []Omitted
	bytes int64
}

// file is one file to pack. found is what the walk saw; when the file is opened
// later it must still be the same.
type file struct {
	name  string // slash-separated, below the folder
	found fs.FileInfo
}

func (f *file) size() int64 { return f.found.Size() }

// readTree lists what a bundle of dir would contain. It refuses everything
// that could not be packed faithfully: special files, links that leave the
// folder or run in circles, unreadable folders and names that some device
// cannot hold.
func readTree(ctx context.Context, dir string, o Options) (*tree, error) {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, failure.Newf(failure.NotFound, "folder_missing", "read build folder", "build the app first, or name the folder with --path", "%s does not exist", dir)
	}
	if err != nil {
		return nil, unreadable(dir, err)
	}
	if !info.IsDir() {
		return nil, failure.Newf(failure.Usage, "folder_missing", "read build folder", "name the folder that holds index.html", "%s is not a folder", dir)
	}
	real, err := filepath.EvalSymlinks(dir)
	if err == nil {
		real, err = filepath.Abs(real)
	}
	if err != nil {
		return nil, unreadable(dir, err)
	}
	w := walker{ctx: ctx, tree: &tree{dir: dir}, real: real, options: o}
	if err := checkPatterns(o); err != nil {
		return nil, err
	}
	if err := w.folder("", []string{real}); err != nil {
		return nil, err
	}
	t := w.tree
	slices.SortFunc(t.files, func(a, b file) int { return strings.Compare(a.name, b.name) })
	if err := checkNames(t.files); err != nil {
		return nil, err
	}
	return t, nil
}

type walker struct {
	ctx     context.Context
	tree    *tree
	real    string // the folder with all links resolved
	options Options
}

// folder reads one folder. within holds the resolved paths of the folders it
// is in, itself last, so that a link back to one of them is seen.
func (w *walker) folder(name string, within []string) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(w.tree.dir, filepath.FromSlash(name)))
	if err != nil {
		return unreadable(path.Join(".", name), err)
	}
	for _, e := range entries {
		below := path.Join(name, e.Name())
		if reason := w.omit(below, e.IsDir()); reason != "" {
			w.tree.left = append(w.tree.left, Omitted{below, reason})
			continue
		}
		info, err := e.Info()
		if err != nil {
			return unreadable(below, err)
		}
		here := filepath.Join(within[len(within)-1], e.Name())
		if info.Mode()&fs.ModeSymlink != 0 {
			if info, here, err = w.follow(below, within); err != nil {
				return err
			}
		}
		if err := w.entry(below, info, append(within, here)); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) entry(name string, info fs.FileInfo, within []string) error {
	switch {
	case info.IsDir():
		return w.folder(name, within)
	case !info.Mode().IsRegular():
		return failure.Newf(failure.Failed, "odd_file", "read build folder", "remove it from the build folder or exclude it", "%q is neither a file nor a folder", name)
	}
	w.tree.files = append(w.tree.files, file{name, info})
	w.tree.bytes += info.Size()
	switch {
	case len(w.tree.files) > MaxFiles:
		return failure.Newf(failure.Failed, "too_many_files", "read build folder", "exclude what devices do not need", "there are more than %d files", MaxFiles)
	case w.tree.bytes > MaxBytes:
		return failure.New(failure.Failed, "too_large", "read build folder", "the files are larger than 4 GiB together", "exclude what devices do not need")
	}
	return nil
}

// follow resolves a link: its target is packed in its place, once, if it lies
// in the folder.
func (w *walker) follow(name string, within []string) (fs.FileInfo, string, error) {
	link := filepath.Join(w.tree.dir, filepath.FromSlash(name))
	target, err := filepath.EvalSymlinks(link)
	if err == nil {
		target, err = filepath.Abs(target)
	}
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, "", failure.Newf(failure.Failed, "symlink_broken", "read build folder", "remove it from the build folder or exclude it", "the link %q leads nowhere", name)
		}
		return nil, "", failure.Newf(failure.Failed, "symlink_loop", "read build folder", "remove it from the build folder or exclude it", "the link %q cannot be followed", name)
	}
	if target != w.real && !strings.HasPrefix(target, w.real+string(filepath.Separator)) {
		return nil, "", failure.Newf(failure.Failed, "symlink_outside", "read build folder", "copy the file into the build folder or exclude the link", "the link %q leads out of the folder", name)
	}
	if slices.Contains(within, target) {
		return nil, "", failure.Newf(failure.Failed, "symlink_loop", "read build folder", "remove it from the build folder or exclude it", "the link %q leads back to a folder that it is in", name)
	}
	info, err := os.Stat(target)
	if err != nil {
		return nil, "", unreadable(name, err)
	}
	return info, target, nil
}

func unreadable(name string, err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err // without the absolute path
	}
	return failure.Wrap(err, failure.Failed, "file_unreadable", "read "+quoted(name), "check its permissions, or exclude it")
}

// open opens a file of the tree and makes sure that it is the one that was found.
func (t *tree) open(f *file) (*os.File, error) {
	h, err := os.OpenFile(filepath.Join(t.dir, filepath.FromSlash(f.name)), os.O_RDONLY|openFlags, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, changed(f)
	}
	if err != nil {
		return nil, unreadable(f.name, err)
	}
	if err := f.same(h); err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

// same reports whether an open file is still as the walk found it.
func (f *file) same(h *os.File) error {
	now, err := h.Stat()
	if err != nil {
		return unreadable(f.name, err)
	}
	if !os.SameFile(f.found, now) || now.Size() != f.size() || !now.ModTime().Equal(f.found.ModTime()) {
		return changed(f)
	}
	return nil
}

func changed(f *file) error {
	return failure.Newf(failure.Failed, "file_changed", "pack bundle", "let the build finish, then pack again", "%q changed while it was being packed", f.name)
}

// omit gives the reason to leave out a file or folder, or "".
func (w *walker) omit(name string, isDir bool) string {
	o := w.options
	if matches(o.Exclude, name) {
		return "excluded"
	}
	reason := ""
	base := path.Base(name)
	switch {
	case base == ".DS_Store", base == "__MACOSX", base == "Thumbs.db":
		reason = "metadata"
	case strings.HasPrefix(base, "."):
		reason = "dotfile"
	case base == "node_modules" && isDir:
		reason = "dependencies"
	case strings.HasSuffix(base, ".map") && !isDir && !o.SourceMaps:
		reason = "source map"
	}
	// A folder is entered when something in it may be included.
	if reason != "" && (matches(o.Include, name) || isDir && leadsTo(o.Include, name)) {
		return ""
	}
	// What is below an entered folder is left out again unless it is included.
	if reason == "" && len(o.Include) > 0 && hiddenBelow(name) && !matches(o.Include, name) && !(isDir && leadsTo(o.Include, name)) {
		return "dotfile"
	}
	return reason
}

// hiddenBelow reports whether a folder on the way to name is left out by default.
func hiddenBelow(name string) bool {
	parts := strings.Split(name, "/")
	for _, p := range parts[:len(parts)-1] {
		if strings.HasPrefix(p, ".") || p == "node_modules" || p == "__MACOSX" {
			return true
		}
	}
	return false
}

func checkPatterns(o Options) error {
	for _, p := range slices.Concat(o.Include, o.Exclude) {
		for part := range strings.SplitSeq(p, "/") {
			if _, err := path.Match(part, ""); err != nil {
				return failure.Newf(failure.Usage, "pattern_malformed", "read build folder", "", "the pattern %q is malformed", p)
			}
		}
	}
	return nil
}

// matches reports whether a pattern stands for name or for a folder that name is in.
func matches(patterns []string, name string) bool {
	if len(patterns) == 0 {
		return false
	}
	parts := strings.Split(name, "/")
	for _, p := range patterns {
		p = strings.TrimSuffix(strings.TrimPrefix(p, "./"), "/")
		if !strings.Contains(p, "/") {
			for _, part := range parts {
				if ok, _ := path.Match(p, part); ok {
					return true
				}
			}
			continue
		}
		pattern := strings.Split(strings.TrimPrefix(p, "/"), "/")
		for n := 1; n <= len(parts); n++ {
			if matchParts(pattern, parts[:n]) {
				return true
			}
		}
	}
	return false
}

// leadsTo reports whether something below the folder name may match a pattern.
func leadsTo(patterns []string, name string) bool {
	parts := strings.Split(name, "/")
	for _, p := range patterns {
		pattern := strings.Split(strings.TrimPrefix(strings.TrimPrefix(p, "./"), "/"), "/")
		if len(pattern) == 1 {
			continue // stands for names anywhere, but does not open hidden folders
		}
		for n := 1; n < len(pattern); n++ {
			if pattern[n-1] == "**" && matchParts(pattern[:n], parts) || matchParts(pattern[:n], parts) {
				return true
			}
		}
	}
	return false
}

// matchParts matches path elements, ** standing for any number of them. The
// pattern is walked with one point of return, so the work is bounded by the
// product of the lengths.
func matchParts(pattern, parts []string) bool {
	p, n, backP, backN := 0, 0, -1, 0
	for n < len(parts) {
		if p < len(pattern) && pattern[p] == "**" {
			backP, backN = p, n
			p++
			continue
		}
		if p < len(pattern) {
			if ok, _ := path.Match(pattern[p], parts[n]); ok {
				p, n = p+1, n+1
				continue
			}
		}
		if backP < 0 {
			return false
		}
		backN++
		p, n = backP+1, backN
	}
	for p < len(pattern) && pattern[p] == "**" {
		p++
	}
	return p == len(pattern)
}

// checkNames refuses names that some device could not hold as they are.
// The files are sorted by name.
func checkNames(files []file) error {
	folded := make(map[string]string, len(files))
	for i := range files {
		name := files[i].name
		if why := badName(name); why != "" {
			return failure.Newf(failure.Failed, "name_unsafe", "read build folder", "rename it or exclude it", "%q cannot be packed: %s", name, why)
		}
		key := foldName(name)
		if other, taken := folded[key]; taken {
			return failure.Newf(failure.Failed, "name_collision", "read build folder", "rename one of them: devices may hold only one", "%q and %q differ only in letter case or Unicode form", other, name)
		}
		folded[key] = name
	}
	return nil
}

// maxName is the longest path that a bundle may hold, in bytes; maxNamePart
// the longest element, which is the limit of the devices' file systems.
const (
	maxName     = 1024
	maxNamePart = 255
)

// badName says why a path cannot stand in a bundle, or "".
func badName(name string) string {
	switch {
	case name == "":
		return "the name is empty"
	case !utf8.ValidString(name):
		return "the name is not valid UTF-8"
	case strings.ContainsRune(name, '\\'):
		return "the name contains a backslash"
	case strings.ContainsFunc(name, func(r rune) bool { return r < 0x20 || r == 0x7f }):
		return "the name contains a control character"
	case strings.HasPrefix(name, "/"):
		return "the name is absolute"
	case len(name) > maxName:
		return "the name is too long"
	}
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case part == "":
			return "the name has an empty part"
		case part == "." || part == "..":
			return "the name has a part that is " + part
		case len(part) > maxNamePart:
			return "a part of the name is longer than 255 bytes"
		}
	}
	return ""
}

var folder = cases.Fold()

// foldName maps names that a case-insensitive or normalising file system takes
// for one to the same key.
func foldName(name string) string {
	for i := range len(name) {
		if name[i] >= utf8.RuneSelf {
			return norm.NFC.String(folder.String(norm.NFC.String(name)))
		}
	}
	return strings.ToLower(name)
}

func quoted(name string) string {
	if len(name) > 200 {
		name = name[:200] + "…"
	}
	return strings.ToValidUTF8(name, "?")
}
