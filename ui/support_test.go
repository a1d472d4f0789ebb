package ui

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/colorprofile"
	"golang.org/x/sync/errgroup"

	"capstan/core/capgo"
	"capstan/core/remote"
	"capstan/core/remote/remotetest"
	"capstan/internal/servertest"
	"capstan/internal/tuitest"
	"capstan/ui/connect"
	"capstan/ui/views"
)

// seen is how many devices ask the server of the journeys below.
const seen = 3000

// crowd is a real server with an app, two versions, and devices that have asked.
func crowd(t *testing.T) (*servertest.Server, *remote.Client, string) {
	t.Helper()
	srv := servertest.Start(t)
	c, err := remote.New(remote.Config{BaseURL: srv.BaseURL, Token: remote.NewToken(srv.Token)})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	one, two := remotetest.NewBundle("1.0.0"), remotetest.NewBundle("1.1.0")
	id := one.AppID
	two.MinUpdateVersion = "2.0.0"
	yes, number := true, capgo.PolicyVersionNumber
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(c.CreateApp(ctx, id, "Crowd"))
	for _, b := range []capgo.NewBundle{one, two} {
		_, err := c.RegisterBundle(ctx, b)
		must(err)
	}
	must(c.ChangeChannel(ctx, capgo.ChannelChange{AppID: id, Channel: "production", Public: &yes, Version: &one.Version}))
	must(c.ChangeChannel(ctx, capgo.ChannelChange{AppID: id, Channel: "production", Version: &two.Version, DisableAutoUpdate: &number}))
	var group errgroup.Group
	group.SetLimit(8)
	for i := range seen {
		group.Go(func() error {
			native, platform := "2.1.0", "ios"
			if i%100 == 7 {
				native = "1.9.0"
			}
			if i%3 == 0 {
				platform = "android"
			}
			body, err := json.Marshal(capgo.UpdateRequest{AppID: id, DeviceID: fmt.Sprintf("%08x-0000-4000-8000-%012x", i, i), CustomID: fmt.Sprintf("customer-%04d", i), Platform: platform,
				PluginVersion: "8.51.23", VersionName: "1.0.0", VersionBuild: native, VersionOS: "18.1", IsProd: true})
			if err != nil {
				return err
			}
			if status, answer := srv.Do(t, http.MethodPost, "/updates", strings.NewReader(string(body)), nil); status != http.StatusOK {
				return fmt.Errorf("device %d is answered %d %s", i, status, answer)
			}
			return nil
		})
	}
	must(group.Wait())
	must(srv.Store().Flush(ctx))
	return srv, c, id
}

// The support desk on a real server with thousands of devices: a customer is
// found, the verdict says why nothing comes, the device is left alone by a
// read-only console; the release manager sees them on the board and in the
// fleet, plans a release, freezes, and takes the channel back.
func TestSupportAndManagerOnARealServer(t *testing.T) {
	if racing {
		t.Skip("thousands of devices: without the race detector only")
	}
	srv, client, id := crowd(t)
	services := busyDesk().options().Services // keys and projects play no part here
	services.Registry = client
	services.Server = connect.InProcess{Server: srv.Server, Version: "test", DataDir: srv.DataDir}
	profile := colorprofile.TrueColor
	run := func(readOnly bool) *tuitest.Terminal {
		return tuitest.StartLive(t, 120, 40, true, func(in io.Reader, out io.Writer) error {
			return Run(t.Context(), Options{Services: services, Facts: views.Facts{AppID: id, Channel: "production", Production: "production", ServerURL: srv.BaseURL}, ReadOnly: readOnly,
				Input: in, Output: out, Width: 120, Height: 40, Environment: []string{"TERM=xterm-256color"}, Profile: &profile})
		})
	}
	end := func(term *tuitest.Terminal) {
		t.Helper()
		term.Press("ctrl+c")
		if err := term.End(); err != nil {
			t.Errorf("ended with %v", err)
		}
	}

	term := run(true)
	term.Until("READ-ONLY", limit)
	term.Until("3,000 devices", limit)
	term.Press("4")
	term.Until("customer-2999", limit)
	term.Press("/")
	term.Type("customer-1207")
	term.Until("1 of 3,000", limit)
	term.Press("enter")
	term.Until("Channel production gives it nothing: native 1.9.0 is below", limit)
	term.Press("y")
	term.Until("verdict copied", limit)
	term.Press("O")
	term.Until("read-only", limit)

	// A device that the list does not have, by a piece of its id.
	term.Press("esc")
	term.Press("esc")
	term.Until("3,000 devices", limit)
	term.Wait(2 * time.Second) // the list is read once more
	late, err := json.Marshal(capgo.UpdateRequest{AppID: id, DeviceID: "5eed1e55-0000-4000-8000-00000badcafe", Platform: "ios", PluginVersion: "8.51.23", VersionName: "1.0.0", VersionBuild: "2.1.0", VersionOS: "18.1", IsProd: true})
	if err != nil {
		t.Fatal(err)
	}
	if status, answer := srv.Do(t, http.MethodPost, "/updates", strings.NewReader(string(late)), nil); status != http.StatusOK {
		t.Fatalf("%d %s", status, answer)
	}
	if err := srv.Store().Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	term.Press("/")
	term.Type("BADCAFE")
	term.Until("0 of 3,000", limit)
	term.Press("enter")
	term.Until("5eed1e55-0000-4000-8000-00000badcafe", limit)
	term.Until("In one sentence", limit)
	end(term)

	term = run(false)
	term.Until("3,001 devices", limit)
	term.Press("5")
	term.Until("every device refuses an unsigned update", limit)
	term.Until("leaves 30 devices behind", limit)
	term.Press("1")
	term.Until("default", limit)
	term.Press("enter")
	term.Until("nothing is planned", limit)
	term.Press("F")
	term.Until("a new one, once", limit)
	term.Press("enter")
	term.Until("A name for the freeze", limit)
	term.Type("holidays")
	term.Press("enter")
	term.Until("From when", limit)
	for range len("2026-01-01 00:00") {
		term.Press("backspace")
	}
	term.Type("+1h")
	term.Press("enter")
	term.Until("Until when", limit)
	term.Press("enter")
	term.Until("Set the freeze holidays", limit)
	term.Wait(2 * time.Second)
	term.Press("y")
	term.Until("freeze holidays is set", limit)
	term.Press("B")
	term.Until("To confirm, type production", limit)
	term.Wait(2 * time.Second)
	term.Type("production")
	term.Press("enter")
	term.Until("● 1.0.0", limit)
	term.Press("6")
	term.Until("set the freeze holidays", limit)
	term.Until("went back to 1.0.0", limit)
	end(term)
	freezes, err := client.Freezes(t.Context(), id)
	if err != nil || len(freezes.Freezes) != 1 {
		t.Errorf("%+v %v", freezes, err)
	}
	if c, err := client.Channel(t.Context(), id, "production"); err != nil || c.Version == nil || c.Version.Name != "1.0.0" {
		t.Errorf("%+v %v", c, err)
	}
}
