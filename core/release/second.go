package release

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/dustin/go-humanize"

	"capstan/core/bundle"
	"capstan/core/capgo"
	"capstan/core/device"
	"capstan/core/failure"
	"capstan/core/keys"
	"capstan/core/remote/storage"
	"capstan/internal/fault"
)

// While an app changes from one key to another, a release is sealed twice: one
// zip, two session keys, two objects, registered as one version. The second seal
// waits in second.zip beside the first one's bundle.zip.

// SecondKey is the other key of an app that changes keys.
type SecondKey struct {
	KeyID     string `json:"key_id"`
	PublicKey string `json:"public_key"` // PEM
}

// SecondObject is where the second seal is.
type SecondObject struct {
	Name    string `json:"name"` // in storage
	URL     string `json:"url"`  // as devices fetch it
	Existed bool   `json:"existed,omitempty"`
}

// twoKeys reports whether this release is sealed for two keys.
func (r *run) twoKeys() bool {
	return r.plan().Second != nil && r.state.Preflight != nil && r.state.Preflight.TwoKeys
}

func (j *journal) secondSpool() string { return filepath.Join(j.dir, "second.zip") }

// checkKeys holds the plan's keys against those that the server has on record.
func (r *run) checkKeys(about capgo.About, app capgo.App, outcome *PreflightOutcome) error {
	const op = "check the key"
	plan := r.plan()
	onRecord := map[string]bool{}
	first := ""
	for i, pem := range []string{app.PublicKey, app.SecondPublicKey} {
		if pem == "" {
			continue
		}
		public, err := keys.ParsePublic([]byte(pem))
		if err != nil {
			return err
		}
		onRecord[keys.KeyID(public)] = true
		if i == 0 {
			first = keys.KeyID(public)
		}
	}
	switch {
	case plan.KeyID == "" && first != "":
		return failure.Newf(failure.Verification, "key_required", op, "release with that key",
			"the server has key %s on record for %s, and a plain bundle would never be offered", first, plan.AppID)
	case first != "" && !onRecord[plan.KeyID]:
		return failure.Newf(failure.Verification, "key_mismatch", op, "choose the key on record, or put the new key on record first (capstan app set-key)",
			"the server has key %s on record for %s, this release would use %s", first, plan.AppID, plan.KeyID)
	case plan.Second != nil && !has(about, capgo.CapTwoKeys):
		r.event(Event{Stage: StagePreflight, Kind: EventFinding, Level: bundle.LevelWarn, Code: "two_keys_unsupported",
			Text: fmt.Sprintf("%s answers all devices alike: the bundle is sealed for key %s alone, and devices with key %s cannot take it", serverName(about), plan.KeyID, plan.Second.KeyID),
			Hint: "two keys in service need a capstan server"})
	case plan.Second != nil && !onRecord[plan.Second.KeyID]:
		return failure.Newf(failure.Verification, "key_mismatch", op, "put both keys on record: capstan key rotate --to both",
			"%s changes keys, and the server has not both on record: %s is missing", plan.AppID, plan.Second.KeyID)
	case plan.Second != nil:
		outcome.TwoKeys = true
	case len(onRecord) == 2:
		r.event(Event{Stage: StagePreflight, Kind: EventFinding, Level: bundle.LevelWarn, Code: "one_key",
			Text: fmt.Sprintf("the server has two keys on record, and this release is sealed for %s alone: devices with the other key are refused it", plan.KeyID),
			Hint: "release where capstan key rotate was run, or carry the rotation on there"})
	}
	if plan.Delta && outcome.TwoKeys && outcome.Delta {
		r.event(Event{Stage: StagePreflight, Kind: EventFinding, Level: bundle.LevelWarn, Code: "delta_one_key",
			Text: fmt.Sprintf("delta files are sealed for key %s; devices with key %s download the whole bundle", plan.KeyID, plan.Second.KeyID)})
	}
	return nil
}

// sealSecond opens what was just sealed and seals it for the second key, so that
// both are of one zip for certain, whatever happens to the build folder. The zip
// itself never reaches the disk.
func (r *run) sealSecond(ctx context.Context, first *bundle.Sealed) (*bundle.Sealed, error) {
	plan := r.plan()
	public, err := keys.ParsePublic([]byte(plan.PublicKey))
	if err != nil {
		return nil, err
	}
	signer, err := r.Signer(ctx, plan.Second.KeyID)
	if err != nil {
		return nil, err
	}
	if err := sameKey(signer, plan.Second.PublicKey); err != nil {
		return nil, err
	}
	source, err := os.Open(r.spool())
	if err != nil {
		return nil, stateFailure(err)
	}
	defer source.Close()
	part := r.secondSpool() + ".part"
	file, err := os.OpenFile(part, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, spoolFailure(err)
	}
	defer os.Remove(part)
	defer file.Close()

	m := newMeter(time.Now, r.emit, StageSeal, first.PlainSize)
	plain, into := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _, err := bundle.Decrypt(ctx, source, into, first.SessionKey, public)
		into.CloseWithError(err) // nil is the end of the zip; else sealing fails with it
	}()
	var sums storage.BlockSummer
	sealed, err := bundle.Seal(ctx, plain, io.MultiWriter(file, &sums), signer, func(done int64) { m.update(done, first.PlainSize) })
	plain.CloseWithError(err)
	<-done
	if err != nil {
		return nil, spoolFailure(err)
	}
	if sealed.PlainChecksum != first.PlainChecksum {
		return nil, failure.New(failure.Verification, "seals_differ", "seal for the second key", "the two seals are of different archives", "run capstan release --resume")
	}
	sealed.Files, sealed.RawSize = first.Files, first.RawSize
	r.remember(sums.Sums(sealed.ObjectSHA256))
	if err := keepSpool(r, file, r.secondSpool()); err != nil {
		return nil, spoolFailure(err)
	}
	return &sealed, nil
}

// secondWhole reports whether the second seal waits as it was made.
func (r *run) secondWhole() bool {
	return r.state.SecondSealed != nil && r.spoolWhole(r.secondSpool(), r.state.SecondSealed)
}

// uploadSecond puts the second seal into storage.
func (r *run) uploadSecond(ctx context.Context, progress func(done int64)) (*SecondObject, string, error) {
	sealed := r.state.SecondSealed
	file, err := os.Open(r.secondSpool())
	if err != nil {
		return nil, "", stateFailure(err)
	}
	defer file.Close()
	name := ObjectName(r.plan().AppID, r.plan().Version, sealed.ObjectSHA256)
	fault.Point("second.put")
	object, err := r.Storage.Put(ctx, name, r.source(file, sealed), sealed.ObjectSize, sealed.ObjectSHA256, progress)
	if err != nil {
		return nil, "", err
	}
	return &SecondObject{Name: name, URL: r.Storage.PublicURL(name), Existed: object.Existed},
		fmt.Sprintf("; %s for key %s", humanize.IBytes(uint64(sealed.ObjectSize)), sealed.KeyID), nil
}

// secondObject describes the second seal as devices will download it.
func (r *run) secondObject() device.Object {
	s := r.state.SecondSealed
	return device.Object{
		URL: r.state.Uploaded.Second.URL, Version: r.plan().Version, SessionKey: s.SessionKey,
		ChecksumV2: s.ChecksumV2, ChecksumV3: s.ChecksumV3, PlainChecksum: s.PlainChecksum,
		ObjectSHA256: s.ObjectSHA256, ObjectSize: s.ObjectSize,
	}
}

// seals is what the registry is told of the second seal.
func (r *run) seals() []capgo.Seal {
	if !r.twoKeys() {
		return nil
	}
	s := r.state.SecondSealed
	return []capgo.Seal{{
		KeyID: s.KeyID, SessionKey: s.SessionKey, ChecksumV2: s.ChecksumV2, ChecksumV3: s.ChecksumV3,
		ExternalURL: r.state.Uploaded.Second.URL, ObjectSHA256: s.ObjectSHA256, ObjectSize: s.ObjectSize,
	}}
}

// isOurs tells whether a registry's row is what this release sealed.
func (r *run) isOurs(have capgo.Bundle) bool {
	if r.state.Sealed == nil || !sameBundle(have, r.state.Sealed) {
		return false
	}
	if !r.twoKeys() {
		return len(have.Seals) == 0
	}
	return len(have.Seals) == 1 && r.state.SecondSealed != nil && have.Seals[0].SessionKey == r.state.SecondSealed.SessionKey
}
