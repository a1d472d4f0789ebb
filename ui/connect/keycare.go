package connect

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"capstan/core/failure"
	"capstan/core/keys"
	"capstan/core/workspace"
	"capstan/ui/views"
)

// keeper is the ring with what the console adds: how a backup fares, and the
// ways of a key in and out of its store.
type keeper struct {
	ring
	workspace *workspace.Workspace
}

func (k keeper) List(ctx context.Context, appID string) ([]views.Key, error) {
	list, err := k.ring.List(ctx, appID)
	if err != nil {
		return nil, err
	}
	records, err := k.ring.ring.List(ctx, appID)
	if err != nil {
		return nil, err
	}
	drilled := map[string]keys.Record{}
	for _, r := range records {
		drilled[r.KeyID] = r
	}
	for i := range list {
		list[i].Drilled = drilled[list[i].ID].LastDrill
	}
	return list, nil
}

// Stores says why a store is no use without naming what was attempted: the
// operator has just opened the list of stores.
func (k keeper) Stores(ctx context.Context) ([]views.KeyStore, error) {
	var stores []views.KeyStore
	for _, kind := range []keys.Kind{keys.Keyring, keys.File} {
		store := views.KeyStore{Kind: string(kind)}
		if err := k.ring.ring.Probe(ctx, kind); err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			store.Unusable = err.Error()
			if f, ok := failure.Find(err); ok {
				store.Unusable = f.Err.Error()
			}
			if hint := failure.HintOf(err); hint != "" {
				store.Unusable += "; " + hint
			}
		}
		stores = append(stores, store)
	}
	slices.SortStableFunc(stores, func(a, b views.KeyStore) int { return cmp.Compare(len(a.Unusable), len(b.Unusable)) })
	return stores, nil
}

// home opens the ~ that people write at the start of a path.
func home(path string) string {
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		if dir, err := os.UserHomeDir(); err == nil {
			return filepath.Join(dir, rest)
		}
	}
	return path
}

func (k keeper) Import(ctx context.Context, appID, path, kind string) (views.Key, []views.Finding, error) {
	in := keys.Import{AppID: appID, Store: keys.Kind(kind), Path: home(path)}
	if p := k.workspace.Project; p != nil && p.AppID == appID {
		in.InConfig = p.PublicKey
	}
	record, warnings, err := k.ring.ring.Import(ctx, in)
	if err != nil {
		return views.Key{}, nil, err
	}
	var findings []views.Finding
	for _, w := range warnings {
		findings = append(findings, views.Finding{Level: "warn", Code: w.Code, Text: w.Text, Hint: w.Hint})
	}
	key, err := asKey(record)
	return key, findings, err
}

func (k keeper) Export(ctx context.Context, key views.Key, path string) error {
	record, err := k.ring.ring.Find(ctx, key.ID)
	if err != nil {
		return err
	}
	return k.ring.ring.Export(ctx, record, keys.Envelope{}, home(path))
}

// Backup leaves out keys whose private half is not here to be copied.
func (k keeper) Backup(ctx context.Context, appID, path string) error {
	records, err := k.ring.ring.List(ctx, appID)
	if err != nil {
		return err
	}
	records = slices.DeleteFunc(records, func(r keys.Record) bool { return r.Store == keys.PKCS11 || r.Unfinished })
	return k.ring.ring.Backup(ctx, records, keys.Envelope{}, home(path))
}

func (k keeper) Drill(ctx context.Context, path string) ([]views.Drilled, error) {
	held, err := k.ring.ring.Drill(ctx, home(path), nil)
	if err != nil {
		return nil, err
	}
	var out []views.Drilled
	for _, h := range held {
		out = append(out, views.Drilled{AppID: h.AppID, KeyID: h.KeyID, Known: h.Known})
	}
	return out, nil
}

func (k keeper) Remove(ctx context.Context, key views.Key) error {
	record, err := k.ring.ring.Find(ctx, key.ID)
	if err != nil {
		return err
	}
	return k.ring.ring.Remove(ctx, record)
}

var (
	_ views.Keys    = keeper{}
	_ views.KeyCare = keeper{}
)
