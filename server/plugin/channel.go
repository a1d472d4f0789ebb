package plugin

import (
	"net/http"

	"capstan/server/decide"
)

// channelSelf answers /channel_self: POST sets, PUT gets, GET lists, DELETE unsets.
func (h *Handler) channelSelf(w http.ResponseWriter, r *http.Request, method string) {
	var b body
	switch method {
	case http.MethodPost, http.MethodPut:
		if !read(w, r, MaxBody, &b) {
			return
		}
	case http.MethodGet, http.MethodDelete:
		b.query(r.URL.Query())
	default:
		notFound(w)
		return
	}
	form := &channelRules
	switch method {
	case http.MethodGet:
		form = &listRules
	case http.MethodDelete:
		form = &unsetRules
	}
	device, e := b.request(form)
	if e != nil {
		writeRefusal(w, e)
		return
	}
	app, err := h.Apps.Snapshot(r.Context(), device.AppID)
	if err != nil {
		h.unavailable(w, r, "channel_self", device.AppID, err)
		return
	}
	if h.crowded(w, app, device.AppID) {
		return
	}
	req := decide.ChannelRequest{UpdateRequest: device, Channel: b.channel.str()}
	var v decide.ChannelVerdict
	switch {
	case method == http.MethodPost:
		v = decide.SetChannel(app, req)
	case method == http.MethodDelete:
		v = decide.UnsetChannel(app, req)
	case method == http.MethodGet && app != nil:
		writeValue(w, http.StatusOK, decide.ListChannels(app, req))
		return
	default: // an unknown app hears the same from GET as from PUT
		v = decide.GetChannel(app, req)
	}
	switch v.Effect {
	case decide.EffectChoose:
		err = h.Devices.ChooseChannel(r.Context(), app.ID, device.DeviceID, v.ChannelID)
	case decide.EffectForget:
		err = h.Devices.ForgetChannel(r.Context(), app.ID, device.DeviceID)
	}
	if err != nil {
		h.unavailable(w, r, "channel_self", device.AppID, err)
		return
	}
	writeValue(w, v.Status, v.Answer)
}
