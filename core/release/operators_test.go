package release_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/core/release"
)

// TestOperatorsMeet lets several operators promote different versions to one
// channel at the same moment, round after round: one wins, the others are told
// who did, and the channel's history tells of one change a round.
func TestOperatorsMeet(t *testing.T) {
	const operators, rounds = 5, 4
	y := newYard(t)
	ctx := t.Context()
	quiet := func(release.Event) {}
	first := y.victim(t, "com.example.crowd", "1.0.0")
	if _, err := first.pipeline(t).Run(ctx, first.Plan, quiet); err != nil {
		t.Fatal(err)
	}
	lost := 0
	for round := 1; round <= rounds; round++ {
		victims := make([]victim, operators)
		ids := make([]string, operators)
		for i := range victims {
			victims[i] = y.victim(t, first.Plan.AppID, fmt.Sprintf("1.%d.%d", round, i))
			prepared, err := victims[i].pipeline(t).Prepare(ctx, victims[i].Plan, quiet)
			if err != nil {
				t.Fatal(err)
			}
			ids[i] = prepared.ID
		}
		errs := make([]error, operators)
		var ready, all sync.WaitGroup
		ready.Add(1)
		for i, v := range victims {
			pipeline := v.pipeline(t)
			all.Go(func() {
				ready.Wait()
				_, errs[i] = pipeline.Resume(ctx, ids[i], quiet)
			})
		}
		ready.Done()
		all.Wait()
		winner := ""
		for i, err := range errs {
			if err == nil {
				if winner != "" {
					t.Errorf("round %d: %s and %s both won", round, winner, victims[i].Plan.Version)
				}
				winner = victims[i].Plan.Version
			}
		}
		channel, err := first.pipeline(t).Registry.Channel(ctx, first.Plan.AppID, "production")
		if err != nil || winner == "" || channel.Version.Name != winner {
			t.Fatalf("round %d: %q won, and the channel has %+v: %v %v", round, winner, channel.Version, err, errs)
		}
		for i, err := range errs {
			if err == nil {
				continue
			}
			lost++
			if failure.CodeOf(err) != "channel_moved" || !strings.Contains(err.Error(), winner) || failure.HintOf(err) == "" {
				t.Errorf("round %d: %s hears %v", round, victims[i].Plan.Version, err)
			}
		}
		victims[0].invariants(t)
	}
	history, err := first.pipeline(t).Registry.(interface {
		release.Registry
		History(context.Context, string, string) ([]capgo.Change, error)
	}).History(ctx, first.Plan.AppID, "production")
	if err != nil {
		t.Fatal(err)
	}
	promotions := 0
	for _, c := range history {
		if c.Action == "channel.promote" {
			promotions++
		}
	}
	if promotions != rounds+1 {
		t.Errorf("%d promotions in %d rounds: %+v", promotions, rounds, history)
	}
	t.Logf("count: operators: %d rounds of %d, %d were told that the channel moved", rounds, operators, lost)
}

// TestClockJumps lets the clock jump at every reading, by seconds and by years,
// forth and back. Times are records and decide nothing.
func TestClockJumps(t *testing.T) {
	y := newYard(t)
	for i, reach := range []time.Duration{time.Second, time.Hour, 400 * 24 * time.Hour, 10 * 365 * 24 * time.Hour} {
		for _, stop := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s stopped %v", reach, stop), func(t *testing.T) {
				t.Parallel()
				seed := uint64(i + 1)
				var mu sync.Mutex
				random := rand.New(rand.NewPCG(seed, 15))
				jumping := func() time.Time {
					mu.Lock()
					defer mu.Unlock()
					return time.Now().Round(0).Add(time.Duration(random.Int64N(2*int64(reach))) - reach)
				}
				v := y.victim(t, fmt.Sprintf("com.example.clock%d%v", i, stop), "1.0.0")
				pipeline := v.pipeline(t)
				pipeline.Now = jumping
				events := func(e release.Event) {
					if e.Rate < 0 || e.ETA < 0 || e.Done < 0 {
						t.Errorf("%+v", e)
					}
				}
				if stop {
					if _, err := pipeline.Prepare(t.Context(), v.Plan, events); err != nil {
						t.Fatal(err)
					}
					if _, err := pipeline.Resume(t.Context(), "", events); err != nil {
						t.Fatal(err)
					}
				} else if result, err := pipeline.Run(t.Context(), v.Plan, events); err != nil || result.Took < 0 {
					t.Fatalf("took %s: %v", result.Took, err)
				}
				v.check(t)
			})
		}
	}
}
