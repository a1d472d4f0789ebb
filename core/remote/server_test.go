package remote_test

import (
	"encoding/json"
	"net/http"
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
