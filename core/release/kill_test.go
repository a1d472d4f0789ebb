package release_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/core/keys"
	"capstan/core/release"
	"capstan/core/remote"
	"capstan/core/remote/storage"
	"capstan/internal/fault"
	"capstan/internal/peers"
	"capstan/internal/servertest"
)

// victim is a release that a process of its own runs, to be killed.
type victim struct {
	Server, Token string
	// Public is where devices find the objects, "" for the server itself.
	Public string
	State  string // folder of the journals
	Key    string // private PEM; a throw-away
	Second string // the other key of an app that changes keys, "" for others
	Plan   release.Plan
}

// What a victim says of the calls that change its server, for TestReleasePowerLoss.
const (
	saysChange = "a change is sent"
	saysMoment = "the server is at "
)

// momentHeader numbers the state of the server that an answer leaves behind.
const momentHeader = "Capstan-Test-Moment"

// calls marks every HTTP call of client and storage as a place to die.
type calls struct{ next http.RoundTripper }

func (c calls) RoundTrip(r *http.Request) (*http.Response, error) {
	fault.Point("http.request " + r.Method + " " + r.URL.Path)
	says := os.Getenv("CAPSTAN_TEST_VICTIM") != "" && r.Method != http.MethodGet && r.Method != http.MethodHead
	if says {
		fmt.Println(saysChange)
	}
	response, err := c.next.RoundTrip(r)
	if says && err == nil {
		fmt.Println(saysMoment + response.Header.Get(momentHeader))
	}
	fault.Point("http.answered " + r.Method + " " + r.URL.Path)
	return response, err
}

func (v victim) pipeline(t testing.TB) *release.Pipeline {
	t.Helper()
	return v.pipelineOver(t, http.DefaultTransport)
}

func (v victim) pipelineOver(t testing.TB, transport http.RoundTripper) *release.Pipeline {
	t.Helper()
	client := &http.Client{Transport: calls{transport}}
	atOnce := func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	registry, err := remote.New(remote.Config{BaseURL: v.Server, Token: remote.NewToken(v.Token), HTTP: client, Pause: atOnce})
	if err != nil {
		t.Fatal(err)
	}
	store, err := storage.Open(t.Context(), "capstan+"+v.Server, v.Public, storage.Credentials{Token: remote.NewToken(v.Token), HTTP: client, Pause: atOnce})
	if err != nil {
		t.Fatal(err)
	}
	journals, err := release.OpenJournals(v.State)
	if err != nil {
		t.Fatal(err)
	}
	signers := map[string]crypto.Signer{}
	for _, pem := range []string{v.Key, v.Second} {
		if pem == "" {
			continue
		}
		private, err := keys.ParsePrivate([]byte(pem))
		if err != nil {
			t.Fatal(err)
		}
		signers[keys.KeyID(&private.PublicKey)] = keys.NewSigner(private)
	}
	return &release.Pipeline{
		Journals: journals, Registry: registry, Storage: store,
		Signer: func(_ context.Context, keyID string) (crypto.Signer, error) {
			signer, found := signers[keyID]
			if !found {
				return nil, failure.New(failure.NotFound, "key_not_found", "", "there is no such key", "")
			}
			return signer, nil
		},
	}
}

// TestVictim is the process that dies: it does nothing unless TestKill starts it.
func TestVictim(t *testing.T) {
	path := os.Getenv("CAPSTAN_TEST_VICTIM")
	if path == "" {
		t.Skip("started by TestKill only")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var v victim
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	at := -1
	if number := os.Getenv("CAPSTAN_TEST_KILL_AT"); number != "" {
		if at, err = strconv.Atoi(number); err != nil {
			t.Fatal(err)
		}
	}
	limitFiles(t, os.Getenv("CAPSTAN_TEST_FILE_LIMIT"))
	var mu sync.Mutex
	n := 0
	defer fault.Set(func(string) {
		mu.Lock()
		defer mu.Unlock()
		if n == at {
			kill()
		}
		n++
	})()
	if _, err := v.pipeline(t).Run(t.Context(), v.Plan, func(release.Event) {}); err != nil {
		t.Fatalf("code %s: %v", failure.CodeOf(err), err)
	}
}

// kill ends this process as kill -9 does: nothing is flushed, no defer runs.
func kill() {
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		_ = self.Kill()
	}
	select {} // the signal arrives
}

// build writes a small web build that differs by version.
func build(t testing.TB, version string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"index.html":      "<!doctype html><title>" + version + "</title><script src=main.js></script>",
		"main.js":         "import {CapacitorUpdater} from '@capgo/capacitor-updater'; CapacitorUpdater.notifyAppReady(); // " + version,
		"assets/logo.svg": "<svg xmlns='http://www.w3.org/2000/svg'/>",
	} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

type yard struct {
	*servertest.Server
	key, public, keyID string
}

// newYard starts a server that knows no app yet, and makes a key.
func newYard(t testing.TB) yard {
	t.Helper()
	private, err := keys.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return yard{servertest.Start(t), string(keys.EncodePrivate(private)), string(keys.EncodePublic(&private.PublicKey)), keys.KeyID(&private.PublicKey)}
}

func (y yard) victim(t testing.TB, app, version string) victim {
	return victim{Server: y.BaseURL, Token: y.Token, State: t.TempDir(), Key: y.key, Plan: release.Plan{
		AppID: app, Version: version, Channel: "production", Dir: build(t, version), KeyID: y.keyID, PublicKey: y.public,
		PluginVersion: "8.51.23", UpdateURL: y.BaseURL + "/updates", CreateApp: true,
	}}
}

// TestKill kills a release at every boundary that durability depends on and at
// every HTTP call, continues it, and then asks whether the world is as if
// nothing had happened: one version, its one object, proven before promoted.
func TestKill(t *testing.T) {
	y := newYard(t)
	for _, delta := range []bool{false, true} {
		t.Run(map[bool]string{false: "whole", true: "delta"}[delta], func(t *testing.T) { y.killEverywhere(t, delta) })
	}
}

func (y yard) killEverywhere(t *testing.T, delta bool) {
	var mu sync.Mutex
	var points []string
	remove := fault.Set(func(p string) {
		mu.Lock()
		defer mu.Unlock()
		points = append(points, p)
	})
	first := y.victim(t, fmt.Sprintf("com.example.counting%v", delta), "1.0.0")
	first.Plan.Delta = delta
	_, err := first.pipeline(t).Run(t.Context(), first.Plan, func(release.Event) {})
	remove()
	if err != nil {
		t.Fatal(err)
	}
	if len(points) < 60 {
		t.Fatalf("only %d places to die: %v", len(points), points)
	}
	step := 12
	switch {
	case os.Getenv("CAPSTAN_LONG") == "1":
		step = 1
	case peers.Required() && delta:
		step = 4
	case peers.Required():
		step = 1
	}
	t.Logf("count: kill -9: delta %v: %d places, every %d. tried", delta, len(points), step)
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	for at := 0; at < len(points); at += step {
		t.Run(fmt.Sprintf("%03d %s", at, points[at]), func(t *testing.T) {
			t.Parallel()
			slots <- struct{}{}
			defer func() { <-slots }()
			v := y.victim(t, fmt.Sprintf("com.example.killed%v%d", delta, at), "1.0.0")
			v.Plan.Delta = delta
			dieAt(t, v, at)
			v.goOn(t)
			v.check(t)
		})
	}
}

func dieAt(t *testing.T, v victim, at int) {
	t.Helper()
	output, err := v.child(t, "CAPSTAN_TEST_KILL_AT="+strconv.Itoa(at))
	var ended *exec.ExitError
	switch {
	case err == nil:
		t.Fatalf("it was to die at %d and lived: %s", at, output)
	case !errors.As(err, &ended) || ended.ExitCode() != -1 && runtime.GOOS != "windows":
		t.Fatalf("it did not die of a kill: %v\n%s", err, output)
	}
}

// child runs the release in a process of its own and gives what it printed and
// how it ended.
func (v victim) child(t *testing.T, environment ...string) (output string, ended error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "victim.json")
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	process := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestVictim$", "-test.count=1")
	process.Env = append(append(os.Environ(), "CAPSTAN_TEST_VICTIM="+path), environment...)
	printed, err := process.CombinedOutput()
	return string(printed), err
}

// goOn does what an operator would: continue the release, or start it when the
// kill came before there was anything to continue.
func (v victim) goOn(t *testing.T) {
	t.Helper()
	pipeline := v.pipeline(t)
	states, err := pipeline.Journals.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(states) > 1 {
		t.Fatalf("%d journals", len(states))
	}
	if len(states) == 0 || states[0].Plan.AppID == "" {
		if _, err := pipeline.Run(t.Context(), v.Plan, func(release.Event) {}); err != nil {
			t.Fatalf("start again: %v", err)
		}
		return
	}
	if states[0].Ended {
		return // the kill came after the last record
	}
	if _, err := pipeline.Resume(t.Context(), states[0].ID, func(release.Event) {}); err != nil {
		t.Fatalf("continue: %v", err)
	}
}

// check holds the world against the invariants that exist so far: I1 a served
// version verifies, I2 one version a channel, I3 and I7 what was acknowledged
// is there once, I5 promoted means proven through the public URL.
func (v victim) check(t *testing.T) {
	t.Helper()
	pipeline := v.pipeline(t)
	ctx := t.Context()
	bundle, err := pipeline.Registry.Bundle(ctx, v.Plan.AppID, v.Plan.Version)
	if err != nil {
		t.Fatal(err)
	}
	channel, err := pipeline.Registry.Channel(ctx, v.Plan.AppID, v.Plan.Channel)
	if err != nil {
		t.Fatal(err)
	}
	if channel.Version == nil || channel.Version.Name != v.Plan.Version {
		t.Errorf("channel points at %+v", channel.Version)
	}
	states, err := pipeline.Journals.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var done *release.State
	for i := range states {
		if states[i].Promoted != nil {
			done = &states[i]
		}
	}
	if done == nil {
		t.Fatalf("no journal says that it was promoted: %+v", states)
	}
	if done.Proved == nil || done.Sealed == nil || bundle.SessionKey != done.Sealed.SessionKey || bundle.PlainChecksum != done.Sealed.PlainChecksum {
		t.Error("what is registered is not what was proven")
	}
	object, err := http.Get(bundle.ExternalURL)
	if err != nil {
		t.Fatal(err)
	}
	defer object.Body.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, object.Body); err != nil || hex.EncodeToString(hash.Sum(nil)) != bundle.ObjectSHA256 {
		t.Errorf("the object's bytes are not those on record (%v)", err)
	}
	// When the question what the server is was answered by something else, the
	// release goes on as on one of Capgo's: without a key on record and without
	// asking as a device.
	capstan := done.Preflight.Server == "capstan"
	v.checkDevice(t, done.Promoted.Device, capstan)
	v.checkOnce(t, capstan)
	spools, _ := filepath.Glob(filepath.Join(v.State, "*", "bundle.zip*"))
	for _, spool := range spools {
		if strings.Contains(spool, done.ID) {
			t.Errorf("the spool is still there: %s", spool)
		}
	}
	v.checkAudit(t)
	v.checkDelta(t, *done, bundle)
	v.invariants(t)
}

// checkDelta makes sure that the files of a delta update are on record, all of
// them, when the server was known to take them.
func (v victim) checkDelta(t *testing.T, done release.State, bundle capgo.Bundle) {
	t.Helper()
	if !done.Preflight.Delta {
		return
	}
	if done.Uploaded.Delta == nil || bundle.ManifestCount != done.Uploaded.Delta.Files || bundle.ManifestCount == 0 {
		t.Errorf("%d delta files are on record, uploaded was %+v", bundle.ManifestCount, done.Uploaded.Delta)
	}
	spools, _ := filepath.Glob(filepath.Join(v.State, "*", "delta.*"))
	for _, spool := range spools {
		if strings.Contains(spool, done.ID) {
			t.Errorf("the spool is still there: %s", spool)
		}
	}
}

// checkDevice asks anew where the release itself could not: it then has to say
// that no device took the bundle, and why.
func (v victim) checkDevice(t *testing.T, said *release.DeviceResult, asked bool) {
	t.Helper()
	if said != nil && said.Installed {
		return
	}
	if asked && (said == nil || said.Reason == "") {
		t.Errorf("no device took it, and no reason is given: %+v", said)
	}
	now, err := release.Ask(t.Context(), release.Asking{
		UpdateURL: v.Plan.UpdateURL, AppID: v.Plan.AppID, Channel: v.Plan.Channel, PublicKey: v.Plan.PublicKey, NativeVersion: release.JustBelow(v.Plan.Version), Want: v.Plan.Version,
	}, func(release.Event) {})
	if err != nil || !now.Installed {
		t.Errorf("a device does not take it: %+v %v", now, err)
	}
}

// checkOnce makes sure that there is one version, and the key on record.
func (v victim) checkOnce(t *testing.T, keyed bool) {
	t.Helper()
	registry := v.pipeline(t).Registry.(*remote.Client)
	bundles, err := registry.Bundles(t.Context(), v.Plan.AppID)
	if err != nil || len(bundles) != 1 {
		t.Errorf("%d bundles, %v", len(bundles), err)
	}
	app, err := registry.App(t.Context(), v.Plan.AppID)
	if err != nil || keyed && app.PublicKey == "" {
		t.Errorf("the key on record: %q %v", app.PublicKey, err)
	}
}

// checkAudit makes sure that each change happened once.
func (v victim) checkAudit(t *testing.T) {
	t.Helper()
	registry := v.pipeline(t).Registry.(*remote.Client)
	changes, err := registry.History(t.Context(), v.Plan.AppID, v.Plan.Channel)
	if err != nil {
		t.Fatal(err)
	}
	promotions := 0
	for _, c := range changes {
		if c.Action == "channel.promote" && c.To == v.Plan.Version {
			promotions++
		}
	}
	if promotions != 1 {
		t.Errorf("promoted %d times: %+v", promotions, changes)
	}
}

// TestPromoteRefusesAMovedChannel lets another operator promote between
// preparation and promotion.
func TestPromoteRefusesAMovedChannel(t *testing.T) {
	y := newYard(t)
	ctx := t.Context()
	quiet := func(release.Event) {}
	const app = "com.example.app"
	for i, version := range []string{"1.0.0", "1.1.0"} {
		v := y.victim(t, app, version)
		if _, err := v.pipeline(t).Run(ctx, v.Plan, quiet); err != nil {
			t.Fatalf("release %d: %v", i, err)
		}
	}
	mine := y.victim(t, app, "1.2.0")
	pipeline := mine.pipeline(t)
	prepared, err := pipeline.Prepare(ctx, mine.Plan, quiet)
	if err != nil {
		t.Fatal(err)
	}
	back := "1.0.0"
	if err := pipeline.Registry.ChangeChannel(ctx, capgo.ChannelChange{AppID: app, Channel: "production", Version: &back}); err != nil {
		t.Fatal(err)
	}
	_, err = pipeline.Resume(ctx, prepared.ID, quiet)
	if failure.CodeOf(err) != "channel_moved" {
		t.Fatalf("promotion over another's change: %v", err)
	}
	channel, err := pipeline.Registry.Channel(ctx, app, "production")
	if err != nil || channel.Version.Name != back {
		t.Errorf("the channel has %+v, %v", channel.Version, err)
	}
}

// TestWrongBytesAreNotPromoted serves the proof's download wrongly in several
// ways: nothing may be registered or promoted.
func TestWrongBytesAreNotPromoted(t *testing.T) {
	y := newYard(t)
	for name, spoil := range map[string]func(http.ResponseWriter, []byte){
		"flipped first": func(w http.ResponseWriter, b []byte) { b[0] ^= 1; serve(w, b) },
		"flipped last":  func(w http.ResponseWriter, b []byte) { b[len(b)-1] ^= 1; serve(w, b) },
		"flipped mid":   func(w http.ResponseWriter, b []byte) { b[len(b)/2] ^= 1; serve(w, b) },
		"short":         func(w http.ResponseWriter, b []byte) { serve(w, b[:len(b)-16]) },
		"long":          func(w http.ResponseWriter, b []byte) { serve(w, append(b, make([]byte, 16)...)) },
		"empty":         func(w http.ResponseWriter, _ []byte) { serve(w, nil) },
		"login page":    func(w http.ResponseWriter, _ []byte) { serve(w, []byte("<html>please log in</html>")) },
		"not found":     func(w http.ResponseWriter, _ []byte) { w.WriteHeader(http.StatusNotFound) },
		"forbidden":     func(w http.ResponseWriter, _ []byte) { w.WriteHeader(http.StatusForbidden) },
		"server error":  func(w http.ResponseWriter, _ []byte) { w.WriteHeader(http.StatusBadGateway) },
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			v := y.victim(t, "com.example.wrong-"+strings.ReplaceAll(name, " ", "-"), "9.0.0")
			pipeline := v.pipeline(t)
			front := &spoiled{Storage: pipeline.Storage, spoil: spoil}
			front.start(t)
			pipeline.Storage = front
			_, err := pipeline.Run(t.Context(), v.Plan, func(release.Event) {})
			if err == nil {
				t.Fatal("a release with wrong bytes went through")
			}
			if class := failure.ExitStatus(err); class != int(failure.Verification) && class != int(failure.NotFound) && class != int(failure.Unavailable) && class != int(failure.NotAuthorised) {
				t.Errorf("exit status %d: %v", class, err)
			}
			if _, err := pipeline.Registry.Channel(t.Context(), v.Plan.AppID, v.Plan.Channel); failure.CodeOf(err) == "failed" || err == nil {
				t.Errorf("the channel exists: %v", err)
			}
			if _, err := pipeline.Registry.Bundle(t.Context(), v.Plan.AppID, "9.0.0"); err == nil {
				t.Error("the bundle was registered")
			}
		})
	}
}

func serve(w http.ResponseWriter, b []byte) {
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	_, _ = w.Write(b)
}

// spoiled is a storage whose public side gives other bytes than were put.
type spoiled struct {
	storage.Storage
	spoil  func(http.ResponseWriter, []byte)
	public string
	mu     sync.Mutex
	put    []byte
}

func (s *spoiled) start(t testing.TB) {
	server := newLoopback(t, func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		b := bytes.Clone(s.put)
		s.mu.Unlock()
		s.spoil(w, b)
	})
	s.public = server
}

func (s *spoiled) Put(ctx context.Context, name string, src io.ReaderAt, size int64, sum string, progress func(int64)) (storage.Object, error) {
	b := make([]byte, size)
	if _, err := src.ReadAt(b, 0); err != nil && err != io.EOF {
		return storage.Object{}, err
	}
	s.mu.Lock()
	s.put = b
	s.mu.Unlock()
	return s.Storage.Put(ctx, name, src, size, sum, progress)
}

func (s *spoiled) PublicURL(name string) string { return s.public + "/" + name }
