package connect

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"capstan/core/failure"
	"capstan/core/keys"
	"capstan/core/profile"
	"capstan/core/release"
	"capstan/core/workspace"
	"capstan/examples"
	"capstan/internal/servertest"
	"capstan/ui/views"
)

const app = "com.example.harbour"

// desk is a console's services on a real server, a real project and a real ring.
type desk struct {
	views.Services
	workspace *workspace.Workspace
	dir       string
	asked     atomic.Int32
	answer    string // what the operator types
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	server := servertest.Start(t)
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("CAPSTAN_HOME", filepath.Join(home, "capstan"))
	t.Setenv("CAPSTAN_SERVER", server.BaseURL)
	t.Setenv("CAPSTAN_TOKEN", server.Token)
	t.Setenv("CAPSTAN_TOKEN_FILE", "")
	t.Setenv("CAPSTAN_STORAGE", "")
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path="+filepath.Join(home, "no-bus"))
	d := &desk{dir: filepath.Join(home, "app"), answer: "correct horse battery staple"}
	if err := examples.Unpack(d.dir); err != nil {
		t.Fatal(err)
	}
	target, err := profile.Resolve(t.Context(), d.dir, "", profile.Flags{})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(context.Context, string) ([]byte, error) {
		d.asked.Add(1)
		return []byte(d.answer), nil
	}
	d.workspace, err = workspace.Open(t.Context(), workspace.Config{Dir: d.dir, Target: target, Keys: keys.Options{Passphrase: ask, WorkFactor: 8}})
	if err != nil {
		t.Fatal(err)
	}
	if d.Services, err = Services(d.workspace, Options{CreateApp: true}); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestFirstReleaseFromTheConsole is what the console does on the first day: a
// store, a key, the config, a release in two phases, and the device's word.
func TestFirstReleaseFromTheConsole(t *testing.T) {
	d := newDesk(t)
	ctx := t.Context()
	stores, err := d.Keys.Stores(ctx)
	if err != nil || len(stores) != 2 || stores[0].Kind != "file" || stores[1].Unusable == "" {
		t.Fatalf("stores: %+v %v", stores, err)
	}
	if _, err := d.Keys.Create(ctx, app, stores[1].Kind); failure.ExitStatus(err) != int(failure.KeyStore) {
		t.Errorf("a key in a store that is not there: %v", err)
	}
	key, err := d.Keys.Create(ctx, app, stores[0].Kind)
	if err != nil || key.AppID != app || len(key.ID) != 20 || d.asked.Load() == 0 {
		t.Fatalf("create: %+v %v", key, err)
	}
	edit, err := d.Project.PlanKey(ctx, key.PublicPEM)
	if err != nil || edit.Apply == nil || !strings.Contains(edit.Diff, "publicKey") {
		t.Fatalf("plan: %+v %v", edit, err)
	}
	if err := edit.Apply(ctx); err != nil {
		t.Fatal(err)
	}
	if again, err := d.Project.PlanKey(ctx, key.PublicPEM); err != nil || again.Diff != "" || again.Snippet != "" {
		t.Errorf("written already: %+v %v", again, err)
	}
	if findings, err := d.Project.Doctor(ctx); err != nil || len(findings) == 0 {
		t.Errorf("doctor: %+v %v", findings, err)
	}
	report, err := d.Folders.Inspect(ctx, filepath.Join(d.dir, "dist"))
	if err != nil || !report.Build || report.Files == 0 {
		t.Fatalf("inspect: %+v %v", report, err)
	}
	if none, err := d.Folders.Inspect(ctx, filepath.Join(d.dir, "nowhere")); err != nil || none.Build || len(none.Findings) != 1 {
		t.Errorf("inspect of nothing: %+v %v", none, err)
	}
	version, err := d.Releases.NextVersion(ctx, app, report.Dir)
	if err != nil || version != "1.0.0" {
		t.Errorf("next version %q %v", version, err)
	}
	var stages []release.StageName
	emit := func(e release.Event) {
		if e.Kind == release.EventFinished {
			stages = append(stages, e.Stage)
		}
	}
	prepared, err := d.Releases.Prepare(ctx, views.ReleaseRequest{AppID: app, Dir: report.Dir, Channel: "production", KeyID: key.ID}, emit)
	if err != nil || prepared.Version != "1.0.0" || prepared.KeyID != key.ID || len(stages) != 5 {
		t.Fatalf("prepare: %+v %v %v", prepared, stages, err)
	}
	waiting, err := d.Releases.Unfinished(ctx, app)
	if err != nil || len(waiting) != 1 || waiting[0].ID != prepared.ID || waiting[0].Stage != release.StagePromote {
		t.Errorf("unfinished: %+v %v", waiting, err)
	}
	result, err := d.Releases.Promote(ctx, prepared, emit)
	if err != nil || result.Device == nil || !result.Device.Installed {
		t.Fatalf("promote: %+v %v", result, err)
	}
	if waiting, err := d.Releases.Unfinished(ctx, app); err != nil || len(waiting) != 0 {
		t.Errorf("unfinished after the promotion: %+v %v", waiting, err)
	}
	if device, err := d.Prober.Check(ctx, app, "production", emit); err != nil || !device.Installed {
		t.Errorf("probe: %+v %v", device, err)
	}
	if recent, err := d.Folders.Recent(ctx); err != nil || len(recent) != 1 || recent[0] != report.Dir {
		t.Errorf("recent folders: %v %v", recent, err)
	}
	if next, err := d.Releases.NextVersion(ctx, app, report.Dir); err != nil || next != "1.0.1" {
		t.Errorf("next version %q %v", next, err)
	}
	inventory, err := d.Contents.Files(ctx, app, "1.0.0")
	if err != nil || len(inventory.Files) != report.Files {
		t.Errorf("contents: %d files of %d, %v", len(inventory.Files), report.Files, err)
	}
}

// TestKeyCare takes a key out of its store and back, by every way there is.
func TestKeyCare(t *testing.T) {
	d := newDesk(t)
	ctx := t.Context()
	key, err := d.Keys.Create(ctx, app, "file")
	if err != nil {
		t.Fatal(err)
	}
	backup, export := filepath.Join(d.dir, "..", "keys.age"), filepath.Join(d.dir, "..", "key.age")
	if err := d.KeyCare.Backup(ctx, app, backup); err != nil {
		t.Fatal(err)
	}
	if err := d.KeyCare.Backup(ctx, app, backup); failure.CodeOf(err) != "file_exists" {
		t.Errorf("over a backup: %v", err)
	}
	drilled, err := d.KeyCare.Drill(ctx, backup)
	if err != nil || len(drilled) != 1 || drilled[0].KeyID != key.ID || !drilled[0].Known {
		t.Errorf("drill: %+v %v", drilled, err)
	}
	list, err := d.Keys.List(ctx, app)
	if err != nil || len(list) != 1 || list[0].BackedUp.IsZero() || list[0].Drilled.IsZero() {
		t.Errorf("list: %+v %v", list, err)
	}
	if err := d.KeyCare.Export(ctx, key, export); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{backup, export} {
		text, err := os.ReadFile(path)
		info, serr := os.Stat(path)
		if err != nil || serr != nil || strings.Contains(string(text), "PRIVATE KEY") || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v, mode %v", filepath.Base(path), err, serr, info.Mode())
		}
	}
	d.answer = "not that one at all"
	if _, err := d.KeyCare.Drill(ctx, backup); failure.CodeOf(err) != "passphrase_wrong" {
		t.Errorf("a wrong passphrase: %v", err)
	}
	d.answer = "correct horse battery staple"
	if err := d.KeyCare.Remove(ctx, key); err != nil {
		t.Fatal(err)
	}
	if list, err := d.Keys.List(ctx, app); err != nil || len(list) != 0 {
		t.Errorf("after removal: %+v %v", list, err)
	}
	if drilled, err := d.KeyCare.Drill(ctx, backup); err != nil || len(drilled) != 1 || drilled[0].Known {
		t.Errorf("drill of a key that is gone: %+v %v", drilled, err)
	}
	back, findings, err := d.KeyCare.Import(ctx, app, export, "file")
	if err != nil || back.ID != key.ID || back.Fingerprint != key.Fingerprint {
		t.Errorf("import: %+v %+v %v", back, findings, err)
	}
	if _, _, err := d.KeyCare.Import(ctx, app, backup, "file"); failure.CodeOf(err) != "key_is_backup" {
		t.Errorf("a backup as a key: %v", err)
	}
}

// TestSettingsAreKept: what one console saves, the next one has.
func TestSettingsAreKept(t *testing.T) {
	d := newDesk(t)
	if d.Preferences == nil {
		t.Fatal("there are none")
	}
	if err := d.Preferences.Save(t.Context(), views.Settings{Theme: "mono", Lang: "es"}); err != nil {
		t.Fatal(err)
	}
	other, err := Services(d.workspace, Options{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := other.Preferences.Load(t.Context())
	if err != nil || got.Theme != "mono" || got.Lang != "es" {
		t.Errorf("%+v %v", got, err)
	}
	facts := Facts(d.workspace, "")
	if facts.AppID != app || facts.WebDir == "" || facts.PluginVersion == "" || facts.Channel != "production" {
		t.Errorf("facts: %+v", facts)
	}
}
