package storage

import (
	"bufio"
	"bytes"
	"context"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"capstan/core/failure"
	"capstan/core/remote/transport"
)

// Some services let nobody write, and give out an address for each object that
// may be written once, for some minutes: presigned URLs. A program of the
// company's asks for one. Credentials.UploadURL names it as a list of arguments,
// in which {name}, {size} and {sha256} are replaced; no shell is involved.
//
// It prints the URL to PUT to, and after it, where the signature covers headers
// or the service wants some, a line "Header: value" for each:
//
//	https://bucket.s3.example.com/updates/a.zip?X-Amz-Signature=…
//	x-ms-blob-type: BlockBlob
//
// Whoever has the URL may write the object: its query and the values of the
// headers are secrets, and appear in no failure.

// askingURL bounds how long the program may take.
const askingURL = time.Minute

// maxURL bounds what it prints, in bytes.
const maxURL = 64 << 10

// CheckUploadURL refuses a program for upload URLs that could never work.
func CheckUploadURL(argv []string) error {
	bad := func(format string, args ...any) error {
		return failure.Newf(failure.Usage, "upload_url_malformed", "read the program for upload URLs",
			`write it like ["upload-url", "{name}"]; {size} and {sha256} are filled as well`, format, args...)
	}
	switch {
	case len(argv) == 0:
		return nil
	case argv[0] == "" || placeholder.MatchString(argv[0]):
		return bad("the first word is no program")
	case !strings.Contains(strings.Join(argv[1:], "\x00"), "{name}"):
		return bad("no argument says {name}")
	}
	for _, arg := range argv[1:] {
		for _, used := range placeholder.FindAllString(arg, -1) {
			if !slices.Contains([]string{"{name}", "{size}", "{sha256}"}, used) {
				return bad("%s cannot be filled", used)
			}
		}
	}
	return nil
}

// presigned is one address to write one object to.
type presigned struct {
	url    *url.URL
	header http.Header
}

// askURL runs the program and reads what it prints.
func (h *httpPut) askURL(ctx context.Context, name, sha256Hex string, size int64) (*presigned, error) {
	const op = "ask for the upload URL"
	program := transport.Clean(filepath.Base(h.uploadURL[0]))
	if strings.HasPrefix(name, "-") {
		return nil, failure.Newf(failure.Usage, "object_name_invalid", "name the object", "", "the name %q cannot be used: it starts like an option", transport.Clean(name))
	}
	timed, cancel := context.WithTimeout(ctx, askingURL)
	defer cancel()
	cmd, said := prepare(timed, fill(h.uploadURL, "{name}", name, "{size}", strconv.FormatInt(size, 10), "{sha256}", sha256Hex), h.token)
	var printed bytes.Buffer
	cmd.Stdout = &limited{&printed, maxURL}
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case timed.Err() != nil:
		return nil, failure.Newf(failure.Unavailable, "remote_timeout", op, "run the program by hand to see why", "%s printed no URL in %s", program, askingURL)
	case err != nil && cmd.ProcessState == nil:
		return nil, failure.Newf(failure.Failed, "storage_command_missing", op, "install it, or correct upload_url in the profile", "%s cannot be run", program)
	case err != nil:
		return nil, failure.Newf(failure.Failed, "storage_command_failed", op, "run the program by hand to see why",
			"%s ended with %s: %s", program, cmd.ProcessState, withoutQueries(h.token.Scrub(said.line())))
	}
	return h.readURL(program, printed.Bytes())
}

// readURL takes apart what the program printed. What is wrong with it is said
// without repeating any of it.
func (h *httpPut) readURL(program string, printed []byte) (*presigned, error) {
	bad := func(why string) error {
		return failure.Newf(failure.Failed, "storage_command_failed", "ask for the upload URL",
			"its first line is the URL to PUT to, every other a header: Name: value", "%s: %s", program, why)
	}
	lines := bufio.NewScanner(bytes.NewReader(printed))
	lines.Buffer(nil, maxURL)
	if !lines.Scan() {
		return nil, bad("it printed nothing")
	}
	raw := strings.TrimSpace(lines.Text())
	if _, err := transport.ParseBase(raw, h.allowHTTP); err != nil {
		if failure.CodeOf(err) == "url_insecure" {
			return nil, err
		}
		return nil, bad("the first line is no URL to PUT to")
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, bad("the first line is no URL to PUT to")
	}
	u.Fragment = ""
	to := &presigned{url: u, header: http.Header{}}
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		key, value, ok := strings.Cut(line, ":")
		switch {
		case line == "":
		case !ok || !headerName.MatchString(key) || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }):
			return nil, bad("a line after the URL is no header")
		default:
			to.header.Add(key, strings.TrimSpace(value))
		}
	}
	if lines.Err() != nil {
		return nil, bad("a line is too long")
	}
	return to, nil
}

var headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$")

// caller does the call to the address, which gets none of the storage's own
// credentials: it may be of another company's.
func (p *presigned) caller(h *httpPut) transport.Caller {
	base := *p.url
	base.RawQuery = ""
	return transport.Caller{Base: &base, HTTP: h.caller.HTTP, Pause: h.caller.Pause, Token: transport.NewSecret(p.url.RawQuery),
		Authorise: func(r *http.Request) { r.URL.RawQuery = p.url.RawQuery }}
}

// conceal takes what is secret about the address out of a failure: services
// repeat a signature that they refuse.
func (p *presigned) conceal(err error) error {
	f, ok := failure.Find(err)
	if !ok {
		return err
	}
	text := withoutQueries(f.Err.Error())
	for _, values := range []map[string][]string{p.url.Query(), p.header} {
		for _, all := range values {
			for _, value := range all {
				text = transport.NewSecret(value).Scrub(text)
			}
		}
	}
	hint := f.Hint
	if f.Class == failure.NotAuthorised {
		hint = "the URL has expired, or is signed for something else than a PUT of this object: run the program by hand"
	}
	return failure.Newf(f.Class, f.Code, f.Op, hint, "%s", text)
}

var queryOfURL = regexp.MustCompile(`(https?://[^\s"'<>?]*)\?[^\s"'<>]*`)

// withoutQueries cuts the queries off the URLs in a text.
func withoutQueries(text string) string { return queryOfURL.ReplaceAllString(text, "$1?…") }
