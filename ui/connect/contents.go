package connect

import (
	"cmp"
	"context"
	"encoding/hex"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"capstan/core/bundle"
	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/core/keys"
	"capstan/core/workspace"
	"capstan/ui/views"
)

// contents looks into registered bundles as a device would: it fetches the
// object from its public address, opens it with the public key and reads the
// zip. What it found is kept for the newest maxOpened bundles.
type contents struct {
	workspace *workspace.Workspace
	http      *http.Client

	mu     sync.Mutex
	opened map[string]bundle.Inventory // by app and name; objects never change
	order  []string                    // oldest first
}

const (
	// maxOpened is how many inventories are remembered.
	maxOpened = 24
	// maxFetched bounds what is downloaded to look into a bundle, in bytes.
	maxFetched = 1 << 30
	// fetchLimit bounds the time that looking into one bundle may take.
	fetchLimit = 2 * time.Minute
)

func newContents(w *workspace.Workspace) *contents {
	return &contents{workspace: w, http: &http.Client{Timeout: fetchLimit}, opened: map[string]bundle.Inventory{}}
}

func (c *contents) Files(ctx context.Context, appID, name string) (views.Inventory, error) {
	found, err := c.inventory(ctx, appID, name)
	if err != nil {
		return views.Inventory{}, err
	}
	out := views.Inventory{Name: name, Bytes: found.RawSize, Origins: found.Origins}
	for _, f := range found.Files {
		out.Files = append(out.Files, views.File{Path: f.Name, Bytes: f.Size, Packed: f.Packed})
	}
	return out, nil
}

func (c *contents) Compare(ctx context.Context, appID, from, to string) (views.Diff, error) {
	before, err := c.inventory(ctx, appID, from)
	if err != nil {
		return views.Diff{}, err
	}
	after, err := c.inventory(ctx, appID, to)
	if err != nil {
		return views.Diff{}, err
	}
	return asDiff(from, to, before, after), nil
}

// asDiff puts the largest changes first.
func asDiff(from, to string, before, after bundle.Inventory) views.Diff {
	d := bundle.Diff(before, after)
	out := views.Diff{
		From: from, To: to, Added: len(d.Added), Removed: len(d.Removed), Changed: len(d.Changed), Same: d.Same,
		BytesBefore: before.RawSize, BytesAfter: after.RawSize, DeltaBytes: d.DeltaDownload,
		NewOrigins: d.NewOrigins, NewNativeCalls: d.NewNativeCalls,
	}
	for _, f := range d.Added {
		out.Files = append(out.Files, views.DiffFile{Path: f.Name, Before: -1, After: f.Size})
	}
	for _, f := range d.Removed {
		out.Files = append(out.Files, views.DiffFile{Path: f.Name, Before: f.Size, After: -1})
	}
	for _, f := range d.Changed {
		out.Files = append(out.Files, views.DiffFile{Path: f.Name, Before: f.Before, After: f.After})
	}
	weight := func(f views.DiffFile) int64 {
		grown := max(0, f.After) - max(0, f.Before)
		return max(grown, -grown)
	}
	slices.SortStableFunc(out.Files, func(a, b views.DiffFile) int {
		return cmp.Or(cmp.Compare(weight(b), weight(a)), strings.Compare(a.Path, b.Path))
	})
	return out
}

// inventory gives what is in a bundle, from memory when it was opened before.
func (c *contents) inventory(ctx context.Context, appID, name string) (bundle.Inventory, error) {
	if name == "" || name == capgo.Builtin {
		return bundle.Inventory{}, failure.New(failure.Usage, "bundle_builtin", "look into the bundle", "the store build is not a bundle: its files are in the app", "")
	}
	at := appID + " " + name
	c.mu.Lock()
	known, ok := c.opened[at]
	c.mu.Unlock()
	if ok {
		return known, nil
	}
	found, err := c.fetch(ctx, appID, name)
	if err != nil {
		return found, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, twice := c.opened[at]; !twice {
		c.opened[at] = found
		if c.order = append(c.order, at); len(c.order) > maxOpened {
			delete(c.opened, c.order[0])
			c.order = c.order[1:]
		}
	}
	return found, nil
}

func (c *contents) fetch(ctx context.Context, appID, name string) (bundle.Inventory, error) {
	const op = "look into the bundle"
	ctx, stop := context.WithTimeout(ctx, fetchLimit)
	defer stop()
	b, err := c.workspace.Registry.Bundle(ctx, appID, name)
	if err != nil {
		return bundle.Inventory{}, err
	}
	body, err := c.download(ctx, b.ExternalURL)
	if err != nil {
		return bundle.Inventory{}, err
	}
	defer body.Close()
	file, err := os.CreateTemp("", "capstan-look-*.zip")
	if err != nil {
		return bundle.Inventory{}, failure.Wrap(err, failure.Failed, "temp_unwritable", op, "free some space in the folder for temporary files")
	}
	defer func() { _ = file.Close(); _ = os.Remove(file.Name()) }()
	if err := c.open(ctx, b, io.LimitReader(body, maxFetched), file); err != nil {
		return bundle.Inventory{}, err
	}
	return bundle.Inspect(ctx, file.Name(), bundle.Options{})
}

// download asks for the object where devices do.
func (c *contents) download(ctx context.Context, address string) (io.ReadCloser, error) {
	const op, hint = "download the bundle", "check that the storage's public address answers"
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" {
		return nil, failure.New(failure.NotFound, "bundle_no_url", op, "the server does not say where this bundle is", "only bundles with an address of their own can be looked into")
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, failure.Wrap(err, failure.Failed, "bundle_no_url", op, "")
	}
	answer, err := c.http.Do(request)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, failure.New(failure.Unavailable, "storage_unavailable", op, u.Host+" does not answer", hint)
	}
	if answer.StatusCode != http.StatusOK {
		_ = answer.Body.Close()
		class := failure.Unavailable
		if answer.StatusCode == http.StatusNotFound {
			class = failure.NotFound
		}
		return nil, failure.Newf(class, "storage_unavailable", op, hint, "%s answered %d", u.Host, answer.StatusCode)
	}
	return answer.Body, nil
}

// open writes the plain zip of a bundle to file and holds it against the
// checksum that was signed.
func (c *contents) open(ctx context.Context, b capgo.Bundle, object io.Reader, file io.Writer) error {
	const op = "open the bundle"
	if b.SessionKey == "" {
		_, err := io.Copy(file, object)
		return failure.Wrap(err, failure.Unavailable, "storage_unavailable", op, "try again")
	}
	query := b.KeyID
	if query == "" {
		query = b.AppID
	}
	record, err := c.workspace.Keys.Find(ctx, query)
	if err != nil {
		return err
	}
	public, err := keys.ParsePublic([]byte(record.PublicPEM))
	if err != nil {
		return err
	}
	sum, _, err := bundle.Decrypt(ctx, object, file, b.SessionKey, public)
	if err != nil {
		return err
	}
	signed, form, err := bundle.RecoverChecksum(public, b.Checksum)
	if err != nil {
		return err
	}
	want := hex.EncodeToString(signed[:])
	if form == bundle.FormCRC32 { // too weak to tell: the server's own record has to do
		want = b.PlainChecksum
	}
	if want != "" && want != hex.EncodeToString(sum[:]) {
		return failure.New(failure.Verification, "checksum_mismatch", op, "the object is not what was signed", "devices refuse it; release again under a new version")
	}
	return nil
}
