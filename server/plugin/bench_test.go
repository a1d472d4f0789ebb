package plugin_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"capstan/core/capgo"
	"capstan/server"
	"capstan/server/decide"
	"capstan/server/plugin"
	"capstan/server/store"
)

// fleet is a fixed set of apps, and a Devices that only counts: what is
// measured is the way from the wire to the verdict and back.
type fleet struct {
	apps map[string]*decide.App
	seen atomic.Int64
}

func (f *fleet) Snapshot(_ context.Context, appID string) (*decide.App, error) {
	return f.apps[appID], nil
}
func (f *fleet) Seen(capgo.UpdateRequest, decide.Verdict)                   { f.seen.Add(1) }
func (f *fleet) Record(context.Context, string, []capgo.StatsEvent) error   { return nil }
func (f *fleet) ChooseChannel(context.Context, string, string, int64) error { return nil }
func (f *fleet) ForgetChannel(context.Context, string, string) error        { return nil }
func (f *fleet) handler() http.Handler {
	return plugin.New(plugin.Config{Apps: f, Devices: f, ObjectURL: func(key string) string { return "https://updates.example.com/files/" + key }})
}

// newFleet makes apps of twenty channels and a hundred signed bundles each.
func newFleet(apps int) *fleet {
	f := &fleet{apps: map[string]*decide.App{}}
	for n := range apps {
		app := &decide.App{ID: fmt.Sprintf("com.example.app%d", n), KeyID: "MIIBCgKCAQEA4pW9olT4", Bundles: map[int64]*decide.Bundle{}, Overrides: map[string]int64{}}
		for i := int64(1); i <= 100; i++ {
			name := fmt.Sprintf("1.2.%d", i)
			app.Bundles[i] = &decide.Bundle{
				ID: i, Name: name, ObjectKey: app.ID + "/" + name + "/9f86d081884c7d65.zip", KeyID: app.KeyID,
				SessionKey: strings.Repeat("k", 369), ChecksumV2: strings.Repeat("2", 344), ChecksumV3: strings.Repeat("3", 512),
			}
		}
		for i := int64(1); i <= 20; i++ {
			app.Channels = append(app.Channels, &decide.Channel{
				ID: i, Name: fmt.Sprintf("channel%02d", i), BundleID: 81 + i - 1, Public: i == 20, AllowDeviceSelfSet: true,
				IOS: true, Android: true, Electron: true, AllowDev: true, AllowProd: true, AllowDevice: true, AllowEmulator: true,
				DisableAutoUpdate: capgo.PolicyMajor, DisableAutoUpdateUnderNative: true,
			})
		}
		f.apps[app.ID] = app
	}
	return f
}

// checkBodies are update checks of many devices; three in ten are due for an
// update.
func checkBodies(apps, n int) []string {
	bodies := make([]string, n)
	for i := range bodies {
		current := "1.2.100"
		if i%10 < 3 {
			current = "1.2.7"
		}
		bodies[i] = fmt.Sprintf(`{"platform":"android","device_id":"00009a6b-eefe-490a-9c60-%012x","app_id":"com.example.app%d","custom_id":"","version_build":"1.2.0","version_code":"120","version_os":"15","version_name":"%s","plugin_version":"8.51.14","is_emulator":false,"is_prod":true,"install_source":"google_play","defaultChannel":"","key_id":"MIIBCgKCAQEA4pW9olT4"}`, i, i%apps, current)
	}
	return bodies
}

// BenchmarkHTTP sends update checks over loopback to the plugin handler and to a
// bare net/http handler that answers with fixed JSON. The two take turns in
// short slices, so that other load on the machine hits both alike; "ratio" is
// the handler's share of the bare one's requests per second. The client writes
// prepared bytes on kept connections: it costs both sides the same and little.
func BenchmarkHTTP(b *testing.B) { against(b, newFleet(50).handler(), checkBodies(50, 1000)) }

// BenchmarkServer is BenchmarkHTTP with the whole server in place of the handler
// alone: limits by address, metrics, and a SQLite database in which every device
// has a row. The rows are written in the background, partly in the bare
// handler's turns, so the ratio says what a request costs, not what the machine
// sustains with its disk.
func BenchmarkServer(b *testing.B) {
	dir := b.TempDir()
	s, err := store.Open(b.Context(), filepath.Join(dir, "capstan.db"), store.Options{})
	if err != nil {
		b.Fatal(err)
	}
	const apps = 5
	for n := range apps {
		state := recordedState{}
		state.App.ID = fmt.Sprintf("com.example.app%d", n)
		for _, name := range []string{"1.2.7", "1.2.100"} {
			state.Bundles = append(state.Bundles, recordedBundle{Name: name, StoredPath: "a/" + name, SessionKey: strings.Repeat("k", 369), Checksum: strings.Repeat("3", 512)})
		}
		for i := range 20 {
			state.Channels = append(state.Channels, recordedChannel{Name: fmt.Sprintf("channel%02d", i), Bundle: &state.Bundles[1].Name, Public: i == 19,
				DisableAutoUpdate: capgo.PolicyMajor, DisableAutoUpdateUnderNative: true})
		}
		state.load(b, s)
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	whole, err := server.New(server.Config{DataDir: dir, PublicURL: "https://updates.example.com", Rates: server.Rates{Updates: 1 << 40}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { whole.Close() })
	against(b, whole.Handler(), checkBodies(apps, 1000))
}

// against measures a handler beside the bare one.
func against(b *testing.B, h http.Handler, bodies []string) {
	fixed := []byte(`{"error":"no_new_version_available","message":"No new version available","version":"1.2.100","kind":"up_to_date"}`)
	bare := newLoad(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Write(fixed)
	}), bodies)
	ours := newLoad(b, h, bodies)

	const slice = 2000
	var bareTime, ourTime time.Duration
	bare.send(b, slice)
	ours.send(b, slice)
	b.ResetTimer()
	rounds := 0
	for ; rounds*slice < b.N; rounds++ {
		bareTime += bare.send(b, slice)
		ourTime += ours.send(b, slice)
	}
	sent := float64(rounds * slice)
	b.ReportMetric(float64(bareTime.Nanoseconds())/sent, "bare-ns/req")
	b.ReportMetric(float64(ourTime.Nanoseconds())/sent, "updates-ns/req")
	b.ReportMetric(float64(bareTime)/float64(ourTime), "ratio")
	b.ReportMetric(0, "ns/op") // means nothing for two servers in turn
}

// load is a server with its clients.
type load struct {
	conns    []net.Conn
	requests [][]byte
}

const clients = 32

func newLoad(b *testing.B, h http.Handler, bodies []string) *load {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	srv := &http.Server{Handler: h}
	go srv.Serve(ln)
	b.Cleanup(func() { srv.Close() })
	l := &load{}
	for _, body := range bodies {
		l.requests = append(l.requests, fmt.Appendf(nil, "POST /updates HTTP/1.1\r\nHost: updates.example.com\r\nUser-Agent: CapacitorUpdater/8.51.14 (com.example.app) android/15\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
	}
	for range clients {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { conn.Close() })
		l.conns = append(l.conns, conn)
	}
	return l
}

// send sends n requests over all connections and returns how long it took.
func (l *load) send(b *testing.B, n int) time.Duration {
	var next atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for _, conn := range l.conns {
		wg.Go(func() {
			answers := bufio.NewReader(conn)
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				if _, err := conn.Write(l.requests[i%int64(len(l.requests))]); err != nil {
					b.Error(err)
					return
				}
				if err := readAnswer(answers); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}

// readAnswer reads one answer off a connection and insists on a 200.
func readAnswer(r *bufio.Reader) error {
	length := -1
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		switch {
		case err != nil:
			return err
		case first && !strings.HasPrefix(string(line), "HTTP/1.1 200 "):
			return fmt.Errorf("answer %q", line)
		case len(line) == 2:
			if length < 0 {
				return fmt.Errorf("answer without a length")
			}
			_, err := io.CopyN(io.Discard, r, int64(length))
			return err
		}
		if rest, ok := strings.CutPrefix(string(line), "Content-Length: "); ok {
			if length, err = strconv.Atoi(strings.TrimSpace(rest)); err != nil {
				return err
			}
		}
	}
}

// BenchmarkHandler is the handler alone, without a connection.
func BenchmarkHandler(b *testing.B) {
	bodies := checkBodies(50, 1000)
	h := newFleet(50).handler()
	b.ReportAllocs()
	for i := range b.N {
		r := httptest.NewRequest(http.MethodPost, "/updates", strings.NewReader(bodies[i%len(bodies)]))
		h.ServeHTTP(discard{}, r)
	}
}

// discard is a response writer that keeps nothing.
type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}

// BenchmarkDecide is the decision alone.
func BenchmarkDecide(b *testing.B) {
	app := newFleet(1).apps["com.example.app0"]
	req := capgo.UpdateRequest{
		Platform: "android", DeviceID: "00009a6b-eefe-490a-9c60-8e965132ae51", AppID: app.ID, VersionBuild: "1.2.0",
		VersionName: "1.2.7", PluginVersion: "8.51.14", IsProd: true, KeyID: app.KeyID,
	}
	b.ReportAllocs()
	for b.Loop() {
		if v := decide.Answer(app, &req); v.Reason != decide.ReasonOffered {
			b.Fatal(v.Reason)
		}
	}
}

// BenchmarkManifest is an offer with five thousand delta files, the handler alone.
func BenchmarkManifest(b *testing.B) {
	f := newFleet(1)
	app := f.apps["com.example.app0"]
	for _, bundle := range app.Bundles {
		for i := range 5000 {
			bundle.Manifest = append(bundle.Manifest, decide.ManifestFile{FileName: fmt.Sprintf("assets/chunk-%d.js", i), FileHash: "h",
				FileHashV2: strings.Repeat("2", 344), FileHashV3: strings.Repeat("3", 512), ObjectKey: fmt.Sprintf("com.example.app0/delta/%d", i)})
		}
	}
	h := f.handler()
	body := checkBodies(1, 1)[0]
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(discard{}, httptest.NewRequest(http.MethodPost, "/updates", strings.NewReader(body)))
	}
}
