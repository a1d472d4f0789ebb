//go:build unix

// Command bench-serve loads an update server and prints what it can take. See
// scripts/bench-serve.sh.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"time"

	"capstan/server/store/seed"
)

// due is the share of devices, in tenths, that an update is offered to.
const due = 3

// apps are asked for in turn; each has the channel production and two bundles.
const apps = 5

func main() {
	if len(os.Args) == 2 && os.Args[1] == "bare" {
		serveBare()
		return
	}
	var o options
	flag.StringVar(&o.capstan, "capstan", "", "the program")
	flag.StringVar(&o.dir, "dir", "", "folder for data")
	flag.IntVar(&o.rounds, "rounds", 20, "rounds")
	seconds := flag.Float64("seconds", 0.5, "length of a round")
	flag.IntVar(&o.devices, "devices", 5_000_000, "device rows of the large fleet")
	flag.StringVar(&o.selfhost, "selfhost", "", "capgo-selfhost, to be compared with")
	flag.Parse()
	o.slice = time.Duration(*seconds * float64(time.Second))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench-serve:", err)
		os.Exit(1)
	}
}

type options struct {
	capstan, dir, selfhost string
	rounds, devices        int
	slice                  time.Duration
}

// serveBare is the limit: net/http with an answer of a usual length, and
// nothing looked at.
func serveBare() {
	answer := []byte(`{"error":"no_new_version_available","message":"No new version available","version":"1.2.0","kind":"up_to_date"}`)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println("listening on", listener.Addr())
	_ = http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(answer)
	}))
}

func run(ctx context.Context, o options) error {
	fmt.Printf("%d cores, load %s, %s, %d rounds of %s, %d connections, %d of 10 devices are due\n\n", runtime.NumCPU(), load(), runtime.Version(), o.rounds, o.slice, connections, due)
	servers, err := startAll(ctx, o)
	for _, s := range servers {
		defer s.kill()
	}
	if err != nil {
		return err
	}
	if err := rates(ctx, o, servers); err != nil {
		return err
	}
	few := servers[1]
	if err := promotions(ctx, few); err != nil {
		return err
	}
	for _, s := range servers[:2] {
		if err := paced(ctx, s, 580, 10*time.Second); err != nil {
			return err
		}
	}
	return nil
}

func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	one, _, _ := strings.Cut(string(text), " ")
	return one
}

// startAll starts the servers and stops them all until their turn: bare, few,
// many, large, and capgo-selfhost where it is there.
func startAll(ctx context.Context, o options) ([]*process, error) {
	var list []*process
	for _, s := range []struct {
		name    string
		fill    func(database string) error
		devices int
	}{
		{"capstan, few devices", nil, 0},
		{"capstan, 1,000 apps × 20 channels × 100 bundles", seed.Apps, 0},
		{fmt.Sprintf("capstan, %d known devices", o.devices), func(path string) error { return seed.Devices(path, "com.example.bench", apps, o.devices) }, o.devices},
	} {
		if len(list) == 0 {
			bare, err := start(ctx, "bare net/http", os.Args[0], "bare")
			if err != nil {
				return list, err
			}
			list = append(list, bare)
		}
		p, err := startCapstan(ctx, o, s.name, fmt.Sprintf("%s/%d", o.dir, len(list)), s.fill)
		if err != nil {
			return list, fmt.Errorf("%s: %w", s.name, err)
		}
		p.devices = s.devices
		list = append(list, p)
		p.pause()
	}
	if o.selfhost != "" {
		p, err := startSelfhost(ctx, o, o.dir+"/selfhost")
		if p != nil {
			list = append(list, p)
		}
		if err != nil {
			return list, fmt.Errorf("capgo-selfhost: %w", err)
		}
		p.pause()
	}
	return list, nil
}

// contest is a server and the devices that ask it.
type contest struct {
	server  *process
	name    string
	devices int
	total   sample
	ratios  []float64
	cpu     time.Duration
}

// rates gives every server its turn in every round, with devices that asked a
// moment ago; then the large fleet alone beside the bare server, with every
// device asking once: each row is written again, which in life takes hours.
func rates(ctx context.Context, o options, servers []*process) error {
	var list []*contest
	for _, s := range servers {
		list = append(list, &contest{server: s, name: s.name, devices: 5_000})
	}
	if err := inTurn(ctx, o, list); err != nil {
		return err
	}
	if o.selfhost != "" {
		few, peer := list[1], list[len(list)-1]
		fmt.Printf("%s answers %.1f times as often as %s\n\n", few.name, few.total.rate()/peer.total.rate(), peer.name)
	}
	large := servers[3]
	if err := inTurn(ctx, o, []*contest{{server: servers[0], name: servers[0].name, devices: 5_000}, {server: large, name: large.name + ", each asking once", devices: large.devices}}); err != nil {
		return err
	}
	for _, s := range servers[1:4] {
		s.resume()
		kept, dropped := s.metric("capstan_devices"), s.metric("capstan_polls_dropped_total")
		s.pause()
		fmt.Printf("%s: %.0f devices known, %.0f checks answered and not noted\n", s.name, kept, dropped)
	}
	fmt.Println()
	return nil
}

// inTurn measures and prints contests; the first is what the others are
// compared with.
func inTurn(ctx context.Context, o options, list []*contest) error {
	for round := range o.rounds + 1 {
		slice := o.slice
		if round == 0 { // warms up, until the heaps have their size
			slice *= 12
		}
		var bare float64
		for _, c := range list {
			c.server.resume()
			before := c.server.cpu()
			got, err := drive(ctx, c.server.address, c.devices, slice, 0, nil)
			spent := c.server.cpu() - before
			c.server.pause()
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			if c == list[0] {
				bare = got.rate()
			}
			if round == 0 {
				continue
			}
			c.total.add(got)
			c.ratios = append(c.ratios, got.rate()/bare)
			c.cpu += spent
		}
	}
	fmt.Printf("%-52s %9s %7s %9s %9s %9s %10s\n", "update checks", "per s", "÷ bare", "p50", "p99", "CPU/check", "peak mem")
	for _, c := range list {
		slices.Sort(c.ratios)
		fmt.Printf("%-52s %9.0f %7.2f %9s %9s %9s %6d MiB\n", c.name, c.total.rate(), c.ratios[len(c.ratios)/2], c.total.quantile(.5), c.total.quantile(.99),
			(c.cpu / time.Duration(c.total.count())).Round(100*time.Nanosecond), c.server.peak()>>20)
	}
	fmt.Println()
	return nil
}

// promotions moves the channel to and fro under full load. An answer that began
// after a promotion was acknowledged has to be the promoted bundle's.
func promotions(ctx context.Context, s *process) error {
	s.resume()
	defer s.pause()
	const times, every = 10, time.Second
	var seen answers
	done := make(chan error, 1)
	go func() {
		got, err := drive(ctx, s.address, 5_000, (times+1)*every, 10, &seen)
		_ = got
		done <- err
	}()
	type move struct {
		sent, acknowledged time.Time
		version            string
	}
	moves := []move{{version: versions[1]}}
	for i := range times {
		time.Sleep(every - 50*time.Millisecond)
		m := move{sent: time.Now(), version: versions[i%2]}
		if err := s.promote(ctx, 0, m.version); err != nil {
			return err
		}
		m.acknowledged = time.Now()
		moves = append(moves, m)
	}
	if err := <-done; err != nil {
		return err
	}
	wrong, checked := 0, 0
	var near sample
	for _, a := range seen.list {
		last := 0 // the newest promotion that was acknowledged before this question
		for i, m := range moves {
			if m.acknowledged.Before(a.begin) {
				last = i
			}
		}
		end := a.begin.Add(a.took)
		if last > 0 && a.begin.Sub(moves[last].sent) < every || last+1 < len(moves) && end.After(moves[last+1].sent) {
			near.took = append(near.took, a.took)
		}
		if a.app != 0 {
			continue
		}
		checked++
		allowed := a.version == moves[last].version
		for _, m := range moves[last+1:] { // those that were on their way
			allowed = allowed || m.sent.Before(end) && a.version == m.version
		}
		if !allowed {
			wrong++
		}
	}
	fmt.Printf("%d promotions under full load (%d checks, %d of the app that moved): %d wrong answers; in the seconds of the promotions p50 %s, p99 %s, longest %s\n",
		times, len(seen.list), checked, wrong, near.quantile(.5), near.quantile(.99), near.quantile(1))
	if wrong > 0 {
		return fmt.Errorf("%d answers were wrong", wrong)
	}
	return nil
}

// paced asks at a fixed rate and says what share of the machine that takes.
func paced(ctx context.Context, s *process, perSecond int, span time.Duration) error {
	s.resume()
	defer s.pause()
	// The server was under full load before: what counts is the rate that stays.
	if _, err := drive(ctx, s.address, 5_000, 5*time.Second, -perSecond, nil); err != nil {
		return err
	}
	before := s.cpu()
	got, err := drive(ctx, s.address, 5_000, span, -perSecond, nil)
	if err != nil {
		return err
	}
	share := float64(s.cpu()-before) / float64(span)
	fmt.Printf("%s, %.0f checks a second (%.0f asked for): %.1f %% of one core, %.1f %% of the machine; p50 %s, p99 %s, 99.9 %% %s, longest %s\n", s.name, got.rate(), float64(perSecond), 100*share,
		100*share/float64(runtime.NumCPU()), got.quantile(.5), got.quantile(.99), got.quantile(.999), got.quantile(1))
	return nil
}

// discard reads what is left of a program's output.
func discard(r io.Reader) { _, _ = io.Copy(io.Discard, r) }
