package release

import (
	"context"
	"fmt"
	"io"

	"capstan/core/bundle"
	"capstan/core/capgo"
	"capstan/core/device"
	"capstan/core/failure"
	"capstan/core/keys"
)

// V1Warning is said with every release in the first scheme.
const V1Warning = "the first scheme hides a bundle and vouches for nothing: every copy of the app holds the private key, whoever has one can make bundles that all of them accept, and its CRC-32 notices accidents only; capstan doctor explains the way to the second scheme"

// firstSchemePlugin stands for the plugins that read nothing newer, where the
// project does not say which it has.
const firstSchemePlugin = "6.1.17"

// v1 reports whether the plan is one in the first scheme.
func (p Plan) v1() bool { return p.Scheme == keys.V1 }

// checkV1 says what the first scheme does not protect, and refuses it where
// apps read the second.
func (r *run) checkV1(app capgo.App) error {
	if app.PublicKey != "" {
		return failure.Newf(failure.Conflict, "encryption_required", "check the key", "its apps read the second scheme; leave out --format",
			"%s has a public key on record and takes signed bundles only", app.AppID)
	}
	r.event(Event{Stage: StagePreflight, Kind: EventFinding, Level: bundle.LevelWarn, Code: "first_scheme", Text: V1Warning})
	return nil
}

// packV1 packs the folder and encrypts it to the key that the app carries, in
// one pass: the zip itself never reaches the disk.
func packV1(ctx context.Context, plan Plan, w io.Writer, o bundle.Options) (*bundle.Sealed, error) {
	public, err := keys.ParsePublic([]byte(plan.PublicKey))
	if err != nil {
		return nil, err
	}
	plain, into := io.Pipe()
	var packed bundle.Packed
	done := make(chan struct{})
	go func() {
		defer close(done)
		var err error
		packed, err = bundle.Pack(ctx, plan.Dir, into, o)
		into.CloseWithError(err) // nil is the end of the zip; else sealing fails with it
	}()
	sealed, err := bundle.SealV1(ctx, plain, w, public)
	plain.CloseWithError(err)
	<-done
	if err != nil {
		return nil, err
	}
	sealed.Files, sealed.RawSize = packed.Files, packed.RawSize
	return &sealed, nil
}

// proveV1 is the proof of a bundle of the first scheme, with the private key
// that the app carries.
func (r *run) proveV1(ctx context.Context, versions []string) ([]device.Verdict, error) {
	app, err := r.openApp(ctx)
	if err != nil {
		return nil, err
	}
	object := r.object()
	object.CRC32 = r.state.Sealed.CRC32
	return device.ProveV1(ctx, object, app, versions, []string{"android", "ios"}, r.stepEvent(StageProve))
}

// openApp gives the private key that apps of the first scheme carry, which must
// be the other half of the plan's.
func (r *run) openApp(ctx context.Context) (device.AppKey, error) {
	const op = "prove the bundle"
	if r.App == nil {
		return nil, failure.New(failure.NotFound, "key_not_found", op, "there is no private key to prove the bundle with", "name it with --key, or take it in: capstan key import "+keys.PrivateFileV1)
	}
	app, err := r.App(ctx, r.plan().KeyID)
	if err != nil {
		return nil, err
	}
	public, err := keys.ParsePublic([]byte(r.plan().PublicKey))
	if err != nil {
		return nil, err
	}
	if !public.Equal(app.Public()) {
		return nil, failure.New(failure.Verification, "key_mismatch", op, "the app's private key is not the other half of the public key that sealed the bundle", "run capstan doctor")
	}
	return app, nil
}

func (p Plan) checkScheme() error {
	const op = "plan the release"
	switch {
	case p.Scheme != "" && p.Scheme != keys.V1 && p.Scheme != keys.V2:
		return failure.Newf(failure.Usage, "format_unknown", op, "choose v2 or v1", "there is no format %q", p.Scheme)
	case p.v1() && p.KeyID == "":
		return failure.New(failure.Usage, "key_missing", op, "the first scheme needs the key that the app carries", "name it with --key, or take it in: capstan key import "+keys.PrivateFileV1)
	case p.v1() && p.External != nil:
		return failure.New(failure.Usage, "usage", op, "an external object does not go with --format v1", "leave out --external: the bundle is packed, encrypted and uploaded")
	case p.v1() && p.Delta:
		return failure.New(failure.Usage, "delta_first_scheme", op, "plugins of the first scheme take no delta files", "leave --delta out")
	case p.Second != nil && (p.v1() || p.External != nil || p.KeyID == "" || p.KeyID == p.Second.KeyID):
		return failure.New(failure.Usage, "second_key", op, "a second key is for a build that is sealed with a first one", "see capstan key rotate")
	}
	return nil
}

// v1Text is how the first scheme is told of in a dry run.
func (p Plan) v1Text() string {
	return fmt.Sprintf("would pack and encrypt for key %s in the first scheme, unsigned", p.KeyID)
}
