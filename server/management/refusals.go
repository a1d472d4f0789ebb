package management

import (
	"net/http"

	"capstan/core/capgo"
)

// refusal is a status and a code as Capgo's API answers them.
type refusal struct {
	status int
	code   string
}

// denied stands in the tables below for every way in which a token does not
// reach far enough: insufficient_scope, cannot_access_app, cannot_access_channel.
const denied = "denied"

// everywhere is what Capgo's routes say for some codes of the store. Codes that
// are in neither table are capstan's own, or the same as there.
var everywhere = map[string]refusal{
	"version_already_exists":       {http.StatusBadRequest, "version_already_exists"},
	"cannot_delete_linked_version": {http.StatusBadRequest, "cannot_delete_linked_version"},
	"cannot_find_version":          {http.StatusBadRequest, "cannot_find_version"},
	"channel_not_found":            {http.StatusBadRequest, "cannot_find_channel"},
}

// refusals is what single routes say. Capgo does not tell an app that is not
// there from one that the key may not see, on most of them.
var refusals = map[string]map[string]refusal{
	"POST /app":            {denied: {http.StatusForbidden, "cannot_access_organization"}, "no_key_provided": withoutKey},
	"GET /app/{app_id}":    {denied: {http.StatusUnauthorized, "cannot_access_app"}},
	"PUT /app/{app_id}":    {denied: {http.StatusUnauthorized, "cannot_access_app"}},
	"DELETE /app/{app_id}": {denied: {http.StatusBadRequest, "cannot_delete_app"}},

	"GET /bundle":           both("cannot_get_bundle"),
	"POST /bundle":          {denied: {http.StatusBadRequest, "cannot_create_bundle"}, "cannot_find_app": {http.StatusBadRequest, "cannot_find_app"}},
	"PUT /bundle":           with(both("cannot_access_app"), "missing_app_id", "missing_required_fields"),
	"DELETE /bundle":        with(both("cannot_delete_bundle"), "cannot_find_version", "cannot_delete_version"),
	"POST /bundle/metadata": with(both("cannot_update_bundle_metadata"), "missing_app_id", "missing_required_fields"),
	"GET /bundle/metadata":  both("cannot_access_app"),

	"GET /channel":    with(both("cannot_access_app"), "channel_not_found", "cannot_find_version"),
	"POST /channel":   both("cannot_access_app"),
	"DELETE /channel": {denied: {http.StatusBadRequest, "cannot_access_app"}, "cannot_find_app": {http.StatusBadRequest, "cannot_find_channel"}},

	"GET /device": both("cannot_access_app"),
	"POST /device": {
		"missing_app_id": {http.StatusBadRequest, "missing_device_id_or_app_id"},
		denied:           {http.StatusBadRequest, "cannot_access_app"}, "cannot_access_channel": {http.StatusBadRequest, "cannot_access_channel"},
		"cannot_find_app": {http.StatusNotFound, "channel_not_found"}, "channel_not_found": {http.StatusNotFound, "channel_not_found"},
	},
	"DELETE /device": both("cannot_access_app"),

	"GET /statistics/app/{app_id}":              ofStatistics("no_access_to_app"),
	"GET /statistics/app/{app_id}/bundle_usage": ofStatistics("no_access_to_app"),
	"GET /statistics/app/{app_id}/native_usage": ofStatistics("no_access_to_app"),
	"GET /statistics/org/{org_id}":              with401(ofStatistics("no_access_to_organization"), "no_access_to_organization"),
	"GET /statistics/user":                      ofStatistics("no_organizations_found"),
}

// withoutKey is the answer of the routes that would take a user's session too.
var withoutKey = refusal{http.StatusUnauthorized, "no_jwt_apikey_or_subkey"}

func both(code string) map[string]refusal {
	r := refusal{http.StatusBadRequest, code}
	return map[string]refusal{denied: r, "cannot_find_app": r}
}

func with(m map[string]refusal, own, code string) map[string]refusal {
	m[own] = refusal{http.StatusBadRequest, code}
	return m
}

func with401(m map[string]refusal, code string) map[string]refusal {
	m[code] = refusal{http.StatusUnauthorized, code}
	return m
}

func ofStatistics(code string) map[string]refusal {
	return map[string]refusal{denied: {http.StatusUnauthorized, code}, "no_key_provided": withoutKey}
}

// translate puts a refusal of one of Capgo's routes into Capgo's words; the code
// that the server's own routes have for it stays in moreInfo.
func translate(route Route, status int, body *capgo.APIError) int {
	table, known := refusals[route.Method+" "+route.Pattern]
	if !known {
		return status
	}
	r, found := table[body.Error]
	if !found && isDenial(body.Error) {
		r, found = table[denied]
	}
	if !found {
		r, found = everywhere[body.Error]
	}
	if !found {
		return status
	}
	if r.code != body.Error {
		if body.MoreInfo == nil {
			body.MoreInfo = map[string]any{}
		}
		body.MoreInfo[capgo.OwnCode] = body.Error
		body.Error = r.code
	}
	return r.status
}

func isDenial(code string) bool {
	return code == "insufficient_scope" || code == "cannot_access_app" || code == "cannot_access_channel"
}
