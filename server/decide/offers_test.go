package decide

import "testing"

func TestOffers(t *testing.T) {
	app := &App{
		Bundles: map[int64]*Bundle{1: {ID: 1, Name: "1.0.0"}, 2: {ID: 2, Name: "2.0.0"}, 3: {ID: 3, Name: "3.0.0"}, 4: {ID: 4, Name: "4.0.0", Deleted: true}},
		Channels: []*Channel{
			{ID: 1, BundleID: 1, PlatformBundles: map[string]int64{"ios": 2}, Rollout: &Rollout{BundleID: 3, Enabled: true}},
			{ID: 2, BundleID: 4, Rollout: &Rollout{BundleID: 3}},
			{ID: 3, Rollout: &Rollout{BundleID: 4, Enabled: true}},
		},
	}
	for _, c := range []struct {
		channel        int64
		platform, name string
		want           bool
	}{
		{1, "android", "1.0.0", true}, {1, "ios", "1.0.0", false}, {1, "ios", "2.0.0", true}, {1, "android", "2.0.0", false}, {1, "ios", "3.0.0", false}, {1, "android", "3.0.0", true},
		{2, "android", "4.0.0", false}, {2, "android", "3.0.0", false}, {3, "android", "4.0.0", false}, {3, "android", "builtin", false}, {9, "ios", "1.0.0", false},
	} {
		if got := app.Offers(c.channel, c.platform, c.name); got != c.want {
			t.Errorf("channel %d, %s, %s: %t", c.channel, c.platform, c.name, got)
		}
	}
}
