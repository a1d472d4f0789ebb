package fsck

import (
	"context"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/core/release"
	"capstan/core/remote/transport"
)

// ledger is a registry whose history can be proven; *remote.Client of a capstan
// server.
type ledger interface {
	HistoryBefore(ctx context.Context, appID, channel string, before int64) ([]capgo.Change, error)
	Receipt(ctx context.Context, appID string, entry int64) (capgo.Receipt, error)
}

// receipts are journals that keep the receipts of their releases; *release.Journals.
type receipts interface {
	Receipt(id string) *release.Receipt
}

const (
	// maxPages bounds how much of the history is read for the registrations of
	// the bundles that are served.
	maxPages = 200
	// maxReceipts bounds how many of this machine's own receipts are held against
	// the ledger: the newest.
	maxReceipts = 20
)

const rewritten = "somebody changed the server's database past the server: compare capstan ledger export with an earlier backup"

// checkLedger holds what is served against the server's ledger, whose proofs do
// not fit a row that was edited: the entry that each channel's live bundle comes
// from, the registration of each bundle that is served with its object's hash,
// and the receipts that releases of this machine got.
func (c *check) checkLedger(ctx context.Context) error {
	from, keeps := c.Registry.(ledger)
	if !keeps {
		return nil
	}
	registered, complete, err := c.readHistory(ctx, from)
	switch code := failure.CodeOf(err); {
	case err == nil:
	case code == "unsupported":
		return nil
	case code == "missing_channel": // a token that may see some channels only
		c.add(Note, "ledger_not_read", c.AppID, "use a token that is not limited to channels", "the history of the whole app may not be read, so that the ledger is not compared")
		return nil
	default:
		return err
	}
	if c.LedgerKey == nil {
		c.add(Note, "ledger_key_unknown", c.AppID, "name the server's ledger.pub with --ledger-key", "proofs lead to the root that the server names, and its signature is not checked")
	}
	for _, ch := range c.channels {
		if err := c.proveChannel(ctx, from, ch); err != nil {
			return err
		}
	}
	for _, b := range c.bundles {
		if len(c.serving[b.Name]) == 0 && !c.All {
			continue
		}
		if err := c.proveBundle(ctx, from, b, registered[b.Name], complete); err != nil {
			return err
		}
	}
	return c.compareReceipts(ctx, from)
}

// readHistory gives the newest registration of every bundle, as far as the
// history is read; complete when all of it was.
func (c *check) readHistory(ctx context.Context, from ledger) (registered map[string]capgo.Change, complete bool, err error) {
	registered = map[string]capgo.Change{}
	for before, page := int64(0), 0; page < maxPages; page++ {
		changes, err := from.HistoryBefore(ctx, c.AppID, "", before)
		if err != nil {
			return nil, false, err
		}
		if len(changes) == 0 {
			return registered, true, nil
		}
		for _, change := range changes {
			if _, newer := registered[change.To]; change.Action == "bundle.register" && !newer {
				registered[change.To] = change
			}
			if before == 0 || change.ID < before {
				before = change.ID
			}
		}
		missing := slices.ContainsFunc(c.bundles, func(b capgo.Bundle) bool {
			_, found := registered[b.Name]
			return !found && (c.All || len(c.serving[b.Name]) > 0)
		})
		if !missing {
			return registered, false, nil
		}
	}
	return registered, false, nil
}

// proveChannel proves the entry that the channel's live bundle comes from.
func (c *check) proveChannel(ctx context.Context, from ledger, ch capgo.Channel) error {
	history, err := from.HistoryBefore(ctx, c.AppID, ch.Name, 0)
	if err != nil {
		return err
	}
	last := slices.IndexFunc(history, movesLive)
	if last < 0 {
		return nil // history_missing says so, where there is a bundle
	}
	refused, err := c.prove(ctx, from, history[last])
	if err != nil || refused == "" {
		return err
	}
	c.add(Block, "ledger_channel", ch.Name, rewritten, "the history says that channel %s got %s by %s, and the ledger does not prove it: %s",
		ch.Name, transport.Clean(history[last].To), transport.Clean(history[last].Actor), refused)
	return nil
}

// movesLive tells the entries that change a channel's live bundle.
func movesLive(change capgo.Change) bool {
	return change.Action == "channel.promote" || change.Action == "channel.rollback" || change.Action == "rollout.promote"
}

// proveBundle proves the registration of a bundle, and that its object is the one
// that was registered.
func (c *check) proveBundle(ctx context.Context, from ledger, b capgo.Bundle, registered capgo.Change, complete bool) error {
	if registered.ID == 0 {
		if complete {
			c.about(b, "ledger_bundle", rewritten, "no entry of the ledger registers bundle %s", b.Name)
		}
		return nil
	}
	refused, err := c.prove(ctx, from, registered)
	if err != nil {
		return err
	}
	switch {
	case refused != "":
		c.about(b, "ledger_bundle", rewritten, "the ledger does not prove the registration of bundle %s: %s", b.Name, refused)
	case registered.Note != "" && b.ObjectSHA256 != "" && !strings.EqualFold(registered.Note, b.ObjectSHA256):
		c.about(b, "ledger_bundle", rewritten, "bundle %s was registered with the object %.12s…, by the ledger, and has %.12s… now", b.Name, registered.Note, b.ObjectSHA256)
	}
	return nil
}

// compareReceipts holds the receipts that this machine's releases got against
// what the server's ledger has in their places now.
func (c *check) compareReceipts(ctx context.Context, from ledger) error {
	kept, keeps := c.Journals.(receipts)
	if !keeps {
		return nil
	}
	compared := 0
	for _, s := range c.states { // the newest first
		own := kept.Receipt(s.ID)
		if own == nil || own.Entry == 0 || compared == maxReceipts {
			continue
		}
		compared++
		now, err := from.Receipt(ctx, c.AppID, own.Entry)
		switch f, known := failure.Find(err); {
		case err == nil && now.Index == own.Index && string(now.Record) == string(own.Record):
		case err == nil:
			c.add(Block, "ledger_receipt", s.ID, rewritten, "entry %d of the ledger is another one than release %s has the receipt of", own.Index+1, s.ID)
		case known && f.Class == failure.NotFound:
			c.add(Block, "ledger_receipt", s.ID, rewritten, "release %s has the receipt of entry %d, which the ledger does not have any more", s.ID, own.Index+1)
		default:
			return err
		}
	}
	return nil
}

// prove fetches the proof of an entry; refused says why it is none.
func (c *check) prove(ctx context.Context, from ledger, change capgo.Change) (refused string, err error) {
	answer, err := from.Receipt(ctx, c.AppID, change.ID)
	if f, known := failure.Find(err); known && (f.Class == failure.NotFound || f.Code == "internal") {
		return "it has no such entry", nil
	}
	if err != nil {
		return "", err
	}
	if _, err := release.CheckReceipt(answer, change); err != nil {
		f, _ := failure.Find(err)
		return f.Err.Error(), nil
	}
	if c.LedgerKey != nil {
		if _, err := note.Open([]byte(answer.Checkpoint), note.VerifierList(c.LedgerKey)); err != nil {
			return "its root is not signed with the ledger's key", nil
		}
	}
	return "", nil
}
