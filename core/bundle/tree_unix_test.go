//go:build unix

package bundle

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"capstan/core/failure"
)

// TestOddTrees puts something into a folder that cannot be packed faithfully;
// each is refused by name, and none blocks.
func TestOddTrees(t *testing.T) {
	outside := filepath.Join(writeTree(t, map[string][]byte{"secret": []byte("x")}), "secret")
	link := func(target, name string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	file := func(names ...string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			for _, name := range names {
				os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755)
				if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
					t.Skip("the file system refuses the name:", err)
				}
			}
		}
	}
	tests := []struct {
		name string
		odd  func(t *testing.T, dir string)
		code string
		in   string // part of the message
	}{
		{"fifo", func(t *testing.T, dir string) {
			if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, "odd_file", "pipe"},
		{"socket", func(t *testing.T, dir string) {
			l, err := net.Listen("unix", filepath.Join(dir, "s"))
			if err != nil {
				t.Skip(err)
			}
			t.Cleanup(func() { l.Close() })
		}, "odd_file", "s"},
		{"link to a fifo", func(t *testing.T, dir string) {
			os.Mkdir(filepath.Join(dir, "d"), 0o755)
			if err := syscall.Mkfifo(filepath.Join(dir, "d", "pipe"), 0o644); err != nil {
				t.Fatal(err)
			}
			link("d/pipe", "a-link")(t, dir)
		}, "odd_file", "a-link"},
		{"link to a file outside", link(outside, "leak"), "symlink_outside", "leak"},
		{"relative link outside", link("../../etc", "leak"), "symlink", "leak"},
		{"link to the parent", link("..", "up"), "symlink_outside", "up"},
		{"link to the folder itself", link(".", "self"), "symlink_loop", "self"},
		{"link to itself", link("me", "me"), "symlink_loop", "me"},
		{"two links in a circle", func(t *testing.T, dir string) { link("b", "a")(t, dir); link("a", "b")(t, dir) }, "symlink_loop", "a"},
		{"folders that hold each other", func(t *testing.T, dir string) {
			os.MkdirAll(filepath.Join(dir, "x/y"), 0o755)
			link("..", "x/y/z")(t, dir)
		}, "symlink_loop", "x/y/z"},
		{"link to nowhere", link("gone", "broken"), "symlink_broken", "broken"},
		{"backslash", file(`a\b.js`), "name_unsafe", "backslash"},
		{"new line", file("a\nb.js"), "name_unsafe", "control"},
		{"escape sequence", file("a\x1b[31mb.js"), "name_unsafe", "control"},
		{"not UTF-8", file("a\xff.js"), "name_unsafe", "UTF-8"},
		{"letter case", file("A.js", "a.js"), "name_collision", "letter case"},
		{"letter case of folders", file("B/x.js", "b/x.js"), "name_collision", "letter case"},
		{"letter case in Greek", file("Σ.js", "ς.js"), "name_collision", "letter case"},
		{"Unicode forms", file("\u00e9.js", "e\u0301.js"), "name_collision", "Unicode"},
		{"too deep", file(strings.Repeat(strings.Repeat("n", 200)+"/", 6) + "x"), "name_unsafe", "too long"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := writeTree(t, good())
			test.odd(t, dir)
			_, err := Pack(context.Background(), dir, io.Discard, Options{})
			if err == nil || !strings.HasPrefix(failure.CodeOf(err), test.code) || !strings.Contains(err.Error(), test.in) {
				t.Errorf("got %v (%s), want %s about %q", err, failure.CodeOf(err), test.code, test.in)
			}
			if err != nil && failure.HintOf(err) == "" {
				t.Error("there is no hint")
			}
		})
	}
}

func TestLinksInsideArePackedAsContent(t *testing.T) {
	files := with("assets/real.js", "content")
	dir := writeTree(t, files)
	for target, name := range map[string]string{"assets/real.js": "link.js", "assets": "also", filepath.Join(dir, "app.js"): "absolute.js"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	files["link.js"], files["also/real.js"], files["absolute.js"] = []byte("content"), []byte("content"), files["app.js"]
	archive, _ := packBytes(t, dir, Options{})
	checkHolds(t, archive, files)

	reached := filepath.Join(t.TempDir(), "link") // the folder itself may be a link
	if err := os.Symlink(dir, reached); err != nil {
		t.Fatal(err)
	}
	again, _ := packBytes(t, reached, Options{})
	if !bytes.Equal(archive, again) {
		t.Error("packing through a link gives other bytes")
	}
}

// TestUnreadable gives up the right to read everything for a moment when it runs as root.
func TestUnreadable(t *testing.T) {
	for _, name := range []string{"app.js", "d"} {
		dir := writeTree(t, with("d/x.js", "x"))
		for up := dir; strings.HasPrefix(up, os.TempDir()+"/"); up = filepath.Dir(up) {
			os.Chmod(up, 0o755)
		}
		os.Chmod(filepath.Join(dir, name), 0)
		root := syscall.Geteuid() == 0
		if root {
			if err := syscall.Seteuid(65534); err != nil {
				t.Skip(err)
			}
		}
		_, err := Pack(context.Background(), dir, io.Discard, Options{})
		if root {
			if err := syscall.Seteuid(0); err != nil {
				t.Fatal(err)
			}
		}
		os.Chmod(filepath.Join(dir, name), 0o755)
		if failure.CodeOf(err) != "file_unreadable" || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestChangingWhileRead changes a file after the walk and before, or while, it is read.
func TestChangingWhileRead(t *testing.T) {
	long := bytes.Repeat(text(1, 1<<20), 20) // more than is read ahead
	tests := map[string]func(path string){
		"grows":       func(path string) { appendTo(path, "more") },
		"shrinks":     func(path string) { os.Truncate(path, 3) },
		"is emptied":  func(path string) { os.Truncate(path, 0) },
		"is touched":  func(path string) { os.Chtimes(path, fixedTime(1), fixedTime(1)) },
		"is replaced": func(path string) { os.WriteFile(path+"~", []byte("other"), 0o644); os.Rename(path+"~", path) },
		"is removed":  func(path string) { os.Remove(path) },
		"becomes a fifo": func(path string) {
			os.Remove(path)
			syscall.Mkfifo(path, 0o644)
		},
		"becomes a link": func(path string) { os.Remove(path); os.Symlink("/etc/hostname", path) },
	}
	dir := writeTree(t, map[string][]byte{"a.js": long})
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, "z.js")
			os.Remove(path)
			os.WriteFile(path, []byte("other"), 0o644)
			var done bool
			_, err := Pack(context.Background(), dir, io.Discard, Options{Level: 1, Progress: func(int64, int64) {
				if !done {
					done = true
					change(path)
				}
			}})
			if failure.CodeOf(err) != "file_changed" || !strings.Contains(err.Error(), "z.js") {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("between sum and copy", func(t *testing.T) {
		dir := writeTree(t, map[string][]byte{"film.mp4": noise(1, 8<<20)})
		path := filepath.Join(dir, "film.mp4")
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		changed := false
		_, err = Pack(context.Background(), dir, io.Discard, Options{Progress: func(n, _ int64) {
			if n > 0 && !changed {
				changed = true
				f, _ := os.OpenFile(path, os.O_WRONLY, 0)
				f.WriteAt([]byte("changed"), 7<<20)
				f.Close()
				os.Chtimes(path, info.ModTime(), info.ModTime()) // not even the time tells
			}
		}})
		if failure.CodeOf(err) != "file_changed" {
			t.Errorf("got %v", err)
		}
	})
}

func appendTo(path, s string) {
	f, _ := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	f.WriteString(s)
	f.Close()
}

func TestSparseFile(t *testing.T) {
	dir := writeTree(t, good())
	if err := os.WriteFile(filepath.Join(dir, "sparse.bin"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	os.Truncate(filepath.Join(dir, "sparse.bin"), 5<<20)
	files := with("sparse.bin", string(make([]byte, 5<<20)))
	archive, _ := packBytes(t, dir, Options{})
	checkHolds(t, archive, files)
	if len(archive) > 100_000 {
		t.Errorf("5 MiB of nothing take %d bytes", len(archive))
	}
}
