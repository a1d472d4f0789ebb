package keys

import (
	"context"
	"crypto/rsa"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"capstan/core/failure"
)

// The variables that make a test process the victim of TestKilledAtEveryStep.
const (
	victimDir  = "CAPSTAN_TEST_VICTIM_DIR"
	victimStep = "CAPSTAN_TEST_VICTIM_STEP"
	// victimFull makes the disk refuse from that step on, instead of killing.
	victimFull = "CAPSTAN_TEST_VICTIM_FULL"
)

// TestMain becomes the victim when asked to, else runs the tests.
func TestMain(m *testing.M) {
	if os.Getenv(victimDir) == "" {
		os.Exit(m.Run())
	}
	os.Exit(victim())
}

// victim makes a key and writes its public half, and dies at the step it was
// told: the process ends there and then, as from a power cut, and no deferred
// function runs. It ends with 0 when it came to the end.
func victim() int {
	dir := os.Getenv(victimDir)
	last, err := strconv.Atoi(os.Getenv(victimStep))
	if err != nil {
		return 2
	}
	key, err := fixedKey("capgo_key_v2")
	if err != nil {
		return 2
	}
	step := 0
	ring, err := NewRing(filepath.Join(dir, "ring"), Options{testOnlyKey: key, Passphrase: fixedPassphrase("correct horse battery"), WorkFactor: 8, testOnlyFault: func(string) error {
		if step++; step < last {
			return nil
		}
		if os.Getenv(victimFull) != "" {
			return errors.New("no space left on device")
		}
		p, err := os.FindProcess(os.Getpid())
		if err == nil {
			_ = p.Kill()
		}
		select {} // until the signal arrives
	}})
	if err != nil {
		return 2
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	rec, err := ring.Create(ctx, testApp, File)
	if err != nil {
		return 3
	}
	if _, err := ring.WritePublic(ctx, rec, filepath.Join(dir, "project")); err != nil {
		return 3
	}
	return 0
}

// fixedKey saves the time of making one.
func fixedKey(name string) (*rsa.PrivateKey, error) {
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		return nil, err
	}
	return ParsePrivate(text)
}

// TestKilledAtEveryStep kills key creation before every step that changes the
// disk. What is there afterwards is nothing, or a whole key; never a public
// half without its private one; and the next creation finishes the work and
// leaves exactly one key and no litter.
func TestKilledAtEveryStep(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, full := range []string{"", "1"} {
		steps := 0
		for step := 1; ; step++ {
			if step > 200 {
				t.Fatal("the victim never came to its end")
			}
			dir := t.TempDir()
			project := filepath.Join(dir, "project")
			if err := os.Mkdir(project, 0o755); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), self, "-test.run=^$")
			cmd.Env = append(os.Environ(), victimDir+"="+dir, victimStep+"="+strconv.Itoa(step), victimFull+"="+full)
			out, err := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code == 2 {
				t.Fatalf("victim: %v\n%s", err, out)
			}
			inspectWreck(t, step, dir)
			if err == nil {
				break
			}
			steps++
		}
		if steps < 20 {
			t.Errorf("only %d steps were tried", steps)
		}
		t.Logf("%d steps, disk full: %q", steps, full)
	}
}

// inspectWreck looks at what a dead creation left, and finishes it.
func inspectWreck(t *testing.T, step int, dir string) {
	t.Helper()
	ctx := t.Context()
	project := filepath.Join(dir, "project")
	another, err := fixedKey("second_key_v2")
	if err != nil {
		t.Fatal(err)
	}
	ring := testRingIn(t, filepath.Join(dir, "ring"), Options{testOnlyKey: another})
	all, err := ring.List(ctx, "")
	if err != nil {
		t.Fatalf("step %d: the index is broken: %v", step, err)
	}
	if len(all) > 1 {
		t.Fatalf("step %d: %d keys", step, len(all))
	}
	for _, rec := range all {
		if !rec.Unfinished {
			if err := ring.Check(ctx, rec); err != nil {
				t.Errorf("step %d: a key that counts as created is broken: %v", step, err)
			}
		}
	}
	stored, err := filepath.Glob(filepath.Join(ring.dir, "keys", "key-*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(stored) > len(all) {
		t.Errorf("step %d: a private half is stored and not known: %v", step, stored)
	}
	public, err := os.ReadFile(filepath.Join(project, PublicFile))
	switch {
	case err == nil:
		if len(all) != 1 || all[0].Unfinished || string(public) != all[0].PublicPEM {
			t.Errorf("step %d: half a pair: %v", step, all)
		}
	case !errors.Is(err, fs.ErrNotExist):
		t.Fatal(err)
	}

	rec, err := func() (Record, error) {
		if len(all) == 1 && !all[0].Unfinished {
			return all[0], nil
		}
		return ring.Create(ctx, testApp, File)
	}()
	if err != nil {
		t.Fatalf("step %d: the next creation: %v", step, err)
	}
	if len(stored) == 1 && rec.Location != stored[0] {
		t.Errorf("step %d: %s is left behind beside %s", step, stored[0], rec.Location)
	}
	if _, err := ring.WritePublic(ctx, rec, project); err != nil {
		t.Fatalf("step %d: the public half: %v", step, err)
	}
	// every later use of a folder sweeps it
	if err := errors.Join(ring.Probe(ctx, File), ring.touch(ctx, rec.Ref(), func(*Record) {})); err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(d.Name(), tempPrefix) {
			t.Errorf("step %d: litter: %s", step, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if all, err := ring.List(ctx, testApp); err != nil || len(all) != 1 {
		t.Errorf("step %d: in the end %v %v", step, all, err)
	}
}

func TestReadOnlyFolder(t *testing.T) {
	if os.Geteuid() == 0 {
		// Root is not stopped by rights; a file in the folder's place stops everyone.
		dir := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(dir, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		ring := testRingIn(t, dir, Options{})
		if _, err := ring.Create(t.Context(), testApp, File); failure.CodeOf(err) != "folder_unwritable" || failure.HintOf(err) == "" {
			t.Errorf("%v", err)
		}
		return
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	ring := testRingIn(t, filepath.Join(dir, "ring"), Options{})
	if _, err := ring.Create(t.Context(), testApp, File); failure.CodeOf(err) != "folder_unwritable" || failure.HintOf(err) == "" {
		t.Errorf("%v", err)
	}
}
