package decide

import (
	"fmt"
	"net/http"
	"strings"

	"capstan/core/capgo"
)

// Verdict is an answer with everything that explains it.
type Verdict struct {
	Status int // HTTP status
	Answer capgo.UpdateAnswer
	// Reason is a stable code: "offered", "revert_to_builtin", an alarm, or the
	// answer's error code.
	Reason string
	// Alarm is set when a bundle was withheld that should never have been on a
	// channel: AlarmUnsigned or AlarmUnverified. Operators must hear of it.
	Alarm string
	// Checks lists the steps in the order in which they were taken; the last
	// one is the one that decided. Only Update fills it.
	Checks []capgo.Check
	// Channel and where it came from: override, self_set, default_channel, public.
	Channel       string
	ChannelID     int64
	ChannelSource string
	// Bundle is the one that was weighed; nil when none was, or the store build.
	Bundle    *Bundle
	InRollout bool

	// delta says that the bundle's delta files belong into the offer, with
	// their hashes in this form.
	delta bool
	form  form
}

// Reasons that are not error codes of an answer.
const (
	ReasonOffered = "offered"
	ReasonRevert  = "revert_to_builtin"

	AlarmUnsigned   = "unsigned_bundle"
	AlarmUnverified = "unverified_bundle"
)

// Where a device's channel came from.
const (
	SourceOverride = "override"        // an operator forced it
	SourceSelfSet  = "self_set"        // an old plugin chose it through channel_self
	SourceDefault  = "default_channel" // the request named it
	SourcePublic   = "public"          // the platform's public channel
)

// Update decides what a device hears and writes down every check on the way.
// app is nil for an unknown app. An offer of an object in the server's own
// storage has no URL and no delta files yet: see Verdict.Locate.
func Update(app *App, req capgo.UpdateRequest) Verdict {
	d := decision{app: app, req: &req, trace: true}
	d.run()
	return d.v
}

// Answer is Update without the list of checks, for the path that devices take.
func Answer(app *App, req *capgo.UpdateRequest) Verdict {
	d := decision{app: app, req: req}
	d.run()
	return d.v
}

// Locate completes an offer with what the server's own storage knows: the
// zip's address and the delta files. url turns an object key into an absolute
// URL.
func (v *Verdict) Locate(url func(objectKey string) string) {
	v.LocateZip(url)
	if v.delta {
		v.Answer.Manifest = v.Bundle.entries(v.form, url)
	}
}

// LocateZip is Locate without the delta files; see ManifestJSON.
func (v *Verdict) LocateZip(url func(objectKey string) string) {
	if v.Reason == ReasonOffered && v.Answer.URL == "" {
		v.Answer.URL = url(v.Bundle.ObjectKey)
	}
}

// ManifestJSON is the list of delta files that belongs into the answer, encoded;
// nil when there is none. It is made once for a bundle and shared: url must be
// the same function at every call, and the bytes must not be changed.
func (v *Verdict) ManifestJSON(url func(objectKey string) string) []byte {
	if !v.delta {
		return nil
	}
	kept := &v.Bundle.encoded[v.form]
	if made := kept.Load(); made != nil {
		return *made
	}
	made := capgo.AppendManifest(nil, v.Bundle.entries(v.form, url))
	kept.Store(&made) // when two are first, either result will do
	return made
}

// decision is one request on its way through the checks.
type decision struct {
	app   *App
	req   *capgo.UpdateRequest
	trace bool
	v     Verdict

	native, plugin version
	// nativeName is the canonical version_build, current the bundle the device
	// runs, where the store build goes by the native version's name.
	nativeName, current string
	// target is the name of the bundle weighed, targetVersion its parsed form
	// where it has one.
	target         string
	targetVersion  version
	targetIsSemver bool
	channel        *Channel
}

// run takes the checks in Capgo's order; the first that fails decides.
func (d *decision) run() {
	_ = d.checkApp() &&
		d.checkNativeVersion() &&
		d.checkPluginVersion() &&
		d.checkRequest() &&
		d.checkChannel() &&
		d.checkContent() &&
		d.checkKey() &&
		d.checkCurrent() &&
		d.checkPlatform() &&
		d.checkPolicy() &&
		d.checkUnderNative() &&
		d.checkBuild() &&
		d.checkDevice() &&
		d.checkBuiltin() &&
		d.checkSignature() &&
		d.offer()
}

// pass notes a check that let the device through.
func (d *decision) pass(name string, detail func() string) bool {
	if d.trace {
		d.v.Checks = append(d.v.Checks, capgo.Check{Name: name, Passed: true, Detail: detail()})
	}
	return true
}

// refuse ends the decision with a refusal.
func (d *decision) refuse(name string, answer capgo.UpdateAnswer, detail func() string) bool {
	answer.Kind = capgo.KindOf(answer.Error)
	d.v.Status, d.v.Answer, d.v.Reason = http.StatusOK, answer, answer.Error
	if d.trace {
		d.v.Checks = append(d.v.Checks, capgo.Check{Name: name, Detail: detail()})
	}
	return false
}

func (d *decision) checkApp() bool {
	if d.app != nil {
		return d.pass("app", func() string { return "the app " + d.app.ID + " is registered" })
	}
	d.refuse("app", capgo.UpdateAnswer{Error: capgo.CodeUnknownApp, Message: "On-premise app detected"},
		func() string { return "no app " + d.req.AppID + " is registered here" })
	d.v.Status, d.v.Answer.Kind = http.StatusTooManyRequests, ""
	return false
}

// SemverMessage is what a device hears whose native version is none.
func SemverMessage(versionBuild string) string {
	return "Native version: " + versionBuild + " doesn't follow semver convention, please check https://capgo.app/semver_tester/ to learn more about semver usage in Capgo"
}

func (d *decision) checkNativeVersion() bool {
	var ok bool
	if d.nativeName, ok = NativeVersion(d.req.VersionBuild); ok {
		d.native, ok = parseVersion(d.nativeName)
	}
	if !ok {
		return d.refuse("native_version", capgo.UpdateAnswer{Error: capgo.CodeSemver, Message: SemverMessage(d.req.VersionBuild)},
			func() string { return fmt.Sprintf("the native version %q is no semantic version", d.req.VersionBuild) })
	}
	d.current = d.req.VersionName
	if d.current == capgo.Builtin {
		d.current = d.nativeName
	}
	return d.pass("native_version", func() string { return "native " + d.nativeName + " is a semantic version" })
}

func (d *decision) checkPluginVersion() bool {
	var ok bool
	d.plugin, ok = parseVersion(d.req.PluginVersion)
	switch {
	case !ok:
		return d.refuse("plugin_version", capgo.UpdateAnswer{Error: capgo.CodePluginVersion,
			Message: "Plugin version " + d.req.PluginVersion + " is not a version"},
			func() string { return fmt.Sprintf("the plugin version %q is no semantic version", d.req.PluginVersion) })
	case d.plugin.major == 4:
		return d.refuse("plugin_version", capgo.UpdateAnswer{Error: capgo.CodePluginVersion,
			Message: "Plugin version " + d.req.PluginVersion + " (v4) is no longer supported. Please upgrade to v5.10.0 or later."},
			func() string { return "plugin " + d.req.PluginVersion + " is of the fourth generation" })
	}
	return d.pass("plugin_version", func() string { return "plugin " + d.req.PluginVersion + " is supported" })
}

func (d *decision) checkRequest() bool {
	if d.req.AppID == "" || d.req.DeviceID == "" || d.current == "" || d.req.Platform == "" {
		return d.refuse("request", capgo.UpdateAnswer{Error: capgo.CodeMissingInfo, Message: "Cannot find device_id or app_id"},
			func() string { return "the request lacks app_id, device_id, version_name or platform" })
	}
	return d.pass("request", func() string { return "the device says who it is and what it runs" })
}

// checkChannel finds the channel and, on it, the bundle to weigh.
func (d *decision) checkChannel() bool {
	d.channel, d.v.ChannelSource = d.resolve()
	if d.channel == nil {
		return d.refuse("channel", capgo.UpdateAnswer{Error: capgo.CodeNoChannel, Message: "no default channel or override"}, func() string {
			if d.req.DefaultChannel != "" {
				return fmt.Sprintf("no channel %q is open to %s devices; there is no fallback to the public channel", d.req.DefaultChannel, d.req.Platform)
			}
			return "no public channel with a bundle exists for " + d.req.Platform
		})
	}
	d.v.Channel, d.v.ChannelID = d.channel.Name, d.channel.ID
	d.pass("channel", func() string {
		return fmt.Sprintf("channel %q, by %s", d.channel.Name, strings.ReplaceAll(d.v.ChannelSource, "_", " "))
	})

	stable, _ := d.app.live(d.channel, d.req.Platform)
	d.weigh(stable)
	r := d.channel.Rollout
	if r == nil {
		return true
	}
	if _, own := d.channel.PlatformBundles[d.req.Platform]; own {
		return d.pass("rollout", func() string { return d.req.Platform + " has a bundle of its own, which no rollout changes" })
	}
	candidate := d.app.Bundles[r.BundleID]
	if candidate == nil || candidate.Deleted || !r.holds(d.req.DeviceID, d.current, candidate.Name) {
		return d.pass("rollout", func() string { return "the rollout does not hold this device" })
	}
	d.weigh(candidate)
	d.v.InRollout = true
	return d.pass("rollout", func() string {
		return fmt.Sprintf("the rollout of %s holds this device (%.2f %%)", candidate.Name, float64(r.PercentageBps)/100)
	})
}

// weigh makes b (nil: the store build) the bundle in question.
func (d *decision) weigh(b *Bundle) {
	d.v.Bundle, d.target = b, capgo.Builtin
	if b != nil {
		d.target = b.Name
	}
	d.targetVersion, d.targetIsSemver = parseVersion(d.target)
}

// resolve finds the device's channel. A channel whose bundle was deleted does
// not resolve; one that an override or an old plugin chose falls through to
// the next way, one that the request names does not.
func (d *decision) resolve() (*Channel, string) {
	if len(d.app.SelfSet) > 0 && !storesChannel(d.plugin) {
		if ch := d.app.channelByID(d.app.SelfSet[d.req.DeviceID]); d.app.resolves(ch, d.req.Platform) {
			return ch, SourceSelfSet
		}
	}
	if len(d.app.Overrides) > 0 {
		if ch := d.app.channelByID(d.app.Overrides[d.req.DeviceID]); d.app.resolves(ch, d.req.Platform) {
			return ch, SourceOverride
		}
	}
	for _, ch := range d.app.Channels {
		if !ch.serves(d.req.Platform) {
			continue
		}
		if d.req.DefaultChannel == "" {
			if ch.Public && d.app.resolves(ch, d.req.Platform) {
				return ch, SourcePublic
			}
		} else if ch.Name == d.req.DefaultChannel && (ch.Public || ch.AllowDeviceSelfSet) && d.app.resolves(ch, d.req.Platform) {
			return ch, SourceDefault
		}
	}
	return nil, ""
}

// storesChannel tells whether the plugin keeps its channel on the device
// instead of leaving it with the server.
func storesChannel(v version) bool {
	switch v.major {
	case 5, 6, 7:
		return v.since(v.major, 34, 0)
	case 8:
		return v.since(8, 0, 0)
	}
	return true
}

// serves tells whether the channel's platform flag is on.
func (c *Channel) serves(platform string) bool {
	switch platform {
	case "ios":
		return c.IOS
	case "android":
		return c.Android
	}
	return c.Electron
}

func (a *App) channelByID(id int64) *Channel {
	for _, ch := range a.Channels {
		if ch.ID == id {
			return ch
		}
	}
	return nil
}

// live is the bundle a channel points a platform at, nil for the store build;
// ok is false when that bundle is gone. A deleted row named builtin still means
// the store build.
func (a *App) live(c *Channel, platform string) (b *Bundle, ok bool) {
	id, special := c.PlatformBundles[platform]
	if !special {
		id = c.BundleID
	}
	if id == 0 {
		return nil, true
	}
	b = a.Bundles[id]
	switch {
	case b == nil:
		return nil, false
	case b.Name == capgo.Builtin:
		return nil, true
	}
	return b, !b.Deleted
}

// Offers tells whether a channel points a platform at the bundle of this name,
// to all of its devices or to a share of them.
func (a *App) Offers(channelID int64, platform, name string) bool {
	c := a.channelByID(channelID)
	if c == nil {
		return false
	}
	if b, ok := a.live(c, platform); ok && b != nil && b.Name == name {
		return true
	}
	if _, own := c.PlatformBundles[platform]; own || c.Rollout == nil || !c.Rollout.Enabled {
		return false
	}
	b := a.Bundles[c.Rollout.BundleID]
	return b != nil && !b.Deleted && b.Name == name
}

func (a *App) resolves(c *Channel, platform string) bool {
	if c == nil {
		return false
	}
	_, ok := a.live(c, platform)
	return ok
}

func (d *decision) checkContent() bool {
	b := d.v.Bundle
	if b != nil && b.ExternalURL == "" && b.ObjectKey == "" && len(b.Manifest) == 0 && b.Name != capgo.Unknown {
		return d.refuse("bundle", capgo.UpdateAnswer{Error: capgo.CodeNoBundle, Message: "Cannot get bundle"},
			func() string { return "bundle " + b.Name + " has no content" })
	}
	return d.pass("bundle", func() string { return "the channel's bundle is " + d.target })
}

// checkKey takes the seal of the bundle that is for the device's key, where
// there is more than one, and refuses a bundle that is sealed for other keys.
func (d *decision) checkKey() bool {
	b := d.v.Bundle
	if b != nil && b.KeyID != d.req.KeyID {
		if own := b.sealFor(d.req.KeyID); own != nil {
			d.v.Bundle = own
			return d.pass("key_id", func() string {
				return fmt.Sprintf("the bundle is sealed for %d keys; this device gets the one for its key %s", 1+len(b.Seals), own.KeyID)
			})
		}
	}
	// Plugins up to 8.40.7 may send only four characters of their key's id.
	if b != nil && d.req.KeyID != "" && b.KeyID != "" && d.req.KeyID != b.KeyID && d.plugin.compare(version{major: 8, minor: 40, patch: 7}) > 0 {
		return d.refuse("key_id", capgo.UpdateAnswer{Error: capgo.CodeKeyMismatch,
			Message:     "Device encryption key does not match bundle encryption key. The device may have a different public key than the one used to encrypt this bundle.",
			DeviceKeyID: d.req.KeyID, BundleKeyID: b.KeyID},
			func() string {
				return fmt.Sprintf("the device holds key %s, the bundle is sealed with %s", d.req.KeyID, b.KeyID)
			})
	}
	return d.pass("key_id", func() string { return "the device's key does not contradict the bundle's" })
}

// sealFor is the further seal of the bundle for a key, nil when there is none.
func (b *Bundle) sealFor(keyID string) *Bundle {
	for _, seal := range b.Seals {
		if seal.KeyID == keyID {
			return seal
		}
	}
	return nil
}

// upToDate is the refusal a device hears when it has what there is. version
// spares the iOS plugin a second request in every period.
func (d *decision) upToDate() capgo.UpdateAnswer {
	return capgo.UpdateAnswer{Error: capgo.CodeUpToDate, Message: "No new version available", Version: d.req.VersionName}
}

func (d *decision) checkCurrent() bool {
	if d.current == d.target {
		return d.refuse("current_version", d.upToDate(), func() string { return "the device already runs " + d.target })
	}
	return d.pass("current_version", func() string { return "the device runs " + d.current + ", not " + d.target })
}

func (d *decision) checkPlatform() bool {
	if d.channel.serves(d.req.Platform) {
		return d.pass("platform", func() string { return "the channel serves " + d.req.Platform })
	}
	answer := capgo.UpdateAnswer{Version: d.target, Old: d.current}
	switch d.req.Platform {
	case "ios":
		answer.Error, answer.Message = capgo.CodePlatformIOS, "Cannot update, ios it's disabled"
	case "android":
		answer.Error, answer.Message = capgo.CodePlatformAndroid, "Cannot update, android is disabled"
	default:
		answer.Error, answer.Message = capgo.CodePlatformElectron, "Cannot update, electron is disabled"
	}
	return d.refuse("platform", answer, func() string { return "the channel is switched off for " + d.req.Platform })
}

// checkPolicy compares the bundle with the native version, never with the
// bundle the device runs.
func (d *decision) checkPolicy() bool {
	policy := d.channel.DisableAutoUpdate
	blocked := capgo.UpdateAnswer{Major: true, Version: d.target, Old: d.nativeName}
	t, n := d.targetVersion, d.native
	var allowed bool
	switch policy {
	case capgo.PolicyMajor:
		blocked.Error, blocked.Message = capgo.CodePolicyMajor, "Cannot upgrade major version"
		allowed = t.major <= n.major
	case capgo.PolicyMinor:
		blocked.Error, blocked.Message = capgo.CodePolicyMinor, "Cannot upgrade minor version"
		allowed = t.major == n.major && t.minor == n.minor
	case capgo.PolicyPatch:
		blocked.Error, blocked.Message = capgo.CodePolicyPatch, "Cannot upgrade patch version"
		allowed = t.major == n.major && t.minor == n.minor && t.patch == n.patch
	}
	switch {
	case internal(d.target):
		return d.pass("policy", func() string { return d.target + " has no version to weigh" })
	case policy == capgo.PolicyVersionNumber:
		return d.checkMinimum()
	case blocked.Error == "":
		return d.pass("policy", func() string { return "the channel limits no versions" })
	case !d.targetIsSemver:
		return d.misconfigured("policy", "bundle name "+d.target+" is no semantic version, so policy "+string(policy)+" cannot weigh it")
	case !allowed:
		return d.refuse("policy", blocked, func() string {
			return fmt.Sprintf("policy %s: bundle %s is too far from native %s", policy, d.target, d.nativeName)
		})
	}
	return d.pass("policy", func() string {
		return fmt.Sprintf("policy %s allows bundle %s on native %s", policy, d.target, d.nativeName)
	})
}

// checkMinimum is the policy version_number.
func (d *decision) checkMinimum() bool {
	minimum := d.v.Bundle.MinUpdateVersion
	least, ok := parseVersion(minimum)
	switch {
	case !ok:
		return d.misconfigured("policy", fmt.Sprintf("policy version_number needs a minimum native version on bundle %s, and it has %q", d.target, minimum))
	case least.compare(d.native) > 0:
		return d.refuse("policy", capgo.UpdateAnswer{Error: capgo.CodePolicyVersionNumber,
			Message: "Cannot upgrade version, min update version > current version", Major: true, Version: d.target, Old: d.nativeName},
			func() string { return "native " + d.nativeName + " is below the bundle's minimum " + minimum })
	}
	return d.pass("policy", func() string { return "native " + d.nativeName + " reaches the bundle's minimum " + minimum })
}

// misconfigured refuses a bundle that the channel's rules cannot weigh.
func (d *decision) misconfigured(check, why string) bool {
	return d.refuse(check, capgo.UpdateAnswer{Error: capgo.CodeMisconfigured,
		Message: "Channel " + d.channel.Name + " is misconfigured", Version: d.target, Old: d.nativeName},
		func() string { return why })
}

// internal names have no version to compare.
func internal(name string) bool { return name == capgo.Builtin || name == capgo.Unknown }

func (d *decision) checkUnderNative() bool {
	switch {
	case !d.channel.DisableAutoUpdateUnderNative || internal(d.target):
		return d.pass("under_native", func() string { return "bundles below the native version are allowed" })
	case !d.targetIsSemver:
		return d.misconfigured("under_native", "bundle name "+d.target+" is no semantic version, so it cannot be compared with native "+d.nativeName)
	case d.targetVersion.compare(d.native) < 0:
		return d.refuse("under_native", capgo.UpdateAnswer{Error: capgo.CodeUnderNative,
			Message: "Cannot revert under native version", Version: d.target, Old: d.current},
			func() string { return "bundle " + d.target + " is below native " + d.nativeName })
	}
	return d.pass("under_native", func() string { return "bundle " + d.target + " is not below native " + d.nativeName })
}

func (d *decision) checkBuild() bool {
	blocked := capgo.UpdateAnswer{Version: d.target, Old: d.current}
	switch {
	case d.req.IsProd && !d.channel.AllowProd:
		blocked.Error, blocked.Message = capgo.CodeProdBuild, "Cannot update, prod build is disabled"
		return d.refuse("build", blocked, func() string { return "the channel takes no production builds" })
	case !d.req.IsProd && !d.channel.AllowDev:
		blocked.Error, blocked.Message = capgo.CodeDevBuild, "Cannot update, dev build is disabled"
		return d.refuse("build", blocked, func() string { return "the channel takes no development builds" })
	}
	return d.pass("build", func() string { return "the channel takes this kind of build" })
}

func (d *decision) checkDevice() bool {
	blocked := capgo.UpdateAnswer{Version: d.target, Old: d.current}
	switch {
	case !d.req.IsEmulator && !d.channel.AllowDevice:
		blocked.Error, blocked.Message = capgo.CodeDevice, "Cannot update, device is disabled"
		return d.refuse("device", blocked, func() string { return "the channel takes no real devices" })
	case d.req.IsEmulator && !d.channel.AllowEmulator:
		blocked.Error, blocked.Message = capgo.CodeEmulator, "Cannot update, emulator is disabled"
		return d.refuse("device", blocked, func() string { return "the channel takes no emulators" })
	}
	return d.pass("device", func() string { return "the channel takes this kind of device" })
}

// checkBuiltin answers for a channel that points at the store build. The raw
// version_name counts: a device already there must not be told to go there
// again, it would reset at every check.
func (d *decision) checkBuiltin() bool {
	if d.target != capgo.Builtin {
		return d.pass("builtin", func() string { return "the channel does not point at the store build" })
	}
	switch {
	case !d.plugin.since(6, 2, 0):
		return d.refuse("builtin", capgo.UpdateAnswer{Error: capgo.CodeBuiltinPlugin,
			Message: "revert_to_builtin used, but plugin version is too old"},
			func() string { return "plugin " + d.req.PluginVersion + " cannot return to the store build" })
	case d.req.VersionName == capgo.Builtin:
		return d.refuse("builtin", capgo.UpdateAnswer{Error: capgo.CodeAlreadyBuiltin, Message: "Already on builtin", Version: capgo.Builtin},
			func() string { return "the device already runs the store build" })
	}
	d.v.Status, d.v.Reason = http.StatusOK, ReasonRevert
	d.v.Answer = capgo.UpdateAnswer{Version: capgo.Builtin}
	d.pass("builtin", func() string { return "the device is sent back to the store build" })
	return false
}

// withhold keeps a bundle back that the app's key does not vouch for. The
// device hears that it is up to date: nothing on it can help.
func (d *decision) withhold(alarm, why string) bool {
	d.refuse("signature", d.upToDate(), func() string { return why })
	d.v.Reason, d.v.Alarm = alarm, alarm
	return false
}

func (d *decision) checkSignature() bool {
	b := d.v.Bundle
	switch {
	case b.Unverified:
		return d.withhold(AlarmUnverified, "bundle "+b.Name+" does not verify with the app's public key")
	case d.app.KeyID == "":
		return d.pass("signature", func() string { return "the app has no public key on record" })
	case !b.signed():
		return d.withhold(AlarmUnsigned, "the app has a public key on record and bundle "+b.Name+" is not signed")
	}
	return d.pass("signature", func() string { return "bundle " + b.Name + " is signed" })
}

// offer hands the bundle out, in the forms that this plugin reads.
func (d *decision) offer() bool {
	b := d.v.Bundle
	checksum, ok := d.checksum()
	if !ok {
		return false
	}
	answer := capgo.UpdateAnswer{Version: b.Name, URL: b.ExternalURL, SessionKey: b.SessionKey, Checksum: checksum}
	switch {
	case b.ExternalURL != "":
		// On Capgo's server delta files do not go out with a zip kept elsewhere.
		if !strings.HasPrefix(b.ExternalURL, "https://") && !strings.HasPrefix(b.ExternalURL, "http://") {
			return d.noURL("bundle " + b.Name + " has no http address: " + b.ExternalURL)
		}
		d.v.delta = b.ownDelta() && d.takesDelta()
	case b.ObjectKey != "":
		d.v.delta = d.takesDelta()
	case len(b.Manifest) == 0:
		return d.noURL("bundle " + b.Name + " has no content")
	default:
		if d.v.delta = d.takesDelta(); !d.v.delta {
			return d.refuse("url", capgo.UpdateAnswer{Error: capgo.CodeNoBundle, Message: "Cannot get bundle"}, func() string {
				return "bundle " + b.Name + " is delta files only, and plugin " + d.req.PluginVersion + " cannot take those"
			})
		}
		answer.URL = capgo.NoZipURL
	}
	if d.app.ExposeMetadata && readsMetadata(d.plugin) {
		answer.Link, answer.Comment = b.Link, b.Comment
	}
	d.v.Status, d.v.Answer, d.v.Reason = http.StatusOK, answer, ReasonOffered
	d.pass("offer", func() string { return "bundle " + b.Name + " is offered" })
	return false
}

func (d *decision) noURL(why string) bool {
	return d.refuse("url", capgo.UpdateAnswer{Error: capgo.CodeNoBundleURL, Message: "Cannot get bundle url"},
		func() string { return why })
}

// checksum picks the form for this plugin. Where no signed form is on record
// the registered value goes out as it is, unless a key demands a signature.
func (d *decision) checksum() (value string, ok bool) {
	b := d.v.Bundle
	registered := b.Checksum
	if registered == "" && b.SessionKey == "" {
		registered = b.PlainChecksum
	}
	if b.SessionKey == "" || d.app.KeyID == "" && b.ChecksumV2 == "" && b.ChecksumV3 == "" {
		return registered, d.pass("checksum", func() string { return "the checksum goes out as registered" })
	}
	want := signedForm(d.plugin)
	value = want.pick(b.Checksum, b.ChecksumV2, b.ChecksumV3)
	switch {
	case want == formNone:
		return "", d.refuse("checksum", capgo.UpdateAnswer{Error: capgo.CodePluginVersion,
			Message: "Plugin version " + d.req.PluginVersion + " cannot read signed bundles. Please upgrade the plugin."},
			func() string { return "plugin " + d.req.PluginVersion + " reads no signed bundle" })
	case value == "":
		return "", d.refuse("checksum", capgo.UpdateAnswer{Error: capgo.CodeChecksumForm,
			Message: "The bundle is not signed in the form that this plugin version reads", Version: b.Name, Old: d.current},
			func() string {
				return "bundle " + b.Name + " lacks the form of signed checksum that plugin " + d.req.PluginVersion + " reads"
			})
	}
	return value, d.pass("checksum", func() string { return "the signed checksum goes out in the form of plugin " + d.req.PluginVersion })
}

// takesDelta tells whether delta files go into the offer: the plugin can take
// them and every file's hash is on record in the plugin's form.
func (d *decision) takesDelta() bool {
	b := d.v.Bundle
	reads := readsManifest
	if b.ownDelta() {
		reads = decodesBySuffix
	}
	if len(b.Manifest) == 0 || !reads(d.plugin) {
		return false
	}
	d.v.form = signedForm(d.plugin)
	for i := range b.Manifest {
		f := &b.Manifest[i]
		if (d.app.KeyID != "" || f.signed()) && d.v.form.pick(f.FileHash, f.FileHashV2, f.FileHashV3) == "" {
			return false
		}
	}
	return true
}

// ownDelta tells whether capstan registered the delta files.
func (b *Bundle) ownDelta() bool { return len(b.Manifest) > 0 && b.Manifest[0].Own }

// signed tells whether the hash is on record in signed forms of its own.
func (f *ManifestFile) signed() bool { return f.FileHashV2 != "" || f.FileHashV3 != "" }

// entries lists the delta files with their hashes in the form wanted.
func (b *Bundle) entries(want form, url func(objectKey string) string) []capgo.ManifestEntry {
	entries := make([]capgo.ManifestEntry, len(b.Manifest))
	for i := range b.Manifest {
		f := &b.Manifest[i]
		entries[i] = capgo.ManifestEntry{FileName: f.FileName, FileHash: f.FileHash, DownloadURL: f.URL}
		if f.URL == "" {
			entries[i].DownloadURL = url(f.ObjectKey)
		}
		if f.signed() {
			entries[i].FileHash = want.pick(f.FileHash, f.FileHashV2, f.FileHashV3)
		}
	}
	return entries
}

func readsManifest(v version) bool {
	switch v.major {
	case 5:
		return v.since(5, 10, 0)
	case 6:
		return v.since(6, 25, 0)
	case 7:
		return v.since(7, 0, 35)
	case 8:
		return v.since(8, 0, 0)
	}
	return true
}

// decodesBySuffix tells which plugins install delta files of which only those
// named *.br are brotli: capstan's own. It is bundle.TakesManifest for a version
// that is parsed already. Capgo's server starts elsewhere: later on 6, and on 7
// before there is support; 7.9 to 7.18 compare the wrong digest.
func decodesBySuffix(v version) bool {
	switch v.major {
	case 5:
		return v.since(5, 10, 0)
	case 6:
		return v.since(6, 14, 28)
	case 7:
		return v.since(7, 0, 38) && (!v.since(7, 9, 0) || v.since(7, 18, 15))
	case 9, 10:
		return v.compare(version{major: v.major}) != 0
	}
	return v.major >= 8
}

func readsMetadata(v version) bool {
	switch v.major {
	case 5, 6, 7, 8:
		return v.since(v.major, 35, 0)
	}
	return true
}
