package bundle

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/andybalholm/brotli"

	"capstan/core/failure"
)

// Inventory is what is in a bundle, read from a zip or from a build folder.
type Inventory struct {
	Files   []Item `json:"files"` // in the order of names
	Size    int64  `json:"size"`  // of the zip; 0 of a folder
	RawSize int64  `json:"rawSize"`
	// Types sums the files by suffix, the largest first.
	Types []TypeSum `json:"types"`
	// Index is the path of index.html after the unwrapping that devices do, or "".
	Index string `json:"index"`
	// Origins are the hosts that the code names, with scheme, sorted: where the
	// app may send requests to.
	Origins []string `json:"origins"`
	// NativeCalls are the native plugins that the code asks for, sorted.
	NativeCalls []string `json:"nativeCalls"`
	// Ready says that some .js file calls notifyAppReady.
	Ready bool `json:"notifyAppReady"`
}

// Item is one file of an inventory.
type Item struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	Packed int64  `json:"packed,omitempty"` // bytes in the zip
	SHA256 string `json:"sha256"`
	// Delta is the bytes that a delta update would transfer for the file.
	Delta int64 `json:"delta"`
}

// TypeSum is the share of one suffix.
type TypeSum struct {
	Type   string `json:"type"` // with the dot, lower case; "" without suffix
	Files  int    `json:"files"`
	Bytes  int64  `json:"bytes"`
	Packed int64  `json:"packed,omitempty"`
}

// Inspect reads a zip or a build folder, as path says, and lists what is in
// it. A zip is checked as CheckArchive does; a folder is read as Pack would.
func Inspect(ctx context.Context, name string, o Options) (Inventory, error) {
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return Inventory{}, failure.Newf(failure.NotFound, "zip_not_found", "read bundle", "", "%s does not exist", name)
	}
	if err != nil {
		return Inventory{}, failure.Wrap(err, failure.Failed, "read_failed", "read bundle", "")
	}
	in := &inspector{origins: map[string]bool{}, calls: map[string]bool{}}
	if info.IsDir() {
		err = in.folder(ctx, name, o)
	} else {
		err = in.archive(ctx, name)
	}
	if err != nil {
		return Inventory{}, err
	}
	return in.finish(), nil
}

type inspector struct {
	inventory      Inventory
	origins, calls map[string]bool
}

func (in *inspector) folder(ctx context.Context, dir string, o Options) error {
	t, err := readTree(ctx, dir, o)
	if err != nil {
		return err
	}
	for i := range t.files {
		f := &t.files[i]
		h, err := t.open(f)
		if err != nil {
			return err
		}
		look := in.look(f.name, f.size())
		_, err = io.Copy(look, contextReader{ctx, h})
		h.Close()
		if err != nil {
			return unreadable(f.name, err)
		}
		in.add(look, 0)
	}
	return nil
}

func (in *inspector) archive(ctx context.Context, name string) error {
	h, err := os.Open(name)
	if err != nil {
		return failure.Wrap(err, failure.Failed, "read_failed", "read bundle", "")
	}
	defer h.Close()
	info, err := h.Stat()
	if err != nil {
		return failure.Wrap(err, failure.Failed, "read_failed", "read bundle", "")
	}
	a, err := OpenArchive(ctx, h, info.Size())
	if err != nil {
		return err
	}
	in.inventory.Size = a.Size
	for i := range a.Files {
		f := &a.Files[i]
		look := in.look(f.Name, f.Size)
		if err := a.Copy(ctx, f, look); err != nil {
			return err
		}
		in.add(look, f.Packed)
	}
	return nil
}

// contextReader stops reading when its context ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// look takes one file's content: its hash, what a delta update would transfer
// and, of text, what the code names.
type look struct {
	in     *inspector
	name   string
	size   int64
	sum    hash.Hash
	delta  countWriter
	brotli *brotli.Writer
	text   bool
	tail   []byte
}

func (in *inspector) look(name string, size int64) *look {
	l := &look{in: in, name: name, size: size, sum: sha256.New(), text: isText(name)}
	if size >= brotliFrom {
		// The quality of an estimate: exact to a few per cent, at a tenth of the time.
		l.brotli = brotli.NewWriterLevel(&l.delta, 4)
	}
	return l
}

func (l *look) Write(p []byte) (int, error) {
	l.sum.Write(p)
	if l.brotli != nil {
		l.brotli.Write(p)
	}
	if l.text {
		l.scan(p)
	}
	return len(p), nil
}

// scan searches a piece of text together with the end of the piece before it.
func (l *look) scan(p []byte) {
	const seam = 256
	l.in.search(append(l.tail, p[:min(len(p), seam)]...), l.name)
	l.in.search(p, l.name)
	l.tail = append(l.tail[:0], p[max(0, len(p)-seam):]...)
}

var (
	originText = regexp.MustCompile(`(?:https?|wss?)://[A-Za-z0-9][A-Za-z0-9.-]*[A-Za-z0-9](?::[0-9]{2,5})?`)
	pluginText = regexp.MustCompile(`(?:registerPlugin\(\s*["'` + "`" + `]|Capacitor\.Plugins\.)([A-Za-z][A-Za-z0-9_]{1,60})`)
)

// namespaces are addresses that name formats, not servers.
var namespaces = map[string]bool{
	"http://www.w3.org": true, "https://www.w3.org": true, "http://schema.org": true, "https://schema.org": true,
	"http://ns.adobe.com": true, "http://www.inkscape.org": true, "http://sodipodi.sourceforge.net": true, "http://purl.org": true,
	"http://json-schema.org": true, "https://json-schema.org": true, "http://creativecommons.org": true,
}

// mostFound bounds what one bundle can put into an inventory.
const mostFound = 2000

func (in *inspector) search(p []byte, name string) {
	switch strings.ToLower(path.Ext(name)) {
	case ".js", ".mjs", ".cjs", ".html", ".htm", ".css", ".json":
	default:
		return
	}
	for _, m := range originText.FindAll(p, -1) {
		o := strings.ToLower(string(m))
		_, host, _ := strings.Cut(o, "//")
		// A word without a dot is an example in a text, not a host.
		real := strings.Contains(host, ".") || strings.HasPrefix(host, "localhost")
		if real && !namespaces[o] && len(in.origins) < mostFound {
			in.origins[o] = true
		}
	}
	for _, m := range pluginText.FindAllSubmatch(p, -1) {
		if len(in.calls) < mostFound {
			in.calls[string(m[1])] = true
		}
	}
	if strings.HasSuffix(name, ".js") && strings.Contains(string(p), "notifyAppReady") {
		in.inventory.Ready = true
	}
}

func (in *inspector) add(l *look, packed int64) {
	delta := l.size
	if l.brotli != nil {
		l.brotli.Close()
		if int64(l.delta) < l.size-brotliGain {
			delta = int64(l.delta)
		}
	}
	in.inventory.Files = append(in.inventory.Files, Item{Name: l.name, Size: l.size, Packed: packed, SHA256: hex.EncodeToString(l.sum.Sum(nil)), Delta: delta})
	in.inventory.RawSize += l.size
}

func (in *inspector) finish() Inventory {
	v := in.inventory
	slices.SortFunc(v.Files, func(a, b Item) int { return strings.Compare(a.Name, b.Name) })
	types := map[string]*TypeSum{}
	for _, f := range v.Files {
		suffix := strings.ToLower(path.Ext(f.Name))
		t := types[suffix]
		if t == nil {
			t = &TypeSum{Type: suffix}
			types[suffix] = t
		}
		t.Files++
		t.Bytes += f.Size
		t.Packed += f.Packed
		if path.Base(f.Name) == "index.html" && strings.Count(f.Name, "/") <= 1 && (v.Index == "" || f.Name == "index.html") {
			v.Index = f.Name
		}
	}
	if v.Index != "" && v.Index != "index.html" && !oneRoot(v.Files) {
		v.Index = ""
	}
	for _, t := range types {
		v.Types = append(v.Types, *t)
	}
	slices.SortFunc(v.Types, func(a, b TypeSum) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), strings.Compare(a.Type, b.Type))
	})
	v.Origins = slices.Sorted(maps.Keys(in.origins))
	v.NativeCalls = slices.Sorted(maps.Keys(in.calls))
	return v
}

// oneRoot reports whether everything is in one folder, which devices unwrap.
func oneRoot(files []Item) bool {
	first, _, _ := strings.Cut(files[0].Name, "/")
	return !slices.ContainsFunc(files, func(f Item) bool {
		root, _, below := strings.Cut(f.Name, "/")
		return root != first || !below
	})
}

// Difference is what changes between two bundles.
type Difference struct {
	Added   []Item   `json:"added"`
	Removed []Item   `json:"removed"`
	Changed []Change `json:"changed"`
	Same    int      `json:"same"` // files that are equal
	// NewOrigins and NewNativeCalls are in the second bundle only.
	NewOrigins     []string `json:"newOrigins"`
	NewNativeCalls []string `json:"newNativeCalls"`
	// FullDownload is the size of the second zip, or 0 for a folder;
	// DeltaDownload estimates what a delta update transfers.
	FullDownload  int64 `json:"fullDownload"`
	DeltaDownload int64 `json:"deltaDownload"`
}

// Change is a file that both bundles have, with other content.
type Change struct {
	Name   string `json:"name"`
	Before int64  `json:"before"`
	After  int64  `json:"after"`
}

// Diff compares two inventories. A file that moved is not transferred again by
// a delta update: devices find it by its hash.
func Diff(a, b Inventory) Difference {
	d := Difference{Added: []Item{}, Removed: []Item{}, Changed: []Change{}, FullDownload: b.Size,
		NewOrigins: without(b.Origins, a.Origins), NewNativeCalls: without(b.NativeCalls, a.NativeCalls)}
	before := make(map[string]Item, len(a.Files))
	known := make(map[string]bool, len(a.Files))
	for _, f := range a.Files {
		before[f.Name] = f
		known[f.SHA256] = true
	}
	for _, f := range b.Files {
		was, ok := before[f.Name]
		delete(before, f.Name)
		if !known[f.SHA256] {
			known[f.SHA256] = true
			d.DeltaDownload += f.Delta
		}
		switch {
		case !ok:
			d.Added = append(d.Added, f)
		case was.SHA256 == f.SHA256:
			d.Same++
		default:
			d.Changed = append(d.Changed, Change{f.Name, was.Size, f.Size})
		}
	}
	for _, f := range a.Files {
		if _, gone := before[f.Name]; gone {
			d.Removed = append(d.Removed, f)
		}
	}
	return d
}

func without(all, known []string) []string {
	left := []string{}
	for _, s := range all {
		if _, found := slices.BinarySearch(known, s); !found {
			left = append(left, s)
		}
	}
	return left
}
