package connect

import (
	"testing"

	"capstan/core/failure"
	"capstan/core/keys"
	"capstan/core/release"
	"capstan/ui/views"
)

// TestRotation changes keys as the console does, on a real server: a release is
// sealed for the key of each state, whatever key the screen names.
func TestRotation(t *testing.T) {
	d := newDesk(t)
	ctx := t.Context()
	old, err := d.Keys.Create(ctx, app, "file")
	if err != nil {
		t.Fatal(err)
	}
	version := "1.0.0"
	publish := func(keyID string) release.State {
		t.Helper()
		emit := func(release.Event) {}
		prepared, err := d.Releases.Prepare(ctx, views.ReleaseRequest{AppID: app, Dir: d.dir + "/dist", Channel: "production", Version: version, KeyID: keyID}, emit)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Releases.Promote(ctx, prepared, emit); err != nil {
			t.Fatal(err)
		}
		state, err := d.workspace.Journals.Read(prepared.ID)
		if err != nil {
			t.Fatal(err)
		}
		return state
	}
	publish(old.ID)

	if r, err := d.Rotations.Read(ctx, app); err != nil || r.State != "" {
		t.Fatalf("before: %+v %v", r, err)
	}
	r, err := d.Rotations.Start(ctx, app, "file")
	if err != nil || r.State != "announced" || r.OldKeyID != old.ID {
		t.Fatalf("start: %+v %v", r, err)
	}
	if _, err := d.Rotations.Start(ctx, app, "file"); failure.CodeOf(err) != "rotation_running" {
		t.Errorf("start again: %v", err)
	}
	version = "1.0.1"
	if s := publish(r.NewKeyID); s.Plan.KeyID != old.ID || s.Plan.Second != nil {
		t.Errorf("announced, sealed for %s and %+v", s.Plan.KeyID, s.Plan.Second)
	}
	if r, err = d.Rotations.Advance(ctx, app, "both", false); err != nil || r.State != "both" {
		t.Fatalf("both: %+v %v", r, err)
	}
	onServer, err := d.workspace.Registry.App(ctx, app)
	if err != nil || onServer.SecondPublicKey == "" {
		t.Fatalf("on record: %+v %v", onServer, err)
	}
	if r, err = d.Rotations.Advance(ctx, app, "draining", false); err != nil || r.State != "draining" {
		t.Fatalf("draining: %+v %v", r, err)
	}
	if _, err := d.Rotations.Advance(ctx, app, "retired", true); failure.CodeOf(err) != "bundle_one_key" {
		t.Errorf("retired while the channel serves what is sealed for the old key: %v", err)
	}
	version = "1.0.2"
	s := publish(old.ID)
	if s.Plan.KeyID != r.NewKeyID || s.Plan.Second == nil || s.Plan.Second.KeyID != old.ID || s.Promoted.SecondDevice == nil || !s.Promoted.SecondDevice.Installed {
		t.Errorf("draining, sealed for %s and %+v: %+v", s.Plan.KeyID, s.Plan.Second, s.Promoted)
	}
	if r, err = d.Rotations.Count(ctx, app); err != nil || r.Counted.IsZero() {
		t.Errorf("count: %+v %v", r, err)
	}
	if r, err = d.Rotations.Advance(ctx, app, "retired", true); err != nil || r.State != "retired" {
		t.Fatalf("retired: %+v %v", r, err)
	}
	onServer, err = d.workspace.Registry.App(ctx, app)
	if err != nil || onServer.SecondPublicKey != "" {
		t.Errorf("on record: %+v %v", onServer, err)
	}
	if public, err := keys.ParsePublic([]byte(onServer.PublicKey)); err != nil || keys.KeyID(public) != r.NewKeyID {
		t.Errorf("on record: %v", err)
	}
	if err := d.Rotations.Cancel(ctx, app); failure.CodeOf(err) != "rotation_order" {
		t.Errorf("cancelled after the end: %v", err)
	}
}
