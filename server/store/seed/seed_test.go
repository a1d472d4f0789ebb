package seed_test

import (
	"path/filepath"
	"testing"

	"capstan/core/capgo"
	"capstan/server/store"
	"capstan/server/store/seed"
)

// A store reads what was seeded like what came in by itself.
func TestSeed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "capstan.db")
	open := func() *store.Store {
		t.Helper()
		s, err := store.Open(t.Context(), path, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	for _, app := range []string{"com.example.bench0", "com.example.bench1"} {
		if _, err := s.CreateApp(t.Context(), "test", capgo.App{AppID: app}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := seed.Devices(path, "com.example.bench", 2, 100); err != nil {
		t.Fatal(err)
	}
	s = open()
	defer s.Close()
	if n := s.KnownDevices(); n != 100 {
		t.Errorf("%d devices are known", n)
	}
	if d, err := s.Device(t.Context(), "com.example.bench1", seed.DeviceID(7)); err != nil || d.VersionName != "1.2.0" {
		t.Errorf("%+v, %v", d, err)
	}
}
