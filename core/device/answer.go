package device

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"capstan/core/capgo"
	"capstan/core/failure"
)

// Outcome is what a device does with an answer.
type Outcome string

// The outcomes.
const (
	// Offered: the device goes on to download the bundle.
	Offered Outcome = "offered"
	// Current: nothing to do, the device runs that version or has it ready.
	Current Outcome = "current"
	// ToBuiltin: the device goes back to the store build.
	ToBuiltin Outcome = "builtin"
	// Quiet: nothing offered, and the device makes nothing of it.
	Quiet Outcome = "quiet"
	// Failed: the app hears downloadFailed and a download_fail event is sent.
	Failed Outcome = "failed"
	// Silent: the device stops without telling the app.
	Silent Outcome = "silent"
)

// Answer is a server's answer as one generation reads it.
type Answer struct {
	capgo.UpdateAnswer
	Status  int // of HTTP
	Outcome Outcome
	// Reason is a stable code: offered, current, builtin, the server's error
	// code, or what the device stumbled over (parse_error, decode_error,
	// response_error, no_url, no_version, null_session_key, bad_manifest, dead_version,
	// rate_limited, session_key_required, checksum_required).
	Reason string
	// Detail is one line for people.
	Detail string
	// Action is the stats action that the plugin sends because of the answer, ""
	// for none. It names the bundle that runs, not the one that was offered.
	Action string
	// Breaking says that the app is told of a new native version.
	Breaking bool
	// HasManifest says that the device takes the delta path, even with no entries.
	HasManifest bool
}

// maxAnswer limits the body of an answer: 10 000 manifest entries of 3 KB.
const maxAnswer = 32 << 20

// Check asks an update server once and reads its answer as the plugin would.
// A server that cannot be reached is a failure of class Unavailable with the
// code update_unreachable; every answer, however broken, is an Answer.
func (d *Device) Check(ctx context.Context, updateURL string) (Answer, error) {
	if time.Now().Before(d.blockedTil) {
		return Answer{Outcome: Failed, Reason: "rate_limited", Detail: "the server asked for a pause, the device does not ask before it is over"}, nil
	}
	body, err := json.Marshal(d.info())
	if err != nil {
		return Answer{}, failure.Wrap(err, failure.Failed, "request_malformed", "ask for an update", "")
	}
	ctx, cancel := context.WithTimeout(ctx, d.responseTimeout())
	defer cancel()
	resp, err := d.post(ctx, updateURL, body)
	if err != nil {
		return Answer{}, unreachable(ctx, err, "update_unreachable", "ask for an update", updateURL)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return Answer{}, unreachable(ctx, err, "update_unreachable", "read the answer", updateURL)
	}
	if resp.StatusCode == http.StatusTooManyRequests {
		d.rateLimited(resp.Header, text)
	}
	return d.read(resp.StatusCode, text), nil
}

// post sends JSON as the plugin does.
func (d *Device) post(ctx context.Context, address string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	req.Header.Set("User-Agent", d.userAgent())
	if d.Request.Platform == IOS {
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept", "application/json")
	}
	return d.client().Do(req)
}

// unreachable classes an error of the network; a cancelled caller stays cancelled.
func unreachable(ctx context.Context, err error, code, op, address string) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	// The URL of a *url.Error may carry a query with credentials of the host.
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	host := address
	if u, parseErr := url.Parse(address); parseErr == nil && u.Host != "" {
		host = u.Host
	}
	return failure.Newf(failure.Unavailable, code, op, "check the address and that the server runs", "%s does not answer: %w", host, err)
}

// fields is a decoded answer with the difference between null, absent and empty.
type fields map[string]json.RawMessage

func (f fields) has(key string) bool { _, ok := f[key]; return ok }

func (f fields) null(key string) bool { return string(f[key]) == "null" }

// text is the value as Android reads a string: numbers, booleans and objects
// give their JSON text, null and absent give "".
func (f fields) text(key string) string {
	raw, ok := f[key]
	if !ok || f.null(key) {
		return ""
	}
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

func (f fields) truth(key string) bool { return f.text(key) == "true" }

// read is the whole reading of an answer by this device's generation.
func (d *Device) read(status int, body []byte) Answer {
	a := d.understand(status, body)
	a.Action = d.action(a)
	return a
}

// action is what this generation reports about an answer.
func (d *Device) action(a Answer) string {
	g := d.generation
	switch {
	case a.Outcome == Silent && !g.DiesSilently:
		return a.Reason
	case a.Outcome == Quiet && g.Reading == readRefusal:
		return "backend_refusal"
	case a.Outcome == Failed && g.StatsByStatus && a.Status/100 == 2 && a.Reason == orElse(a.Error, "error"):
		return ""
	case a.Outcome == Failed:
		return "download_fail"
	}
	return ""
}

func (d *Device) understand(status int, body []byte) Answer {
	a := Answer{Status: status}
	var f fields
	parsed := json.Unmarshal(body, &f) == nil && f != nil
	ok := status >= 200 && status < 300
	if d.generation.Platform == IOS && parsed {
		if name := wrongType(f); name != "" {
			return a.stop(d.failedRequest(), "decode_error", "iOS cannot decode the field "+name)
		}
	}
	a.fill(f)
	// iOS looks at values, Android at the presence of a key.
	present := f.has
	if d.generation.Platform == IOS {
		present = func(key string) bool { return f.text(key) != "" }
	}

	if d.generation.Reading == readKind && parsed && (present("error") || present("kind")) {
		a.Breaking = a.Breaking || a.Error == "disable_auto_update_to_major" || a.Message == "store_update_required"
		kind := capgo.ResponseKind(string(a.Kind))
		reason := a.Error
		if reason == "" {
			reason = string(kind)
		}
		if kind == capgo.KindFailed {
			return a.stop(Failed, reason, "the server refused; without a kind of up_to_date or blocked that counts as a failed download")
		}
		return a.stop(Quiet, reason, "the server offers nothing: "+string(kind))
	}
	switch {
	case !ok && !(d.generation.Platform == IOS && parsed):
		return a.stop(d.failedRequest(), "response_error", "the server answered with HTTP "+http.StatusText(status))
	case !parsed:
		outcome := d.failedRequest()
		if d.generation.Reading == readRefusal {
			outcome = Quiet
		}
		return a.stop(outcome, "parse_error", "the answer is not a JSON object")
	}
	if stopped, is := d.refused(a, f, present); is {
		return stopped
	}
	return d.weigh(a, f)
}

// refused reads error and message in the generations before kind.
func (d *Device) refused(a Answer, f fields, present func(string) bool) (Answer, bool) {
	a.Breaking = a.Breaking || f.truth("major")
	message := present("message")
	switch d.generation.Reading {
	case readQuiet:
		if message {
			return a.stop(Quiet, orElse(a.Error, "message"), "a message is present, the device makes nothing of it"), true
		}
	case readLoud:
		if message {
			return a.stop(Failed, orElse(a.Error, "message"), "a message is present, which counts as a failed download"), true
		}
	case readRefusal:
		// null reads as the text "null" here, which is not empty.
		if f.has("error") && (a.Error != "" || f.null("error")) {
			if a.Error == "response_error" {
				return a.stop(Failed, a.Error, "the server reports a failed request"), true
			}
			return a.stop(Quiet, orElse(a.Error, "error"), "the server refused"), true
		}
		if message {
			return a.stop(Quiet, "message", "a message is present, which counts as a refusal"), true
		}
	case readError:
		if present("error") {
			return a.stop(Failed, orElse(a.Error, "error"), "an error is present, which counts as a failed download"), true
		}
		if message && d.generation.MessageStops {
			return a.stop(Failed, "message", "a message is present, which counts as a failed download"), true
		}
	}
	return a, false
}

// weigh reads an answer that refuses nothing: which version, and whether it can be fetched.
func (d *Device) weigh(a Answer, f fields) Answer {
	g := d.generation
	urlOK := validURL(a.URL)
	if g.URLBeforeBuilt && !urlOK && !g.BadURLGoesOn {
		return a.stop(Failed, "no_url", "the answer has no well-formed url")
	}
	if a.Version == capgo.Builtin && !g.URLBeforeBuilt {
		return a.stop(ToBuiltin, "builtin", "the device goes back to the store build")
	}
	if !urlOK && !g.BadURLGoesOn {
		return a.stop(Failed, "no_url", "the answer has no well-formed url")
	}
	if a.Version == "" && d.generation.Platform == IOS {
		return a.stop(Failed, "no_version", "the answer has no version")
	}
	if a.Version == "" || a.Version == d.current() {
		return a.stop(Current, "current", "the device already runs "+d.current())
	}
	switch d.bundles[a.Version] {
	case stateError:
		return a.stop(Failed, "dead_version", "version "+a.Version+" failed on this device before and is never tried again")
	case statePending, stateSuccess:
		return a.stop(Current, "downloaded", "version "+a.Version+" is on the device already")
	}
	if !urlOK {
		return a.stop(Failed, "no_url", "the answer has no well-formed url")
	}
	if f.has("session_key") && f.null("session_key") && !g.NullSessionKey {
		outcome := Failed
		if g.DiesSilently {
			outcome = Silent
		}
		return a.stop(outcome, "null_session_key", "session_key is null, which this plugin stumbles over")
	}
	if g.Brotli != brotliNever && f.has("manifest") && !(f.null("manifest") && g.Platform == IOS) {
		if f.null("manifest") || json.Unmarshal(f["manifest"], &[]json.RawMessage{}) != nil {
			return a.stop(Failed, "bad_manifest", "manifest is not a list")
		}
		a.HasManifest = true
	}
	if g.RefusesSilently {
		if len(d.PublicKey) > 0 && !validSessionKey(a.SessionKey) {
			return a.stop(Silent, "session_key_required", "the app has a public key and the answer no session key")
		}
		if !a.HasManifest && a.Checksum == "" {
			return a.stop(Silent, "checksum_required", "the answer has no checksum")
		}
	}
	return a.stop(Offered, "offered", "version "+a.Version+" is offered")
}

// fill copies the known fields.
func (a *Answer) fill(f fields) {
	a.Version, a.URL, a.Checksum = f.text("version"), f.text("url"), f.text("checksum")
	a.SessionKey = f.text("session_key")
	if a.SessionKey == "" {
		a.SessionKey = f.text("sessionKey")
	}
	a.Link, a.Comment = f.text("link"), f.text("comment")
	a.Error, a.Message, a.Kind = f.text("error"), f.text("message"), capgo.Kind(f.text("kind"))
	a.Old, a.Major, a.Breaking = f.text("old"), f.truth("major"), f.truth("breaking")
	var entries []fields
	if json.Unmarshal(f["manifest"], &entries) == nil {
		for _, e := range entries {
			a.Manifest = append(a.Manifest, capgo.ManifestEntry{FileName: e.text("file_name"), FileHash: e.text("file_hash"), DownloadURL: e.text("download_url")})
		}
	}
}

func (a Answer) stop(o Outcome, reason, detail string) Answer {
	a.Outcome, a.Reason, a.Detail = o, reason, detail
	return a
}

// failedRequest is the outcome of a request that gave no usable answer.
func (d *Device) failedRequest() Outcome {
	if d.generation.Reading == readQuiet {
		return Quiet
	}
	return Failed
}

// wrongType names a field whose type breaks iOS's typed decoder, "" when none does.
func wrongType(f fields) string {
	for _, key := range []string{"version", "checksum", "url", "message", "error", "kind", "session_key", "link", "comment"} {
		if raw, ok := f[key]; ok && json.Unmarshal(raw, new(*string)) != nil {
			return key
		}
	}
	for _, key := range []string{"major", "breaking"} {
		if raw, ok := f[key]; ok && json.Unmarshal(raw, new(*bool)) != nil {
			return key
		}
	}
	if raw, ok := f["data"]; ok && json.Unmarshal(raw, &map[string]string{}) != nil {
		return "data"
	}
	type entry struct {
		FileName    *string `json:"file_name"`
		FileHash    *string `json:"file_hash"`
		DownloadURL *string `json:"download_url"`
	}
	if raw, ok := f["manifest"]; ok && json.Unmarshal(raw, &[]entry{}) != nil {
		return "manifest"
	}
	return ""
}

// validURL is the plugin's own test: an absolute URL of a scheme that it can open.
func validURL(s string) bool {
	u, err := url.Parse(s)
	if err != nil {
		return false
	}
	switch strings.ToLower(u.Scheme) {
	case "http", "https":
		return true
	}
	return false
}

// validSessionKey is two non-empty parts around one colon.
func validSessionKey(s string) bool {
	iv, key, ok := strings.Cut(s, ":")
	return ok && iv != "" && key != "" && !strings.Contains(key, ":")
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
