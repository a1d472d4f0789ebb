package plugin_test

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"capstan/core/capgo"
	"capstan/server/decide"
)

// recordedCase is a line of the recordings: what Capgo's own server answered.
type recordedCase struct {
	Name     string
	Category string
	Scope    string // core, cloud, quirk
	State    recordedState
	Before   []struct{ Request recordedRequest }
	Request  recordedRequest
	Response recordedResponse
	Vary     []string
}

type recordedState struct {
	App struct {
		ID                  string
		Known               *bool
		PlanValid           *bool `json:"plan_valid"`
		ExposeMetadata      bool  `json:"expose_metadata"`
		AllowDeviceCustomID *bool `json:"allow_device_custom_id"`
	}
	Bundles   []recordedBundle
	Channels  []recordedChannel
	Overrides []struct {
		DeviceID string `json:"device_id"`
		Channel  string
	} `json:"device_overrides"`
}

type recordedBundle struct {
	Name             string
	ExternalURL      string `json:"external_url"`
	StoredPath       string `json:"stored_path"`
	Checksum         string
	SessionKey       string `json:"session_key"`
	KeyID            string `json:"key_id"`
	MinUpdateVersion string `json:"min_update_version"`
	Link, Comment    string
	Deleted          bool
	Manifest         []struct {
		FileName string `json:"file_name"`
		FileHash string `json:"file_hash"`
		Path     string
		Size     int64
	}
}

type recordedChannel struct {
	Name                         string
	Bundle                       *string
	Public                       bool
	IOS, Android, Electron       *bool
	AllowDeviceSelfSet           bool               `json:"allow_device_self_set"`
	AllowDev                     *bool              `json:"allow_dev"`
	AllowProd                    *bool              `json:"allow_prod"`
	AllowDevice                  *bool              `json:"allow_device"`
	AllowEmulator                *bool              `json:"allow_emulator"`
	DisableAutoUpdate            capgo.UpdatePolicy `json:"disable_auto_update"`
	DisableAutoUpdateUnderNative bool               `json:"disable_auto_update_under_native"`
	Rollout                      *struct {
		Bundle          string
		PercentageBps   int `json:"percentage_bps"`
		Enabled, Paused bool
	}
}

type recordedRequest struct {
	Method, Path string
	Query        map[string]string
	Headers      map[string]string
	Body         json.RawMessage
	RawBody      *string `json:"raw_body"`
}

type recordedResponse struct {
	Status  int
	Body    json.RawMessage
	RawBody *string `json:"raw_body"`
	Headers map[string]string
}

func orTrue(b *bool) bool { return b == nil || *b }

// bundles are the state's bundles by name, numbered in their order.
func (s *recordedState) bundles() iter.Seq2[string, *decide.Bundle] {
	return func(yield func(string, *decide.Bundle) bool) {
		for i, b := range s.Bundles {
			bundle := &decide.Bundle{
				ID: int64(i + 1), Name: b.Name, ExternalURL: b.ExternalURL, ObjectKey: b.StoredPath, Checksum: b.Checksum,
				SessionKey: b.SessionKey, KeyID: b.KeyID, MinUpdateVersion: b.MinUpdateVersion,
				Link: b.Link, Comment: b.Comment, Deleted: b.Deleted,
			}
			for _, f := range b.Manifest {
				bundle.Manifest = append(bundle.Manifest, decide.ManifestFile{FileName: f.FileName, FileHash: f.FileHash, ObjectKey: f.Path, Size: f.Size})
			}
			if !yield(b.Name, bundle) {
				return
			}
		}
	}
}

// app builds the snapshot that the state describes; nil for an unknown app.
func (s *recordedState) app(t *testing.T) *decide.App {
	if !orTrue(s.App.Known) {
		return nil
	}
	app := &decide.App{
		ID:                  s.App.ID,
		ExposeMetadata:      s.App.ExposeMetadata,
		AllowDeviceCustomID: orTrue(s.App.AllowDeviceCustomID),
		Bundles:             map[int64]*decide.Bundle{},
		Overrides:           map[string]int64{},
	}
	bundles := map[string]int64{}
	for name, bundle := range s.bundles() {
		bundles[name] = bundle.ID
		app.Bundles[bundle.ID] = bundle
	}
	bundleID := func(name string) int64 {
		id, ok := bundles[name]
		if !ok {
			t.Fatalf("%s: no bundle %q in the state", s.App.ID, name)
		}
		return id
	}
	for i, c := range s.Channels {
		channel := &decide.Channel{
			ID: int64(i + 1), Name: c.Name, Public: c.Public, IOS: orTrue(c.IOS), Android: orTrue(c.Android), Electron: orTrue(c.Electron),
			AllowDeviceSelfSet: c.AllowDeviceSelfSet, AllowDev: orTrue(c.AllowDev), AllowProd: orTrue(c.AllowProd),
			AllowDevice: orTrue(c.AllowDevice), AllowEmulator: orTrue(c.AllowEmulator),
			DisableAutoUpdate: c.DisableAutoUpdate, DisableAutoUpdateUnderNative: c.DisableAutoUpdateUnderNative,
		}
		if c.Bundle != nil {
			channel.BundleID = bundleID(*c.Bundle)
		}
		if r := c.Rollout; r != nil {
			channel.Rollout = &decide.Rollout{ID: s.App.ID + "/" + c.Name, BundleID: bundleID(r.Bundle), PercentageBps: r.PercentageBps, Enabled: r.Enabled}
			if r.Paused {
				channel.Rollout.PausedAt = new(time.Time)
			}
		}
		for _, o := range s.Overrides {
			if o.Channel == c.Name {
				app.Overrides[o.DeviceID] = channel.ID
			}
		}
		app.Channels = append(app.Channels, channel)
	}
	slices.SortFunc(app.Channels, func(a, b *decide.Channel) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return app
}

func (r *recordedRequest) send(t *testing.T, h http.Handler) *httptest.ResponseRecorder {
	target := r.Path
	if len(r.Query) > 0 {
		q := url.Values{}
		for name, value := range r.Query {
			q.Set(name, value)
		}
		target += "?" + q.Encode()
	}
	body := ""
	switch {
	case r.RawBody != nil:
		body = *r.RawBody
	case r.Body != nil:
		body = string(r.Body)
	}
	req := httptest.NewRequestWithContext(t.Context(), r.Method, target, strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	for name, value := range r.Headers {
		req.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return w
}

// field is a text field of the request's body, "" when there is none.
func (r *recordedRequest) field(name string) string {
	text := string(r.Body)
	if r.RawBody != nil {
		text = *r.RawBody
	}
	var fields map[string]any
	if json.Unmarshal([]byte(strings.TrimPrefix(text, "\ufeff")), &fields) != nil {
		return ""
	}
	s, _ := fields[name].(string)
	return s
}

// compared is a recorded and a given answer, side by side.
type compared struct {
	c         *recordedCase
	status    int
	want, got any // decoded bodies, free parts blanked
	header    http.Header
}

func decodeBody(raw []byte) any {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return string(raw)
	}
	return v
}

// free replaces what a pointer leads to by a marker, so that only its presence
// counts.
func free(v any, path []string) {
	switch v := v.(type) {
	case map[string]any:
		if inner, ok := v[path[0]]; ok {
			if len(path) == 1 {
				v[path[0]] = "(free)"
			} else {
				free(inner, path[1:])
			}
		}
	case []any:
		for _, inner := range v {
			if path[0] == "*" && len(path) > 1 {
				free(inner, path[1:])
			}
		}
	}
}

func compare(c *recordedCase, w *httptest.ResponseRecorder) *compared {
	cmp := &compared{c: c, status: w.Code, got: decodeBody(w.Body.Bytes()), header: w.Header()}
	if c.Request.Method == http.MethodHead {
		cmp.got = "" // net/http sends no body then; the recorder keeps it
	}
	switch {
	case c.Response.RawBody != nil:
		cmp.want = decodeBody([]byte(*c.Response.RawBody))
	default:
		cmp.want = decodeBody(c.Response.Body)
	}
	for _, vary := range c.Vary {
		if path, ok := strings.CutPrefix(vary, "/"); ok {
			free(cmp.want, strings.Split(path, "/"))
			free(cmp.got, strings.Split(path, "/"))
		}
	}
	if c.Response.Status == http.StatusBadRequest { // what else is in there is free
		for _, v := range []any{cmp.want, cmp.got} {
			if fields, ok := v.(map[string]any); ok {
				delete(fields, "moreInfo")
			}
		}
	}
	if slices.Contains(c.Vary, "order") {
		for _, v := range []any{cmp.want, cmp.got} {
			if list, ok := v.([]any); ok {
				slices.SortFunc(list, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
			}
		}
	}
	return cmp
}

func (c *compared) equal() bool {
	for name, value := range c.c.Response.Headers {
		got := c.header.Get(name)
		if got == "" || got != value && !slices.Contains(c.c.Vary, "header:"+name) {
			return false
		}
	}
	return c.status == c.c.Response.Status && reflect.DeepEqual(c.want, c.got)
}

func (c *compared) wanted(key string) any { return member(c.want, key) }
func (c *compared) given(key string) any  { return member(c.got, key) }

func member(v any, key string) any {
	fields, _ := v.(map[string]any)
	return fields[key]
}

// without compares the two bodies leaving one key of ours out.
func (c *compared) without(key string) bool {
	got := map[string]any{}
	fields, _ := c.got.(map[string]any)
	for name, value := range fields {
		if name != key {
			got[name] = value
		}
	}
	return c.status == c.c.Response.Status && reflect.DeepEqual(c.want, any(got))
}

// purpose is one difference with its reason.
type purpose struct {
	name, reason string
	fits         func(c *compared) bool
}

// onPurpose lists where capstan means to differ from Capgo's server. A rule
// fits by what was asked and answered, not by the name of a case.
var onPurpose = []purpose{
	{
		"version echoed", "an up-to-date answer repeats version_name, which spares the iOS plugin a second request in every period",
		func(c *compared) bool {
			return c.wanted("error") == capgo.CodeUpToDate && c.given("version") == c.c.Request.field("version_name") && c.without("version")
		},
	},
	{
		"builtin", `a device that is not on the store build is really sent there: {"version":"builtin"} is the only answer on which the plugin acts`,
		func(c *compared) bool {
			return c.wanted("error") == capgo.CodeAlreadyBuiltin && c.c.Request.field("version_name") != capgo.Builtin &&
				reflect.DeepEqual(c.got, any(map[string]any{"version": "builtin"}))
		},
	},
	{
		"rollout at 0 %", "0 % holds nobody, whatever other channels do; Capgo keeps devices on the rollout's bundle while another channel of the app has an active rollout",
		func(c *compared) bool {
			runs := c.c.Request.field("version_name")
			if runs == capgo.Builtin { // the server compares the native version then
				runs = c.c.Request.field("version_build")
			}
			return c.c.Request.Path == "/updates" && c.wanted("error") == capgo.CodeUpToDate && slices.ContainsFunc(c.c.State.Channels, func(ch recordedChannel) bool {
				return ch.Rollout != nil && ch.Rollout.Enabled && ch.Rollout.PercentageBps == 0 && ch.Rollout.Bundle == runs &&
					(ch.Bundle == nil && c.given("version") == capgo.Builtin || ch.Bundle != nil && c.given("version") == *ch.Bundle)
			})
		},
	},
	{
		"delta files only", "a bundle of delta files is refused to plugins that cannot take them; Capgo sends them to a zip that does not exist",
		func(c *compared) bool {
			return c.wanted("url") != nil && c.wanted("manifest") == nil && c.given("error") == capgo.CodeNoBundle &&
				slices.ContainsFunc(c.c.State.Bundles, func(b recordedBundle) bool {
					return b.Name == c.wanted("version") && b.ExternalURL == "" && b.StoredPath == "" && len(b.Manifest) > 0
				})
		},
	},
	{
		"actions of newer plugins", "events with an action unknown today are kept: new plugin versions bring new ones",
		func(c *compared) bool { return c.unknownAction() },
	},
	{
		"public channel of another name", "a new plugin without a channel is told its platform's public channel; Capgo always says production, which pins the device to a channel that may not exist",
		func(c *compared) bool {
			return c.c.Request.Method == http.MethodPut && c.wanted("channel") == "production" && c.wanted("status") == "default" &&
				c.given("status") == "default" && slices.ContainsFunc(c.c.State.Channels, func(ch recordedChannel) bool {
				return ch.Public && ch.Name == c.given("channel")
			})
		},
	},
	{
		"no null", "a bundle without a checksum is offered without that key: Android reads a JSON null as the text null",
		func(c *compared) bool {
			want, _ := c.want.(map[string]any)
			checksum, there := want["checksum"]
			if !there || checksum != nil && checksum != "" || c.given("checksum") != nil {
				return false
			}
			delete(want, "checksum")
			return c.without("checksum")
		},
	},
	{
		"server errors", "where Capgo's server breaks down with 500, a malformed request is a 400, and a bundle that its channel cannot weigh is refused as misconfigured",
		func(c *compared) bool {
			return c.c.Response.Status == http.StatusInternalServerError && c.status < http.StatusInternalServerError || c.brokenEvent()
		},
	},
	{
		"no plans", "a self-hosted server has no plans that lapse and no list of apps to slow down",
		func(c *compared) bool {
			return c.c.Scope == "cloud" && c.c.Response.Status == http.StatusTooManyRequests && c.status == http.StatusOK &&
				(!orTrue(c.c.State.App.PlanValid) || c.wanted("error") == "too_many_requests" && (c.c.Category == "app-status" || c.c.Request.Path != "/channel_self"))
		},
	},
	{
		"no provider list", "requests from the stores' review networks are answered like any other",
		func(c *compared) bool {
			return c.c.Scope == "cloud" && c.wanted("error") == "provider_infrastructure_request_blocked" && c.given("error") != c.wanted("error")
		},
	},
	{
		"no enumeration guard", "Capgo answers more shortly to an address that asked for many unknown apps; capstan's limits work by address and app in front of these endpoints",
		func(c *compared) bool {
			return c.c.Scope == "cloud" && c.wanted("error") == capgo.CodeUnknownApp && c.c.Category == "app-status" && c.without("message")
		},
	},
	{
		"limits by address", "rates are limited by client address in front of these endpoints, never by a field of the body, and a repeated choice does no harm; a 429 silences plugins 7.23.8 to 8.51.4 until the app restarts",
		func(c *compared) bool {
			return c.c.Scope == "cloud" && c.c.Request.Path == "/channel_self" && c.wanted("error") == "too_many_requests" && c.status == http.StatusOK && c.given("error") == nil
		},
	},
}

// unknownAction tells whether the answers differ only in events whose action
// Capgo's server does not list.
func (c *compared) unknownAction() bool {
	if c.c.Request.Path != "/stats" && c.c.Request.Path != "/plugin/stats" {
		return false
	}
	// Once the action is taken, the bundle may still be one that nobody knows.
	taken := func(got any) bool {
		return member(got, "status") == "ok" || member(got, "error") == "version_not_found"
	}
	if c.wanted("error") == capgo.CodeInvalidBody && c.status == http.StatusOK && taken(c.got) {
		return unlisted(c.c.Request.field("action"))
	}
	return c.differingEvents(func(event recordedEvent, want, got any) bool {
		return unlisted(event.Action) && member(want, "error") == capgo.CodeInvalidBody && taken(got)
	})
}

// brokenEvent tells whether the answers differ only in events of a batch on
// which Capgo's server broke down.
func (c *compared) brokenEvent() bool {
	return c.differingEvents(func(_ recordedEvent, want, got any) bool {
		return member(want, "error") == "processing_error" && member(got, "error") == capgo.CodeInvalidBody
	})
}

type recordedEvent struct{ Action string }

// differingEvents tells whether two answers to a batch differ only in events
// for which excused holds.
func (c *compared) differingEvents(excused func(event recordedEvent, want, got any) bool) bool {
	var events []recordedEvent
	want, _ := c.wanted("results").([]any)
	got, _ := c.given("results").([]any)
	if c.status != c.c.Response.Status || json.Unmarshal(c.c.Request.Body, &events) != nil || len(want) != len(events) || len(got) != len(events) {
		return false
	}
	for i := range events {
		if !reflect.DeepEqual(want[i], got[i]) && !excused(events[i], want[i], got[i]) {
			return false
		}
	}
	return true
}

// unlisted tells whether an action is none of those that Capgo's server of
// version 12.201 takes.
func unlisted(action string) bool { return !slices.Contains(listedActions, action) }

var listedActions = strings.Fields(`
	set set_next set_fail reset delete update_fail
	download_0 download_10 download_20 download_30 download_40 download_50 download_60 download_70 download_80 download_90
	download_complete download_zip_start download_zip_complete download_manifest_start download_manifest_complete
	download_fail download_manifest_file_fail download_manifest_checksum_fail download_manifest_brotli_fail
	manifest_path_fail finish_download_fail unzip_fail windows_path_fail canonical_path_fail directory_path_fail
	low_mem_fail insufficient_disk_space checksum_fail checksum_required decrypt_fail
	app_moved_to_foreground app_moved_to_background app_launch_start app_launch_ready app_launch_timeout
	blocked_by_server_url rate_limit_reached os_version_changed native_app_version_changed
	app_crash app_crash_native app_anr app_killed_low_memory app_killed_excessive_resource_usage
	app_initialization_failure app_memory_warning
	webview_javascript_error webview_unhandled_rejection webview_resource_error webview_security_policy_violation
	webview_unclean_restart webview_render_process_gone webview_content_process_terminated
	webview_dom_content_loaded webview_page_loaded
	ping get uninstall needPlanUpgrade missingBundle noNew disablePlatformIos disablePlatformAndroid disablePlatformElectron
	disableAutoUpdate disableAutoUpdateToMajor disableAutoUpdateToMinor disableAutoUpdateToPatch disableAutoUpdateMetadata
	disableAutoUpdateUnderNative disableDevBuild disableProdBuild disableEmulator disableDevice
	cannotUpdateViaPrivateChannel channelMisconfigured cannotGetBundle NoChannelOrOverride setChannel getChannel
	rateLimited keyMismatch InvalidIp backend_refusal customIdBlocked`)

// recordings reads the file that CAPSTAN_ANSWERS names, or the project's own.
func recordings(t *testing.T) []*recordedCase {
	return readCases(t, cmp.Or(os.Getenv("CAPSTAN_ANSWERS"), "../../testdata/capgo-answers.jsonl"))
}

// readCases reads a file of recordings, a line each, compressed or not.
func readCases(t *testing.T, file string) []*recordedCase {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var text io.Reader = f
	if strings.HasSuffix(file, ".gz") {
		if text, err = gzip.NewReader(f); err != nil {
			t.Fatal(err)
		}
	}
	var cases []*recordedCase
	lines := bufio.NewScanner(text)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		c := &recordedCase{}
		if err := json.Unmarshal(lines.Bytes(), c); err != nil {
			t.Fatal(err)
		}
		cases = append(cases, c)
	}
	if err := lines.Err(); err != nil || len(cases) == 0 {
		t.Fatalf("%d cases in %s, %v", len(cases), file, err)
	}
	return cases
}

// replay sends every case to its handler, compares and counts.
func replay(t *testing.T, name string, cases []*recordedCase, handler func(c *recordedCase) http.Handler) {
	equal := 0
	used := map[string]int{}
	for _, c := range cases {
		h := handler(c)
		for _, earlier := range c.Before {
			earlier.Request.send(t, h)
		}
		result := compare(c, c.Request.send(t, h))
		if result.equal() {
			equal++
			continue
		}
		i := slices.IndexFunc(onPurpose, func(rule purpose) bool { return rule.fits(result) })
		if i < 0 {
			t.Errorf("%s (%s) differs\n  recorded %d %v\n  given    %d %v", c.Name, c.Scope, c.Response.Status, result.want, result.status, result.got)
			continue
		}
		used[onPurpose[i].name]++
	}
	named := 0
	for _, rule := range onPurpose {
		named += used[rule.name]
		fmt.Printf("  %3d on purpose, %s: %s\n", used[rule.name], rule.name, rule.reason)
	}
	fmt.Printf("%s: %d of %d equal, %d different on purpose, %d different\n", name, equal, len(cases), named, len(cases)-equal-named)
}

// TestRecordedAnswers sends every recorded request against its recorded state,
// kept in memory, and compares the answer with that of Capgo's own server.
func TestRecordedAnswers(t *testing.T) {
	replay(t, "recorded answers", recordings(t), func(c *recordedCase) http.Handler {
		m := newMemory()
		if app := c.State.app(t); app != nil {
			m.apps[app.ID] = app
		}
		return newHandler(m)
	})
}

// TestRecordedVariants does the same with requests and states that were made
// from the recordings by chance: wrong types, missing and strange fields, verbs,
// raw bodies, flags, policies, rollouts and overrides. What is right was
// recorded from Capgo's own plugin server, 12.201.7, with PostgreSQL behind it.
func TestRecordedVariants(t *testing.T) {
	replay(t, "variants", readCases(t, "../../testdata/capgo-variants.jsonl.gz"), func(c *recordedCase) http.Handler {
		m := newMemory()
		if app := c.State.app(t); app != nil {
			m.apps[app.ID] = app
		}
		return newHandler(m)
	})
}
