package device

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"

	"capstan/core/capgo"
)

// scenario is what a server answers, and what the app that hears it holds.
type scenario struct {
	status int    // 0 is 200
	body   any    // JSON, or a string for a raw body
	header string // "Name: value"
	public []byte
}

// answerHost serves bundles in the ways that the scenarios need.
type answerHost struct {
	*host
	odd *httptest.Server
}

func newAnswerHost(t *testing.T) *answerHost {
	h := &answerHost{host: newHost(t)}
	h.odd = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		way, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		h.mu.Lock()
		b := h.files["/"+path]
		h.mu.Unlock()
		switch way {
		case "chunked":
			_, _ = w.Write(b[:len(b)/2])
			w.(http.Flusher).Flush()
			_, _ = w.Write(b[len(b)/2:])
		case "redirect":
			http.Redirect(w, r, h.URL+"/"+path, http.StatusFound)
		case "gzip":
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = z.Write(b)
			_ = z.Close()
		case "cut":
			w.Header().Set("Content-Length", fmt.Sprint(len(b)))
			_, _ = w.Write(b[:len(b)/2])
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(h.odd.Close)
	return h
}

// way puts bytes behind an odd way of serving them.
func (h *answerHost) way(name string, b []byte) string {
	return h.odd.URL + "/" + name + strings.TrimPrefix(h.put(b), h.URL)
}

// TestAnswers compares what a device makes of every server answer with what the
// real plugin did: checks over HTTP, downloads what is offered, compares trees.
func TestAnswers(t *testing.T) {
	h := newAnswerHost(t)
	rows := scenarios(t, h)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, ok := rows[strings.TrimPrefix(r.URL.Path, "/updates/")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		s.answer(w)
	}))
	defer server.Close()
	compareTable(t, "answers.tsv", "?", whole, func(t *testing.T, row, version string) string {
		s, ok := rows[row]
		if !ok {
			t.Fatalf("no answer for row %q", row)
		}
		return hear(t, server.URL+"/updates/"+row, version, s)
	})
}

func (s scenario) answer(w http.ResponseWriter) {
	if name, value, ok := strings.Cut(s.header, ": "); ok {
		w.Header().Set(name, value)
	}
	if s.status != 0 {
		w.WriteHeader(s.status)
	}
	switch body := s.body.(type) {
	case nil:
	case string:
		fmt.Fprint(w, body)
	default:
		_ = json.NewEncoder(w).Encode(body)
	}
}

// hear lets one device ask and do what it does: D, D*, F, N or S.
func hear(t *testing.T, updateURL, version string, s scenario) string {
	t.Helper()
	d, err := New(Device{
		Request:   capgo.UpdateRequest{Platform: Android, PluginVersion: version, AppID: "com.example.app", VersionBuild: "1.0.0", VersionName: capgo.Builtin},
		PublicKey: s.public, Dir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := d.Check(t.Context(), updateURL)
	if err != nil {
		t.Fatal(err)
	}
	switch answer.Outcome {
	case Current, ToBuiltin, Quiet:
		return "N"
	case Failed:
		return "F"
	case Silent:
		return "S"
	}
	got, err := d.Download(t.Context(), answer, nil)
	switch {
	case err != nil && got.Silent:
		return "S"
	case err != nil:
		return "F"
	case maps.Equal(treeOf(t, got.Dir), sample):
		return "D"
	}
	return "D*"
}

// fieldsOf is an answer under construction.
type fieldsOf map[string]any

// and gives a copy with further fields; the value absent removes one.
func (f fieldsOf) and(pairs ...any) fieldsOf {
	out := maps.Clone(f)
	for i := 0; i < len(pairs); i += 2 {
		key := pairs[i].(string)
		if pairs[i+1] == absent {
			delete(out, key)
			continue
		}
		out[key] = pairs[i+1]
	}
	return out
}

type absentField struct{}

var absent = absentField{}

func scenarios(t *testing.T, h *answerHost) map[string]scenario {
	plain := zipOf(t, sample)
	s := newSealer(privateKey(t, "testdata/keys/app2048.pem"))
	public := publicPEM(s.key)
	sealed := s.encrypt(plain)

	bundle := fieldsOf{"version": "2.0.0", "url": h.put(plain), "checksum": sha256Hex(plain)}
	crc := bundle.and("checksum", crc32Hex(plain))
	signed := fieldsOf{"version": "2.0.0", "url": h.put(sealed), "session_key": s.field(), "checksum": s.v3(plain)}
	refusal := fieldsOf{"error": "no_new_version_available", "message": "No new version available"}

	m := manifestMaker{h: h, s: s}
	list := func(entries []fieldsOf) fieldsOf { return bundle.and("manifest", entries) }
	sealedList := func(entries []fieldsOf) fieldsOf { return signed.and("manifest", entries) }
	noIndex := maps.Clone(sample)
	delete(noIndex, "index.html")
	v3 := func(content string) string { return s.v3([]byte(content)) }
	v2 := func(content string) string { return s.v2([]byte(content)) }
	plainHash := func(content string) string { return sha256Hex([]byte(content)) }
	br := manifestForm{quality: 11, suffix: ".br", hash: plainHash}
	noExt := manifestForm{quality: 11, hash: plainHash}
	quality := func(n int) scenario {
		return scenario{body: list(m.of(sample, manifestForm{quality: n, suffix: ".br", hash: plainHash}))}
	}
	rawForm := manifestForm{raw: true, hash: plainHash}
	evil := append(m.of(sample, rawForm), m.of(tree{"../evil.txt": "out"}, rawForm)...)

	return map[string]scenario{
		"zip-plain":               {body: bundle},
		"zip-plain-nulls":         {body: bundle.and("session_key", nil, "link", nil, "comment", nil)},
		"zip-plain-empty-sk":      {body: bundle.and("session_key", "")},
		"zip-plain-crc":           {body: crc},
		"zip-enc":                 {body: signed, public: public},
		"zip-enc-sessionKeyCamel": {body: signed.and("session_key", absent, "sessionKey", s.field()), public: public},
		"zip-enc-oldsum":          {body: signed.and("checksum", s.v2(plain)), public: public},
		"zip-plain-but-key":       {body: bundle, public: public},
		"zip-badsum":              {body: bundle.and("checksum", strings.Repeat("0", 64))},
		"zip-chunked":             {body: bundle.and("url", h.way("chunked", plain))},
		"zip-redirect":            {body: bundle.and("url", h.way("redirect", plain))},
		"zip-gzip-ce":             {body: bundle.and("url", h.way("gzip", plain))},
		"zip-404":                 {body: bundle.and("url", h.URL+"/missing")},
		"zip-cut2":                {body: bundle.and("url", h.way("cut", plain))},
		"same-version":            {body: bundle.and("version", "1.0.0")},
		"builtin":                 {body: fieldsOf{"version": "builtin", "url": h.put(plain)}},
		"no-url":                  {body: bundle.and("url", absent)},
		"empty-url":               {body: bundle.and("url", "")},
		"relative-url":            {body: bundle.and("url", "/bundle.zip")},
		"empty-object":            {body: fieldsOf{}},
		"up_to_date-error":        {body: refusal},
		"up_to_date-kind":         {body: refusal.and("kind", "up_to_date")},
		"blocked-kind":            {body: fieldsOf{"error": "disable_emulator", "message": "Emulators are not allowed", "kind": "blocked"}},
		"message-only":            {body: fieldsOf{"message": "nothing for you"}},
		"http-204":                {status: 204},
		"http-304":                {status: 304},
		"http-404-json":           {status: 404, body: fieldsOf{"error": "not_found", "message": "Not found"}},
		"http-500-html":           {status: 500, body: "<html>Internal Server Error</html>"},
		"http-200-html":           {body: "<html>hello</html>"},
		"http-429":                {status: 429, body: fieldsOf{"error": "too_many_requests", "message": "Too many requests"}, header: "Retry-After: 30"},
		"breaking":                {body: fieldsOf{"breaking": true, "error": "disable_auto_update_to_major", "message": "Cannot upgrade major version", "version": "2.0.0"}},
		"breaking-with-url":       {body: bundle.and("breaking", true)},
		"extra-fields":            {body: bundle.and("channel", "production", "size", 12, "nested", fieldsOf{"a": []int{1}})},
		"major-true":              {body: bundle.and("major", true)},
		"major-true-crc":          {body: crc.and("major", true)},
		"link-comment":            {body: bundle.and("link", "https://example.com/r/2", "comment", "Fixes")},
		"msg-with-url":            {body: bundle.and("message", "hello")},
		"msg-with-url-crc":        {body: crc.and("message", "hello")},
		"error-empty":             {body: bundle.and("error", "")},
		"error-null-kind-null":    {body: bundle.and("error", nil, "kind", nil)},
		"kind-new":                {body: bundle.and("kind", "new")},
		"version-number":          {body: bundle.and("version", 2)},
		"sk-null":                 {body: bundle.and("session_key", nil)},
		"sum-null":                {body: bundle.and("checksum", nil)},
		"sum-null-crcver":         {body: crc.and("checksum", nil)},

		"man-plain-nobr":           {body: list(m.of(sample, rawForm))},
		"man-plain-br":             {body: list(m.of(sample, br))},
		"man-plain-br-noziptop":    {body: list(m.of(sample, br)).and("url", h.URL+"/no.zip", "checksum", "")},
		"man-no-url":               {body: list(m.of(sample, br)).and("url", absent)},
		"man-empty":                {body: list([]fieldsOf{})},
		"man-null":                 {body: bundle.and("manifest", nil)},
		"man-badhash":              {body: list(m.of(sample, manifestForm{quality: 11, suffix: ".br", hash: func(string) string { return strings.Repeat("0", 64) }}))},
		"man-upperhash":            {body: list(m.of(sample, manifestForm{quality: 11, suffix: ".br", hash: func(c string) string { return strings.ToUpper(plainHash(c)) }}))},
		"man-nohash":               {body: list(m.of(sample, manifestForm{quality: 11, suffix: ".br"}))},
		"man-traversal":            {body: list(evil)},
		"man-noindex":              {body: list(m.of(noIndex, br))},
		"man-enc-br":               {body: sealedList(m.of(sample, manifestForm{quality: 11, suffix: ".br", sealed: true, hash: v3})), public: public},
		"man-enc-br-plainhash":     {body: sealedList(m.of(sample, manifestForm{quality: 11, suffix: ".br", sealed: true, hash: plainHash})), public: public},
		"man-enc-br-oldhash":       {body: sealedList(m.of(sample, manifestForm{quality: 11, suffix: ".br", sealed: true, hash: v2})), public: public},
		"man-enc-nobr":             {body: sealedList(m.of(sample, manifestForm{raw: true, sealed: true, hash: v3})), public: public},
		"man-brq0":                 quality(0),
		"man-brq1":                 quality(1),
		"man-brq4":                 quality(4),
		"man-brq9":                 quality(9),
		"man-br-noext":             {body: list(m.of(sample, noExt))},
		"man-enc-br-noext-oldhash": {body: sealedList(m.of(sample, manifestForm{quality: 11, sealed: true, hash: v2})), public: public},
		"man-sum-empty":            {body: list(m.of(sample, noExt)).and("checksum", "")},
		"man-ce-gzip":              {body: list(m.of(sample, manifestForm{quality: 11, suffix: ".br", way: "gzip", hash: plainHash}))},
		"man-cut":                  {body: list(m.of(sample, manifestForm{quality: 11, suffix: ".br", way: "cut", hash: plainHash}))},
	}
}

// manifestMaker turns a tree into the entries of a delta update.
type manifestMaker struct {
	h *answerHost
	s sealer
}

// manifestForm says how the files of a delta update are written.
type manifestForm struct {
	raw     bool // no brotli
	quality int
	suffix  string // after the name
	sealed  bool
	way     string              // odd way of serving, "" is the ordinary one
	hash    func(string) string // of the plain content; nil leaves file_hash out
}

func (m manifestMaker) of(files tree, form manifestForm) []fieldsOf {
	var entries []fieldsOf
	for _, name := range slices.Sorted(maps.Keys(files)) {
		b := []byte(files[name])
		if !form.raw {
			var packed bytes.Buffer
			w := brotli.NewWriterLevel(&packed, form.quality)
			_, _ = w.Write(b)
			_ = w.Close()
			b = packed.Bytes()
		}
		if form.sealed {
			b = m.s.encrypt(b)
		}
		address := m.h.put(b)
		if form.way != "" {
			address = m.h.way(form.way, b)
		}
		entry := fieldsOf{"file_name": name + form.suffix, "download_url": address}
		if form.hash != nil {
			entry["file_hash"] = form.hash(files[name])
		}
		entries = append(entries, entry)
	}
	return entries
}
