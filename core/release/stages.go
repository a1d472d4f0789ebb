package release

import (
	"cmp"
	"context"
	"crypto"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"capstan/core/bundle"
	"capstan/core/capgo"
	"capstan/core/device"
	"capstan/core/failure"
	"capstan/core/keys"
	"capstan/core/remote"
	"capstan/core/remote/storage"
	"capstan/internal/fault"
)

// PreflightOutcome is what preflight leaves in the journal.
type PreflightOutcome struct {
	Findings []bundle.Finding `json:"findings,omitempty"`
	Files    int              `json:"files"`
	Bytes    int64            `json:"bytes"`
	// Live and Revision are the channel as the operator saw it; promote
	// refuses when it moved since. Live is "" when the channel did not exist.
	Live     string `json:"live,omitempty"`
	Revision int64  `json:"revision,omitempty"`
	Server   string `json:"server,omitempty"` // capstan or capgo
	// Delta says that delta files were asked for, and that the server takes them.
	Delta bool `json:"delta,omitempty"`
	// TwoKeys says that the bundle is sealed for both keys of an app that changes
	// keys: the plan has both, and so has the server.
	TwoKeys bool `json:"two_keys,omitempty"`
	// LivePlain is the SHA-256 of the plain zip that the channel has, in hex.
	LivePlain string `json:"live_plain,omitempty"`
	// MinUpdateVersion is what --auto-min-update-version came to.
	MinUpdateVersion string `json:"min_update_version,omitempty"`
}

// preflight checks the build folder and the registry before anything is made.
type preflight struct{}

func (preflight) Name() StageName { return StagePreflight }

func (preflight) Skip(r *run) string {
	if r.state.Preflight != nil && r.state.Sealed != nil {
		return "checked before"
	}
	return ""
}

func (preflight) Run(ctx context.Context, r *run) (any, string, error) {
	plan := r.plan()
	if plan.External != nil {
		outcome := &PreflightOutcome{}
		return outcome, "the version is free", r.checkRegistry(ctx, outcome)
	}
	report, err := bundle.Preflight(ctx, plan.Dir, plan.options(nil))
	if err != nil {
		return nil, "", err
	}
	outcome := &PreflightOutcome{Findings: report.Findings, Files: report.Files, Bytes: report.Bytes}
	for _, f := range report.Findings {
		r.event(Event{Stage: StagePreflight, Kind: EventFinding, Level: f.Level, Code: f.Code, Text: f.Text, Hint: f.Hint})
	}
	if plan.Uncommitted {
		r.event(Event{Stage: StagePreflight, Kind: EventFinding, Level: bundle.LevelWarn, Code: "git_dirty",
			Text: "the project has changes that are not committed", Hint: "commit them first, so that this bundle can be built again"})
	}
	if plan.NoCodeCheck {
		report.Findings = slices.DeleteFunc(report.Findings, isCodeCheck)
	}
	if err := report.Err(); err != nil && plan.Reason == "" {
		return nil, "", err
	}
	if err := r.checkRegistry(ctx, outcome); err != nil {
		return nil, "", err
	}
	return outcome, fmt.Sprintf("%s files, %s", humanize.Comma(int64(report.Files)), humanize.IBytes(uint64(report.Bytes))), nil
}

// isCodeCheck names the findings that --no-code-check skips, as the Capgo CLI does.
func isCodeCheck(f bundle.Finding) bool {
	return f.Code == "no_index_html" || f.Code == "no_notify_app_ready"
}

// checkRegistry makes sure that the app exists with the same key, and that the version is free.
func (r *run) checkRegistry(ctx context.Context, outcome *PreflightOutcome) error {
	plan := r.plan()
	about, err := r.Registry.About(ctx)
	if err != nil {
		return err
	}
	outcome.Server = about.Server
	r.checkUpdateURL(about)
	r.checkClock()
	if err := r.planDelta(ctx, about, outcome); err != nil {
		return err
	}
	app, err := r.Registry.App(ctx, plan.AppID)
	if isClass(err, failure.NotFound) && plan.CreateApp {
		if app, err = r.createApp(ctx); err != nil {
			return err
		}
	}
	if isClass(err, failure.NotFound) {
		return failure.Wrap(err, failure.NotFound, "app_not_found", "find the app", "add it with capstan app add, or let the release do it with --create-app")
	}
	if err != nil {
		return err
	}
	if app.AppID != plan.AppID {
		return failure.Newf(failure.Unavailable, "answer_malformed", "check the app", "check that the address is the update server's, and that nothing answers in its place",
			"asked for %s, the server tells of %q", plan.AppID, app.AppID)
	}
	if err := r.checkKey(ctx, about, app, outcome); err != nil {
		return err
	}
	if err := r.checkVersionFree(ctx); err != nil {
		return err
	}
	if plan.Channel == "" {
		return nil
	}
	channel, err := r.Registry.Channel(ctx, plan.AppID, plan.Channel)
	if isClass(err, failure.NotFound) {
		r.event(Event{Stage: StagePreflight, Kind: EventFinding, Level: bundle.LevelOK, Code: "channel_new", Text: fmt.Sprintf("channel %s does not exist and will be created", plan.Channel)})
		return nil
	}
	if err != nil {
		return err
	}
	outcome.Live, outcome.Revision = liveName(channel), channel.Revision
	return r.compareLive(ctx, outcome)
}

// createApp makes the app, with a note ahead for the undo plan.
func (r *run) createApp(ctx context.Context) (capgo.App, error) {
	plan := r.plan()
	if err := r.creates(true); err != nil {
		return capgo.App{}, err
	}
	err := r.Registry.CreateApp(remote.WithIdempotencyKey(ctx, r.state.ID+"/app"), plan.AppID, plan.AppName)
	if isClass(err, failure.Conflict) { // somebody else's
		if err := r.creates(false); err != nil {
			return capgo.App{}, err
		}
	}
	if err != nil {
		return capgo.App{}, err
	}
	return r.Registry.App(ctx, plan.AppID)
}

// checkUpdateURL notices an app that asks somebody else for its updates.
func (r *run) checkUpdateURL(about capgo.About) {
	asks, plan := r.plan().AppUpdateURL, r.plan()
	if about.Server != "capstan" || asks == "" || asks == plan.UpdateURL || asks == about.PublicURL+"/updates" {
		return
	}
	r.event(Event{Stage: StagePreflight, Kind: EventFinding, Level: bundle.LevelWarn, Code: "update_url_differs",
		Text: fmt.Sprintf("the app asks %s for updates, this server answers at %s/updates", asks, about.PublicURL),
		Hint: "set plugins.CapacitorUpdater.updateUrl, or make sure that the address leads here"})
}

// checkClock notices a clock that differs from the server's. A release does not
// depend on it; what is planned with one and read with the other does.
func (r *run) checkClock() {
	server, ok := r.Registry.(interface{ CheckClock() error })
	if !ok {
		return
	}
	if f, found := failure.Find(server.CheckClock()); found {
		r.event(Event{Stage: StagePreflight, Kind: EventFinding, Level: bundle.LevelWarn, Code: f.Code, Text: f.Err.Error(), Hint: f.Hint})
	}
}

// checkKey puts the plan's key on record where that was asked for, and holds the
// plan's keys against what is.
func (r *run) checkKey(ctx context.Context, about capgo.About, app capgo.App, outcome *PreflightOutcome) error {
	plan := r.plan()
	if plan.v1() {
		return r.checkV1(app)
	}
	if app.PublicKey == "" && plan.KeyID != "" && plan.CreateApp && has(about, capgo.CapPublicKey) {
		if err := r.Registry.SetPublicKey(remote.WithIdempotencyKey(ctx, r.state.ID+"/key"), plan.AppID, plan.PublicKey); err != nil {
			return err
		}
		// Something between here and the server may have answered in its place.
		var err error
		if app, err = r.Registry.App(ctx, plan.AppID); err != nil {
			return err
		}
		if app.PublicKey == "" {
			return failure.New(failure.Unavailable, "answer_malformed", "put the key on record", "the server took the key and does not have it", "check that the address is the update server's, and that nothing answers in its place; then repeat the command")
		}
	}
	return r.checkKeys(about, app, outcome)
}

// checkVersionFree refuses a version that is registered already, unless it is
// this very release that registered it.
func (r *run) checkVersionFree(ctx context.Context) error {
	plan := r.plan()
	have, err := r.Registry.Bundle(ctx, plan.AppID, plan.Version)
	if isClass(err, failure.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if r.isOurs(have) {
		return nil
	}
	return failure.Newf(failure.Conflict, "version_exists", "check the version", "raise the version in package.json, or name another with --bundle",
		"%s has a bundle %s already, registered %s", plan.AppID, plan.Version, have.CreatedAt.Local().Format("2006-01-02 15:04"))
}

// seal packs, encrypts and signs the folder into the spool in one pass.
type seal struct{}

func (seal) Name() StageName { return StageSeal }

func (seal) Skip(r *run) string {
	if r.state.Sealed == nil {
		return ""
	}
	// Once uploaded the spool is not needed; before that it must be whole.
	if r.state.Uploaded != nil || r.plan().External != nil {
		return "sealed before"
	}
	if r.spoolWhole(r.spool(), r.state.Sealed) && (!r.delta() || r.deltaWhole()) && (!r.twoKeys() || r.secondWhole()) {
		return "sealed before, and the sealed bytes are whole"
	}
	return ""
}

func (seal) Run(ctx context.Context, r *run) (any, string, error) {
	plan := r.plan()
	if plan.External != nil {
		return r.describeExternal(ctx)
	}
	part := r.spool() + ".part"
	if err := fault.Fails("seal.create"); err != nil {
		return nil, "", spoolFailure(err)
	}
	file, err := os.OpenFile(part, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, "", spoolFailure(err)
	}
	defer os.Remove(part)
	defer file.Close()

	var total int64
	if r.state.Preflight != nil {
		total = r.state.Preflight.Bytes
	}
	m := newMeter(time.Now, r.emit, StageSeal, total)
	signer, err := r.signer(ctx)
	if err != nil {
		return nil, "", err
	}
	var sums storage.BlockSummer
	sealed, err := packInto(ctx, plan, signer, io.MultiWriter(file, &sums), plan.options(m.update))
	if err != nil {
		return nil, "", spoolFailure(err)
	}
	r.remember(sums.Sums(sealed.ObjectSHA256))
	r.compareContent(sealed)
	if err := keepSpool(r, file, r.spool()); err != nil {
		return nil, "", spoolFailure(err)
	}
	text := fmt.Sprintf("%s files in %s, checksum %s", humanize.Comma(int64(sealed.Files)), humanize.IBytes(uint64(sealed.ObjectSize)), sealed.PlainChecksum[:12])
	if r.delta() {
		more, err := r.sealDelta(ctx, sealed, signer)
		if err != nil {
			return nil, "", err
		}
		text += more
	}
	outcome := sealOutcome{Sealed: sealed}
	if r.twoKeys() {
		if outcome.Second, err = r.sealSecond(ctx, sealed); err != nil {
			return nil, "", err
		}
		text += fmt.Sprintf("; sealed once more for key %s", outcome.Second.KeyID)
	}
	return outcome, text, nil
}

// sealOutcome is what sealing leaves in the journal: the seal, and beside its
// members that for a second key.
type sealOutcome struct {
	*bundle.Sealed
	Second *bundle.Sealed `json:"second,omitempty"`
}

// keepSpool gives the sealed bytes their name once they are on disk.
func keepSpool(r *run, file *os.File, path string) error {
	fault.Point("seal.sync")
	if err := fault.Fails("seal.sync"); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	fault.Point("seal.rename")
	if err := fault.Fails("seal.rename"); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return err
	}
	return syncDir(r.dir)
}

// signer unlocks the plan's key; nil for a plain bundle and in the first scheme,
// which signs nothing.
func (r *run) signer(ctx context.Context) (crypto.Signer, error) {
	plan := r.plan()
	if plan.KeyID == "" || plan.v1() {
		return nil, nil
	}
	signer, err := r.Signer(ctx, plan.KeyID)
	if err != nil {
		return nil, err
	}
	return signer, sameKey(signer, plan.PublicKey)
}

func packInto(ctx context.Context, plan Plan, signer crypto.Signer, into io.Writer, o bundle.Options) (*bundle.Sealed, error) {
	if plan.v1() {
		return packV1(ctx, plan, into, o)
	}
	if signer == nil {
		packed, err := bundle.Pack(ctx, plan.Dir, into, o)
		if err != nil {
			return nil, err
		}
		sum := hex.EncodeToString(packed.Checksum[:])
		return &bundle.Sealed{PlainChecksum: sum, ObjectSHA256: sum, PlainSize: packed.Size, ObjectSize: packed.Size, Files: packed.Files}, nil
	}
	sealed, err := bundle.PackSealed(ctx, plan.Dir, into, signer, o)
	return &sealed, err
}

// sameKey makes sure that the unlocked private key is the one that the plan names.
func sameKey(signer crypto.Signer, publicPEM string) error {
	public, err := keys.ParsePublic([]byte(publicPEM))
	if err != nil {
		return err
	}
	if !public.Equal(signer.Public()) {
		return failure.New(failure.Verification, "key_mismatch", "unlock the key", "the private key in the store does not belong to the public key of this project", "run capstan doctor")
	}
	return nil
}

// UploadOutcome is where the object is.
type UploadOutcome struct {
	Name    string `json:"name"` // in storage
	URL     string `json:"url"`  // as devices fetch it
	Existed bool   `json:"existed,omitempty"`
	// Second is nil for a release that is sealed for one key.
	Second *SecondObject `json:"second,omitempty"`
	// Delta is nil when there are no delta files.
	Delta *DeltaOutcome `json:"delta,omitempty"`
}

// upload puts the spool into storage under a name that carries its hash.
type upload struct{}

func (upload) Name() StageName { return StageUpload }

func (upload) Skip(r *run) string {
	switch {
	case r.state.Uploaded == nil:
		return ""
	case r.state.FailedStage == StageProve && r.plan().External == nil && fileThere(r.spool()) && (!r.twoKeys() || fileThere(r.secondSpool())):
		// What could not be fetched may never have arrived, whatever answered
		// the upload; and the public address may have been put right since.
		return ""
	}
	return "uploaded before"
}

func fileThere(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (upload) Run(ctx context.Context, r *run) (any, string, error) {
	sealed := r.state.Sealed
	if external := r.plan().External; external != nil {
		return &UploadOutcome{URL: external.URL, Existed: true}, "the object is in its place already", nil
	}
	file, err := os.Open(r.spool())
	if err != nil {
		return nil, "", stateFailure(err)
	}
	defer file.Close()
	name := ObjectName(r.plan().AppID, r.plan().Version, sealed.ObjectSHA256)
	var list deltaList
	if r.delta() {
		if list, err = r.readDelta(); err != nil {
			return nil, "", err
		}
		if r.state.Uploaded != nil {
			// The upload is repeated because what was sent could not be fetched.
			if err := r.forgetSent(); err != nil {
				return nil, "", err
			}
		}
	}
	total := sealed.ObjectSize + list.Size
	if r.twoKeys() {
		total += r.state.SecondSealed.ObjectSize
	}
	m := newMeter(time.Now, r.emit, StageUpload, total)
	object, err := r.Storage.Put(ctx, name, r.source(file, sealed), sealed.ObjectSize, sealed.ObjectSHA256, func(done int64) { m.update(done, 0) })
	if err != nil {
		return nil, "", err
	}
	outcome := &UploadOutcome{Name: name, URL: r.Storage.PublicURL(name), Existed: object.Existed}
	text := fmt.Sprintf("%s to %s", humanize.IBytes(uint64(sealed.ObjectSize)), r.Storage)
	if object.Existed {
		text = "the same bytes were there already"
	}
	if r.delta() {
		if outcome.Delta, err = r.uploadDelta(ctx, list, func(done int64) { m.update(sealed.ObjectSize+done, 0) }); err != nil {
			return nil, "", err
		}
		text += outcome.Delta.text()
	}
	if r.twoKeys() {
		more := ""
		if outcome.Second, more, err = r.uploadSecond(ctx, func(done int64) { m.update(sealed.ObjectSize+list.Size+done, 0) }); err != nil {
			return nil, "", err
		}
		text += more
	}
	return outcome, text, nil
}

// ObjectName is the storage name of a bundle: <appId>/<version>/<sha256>.zip.
func ObjectName(appID, version, sha256Hex string) string {
	clean := strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '-', c == '_':
			return c
		}
		return '_' // semver's + is not safe in every URL and store
	}, version)
	return appID + "/" + clean + "/" + sha256Hex + ".zip"
}

// ProveOutcome is what the simulated devices said.
type ProveOutcome struct {
	Verdicts []device.Verdict `json:"verdicts"`
}

// prove downloads the object from its public URL and installs it as every
// plugin generation of the fleet would.
type prove struct{}

func (prove) Name() StageName { return StageProve }

func (prove) Skip(r *run) string {
	if r.state.Proved != nil {
		return "proven before"
	}
	return ""
}

func (prove) Run(ctx context.Context, r *run) (any, string, error) {
	plan := r.plan()
	versions := r.fleetVersions(ctx)
	object := r.object()
	var err error
	if object.Files, err = r.deltaObjects(); err != nil {
		return nil, "", err
	}
	var verdicts []device.Verdict
	if plan.v1() {
		verdicts, err = r.proveV1(ctx, versions)
	} else {
		verdicts, err = device.Prove(ctx, object, publicKey(plan), versions, []string{"android", "ios"}, r.stepEvent(StageProve))
	}
	if err != nil {
		return nil, "", err
	}
	if r.twoKeys() {
		second, err := device.Prove(ctx, r.secondObject(), []byte(plan.Second.PublicKey), versions, []string{"android", "ios"}, r.stepEvent(StageProve))
		if err != nil {
			return nil, "", err
		}
		verdicts = append(verdicts, second...)
	}
	installed := 0
	for _, v := range verdicts {
		switch {
		case v.Installed:
			installed++
		case v.PluginVersion == r.provenVersion():
			return nil, "", failure.Newf(failure.Verification, "proof_failed", "prove the bundle", "update the plugin in the project, or release in the form that it reads",
				"plugin %s on %s would not be offered it: %s", v.PluginVersion, v.Platform, v.Reason)
		}
	}
	return &ProveOutcome{Verdicts: verdicts}, fmt.Sprintf("%d of %d kinds of device install it from %s", installed, len(verdicts), r.state.Uploaded.URL), nil
}

// publicKey is what the app carries: nothing, when its bundles are plain or of
// the first scheme.
func publicKey(plan Plan) []byte {
	if plan.KeyID == "" || plan.v1() {
		return nil
	}
	return []byte(plan.PublicKey)
}

// latestPlugin stands for the newest plugin generation that capstan models.
const latestPlugin = "8.51.23"

func (r *run) provenVersion() string {
	if v := r.plan().PluginVersion; v != "" {
		return v
	}
	if r.plan().v1() {
		return firstSchemePlugin
	}
	return latestPlugin
}

// fleetVersions are the plugin versions to prove against: the project's own,
// the newest, and those that the server has seen.
func (r *run) fleetVersions(ctx context.Context) []string {
	versions := []string{r.provenVersion()}
	add := func(v string) {
		for _, have := range versions {
			if have == v {
				return
			}
		}
		if v != "" && len(versions) < 20 {
			versions = append(versions, v)
		}
	}
	add(latestPlugin)
	// A server that cannot say what polls it does not stop the proof.
	if summary, err := r.Registry.Summary(ctx, r.plan().AppID); err == nil {
		for _, v := range slices.Sorted(maps.Keys(summary.Fleet["plugin_version"])) {
			add(v)
		}
	}
	return versions
}

func (r *run) stepEvent(stage StageName) func(device.Step) { return stepEvent(r.clock, stage, r.emit) }

// RegisterOutcome names the row that the registry made.
type RegisterOutcome struct {
	BundleID int64 `json:"bundle_id"`
}

// register creates the version in the registry.
type register struct{}

func (register) Name() StageName { return StageRegister }

func (register) Skip(r *run) string {
	if r.state.Registered != nil {
		return "registered before"
	}
	return ""
}

func (register) Run(ctx context.Context, r *run) (any, string, error) {
	plan, sealed := r.plan(), r.state.Sealed
	body := capgo.NewBundle{
		AppID: plan.AppID, Version: plan.Version, ExternalURL: r.state.Uploaded.URL,
		Checksum: sealed.Checksum(checksumForm(plan)), SessionKey: sealed.SessionKey, KeyID: plan.KeyID,
		PlainChecksum: sealed.PlainChecksum, ChecksumV2: sealed.ChecksumV2, ChecksumV3: sealed.ChecksumV3,
		ObjectSHA256: sealed.ObjectSHA256, ObjectSize: sealed.ObjectSize, PlainSize: sealed.PlainSize,
		MinUpdateVersion: r.minUpdateVersion(), Link: plan.Link, Comment: plan.comment(), NativePackages: json.RawMessage(plan.NativePackages),
		Seals: r.seals(),
	}
	var err error
	if body.Manifest, err = r.manifest(); err != nil {
		return nil, "", err
	}
	fault.Point("register.request")
	row, err := r.Registry.RegisterBundle(remote.WithIdempotencyKey(ctx, r.state.ID+"/register"), body)
	fault.Point("register.answered")
	if err != nil {
		// The answer may have been lost after the row was made, now or before a crash.
		if have, lookup := r.Registry.Bundle(context.WithoutCancel(ctx), plan.AppID, plan.Version); lookup == nil && r.isOurs(have) {
			return &RegisterOutcome{BundleID: have.ID}, "was registered already by this release", nil
		}
		return nil, "", err
	}
	return &RegisterOutcome{BundleID: row.ID}, fmt.Sprintf("bundle %s of %s", plan.Version, plan.AppID), nil
}

func checksumForm(plan Plan) bundle.Form {
	if plan.v1() {
		return bundle.FormCRC32
	}
	if plan.KeyID == "" {
		return bundle.FormSHA256
	}
	if plan.PluginVersion == "" {
		return bundle.FormV3
	}
	return bundle.FormFor(plan.PluginVersion)
}

func (p Plan) comment() string {
	if p.Reason == "" {
		return p.Comment
	}
	return strings.TrimSpace(p.Comment + "\noverride: " + p.Reason)
}

// PromoteOutcome says what the channel had, and what a device says now.
type PromoteOutcome struct {
	Previous string        `json:"previous,omitempty"`
	Revision int64         `json:"revision,omitempty"`
	Device   *DeviceResult `json:"device,omitempty"`
	// SecondDevice is the same for a device with the second key.
	SecondDevice *DeviceResult `json:"second_device,omitempty"`
}

// promote points the channel at the bundle, if nobody moved it meanwhile, and
// then asks the server as a device would.
type promote struct{}

func (promote) Name() StageName { return StagePromote }

func (promote) Skip(r *run) string {
	switch {
	case r.plan().Channel == "":
		return "no channel was named"
	case r.state.Promoted != nil:
		return "promoted before"
	}
	return ""
}

func (promote) Run(ctx context.Context, r *run) (any, string, error) {
	plan := r.plan()
	seen := r.state.Preflight
	outcome := &PromoteOutcome{Previous: seen.Live}
	// The reason of the release is also what moves a channel inside a freeze window.
	change := capgo.ChannelChange{AppID: plan.AppID, Channel: plan.Channel, Version: &plan.Version, Note: cmp.Or(plan.Reason, r.Reason)}
	channel, err := r.Registry.Channel(ctx, plan.AppID, plan.Channel)
	switch {
	case isClass(err, failure.NotFound) && seen.Live != "":
		return nil, "", failure.Newf(failure.Conflict, "channel_moved", "promote the bundle", "look at what changed, then repeat the command",
			"%s had %s when this release began and is gone now", plan.Channel, seen.Live)
	case isClass(err, failure.NotFound):
		if seen.Server == "capstan" {
			change.ExpectedRevision = new(int64) // there must still be none
		}
		all, err := r.Registry.Channels(ctx, plan.AppID)
		if err != nil && !isClass(err, failure.NotFound) {
			return nil, "", err
		}
		// The first channel of an app serves the devices that ask for none. A
		// later one must not take that from it.
		if first := !slices.ContainsFunc(all, func(c capgo.Channel) bool { return c.Public }); first {
			change.Public = &first
		}
	case err != nil:
		return nil, "", err
	case liveName(channel) == plan.Version:
		// A crash may have come between the change and its record.
		outcome.Revision = channel.Revision
	case liveName(channel) != seen.Live:
		return nil, "", r.channelMoved(ctx, seen.Live)
	case channel.Revision > 0:
		change.ExpectedRevision = &channel.Revision
	}
	if liveName(channel) != plan.Version {
		fault.Point("promote.request")
		if outcome.Revision, err = r.moveChannel(ctx, change); err != nil {
			return nil, "", err
		}
	}
	if r.twoKeys() {
		// First: what asked last is how the proof's device stays in the fleet's count.
		if outcome.SecondDevice, err = r.askAsDevice(ctx, outcome.Previous, plan.Second.PublicKey); err != nil {
			return nil, "", err
		}
	}
	if outcome.Device, err = r.askAsDevice(ctx, outcome.Previous, string(publicKey(plan))); err != nil {
		return nil, "", err
	}
	text := fmt.Sprintf("%s: %s → %s", plan.Channel, orNone(outcome.Previous), plan.Version)
	return outcome, text, nil
}

// moveChannel makes the change and reads it back: something between here and
// the server may have answered in its place.
func (r *run) moveChannel(ctx context.Context, change capgo.ChannelChange) (revision int64, err error) {
	// By the revision too: when somebody moves the channel back and the release is
	// continued, that is another change.
	key := r.state.ID + "/promote"
	if change.ExpectedRevision != nil {
		key += fmt.Sprintf("/%d", *change.ExpectedRevision)
	}
	err = r.Registry.ChangeChannel(remote.WithIdempotencyKey(ctx, key), change)
	if failure.CodeOf(err) == "channel_moved" {
		return 0, r.channelMoved(ctx, r.state.Preflight.Live)
	}
	if err != nil {
		return 0, err
	}
	fault.Point("promote.answered")
	moved, err := r.Registry.Channel(ctx, change.AppID, change.Channel)
	switch {
	case err != nil:
		return 0, err
	case liveName(moved) != *change.Version:
		return 0, failure.Newf(failure.Conflict, "channel_moved", "promote the bundle", "look at the channel's history, then repeat the command",
			"the change was accepted, and %s has %s", change.Channel, orNone(liveName(moved)))
	}
	return moved.Revision, nil
}

// askAsDevice closes the circle: the server's own answer to a device of the
// channel, installed. What it says is reported, and does not undo the promotion.
func (r *run) askAsDevice(ctx context.Context, previous, publicPEM string) (*DeviceResult, error) {
	plan := r.plan()
	asking := Asking{
		UpdateURL: plan.AppUpdateURL, AppID: plan.AppID, Channel: plan.Channel, PluginVersion: r.provenVersion(), PublicKey: publicPEM,
		NativeVersion: nativeVersion(plan), Running: previous, Want: plan.Version,
	}
	if r.state.Preflight.Server == "capstan" {
		asking.UpdateURL, asking.StatsURL = plan.UpdateURL, StatsURL(plan.UpdateURL)
	}
	if asking.UpdateURL == "" {
		return nil, nil
	}
	if plan.v1() {
		var err error
		if asking.App, err = r.openApp(ctx); err != nil {
			return nil, err
		}
	}
	result, err := Ask(ctx, asking, r.emit)
	if errors.Is(err, context.Canceled) {
		return nil, err
	}
	return &result, nil
}

// nativeVersion is the native app of the asking device: the minimum that the
// bundle asks for, else one just below the bundle, so that what answers is the
// channel and not the distance between two versions.
func nativeVersion(plan Plan) string {
	if plan.MinUpdateVersion != "" {
		return plan.MinUpdateVersion
	}
	return JustBelow(plan.Version)
}

// JustBelow is the lowest pre-release of a version: the same three numbers,
// and older than the version itself.
func JustBelow(version string) string {
	numbers, _, _ := strings.Cut(version, "+")
	numbers, _, _ = strings.Cut(numbers, "-")
	return numbers + "-0"
}

func liveName(c capgo.Channel) string {
	if c.Version == nil {
		return ""
	}
	return c.Version.Name
}

func orNone(version string) string {
	if version == "" {
		return "nothing"
	}
	return version
}

func has(about capgo.About, capability string) bool {
	for _, c := range about.Capabilities {
		if c == capability {
			return true
		}
	}
	return false
}

func isClass(err error, class failure.Class) bool {
	e, ok := failure.Find(err)
	return ok && e.Class == class
}

func (p Plan) options(progress func(done, total int64)) bundle.Options {
	return bundle.Options{SourceMaps: p.SourceMaps, SizeBudget: p.SizeBudget, Progress: progress}
}

// spoolFailure explains a full disk; what the packer said stays as it is.
func spoolFailure(err error) error {
	if isFull(err) {
		return failure.Wrap(err, failure.Failed, "disk_full", "write the sealed bundle", "free space on the disk that holds capstan's state folder and run capstan release --resume")
	}
	return stateFailure(err)
}
