package release

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"capstan/core/bundle"
	"capstan/core/capgo"
	"capstan/core/failure"
)

// Receipt proves that the change which a release made is in the server's
// ledger. The journal's folder keeps it as receipt.json.
type Receipt struct {
	capgo.Receipt
	Size int64  `json:"size"` // entries that the checkpoint covers
	Root string `json:"root"` // of all these entries, base64
}

// Text is one line for people.
func (r Receipt) Text() string {
	return fmt.Sprintf("entry %d of %d in the ledger, root %s", r.Index+1, r.Size, r.Root)
}

// ledger is a registry that keeps one; *remote.Client of a capstan server.
type ledger interface {
	History(ctx context.Context, appID, channel string) ([]capgo.Change, error)
	Receipt(ctx context.Context, appID string, entry int64) (capgo.Receipt, error)
}

// receiptPatience bounds the wait for a receipt, which comes after everything
// that matters is done.
const receiptPatience = 20 * time.Second

// receipt fetches the receipt of the promotion, or of the registration of a
// release without a channel, and keeps it. A release is not undone for want of
// one: what is missing is told.
func (r *run) receipt(ctx context.Context) *Receipt {
	if kept := readReceipt(r.dir); kept != nil {
		return kept
	}
	from, keeps := r.Registry.(ledger)
	if seen := r.state.Preflight; !keeps || seen == nil || seen.Server != "capstan" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, receiptPatience)
	defer cancel()
	receipt, err := r.findReceipt(ctx, from)
	if err == nil {
		err = keepReceipt(r.dir, receipt)
	}
	if err != nil {
		r.event(Event{Kind: EventFinding, Level: bundle.LevelWarn, Code: "no_receipt", Text: "the server gave no receipt: " + err.Error(), Hint: failure.HintOf(err)})
		return nil
	}
	return &receipt
}

// findReceipt looks for the entry of this release's change and checks that the
// receipt is of that entry, and leads to the root that it names.
func (r *run) findReceipt(ctx context.Context, from ledger) (Receipt, error) {
	const op = "find the receipt"
	plan := r.plan()
	action := "channel.promote"
	if plan.Channel == "" {
		action = "bundle.register"
	}
	history, err := from.History(ctx, plan.AppID, plan.Channel)
	if err != nil {
		return Receipt{}, err
	}
	for _, change := range history {
		if change.Action != action || change.To != plan.Version {
			continue
		}
		answer, err := from.Receipt(ctx, plan.AppID, change.ID)
		if err != nil {
			return Receipt{}, err
		}
		return CheckReceipt(answer, change)
	}
	return Receipt{}, failure.Newf(failure.NotFound, "entry_not_found", op, "capstan channel history shows the entries", "the history has no entry %s of %s", action, plan.Version)
}

// CheckReceipt holds a receipt against the entry: code receipt_refused when it is
// of another one, or its proof leads nowhere. The signature of its
// checkpoint is for whoever has the ledger's public key: capstan ledger.
func CheckReceipt(answer capgo.Receipt, change capgo.Change) (Receipt, error) {
	r := Receipt{Receipt: answer}
	refused := func(why string) (Receipt, error) {
		return Receipt{}, failure.New(failure.Verification, "receipt_refused", "check the receipt", why, "look at the server's ledger: capstan ledger export, then verify")
	}
	lines := strings.Split(answer.Checkpoint, "\n")
	if len(lines) < 4 || lines[3] != "" {
		return refused("its checkpoint is none")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	root, bad := tlog.ParseHash(lines[2])
	if err != nil || bad != nil {
		return refused("its checkpoint is none")
	}
	r.Size, r.Root = size, root.String()
	proof := make(tlog.RecordProof, len(answer.Proof))
	for i, text := range answer.Proof {
		if proof[i], err = tlog.ParseHash(text); err != nil {
			return refused("a hash of its proof is none")
		}
	}
	var fields []any
	if json.Unmarshal(answer.Record, &fields) != nil || len(fields) < 7 ||
		fields[1] != change.AppID || fields[2] != change.Channel || fields[3] != change.Action || fields[4] != change.Actor || fields[6] != change.To {
		return refused("it is of another entry")
	}
	if err := tlog.CheckRecord(proof, size, root, answer.Index, tlog.RecordHash(answer.Record)); err != nil {
		return refused("its proof does not lead to the root")
	}
	return r, nil
}

// Receipt gives the receipt that the release id got, nil when it has none.
func (j *Journals) Receipt(id string) *Receipt { return readReceipt(filepath.Join(j.dir, id)) }

// readReceipt gives the receipt that an earlier run of this release kept.
func readReceipt(dir string) *Receipt {
	text, err := os.ReadFile(filepath.Join(dir, "receipt.json"))
	if err != nil {
		return nil
	}
	var r Receipt
	if json.Unmarshal(text, &r) != nil {
		return nil
	}
	return &r
}

func keepReceipt(dir string, r Receipt) error {
	encoded, err := json.Marshal(r)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, "receipt.json")
	part := path + ".part"
	defer os.Remove(part)
	if err := os.WriteFile(part, append(encoded, '\n'), 0o600); err != nil {
		return stateFailure(err)
	}
	return stateFailure(os.Rename(part, path))
}
