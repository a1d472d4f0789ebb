package fleet_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"capstan/core/bundle"
	"capstan/core/capgo"
	"capstan/core/device"
	"capstan/core/device/fleet"
	"capstan/core/failure"
	"capstan/internal/servertest"
)

const appID = "com.example.tides"

// release puts a sealed bundle onto a real server, live on the channel production.
type release struct {
	server *servertest.Server
	key    *rsa.PrivateKey
	public []byte
}

func newRelease(t *testing.T) *release {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	r := &release{server: servertest.Start(t), key: key,
		public: pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&key.PublicKey)})}
	r.send(t, http.MethodPost, "/app", map[string]any{"app_id": appID, "name": "Tides"})
	r.send(t, http.MethodPut, "/app/"+appID, map[string]any{"public_key": string(r.public)})
	return r
}

func (r *release) send(t *testing.T, method, path string, body any) []byte {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	status, answer := r.server.Do(t, method, path, bytes.NewReader(text), http.Header{"Content-Type": {"application/json"}})
	if status/100 != 2 {
		t.Fatalf("%s %s: %d %s", method, path, status, answer)
	}
	return answer
}

// publish seals a small build and makes it the channel's live bundle.
func (r *release) publish(t *testing.T, version string) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"index.html": "<!doctype html>" + version, "app.js": "CapacitorUpdater.notifyAppReady()"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var object bytes.Buffer
	sealed, err := bundle.PackSealed(t.Context(), dir, &object, r.key, bundle.Options{})
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("%s/%s/%s.zip", appID, version, sealed.ObjectSHA256)
	status, answer := r.server.Do(t, http.MethodPut, "/capstan/v1/objects/"+name, bytes.NewReader(object.Bytes()), http.Header{"X-Content-Sha256": {sealed.ObjectSHA256}})
	if status/100 != 2 {
		t.Fatalf("upload: %d %s", status, answer)
	}
	r.send(t, http.MethodPost, "/bundle", capgo.NewBundle{AppID: appID, Version: version, ExternalURL: r.server.BaseURL + "/files/" + name,
		Checksum: sealed.ChecksumV3, SessionKey: sealed.SessionKey, KeyID: sealed.KeyID, PlainChecksum: sealed.PlainChecksum,
		ChecksumV2: sealed.ChecksumV2, ChecksumV3: sealed.ChecksumV3, ObjectSHA256: sealed.ObjectSHA256, ObjectSize: sealed.ObjectSize, PlainSize: sealed.PlainSize})
	yes, none := true, capgo.PolicyNone
	r.send(t, http.MethodPost, "/channel", capgo.ChannelChange{AppID: appID, Channel: "production", Version: &version, Public: &yes,
		DisableAutoUpdate: &none, IOS: &yes, Android: &yes, AllowEmulator: &yes, AllowDevice: &yes, AllowDev: &yes, AllowProd: &yes})
}

func (r *release) config(devices int) fleet.Config {
	return fleet.Config{AppID: appID, UpdateURL: r.server.BaseURL + "/updates", StatsURL: r.server.BaseURL + "/stats",
		PublicKey: r.public, Devices: devices, Seed: 7, Workers: 16}
}

func (r *release) summary(t *testing.T) capgo.Summary {
	t.Helper()
	if err := r.server.Store().Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	status, text := r.server.Do(t, http.MethodGet, "/capstan/v1/summary?app_id="+appID, nil, nil)
	var s capgo.Summary
	if err := json.Unmarshal(text, &s); err != nil || status != 200 {
		t.Fatalf("%d %s", status, text)
	}
	return s
}

// A whole fleet takes a release from a real server, and the server sees it.
func TestFleetTakesARelease(t *testing.T) {
	const devices = 400
	r := newRelease(t)
	r.publish(t, "1.5.0")
	f, err := fleet.New(r.config(devices))
	if err != nil {
		t.Fatal(err)
	}
	first, err := f.Poll(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if first.Polls != devices || first.Errors != 0 || first.Refused != 0 {
		t.Errorf("first round: %+v", first)
	}
	// Every device that was offered the bundle could take it: the server chose the right form for each plugin.
	if first.Installed != first.Outcomes[device.Offered] || first.Installed == 0 {
		t.Errorf("%d installed of %d offered; reasons %v", first.Installed, first.Outcomes[device.Offered], first.Reasons)
	}
	if f.Versions()["1.5.0"] != first.Installed {
		t.Errorf("versions %v", f.Versions())
	}
	s := r.summary(t)
	if len(s.Channels) != 1 || s.Channels[0].Live != "1.5.0" || s.Channels[0].Failures != 0 || s.Channels[0].Installs == 0 {
		t.Errorf("channels %+v", s.Channels)
	}
	second, err := f.Poll(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if second.Installed != 0 || second.Outcomes[device.Offered] != 0 || second.Outcomes[device.Quiet] == 0 {
		t.Errorf("second round: %+v", second)
	}
	// Plugins of 7.17 to 7.29 report every refusal as a failed download of what they run.
	noisy := 0
	for _, d := range f.Devices() {
		if d.PluginVersion == "7.27.8" {
			noisy++
		}
	}
	if second.Actions["download_fail"] < noisy || noisy == 0 {
		t.Errorf("%d devices report failures in the second round: %v", noisy, second.Actions)
	}
	// A device says with its next poll what it runs.
	s = r.summary(t)
	if n := s.Fleet["version_name"]["1.5.0"]; s.Devices != devices || int(n) != first.Installed {
		t.Errorf("the server counts %d devices, %d of them on the bundle, which %d run", s.Devices, n, first.Installed)
	}
}

// A bundle that does not start shows in the server's failures, and is never tried again.
func TestCrashingBundle(t *testing.T) {
	r := newRelease(t)
	r.publish(t, "1.5.0")
	config := r.config(150)
	config.Crashing = map[string]float64{"1.6.0": 0.5}
	f, err := fleet.New(config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Poll(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	before := f.Versions()["1.5.0"]
	r.publish(t, "1.6.0")
	round, err := f.Poll(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if round.Crashed < before/4 || round.Crashed > before*3/4 || round.Crashed+round.Installed != before {
		t.Errorf("%d of %d crashed, %d installed", round.Crashed, before, round.Installed)
	}
	if f.Versions()["1.5.0"] != round.Crashed {
		t.Errorf("versions %v", f.Versions())
	}
	again, err := f.Poll(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if again.Reasons["dead_version"] != round.Crashed || again.Installed != 0 {
		t.Errorf("afterwards: %+v", again)
	}
	// The server counts production devices that are no emulators.
	counted := int64(0)
	for _, d := range f.Devices() {
		if d.VersionName == "1.5.0" && d.IsProd && !d.IsEmulator {
			counted++
		}
	}
	if s := r.summary(t); s.Channels[0].Failures != counted || counted == 0 {
		t.Errorf("the server counts %d failures of %d crashes, %d of them in production", s.Channels[0].Failures, round.Crashed, counted)
	}
}

// Every device for itself comes to the same end as one for its twins.
func TestEachDownloads(t *testing.T) {
	r := newRelease(t)
	r.publish(t, "1.5.0")
	config := r.config(60)
	shared, err := fleet.New(config)
	if err != nil {
		t.Fatal(err)
	}
	config.EachDownloads, config.Dir = true, t.TempDir()
	alone, err := fleet.New(config)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []*fleet.Fleet{shared, alone} {
		if _, err := f.Poll(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
	}
	if !reflect.DeepEqual(shared.Versions(), alone.Versions()) {
		t.Errorf("%v and %v", shared.Versions(), alone.Versions())
	}
	if left, _ := os.ReadDir(config.Dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestSameSeedSameDevices(t *testing.T) {
	config := fleet.Config{AppID: appID, UpdateURL: "http://127.0.0.1:1/updates", Devices: 500, Seed: 3}
	list := func(c fleet.Config) []capgo.UpdateRequest {
		f, err := fleet.New(c)
		if err != nil {
			t.Fatal(err)
		}
		return f.Devices()
	}
	one := list(config)
	if !reflect.DeepEqual(one, list(config)) {
		t.Error("the same seed gives other devices")
	}
	config.Seed = 4
	if reflect.DeepEqual(one, list(config)) {
		t.Error("another seed gives the same devices")
	}
	ids, platforms, plugins := map[string]bool{}, map[string]int{}, map[string]int{}
	for _, d := range one {
		ids[d.DeviceID] = true
		platforms[d.Platform]++
		plugins[d.PluginVersion]++
		if len(d.DeviceID) != 36 || d.DeviceID[14] != '4' {
			t.Fatalf("device id %q", d.DeviceID)
		}
	}
	if len(ids) != len(one) || platforms["android"] < 200 || platforms["ios"] < 120 || len(plugins) < 10 {
		t.Errorf("%d ids, %v, %v", len(ids), platforms, plugins)
	}
}

func TestFleetWithoutServer(t *testing.T) {
	f, err := fleet.New(fleet.Config{AppID: appID, UpdateURL: "http://127.0.0.1:1/updates", Devices: 5})
	if err != nil {
		t.Fatal(err)
	}
	round, err := f.Poll(t.Context(), 1)
	if failure.ExitStatus(err) != int(failure.Unavailable) || round.Errors != 5 {
		t.Errorf("%+v, %v", round, err)
	}
	if _, err := fleet.New(fleet.Config{AppID: appID}); failure.CodeOf(err) != "fleet_incomplete" {
		t.Errorf("a fleet of nothing: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	rounds := 0
	err = f.Run(ctx, time.Millisecond, func(fleet.Round) {
		if rounds++; rounds == 3 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || rounds != 3 {
		t.Errorf("%d rounds, %v", rounds, err)
	}
}
