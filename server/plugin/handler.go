// Package plugin answers devices: update checks, statistics and channel
// choices, as the capacitor-updater plugin sends them. It holds no state. What
// it knows comes from snapshots in memory, what it learns goes to a Devices.
//
// The endpoints have no authentication, so everything in a request is what a
// stranger says: bodies are bounded, types are checked, nothing is reflected
// but what the protocol asks for.
package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"capstan/core/capgo"
	"capstan/server/decide"
)

// Apps gives the app as it is now.
type Apps interface {
	// Snapshot returns nil and no error for an unknown app. An error means that
	// the server cannot know; the device then hears 503, never "unknown".
	Snapshot(ctx context.Context, appID string) (*decide.App, error)
}

// Devices takes what devices tell.
type Devices interface {
	// Seen notes an update check and its verdict. It never blocks. v is good
	// until Seen returns.
	Seen(req capgo.UpdateRequest, v decide.Verdict)
	// Record keeps events of one app. They are durable when it returns nil;
	// after an error the device will send them again. It will also do so when
	// an acknowledgement was lost on the way: an event that is known already
	// (same device, action, version_name and timestamp) is taken and not kept
	// or counted twice. Events without a timestamp are all kept.
	Record(ctx context.Context, appID string, events []capgo.StatsEvent) error
	// ChooseChannel remembers the channel of a device whose plugin does not.
	ChooseChannel(ctx context.Context, appID, deviceID string, channelID int64) error
	// ForgetChannel undoes ChooseChannel. Nothing to forget is no error.
	ForgetChannel(ctx context.Context, appID, deviceID string) error
}

// Limits on what a device may send.
const (
	MaxBody         = 32 << 10 // bytes of an update check or a channel request
	MaxStatsBody    = 1 << 20  // bytes of a batch of events; the plugin queues up to 200
	MaxManifestBody = 8 << 20  // bytes of a manifest_size request: 10,000 files with signed hashes
	MaxEvents       = 500      // events in a batch
)

// Config wires a Handler. Apps, Devices and ObjectURL are required.
type Config struct {
	Apps    Apps
	Devices Devices
	// ObjectURL is the absolute public URL of an object in the server's own
	// storage.
	ObjectURL func(objectKey string) string
	// Alarm is told of every bundle that was withheld (decide.AlarmUnsigned,
	// decide.AlarmUnverified). It must not block. Optional.
	Alarm func(appID string, v *decide.Verdict)
	// Crowded counts a request of a known app and reports whether the app has to
	// wait, because the server is at its limit and other apps had less. It must
	// not block. Optional.
	Crowded func(appID string) bool
	// Log takes failures of Apps and Devices. Optional.
	Log *slog.Logger
}

// Handler serves the device endpoints. It also answers for paths it does not
// know, as Capgo's server does, so it can be the fallback of a mux.
type Handler struct {
	Config
}

// New returns a Handler.
func New(c Config) *Handler {
	if c.Alarm == nil {
		c.Alarm = func(string, *decide.Verdict) {}
	}
	if c.Crowded == nil {
		c.Crowded = func(string) bool { return false }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Handler{Config: c}
}

// Paths lists the path prefixes that belong to devices, for a mux that has
// other routes too. Each also answers with a trailing slash.
func Paths() []string {
	return []string{"/updates", "/updates/manifest_size", "/stats", "/channel_self", "/ok", "/latency",
		"/plugin/updates", "/plugin/updates/manifest_size", "/plugin/stats", "/plugin/channel_self", "/plugin/ok"}
}

// ServeHTTP routes by method and path. HEAD is answered like GET.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	method, path := r.Method, r.URL.Path
	if method == http.MethodPost && path == "/updates" { // nearly everything
		h.update(w, r)
		return
	}
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if method == http.MethodPost && path == "/ok" { // without a look at the body; the older address reads it
		writeJSON(w, http.StatusOK, statusOK)
		return
	}
	if len(path) > 1 {
		path = strings.TrimSuffix(path, "/")
	}
	if old, ok := strings.CutPrefix(path, "/plugin"); ok && old != "/latency" {
		path = old // addresses of plugins from before the endpoints moved
	}
	switch {
	case method == http.MethodOptions:
		w.WriteHeader(http.StatusNoContent)
	case path == "/updates" && method == http.MethodPost:
		h.update(w, r)
	case path == "/updates/manifest_size" && method == http.MethodPost:
		h.manifestSize(w, r)
	case path == "/stats" && method == http.MethodPost:
		h.stats(w, r)
	case path == "/channel_self":
		h.channelSelf(w, r, method)
	case path == "/ok" && method == http.MethodPost:
		h.ok(w, r)
	case method == http.MethodGet && (path == "/updates" || path == "/stats" || path == "/ok" || path == "/latency"):
		writeJSON(w, http.StatusOK, statusOK)
	default:
		notFound(w)
	}
}

var (
	statusOK     = []byte(`{"status":"ok"}`)
	bodyNotFound = []byte(`{"error":"not_found","message":"Not found"}`)
	// The kind spares newer plugins a download_fail event for our trouble.
	bodyUnavailable = []byte(`{"error":"service_unavailable","message":"Service unavailable, try again later","kind":"blocked"}`)
	bodyCrowded     = []byte(`{"error":"too_many_requests","message":"Too many requests","kind":"blocked"}`)
	bodyTooLarge    = []byte(`{"error":"body_too_large","message":"Body too large","moreInfo":{}}`)
)

// contentType is shared by all answers: header values are only read.
var contentType = []string{"application/json"}

func writeJSON(w http.ResponseWriter, status int, body []byte) {
	header := w.Header()
	header["Content-Type"] = contentType
	if len(body) > 2048 { // net/http counts shorter bodies itself
		header["Content-Length"] = []string{strconv.Itoa(len(body))}
	}
	if status != http.StatusOK {
		w.WriteHeader(status)
	}
	w.Write(body) //nolint:errcheck // the device is gone; nobody is left to tell
}

// writeWithManifest writes an offer and, as its last member, the delta files,
// which may be megabytes and are not copied.
func writeWithManifest(w http.ResponseWriter, offer, manifest []byte) {
	const member = `,"manifest":`
	offer = append(offer[:len(offer)-1], member...)
	header := w.Header()
	header["Content-Type"] = contentType
	header["Content-Length"] = []string{strconv.Itoa(len(offer) + len(manifest) + 1)}
	for _, part := range [...][]byte{offer, manifest, {'}'}} {
		if _, err := w.Write(part); err != nil {
			return // the device is gone
		}
	}
}

// writeValue is for answers off the hot path.
func writeValue(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil { // plain data always encodes
		panic(err)
	}
	writeJSON(w, status, body)
}

func notFound(w http.ResponseWriter) { writeJSON(w, http.StatusNotFound, bodyNotFound) }

func writeRefusal(w http.ResponseWriter, e *refusal) {
	body := append(make([]byte, 0, 256), `{"error":`...)
	body = capgo.AppendString(body, e.code)
	body = append(body, `,"message":`...)
	body = capgo.AppendString(body, e.message)
	if e.status != http.StatusOK {
		body = append(body, `,"moreInfo":{}`...)
	}
	writeJSON(w, e.status, append(body, '}'))
}

// unavailable answers when the state cannot be read or written. It is a 503:
// devices keep their events and ask again, and no plugin takes it for a rate
// limit or for an app that is gone.
func (h *Handler) unavailable(w http.ResponseWriter, r *http.Request, what, appID string, err error) {
	if r.Context().Err() == nil {
		h.Log.ErrorContext(r.Context(), "cannot answer a device", "what", what, "app_id", appID, "error", err)
	}
	writeJSON(w, http.StatusServiceUnavailable, bodyUnavailable)
}

// crowded answers what is no update check for an app that has to wait: with a
// 503, after which devices keep their events and ask again.
func (h *Handler) crowded(w http.ResponseWriter, app *decide.App, appID string) bool {
	if app == nil || !h.Crowded(appID) {
		return false
	}
	w.Header()["Retry-After"] = []string{"10"}
	writeJSON(w, http.StatusServiceUnavailable, bodyUnavailable)
	return true
}

// buffers hold request bodies while they are read and answers while they are
// written.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 2048); return &b }}

// bodies hold what an update check says while it is looked at.
var bodies = sync.Pool{New: func() any { return new(body) }}

// maxPooled keeps a rare large body from staying in the pool for good.
const maxPooled = 64 << 10

func putBuffer(b *[]byte) {
	if cap(*b) <= maxPooled {
		buffers.Put(b)
	}
}

var errTooLarge = errors.New("body too large")

// readBody reads a whole body of at most limit bytes as one string. Decoded
// fields are slices of it.
func readBody(r *http.Request, limit int) (string, error) {
	if r.ContentLength > int64(limit) {
		return "", errTooLarge
	}
	buf := buffers.Get().(*[]byte)
	defer putBuffer(buf)
	b := (*buf)[:0]
	if n := int(r.ContentLength); n >= cap(b) {
		b = make([]byte, 0, n+1)
	}
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Body.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case len(b) > limit:
			return "", errTooLarge
		case err == io.EOF:
			*buf = b
			return string(b), nil
		case err != nil:
			return "", err
		}
	}
}

// read reads and decodes a JSON body into b, and answers itself where it cannot.
func read(w http.ResponseWriter, r *http.Request, limit int, b *body) bool {
	text, err := readBody(r, limit)
	switch {
	case errors.Is(err, errTooLarge):
		writeJSON(w, http.StatusRequestEntityTooLarge, bodyTooLarge)
		return false
	case err != nil:
		writeRefusal(w, errJSON)
		return false
	}
	if e := b.decode(text); e != nil {
		writeRefusal(w, e)
		return false
	}
	return true
}

// update answers POST /updates.
func (h *Handler) update(w http.ResponseWriter, r *http.Request) {
	b := bodies.Get().(*body)
	fits := read(w, r, MaxBody, b)
	var req capgo.UpdateRequest
	var e *refusal
	if fits {
		req, e = b.request(&updateRules)
	}
	*b = body{}
	bodies.Put(b)
	if !fits {
		return
	}
	if e != nil {
		writeRefusal(w, e)
		return
	}
	app, err := h.Apps.Snapshot(r.Context(), req.AppID)
	if err != nil {
		h.unavailable(w, r, "updates", req.AppID, err)
		return
	}
	if app != nil && h.Crowded(req.AppID) {
		writeJSON(w, http.StatusOK, bodyCrowded)
		return
	}
	v := decide.Answer(app, &req)
	v.LocateZip(h.ObjectURL)
	buf := buffers.Get().(*[]byte)
	*buf = capgo.AppendAnswer((*buf)[:0], &v.Answer)
	if manifest := v.ManifestJSON(h.ObjectURL); manifest != nil {
		writeWithManifest(w, *buf, manifest)
	} else {
		writeJSON(w, v.Status, *buf)
	}
	putBuffer(buf)
	if v.Alarm != "" {
		alarm := v // a copy, so that v itself can stay off the heap
		h.Alarm(req.AppID, &alarm)
	}
	if app != nil {
		h.Devices.Seen(req, v)
	}
}

func (h *Handler) ok(w http.ResponseWriter, r *http.Request) {
	var b body
	if read(w, r, MaxBody, &b) {
		writeJSON(w, http.StatusOK, statusOK)
	}
}
