package remote_test

import (
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"capstan/core/capgo"
	"capstan/core/remote"
	"capstan/core/remote/remotetest"
	"capstan/internal/servertest"
)

// TestConformanceCapstan drives the client against the real update server.
func TestConformanceCapstan(t *testing.T) {
	servers := map[*remote.Client]*servertest.Server{}
	remotetest.Run(t, remotetest.Target{
		Capstan: true,
		Client: func(t *testing.T) *remote.Client {
			s := servertest.Start(t)
			c := newClient(t, s.BaseURL, s.Token)
			servers[c] = s
			return c
		},
		Stranger: func(t *testing.T) *remote.Client {
			return newClient(t, servertest.Start(t).BaseURL, "not-a-token-of-this-server")
		},
		See: func(t *testing.T, c *remote.Client, appID string, d capgo.Device) {
			s := servers[c]
			body, err := json.Marshal(capgo.UpdateRequest{AppID: appID, DeviceID: d.DeviceID, Platform: d.Platform, PluginVersion: d.PluginVersion,
				VersionName: d.VersionName, VersionBuild: d.VersionBuild, VersionOS: d.VersionOS, IsProd: d.IsProd, CustomID: d.CustomID})
			if err != nil {
				t.Fatal(err)
			}
			if status, answer := s.Do(t, http.MethodPost, "/updates", strings.NewReader(string(body)), nil); status != http.StatusOK {
				t.Fatalf("the device is answered %d %s", status, answer)
			}
			if err := s.Store().Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
	})
}

// TestLostAnswerIsHeardAgain: a change whose answer was lost on the way is made
// once, and the client hears its answer without the caller's doing.
func TestLostAnswerIsHeardAgain(t *testing.T) {
	s := servertest.Start(t)
	target, err := url.Parse(s.BaseURL)
	if err != nil {
		t.Fatal(err)
	}
	lost := 0
	forward := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ModifyResponse: func(answer *http.Response) error {
			if answer.Request.Method != http.MethodGet && answer.Header.Get("Idempotency-Replayed") == "" {
				lost++
				return errors.New("lost") // the change is made, and nobody hears of it
			}
			return nil
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		ErrorLog:     log.New(io.Discard, "", 0),
	}
	between := httptest.NewUnstartedServer(forward)
	between.Config.ErrorLog = log.New(io.Discard, "", 0)
	between.Start()
	defer between.Close()
	c := newClient(t, between.URL, s.Token)
	ctx := t.Context()
	if !c.Can(ctx, capgo.CapIdempotency) {
		t.Fatal("the server does not say that it keeps answers")
	}
	if err := c.CreateApp(ctx, appID, "Tides"); err != nil {
		t.Fatal(err)
	}
	body := capgo.NewBundle{AppID: appID, Version: "1.0.0", ExternalURL: "https://cdn.example.com/x.zip", Checksum: strings.Repeat("0", 64)}
	row, err := c.RegisterBundle(ctx, body)
	if err != nil || row.Name != "1.0.0" || row.ID == 0 {
		t.Fatalf("%+v, %v", row, err)
	}
	version, none := "1.0.0", int64(0)
	if err := c.ChangeChannel(ctx, capgo.ChannelChange{AppID: appID, Channel: "production", Version: &version, ExpectedRevision: &none}); err != nil {
		t.Fatal(err)
	}
	history, err := c.History(ctx, appID, "")
	if err != nil || lost != 3 || len(history) != 4 { // app, bundle, channel and what it points at
		t.Errorf("%d answers were lost, the history is %+v, %v", lost, history, err)
	}
}
