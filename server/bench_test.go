package server_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"capstan/core/capgo"
	"capstan/server"
	"capstan/server/store"
)

// BenchmarkUpdates is an update check through the whole handler, with device
// rows, events and metrics on; BenchmarkBareHandler is what net/http itself
// costs in the same harness.
func BenchmarkUpdates(b *testing.B) {
	s, err := server.New(server.Config{DataDir: b.TempDir(), PublicURL: "https://updates.example.com"})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	ctx := b.Context()
	if _, err := s.Store().CreateApp(ctx, "bench", capgo.App{AppID: mine}); err != nil {
		b.Fatal(err)
	}
	for i := range 100 {
		bundle := store.Bundle{Bundle: capgo.Bundle{AppID: mine, Name: fmt.Sprintf("1.0.%d", i), Checksum: "00", ExternalURL: "https://cdn.example.com/x.zip"}}
		if _, err := s.Store().AddBundle(ctx, "bench", bundle); err != nil {
			b.Fatal(err)
		}
	}
	version, yes, policy := "1.0.99", true, capgo.PolicyNone
	change := store.ChannelChange{}
	change.AppID, change.Channel, change.Version, change.Public, change.DisableAutoUpdate = mine, "production", &version, &yes, &policy
	if _, _, err := s.Store().ChangeChannel(ctx, "bench", change); err != nil {
		b.Fatal(err)
	}
	drive(b, s.Handler())
}

func BenchmarkBareHandler(b *testing.B) {
	answer := []byte(`{"version":"1.0.99","url":"https://cdn.example.com/x.zip","session_key":"","checksum":"00"}`)
	drive(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(answer)
	}))
}

// drive sends checks of 5,000 devices over loopback, three in ten of which are
// due for an update.
func drive(b *testing.B, h http.Handler) {
	s := httptest.NewServer(h)
	defer s.Close()
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	var bodies [5000][]byte
	for i := range bodies {
		current := "1.0.99"
		if i%10 < 3 {
			current = "1.0.0"
		}
		bodies[i] = fmt.Appendf(nil, `{"app_id":%q,"device_id":"%08d-0000-4000-8000-000000000001","platform":"android","version_build":"1.0.0","version_code":"100","version_os":"15","version_name":%q,"plugin_version":"8.51.23","is_prod":true,"is_emulator":false,"custom_id":"","defaultChannel":""}`, mine, i, current)
	}
	// Every device has asked once before, as on any day but the first.
	for _, body := range bodies {
		answer, err := client.Post(s.URL+"/updates", "application/json", bytes.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
	}
	var next atomic.Int64
	b.ReportAllocs()
	b.ResetTimer()
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			body := bodies[int(next.Add(1))%len(bodies)]
			answer, err := client.Post(s.URL+"/updates", "application/json", bytes.NewReader(body))
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, answer.Body)
			answer.Body.Close()
			if answer.StatusCode != http.StatusOK {
				b.Errorf("status %d", answer.StatusCode)
				return
			}
		}
	})
}
