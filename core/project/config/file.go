// Package config reads and edits capacitor.config.ts, .js and .json without
// Node and without harm.
//
// Read opens the file, (*File).Evaluate gives its value as Capacitor would see
// it, and (*File).Change plans an edit of a few settings of the updater plugin
// that leaves every other byte in place.
//
// Scripts are evaluated in a sandbox: bundled by esbuild, run by goja with no
// network, no processes, no writing, and reading only inside the project. A
// config that needs more is refused, never run elsewhere.
package config

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"capstan/core/failure"
)

// Names are the file names that Capacitor reads, in its order: the first one
// that exists wins and the others are ignored.
var Names = []string{"capacitor.config.ts", "capacitor.config.js", "capacitor.config.json"}

// Language is how a config file is written.
type Language string

// The three languages of a Capacitor config.
const (
	JSON       Language = "json"
	JavaScript Language = "js"
	TypeScript Language = "ts"
)

// maxSize bounds a config and every module that it imports. Real ones have a
// few kilobytes.
const maxSize = 1 << 20

// File is a config as it was read.
type File struct {
	Path     string // absolute
	Root     string // imports and file reads of a script stay below this folder
	Language Language
	Text     []byte
	Mode     fs.FileMode

	// read is what a script takes for the current time, so that two evaluations
	// of the same text cannot differ by the clock.
	read time.Time
}

// Read opens the config at path. root is the folder that a script may read in,
// normally the workspace; empty means the config's own folder.
func Read(path, root string) (*File, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, failure.Wrap(err, failure.Failed, "config_unreadable", "read config", "")
	}
	if root == "" {
		root = filepath.Dir(path)
	}
	if root, err = filepath.Abs(root); err != nil {
		return nil, failure.Wrap(err, failure.Failed, "config_unreadable", "read config", "")
	}
	f := &File{Path: path, Root: root, read: time.Now()}
	switch strings.ToLower(filepath.Ext(path)) {
	case ".json":
		f.Language = JSON
	case ".js":
		f.Language = JavaScript
	case ".ts":
		f.Language = TypeScript
	default:
		return nil, failure.Newf(failure.Usage, "config_unknown_name", "read config", "Capacitor reads capacitor.config.ts, .js and .json only", "%s is not a Capacitor config", filepath.Base(path))
	}
	if f.Text, f.Mode, err = readBounded(path); err != nil {
		class := failure.Failed
		if errors.Is(err, fs.ErrNotExist) {
			class = failure.NotFound
		}
		return nil, failure.Wrap(err, class, "config_unreadable", "read config", "")
	}
	if !utf8.Valid(f.Text) {
		return nil, failure.Newf(failure.Failed, "config_not_utf8", "read config", "save it as UTF-8", "%s is not UTF-8 text", filepath.Base(path))
	}
	return f, nil
}

// readBounded reads a regular file of at most maxSize bytes.
func readBounded(path string) ([]byte, fs.FileMode, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, &fs.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	}
	in, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer in.Close()
	text, err := io.ReadAll(io.LimitReader(in, maxSize+1))
	if err != nil {
		return nil, 0, err
	}
	if len(text) > maxSize {
		return nil, 0, &fs.PathError{Op: "read", Path: path, Err: errors.New("larger than 1 MiB")}
	}
	return text, info.Mode(), nil
}

// Unchanged reports whether the file on disk still holds what was read.
func (f *File) Unchanged() bool {
	now, _, err := readBounded(f.Path)
	return err == nil && bytes.Equal(now, f.Text)
}

// WithText is the same file with other text, for asking Strict or Evaluate
// about a change before it is written.
func (f *File) WithText(text []byte) (*File, error) {
	if !utf8.Valid(text) {
		return nil, failure.New(failure.Failed, "config_not_utf8", "change config", "the text is not UTF-8", "")
	}
	return f.with(text), nil
}

// Replace writes other text into the file: atomically, with the mode it had,
// and only when it still holds what was read (else failure code config_changed).
func (f *File) Replace(text []byte) error { return f.replace(text) }

// with is the same file with other text, for looking at an edit before it is written.
func (f *File) with(text []byte) *File {
	next := *f
	next.Text = text
	return &next
}
