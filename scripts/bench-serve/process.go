//go:build unix

package main

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is a server of its own, so that its memory and CPU are its own.
type process struct {
	name, address, metrics, token string
	devices                       int
	command                       *exec.Cmd
}

// start runs a server and waits until it says where it listens.
func start(ctx context.Context, name string, argv ...string) (*process, error) {
	p := &process{name: name, command: exec.CommandContext(ctx, argv[0], argv[1:]...)}
	out, err := p.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.command.Stderr = os.Stderr
	if err := p.command.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(out)
	for p.address == "" && lines.Scan() {
		p.address, _ = strings.CutPrefix(lines.Text(), "listening on ")
		var started struct{ Listening, Token string }
		if json.Unmarshal(lines.Bytes(), &started) == nil && started.Listening != "" {
			p.address, p.token = started.Listening, started.Token
		}
	}
	if p.address == "" {
		p.kill()
		return nil, errors.New("the server did not start")
	}
	go discard(out)
	return p, nil
}

// startCapstan makes a data directory with the apps that are asked for, fills
// its database, and starts a server on it.
func startCapstan(ctx context.Context, o options, name, dir string, fill func(string) error) (*process, error) {
	metrics, err := freeAddress()
	if err != nil {
		return nil, err
	}
	argv := []string{o.capstan, "serve", "--quiet", "--json", "--listen", "127.0.0.1:0", "--data", dir, "--metrics", metrics}
	p, err := start(ctx, name, argv...)
	if err != nil {
		return nil, err
	}
	token := p.token
	if err := p.populate(ctx); err != nil {
		p.kill()
		return nil, err
	}
	if fill != nil {
		p.stop()
		begin := time.Now()
		if err := fill(dir + "/capstan.db"); err != nil {
			return nil, err
		}
		filled := time.Since(begin)
		begin = time.Now()
		if p, err = start(ctx, name, argv...); err != nil {
			return nil, err
		}
		fmt.Printf("%s: filled in %s, started in %s\n", name, filled.Round(time.Second), time.Since(begin).Round(10*time.Millisecond))
	}
	p.token, p.metrics = token, metrics
	return p, nil
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func (p *process) populate(ctx context.Context) error {
	for app := range apps {
		id := fmt.Sprintf("com.example.bench%d", app)
		if err := p.send(ctx, "/app", map[string]any{"app_id": id}); err != nil {
			return err
		}
		for _, v := range versions {
			if err := p.send(ctx, "/bundle", map[string]any{"app_id": id, "version": v, "external_url": "https://cdn.example.com/" + v + ".zip", "checksum": strings.Repeat("0", 64)}); err != nil {
				return err
			}
		}
		if err := p.promote(ctx, app, versions[1]); err != nil {
			return err
		}
	}
	return nil
}

func (p *process) promote(ctx context.Context, app int, version string) error {
	return p.send(ctx, "/channel", map[string]any{"app_id": fmt.Sprintf("com.example.bench%d", app), "channel": "production", "public": true, "version": version, "disableAutoUpdate": "none"})
}

func (p *process) send(ctx context.Context, path string, body map[string]any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, "POST", "http://"+p.address+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	r.Header.Set("capgkey", p.token)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if text, err = io.ReadAll(answer.Body); err != nil || answer.StatusCode/100 != 2 {
		return errors.Join(fmt.Errorf("POST %s: %d %s", path, answer.StatusCode, text), err)
	}
	return nil
}

// startSelfhost starts capgo-selfhost, another server of the same protocol, with
// the same apps.
func startSelfhost(ctx context.Context, o options, dir string) (*process, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(address)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	const key = "bench"
	p := &process{name: "capgo-selfhost", address: address, command: exec.CommandContext(ctx, o.selfhost)}
	p.command.Env = append(os.Environ(), "DATA_DIR="+dir, "API_KEY="+key, "PORT="+port, "PUBLIC_URL=http://localhost:"+port)
	if err := p.command.Start(); err != nil { // its line a request goes nowhere
		return nil, err
	}
	for range 100 {
		if conn, err := net.Dial("tcp", address); err == nil {
			_ = conn.Close()
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	for app := range apps {
		base := fmt.Sprintf("http://%s/api/apps/com.example.bench%d", address, app)
		if err := post(ctx, base+"/channels/production?public=true", key, "", nil); err != nil {
			return p, err
		}
		for _, v := range versions {
			body, kind, err := selfhostBundle(v)
			if err != nil {
				return p, err
			}
			if err := post(ctx, base+"/bundles", key, kind, body); err != nil {
				return p, err
			}
		}
		if err := post(ctx, base+"/channels/production/bundle?version="+versions[1], key, "", nil); err != nil {
			return p, err
		}
	}
	return p, nil
}

// selfhostBundle is a form with the smallest archive that capgo-selfhost takes.
func selfhostBundle(version string) (body []byte, kind string, err error) {
	var archive, form bytes.Buffer
	z := zip.NewWriter(&archive)
	if _, err := z.Create("index.html"); err != nil {
		return nil, "", err
	}
	if err := z.Close(); err != nil {
		return nil, "", err
	}
	f := multipart.NewWriter(&form)
	if err := f.WriteField("version", version); err != nil {
		return nil, "", err
	}
	part, err := f.CreateFormFile("file", version+".zip")
	if err != nil {
		return nil, "", err
	}
	_, err = part.Write(archive.Bytes())
	err = errors.Join(err, f.Close())
	return form.Bytes(), f.FormDataContentType(), err
}

func post(ctx context.Context, url, key, kind string, body []byte) error {
	r, err := http.NewRequestWithContext(ctx, "POST", url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+key)
	r.Header.Set("Content-Type", kind)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if text, err := io.ReadAll(answer.Body); err != nil || answer.StatusCode/100 != 2 {
		return errors.Join(fmt.Errorf("POST %s: %d %s", url, answer.StatusCode, text), err)
	}
	return nil
}

// pause keeps a server that is not measured from taking part.
func (p *process) pause()  { _ = p.command.Process.Signal(syscall.SIGSTOP) }
func (p *process) resume() { _ = p.command.Process.Signal(syscall.SIGCONT) }

func (p *process) stop() {
	_ = p.command.Process.Signal(syscall.SIGTERM)
	_ = p.command.Wait()
}

func (p *process) kill() {
	_ = p.command.Process.Kill()
	_ = p.command.Wait()
}

// cpu is the time that the server has spent, in all its threads. The kernel's
// clock of the process counts it exactly; /proc/…/stat samples it, and misses
// what is over between two ticks.
func (p *process) cpu() time.Duration {
	const scheduled = 2 // CPUCLOCK_SCHED of a process, see clock_getcpuclockid(3)
	var spent unix.Timespec
	if err := unix.ClockGettime(int32(^p.command.Process.Pid<<3|scheduled), &spent); err != nil {
		return 0
	}
	return time.Duration(spent.Nano())
}

// peak is the most memory that the server had, in bytes.
func (p *process) peak() int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.command.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	kib, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	n, _ := strconv.ParseInt(kib, 10, 64)
	return n << 10
}

// metric reads one metric without labels; 0 when it is not there.
func (p *process) metric(name string) float64 {
	answer, err := http.Get("http://" + p.metrics + "/metrics")
	if err != nil {
		return 0
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			n, _ := strconv.ParseFloat(text, 64)
			return n
		}
	}
	return 0
}
