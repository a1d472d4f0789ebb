package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"capstan/core/failure"
	"capstan/server"
	"capstan/server/store"
)

func init() { registrations = append(registrations, newLedger) }

// ledgerFile is what ledger export writes and ledger verify reads: every record
// of the audit in order, and the signed checkpoint over them.
type ledgerFile struct {
	Checkpoint string            `json:"checkpoint"`
	Records    []json.RawMessage `json:"records"`
}

func newLedger(c *Command) *cobra.Command {
	cmd := &cobra.Command{Use: "ledger", Short: "Export and verify the log of all releases"}
	cmd.AddCommand(newLedgerExport(c), newLedgerVerify(c), newLedgerReceipt(c))
	return cmd
}

func newLedgerExport(c *Command) *cobra.Command {
	var data, named string
	cmd := &cobra.Command{
		Use: "export FILE", Short: "Write a server's ledger to a file; the server may run", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			database, err := databaseURL(named, "CAPSTAN_DATABASE")
			if err != nil {
				return err
			}
			s, err := openStore(cmd.Context(), data, database)
			if err != nil {
				return err
			}
			return c.exportLedger(cmd.Context(), s, args[0])
		},
	}
	cmd.Flags().StringVar(&data, "data", "", "data directory (default server in the user's data folder)")
	cmd.Flags().StringVar(&named, "database", "", "its postgres:// URL, or a SQLite file (default $CAPSTAN_DATABASE, or capstan.db in the data directory)")
	return cmd
}

// exportLedger writes the ledger to a new file and closes the store.
func (c *Command) exportLedger(ctx context.Context, s *store.Store, path string) error {
	var out ledgerFile
	var err error
	out.Records, out.Checkpoint, err = s.ExportLedger(ctx)
	if err := closing(s, err); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return failure.Wrap(err, failure.Failed, "export_failed", "export ledger", "choose a new name in a folder that this user may write to")
	}
	w := bufio.NewWriter(file)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	if err := errors.Join(e.Encode(out), w.Flush(), file.Close()); err != nil {
		return failure.Wrap(err, failure.Failed, "export_failed", "export ledger", "")
	}
	return c.Result(map[string]any{"file": path, "records": len(out.Records)}, func(w io.Writer) { fmt.Fprintf(w, "%s: %d records\n", oneLine(path), len(out.Records)) })
}

func newLedgerVerify(c *Command) *cobra.Command {
	var key, since string
	cmd := &cobra.Command{
		Use: "verify FILE", Short: "Check an exported ledger, offline", Args: cobra.ExactArgs(1),
		Long: `Check an exported ledger, offline: that its checkpoint is signed with the key, that
the records are exactly those that it signs, and with --since that nothing of an
earlier export was changed or dropped.`,
		RunE: func(_ *cobra.Command, args []string) error { return c.verifyLedger(args[0], key, since) },
	}
	cmd.Flags().StringVar(&key, "key", "", "file with the public key: ledger.pub of the server's data directory")
	cmd.Flags().StringVar(&since, "since", "", "an earlier export of the same ledger")
	_ = cmd.MarkFlagRequired("key") // the flag is defined above
	return cmd
}

// readLedgerKey reads the public key that a server signs its ledger with.
func readLedgerKey(path string) (note.Verifier, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, failure.Wrap(err, failure.NotFound, "ledger_key", "read ledger key", "name the server's ledger.pub with --key")
	}
	return server.LedgerVerifier(string(text))
}

func (c *Command) verifyLedger(path, key, since string) error {
	verifier, err := readLedgerKey(key)
	if err != nil {
		return err
	}
	ledger, err := readLedger(path)
	if err != nil {
		return err
	}
	earlier := ""
	if since != "" {
		old, err := readLedger(since)
		if err != nil {
			return err
		}
		earlier = old.Checkpoint
	}
	n, err := store.VerifyLedger(ledger.Records, ledger.Checkpoint, earlier, verifier)
	if err != nil {
		return err
	}
	return c.Result(map[string]any{"verified": true, "records": n}, func(w io.Writer) { fmt.Fprintf(w, "%s: %d records, verified\n", oneLine(path), n) })
}

func readLedger(path string) (ledgerFile, error) {
	var ledger ledgerFile
	text, err := os.ReadFile(path)
	if err != nil {
		return ledger, failure.Wrap(err, failure.NotFound, "ledger_missing", "read ledger", "name a file that capstan ledger export wrote")
	}
	if err := json.Unmarshal(text, &ledger); err != nil {
		return ledger, failure.New(failure.Verification, "ledger_refused", "read ledger", "the file is not an exported ledger", "")
	}
	return ledger, nil
}
