package fleet

import (
	"fmt"
	"math/rand/v2"

	"capstan/core/capgo"
	"capstan/core/device"
)

// Share is one value of a mix and its weight; weights need not sum to anything.
type Share struct {
	Value  string
	Weight float64
}

// The mixes of an app that has been in the stores for years: most people have a
// recent build, some never update it.
var (
	defaultPlugins = []Share{
		{"8.51.23", 20}, {"8.51.14", 14}, {"8.47.8", 11}, {"8.45.11", 6}, {"8.40.7", 13}, {"8.4.2", 5},
		{"7.51.21", 5}, {"7.42.9", 7}, {"7.27.8", 8}, {"6.51.16", 3}, {"6.14.26", 4}, {"6.3.0", 2}, {"5.50.2", 2},
	}
	defaultNatives   = []Share{{"1.4.0", 52}, {"1.3.2", 23}, {"1.3.0", 12}, {"1.2.0", 9}, {"1.0.0", 4}}
	defaultPlatforms = []Share{{device.Android, 58}, {device.IOS, 42}}
	androidVersions  = []Share{{"16", 14}, {"15", 31}, {"14", 24}, {"13", 15}, {"12", 9}, {"11", 5}, {"10", 2}}
	iosVersions      = []Share{{"26.1", 22}, {"26.0", 14}, {"18.6", 33}, {"17.7", 16}, {"16.7", 10}, {"15.8", 5}}
	androidSources   = []Share{{"google_play", 88}, {"samsung_galaxy_store", 5}, {"huawei_appgallery", 3}, {"amazon_appstore", 2}, {"", 2}}
	iosSources       = []Share{{"app_store", 95}, {"testflight", 5}}
)

const (
	emulatorShare    = 0.012
	developmentShare = 0.025
)

// pick draws one value of a mix.
func pick(r *rand.Rand, mix []Share) string {
	total := 0.0
	for _, s := range mix {
		total += s.Weight
	}
	at := r.Float64() * total
	for _, s := range mix {
		if at -= s.Weight; at < 0 {
			return s.Value
		}
	}
	return mix[len(mix)-1].Value
}

// describe draws who the device of a number is. The same seed and number give
// the same device.
func (c Config) describe(number int) capgo.UpdateRequest {
	r := rand.New(rand.NewPCG(c.Seed, uint64(number)))
	q := capgo.UpdateRequest{
		AppID:         c.AppID,
		DeviceID:      deviceID(r),
		Platform:      pick(r, defaultPlatforms),
		PluginVersion: pick(r, c.Plugins),
		VersionBuild:  pick(r, c.Natives),
		VersionName:   pick(r, c.Running),
		IsEmulator:    r.Float64() < emulatorShare,
		IsProd:        r.Float64() >= developmentShare,
	}
	q.DefaultChannel = pick(r, c.Channels)
	q.VersionCode = fmt.Sprint(100 + r.IntN(40))
	if q.Platform == device.IOS {
		q.VersionOS, q.InstallSource = pick(r, iosVersions), pick(r, iosSources)
		// A TestFlight build counts as a development build.
		q.IsProd = q.IsProd && q.InstallSource != "testflight"
	} else {
		q.VersionOS, q.InstallSource = pick(r, androidVersions), pick(r, androidSources)
	}
	return q
}

// deviceID is a version 4 UUID from a deterministic source.
func deviceID(r *rand.Rand) string {
	high, low := r.Uint64(), r.Uint64()
	high = high&^0xf000 | 0x4000
	low = low&^(0xc<<60) | 0x8<<60
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", high>>32, high>>16&0xffff, high&0xffff, low>>48, low&0xffffffffffff)
}
