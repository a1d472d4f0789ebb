package connect

import (
	"cmp"
	"context"
	"slices"

	"capstan/core/failure"
	"capstan/core/keys"
	"capstan/ui/views"
)

// ring is the key ring as the views see it: no private half ever passes.
type ring struct{ ring *keys.Ring }

func (r ring) List(ctx context.Context, appID string) ([]views.Key, error) {
	records, err := r.ring.List(ctx, appID)
	if err != nil {
		return nil, err
	}
	list := make([]views.Key, 0, len(records))
	for _, record := range records {
		key, err := asKey(record)
		if err != nil {
			return nil, err
		}
		list = append(list, key)
	}
	return list, nil
}

// Stores probes what this machine has. The keyring comes first where it works,
// since it asks for nothing; what cannot be used comes last, with its reason.
func (r ring) Stores(ctx context.Context) ([]views.KeyStore, error) {
	var stores []views.KeyStore
	for _, kind := range []keys.Kind{keys.Keyring, keys.File} {
		store := views.KeyStore{Kind: string(kind)}
		if err := r.ring.Probe(ctx, kind); err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			store.Unusable = err.Error()
			if hint := failure.HintOf(err); hint != "" {
				store.Unusable += "; " + hint
			}
		}
		stores = append(stores, store)
	}
	slices.SortStableFunc(stores, func(a, b views.KeyStore) int { return cmp.Compare(len(a.Unusable), len(b.Unusable)) })
	return stores, nil
}

func (r ring) Create(ctx context.Context, appID, kind string) (views.Key, error) {
	record, err := r.ring.Create(ctx, appID, keys.Kind(kind))
	if err != nil {
		return views.Key{}, err
	}
	return asKey(record)
}

func asKey(record keys.Record) (views.Key, error) {
	public, err := record.Public()
	if err != nil {
		return views.Key{}, err
	}
	return views.Key{
		AppID: record.AppID, ID: record.KeyID, Fingerprint: keys.Fingerprint(public), PublicPEM: record.PublicPEM,
		Store: string(record.Store), Location: record.Location,
		Created: record.Created, LastUsed: record.LastUsed, BackedUp: record.LastBackup,
	}, nil
}
