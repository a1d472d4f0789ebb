package management

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/server/store"
)

// Capgo's own command line speaks the REST API above and, for what that API
// lacks, a database's interface in the manner of PostgREST: functions below
// /rest/v1/rpc and two tables. This file answers the calls that @capgo/cli
// 8.68.1 makes for bundle upload --external, for its other bundle and channel
// verbs and for app list; each is authorised like any other route.

// cliCalls are rows like those of the routes, by method and path.
var cliCalls = byMethodAndPath([]Route{
	{"POST", "/rest/v1/rpc/reject_access_due_to_2fa_for_app", capgo.ScopeRead, nowhere, nowhere, constant(false), false},
	{"POST", "/rest/v1/rpc/request_actor_user_id", capgo.ScopeRead, nowhere, nowhere, constant(onlyUser), false},
	{"POST", "/rest/v1/rpc/get_organization_cli_warnings", capgo.ScopeRead, nowhere, nowhere, constant([]string{}), false},
	{"POST", "/rest/v1/rpc/is_allowed_action_org_action", capgo.ScopeRead, nowhere, nowhere, constant(true), false},
	{"POST", "/rest/v1/rpc/is_trial_org", capgo.ScopeRead, nowhere, nowhere, constant(0), false},
	{"POST", "/rest/v1/rpc/is_paying_org", capgo.ScopeRead, nowhere, nowhere, constant(true), false},
	{"POST", "/rest/v1/rpc/has_usage_credits_org", capgo.ScopeRead, nowhere, nowhere, constant(false), false},
	{"POST", "/rest/v1/rpc/cli_check_permission", capgo.ScopeRead, optionalInput, nowhere, checkPermission, false},
	{"POST", "/rest/v1/rpc/exist_app_versions", capgo.ScopeRead, inInput, nowhere, bundleExists, false},
	{"POST", "/rest/v1/rpc/get_app_versions", capgo.ScopeRead, inInput, nowhere, bundleByName, false},
	{"POST", "/rest/v1/rpc/get_channel_current_bundle_rbac", capgo.ScopeRead, inInput, nowhere, currentBundle, false},
	{"GET", "/rest/v1/channels", capgo.ScopeRead, inInput, filtered, selectChannels, false},
	{"POST", "/rest/v1/app_versions", capgo.ScopeUpload, inInput, nowhere, insertBundle, false},
})

func byMethodAndPath(rows []Route) map[string]Route {
	m := make(map[string]Route, len(rows))
	for _, r := range rows {
		m[r.Method+" "+r.Pattern] = r
	}
	return m
}

// CLIRoutes lists, beside Routes, what only Capgo's own command line calls, in
// the order of their paths.
func (a *API) CLIRoutes() []Route {
	list := slices.Collect(maps.Values(cliCalls))
	list = append(list, Route{Method: http.MethodGet, Pattern: "/private/config"}, Route{Method: http.MethodPost, Pattern: "/private/events"})
	slices.SortFunc(list, func(a, b Route) int {
		return cmp.Or(strings.Compare(a.Pattern, b.Pattern), strings.Compare(a.Method, b.Method))
	})
	return list
}

// The one organisation and the one user that Capgo's model needs around an
// app: tokens and their scopes decide here, not members.
const (
	onlyOrganisation = "00000000-0000-4000-8000-000000000001"
	onlyUser         = "00000000-0000-4000-8000-000000000002"
)

// serveCLI answers a call of the Capgo CLI; false leaves r to the other routes.
func (a *API) serveCLI(w http.ResponseWriter, r *http.Request) bool {
	path := r.URL.Path
	c := &call{api: a, w: w, r: r, ctx: r.Context()}
	switch {
	case strings.HasPrefix(path, "/functions/v1/"):
		// The other name of the REST API.
		inner := r.Clone(r.Context())
		inner.URL.Path, inner.URL.RawPath = strings.TrimPrefix(path, "/functions/v1"), strings.TrimPrefix(r.URL.RawPath, "/functions/v1")
		if !strings.HasPrefix(inner.URL.Path, "/functions/") {
			a.ServeHTTP(w, inner)
			return true
		}
	case r.Method == http.MethodGet && path == "/private/config":
		// Where the tables are, and a key that is none: the token is asked for.
		_ = c.ok(map[string]any{"supaHost": a.PublicURL, "supaKey": "capstan"}) // constant values encode
		return true
	case r.Method == http.MethodPost && path == "/private/events":
		_ = c.ok(statusOK) // the CLI's telemetry ends here, unread
		return true
	}
	row, known := cliCalls[r.Method+" "+path]
	if !known {
		return false
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	if err := c.run(row); err != nil {
		c.fail(err)
	}
	return true
}

// unfilter turns the filters of a query, such as name=eq.1.0.0, into plain
// values, and the other spellings of the app's id into one.
func (c *call) unfilter() {
	query := c.r.URL.Query()
	for name := range query {
		text, _ := c.in.fields[name].(string)
		if value, is := strings.CutPrefix(text, "eq."); is {
			c.in.fields[name] = value
		}
	}
	for _, other := range []string{"appid", "p_app_id"} {
		if id, there := c.in.fields[other]; there {
			c.in.fields["app_id"] = id
		}
	}
	if strings.HasSuffix(c.r.URL.Path, "/channels") {
		c.in.fields["channel"] = c.in.fields["name"]
	}
}

func constant(value any) func(*call) error {
	return func(c *call) error { return c.ok(value) }
}

// permissions of Capgo's roles beyond reading, as scopes.
var permissions = map[string]capgo.TokenScope{
	"app.upload_bundle":       capgo.ScopeUpload,
	"app.create_channel":      capgo.ScopePromote,
	"app.manage_devices":      capgo.ScopePromote,
	"channel.promote_bundle":  capgo.ScopePromote,
	"channel.rollback_bundle": capgo.ScopePromote,
	"channel.update_settings": capgo.ScopePromote,
}

// checkPermission tells the CLI beforehand what a later call would be told. It
// grants nothing.
func checkPermission(c *call) error {
	key, id := c.in.text("permission_key"), c.in.id("channel_id")
	if err := c.checked(); err != nil {
		return err
	}
	need, known := permissions[key]
	switch {
	case known:
	case strings.Contains(key, ".read"):
		need = capgo.ScopeRead
	default:
		need = capgo.ScopeAdmin
	}
	allowed := allows(c.token.Scope, need)
	if allowed && id != 0 && len(c.token.Channels) > 0 {
		channel, err := c.api.Store.ChannelByID(c.ctx, c.app, id)
		allowed = err == nil && c.mayChannel(channel.Name)
	}
	return c.ok(allowed)
}

// named looks a bundle up by the name that a call gives.
func (c *call) named(field string) ([]store.Bundle, error) {
	name := c.in.text(field)
	if err := c.mustExist(); err != nil {
		return nil, err
	}
	if name == "" {
		return nil, bad("missing_version", "%s is missing", field)
	}
	return c.api.Store.Bundles(c.ctx, store.BundleFilter{AppID: c.app, Name: name, Limit: 1})
}

func bundleExists(c *call) error {
	list, err := c.named("name_version")
	if err != nil {
		return err
	}
	return c.ok(len(list) > 0)
}

func bundleByName(c *call) error {
	list, err := c.named("name_version")
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return c.ok(nil)
	}
	return c.ok(list[0].ID)
}

// currentBundle names the live bundle of a channel, which the call gives by id.
func currentBundle(c *call) error {
	id := c.in.id("p_channel_id")
	if err := c.mustExist(); err != nil {
		return err
	}
	channel, err := c.api.Store.ChannelByID(c.ctx, c.app, id)
	if err != nil && failure.CodeOf(err) != "channel_not_found" {
		return err
	}
	rows := []any{}
	if err == nil && c.mayChannel(channel.Name) && channel.Version != nil {
		rows = append(rows, map[string]string{"bundle_name": channel.Version.Name})
	}
	return c.ok(rows)
}

// insertBundle registers an external bundle. Capgo's table takes one without a
// checksum; a device could not check that one, so that it is refused here.
func insertBundle(c *call) error {
	if provider := c.in.text("storage_provider"); provider != "external" {
		return failure.New(failure.Usage, "unsupported_upload", "", "this server takes bundles of the Capgo CLI with --external only", "upload the file yourself and name its address, or use capstan release")
	}
	c.in.fields["version"] = c.in.fields["name"]
	if c.in.text("checksum") == "" {
		return failure.New(failure.Usage, "missing_checksum", "", "the bundle has no checksum: add --encrypted-checksum, and --iv-session-key when it is encrypted", "")
	}
	return createBundle(c)
}

// tableChannel is a row of Capgo's table of channels.
type tableChannel struct {
	ID                           int64              `json:"id"`
	Name                         string             `json:"name"`
	AppID                        string             `json:"app_id"`
	OwnerOrg                     string             `json:"owner_org"`
	CreatedBy                    string             `json:"created_by"`
	Public                       bool               `json:"public"`
	IOS                          *bool              `json:"ios"`
	Android                      *bool              `json:"android"`
	Electron                     *bool              `json:"electron"`
	AllowDeviceSelfSet           bool               `json:"allow_device_self_set"`
	AllowEmulator                bool               `json:"allow_emulator"`
	AllowDevice                  bool               `json:"allow_device"`
	AllowDev                     bool               `json:"allow_dev"`
	AllowProd                    bool               `json:"allow_prod"`
	DisableAutoUpdate            capgo.UpdatePolicy `json:"disable_auto_update"`
	DisableAutoUpdateUnderNative bool               `json:"disable_auto_update_under_native"`
	Version                      any                `json:"version"` // id, or the bundle where the call asks for it
	RolloutVersion               *int64             `json:"rollout_version"`
	RolloutPercentageBps         int                `json:"rollout_percentage_bps"`
	RolloutEnabled               bool               `json:"rollout_enabled"`
	CreatedAt                    string             `json:"created_at"`
	UpdatedAt                    string             `json:"updated_at"`
}

const databaseTime = "2006-01-02T15:04:05.000Z07:00"

func selectChannels(c *call) error {
	name, columns := c.in.text("channel"), c.in.text("select")
	if err := c.mustExist(); err != nil {
		return err
	}
	var list []store.Channel
	if name == "" {
		all, err := c.api.Store.Channels(c.ctx, c.app, 0, 1000)
		if err != nil {
			return err
		}
		list = all
	} else if channel, err := c.api.Store.Channel(c.ctx, c.app, name); err == nil {
		list = append(list, channel)
	} else if failure.CodeOf(err) != "channel_not_found" {
		return err
	}
	rows := []any{}
	for _, channel := range list {
		if !c.mayChannel(channel.Name) {
			continue
		}
		row, err := c.tableRow(channel, strings.Contains(columns, "("))
		if err != nil {
			return err
		}
		rows = append(rows, row)
	}
	return c.rows(rows)
}

// tableRow gives a channel as the table has it; whole says that the live
// bundle is wanted and not its id.
func (c *call) tableRow(channel store.Channel, whole bool) (tableChannel, error) {
	row := tableChannel{
		ID: channel.ID, Name: channel.Name, AppID: channel.AppID, OwnerOrg: onlyOrganisation, CreatedBy: onlyUser, Public: channel.Public,
		IOS: channel.IOS, Android: channel.Android, Electron: channel.Electron,
		AllowDeviceSelfSet: channel.AllowDeviceSelfSet, AllowEmulator: channel.AllowEmulator, AllowDevice: channel.AllowDevice,
		AllowDev: channel.AllowDev, AllowProd: channel.AllowProd,
		DisableAutoUpdate: channel.DisableAutoUpdate, DisableAutoUpdateUnderNative: channel.DisableAutoUpdateUnderNative,
		RolloutVersion: channel.RolloutVersion, RolloutPercentageBps: channel.RolloutPercentageBps, RolloutEnabled: channel.RolloutEnabled,
		CreatedAt: channel.CreatedAt.Format(databaseTime), UpdatedAt: channel.UpdatedAt.Format(databaseTime),
	}
	switch {
	case channel.Version == nil:
	case !whole:
		row.Version = channel.Version.ID
	default:
		list, err := c.api.Store.Bundles(c.ctx, store.BundleFilter{AppID: c.app, ID: channel.Version.ID, Limit: 1})
		if err != nil || len(list) == 0 {
			return row, err
		}
		row.Version = tableBundle(list[0])
	}
	return row, nil
}

func tableBundle(b store.Bundle) map[string]any {
	row := map[string]any{
		"id": b.ID, "app_id": b.AppID, "name": b.Name, "checksum": b.Checksum, "session_key": b.SessionKey, "external_url": b.ExternalURL,
		"storage_provider": b.StorageProvider, "user_id": onlyUser, "owner_org": onlyOrganisation, "deleted": b.Deleted,
		"min_update_version": nil, "native_packages": []any{}, "link": b.Link, "comment": b.Comment,
		"created_at": b.CreatedAt.Format(databaseTime), "updated_at": b.UpdatedAt.Format(databaseTime),
	}
	if b.MinUpdateVersion != "" {
		row["min_update_version"] = b.MinUpdateVersion
	}
	if len(b.NativePackages) > 0 {
		row["native_packages"] = json.RawMessage(b.NativePackages)
	}
	return row
}

// rows answers with a list, or with the one object that the caller insists on.
func (c *call) rows(list []any) error {
	if !strings.Contains(c.r.Header.Get("Accept"), "vnd.pgrst.object") {
		return c.ok(list)
	}
	if len(list) != 1 {
		return c.write(http.StatusNotAcceptable, map[string]any{"code": "PGRST116", "message": "the result is not one row", "details": nil, "hint": nil})
	}
	return c.ok(list[0])
}
