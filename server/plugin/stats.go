package plugin

import (
	"net/http"
	"strconv"
	"strings"

	"capstan/core/capgo"
	"capstan/server/decide"
)

// Limits on an event.
const (
	maxMetadata      = 30
	maxMetadataKey   = 64
	maxMetadataValue = 2048
	maxAction        = 64
)

// stats answers POST /stats, a lone event or a batch. Events are durable before
// the answer goes out: the plugin forgets what was acknowledged.
func (h *Handler) stats(w http.ResponseWriter, r *http.Request) {
	text, err := readBody(r, MaxStatsBody)
	switch {
	case err == errTooLarge:
		writeJSON(w, http.StatusRequestEntityTooLarge, bodyTooLarge)
		return
	case err != nil:
		writeRefusal(w, errJSON)
		return
	}
	events, batch, e := decodeEvents(text)
	if e == nil {
		e = sameApp(events, batch)
	}
	switch {
	case e != nil:
		writeRefusal(w, e)
		return
	case len(events) == 0:
		writeJSON(w, http.StatusOK, []byte(`{"status":"ok","results":[]}`))
		return
	}
	appID := events[0].appID.s
	app, err := h.Apps.Snapshot(r.Context(), appID)
	if err != nil {
		h.unavailable(w, r, "stats", appID, err)
		return
	}
	if h.crowded(w, app, appID) {
		return
	}
	outcomes, keep := judge(app, events)
	if len(keep) > 0 {
		if err := h.Devices.Record(r.Context(), appID, keep); err != nil {
			h.unavailable(w, r, "stats", appID, err)
			return
		}
	}
	if batch {
		writeJSON(w, http.StatusOK, appendResults(nil, appID, outcomes))
		return
	}
	writeOutcome(w, appID, &outcomes[0])
}

// decodeEvents reads one object or an array of them.
func decodeEvents(s string) (events []body, batch bool, e *refusal) {
	p := newScanner(s)
	p.space()
	if p.next() != '[' {
		events = make([]body, 1)
		return events, false, events[0].decode(s)
	}
	tooMany := false
	ok := p.elements(0, func(v value) {
		if len(events) == MaxEvents {
			tooMany = true
			return
		}
		events = append(events, body{})
		events[len(events)-1].fill(v)
	})
	switch {
	case !ok || !p.end():
		return nil, true, errJSON
	case tooMany:
		return nil, true, &refusal{http.StatusRequestEntityTooLarge, "body_too_large", "Too many events"}
	}
	return events, true, nil
}

// sameApp checks that all events name one app. A fault in the first event is a
// bad request, in a later one it is told with status 200.
func sameApp(events []body, batch bool) *refusal {
	for i := range events {
		id := events[i].appID
		var e *refusal
		switch {
		case id.kind != text || id.s == "":
			e = errNoAppID
		case !isAppID(id.s):
			e = errBadAppID
		case id.s != events[0].appID.s:
			e = errMixedApps
		default:
			continue
		}
		if i > 0 {
			return &refusal{http.StatusOK, e.code, e.message}
		}
		return e
	}
	return nil
}

// outcome is the verdict on one event.
type outcome struct {
	refusal *refusal // nil = taken
	// version is the name that was not found, where that is the refusal.
	version string
}

var (
	errUnknownApp = &refusal{http.StatusTooManyRequests, capgo.CodeUnknownApp, "On-premise app detected"}
	errNoVersion  = &refusal{http.StatusOK, "version_not_found", "Version not found"}
)

// judge gives each event its verdict and collects those to keep.
func judge(app *decide.App, events []body) (outcomes []outcome, keep []capgo.StatsEvent) {
	outcomes = make([]outcome, len(events))
	var known map[string]bool
	if app != nil {
		known = versionNames(app)
	}
	for i := range events {
		event, e := events[i].event()
		if e != nil {
			outcomes[i].refusal = e
			continue
		}
		if app == nil {
			outcomes[i].refusal = errUnknownApp
			continue
		}
		if !recordable(&event) {
			continue
		}
		name := event.VersionName
		if name == capgo.Builtin {
			name = event.VersionBuild
		}
		version, _, isFile := strings.Cut(name, ":") // version:file in failures of one delta file
		if isFile && version == "" {
			version = name
		}
		switch {
		case !known[version]:
			outcomes[i] = outcome{errNoVersion, name}
			if event.VersionName != capgo.Builtin || event.Action == "" {
				continue
			}
			// A device on its store build is told so too, yet what happens to it
			// is worth knowing: the first install of anything starts there.
		case event.Action == "":
			outcomes[i].refusal = errBody
			continue
		}
		if !app.AllowDeviceCustomID {
			event.CustomID = ""
		}
		keep = append(keep, event)
	}
	return outcomes, keep
}

// versionNames lists what an event may name. The pseudo-versions count only as
// the deleted rows that Capgo's database keeps for them.
func versionNames(app *decide.App) map[string]bool {
	names := make(map[string]bool, len(app.Bundles))
	for _, b := range app.Bundles {
		if pseudo := b.Name == capgo.Builtin || b.Name == capgo.Unknown; b.Deleted == pseudo {
			names[b.Name] = true
		}
	}
	return names
}

// recordable is false for events that mean nothing: before 7.17.0 (and 6.14.25
// in the sixth generation) the plugin sent download_fail when there was nothing
// to download.
func recordable(e *capgo.StatsEvent) bool {
	return e.Action != "download_fail" || decide.ReportsDownloadFail(e.PluginVersion)
}

// event checks one event. A missing action is left to the caller.
func (b *body) event() (event capgo.StatsEvent, e *refusal) {
	event.UpdateRequest, e = b.request(&statsRules)
	if e != nil {
		return event, e
	}
	if b.action.kind != absent && !isAction(b.action) {
		return event, errBody
	}
	var ok bool
	if event.Metadata, ok = metadata(b.metadata); !ok {
		return event, errBody
	}
	event.Action = b.action.s
	event.OldVersionName = b.oldVersionName.str()
	if b.timestamp.kind == number {
		if ms, err := strconv.ParseFloat(b.timestamp.s, 64); err == nil && ms > 0 && ms < 1<<53 {
			event.Timestamp = int64(ms)
		}
	}
	return event, nil
}

// isAction accepts any name an action could have: new plugins bring new ones.
func isAction(v value) bool {
	return v.kind == text && len(v.s) <= maxAction && allOf(v.s, true)
}

// metadata reads an event's metadata: text by text, bounded.
func metadata(v value) (map[string]string, bool) {
	switch v.kind {
	case absent:
		return nil, true
	case object:
	default:
		return nil, false
	}
	fields := map[string]string{}
	ok := true
	p := scanner{s: v.s}
	p.members(0, func(key string, v value) {
		ok = ok && v.kind == text && length16(key) <= maxMetadataKey && length16(v.s) <= maxMetadataValue
		if ok {
			fields[key] = v.s
			ok = len(fields) <= maxMetadata
		}
	})
	return fields, ok
}

// appendResults writes the answer to a batch.
func appendResults(dst []byte, appID string, outcomes []outcome) []byte {
	dst = append(dst, `{"status":"ok","results":[`...)
	for i := range outcomes {
		if i > 0 {
			dst = append(dst, ',')
		}
		result := capgo.StatsResult{Status: "ok", Index: i}
		var info *capgo.StatsInfo
		if e := outcomes[i].refusal; e != nil {
			result.Status, result.Error, result.Message = "error", e.code, e.message
			if e == errNoVersion {
				info = &capgo.StatsInfo{AppID: appID, VersionName: outcomes[i].version}
			}
		}
		dst = capgo.AppendStatsResult(dst, result, info)
	}
	return append(dst, "]}"...)
}

// writeOutcome answers a lone event.
func writeOutcome(w http.ResponseWriter, appID string, o *outcome) {
	switch o.refusal {
	case nil:
		writeJSON(w, http.StatusOK, statusOK)
	case errNoVersion:
		body := append(make([]byte, 0, 256), `{"error":"version_not_found","message":"Version not found","app_id":`...)
		body = capgo.AppendString(body, appID)
		body = append(body, `,"version_name":`...)
		body = capgo.AppendString(body, o.version)
		writeJSON(w, http.StatusOK, append(body, '}'))
	case errUnknownApp:
		writeJSON(w, http.StatusTooManyRequests, []byte(`{"error":"on_premise_app","message":"On-premise app detected"}`))
	default:
		writeRefusal(w, o.refusal)
	}
}
