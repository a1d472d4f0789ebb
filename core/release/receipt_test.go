package release_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"capstan/core/capgo"
	"capstan/core/release"
	"capstan/server"
	"capstan/server/store"
)

// TestReceipt holds the receipt of a release, and of a registration alone,
// against the server's own public key.
func TestReceipt(t *testing.T) {
	y := newYard(t)
	for _, channel := range []string{"production", ""} {
		t.Run("channel "+channel, func(t *testing.T) {
			v := y.victim(t, "com.example.receipt"+channel, "1.0.0")
			v.Plan.Channel = channel
			pipeline := v.pipeline(t)
			result, err := pipeline.Run(t.Context(), v.Plan, func(release.Event) {})
			if err != nil {
				t.Fatal(err)
			}
			r := result.Receipt
			if r == nil || r.Size <= r.Index || r.Root == "" || r.Entry == 0 {
				t.Fatalf("receipt %+v", r)
			}
			key, err := os.ReadFile(filepath.Join(y.DataDir, "ledger.pub"))
			if err != nil {
				t.Fatal(err)
			}
			verifier, err := server.LedgerVerifier(string(key))
			if err != nil {
				t.Fatal(err)
			}
			if err := store.VerifyReceipt(store.Receipt{Index: r.Index, Record: r.Record, Proof: r.Proof, Checkpoint: r.Checkpoint}, verifier); err != nil {
				t.Error(err)
			}
			again, err := pipeline.Resume(t.Context(), result.ID, func(release.Event) {})
			if err != nil || again.Receipt == nil || again.Receipt.Root != r.Root {
				t.Errorf("the receipt was not kept: %+v %v", again.Receipt, err)
			}
			text, err := json.Marshal(result)
			if err != nil {
				t.Fatal(err)
			}
			var printed struct{ Receipt release.Receipt }
			if err := json.Unmarshal(text, &printed); err != nil || printed.Receipt.Checkpoint != r.Checkpoint {
				t.Errorf("%s %v", text, err)
			}
		})
	}
}

// forged is a registry whose receipts somebody changed.
type forged struct {
	release.Registry
	change func(*capgo.Receipt)
}

func (f forged) History(ctx context.Context, appID, channel string) ([]capgo.Change, error) {
	return f.Registry.(interface {
		History(context.Context, string, string) ([]capgo.Change, error)
	}).History(ctx, appID, channel)
}

func (f forged) Receipt(ctx context.Context, appID string, entry int64) (capgo.Receipt, error) {
	r, err := f.Registry.(interface {
		Receipt(context.Context, string, int64) (capgo.Receipt, error)
	}).Receipt(ctx, appID, entry)
	f.change(&r)
	return r, err
}

// TestForgedReceipt: a receipt that does not prove the release is none, and the
// release says so.
func TestForgedReceipt(t *testing.T) {
	y := newYard(t)
	for name, change := range map[string]func(*capgo.Receipt){
		"other place":   func(r *capgo.Receipt) { r.Index++ },
		"other record":  func(r *capgo.Receipt) { r.Record = json.RawMessage(`[1,"a","b","c","d","e","f","g"]`) },
		"no record":     func(r *capgo.Receipt) { r.Record = nil },
		"no checkpoint": func(r *capgo.Receipt) { r.Checkpoint = "" },
		"shorter proof": func(r *capgo.Receipt) { r.Proof = r.Proof[:len(r.Proof)-1] },
		"broken proof":  func(r *capgo.Receipt) { r.Proof[0] = "no hash" },
	} {
		t.Run(name, func(t *testing.T) {
			v := y.victim(t, "com.example.forged."+strings.ReplaceAll(name, " ", ""), "1.0.0")
			pipeline := v.pipeline(t)
			pipeline.Registry = forged{pipeline.Registry, change}
			warned := false
			result, err := pipeline.Run(t.Context(), v.Plan, func(e release.Event) { warned = warned || e.Code == "no_receipt" })
			if err != nil {
				t.Fatal(err)
			}
			if result.Receipt != nil || !warned {
				t.Errorf("receipt %+v, warned %v", result.Receipt, warned)
			}
		})
	}
}
