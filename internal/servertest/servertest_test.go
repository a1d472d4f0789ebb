package servertest_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"capstan/core/capgo"
	"capstan/core/remote"
	"capstan/internal/servertest"
)

// A release as the client drives it, and the update check that follows.
func TestReleaseThroughClient(t *testing.T) {
	s := servertest.Start(t)
	ctx := context.Background()
	client, err := remote.New(remote.Config{BaseURL: s.BaseURL, Token: remote.NewToken(s.Token)})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.CreateApp(ctx, "com.example.tides", "Tides"); err != nil {
		t.Fatal(err)
	}
	row, err := client.RegisterBundle(ctx, capgo.NewBundle{
		AppID: "com.example.tides", Version: "1.2.0", ExternalURL: "https://cdn.example.com/1.2.0.zip", Checksum: strings.Repeat("ab", 32), Link: "https://example.com/notes",
	})
	if err != nil || row.Name != "1.2.0" {
		t.Fatalf("row %+v, error %v", row, err)
	}
	version, public, policy := "1.2.0", true, capgo.PolicyNone
	if err := client.ChangeChannel(ctx, capgo.ChannelChange{AppID: "com.example.tides", Channel: "production", Version: &version, Public: &public, DisableAutoUpdate: &policy}); err != nil {
		t.Fatal(err)
	}
	channels, err := client.Channels(ctx, "com.example.tides")
	if err != nil || len(channels) != 1 || channels[0].Version == nil || channels[0].Version.Name != "1.2.0" {
		t.Fatalf("channels %+v, error %v", channels, err)
	}
	status, body := s.Do(t, "POST", "/updates", strings.NewReader(`{"platform":"android","device_id":"00000000-0000-4000-8000-000000000001","app_id":"com.example.tides",
		"version_build":"1.0.0","version_name":"builtin","plugin_version":"8.51.23","is_emulator":false,"is_prod":true,"defaultChannel":""}`), nil)
	if status != http.StatusOK || !strings.Contains(string(body), `"version":"1.2.0"`) || !strings.Contains(string(body), "https://cdn.example.com/1.2.0.zip") {
		t.Fatalf("%d %s", status, body)
	}
	history, err := client.History(ctx, "com.example.tides", "production")
	if err != nil || len(history) == 0 {
		t.Fatalf("history %+v, error %v", history, err)
	}
	if err := s.Store().Flush(ctx); err != nil {
		t.Fatal(err)
	}
	page, err := client.Devices(ctx, "com.example.tides", "", 0)
	if err != nil || len(page.Data) != 1 {
		t.Fatalf("devices %+v, error %v", page, err)
	}
	if _, err := client.Summary(ctx, "com.example.tides"); err != nil {
		t.Fatal(err)
	}
	made, err := client.CreateToken(ctx, capgo.Token{Name: "ci", Scope: capgo.ScopeUpload, Apps: []string{"com.example.tides"}})
	if err != nil || made.Secret == "" {
		t.Fatalf("token %+v, error %v", made, err)
	}
	if err := client.RevokeToken(ctx, made.ID); err != nil {
		t.Fatal(err)
	}
}
