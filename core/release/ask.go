package release

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"capstan/core/capgo"
	"capstan/core/device"
	"capstan/core/failure"
)

// ProofDeviceID is the device id under which capstan asks an app's server, so
// that all proofs together are one device in its fleet.
const ProofDeviceID = "00000000-0000-4000-8000-000000000001"

// Asking is one question of a simulated device to an update server.
type Asking struct {
	UpdateURL, AppID, Channel string
	// StatsURL hears of the installation as from any device; "" tells nobody.
	StatsURL      string
	PluginVersion string        // "" is the newest that capstan models
	PublicKey     string        // PEM in the app, "" for an app without
	App           device.AppKey // the private key in an app of the first scheme
	NativeVersion string        // "" is 1.0.0
	Running       string        // bundle that the device runs, "" is the store build
	Want          string        // the version that is expected, "" is any
}

// Ask lets a simulated device ask once and install what it is offered. Its
// steps are emitted as EventStep of the promote stage. A refusal is a result
// with its reason, beside the error that explains it.
func Ask(ctx context.Context, a Asking, emit func(Event)) (DeviceResult, error) {
	if a.PluginVersion == "" {
		a.PluginVersion = latestPlugin
	}
	if a.NativeVersion == "" {
		a.NativeVersion = "1.0.0"
	}
	if a.Running == "" {
		a.Running = capgo.Builtin
	}
	result := DeviceResult{PluginVersion: a.PluginVersion}
	dir, err := os.MkdirTemp("", "capstan-device-")
	if err != nil {
		return result, stateFailure(err)
	}
	defer os.RemoveAll(dir)
	d, err := device.New(device.Device{
		Request: capgo.UpdateRequest{
			Platform: "android", DeviceID: ProofDeviceID, AppID: a.AppID, PluginVersion: a.PluginVersion, DefaultChannel: a.Channel,
			VersionBuild: a.NativeVersion, VersionName: a.Running, IsProd: true,
		},
		PublicKey: []byte(a.PublicKey), AppKey: a.App, Dir: dir,
	})
	if err != nil {
		return result, err
	}
	step := stepEvent(time.Now, StagePromote, emit)
	answer, err := d.Check(ctx, a.UpdateURL)
	switch {
	case err != nil:
		step(device.Step{Name: "request", Detail: err.Error(), Code: failure.CodeOf(err)})
	case answer.Outcome != device.Offered:
		result.Reason = strings.TrimSuffix(answer.Reason+": "+answer.Detail, ": ")
		step(device.Step{Name: "answer", Detail: result.Reason, Code: answer.Reason, OK: answer.Outcome == device.Current})
	case a.Want != "" && answer.Version != a.Want:
		result.Reason = fmt.Sprintf("the server offers %s", answer.Version)
		step(device.Step{Name: "answer", Detail: result.Reason, Code: "other_version"})
	default:
		var installed device.Installed
		installed, err = d.Install(ctx, answer, step)
		result.Installed = err == nil
		tell(ctx, d, a, answer.Version, installed.Actions)
	}
	if err != nil {
		result.Reason = err.Error()
	}
	return result, err
}

// tell reports what the device did, and asks once more as the version that it
// runs now. The installation is proven by then: a server that does not listen
// changes nothing about it.
func tell(ctx context.Context, d *device.Device, a Asking, version string, actions []string) {
	if a.StatsURL == "" {
		return
	}
	events := make([]device.Event, len(actions))
	for i, action := range actions {
		events[i] = device.Event{Action: action, Version: version, OldVersion: a.Running}
	}
	if err := d.Report(ctx, a.StatsURL, events...); err == nil {
		_, _ = d.Check(ctx, a.UpdateURL)
	}
}

// StatsURL is where devices of a capstan server report, given where they ask.
// "" when the address is not one of a capstan server.
func StatsURL(updateURL string) string {
	base, ok := strings.CutSuffix(updateURL, "/updates")
	if !ok {
		return ""
	}
	return base + "/stats"
}

// stepEvent turns a device's steps into events.
func stepEvent(now func() time.Time, stage StageName, emit func(Event)) func(device.Step) {
	return func(s device.Step) {
		level := "ok"
		if !s.OK {
			level = "refused"
		}
		text := s.Name
		if s.Detail != "" {
			text += ": " + s.Detail
		}
		emit(Event{Time: now(), Stage: stage, Kind: EventStep, Level: level, Code: s.Code, Text: text})
	}
}
