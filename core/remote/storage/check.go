package storage

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"capstan/core/failure"
	"capstan/core/remote/transport"
)

// Finding is one thing that a check of a storage found out.
type Finding struct {
	Code  string `json:"code"`
	Level string `json:"level"` // ok, warn, block
	Text  string `json:"text"`
	Hint  string `json:"hint,omitempty"`
}

// Blocked reports whether a finding keeps devices from updating.
func Blocked(findings []Finding) bool {
	for _, f := range findings {
		if f.Level == "block" {
			return true
		}
	}
	return false
}

// Check tries a storage out with a small object of random bytes below prefix
// (an app id): write, no overwriting, public download, ranges, deletion. The
// object is gone afterwards. client fetches the public URL; nil for one with
// sensible limits.
func Check(ctx context.Context, s Storage, prefix string, client *http.Client) []Finding {
	content := make([]byte, 4096)
	_, _ = rand.Read(content) // never fails
	digest := sha256.Sum256(content)
	sum := hex.EncodeToString(digest[:])
	name := strings.Trim(prefix, "/") + "/0.0.0-check/" + sum[:16] + ".zip"

	var findings []Finding
	add := func(level, code, hint, format string, args ...any) {
		findings = append(findings, Finding{Code: code, Level: level, Text: fmt.Sprintf(format, args...), Hint: hint})
	}
	if _, err := s.Put(ctx, name, bytes.NewReader(content), int64(len(content)), sum, nil); err != nil {
		add("block", failure.CodeOf(err), failure.HintOf(err), "writing failed: %v", err)
		return findings
	}
	add("ok", "write", "", "an object can be written")
	other := append([]byte{^content[0]}, content[1:]...)
	otherDigest := sha256.Sum256(other)
	if _, err := s.Put(ctx, name, bytes.NewReader(other), int64(len(other)), hex.EncodeToString(otherDigest[:]), nil); err == nil {
		add("block", "overwrites", "", "the storage lets an object be overwritten")
	}
	if strings.HasPrefix(s.PublicURL(name), "http") {
		findings = append(findings, Verify(ctx, client, s.PublicURL(name), int64(len(content)), sum)...)
	} else {
		add("block", "no_public_url", "set public_url to where a web server publishes the storage", "devices have no address to download from")
	}
	if c, ok := s.(conditional); ok {
		switch took, err := c.overwrites(ctx, name, other, hex.EncodeToString(otherDigest[:])); {
		case err != nil:
			add("warn", "condition_unknown", failure.HintOf(err), "whether the service refuses to overwrite could not be told: %v", err)
		case took:
			add("warn", "condition_ignored", "a release stays safe, because its object's name carries the hash of its content; other programs with these credentials can change what devices download",
				"the service ignores conditional writes: it overwrites an object although the request says that there must be none")
		default:
			add("ok", "conditional_writes", "", "the service itself refuses to overwrite")
		}
	}
	if err := s.Delete(ctx, name); err != nil {
		add("warn", "no_delete", failure.HintOf(err), "the test object stays, because deleting failed: %v", err)
	} else {
		add("ok", "delete", "", "an object can be deleted")
	}
	return findings
}

// conditional is a driver that leaves it to its service not to overwrite.
type conditional interface {
	// overwrites writes without looking first, under the condition that there is
	// no object of this name, and reports whether the service took it.
	overwrites(ctx context.Context, name string, content []byte, sha256Hex string) (bool, error)
}

var (
	_ conditional = (*s3)(nil)
	_ conditional = (*httpPut)(nil)
)

// Verify downloads an object from its public URL as a device does, without any
// credentials, and says what a device would stumble over: redirects, login
// pages, missing access, wrong bytes, missing ranges.
func Verify(ctx context.Context, client *http.Client, rawURL string, size int64, sha256Hex string) []Finding {
	if client == nil {
		client = transport.NewHTTP()
	}
	bare := *client
	bare.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	u, err := url.Parse(rawURL)
	if err != nil {
		return []Finding{{Code: "url_malformed", Level: "block", Text: "the public URL is no address"}}
	}
	var findings []Finding
	if u.Scheme != "https" {
		level := "block"
		if transport.IsLoopback(u.Hostname()) {
			level = "warn"
		}
		findings = append(findings, Finding{Code: "cleartext", Level: level, Text: "the public URL is not https, and phones refuse that", Hint: "publish the storage over https"})
	}
	whole, response, err := download(ctx, &bare, rawURL, "", size+1)
	if err != nil {
		return append(findings, unreachable(u.Host, err))
	}
	if found := judge(u, response, whole, size, sha256Hex); found != nil {
		return append(findings, *found)
	}
	findings = append(findings, Finding{Code: "public_read", Level: "ok", Text: "devices can download it, and every byte is right"})
	if size < 2 {
		return findings
	}
	part, response, err := download(ctx, &bare, rawURL, "bytes=1-", size+1)
	switch {
	case err != nil:
		return append(findings, unreachable(u.Host, err))
	case response.StatusCode == http.StatusPartialContent && bytes.Equal(part, whole[1:]):
		return append(findings, Finding{Code: "ranges", Level: "ok", Text: "an interrupted download can go on where it stopped"})
	}
	return append(findings, Finding{Code: "no_ranges", Level: "warn", Text: "the public address ignores ranges: an interrupted download starts over", Hint: "switch ranges on in the web server or CDN"})
}

// maxVerified bounds what Verify holds in memory; larger objects are proved by
// the simulated device, which streams.
const maxVerified = 64 << 20

func download(ctx context.Context, client *http.Client, rawURL, ranges string, limit int64) ([]byte, *http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, rawURL, nil)
	if err != nil {
		return nil, nil, err
	}
	request.Header.Set("User-Agent", transport.UserAgent())
	request.Header.Set("Accept-Encoding", "identity")
	if ranges != "" {
		request.Header.Set("Range", ranges)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, min(limit, maxVerified)))
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil // too short is judged by its length
	}
	return body, response, err
}

func unreachable(host string, err error) Finding {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return Finding{Code: "public_unreachable", Level: "block", Text: fmt.Sprintf("the public address %s did not answer: %s", host, transport.Clean(err.Error())), Hint: "check public_url, its DNS name and its certificate"}
}

// judge says what is wrong with a download; nil when nothing is.
func judge(u *url.URL, response *http.Response, body []byte, size int64, sha256Hex string) *Finding {
	block := func(code, hint, format string, args ...any) *Finding {
		return &Finding{Code: code, Level: "block", Text: fmt.Sprintf(format, args...), Hint: hint}
	}
	digest := sha256.Sum256(body)
	switch status := response.StatusCode; {
	case status >= 300 && status < 400:
		return judgeRedirect(u, response)
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return block("public_forbidden", "allow anonymous reading of the objects: devices send no credentials", "the public address answers %d: the storage is private", status)
	case status == http.StatusNotFound:
		return block("public_not_found", "public_url has to lead to the same place that is written to", "the public address does not have the object that was written")
	case status != http.StatusOK:
		return block("public_status", "", "the public address answers %d", status)
	case bytes.HasPrefix(bytes.ToLower(bytes.TrimSpace(body)), []byte("<")) && strings.Contains(response.Header.Get("Content-Type"), "html"):
		return block("public_html", "take the login or error page away from this address", "the public address answers with a web page instead of the object")
	case int64(len(body)) != size:
		return block("public_length", "look for a proxy that cuts or changes downloads", "the download has %d bytes, the object %d", len(body), size)
	case hex.EncodeToString(digest[:]) != sha256Hex:
		return block("public_hash", "look for a cache or a proxy that changes downloads", "the download has the right length and other bytes")
	}
	return nil
}

// judgeRedirect: plugins on Android do not follow from https to http or back.
func judgeRedirect(u *url.URL, response *http.Response) *Finding {
	to, err := u.Parse(response.Header.Get("Location"))
	if err != nil {
		return &Finding{Code: "public_redirect", Level: "block", Text: "the public address redirects to nowhere"}
	}
	if to.Scheme != u.Scheme {
		return &Finding{Code: "public_redirect", Level: "block", Text: fmt.Sprintf("the public address redirects from %s to %s, which Android does not follow", u.Scheme, transport.Clean(to.Scheme)), Hint: "put the final address into public_url"}
	}
	return &Finding{Code: "public_redirect", Level: "block", Text: "the public address redirects to " + transport.Clean(to.Host), Hint: "put the final address into public_url"}
}
