//go:build unix

package release_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"capstan/core/failure"
	"capstan/core/release"
	"capstan/internal/fault"
	"capstan/internal/peers"
)

// TestDiskFailsOnce lets each write, sync, rename and removal of a release fail
// once, as on a full and as on a broken disk. The error is a clear one, nothing
// is half written, and the release continues.
func TestDiskFailsOnce(t *testing.T) {
	y := newYard(t)
	var mu sync.Mutex
	var points []string
	remove := fault.SetFails(func(p string) error {
		mu.Lock()
		defer mu.Unlock()
		points = append(points, p)
		return nil
	})
	first := y.victim(t, "com.example.counting", "1.0.0")
	_, err := first.pipeline(t).Run(t.Context(), first.Plan, func(release.Event) {})
	remove()
	if err != nil {
		t.Fatal(err)
	}
	if len(points) < 30 {
		t.Fatalf("only %d operations: %v", len(points), points)
	}
	causes := []error{syscall.ENOSPC, syscall.EIO}
	step := 7
	if peers.Required() || os.Getenv("CAPSTAN_LONG") == "1" {
		step = 1
	}
	tried := 0
	// The hook is the whole process's, so that the cases run one by one.
	for i := 0; i < len(points)*len(causes); i += step {
		at, cause := i/len(causes), causes[i%len(causes)]
		tried++
		t.Run(fmt.Sprintf("%03d %s %s", at, points[at], cause), func(t *testing.T) {
			v := y.victim(t, fmt.Sprintf("com.example.disk%d", i), "1.0.0")
			n := 0
			remove := fault.SetFails(func(string) error {
				mu.Lock()
				defer mu.Unlock()
				n++
				if n == at+1 {
					return &os.PathError{Op: "write", Path: "journal", Err: cause}
				}
				return nil
			})
			_, err := v.pipeline(t).Run(t.Context(), v.Plan, func(release.Event) {})
			remove()
			switch code := failure.CodeOf(err); {
			case err == nil:
				t.Error("the failure went unnoticed")
			case cause == syscall.ENOSPC && code != "disk_full", cause == syscall.EIO && code != "state_folder", !errors.Is(err, cause):
				t.Errorf("code %s: %v", code, err)
			}
			v.resumable(t)
			v.goOn(t)
			v.check(t)
		})
	}
	t.Logf("count: disk: %d operations, full and broken: %d cases, %d tried", len(points), len(points)*len(causes), tried)
}

// resumable holds the state folder of a release that stopped: each journal
// reads whole, and no part of a spool is left.
func (v victim) resumable(t *testing.T) {
	t.Helper()
	journals, err := release.OpenJournals(v.State)
	if err != nil {
		t.Fatal(err)
	}
	if damaged, err := journals.Damaged(t.Context()); err != nil || len(damaged) > 0 {
		t.Errorf("damaged journals: %v %v", damaged, err)
	}
	if parts, _ := filepath.Glob(filepath.Join(v.State, "*", "*.part")); len(parts) > 0 {
		t.Errorf("half files: %v", parts)
	}
}

// TestDiskLimit runs a release in a process whose files may not grow beyond a
// limit, for limits from nothing to enough: writes are cut in the middle, as on
// a disk that fills up.
func TestDiskLimit(t *testing.T) {
	y := newYard(t)
	step := 1024
	switch {
	case os.Getenv("CAPSTAN_LONG") == "1":
		step = 24
	case peers.Required():
		step = 128
	}
	var stopped, through atomic.Int64
	slots := make(chan struct{}, 2)
	t.Run("limits", func(t *testing.T) {
		for limit := 0; limit <= 6<<10; limit += step {
			t.Run(fmt.Sprint(limit), func(t *testing.T) {
				t.Parallel()
				slots <- struct{}{}
				defer func() { <-slots }()
				v := y.victim(t, fmt.Sprintf("com.example.limit%d", limit), "1.0.0")
				output, ended := v.child(t, "CAPSTAN_TEST_FILE_LIMIT="+fmt.Sprint(limit))
				if ended == nil {
					through.Add(1)
				} else {
					stopped.Add(1)
					if !strings.Contains(output, "code disk_full") && !strings.Contains(output, "code insufficient_disk_space") {
						t.Errorf("it did not say that the disk is full: %s", output)
					}
				}
				v.resumable(t)
				v.goOn(t)
				v.check(t)
			})
		}
	})
	t.Logf("count: disk limits: %d tried, %d stopped and were continued, %d went through", stopped.Load()+through.Load(), stopped.Load(), through.Load())
	if stopped.Load() == 0 {
		t.Error("no limit stopped a release")
	}
}
