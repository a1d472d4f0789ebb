package store_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"capstan/core/capgo"
	"capstan/internal/servertest/postgres"
	"capstan/server/decide"
	"capstan/server/store"
)

// BenchmarkDeviceRows is what a fleet costs its database: every device is known,
// asks, and has its row and its counts written again, in the groups that a
// server writes. rows/s is what one node sustains; a device that asks again
// within ten minutes and has not changed costs nothing.
func BenchmarkDeviceRows(b *testing.B) {
	b.Run("sqlite", func(b *testing.B) { benchmarkDeviceRows(b, filepath.Join(b.TempDir(), "capstan.db")) })
	b.Run("postgres", func(b *testing.B) { benchmarkDeviceRows(b, postgres.Start(b).Database(b)) })
}

func benchmarkDeviceRows(b *testing.B, target string) {
	const known, group = 50_000, 2_000
	clock := newClock()
	s, err := store.Open(b.Context(), target, store.Options{Now: clock.Now})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	if _, err := s.CreateApp(b.Context(), "bench", capgo.App{AppID: app}); err != nil {
		b.Fatal(err)
	}
	next := 0
	write := func(n int) {
		for range n {
			next++
			if next%known == 0 {
				clock.add(20 * 60e9) // so that the next round is not a repetition
			}
			s.Seen(capgo.UpdateRequest{AppID: app, DeviceID: fmt.Sprintf("%08x-0000-4000-8000-000000000001", next%known), Platform: "android", VersionName: "1.2.0", VersionBuild: "1.0.0",
				VersionOS: "15", PluginVersion: "8.51.23", InstallSource: "google_play", IsProd: true}, decide.Verdict{ChannelID: 1})
		}
		if err := s.Flush(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	for range known / group {
		write(group)
	}
	b.ResetTimer()
	written := 0
	for ; written < b.N; written += group {
		write(group)
	}
	b.ReportMetric(float64(written)/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric(0, "ns/op") // rows are written in groups
	if dropped := s.Dropped(); dropped > 0 {
		b.Errorf("%d polls were dropped", dropped)
	}
}
