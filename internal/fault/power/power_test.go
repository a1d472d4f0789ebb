//go:build linux

package power

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"capstan/internal/peers"
)

const childEnv = "CAPSTAN_TEST_POWER_WRITER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		if err := write(dir); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// write does what a program may do right and wrong.
func write(dir string) error {
	text := bytes.Repeat([]byte("0123456789abcdef"), 256) // 4 KiB
	for _, name := range []string{"lazy", "careful"} {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return err
		}
		for range 3 {
			if _, err := f.Write(text); err != nil {
				return err
			}
			if name == "careful" {
				if err := f.Sync(); err != nil {
					return err
				}
			}
			fmt.Println("wrote", name)
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	if err := os.Rename(filepath.Join(dir, "careful"), filepath.Join(dir, "renamed")); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(dir, "lazy")); err != nil {
		return err
	}
	fmt.Println("removed")
	fmt.Println("end")
	return nil
}

// The images of a program that syncs before it says so hold what it said; those
// of one that does not lose it, tear it and mix it up.
func TestImages(t *testing.T) {
	strace := peers.Program(t, "strace", "apt-get install strace")
	dir := t.TempDir()
	trace, err := Record(strace, dir, []string{childEnv + "=" + dir}, os.Args[0])
	if errors.Is(err, ErrNoTrace) {
		peers.Missing(t, err.Error(), "let processes trace their children")
	}
	if err != nil {
		t.Fatal(err)
	}
	if trace.Steps() < 18 {
		t.Fatalf("the trace has %d steps", trace.Steps())
	}
	lost, torn, back, seen := 0, 0, 0, map[string]bool{}
	err = trace.Images(500, 1, func(i Image) error {
		seen[i.Kind] = true
		said := func(line string) (n int) {
			for _, s := range i.Said {
				if s == line {
					n++
				}
			}
			return n
		}
		place := t.TempDir()
		if err := i.Write(place); err != nil {
			return err
		}
		careful, err := os.ReadFile(filepath.Join(place, "careful"))
		if err != nil {
			careful, _ = os.ReadFile(filepath.Join(place, "renamed"))
		}
		if len(careful) < 4096*said("wrote careful") || !bytes.HasPrefix(careful, bytes.Repeat([]byte("0123456789abcdef"), 256*said("wrote careful"))) {
			t.Errorf("%s at %d: %d bytes of the synced file after %v", i.Kind, i.Step, len(careful), i.Said)
		}
		lazy, err := os.ReadFile(filepath.Join(place, "lazy"))
		switch gone := said("removed") > 0; {
		case gone && err == nil:
			back++
		case !gone && len(lazy) < 4096*said("wrote lazy"):
			lost++
		case len(lazy)%4096 != 0 || bytes.Contains(lazy, make([]byte, 512)):
			torn++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if lost == 0 || torn == 0 || back == 0 || len(seen) != len(kinds) {
		t.Errorf("of the file without a sync %d images lost what was said, %d are torn, %d undo its removal; kinds %v", lost, torn, back, seen)
	}
}

// A call that others interrupted in the output counts as one that was not: a
// write from its beginning, a sync at its end and for what was written before it
// began.
func TestInterruptedCalls(t *testing.T) {
	const lines = `
1 openat(AT_FDCWD<\x2f>, "\x2f\x64\x2f\x61", O_RDWR|O_CREAT, 0600) = 3<\x2f\x64\x2f\x61>
1 pwrite64(3<\x2f\x64\x2f\x61>, "\x61", 1, 0) = 1
1 fsync(3<\x2f\x64\x2f\x61> <unfinished ...>
2 pwrite64(3<\x2f\x64\x2f\x61>, "\x62", 1, 1 <unfinished ...>
1 <... fsync resumed>)              = 0
2 <... pwrite64 resumed>)           = 1
1 write(1<pipe:[1]>, "\x78\x0a", 2) = 2
`
	trace, err := Read(strings.NewReader(strings.TrimSpace(lines)+"\n"), "/d")
	if err != nil {
		t.Fatal(err)
	}
	var last Image
	if err := trace.Images(trace.Steps()*len(kinds), 1, func(i Image) error {
		if i.Kind == "none there" {
			last = i
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if got := string(last.files["a"]); got != "a" {
		t.Errorf("%q is on the disk without what was not synced", got)
	}
}

// What is printed in another form than expected is an error and no image.
func TestReadRefuses(t *testing.T) {
	for _, line := range []string{
		`1 writev(3<\x2f\x64\x2f\x61>, [{iov_base="\x61", iov_len=1}], 1) = 1`,
		`1 pwrite64(3<\x2f\x64\x2f\x61>, "\x61"..., 2, 0) = 2`,
		`1 write(3<\x2f\x64\x2f\x61>, "\x6`,
		`1 write(3<\x2f\x64\x2f\x61>, "\x6z", 1) = 1`,
	} {
		if trace, err := Read(strings.NewReader(line+"\n"), "/d"); err == nil && len(trace.steps) > 0 {
			t.Errorf("%s is taken", line)
		}
	}
}
