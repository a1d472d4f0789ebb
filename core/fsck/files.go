package fsck

import (
	"context"
	"slices"
	"strings"

	"capstan/core/failure"
	"capstan/core/release"
)

// deltaFiles are the objects of delta updates that the registry knows of.
type deltaFiles struct {
	prefix string
	// names gives the bundles that refer to an object of this storage; what the
	// storage's listing has is taken out, so that the missing ones remain.
	names map[string][]string
	all   map[string]bool
	// unsure is set when somebody may refer to files that are not known of: then
	// none is called a leftover.
	unsure bool
}

// readFiles asks the registry for the delta files of every bundle that has some.
func (c *check) readFiles(ctx context.Context) (*deltaFiles, error) {
	f := &deltaFiles{prefix: release.FileObjectName(c.AppID, ""), names: map[string][]string{}, all: map[string]bool{}}
	for _, b := range c.bundles {
		if b.ManifestCount == 0 {
			continue
		}
		from, tells := c.Registry.(deltas)
		if !tells {
			f.unsure = true
			return f, nil
		}
		files, err := from.Files(ctx, c.AppID, b.Name)
		switch e, known := failure.Find(err); {
		case known && (e.Class == failure.NotFound || e.Code == "unsupported"): // an older server, or a bundle deleted meanwhile
			f.unsure = true
			continue
		case err != nil:
			return nil, err
		}
		for _, file := range files {
			name := file.Object
			if name == "" {
				name = c.objectAt(file.URL)
			}
			if name == "" {
				continue // kept elsewhere
			}
			f.all[name] = true
			if !slices.Contains(f.names[name], b.Name) {
				f.names[name] = append(f.names[name], b.Name)
			}
		}
	}
	return f, nil
}

// objectAt gives the name of the object in this storage that a public address
// leads to, "" when it leads elsewhere.
func (c *check) objectAt(address string) string {
	const mark = "x"
	base := strings.TrimSuffix(c.Storage.PublicURL(mark), mark)
	name, ours := strings.CutPrefix(address, base)
	if !ours || c.Storage.PublicURL(name) != address {
		return ""
	}
	return name
}

// lost reports whether an object is a delta file that no bundle refers to.
func (f *deltaFiles) lost(name string) bool {
	return !f.unsure && strings.HasPrefix(name, f.prefix) && !f.all[name]
}

// reportFiles sums up the leftovers, which come in thousands, and names the
// bundles whose files are missing.
func (c *check) reportFiles(f *deltaFiles, orphans int, size int64) {
	if orphans > 0 {
		c.add(Warn, "file_orphan", f.prefix, "remove them from the storage if no release on another machine is under way",
			"no bundle refers to %d delta files (%d bytes)", orphans, size)
	}
	if f.unsure {
		c.add(Note, "files_not_told", f.prefix, "", "not all delta files that are in use are known, so that leftovers cannot be told from them")
	}
	missing := map[string]int{}
	for _, bundles := range f.names {
		for _, name := range bundles {
			missing[name]++
		}
	}
	for _, b := range c.bundles {
		if n := missing[b.Name]; n > 0 {
			c.about(b, "file_missing", "", "%d delta files of bundle %s are not in storage: devices fall back to the whole bundle", n, b.Name)
		}
	}
}
