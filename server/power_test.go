package server_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"capstan/core/capgo"
	"capstan/internal/fault/power"
	"capstan/internal/peers"
	"capstan/server/decide"
	"capstan/server/store"
)

// powerEnv makes the test program write to a database in the folder it names,
// and say on its standard output what was acknowledged.
const powerEnv = "CAPSTAN_TEST_POWER"

// writeUntilPowerFails registers, promotes and takes events, through two closes
// of the database and enough pages for checkpoints.
func writeUntilPowerFails(dir string) {
	ctx := context.Background()
	path := filepath.Join(dir, "capstan.db")
	for session := range 3 {
		s, err := store.Open(ctx, path, store.Options{})
		if err == nil && session == 0 {
			_, err = s.CreateApp(ctx, "test", capgo.App{AppID: mine})
		}
		if err == nil {
			err = writeSession(ctx, s, session)
		}
		if err = errors.Join(err, s.Close()); err != nil {
			fmt.Println("failed", err)
			os.Exit(1)
		}
	}
}

func writeSession(ctx context.Context, s *store.Store, session int) error {
	const rounds = 40
	var both sync.WaitGroup
	results := make(chan error, 2)
	both.Go(func() {
		var err error
		for n := 0; n < rounds && err == nil; n++ {
			version := fmt.Sprintf("1.%d.%d", session, n)
			if _, err = s.AddBundle(ctx, "test", store.Bundle{Bundle: capgo.Bundle{AppID: mine, Name: version, ExternalURL: "https://cdn.example.com/x.zip", Checksum: "00"}}); err != nil {
				break
			}
			fmt.Println("bundle", version)
			_, _, err = s.ChangeChannel(ctx, "test", store.ChannelChange{ChannelChange: capgo.ChannelChange{AppID: mine, Channel: "production", Version: &version}})
			fmt.Println("promoted", version)
		}
		results <- err
	})
	both.Go(func() {
		var err error
		for n := 0; n < rounds && err == nil; n++ {
			device := fmt.Sprintf("%08d-0000-4000-8000-%012d", session, n)
			r := capgo.UpdateRequest{AppID: mine, DeviceID: device, Platform: "ios", VersionName: "1.0.0", VersionBuild: "1.0.0", PluginVersion: "8.51.23", IsProd: true}
			s.Seen(r, decide.Verdict{})
			events := make([]capgo.StatsEvent, 10)
			for i := range events {
				events[i] = capgo.StatsEvent{UpdateRequest: r, Action: "set", Timestamp: int64(i + 1)}
			}
			err = s.Record(ctx, mine, events)
			fmt.Println("events", device, len(events))
		}
		results <- err
	})
	both.Wait()
	return errors.Join(<-results, <-results)
}

// Whatever part of what was not synced a disk has when the power fails, in
// whatever order, whole or torn: the next start finds everything that was
// acknowledged, once, in a database that is sound.
func TestPowerLoss(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("strace is Linux's")
	}
	strace := peers.Program(t, "strace", "apt-get install strace")
	count := 40
	switch {
	case os.Getenv("CAPSTAN_LONG") == "1":
		count = 2000
	case peers.Required():
		count = 200
	}
	dir := t.TempDir()
	trace, err := power.Record(strace, dir, []string{powerEnv + "=" + dir}, os.Args[0])
	if errors.Is(err, power.ErrNoTrace) {
		peers.Missing(t, err.Error(), "let processes trace their children")
	}
	if err != nil {
		t.Fatal(err)
	}
	if trace.Steps() < 1000 {
		t.Fatalf("the trace has %d steps only", trace.Steps())
	}
	const seed = 5
	kinds := map[string]int{}
	place := t.TempDir()
	err = trace.Images(count, seed, func(i power.Image) error {
		kinds[i.Kind]++
		image := filepath.Join(place, "image")
		if err := os.RemoveAll(image); err != nil {
			return err
		}
		if err := os.Mkdir(image, 0o700); err != nil {
			return err
		}
		if err := i.Write(image); err != nil {
			return err
		}
		checkImage(t, filepath.Join(image, "capstan.db"), i.Said)
		if t.Failed() {
			return fmt.Errorf("an image at step %d of %d, %s, seed %d", i.Step, trace.Steps(), i.Kind, seed)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("count: %d images of %d steps, %v", count, trace.Steps(), kinds)
}

// checkImage starts on an image and looks for what was acknowledged.
func checkImage(t *testing.T, path string, said []string) {
	t.Helper()
	acknowledged := &tally{events: map[string]bool{}, bundles: map[string]bool{}}
	promoted := ""
	for _, line := range said {
		words := strings.Fields(line)
		switch words[0] {
		case "bundle":
			acknowledged.bundles[words[1]] = true
		case "promoted":
			promoted = words[1]
		case "events":
			for i := range 10 {
				acknowledged.events[fmt.Sprintf("%s %d", words[1], i+1)] = true
			}
		}
	}
	s, err := store.Open(t.Context(), path, store.Options{})
	if err != nil {
		t.Errorf("it does not start: %v", err)
		return
	}
	if promoted != "" {
		channel, err := s.Channel(t.Context(), mine, "production")
		if err != nil || channel.Version == nil {
			t.Errorf("the channel: %+v, %v", channel, err)
		} else if order := strings.Split(channel.Version.Name+"\n"+promoted, "\n"); later(order[1], order[0]) {
			t.Errorf("the channel points to %s, and %s was acknowledged", order[0], order[1])
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	acknowledged.check(t, "sqlite", path)
}

// later tells whether a version was promoted after another one.
func later(a, b string) bool {
	number := func(v string) (n []int) {
		for _, part := range strings.Split(v, ".") {
			x := 0
			_, _ = fmt.Sscan(part, &x)
			n = append(n, x)
		}
		return n
	}
	return slices.Compare(number(a), number(b)) > 0
}
