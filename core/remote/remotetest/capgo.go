// Package remotetest holds what the registry client is tested with: a server
// that behaves like Capgo's public management API including its traps, and one
// conformance suite that passes on it and on capstan's own server.
package remotetest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"capstan/core/capgo"
)

// Capgo is a stand-in for Capgo's public management API, in memory. What it
// does differently from what one would expect is what the service documents or
// its published code does: docs/management.md lists it.
type Capgo struct {
	Key string // the one valid API key

	mu       sync.Mutex
	apps     map[string]*app
	nextID   int64
	failures []Fault

	// Requests counts what was asked, as "METHOD /path".
	Requests map[string]int
	// WipedApps counts deletions without a version: each took every unlinked bundle.
	WipedApps int
	// Leaked counts requests to other routes that carried the key in another header.
	Headers []http.Header
}

// Fault is one answer that is given instead of the right one. With After the
// change is made first, so that only the answer is lost.
type Fault struct {
	Method string // "" for any
	Path   string // prefix
	Status int    // 0 cuts the connection
	Header http.Header
	Body   string
	After  bool
}

type app struct {
	id       string
	name     string
	bundles  []*bundle
	channels []*channel
	devices  map[string]*capgo.Device
}

type bundle struct {
	id                                                    int64
	name, url, checksum, sessionKey, keyID, link, comment string
	deleted                                               bool
	created                                               time.Time
}

type channel struct {
	id      int64
	name    string
	version *bundle
	fields  map[string]any
	rollout *bundle
}

// NewCapgo gives an empty service.
func NewCapgo(key string) *Capgo {
	return &Capgo{Key: key, apps: map[string]*app{}, Requests: map[string]int{}}
}

// Fail queues faults; each is used once, by the first request it matches.
func (c *Capgo) Fail(faults ...Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failures = append(c.failures, faults...)
}

// See makes a device known, as an update check would.
func (c *Capgo) See(appID string, d capgo.Device) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d.AppID, d.UpdatedAt = appID, time.Now().UTC()
	c.apps[appID].devices[d.DeviceID] = &d
}

// Count gives how often a request was made, "METHOD /path".
func (c *Capgo) Count(request string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.Requests[request]
}

func (c *Capgo) takeFault(r *http.Request) *Fault {
	for i, f := range c.failures {
		if (f.Method == "" || f.Method == r.Method) && strings.HasPrefix(r.URL.Path, f.Path) {
			c.failures = slices.Delete(c.failures, i, i+1)
			return &f
		}
	}
	return nil
}

func (c *Capgo) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Requests[r.Method+" "+r.URL.Path]++
	c.Headers = append(c.Headers, r.Header.Clone())
	fault := c.takeFault(r)
	if fault != nil && !fault.After {
		fault.answer(w)
		return
	}
	if fault != nil {
		c.route(discard{http.Header{}}, r)
		fault.answer(w)
		return
	}
	c.route(w, r)
}

// discard is an answer that nobody reads.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

func (f *Fault) answer(w http.ResponseWriter) {
	if f.Status == 0 {
		panic(http.ErrAbortHandler)
	}
	for name, values := range f.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(f.Status)
	_, _ = w.Write([]byte(f.Body))
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	reply(w, status, map[string]any{"error": code, "message": message, "moreInfo": map[string]any{}})
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func (c *Capgo) route(w http.ResponseWriter, r *http.Request) {
	root, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	handle, known := map[string]func(http.ResponseWriter, *http.Request, input){
		"GET bundle": c.getBundle, "POST bundle": c.postBundle, "PUT bundle": c.putBundle, "DELETE bundle": c.deleteBundle,
		"GET channel": c.getChannel, "POST channel": c.postChannel, "DELETE channel": c.deleteChannel,
		"GET device": c.getDevice, "POST device": c.postDevice, "DELETE device": c.deleteDevice,
		"GET app": c.getApp, "POST app": c.postApp, "DELETE app": c.deleteApp,
	}[r.Method+" "+root]
	if !known {
		refuse(w, http.StatusNotFound, "not_found", "Not found")
		return
	}
	switch key := r.Header.Get("capgkey"); {
	case key == "":
		refuse(w, http.StatusUnauthorized, "no_key_provided", "No key provided")
		return
	case key != c.Key:
		refuse(w, http.StatusUnauthorized, "invalid_apikey", "Invalid apikey")
		return
	}
	in := readInput(r)
	if root == "app" {
		in["path"] = rest
	} else if rest == "metadata" && root == "bundle" {
		handle = c.metadata
	}
	handle(w, r, in)
}

// input is a request's JSON body or, without one, its query.
type input map[string]any

func readInput(r *http.Request) input {
	in := input{}
	if json.NewDecoder(r.Body).Decode(&in) == nil {
		return in
	}
	in = input{}
	for key, values := range r.URL.Query() {
		in[key] = values[0]
	}
	return in
}

func (in input) text(key string) string { s, _ := in[key].(string); return s }

func (in input) number(key string) int64 {
	switch v := in[key].(type) {
	case float64:
		return int64(v)
	case string:
		n, _ := strconv.ParseInt(v, 10, 64)
		return n
	}
	return 0
}

func (c *Capgo) app(w http.ResponseWriter, in input) *app {
	a := c.apps[in.text("app_id")]
	if a == nil {
		refuse(w, http.StatusUnauthorized, "cannot_access_app", "You can't access this app")
	}
	return a
}

// page cuts rows the way the service does: via the query page stays a string,
// and page + 1 is a concatenation, so that page 1 asks for rows 50 to 549.
func page[T any](rows []T, raw string) []T {
	if raw == "" {
		raw = "0"
	}
	n, _ := strconv.Atoi(raw)
	upper, _ := strconv.Atoi(raw + "1")
	if raw == "0" {
		upper = 1
	}
	from, to := n*50, upper*50
	to = min(to, from+1000, len(rows))
	if from >= len(rows) {
		return nil
	}
	return rows[from:to]
}

func (c *Capgo) getApp(w http.ResponseWriter, _ *http.Request, in input) {
	row := func(a *app) map[string]any {
		return map[string]any{"app_id": a.id, "name": a.name, "owner_org": "6f1ad4ab-0000-4000-8000-000000000001", "default_upload_channel": "dev",
			"retention": 2592000, "created_at": "2026-01-01 10:00:00.123456+00", "updated_at": "2026-01-01T10:00:00.123456"}
	}
	if id := in.text("path"); id != "" {
		a := c.apps[id]
		if a == nil {
			refuse(w, http.StatusNotFound, "cannot_find_app", "Cannot find app")
			return
		}
		reply(w, http.StatusOK, row(a))
		return
	}
	var rows []map[string]any
	for _, id := range sortedKeys(c.apps) {
		rows = append(rows, row(c.apps[id]))
	}
	limit, number := int(in.number("limit")), int(in.number("page"))
	if limit == 0 {
		limit = 50
	}
	from := min(number*limit, len(rows))
	rows = rows[from:min(from+limit, len(rows))]
	if rows == nil {
		rows = []map[string]any{}
	}
	reply(w, http.StatusOK, rows)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (c *Capgo) postApp(w http.ResponseWriter, _ *http.Request, in input) {
	id := in.text("app_id")
	if c.apps[id] != nil {
		refuse(w, http.StatusConflict, "app_id_already_exists", "App ID already exists")
		return
	}
	c.apps[id] = &app{id: id, name: in.text("name"), devices: map[string]*capgo.Device{}}
	reply(w, http.StatusOK, map[string]any{"app_id": id})
}

func (c *Capgo) deleteApp(w http.ResponseWriter, _ *http.Request, in input) {
	id := in.text("path")
	if c.apps[id] == nil {
		refuse(w, http.StatusNotFound, "cannot_find_app", "Cannot find app")
		return
	}
	delete(c.apps, id)
	reply(w, http.StatusOK, map[string]any{"status": "ok"})
}

func (b *bundle) row(a *app) map[string]any {
	return map[string]any{"id": b.id, "app_id": a.id, "name": b.name, "checksum": b.checksum, "session_key": nilIfEmpty(b.sessionKey),
		"key_id": nilIfEmpty(b.keyID), "external_url": b.url, "r2_path": nil, "storage_provider": "external", "min_update_version": nil,
		"native_packages": nil, "link": nilIfEmpty(b.link), "comment": nilIfEmpty(b.comment), "deleted": b.deleted, "manifest_count": 0,
		"created_at": b.created.Format("2006-01-02T15:04:05.999999-07:00"), "updated_at": b.created.Format("2006-01-02T15:04:05.999999-07:00")}
}

func nilIfEmpty(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func (c *Capgo) getBundle(w http.ResponseWriter, _ *http.Request, in input) {
	a := c.apps[in.text("app_id")]
	rows := []map[string]any{}
	if a != nil {
		for _, b := range slices.Backward(a.bundles) { // newest first
			if !b.deleted {
				rows = append(rows, b.row(a))
			}
		}
		rows = page(rows, in.text("page"))
	}
	if len(rows) == 0 { // no rows and no access are the same refusal
		refuse(w, http.StatusBadRequest, "cannot_get_bundle", "Cannot get bundle")
		return
	}
	reply(w, http.StatusOK, rows)
}

var semver = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`)

func (c *Capgo) postBundle(w http.ResponseWriter, _ *http.Request, in input) {
	a := c.app(w, in)
	if a == nil {
		return
	}
	for _, field := range []string{"version", "external_url", "checksum"} {
		if in.text(field) == "" {
			refuse(w, http.StatusBadRequest, "missing_"+field, "Missing "+field)
			return
		}
	}
	switch {
	case !semver.MatchString(in.text("version")):
		refuse(w, http.StatusBadRequest, "invalid_version_format", "Version must be valid semver format")
		return
	case !strings.HasPrefix(in.text("external_url"), "https://"):
		refuse(w, http.StatusBadRequest, "invalid_protocol", "External URL must use HTTPS protocol")
		return
	}
	for _, b := range a.bundles { // deleted ones keep their name
		if b.name == in.text("version") {
			refuse(w, http.StatusBadRequest, "version_already_exists", "Version already exists")
			return
		}
	}
	c.nextID++
	b := &bundle{id: c.nextID, name: in.text("version"), url: in.text("external_url"), checksum: in.text("checksum"),
		sessionKey: in.text("session_key"), keyID: in.text("key_id"), created: time.Now().UTC()}
	a.bundles = append(a.bundles, b)
	reply(w, http.StatusOK, map[string]any{"status": "success", "bundle": b.row(a)})
}

func (a *app) bundle(id int64) *bundle {
	for _, b := range a.bundles {
		if b.id == id && !b.deleted {
			return b
		}
	}
	return nil
}

func (a *app) bundleNamed(name string) *bundle {
	for _, b := range a.bundles {
		if b.name == name && !b.deleted {
			return b
		}
	}
	return nil
}

func (a *app) channel(name string) *channel {
	for _, ch := range a.channels {
		if ch.name == name {
			return ch
		}
	}
	return nil
}

func (c *Capgo) metadata(w http.ResponseWriter, _ *http.Request, in input) {
	a := c.app(w, in)
	if a == nil {
		return
	}
	b := a.bundle(in.number("version_id"))
	if b == nil {
		refuse(w, http.StatusBadRequest, "cannot_find_version", "Cannot find version")
		return
	}
	if s, ok := in["link"].(string); ok {
		b.link = s
	}
	if s, ok := in["comment"].(string); ok {
		b.comment = s
	}
	reply(w, http.StatusOK, map[string]string{"status": "ok"})
}

func (c *Capgo) putBundle(w http.ResponseWriter, _ *http.Request, in input) {
	a := c.app(w, in)
	if a == nil {
		return
	}
	b := a.bundle(in.number("version_id"))
	if b == nil {
		refuse(w, http.StatusBadRequest, "cannot_find_version", "Cannot find version")
		return
	}
	for _, ch := range a.channels {
		if ch.id == in.number("channel_id") {
			ch.version = b
			reply(w, http.StatusOK, map[string]string{"status": "success", "message": "Bundle " + b.name + " set to channel " + ch.name})
			return
		}
	}
	refuse(w, http.StatusBadRequest, "cannot_find_channel", "Cannot find channel")
}

func (a *app) linked(b *bundle) bool {
	for _, ch := range a.channels {
		if ch.version == b || ch.rollout == b {
			return true
		}
	}
	return false
}

func (c *Capgo) deleteBundle(w http.ResponseWriter, _ *http.Request, in input) {
	a := c.app(w, in)
	if a == nil {
		return
	}
	if in.text("version") == "" { // everything
		c.WipedApps++
		for _, b := range a.bundles {
			b.deleted = b.deleted || !a.linked(b)
		}
		reply(w, http.StatusOK, map[string]string{"status": "ok"})
		return
	}
	b := a.bundleNamed(in.text("version"))
	switch {
	case b == nil:
		refuse(w, http.StatusBadRequest, "cannot_delete_version", "Cannot delete version")
	case a.linked(b):
		refuse(w, http.StatusBadRequest, "cannot_delete_linked_version", "Cannot delete a version that is linked to a channel")
	default:
		b.deleted = true
		reply(w, http.StatusOK, map[string]string{"status": "ok"})
	}
}

func (ch *channel) row(a *app) map[string]any {
	ref := func(b *bundle) any {
		if b == nil {
			return nil
		}
		return map[string]any{"name": b.name, "id": b.id}
	}
	row := map[string]any{"id": ch.id, "created_at": "2026-01-01T10:00:00.123456+00:00", "updated_at": "2026-01-01T10:00:00+00:00",
		"name": ch.name, "app_id": a.id, "created_by": "6f1ad4ab-0000-4000-8000-000000000002", "rollout_id": "6f1ad4ab-0000-4000-8000-000000000003",
		"version": ref(ch.version), "rollout_version": nil, "rollout_version_info": ref(ch.rollout)}
	if ch.rollout != nil {
		row["rollout_version"] = ch.rollout.id
	}
	for key, value := range ch.fields {
		if key != "ios" && key != "android" && key != "electron" { // accepted, never returned
			row[key] = value
		}
	}
	return row
}

func (c *Capgo) getChannel(w http.ResponseWriter, _ *http.Request, in input) {
	a := c.app(w, in)
	if a == nil {
		return
	}
	if name := in.text("channel"); name != "" {
		ch := a.channel(name)
		if ch == nil {
			refuse(w, http.StatusBadRequest, "cannot_find_channel", "Cannot find channel")
			return
		}
		reply(w, http.StatusOK, ch.row(a))
		return
	}
	rows := []map[string]any{}
	for _, ch := range a.channels {
		rows = append(rows, ch.row(a))
	}
	rows = page(rows, in.text("page"))
	if rows == nil {
		rows = []map[string]any{}
	}
	reply(w, http.StatusOK, rows)
}

func (c *Capgo) postChannel(w http.ResponseWriter, _ *http.Request, in input) {
	a := c.app(w, in)
	if a == nil {
		return
	}
	find := func(key string) (b *bundle, given, ok bool) {
		value, given := in[key]
		if !given {
			return nil, false, true
		}
		switch name, _ := value.(string); name {
		case "", "builtin", "unknown":
			return nil, true, true
		default:
			b := a.bundleNamed(name)
			return b, true, b != nil
		}
	}
	version, setVersion, ok := find("version")
	rollout, setRollout, ok2 := find("rolloutVersion")
	if !ok || !ok2 {
		refuse(w, http.StatusBadRequest, "cannot_find_version", "Cannot find version")
		return
	}
	ch := a.channel(in.text("channel"))
	created := ch == nil
	if created {
		c.nextID++
		ch = &channel{id: c.nextID, name: in.text("channel"), fields: map[string]any{
			"public": false, "disableAutoUpdateUnderNative": true, "disableAutoUpdate": "major", "allow_device_self_set": false,
			"allow_emulator": true, "allow_device": true, "allow_dev": true, "allow_prod": true,
			"rolloutPercentageBps": 0, "rolloutEnabled": false, "rolloutPausedAt": nil, "rolloutPauseReason": nil, "rolloutCacheTtlSeconds": 2592000}}
	}
	if setRollout && rollout != nil && ch.version == nil && version == nil {
		refuse(w, http.StatusBadRequest, "missing_stable_version", "A rollout needs a stable version")
		return
	}
	if bps := in.number("rolloutPercentageBps"); bps < 0 || bps > 10000 {
		refuse(w, http.StatusBadRequest, "invalid_rollout_percentage", "Rollout percentage must be between 0 and 100")
		return
	}
	if created {
		a.channels = append(a.channels, ch)
	}
	if setVersion {
		ch.version = version
	}
	if setRollout {
		ch.rollout = rollout
	}
	for key, value := range in {
		switch key {
		case "app_id", "channel", "version", "rolloutVersion", "expected_revision":
		case "rolloutPaused":
			ch.fields["rolloutPausedAt"] = nil
			if value == true {
				ch.fields["rolloutPausedAt"] = time.Now().UTC().Format(time.RFC3339Nano)
			}
		case "rollback":
			ch.rollout, ch.fields["rolloutEnabled"], ch.fields["rolloutPercentageBps"] = nil, false, 0
		case "promoteToStable":
			ch.version, ch.rollout = ch.rollout, nil
			ch.fields["rolloutEnabled"], ch.fields["rolloutPercentageBps"] = false, 0
		default:
			ch.fields[key] = value
		}
	}
	if created && setVersion {
		reply(w, http.StatusOK, map[string]any{"status": "ok", "id": ch.id, "public": ch.fields["public"]})
		return
	}
	reply(w, http.StatusOK, map[string]string{"status": "ok"})
}

func (c *Capgo) deleteChannel(w http.ResponseWriter, _ *http.Request, in input) {
	a := c.app(w, in)
	if a == nil {
		return
	}
	i := slices.IndexFunc(a.channels, func(ch *channel) bool { return ch.name == in.text("channel") })
	if i < 0 {
		refuse(w, http.StatusBadRequest, "cannot_find_channel", "Cannot find channel")
		return
	}
	a.channels = slices.Delete(a.channels, i, i+1)
	reply(w, http.StatusOK, map[string]string{"status": "ok"})
}

func (c *Capgo) getDevice(w http.ResponseWriter, _ *http.Request, in input) {
	a := c.app(w, in)
	if a == nil {
		return
	}
	if id := in.text("device_id"); id != "" {
		d := a.devices[id]
		if d == nil {
			refuse(w, http.StatusNotFound, "device_not_found", "Cannot find device")
			return
		}
		reply(w, http.StatusOK, deviceRow(d))
		return
	}
	limit := int(in.number("limit"))
	if limit == 0 {
		limit = 50
	}
	rows := []map[string]any{}
	next, more := "", false
	for _, id := range sortedKeys(a.devices) {
		if id <= in.text("cursor") {
			continue
		}
		if len(rows) == limit {
			more = true
			break
		}
		rows, next = append(rows, deviceRow(a.devices[id])), id
	}
	answer := map[string]any{"data": rows, "hasMore": more}
	if more {
		answer["nextCursor"] = next
	}
	reply(w, http.StatusOK, answer)
}

// deviceRow has the numeric bundle id in "version", which only this API has.
func deviceRow(d *capgo.Device) map[string]any {
	row := map[string]any{"updated_at": d.UpdatedAt, "device_id": d.DeviceID, "custom_id": d.CustomID, "is_prod": d.IsProd, "is_emulator": d.IsEmulator,
		"install_source": nil, "version_name": d.VersionName, "version": 17, "app_id": d.AppID, "platform": d.Platform, "plugin_version": d.PluginVersion,
		"os_version": d.VersionOS, "version_build": d.VersionBuild, "key_id": nilIfEmpty(d.KeyID), "country_code": nil}
	if d.Channel != "" {
		row["channel"] = d.Channel
	}
	return row
}

func (c *Capgo) postDevice(w http.ResponseWriter, _ *http.Request, in input) {
	a := c.app(w, in)
	if a == nil {
		return
	}
	ch := a.channel(in.text("channel"))
	switch d := a.devices[in.text("device_id")]; {
	case ch == nil:
		refuse(w, http.StatusNotFound, "channel_not_found", "Cannot find channel")
	case ch.fields["public"] == true:
		refuse(w, http.StatusBadRequest, "public_channel_override", "Cannot set channel override for public channel")
	default:
		if d == nil {
			d = &capgo.Device{DeviceID: in.text("device_id"), AppID: a.id}
			a.devices[d.DeviceID] = d
		}
		d.Channel = ch.name
		reply(w, http.StatusOK, map[string]string{"status": "ok"})
	}
}

func (c *Capgo) deleteDevice(w http.ResponseWriter, _ *http.Request, in input) {
	a := c.app(w, in)
	if a == nil {
		return
	}
	if d := a.devices[in.text("device_id")]; d != nil {
		d.Channel = ""
	}
	reply(w, http.StatusOK, map[string]string{"status": "ok"})
}

// Seed registers n bundles 1.0.0, 1.0.1, … of an app.
func (c *Capgo) Seed(appID string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.apps[appID]
	if a == nil {
		a = &app{id: appID, name: appID, devices: map[string]*capgo.Device{}}
		c.apps[appID] = a
	}
	for i := range n {
		c.nextID++
		name := fmt.Sprintf("1.0.%d", i)
		a.bundles = append(a.bundles, &bundle{id: c.nextID, name: name, url: "https://cdn.example.com/" + url.PathEscape(name) + ".zip",
			checksum: strings.Repeat("ab", 32), created: time.Now().UTC()})
	}
}
