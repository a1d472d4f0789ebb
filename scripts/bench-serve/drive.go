//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"capstan/server/store/seed"
)

// connections are kept open and used one request after another, each.
const connections = 32

// versions are the two bundles of every app; devices run the second one, or an
// older one that is due.
var versions = [2]string{"1.1.0", "1.2.0"}

// sample is what a load measured.
type sample struct {
	took []time.Duration
	span time.Duration
}

func (s *sample) add(o sample)  { s.took, s.span = append(s.took, o.took...), s.span+o.span }
func (s *sample) count() int    { return max(len(s.took), 1) }
func (s *sample) rate() float64 { return float64(len(s.took)) / s.span.Seconds() }

// quantile gives the latency that a share of the requests does not exceed.
func (s *sample) quantile(q float64) time.Duration {
	if len(s.took) == 0 {
		return 0
	}
	slices.Sort(s.took)
	return s.took[min(int(q*float64(len(s.took))), len(s.took)-1)].Round(10 * time.Microsecond)
}

// answers are the single answers, where they matter.
type answers struct {
	mu   sync.Mutex
	list []answer
}

type answer struct {
	app     int
	begin   time.Time
	took    time.Duration
	version string
}

// drive sends update checks of rotating devices for a span. dueTenths of 0 is the
// usual share; a negative one is a pace in checks a second instead of as many as
// can be. Answers are kept in seen unless it is nil.
func drive(ctx context.Context, address string, devices int, span time.Duration, dueTenths int, seen *answers) (sample, error) {
	pace := max(-dueTenths, 0)
	if dueTenths <= 0 {
		dueTenths = due
	}
	var (
		next    atomic.Int64
		mu      sync.Mutex
		total   sample
		failed  error
		workers sync.WaitGroup
	)
	next.Store(rand.Int64N(int64(devices)))
	first := next.Load()
	begin := time.Now()
	for range connections {
		workers.Go(func() {
			mine, own, err := (&client{address: address, devices: devices, due: dueTenths, keep: seen != nil}).loop(ctx, begin, span, func() (int64, time.Time) {
				n := next.Add(1)
				if pace == 0 {
					return n, time.Time{}
				}
				return n, begin.Add(time.Duration(n-first) * time.Second / time.Duration(pace))
			})
			mu.Lock()
			defer mu.Unlock()
			total.took = append(total.took, mine...)
			failed = errors.Join(failed, err)
			if seen != nil {
				seen.mu.Lock()
				seen.list = append(seen.list, own...)
				seen.mu.Unlock()
			}
		})
	}
	workers.Wait()
	total.span = time.Since(begin)
	return total, failed
}

// client is one connection.
type client struct {
	address      string
	devices, due int
	keep         bool
}

func (c *client) loop(ctx context.Context, begin time.Time, span time.Duration, turn func() (int64, time.Time)) (took []time.Duration, own []answer, err error) {
	conn, err := net.Dial("tcp", c.address)
	if err != nil {
		return nil, nil, err
	}
	defer conn.Close()
	in := bufio.NewReaderSize(conn, 8<<10)
	var body bytes.Buffer
	for ctx.Err() == nil && time.Since(begin) < span {
		n, at := turn()
		if !at.IsZero() {
			if at.Sub(begin) > span {
				break
			}
			time.Sleep(time.Until(at))
		}
		device := int(n % int64(c.devices))
		request := question(device, c.due)
		asked := time.Now()
		if _, err := conn.Write(request); err != nil {
			return took, own, err
		}
		if err := readAnswer(in, &body); err != nil {
			return took, own, err
		}
		took = append(took, time.Since(asked))
		if c.keep {
			own = append(own, answer{device % apps, asked, took[len(took)-1], versionIn(body.Bytes())})
		}
	}
	return took, own, nil
}

// question is the update check of a device as plugin 8.51.23 sends it.
func question(device, due int) []byte {
	runs := versions[1]
	if device/apps%10 < due {
		runs = "1.0.0"
	}
	body := fmt.Sprintf(`{"platform":"android","device_id":%q,"app_id":"com.example.bench%d","custom_id":"","version_build":"1.0.0","version_code":"100","version_os":"15","version_name":%q,"plugin_version":"8.51.23","is_emulator":false,"is_prod":true,"install_source":"google_play","defaultChannel":"","key_id":""}`,
		seed.DeviceID(device), device%apps, runs)
	return fmt.Appendf(nil, "POST /updates HTTP/1.1\r\nHost: updates.example.com\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// readAnswer reads one answer and insists on a 200.
func readAnswer(r *bufio.Reader, body *bytes.Buffer) error {
	length := -1
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		switch {
		case err != nil:
			return err
		case first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")):
			return fmt.Errorf("answer %q", line)
		case len(line) == 2:
			if length < 0 {
				return errors.New("an answer has no length")
			}
			body.Reset()
			_, err := io.CopyN(body, r, int64(length))
			return err
		}
		if rest, ok := strings.CutPrefix(string(line), "Content-Length: "); ok {
			if length, err = strconv.Atoi(strings.TrimSpace(rest)); err != nil {
				return err
			}
		}
	}
}

// versionIn is the bundle that an answer offers or names.
func versionIn(body []byte) string {
	_, rest, _ := bytes.Cut(body, []byte(`"version":"`))
	version, _, _ := bytes.Cut(rest, []byte(`"`))
	return string(version)
}
