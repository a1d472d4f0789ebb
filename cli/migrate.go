package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"capstan/core/failure"
	"capstan/server"
	"capstan/server/store"
)

func init() { registrations = append(registrations, newMigrate) }

func newMigrate(c *Command) *cobra.Command {
	var data, to string
	cmd := &cobra.Command{
		Use: "migrate", Short: "Move a server's data from SQLite into an empty PostgreSQL", Args: cobra.NoArgs,
		Long: `migrate copies a stopped server's SQLite database into an empty PostgreSQL, in one transaction: every row
is read back and compared, and the audit's chain and the ledger are verified where they are then. The
SQLite file stays as it is. Start the server afterwards with the same --data and with --database.`,
		Example: "  CAPSTAN_DATABASE='postgres://capstan@db.internal/capstan?sslmode=verify-full' capstan migrate --data /var/lib/capstan",
		RunE: func(cmd *cobra.Command, _ []string) error {
			to, err := databaseURL(to, "CAPSTAN_DATABASE")
			if err != nil {
				return err
			}
			dir, err := serverDataDir(data)
			if err != nil {
				return err
			}
			return c.migrate(cmd.Context(), dir, to)
		},
	}
	cmd.Flags().StringVar(&data, "data", "", "data directory of the stopped server (default server in the user's data folder)")
	cmd.Flags().StringVar(&to, "to", "", "postgres:// URL of an empty database (default $CAPSTAN_DATABASE)")
	return cmd
}

func (c *Command) migrate(ctx context.Context, dir, to string) error {
	const op = "move the database"
	database := filepath.Join(dir, "capstan.db")
	if _, err := os.Stat(database); err != nil {
		return failure.Newf(failure.NotFound, "data_dir", op, "name the server's data directory with --data", "there is no server's data in %s", oneLine(dir))
	}
	signer, err := server.OpenLedgerKey(dir)
	if err != nil {
		return err
	}
	report, err := store.Move(ctx, database, to, signer)
	if err != nil {
		return err
	}
	var total int64
	for _, n := range report.Rows {
		total += n
	}
	result := map[string]any{"rows": report.Rows, "audit_entries": report.AuditEntries, "audit_head": report.AuditHead, "ledger_root": report.LedgerRoot}
	return c.Result(result, func(w io.Writer) {
		fmt.Fprintf(w, "%d rows are in PostgreSQL, each compared; %d audit entries up to %.16s, verified\nstart the server with the same --data and --database (or CAPSTAN_DATABASE); %s stays as it is\n",
			total, report.AuditEntries, report.AuditHead, oneLine(database))
	})
}
