package connect

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/core/release"
	"capstan/ui/views"
)

// TestReleaseInAFreeze is a release that a freeze meets before its promotion, on
// a real server: it goes out with a reason, which the history keeps.
func TestReleaseInAFreeze(t *testing.T) {
	d := newDesk(t)
	ctx := t.Context()
	key, err := d.Keys.Create(ctx, app, "file")
	if err != nil {
		t.Fatal(err)
	}
	edit, err := d.Project.PlanKey(ctx, key.PublicPEM)
	if err == nil {
		err = edit.Apply(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	none := func(release.Event) {}
	request := views.ReleaseRequest{AppID: app, Dir: filepath.Join(d.dir, "dist"), Channel: "production", KeyID: key.ID, Delta: true}
	prepared, err := d.Releases.Prepare(ctx, request, none)
	if err != nil {
		t.Fatal(err)
	}
	from, to := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	if err := d.Registry.SetFreeze(ctx, capgo.Freeze{AppID: app, Name: "inventory", From: &from, To: &to}); err != nil {
		t.Fatal(err)
	}
	freezes, err := d.Registry.Freezes(ctx, app)
	if err != nil || freezes.FrozenUntil == nil || freezes.FrozenUntil.Sub(to).Abs() > time.Second {
		t.Fatalf("freezes: %+v %v", freezes, err)
	}
	if _, err := d.Releases.Promote(ctx, prepared, none); failure.CodeOf(err) != "channel_frozen" {
		t.Fatalf("promoted without a reason: %v", err)
	}
	prepared.Reason = "the till does not open"
	if result, err := d.Releases.Promote(ctx, prepared, none); err != nil || result.Device == nil || !result.Device.Installed {
		t.Fatalf("promoted with one: %+v %v", result, err)
	}
	history, err := d.Registry.History(ctx, app, "production")
	if err != nil || !strings.Contains(history[0].Note, "the till does not open") {
		t.Errorf("history: %+v %v", history, err)
	}
	if err := d.Registry.ClearFreeze(ctx, app, "inventory"); err != nil {
		t.Error(err)
	}
	bundle, err := d.Registry.Bundles(ctx, app)
	if err != nil || bundle[0].ManifestCount == 0 {
		t.Errorf("the delta files are not on record: %+v %v", bundle, err)
	}
}

// TestProfiles tries a profile out on a real server and storage, and keeps it.
func TestProfiles(t *testing.T) {
	d := newDesk(t)
	ctx := t.Context()
	server := os.Getenv("CAPSTAN_SERVER")
	t.Setenv("CAPSTAN_SERVER", "") // it would go before the profile's
	p := views.Profile{Name: "work", Server: server, Storage: "capstan+" + server, Channel: "beta"}
	findings, err := d.Profiles.Try(ctx, p)
	if err != nil || len(findings) < 2 || !strings.HasPrefix(findings[0].Text, "capstan ") || findings[1].Code != "storage_untried" {
		t.Fatalf("before there is an app: %+v %v", findings, err)
	}
	if err := d.workspace.Registry.CreateApp(ctx, app, "Harbour"); err != nil {
		t.Fatal(err)
	}
	if findings, err = d.Profiles.Try(ctx, p); err != nil || len(findings) < 3 {
		t.Fatalf("%+v %v", findings, err)
	}
	for _, f := range findings {
		if f.Code == "storage_untried" {
			t.Errorf("the storage was not tried: %+v", findings)
		}
	}
	folder := p
	folder.Storage, folder.PublicURL = "file://"+t.TempDir(), server+"/nowhere"
	findings, err = d.Profiles.Try(ctx, folder)
	blocked := false
	for _, f := range findings {
		blocked = blocked || f.Level == "block"
	}
	if err != nil || !blocked {
		t.Errorf("a folder that nobody publishes: %+v %v", findings, err)
	}
	wrong := p
	wrong.Server, wrong.Storage = "http://127.0.0.1:9", "capstan+http://127.0.0.1:9"
	if _, err := d.Profiles.Try(ctx, wrong); failure.ExitStatus(err) != int(failure.Unavailable) {
		t.Errorf("a server that is not there: %v", err)
	}
	path, err := d.Profiles.Save(ctx, p, false)
	if err != nil || filepath.Base(path) != "capstan.toml" {
		t.Fatal(path, err)
	}
	s, err := d.Preferences.Load(ctx)
	if err != nil || len(s.Profiles) == 0 || s.Profiles[0].Name != "work" {
		t.Errorf("%+v %v", s, err)
	}
	if schemes := strings.Join(d.Profiles.Drivers(), " "); !strings.Contains(schemes, "sftp") || !strings.Contains(schemes, "https+put") || !strings.Contains(schemes, "exec") {
		t.Errorf("drivers: %s", schemes)
	}
}
