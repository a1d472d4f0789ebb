// Package effect says before a channel is changed who gets what, makes exactly
// that change or refuses, and watches afterwards how the devices take it.
//
// A World is an app as its registry tells it. World.Answer foretells what one
// device would hear, by the rules of the update protocol; Count does so for all
// active devices before and after a Change; a Plan keeps the result together
// with what was seen, and Apply carries it out only while that still holds.
//
// What a registry does not tell cannot be counted: devices that never asked,
// bundles that failed on a device before, and the channel that plugins before
// 5.34, 6.34 and 7.34 chose through the server.
package effect

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"unicode"

	"github.com/Masterminds/semver/v3"

	"capstan/core/bundle"
	"capstan/core/capgo"
)

// Reasons of an Answer beside the codes of the protocol.
const (
	ReasonOffered  = "offered"
	ReasonRevert   = "revert_to_builtin"
	ReasonUnsigned = "unsigned_bundle"
)

// Answer is what a device would hear.
type Answer struct {
	// Channel is the device's, "" when none is open to it.
	Channel string
	// Bundle is the one that was weighed: its name, or builtin.
	Bundle    string
	InRollout bool
	// Reason is ReasonOffered, ReasonRevert, ReasonUnsigned or a code of the protocol.
	Reason string
}

// Moves reports whether the device would be given something else than it runs.
func (a Answer) Moves() bool { return a.Reason == ReasonOffered || a.Reason == ReasonRevert }

// Current reports whether the device runs already what it should.
func (a Answer) Current() bool {
	return a.Reason == capgo.CodeUpToDate || a.Reason == capgo.CodeAlreadyBuiltin
}

// Answer foretells what a device would hear, in the order of the protocol's
// checks.
func (w *World) Answer(d capgo.Device) Answer {
	native, nativeName, nativeOK := nativeVersion(d.VersionBuild)
	plugin, pluginOK := parse(d.PluginVersion)
	var a Answer
	channel := w.resolve(d)
	if channel != nil {
		a.Channel = channel.Name
	}
	current := d.VersionName
	if current == capgo.Builtin {
		current = nativeName
	}
	switch {
	case !nativeOK:
		a.Reason = capgo.CodeSemver
	case !pluginOK, plugin.Major() == 4:
		a.Reason = capgo.CodePluginVersion
	case d.DeviceID == "", d.VersionName == "", d.Platform == "":
		a.Reason = capgo.CodeMissingInfo
	case channel == nil:
		a.Reason = capgo.CodeNoChannel
	}
	if a.Reason != "" {
		return a
	}
	target := w.weigh(channel, d, current, &a)
	a.Reason = w.judge(d, channel, target, a.Bundle, current, native, plugin)
	return a
}

// weigh chooses between the channel's bundle for the platform and the rollout's,
// which does not reach a platform with a bundle of its own; nil is the store build.
func (w *World) weigh(channel *capgo.Channel, d capgo.Device, current string, a *Answer) *capgo.Bundle {
	target := w.live(channel, d.Platform)
	_, own := channel.PlatformVersions[d.Platform]
	if candidate := w.rollout(channel); !own && candidate != nil && holds(channel, d.DeviceID, current, candidate.Name) {
		target, a.InRollout = candidate, true
	}
	a.Bundle = capgo.Builtin
	if target != nil {
		a.Bundle = target.Name
	}
	return target
}

// judge takes the checks from the bundle on; the first that fails decides.
func (w *World) judge(d capgo.Device, channel *capgo.Channel, target *capgo.Bundle, name, current string, native, plugin *semver.Version) string {
	if target != nil && len(target.Seals) > 0 {
		own := target.For(d.KeyID)
		target = &own
	}
	if target != nil && d.KeyID != "" && target.KeyID != "" && d.KeyID != target.KeyID && plugin.GreaterThan(shortKeyIDs) {
		return capgo.CodeKeyMismatch
	}
	if current == name {
		return capgo.CodeUpToDate
	}
	if !serves(channel, d.Platform) {
		switch d.Platform {
		case "ios":
			return capgo.CodePlatformIOS
		case "android":
			return capgo.CodePlatformAndroid
		}
		return capgo.CodePlatformElectron
	}
	if reason := policy(channel, target, name, native); reason != "" {
		return reason
	}
	switch {
	case d.IsProd && !channel.AllowProd:
		return capgo.CodeProdBuild
	case !d.IsProd && !channel.AllowDev:
		return capgo.CodeDevBuild
	case !d.IsEmulator && !channel.AllowDevice:
		return capgo.CodeDevice
	case d.IsEmulator && !channel.AllowEmulator:
		return capgo.CodeEmulator
	}
	if target == nil {
		switch {
		case plugin.LessThan(firstRevert):
			return capgo.CodeBuiltinPlugin
		case d.VersionName == capgo.Builtin:
			return capgo.CodeAlreadyBuiltin
		}
		return ReasonRevert
	}
	return w.signature(target, plugin)
}

var (
	// shortKeyIDs is the last plugin that may send four characters of its key's id.
	shortKeyIDs = semver.New(8, 40, 7, "", "")
	// firstRevert is the first plugin that can go back to the store build.
	firstRevert = semver.New(6, 2, 0, "", "")
)

// policy weighs the bundle against the native version; "" lets it pass.
func policy(channel *capgo.Channel, target *capgo.Bundle, name string, native *semver.Version) string {
	if name == capgo.Builtin || name == capgo.Unknown {
		return ""
	}
	version, isSemver := parse(name)
	restricted := channel.DisableAutoUpdate == capgo.PolicyMajor || channel.DisableAutoUpdate == capgo.PolicyMinor || channel.DisableAutoUpdate == capgo.PolicyPatch
	if restricted && !isSemver {
		return capgo.CodeMisconfigured
	}
	switch channel.DisableAutoUpdate {
	case capgo.PolicyMajor:
		if version.Major() > native.Major() {
			return capgo.CodePolicyMajor
		}
	case capgo.PolicyMinor:
		if version.Major() != native.Major() || version.Minor() != native.Minor() {
			return capgo.CodePolicyMinor
		}
	case capgo.PolicyPatch:
		if version.Major() != native.Major() || version.Minor() != native.Minor() || version.Patch() != native.Patch() {
			return capgo.CodePolicyPatch
		}
	case capgo.PolicyVersionNumber:
		least, ok := parse(target.MinUpdateVersion)
		if !ok {
			return capgo.CodeMisconfigured
		}
		if least.GreaterThan(native) {
			return capgo.CodePolicyVersionNumber
		}
	}
	if !channel.DisableAutoUpdateUnderNative {
		return ""
	}
	switch {
	case !isSemver:
		return capgo.CodeMisconfigured
	case version.LessThan(native):
		return capgo.CodeUnderNative
	}
	return ""
}

// signature checks that the bundle goes out at all, and in a form that the
// plugin reads.
func (w *World) signature(b *capgo.Bundle, plugin *semver.Version) string {
	signed := b.SessionKey != "" && (b.ChecksumV2 != "" || b.ChecksumV3 != "" || len(b.Checksum) == lengthV2 || len(b.Checksum) == lengthV3)
	hasKey := w.App.PublicKey != ""
	if hasKey && !signed {
		return ReasonUnsigned
	}
	if b.SessionKey == "" || !hasKey && b.ChecksumV2 == "" && b.ChecksumV3 == "" {
		return ReasonOffered
	}
	form := bundle.FormFor(plugin.String())
	switch {
	case form == bundle.FormNone:
		return capgo.CodePluginVersion
	case form == bundle.FormV2 && (b.ChecksumV2 != "" || len(b.Checksum) == lengthV2),
		form == bundle.FormV3 && (b.ChecksumV3 != "" || len(b.Checksum) == lengthV3):
		return ReasonOffered
	}
	return capgo.CodeChecksumForm
}

// Lengths of a signed checksum: base64 and hex of 256 bytes.
const lengthV2, lengthV3 = 344, 512

// resolve finds the device's channel: an operator's pin, the channel that its
// app asks for, else the public one of its platform.
func (w *World) resolve(d capgo.Device) *capgo.Channel {
	if d.Channel != "" {
		for i := range w.Channels {
			if ch := &w.Channels[i]; ch.Name == d.Channel && w.resolves(ch, d.Platform) {
				return ch
			}
		}
	}
	for i := range w.Channels {
		ch := &w.Channels[i]
		if !serves(ch, d.Platform) || !w.resolves(ch, d.Platform) {
			continue
		}
		if d.DefaultChannel == "" && ch.Public || d.DefaultChannel != "" && ch.Name == d.DefaultChannel && (ch.Public || ch.AllowDeviceSelfSet) {
			return ch
		}
	}
	return nil
}

// keepsChannel tells whether a plugin stores its channel on the device; older
// ones left it with the server, which does not tell.
func keepsChannel(pluginVersion string) bool {
	v, ok := parse(pluginVersion)
	if !ok || v.Major() < 5 || v.Major() > 7 {
		return true
	}
	return !v.LessThan(semver.New(v.Major(), 34, 0, "", ""))
}

func serves(ch *capgo.Channel, platform string) bool {
	flag := ch.Electron
	switch platform {
	case "ios":
		flag = ch.IOS
	case "android":
		flag = ch.Android
	}
	return flag == nil || *flag // a server that does not tell serves all, as by default
}

// holds tells whether the device gets the rollout's bundle. The draw is that of
// a capstan server; on another one the share is the same and the devices differ.
func holds(ch *capgo.Channel, deviceID, current, target string) bool {
	switch {
	case !ch.RolloutEnabled || ch.RolloutPercentageBps <= 0:
		return false
	case current == target:
		return true
	case ch.RolloutPausedAt != nil:
		return false
	}
	sum := sha256.Sum256([]byte(ch.RolloutID + "\x00" + deviceID))
	return int(binary.BigEndian.Uint64(sum[:8])%10000) < ch.RolloutPercentageBps
}

// parse reads a version as update servers do: white space around it and one
// leading "v" are allowed.
func parse(s string) (*semver.Version, bool) {
	v, err := semver.StrictNewVersion(strings.TrimPrefix(strings.TrimFunc(s, unicode.IsSpace), "v"))
	return v, err == nil
}

// nativeVersion reads a version_build: "1" is 1.0.0, builtin and unknown are 0.0.0.
func nativeVersion(s string) (v *semver.Version, name string, ok bool) {
	if s == capgo.Builtin || s == capgo.Unknown {
		s = "0.0.0"
	}
	switch strings.Count(s, ".") {
	case 0:
		s += ".0.0"
	case 1:
		s += ".0"
	}
	if v, ok = parse(s); ok {
		name = v.String()
	}
	return v, name, ok
}
