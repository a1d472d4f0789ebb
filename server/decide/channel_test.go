package decide

import (
	"reflect"
	"testing"

	"capstan/core/capgo"
)

func TestChannels(t *testing.T) {
	t.Parallel()
	yes, no := true, false
	const oldPlugin = "7.33.0"
	type ask func(*App, ChannelRequest) ChannelVerdict
	for _, tt := range []struct {
		name    string
		ask     ask
		plugin  string
		channel string
		change  func(w *world, req *ChannelRequest)
		want    capgo.ChannelAnswer
		effect  Effect
		id      int64
	}{
		{"set", SetChannel, "8.51.14", "beta", nil, capgo.ChannelAnswer{Status: "ok", AllowSet: &yes}, EffectNone, 0},
		{"set without a plugin version", SetChannel, "", "beta", nil, capgo.ChannelAnswer{Status: "ok", AllowSet: &yes}, EffectNone, 0},
		{"set nothing", SetChannel, "8.51.14", "", nil, capgo.ChannelAnswer{Error: "missing_channel", Message: "Cannot find channel in body"}, EffectNone, 0},
		{"set, unknown", SetChannel, "8.51.14", "nope", nil, capgo.ChannelAnswer{Error: "channel_not_found", Message: "Cannot find channel", Channel: "nope", AppID: "com.example.app"}, EffectNone, 0},
		{"set, public", SetChannel, "8.51.14", "production", nil, capgo.ChannelAnswer{Error: "public_channel_self_set_not_allowed",
			Message: "This channel is public and does not allow device self-assignment. Unset the channel and the device will automatically use the public channel.",
			Channel: "production", AppID: "com.example.app"}, EffectNone, 0},
		{"set, private", SetChannel, "8.51.14", "beta", func(w *world, _ *ChannelRequest) { w.beta.AllowDeviceSelfSet = false },
			capgo.ChannelAnswer{Error: "channel_self_set_not_allowed", Message: "This channel does not allow devices to self associate", Channel: "beta", AppID: "com.example.app"}, EffectNone, 0},
		{"set by an old plugin", SetChannel, oldPlugin, "beta", nil, capgo.ChannelAnswer{Status: "ok"}, EffectChoose, 2},
		{"set by a plugin of no version", SetChannel, "abc", "beta", nil, capgo.ChannelAnswer{Status: "ok"}, EffectChoose, 2},
		{"set again by an old plugin", SetChannel, oldPlugin, "beta", func(w *world, _ *ChannelRequest) { w.app.SelfSet = map[string]int64{device: 2} },
			capgo.ChannelAnswer{Status: "ok"}, EffectNone, 0},
		{"set to the public one by an old plugin", SetChannel, oldPlugin, "production", func(w *world, _ *ChannelRequest) { w.ch.AllowDeviceSelfSet = true },
			capgo.ChannelAnswer{Status: "ok"}, EffectForget, 0},
		{"set by an old plugin on a locked channel", SetChannel, oldPlugin, "beta", func(w *world, _ *ChannelRequest) { w.app.SelfSet = map[string]int64{device: 1} },
			capgo.ChannelAnswer{Error: "cannot_override", Message: "Cannot change device override current channel don't allow it"}, EffectNone, 0},

		{"get", GetChannel, "8.51.14", "", nil, capgo.ChannelAnswer{Channel: "production", Status: "default"}, EffectNone, 0},
		{"get, public one of another name", GetChannel, "8.51.14", "", func(w *world, _ *ChannelRequest) { w.ch.Name = "stable" }, capgo.ChannelAnswer{Channel: "stable", Status: "default"}, EffectNone, 0},
		{"get, no public one", GetChannel, "8.51.14", "", func(w *world, _ *ChannelRequest) { w.ch.Public = false }, capgo.ChannelAnswer{Channel: "production", Status: "default"}, EffectNone, 0},
		{"get with a default", GetChannel, "8.51.14", "", func(_ *world, req *ChannelRequest) { req.DefaultChannel = "gone" }, capgo.ChannelAnswer{Channel: "gone", Status: "default"}, EffectNone, 0},
		{"get with a channel", GetChannel, "8.51.14", "beta", nil, capgo.ChannelAnswer{Channel: "beta", Status: "override", AllowSet: &yes}, EffectNone, 0},
		{"get, operator's override", GetChannel, "8.51.14", "", func(w *world, _ *ChannelRequest) { w.app.Overrides = map[string]int64{device: 2} },
			capgo.ChannelAnswer{Channel: "production", Status: "default"}, EffectNone, 0},
		{"get by an old plugin", GetChannel, oldPlugin, "nope", nil, capgo.ChannelAnswer{Channel: "production", Status: "default"}, EffectNone, 0},
		{"get by an old plugin, chosen", GetChannel, oldPlugin, "", func(w *world, _ *ChannelRequest) { w.app.SelfSet = map[string]int64{device: 1} },
			capgo.ChannelAnswer{Channel: "production", Status: "override", AllowSet: &no}, EffectNone, 0},
		{"get by an old plugin, default", GetChannel, oldPlugin, "", func(_ *world, req *ChannelRequest) { req.DefaultChannel = "beta" }, capgo.ChannelAnswer{Channel: "beta", Status: "default"}, EffectNone, 0},
		{"get by an old plugin, default unknown", GetChannel, oldPlugin, "", func(_ *world, req *ChannelRequest) { req.DefaultChannel = "gone" },
			capgo.ChannelAnswer{Error: "channel_not_found", Message: "Cannot find channel"}, EffectNone, 0},
		{"get by an old plugin, nothing public", GetChannel, oldPlugin, "", func(w *world, _ *ChannelRequest) { w.ch.Android = false },
			capgo.ChannelAnswer{Error: "channel_not_found", Message: "Cannot find channel"}, EffectNone, 0},

		{"unset", UnsetChannel, "8.51.14", "", nil, capgo.ChannelAnswer{Status: "ok"}, EffectNone, 0},
		{"unset by an old plugin", UnsetChannel, oldPlugin, "", func(w *world, _ *ChannelRequest) { w.app.SelfSet = map[string]int64{device: 2} },
			capgo.ChannelAnswer{Status: "ok"}, EffectForget, 0},
		{"unset by an old plugin, nothing chosen", UnsetChannel, oldPlugin, "", func(w *world, _ *ChannelRequest) { w.app.Overrides = map[string]int64{device: 2} },
			capgo.ChannelAnswer{Error: "cannot_override", Message: "Cannot change device override current channel don't allow it"}, EffectNone, 0},
		{"unset by an old plugin, locked", UnsetChannel, oldPlugin, "", func(w *world, _ *ChannelRequest) { w.app.SelfSet = map[string]int64{device: 1} },
			capgo.ChannelAnswer{Error: "cannot_override", Message: "Cannot change device override current channel don't allow it"}, EffectNone, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			req := ChannelRequest{UpdateRequest: w.req, Channel: tt.channel}
			req.PluginVersion = tt.plugin
			if tt.change != nil {
				tt.change(w, &req)
			}
			v := tt.ask(w.app, req)
			if v.Status != 200 || !reflect.DeepEqual(v.Answer, tt.want) || v.Effect != tt.effect || v.ChannelID != tt.id {
				t.Errorf("%+v, want %+v", v, tt.want)
			}
			if req.Channel == "" {
				req.Channel = "beta"
			}
			if v := tt.ask(nil, req); v.Status != 429 || v.Answer.Error != capgo.CodeUnknownApp || v.Effect != EffectNone {
				t.Errorf("unknown app: %+v", v)
			}
		})
	}
}

// TestListChannels: each condition alone takes a channel off the list.
func TestListChannels(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(w *world)
		want   []string
	}{
		{"both", func(w *world) {}, []string{"beta", "production"}},
		{"neither public nor self-assignable", func(w *world) { w.beta.AllowDeviceSelfSet = false }, []string{"production"}},
		{"other platform", func(w *world) { w.beta.Android = false }, []string{"production"}},
		{"no devices", func(w *world) { w.beta.AllowDevice = false }, []string{"production"}},
		{"no production builds", func(w *world) { w.beta.AllowProd = false }, []string{"production"}},
		{"emulator", func(w *world) { w.req.IsEmulator, w.beta.AllowEmulator = true, false }, []string{"production"}},
		{"emulator allowed", func(w *world) { w.req.IsEmulator, w.beta.AllowDevice = true, false }, []string{"beta", "production"}},
		{"development build", func(w *world) { w.req.IsProd, w.beta.AllowDev = false, false }, []string{"production"}},
		{"development build allowed", func(w *world) { w.req.IsProd, w.beta.AllowProd = false, false }, []string{"beta", "production"}},
		{"nothing", func(w *world) { w.app.Channels = nil }, []string{}},
	} {
		w := newWorld()
		tt.change(w)
		names := []string{}
		for _, c := range ListChannels(w.app, ChannelRequest{UpdateRequest: w.req}) {
			names = append(names, c.Name)
			if want := w.app.channelByName(c.Name); c.ID != want.ID || c.Public != want.Public || c.AllowSelfSet != want.AllowDeviceSelfSet {
				t.Errorf("%s: %+v", tt.name, c)
			}
		}
		if !reflect.DeepEqual(names, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, names, tt.want)
		}
	}
}
