package ui

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/colorprofile"

	"capstan/core/keys"
	"capstan/core/profile"
	"capstan/core/project"
	"capstan/core/remote"
	"capstan/core/remote/storage"
	"capstan/core/workspace"
	"capstan/examples"
	"capstan/internal/servertest"
	"capstan/internal/tuitest"
	"capstan/ui/connect"
)

// limit is how long one step may take on a busy machine.
const limit = 90 * time.Second

// The whole flow, key by key, with nothing played: a new key in an encrypted
// file, the configuration written, a real build sealed, uploaded to a real
// server, proven, promoted and taken by a simulated device; a second release
// with its differences; the backup of the key made and proven; the way back.
func TestJourneyOnARealServer(t *testing.T) {
	const phrase = "tall ships need capstans"
	srv := servertest.Start(t)
	root := t.TempDir()
	app := filepath.Join(root, "app")
	if err := examples.Unpack(app); err != nil {
		t.Fatal(err)
	}
	p, err := project.Open(app)
	if err != nil {
		t.Fatal(err)
	}
	edit, err := p.PlanEdit(map[string]string{"updateUrl": srv.BaseURL + "/updates", "statsUrl": srv.BaseURL + "/stats", "channelUrl": srv.BaseURL + "/channel_self"})
	if err == nil {
		err = edit.Apply()
	}
	if err == nil {
		err = examples.SetVersion(app, "1.0.0")
	}
	if err != nil {
		t.Fatal(err)
	}
	asker := NewPassphrases()
	token := remote.NewToken(srv.Token)
	config := workspace.Config{
		Dir: app, ConfigDir: filepath.Join(root, "config"), StateDir: filepath.Join(root, "state"),
		Target: profile.Resolved{
			Profile:     profile.Profile{Name: "test", Server: srv.BaseURL, Storage: "capstan+" + srv.BaseURL, Channel: "production"},
			Client:      remote.Config{BaseURL: srv.BaseURL, Token: token},
			Credentials: storage.Credentials{Token: token},
		},
		Keys: keys.Options{Passphrase: asker.Ask, NewPassphrase: asker.AskNew, WorkFactor: 10},
	}
	w, err := workspace.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	services, err := connect.Services(w, connect.Options{CreateApp: true, Server: connect.InProcess{Server: srv.Server, Version: "test", DataDir: srv.DataDir}})
	if err != nil {
		t.Fatal(err)
	}
	services.Preferences = nil // the machine's own settings stay out of it
	stores, err := services.Keys.Stores(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	profile := colorprofile.TrueColor
	term := tuitest.StartLive(t, 100, 34, true, func(in io.Reader, out io.Writer) error {
		return Run(t.Context(), Options{Services: services, Facts: connect.Facts(w, ""), Passphrases: asker, Input: in, Output: out, Width: 100, Height: 34,
			Environment: []string{"TERM=xterm-256color"}, Profile: &profile})
	})
	// grace is the pause before a dialog takes an answer that confirms.
	grace := func() { term.Wait(2 * time.Second) }
	// confirm answers a dialog; one that opened just now ignores keys, and how
	// long that is by the wall clock depends on the machine.
	confirm := func(key, until string) {
		t.Helper()
		for range 10 {
			grace()
			term.Press(key)
			for range 20 {
				if strings.Contains(term.Screen(), until) {
					return
				}
				term.Wait(100 * time.Millisecond)
			}
		}
		t.Fatalf("%q never led to %q:\n%s", key, until, term.Screen())
	}
	newPhrase := func() {
		term.Until("A new passphrase", limit)
		term.Type(phrase)
		term.Press("enter")
		term.Type(phrase)
		term.Press("enter")
	}

	term.Press("2")
	term.Until("Encrypted file", limit)
	for _, s := range stores {
		if s.Kind == "file" {
			break
		}
		term.Press("down")
	}
	term.Press("enter")
	newPhrase()
	term.Until("The key is yours", limit)
	term.Until(`"publicKey": "-----BEGIN`, limit) // the planned change; its key is dimmed until then
	term.Press("w")
	confirm("y", "capacitor.config.json written")
	term.Press("enter")
	term.Until("a web build", limit)
	term.Press("enter")
	term.Until("Version and channel", limit)
	term.Until("1.0.0", limit)
	term.Press("enter")
	term.Until("waits for you", limit)
	term.Has("store build  →  ● 1.0.0", "checksum v3")
	term.Press("enter")
	term.Until("To confirm, type", limit)
	term.Type("production")
	term.Press("enter")
	term.Until("1.0.0 is live on production", limit)
	term.Until("took 1.0.0 at its next check", limit)

	// The second one is compared with the first.
	if err := examples.SetVersion(app, "1.0.1"); err != nil {
		t.Fatal(err)
	}
	term.Press("U")
	term.Until("a web build", limit)
	term.Press("enter")
	term.Until("Version and channel", limit)
	term.Until("1.0.1", limit)
	term.Press("enter")
	term.Until("waits for you", limit)
	term.Until("+0 ~3 -0", limit)
	term.Press("d")
	term.Has("What each plugin did with it", "From 1.0.0 to 1.0.1", "index.html")
	term.Press("enter")
	term.Until("To confirm, type", limit)
	term.Type("production")
	term.Press("enter")
	term.Until("took 1.0.1 at its next check", limit)

	// The key is backed up, and the backup proven.
	term.Press("7")
	term.Until("no backup", limit)
	term.Press("B")
	term.Until("Back up", limit)
	backup := filepath.Join(root, "backup.age")
	term.Press("ctrl+u")
	term.Type(backup)
	term.Press("enter")
	newPhrase()
	term.Until("Prove the backup now?", limit)
	confirm("y", "is not shown")
	term.Type(phrase)
	term.Press("enter")
	term.Until("The backup works", limit)
	term.Press("esc")
	if info, err := os.Stat(backup); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the backup is %v, %v", info, err)
	}

	// What support sees of the device that took it, and the server of it all.
	term.Press("4")
	term.Until("1.0.1", limit)
	term.Press("enter")
	term.Until("production", limit)
	term.Press("8")
	term.Until("since start", limit)

	// And back.
	term.Press("1")
	term.Until("● 1.0.1", limit)
	term.Press("z")
	term.Until("To confirm, type", limit)
	term.Type("production")
	term.Press("enter")
	term.Until("● 1.0.0", limit)
	channel, err := w.Registry.Channel(t.Context(), p.AppID, "production")
	if err != nil || channel.Version == nil || channel.Version.Name != "1.0.0" {
		t.Errorf("the channel is %+v, %v", channel.Version, err)
	}

	term.Press("q")
	if err := term.End(); err != nil {
		t.Error(err)
	}
	if strings.Contains(term.Raw(), "capstans") {
		t.Error("the passphrase was drawn")
	}
}
