package release

import (
	"context"
	"crypto"
	"errors"
	"time"

	"capstan/core/bundle"
	"capstan/core/capgo"
	"capstan/core/device"
	"capstan/core/failure"
	"capstan/core/remote/storage"
	"capstan/internal/fault"
)

// Registry is what a release needs of the place where bundles are registered.
// *remote.Client is one.
type Registry interface {
	About(ctx context.Context) (capgo.About, error)
	App(ctx context.Context, appID string) (capgo.App, error)
	CreateApp(ctx context.Context, appID, name string) error
	SetPublicKey(ctx context.Context, appID, publicPEM string) error
	Bundle(ctx context.Context, appID, name string) (capgo.Bundle, error)
	RegisterBundle(ctx context.Context, b capgo.NewBundle) (capgo.Bundle, error)
	Channel(ctx context.Context, appID, name string) (capgo.Channel, error)
	Channels(ctx context.Context, appID string) ([]capgo.Channel, error)
	ChangeChannel(ctx context.Context, change capgo.ChannelChange) error
	Summary(ctx context.Context, appID string) (capgo.Summary, error)
}

// Pipeline is the machinery of a release; one serves any number of them.
type Pipeline struct {
	Journals *Journals
	Registry Registry
	Storage  storage.Storage
	// Signer unlocks the private key. It is called once, when sealing starts.
	Signer func(ctx context.Context, keyID string) (crypto.Signer, error)
	// App opens the private key that apps of the first scheme carry, to prove
	// bundles with; nil where there is none.
	App func(ctx context.Context, keyID string) (device.AppKey, error)
	// Cache spares the delta files of unchanged files compression and signature; nil for none.
	Cache *bundle.Cache
	// Reason of the promotion, for the history, when the plan gives none: a
	// freeze may have begun since the release was planned.
	Reason string
	// Now dates records; nil is time.Now.
	Now func() time.Time
	// Reach is what the commands of an undo plan need beside their arguments.
	Reach Reach
}

// stage is one step of a release.
type stage interface {
	Name() StageName
	// Skip says why there is nothing to do, or "".
	Skip(r *run) string
	// Run does the step and gives its outcome for the journal. It must be safe
	// to run again after it died at any point.
	Run(ctx context.Context, r *run) (outcome any, text string, err error)
}

// run is one release under way.
type run struct {
	*Pipeline
	*journal
	emit func(Event)
	// sums are those of the spool files that this process wrote or read, by
	// their SHA-256.
	sums map[string]storage.BlockSums
}

func (r *run) plan() Plan { return r.state.Plan }

func (r *run) event(e Event) {
	e.Time = r.clock()
	r.emit(e)
}

func (p *Pipeline) clock() time.Time {
	if p.Now != nil {
		return p.Now()
	}
	return time.Now()
}

// Run takes the plan through every stage.
func (p *Pipeline) Run(ctx context.Context, plan Plan, emit func(Event)) (Result, error) {
	return p.start(ctx, plan, Stages(), emit)
}

// Prepare runs every stage but promote: the bundle is registered and proven,
// and no device is offered it yet. Resume, with the result's ID, promotes it.
func (p *Pipeline) Prepare(ctx context.Context, plan Plan, emit func(Event)) (Result, error) {
	all := Stages()
	return p.start(ctx, plan, all[:len(all)-1], emit)
}

func (p *Pipeline) start(ctx context.Context, plan Plan, stages []StageName, emit func(Event)) (Result, error) {
	if err := plan.check(); err != nil {
		return Result{}, err
	}
	j, err := p.Journals.create(plan, p.clock)
	if err != nil {
		return Result{}, err
	}
	defer j.close()
	return p.drive(ctx, j, stages, emit)
}

// Resume continues the release id ("" is the newest that has not ended) from
// its journal. Stages that are done are not repeated; what they left is
// checked again where the next stage depends on it.
func (p *Pipeline) Resume(ctx context.Context, id string, emit func(Event)) (Result, error) {
	return p.resume(ctx, id, Stages(), emit)
}

// ResumePrepare is Resume without the promotion.
func (p *Pipeline) ResumePrepare(ctx context.Context, id string, emit func(Event)) (Result, error) {
	all := Stages()
	return p.resume(ctx, id, all[:len(all)-1], emit)
}

func (p *Pipeline) resume(ctx context.Context, id string, stages []StageName, emit func(Event)) (Result, error) {
	j, err := p.Journals.open(id, p.clock)
	if err != nil {
		return Result{}, err
	}
	defer j.close()
	if j.state.Ended && j.state.Promoted == nil && j.state.Plan.Channel != "" {
		return Result{}, failure.New(failure.Conflict, "release_ended", "continue the release", "it was given up", "start a new one with capstan release")
	}
	return p.drive(ctx, j, stages, emit)
}

// drive runs the stages in order, with the journal written around each.
func (p *Pipeline) drive(ctx context.Context, j *journal, names []StageName, emit func(Event)) (Result, error) {
	r := &run{Pipeline: p, journal: j, emit: emit}
	began := time.Now() // durations are monotonic; p.Now only dates records
	for _, s := range []stage{preflight{}, seal{}, upload{}, prove{}, register{}, promote{}} {
		if len(names) == 0 || s.Name() != names[0] {
			break
		}
		names = names[1:]
		if why := s.Skip(r); why != "" {
			r.event(Event{Stage: s.Name(), Kind: EventSkipped, Text: why})
			continue
		}
		if err := r.step(ctx, s); err != nil {
			result := r.result(began)
			if errors.Is(ctx.Err(), context.Canceled) { // on purpose, not for lack of something
				result.Undo = r.undo(ctx, r.state)
				for _, u := range result.Undo {
					r.event(Event{Stage: s.Name(), Kind: EventFinding, Level: bundle.LevelWarn, Code: u.Code, Text: u.What, Hint: u.Shell()})
				}
			}
			return result, err
		}
	}
	result := r.result(began)
	if r.finished() {
		result.Receipt = r.receipt(ctx)
		if !j.state.Ended {
			if err := j.end(); err != nil {
				return result, err
			}
		}
		r.event(Event{Kind: EventDone, Text: result.summary(), Result: &result})
	}
	return result, nil
}

// finished reports whether nothing is left to do: a release without a channel
// ends with its registration.
func (r *run) finished() bool {
	return r.state.Promoted != nil || r.state.Registered != nil && r.plan().Channel == ""
}

func (r *run) step(ctx context.Context, s stage) error {
	name := s.Name()
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := r.begin(name); err != nil {
		return err
	}
	fault.Point("stage.begin." + string(name))
	r.event(Event{Stage: name, Kind: EventStarted})
	outcome, text, err := s.Run(ctx, r)
	if err != nil {
		r.fail(name, err)
		r.event(Event{Stage: name, Kind: EventFailed, Text: err.Error(), Code: failure.CodeOf(err), Hint: failure.HintOf(err)})
		return err
	}
	fault.Point("stage.ran." + string(name))
	if err := r.done(name, outcome); err != nil {
		return err
	}
	fault.Point("stage.done." + string(name))
	r.event(Event{Stage: name, Kind: EventFinished, Text: text})
	return nil
}

func (r *run) result(began time.Time) Result {
	s, plan := r.state, r.state.Plan
	result := Result{ID: s.ID, App: plan.AppID, Version: plan.Version, Channel: plan.Channel, KeyID: plan.KeyID, Took: time.Since(began)}
	if s.Sealed != nil {
		result.Checksum, result.SessionKey = s.Sealed.PlainChecksum, s.Sealed.SessionKey
		result.Size, result.Files = s.Sealed.ObjectSize, s.Sealed.Files
	}
	if s.Uploaded != nil {
		result.URL, result.Delta = s.Uploaded.URL, s.Uploaded.Delta
		if s.Uploaded.Second != nil && plan.Second != nil {
			result.SecondKeyID, result.SecondURL = plan.Second.KeyID, s.Uploaded.Second.URL
		}
	}
	if plan.v1() {
		result.Format, result.Warnings = plan.Scheme, []string{V1Warning}
		if s.Sealed != nil {
			result.CRC32 = s.Sealed.CRC32
		}
	}
	if s.Promoted != nil {
		result.Previous, result.Device, result.SecondDevice = s.Promoted.Previous, s.Promoted.Device, s.Promoted.SecondDevice
	}
	return result
}

func (r Result) summary() string {
	if r.Channel == "" {
		return r.App + " " + r.Version + " is registered"
	}
	return r.App + " " + r.Version + " is live on " + r.Channel
}

// object describes what devices will download.
func (r *run) object() device.Object {
	s := r.state.Sealed
	return device.Object{
		URL: r.state.Uploaded.URL, Version: r.plan().Version, SessionKey: s.SessionKey,
		ChecksumV2: s.ChecksumV2, ChecksumV3: s.ChecksumV3, PlainChecksum: s.PlainChecksum,
		ObjectSHA256: s.ObjectSHA256, ObjectSize: s.ObjectSize,
	}
}

// sameBundle compares what a registry holds with what was sealed.
func sameBundle(have capgo.Bundle, sealed *bundle.Sealed) bool {
	if have.PlainChecksum != "" {
		return have.PlainChecksum == sealed.PlainChecksum && have.SessionKey == sealed.SessionKey
	}
	switch have.Checksum {
	case "":
		return false
	case sealed.ChecksumV3, sealed.ChecksumV2, sealed.PlainChecksum, sealed.CRC32:
		return have.SessionKey == sealed.SessionKey
	}
	return false
}
