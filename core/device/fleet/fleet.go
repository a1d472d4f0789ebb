// Package fleet is thousands of simulated devices that poll an update server,
// install and report through the real protocol: for demonstrations, pictures
// and load. The same Config gives the same devices.
//
// Start with New; Poll lets a share of the devices ask once, Run does so until
// it is cancelled.
package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"capstan/core/capgo"
	"capstan/core/device"
	"capstan/core/failure"
)

// Config says which devices there are and what they do.
type Config struct {
	AppID     string
	UpdateURL string
	StatsURL  string // "" reports nothing
	PublicKey []byte // PEM in the app; nil for an app without

	Devices int
	Seed    uint64
	// Workers is how many devices are busy at once; 0 is 32.
	Workers int

	// The mixes; nil takes one of an app that has been in the stores for years.
	Plugins  []Share // versions of @capgo/capacitor-updater
	Natives  []Share // versions of the native app
	Running  []Share // bundles that the devices run at first; "builtin" is the store build
	Channels []Share // channels that the app asks for; "" is none

	// Crashing gives, by version, the share of devices (0 to 1) on which that
	// bundle does not start: they report update_fail and go back.
	Crashing map[string]float64

	// EachDownloads makes every device download for itself. Otherwise one device
	// of each generation does, and the others take over what it came to.
	EachDownloads bool
	// Dir holds the downloads; "" is the system's folder for temporary files.
	Dir string
	// HTTP is used for every request; nil is a client with enough connections.
	HTTP *http.Client
}

// Fleet is a number of devices. Its methods must not be called concurrently.
type Fleet struct {
	config  Config
	devices []*device.Device
	round   uint64

	mu    sync.Mutex
	twins map[twin]*outcome
}

// twin names installations that come to the same end.
type twin struct {
	generation device.Generation
	answer     string // version, url, session key and checksum
}

type outcome struct {
	once    sync.Once
	actions []string
	err     error
}

// New draws the devices. It fails with class Usage for a Config that makes no sense.
func New(c Config) (*Fleet, error) {
	if c.AppID == "" || c.UpdateURL == "" || c.Devices < 1 {
		return nil, failure.New(failure.Usage, "fleet_incomplete", "make a fleet", "a fleet needs an app, an update server and at least one device", "")
	}
	if c.Workers < 1 {
		c.Workers = 32
	}
	c.Plugins = orMix(c.Plugins, defaultPlugins)
	c.Natives = orMix(c.Natives, defaultNatives)
	c.Running = orMix(c.Running, []Share{{capgo.Builtin, 1}})
	c.Channels = orMix(c.Channels, []Share{{"", 1}})
	if c.HTTP == nil {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.MaxIdleConns, transport.MaxIdleConnsPerHost = 2*c.Workers, c.Workers
		c.HTTP = &http.Client{Transport: transport}
	}
	f := &Fleet{config: c, devices: make([]*device.Device, c.Devices), twins: map[twin]*outcome{}}
	for i := range f.devices {
		d, err := device.New(device.Device{Request: c.describe(i), PublicKey: c.PublicKey, HTTP: c.HTTP})
		if err != nil {
			return nil, err
		}
		f.devices[i] = d
	}
	return f, nil
}

func orMix(mix, otherwise []Share) []Share {
	if len(mix) == 0 {
		return otherwise
	}
	return mix
}

// Round is what happened in one round of polls.
type Round struct {
	Number    int
	Polls     int
	Installed int // devices that took a bundle
	Refused   int // devices that were offered a bundle and refused it
	Crashed   int // devices that installed a bundle and went back
	Errors    int // polls and reports that reached no server
	// Outcomes and Reasons count the answers as the devices read them, Actions
	// the stats that they sent.
	Outcomes map[device.Outcome]int
	Reasons  map[string]int
	Actions  map[string]int
	Took     time.Duration
}

// Poll lets a share (0 to 1) of the devices ask once, install what they are
// offered and report. Which devices depends on the seed and the round alone.
// It fails when it is cancelled, and with the first error when no device at all
// reached the server.
func (f *Fleet) Poll(ctx context.Context, share float64) (Round, error) {
	began := time.Now()
	f.round++
	round := Round{Number: int(f.round), Outcomes: map[device.Outcome]int{}, Reasons: map[string]int{}, Actions: map[string]int{}}
	var mu sync.Mutex
	var first error
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(f.config.Workers)
	for i, d := range f.devices {
		r := rand.New(rand.NewPCG(f.config.Seed^f.round<<32, uint64(i)))
		if r.Float64() >= share {
			continue
		}
		group.Go(func() error {
			v, err := f.visit(ctx, d, r)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			mu.Lock()
			defer mu.Unlock()
			if first == nil {
				first = err
			}
			round.add(v, err)
			return nil
		})
	}
	err := group.Wait()
	round.Took = time.Since(began)
	if err == nil && round.Polls > 0 && round.Errors >= round.Polls && len(round.Outcomes) == 0 {
		err = first
	}
	return round, err
}

// visit is what one device did in a round.
type visit struct {
	outcome   device.Outcome
	reason    string
	events    []device.Event
	installed bool
	refused   bool
	crashed   bool
}

func (r *Round) add(v visit, err error) {
	r.Polls++
	if err != nil {
		r.Errors++
	}
	if v.outcome != "" {
		r.Outcomes[v.outcome]++
		r.Reasons[v.reason]++
	}
	for _, e := range v.events {
		r.Actions[e.Action]++
	}
	for _, c := range []struct {
		happened bool
		count    *int
	}{{v.installed, &r.Installed}, {v.refused, &r.Refused}, {v.crashed, &r.Crashed}} {
		if c.happened {
			*c.count++
		}
	}
}

// visit lets one device ask, install and report.
func (f *Fleet) visit(ctx context.Context, d *device.Device, r *rand.Rand) (visit, error) {
	before := d.Request.VersionName
	answer, err := d.Check(ctx, f.config.UpdateURL)
	if err != nil {
		return visit{}, err
	}
	v := visit{outcome: answer.Outcome, reason: answer.Reason}
	switch {
	case answer.Outcome == device.ToBuiltin && before != "" && before != capgo.Builtin:
		d.Reset()
		v.events = append(v.events, device.Event{Action: "reset", OldVersion: before})
	case answer.Outcome == device.Offered:
		err = f.take(ctx, d, answer, r, &v)
		if ctx.Err() != nil {
			return v, ctx.Err()
		}
	case answer.Action != "":
		v.events = append(v.events, device.Event{Action: answer.Action})
	}
	if reportErr := f.report(ctx, d, v.events...); reportErr != nil {
		return v, reportErr
	}
	return v, unreached(err)
}

// unreached keeps an error that says nothing about the bundle: its host did not answer.
func unreached(err error) error {
	if failed, ok := failure.Find(err); ok && failed.Class == failure.Unavailable {
		return err
	}
	return nil
}

// take lets a device install what it was offered, and start it.
func (f *Fleet) take(ctx context.Context, d *device.Device, a device.Answer, r *rand.Rand, v *visit) error {
	before := d.Request.VersionName
	actions, err := f.install(ctx, d, a)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for _, action := range actions {
		v.events = append(v.events, device.Event{Action: action, Version: a.Version, OldVersion: before})
	}
	switch {
	case err != nil:
		v.refused = true
		d.Abandon(a.Version, before)
	case r.Float64() < f.config.Crashing[a.Version]:
		v.crashed = true
		d.Abandon(a.Version, before)
		v.events = append(v.events, device.Event{Action: "update_fail", Version: a.Version, OldVersion: before})
	default:
		v.installed = true
	}
	return err
}

func (f *Fleet) report(ctx context.Context, d *device.Device, events ...device.Event) error {
	if f.config.StatsURL == "" {
		return nil
	}
	return d.Report(ctx, f.config.StatsURL, events...)
}

// install brings a bundle onto a device, itself or through its twin.
func (f *Fleet) install(ctx context.Context, d *device.Device, a device.Answer) ([]string, error) {
	if f.config.EachDownloads {
		return f.download(ctx, d, a)
	}
	key := twin{d.Generation(), fmt.Sprintf("%q", []any{a.Version, a.URL, a.SessionKey, a.Checksum, a.Manifest})}
	f.mu.Lock()
	known := f.twins[key]
	if known == nil {
		known = &outcome{}
		f.twins[key] = known
	}
	f.mu.Unlock()
	known.once.Do(func() { known.actions, known.err = f.download(ctx, d, a) })
	if errors.Is(known.err, context.Canceled) {
		f.forget(key, known)
		return nil, known.err
	}
	// A host that did not answer once may answer the next device.
	if failed, ok := failure.Find(known.err); ok && failed.Class == failure.Unavailable {
		f.forget(key, known)
	}
	if known.err == nil {
		d.Adopt(a.Version)
	}
	return known.actions, known.err
}

func (f *Fleet) forget(key twin, o *outcome) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.twins[key] == o {
		delete(f.twins, key)
	}
}

// download installs for real, in a folder that is removed afterwards.
func (f *Fleet) download(ctx context.Context, d *device.Device, a device.Answer) ([]string, error) {
	dir, err := os.MkdirTemp(f.config.Dir, "capstan-fleet-")
	if err != nil {
		return nil, failure.Wrap(err, failure.Failed, "device_folder", "make a folder for a device", "")
	}
	defer os.RemoveAll(dir)
	d.Dir = dir
	got, err := d.Install(ctx, a, nil)
	return got.Actions, err
}

// Run polls until it is cancelled: over one period every device asks about
// once, in rounds of a twentieth. each hears every round and may be nil. A
// server that is down does not end it.
func (f *Fleet) Run(ctx context.Context, period time.Duration, each func(Round)) error {
	const rounds = 20
	pause := time.NewTicker(max(period/rounds, time.Millisecond))
	defer pause.Stop()
	for {
		round, err := f.Poll(ctx, 1.0/rounds)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			round.Errors = max(round.Errors, 1)
		}
		if each != nil {
			each(round)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-pause.C:
		}
	}
}

// Versions counts the devices by the bundle that they run; "builtin" is the store build.
func (f *Fleet) Versions() map[string]int {
	count := map[string]int{}
	for _, d := range f.devices {
		count[cmp.Or(d.Request.VersionName, capgo.Builtin)]++
	}
	return count
}

// Adoption is the share (0 to 1) of devices that run a version.
func (f *Fleet) Adoption(version string) float64 {
	return math.Round(float64(f.Versions()[version])/float64(len(f.devices))*1e4) / 1e4
}

// Devices gives who the devices are, in the order of their numbers.
func (f *Fleet) Devices() []capgo.UpdateRequest {
	list := make([]capgo.UpdateRequest, len(f.devices))
	for i, d := range f.devices {
		list[i] = d.Request
	}
	return list
}
