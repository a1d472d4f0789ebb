package decide

import (
	"net/http"

	"capstan/core/capgo"
)

// ChannelRequest is a channel_self request: the device's body and the channel
// it names.
type ChannelRequest struct {
	capgo.UpdateRequest
	Channel string
}

// ChannelVerdict is the answer to a channel_self request and what the server
// has to remember before it sends it.
type ChannelVerdict struct {
	Status int // HTTP status
	Answer capgo.ChannelAnswer
	Effect Effect
	// ChannelID is the channel to remember where Effect is EffectChoose.
	ChannelID int64
}

// Effect is what a channel_self request changes on the server. Only plugins
// that keep no channel themselves cause one.
type Effect int

// The effects.
const (
	EffectNone   Effect = iota
	EffectChoose        // remember ChannelID for the device
	EffectForget        // forget what was remembered
)

// fallbackChannel is what Capgo's server calls the channel of a device that
// has none and whose platform has no public one.
const fallbackChannel = "production"

func channelOK() ChannelVerdict {
	return ChannelVerdict{Status: http.StatusOK, Answer: capgo.ChannelAnswer{Status: "ok"}}
}

func channelError(code, message string) ChannelVerdict {
	return ChannelVerdict{Status: http.StatusOK, Answer: capgo.ChannelAnswer{Error: code, Message: message}}
}

func unknownApp() ChannelVerdict {
	v := channelError(capgo.CodeUnknownApp, "On-premise app detected")
	v.Status = http.StatusTooManyRequests
	return v
}

func locked() ChannelVerdict {
	return channelError("cannot_override", "Cannot change device override current channel don't allow it")
}

// keepsChannel tells whether the plugin stores its channel on the device. A
// missing version counts as new, one that cannot be read as old.
func keepsChannel(pluginVersion string) bool {
	if pluginVersion == "" {
		return true
	}
	v, ok := parseVersion(pluginVersion)
	return ok && storesChannel(v)
}

// chosen is the channel an old plugin left with the server, nil for none.
func (a *App) chosen(deviceID string) *Channel {
	if id, ok := a.SelfSet[deviceID]; ok {
		return a.channelByID(id)
	}
	return nil
}

func (a *App) channelByName(name string) *Channel {
	for _, ch := range a.Channels {
		if ch.Name == name {
			return ch
		}
	}
	return nil
}

// publicChannel is the platform's public channel, whether or not it has a
// bundle; nil for none.
func (a *App) publicChannel(platform string) *Channel {
	for _, ch := range a.Channels {
		if ch.Public && ch.serves(platform) {
			return ch
		}
	}
	return nil
}

// SetChannel answers POST /channel_self: may this device move to that channel?
// Platform and build flags are not looked at; they act when it asks for updates.
func SetChannel(app *App, req ChannelRequest) ChannelVerdict {
	if req.Channel == "" {
		return channelError("missing_channel", "Cannot find channel in body")
	}
	if app == nil {
		return unknownApp()
	}
	old := !keepsChannel(req.PluginVersion)
	current := app.chosen(req.DeviceID)
	if old && current != nil && !current.AllowDeviceSelfSet {
		return locked()
	}
	ch := app.channelByName(req.Channel)
	switch {
	case ch == nil:
		return namedError(app, req, "channel_not_found", "Cannot find channel")
	case ch.AllowDeviceSelfSet:
	case ch.Public:
		return namedError(app, req, "public_channel_self_set_not_allowed", "This channel is public and does not allow device self-assignment. Unset the channel and the device will automatically use the public channel.")
	default:
		return namedError(app, req, "channel_self_set_not_allowed", "This channel does not allow devices to self associate")
	}
	v := channelOK()
	switch {
	case !old:
		allow := true
		v.Answer.AllowSet = &allow
	case ch == app.publicChannel(req.Platform):
		v.Effect = EffectForget // back to what it would get anyway
	case ch != current:
		v.Effect, v.ChannelID = EffectChoose, ch.ID
	}
	return v
}

func namedError(app *App, req ChannelRequest, code, message string) ChannelVerdict {
	v := channelError(code, message)
	v.Answer.Channel, v.Answer.AppID = req.Channel, app.ID
	return v
}

// GetChannel answers PUT /channel_self. New plugins are told their own
// channel again and nothing is looked up: they store what they hear, so an
// operator's override must not be named here.
func GetChannel(app *App, req ChannelRequest) ChannelVerdict {
	if app == nil {
		return unknownApp()
	}
	if keepsChannel(req.PluginVersion) {
		allow := true
		switch {
		case req.Channel != "":
			return isOn(req.Channel, &allow)
		case req.DefaultChannel != "":
			return isOn(req.DefaultChannel, nil)
		}
		if ch := app.publicChannel(req.Platform); ch != nil {
			return isOn(ch.Name, nil)
		}
		return isOn(fallbackChannel, nil)
	}
	if ch := app.chosen(req.DeviceID); ch != nil {
		return isOn(ch.Name, &ch.AllowDeviceSelfSet)
	}
	ch := app.publicChannel(req.Platform)
	if req.DefaultChannel != "" {
		ch = app.channelByName(req.DefaultChannel)
	}
	if ch == nil {
		return channelError("channel_not_found", "Cannot find channel")
	}
	return isOn(ch.Name, nil)
}

// isOn says which channel a device is on; allowSet is given where the device
// chose it.
func isOn(name string, allowSet *bool) ChannelVerdict {
	answer := capgo.ChannelAnswer{Channel: name, Status: "default"}
	if allowSet != nil {
		allow := *allowSet // the snapshot stays the snapshot's
		answer.Status, answer.AllowSet = "override", &allow
	}
	return ChannelVerdict{Status: http.StatusOK, Answer: answer}
}

// UnsetChannel answers DELETE /channel_self, which only old plugins need.
func UnsetChannel(app *App, req ChannelRequest) ChannelVerdict {
	if app == nil {
		return unknownApp()
	}
	if keepsChannel(req.PluginVersion) {
		return channelOK()
	}
	if ch := app.chosen(req.DeviceID); ch == nil || !ch.AllowDeviceSelfSet {
		return locked()
	}
	v := channelOK()
	v.Effect = EffectForget
	return v
}

// ListChannels answers GET /channel_self: the channels this device could use.
// The result is never nil. app must be known.
func ListChannels(app *App, req ChannelRequest) []capgo.ChannelChoice {
	choices := []capgo.ChannelChoice{}
	for _, ch := range app.Channels {
		device := ch.AllowDevice && !req.IsEmulator || ch.AllowEmulator && req.IsEmulator
		build := ch.AllowProd && req.IsProd || ch.AllowDev && !req.IsProd
		if device && build && ch.serves(req.Platform) && (ch.Public || ch.AllowDeviceSelfSet) {
			choices = append(choices, capgo.ChannelChoice{ID: ch.ID, Name: ch.Name, Public: ch.Public, AllowSelfSet: ch.AllowDeviceSelfSet})
		}
	}
	return choices
}
