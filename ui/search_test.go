package ui

import (
	"fmt"
	"testing"
	"time"

	"capstan/core/capgo"
	"capstan/internal/tuitest"
	"capstan/ui/views"
)

// With more devices than the console reads, a fragment goes to the server: what
// it finds takes the list's place, says how it was found, and esc brings the
// list back.
func TestFragmentAmongManyDevices(t *testing.T) {
	if racing {
		t.Skip("a hundred thousand devices: without the race detector only")
	}
	drive(t, func() *desk {
		d := busyDesk()
		d.devices = nil
		for i := range 100_001 {
			d.devices = append(d.devices, capgo.Device{AppID: app, DeviceID: fmt.Sprintf("%08x-0000-4000-8000-%012x", i, i), Platform: "ios", VersionName: "2.4.1", VersionBuild: "2.0.0", UpdatedAt: d.began})
		}
		d.hidden = []capgo.Device{{AppID: app, DeviceID: "feed0000-0000-4000-8000-00000badcafe", Platform: "android", VersionName: "2.4.1", VersionBuild: "2.0.0", UpdatedAt: d.began}}
		return d
	}, func(o *Options, _ *desk) { o.Start = views.ScreenDevices }, func(term *tuitest.Terminal, _ *desk) {
		term.Wait(10 * time.Second)
		term.Has("100,000 devices", "there are more")
		term.Press("/")
		term.Type("badcafe")
		term.Has("0 of 100,000")
		term.Press("enter")
		term.Wait(time.Second)
		term.Has("feed0000-0000-4000-8000-00000badcafe", "In one sentence")
		term.Press("esc", "esc")
		term.Wait(time.Second)
		term.Has("100,000 devices")
		term.Press("/")
		term.Type("0000f0")
		term.Has("Enter asks the server")
		term.Press("enter")
		term.Wait(time.Second)
		term.Has("40 devices", "the search was cut short")
		term.Press("esc")
		term.Wait(10 * time.Second)
		term.Has("100,000 devices", "there are more")
	})
}
