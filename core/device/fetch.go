package device

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"capstan/core/failure"
)

// The plugin's limits for a zip: time to connect and longest silence.
const (
	connectTimeout = 30 * time.Second
	stallTimeout   = 60 * time.Second
	downloadTries  = 3
	maxRedirects   = 20
)

// defaultClient has the plugin's limits and room for a delta download.
var defaultClient = &http.Client{Transport: newTransport()}

func newTransport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DialContext = (&net.Dialer{Timeout: connectTimeout, KeepAlive: 30 * time.Second}).DialContext
	t.ResponseHeaderTimeout = stallTimeout
	t.MaxIdleConnsPerHost = 64 // delta downloads open up to 64 connections to one host
	return t
}

// network downloads a zip as the platform's plain HTTP client does: no content
// encoding, no redirect between http and https.
func (d *Device) network(ctx context.Context, address, file string) error {
	tries := 1
	if d.generation.Resumes {
		tries = downloadTries
	}
	var err error
	for range tries {
		var again bool
		if again, err = d.fetch(ctx, address, file); err == nil || !again || ctx.Err() != nil {
			break
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// fetch is one try; what is in file already is asked for no more. again says
// that another try may help.
func (d *Device) fetch(parent context.Context, address, file string) (again bool, err error) {
	ctx := parent
	if d.generation.WallClock {
		limit := max(d.responseTimeout()+5*time.Second, 10*time.Second)
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, fmt.Errorf("iOS gives a download %s", limit))
		defer cancel()
	}
	ctx, awake, stop := stallGuard(ctx)
	defer stop()

	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return false, refuse("download_fail", "download", "the url cannot be used")
	}
	req.Header.Set("Accept-Encoding", "identity") // an encoded answer must stay visible
	var have int64
	if info, err := os.Stat(file); err == nil && info.Size() > 0 {
		have = info.Size()
		req.Header.Set("Range", "bytes="+strconv.FormatInt(have, 10)+"-")
	}
	resp, err := d.plainClient().Do(req)
	if err != nil {
		return true, unreachable(parent, cause(ctx, err), "download_fail", "download", address)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusPartialContent && have > 0:
		start, ok := rangeStart(resp.Header.Get("Content-Range"))
		if ok && start == 0 {
			have = 0
		} else if !ok || start != have {
			return true, refuse("download_fail", "download", "the server sent another part than the one asked for")
		}
	case resp.StatusCode == http.StatusOK, resp.StatusCode == http.StatusPartialContent:
		have = 0
	default:
		return resp.StatusCode >= 500 || resp.StatusCode == 408 || resp.StatusCode == 429, statusFailure(resp)
	}
	err = save(resp, file, have, awake)
	if err != nil && !isDisk(err) {
		err = unreachable(parent, cause(ctx, err), "download_fail", "download", address)
	}
	return true, err
}

// statusFailure classes a download that the host refused.
func statusFailure(resp *http.Response) error {
	class, hint := failure.Verification, ""
	switch {
	case resp.StatusCode >= 500 || resp.StatusCode == 429 || resp.StatusCode == 408:
		class = failure.Unavailable
	case resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusGone:
		class = failure.NotFound
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		hint = "give devices the address that answers directly: a zip is not followed between http and https"
	}
	return failure.Newf(class, "download_fail", "download", hint, "the host answers with HTTP %d", resp.StatusCode)
}

// save writes a body behind the bytes that are there and checks its length.
func save(resp *http.Response, file string, have int64, awake func()) error {
	flags := os.O_WRONLY | os.O_CREATE
	if have == 0 {
		flags |= os.O_TRUNC
	} else {
		flags |= os.O_APPEND
	}
	out, err := os.OpenFile(file, flags, 0o600)
	if err != nil {
		return diskFailure(err)
	}
	disk := &diskWriter{f: out}
	n, err := io.Copy(disk, &wakingReader{r: resp.Body, awake: awake})
	if closeErr := out.Close(); closeErr != nil && disk.err == nil {
		disk.err = closeErr
	}
	switch {
	case disk.err != nil:
		return diskFailure(disk.err)
	case err != nil:
		return err
	case resp.ContentLength >= 0 && n != resp.ContentLength:
		return io.ErrUnexpectedEOF
	}
	return nil
}

// isDisk tells trouble with the device's folder from trouble with the network.
func isDisk(err error) bool {
	_, known := failure.Find(err)
	return known
}

// diskWriter remembers that an error came from the disk, not from the network.
type diskWriter struct {
	f   *os.File
	err error
}

func (w *diskWriter) Write(p []byte) (int, error) {
	n, err := w.f.Write(p)
	if err != nil {
		w.err = err
	}
	return n, err
}

// stallGuard cancels a context when awake was not called for the stall timeout.
func stallGuard(parent context.Context) (ctx context.Context, awake func(), stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	timer := time.AfterFunc(stallTimeout, func() { cancel(errors.New("nothing arrived for 60 s")) })
	return ctx, func() { timer.Reset(stallTimeout) }, func() { timer.Stop(); cancel(nil) }
}

type wakingReader struct {
	r     io.Reader
	awake func()
}

func (w *wakingReader) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if n > 0 {
		w.awake()
	}
	return n, err
}

// cause prefers the reason of a time limit to the bare context error.
func cause(ctx context.Context, err error) error {
	if c := context.Cause(ctx); c != nil && ctx.Err() != nil {
		return c
	}
	return err
}

// plainClient follows redirects within one scheme only.
func (d *Device) plainClient() *http.Client {
	c := *d.client()
	c.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		if len(via) >= maxRedirects || req.URL.Scheme != via[0].URL.Scheme {
			return http.ErrUseLastResponse
		}
		return nil
	}
	return &c
}

// rangeStart reads the first byte's number of a Content-Range.
func rangeStart(header string) (int64, bool) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(header), "bytes ")
	if !ok {
		return 0, false
	}
	first, _, ok := strings.Cut(rest, "-")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(first), 10, 64)
	return n, err == nil
}
