package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"capstan/core/failure"
	"capstan/core/release"
	"capstan/server/store"
)

func newLedgerReceipt(c *Command) *cobra.Command {
	var key string
	cmd := &cobra.Command{
		Use: "receipt FILE", Short: "Check the receipt of a release, offline", Args: cobra.ExactArgs(1),
		Long: `Check the receipt of a release, offline: that its record is in the ledger whose signed root it
names. FILE is the receipt.json beside the release's journal, or what capstan release --json printed.`,
		RunE: func(_ *cobra.Command, args []string) error { return c.verifyReceipt(args[0], key) },
	}
	cmd.Flags().StringVar(&key, "key", "", "file with the public key: ledger.pub of the server's data directory")
	_ = cmd.MarkFlagRequired("key") // the flag is defined above
	return cmd
}

func (c *Command) verifyReceipt(path, key string) error {
	verifier, err := readLedgerKey(key)
	if err != nil {
		return err
	}
	r, err := readReceipt(path)
	if err != nil {
		return err
	}
	if err := store.VerifyReceipt(store.Receipt{Index: r.Index, Record: r.Record, Proof: r.Proof, Checkpoint: r.Checkpoint}, verifier); err != nil {
		return err
	}
	return c.Result(map[string]any{"verified": true, "record": r.Record}, func(w io.Writer) {
		fmt.Fprintf(w, "verified: entry %d of the ledger is %s\n", r.Index+1, oneLine(string(r.Record)))
	})
}

// readReceipt takes a receipt alone, or the last object of a release's output.
func readReceipt(path string) (release.Receipt, error) {
	const op, hint = "read the receipt", "name the receipt.json of a release, or what capstan release --json printed"
	file, err := os.Open(path)
	if err != nil {
		return release.Receipt{}, failure.Wrap(err, failure.NotFound, "receipt_missing", op, hint)
	}
	defer file.Close()
	var found *release.Receipt
	for d := json.NewDecoder(io.LimitReader(file, 64<<20)); ; {
		var object struct {
			release.Receipt
			Inner *release.Receipt `json:"receipt"`
		}
		if err := d.Decode(&object); err != nil {
			break // the end, or no JSON from here on
		}
		switch {
		case object.Inner != nil:
			found = object.Inner
		case object.Checkpoint != "":
			found = &object.Receipt
		}
	}
	if found == nil {
		return release.Receipt{}, failure.New(failure.Verification, "receipt_refused", op, "the file holds no receipt", hint)
	}
	return *found, nil
}
