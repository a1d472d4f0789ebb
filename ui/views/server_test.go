package views

import "testing"

func TestReach(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"http://127.0.0.1:8087":          ReachHere,
		"http://[::1]:8087":              ReachHere,
		"http://localhost:8087":          ReachHere,
		"http://updates.localhost.":      ReachHere,
		"http://0.0.0.0:8087":            ReachHere,
		"http://192.168.1.20:8087":       ReachLAN,
		"http://10.0.0.4":                ReachLAN,
		"http://[fd00::1]:8087":          ReachLAN,
		"http://169.254.3.4":             ReachLAN,
		"http://Desk.Local:8087":         ReachLAN,
		"https://updates.example.com":    ReachAnyone,
		"https://203.0.113.9":            ReachAnyone,
		"https://localhost.example.com/": ReachAnyone,
		"":                               ReachAnyone,
	} {
		if got := Reach(address); got != want {
			t.Errorf("%q is reached from %q, want %q", address, got, want)
		}
	}
}
