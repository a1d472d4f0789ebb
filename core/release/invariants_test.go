package release_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"capstan/core/capgo"
	"capstan/core/fsck"
	"capstan/core/remote"
)

// invariants holds what must be true of an app after any fault, whether the
// release went through or not:
//
//	I1 what a channel serves verifies        fsck downloads and opens it
//	I2 a channel has one pointer, and its history leads to it   fsck
//	I3 what was acknowledged is there        fsck: objects and rows of the journals
//	I4 a version's content never changes     fsck: journals against rows, one row a version
//	I5 promoted means proven                 the journals
//	I6 no secret in any artefact             journals, spools, receipts
//	I7 a repeated command changes once       the history
//	I8 versions only go back by a rollback   the history
func (v victim) invariants(t testing.TB) {
	t.Helper()
	ctx := t.Context()
	pipeline := v.pipeline(t)
	registry := pipeline.Registry.(*remote.Client)
	report, err := fsck.Check(ctx, fsck.Config{AppID: v.Plan.AppID, Registry: registry, Storage: pipeline.Storage, Journals: pipeline.Journals, PublicKey: v.Plan.PublicKey, All: true})
	if err != nil {
		t.Fatalf("I1 to I4: %v", err)
	}
	for _, f := range report.Findings {
		if f.Level == fsck.Block || f.Unverified || f.Code == "object_missing" || f.Code == "journal_damaged" {
			t.Errorf("I1 to I4: %s %s: %s", f.Code, f.Subject, f.Text)
		}
	}
	bundles, err := registry.Bundles(ctx, v.Plan.AppID)
	if err != nil {
		t.Fatal(err)
	}
	rows, ids := map[string]int{}, map[string]int64{}
	for _, b := range bundles {
		rows[b.Name]++
		ids[b.Name] = b.ID
	}
	for name, n := range rows {
		if n != 1 {
			t.Errorf("I4: %d bundles %s", n, name)
		}
	}
	states, err := pipeline.Journals.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range states {
		if s.Promoted != nil && (s.Proved == nil || s.Registered == nil || s.Uploaded == nil) {
			t.Errorf("I5: release %s is promoted and not proven", s.ID)
		}
	}
	v.secrets(t)
	history, err := registry.History(ctx, v.Plan.AppID, v.Plan.Channel)
	if err != nil {
		t.Fatal(err)
	}
	v.checkHistory(t, history, ids)
}

// checkHistory reads a channel's history, newest first: I7 and I8.
func (v victim) checkHistory(t testing.TB, history []capgo.Change, ids map[string]int64) {
	t.Helper()
	live := ""
	for i := len(history) - 1; i >= 0; i-- {
		change := history[i]
		switch change.Action {
		case "channel.promote":
			if change.To == live {
				t.Errorf("I7: %s was promoted twice", live)
			}
			if live != "" && live != capgo.Builtin && ids[change.To] < ids[live] {
				t.Errorf("I8: %s follows %s without a rollback", change.To, live)
			}
			live = change.To
		case "channel.rollback":
			live = change.To
		}
	}
}

// secrets looks for the private key and the token in everything that a release
// leaves on this machine: I6.
func (v victim) secrets(t testing.TB) {
	t.Helper()
	needles := [][]byte{[]byte(v.Token), []byte("PRIVATE KEY")}
	if body := bytes.Split([]byte(v.Key), []byte("\n")); len(body) > 2 {
		needles = append(needles, body[2])
	}
	err := filepath.WalkDir(v.State, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, needle := range needles {
			if bytes.Contains(content, needle) {
				t.Errorf("I6: %s holds a secret", filepath.Base(path))
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
