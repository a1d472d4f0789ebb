package server_test

import (
	"strings"
	"testing"
)

// The Capgo CLI takes a channel and an app, or finds the app in the project. It
// names the live bundle, or ends with an error where there is none.
func TestCapgoCurrentBundle(t *testing.T) {
	s := startWithApps(t)
	p := newCapgoProject(t, s)
	bundleID(t, s, mine, "1.1.0")
	post(t, s, "/channel", `{"app_id":"`+mine+`","channel":"production","public":true,"version":"1.1.0"}`)
	post(t, s, "/channel", `{"app_id":"`+mine+`","channel":"empty"}`)
	for args, ok := range map[string]bool{
		"production " + mine: true, "production": true, "--quiet production " + mine: true, "empty " + mine: false, "nowhere " + mine: false,
	} {
		out, content := p.run(t, append([]string{"channel", "currentBundle"}, strings.Fields(args)...)...)
		if content != ok || ok && !strings.Contains(out, "1.1.0") && !strings.Contains(args, "--quiet") {
			t.Errorf("%s: content %v, want %v:\n%s", args, content, ok, out)
		}
	}
}
