package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"capstan/core/failure"
	"capstan/server"
	"capstan/server/store"
)

func init() { registrations = append(registrations, newBackup, newRestore) }

func newBackup(c *Command) *cobra.Command {
	var data, storage string
	cmd := &cobra.Command{
		Use: "backup FILE", Short: "Write a server's data to a tar file; the server may run", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := serverDataDir(data)
			if err != nil {
				return err
			}
			if _, isBucket := cutScheme(storage, "s3://"); isBucket {
				return failure.New(failure.Usage, "storage_unsupported", "make backup", "a backup copies a folder of objects, not a bucket", "leave --storage out, and keep the bucket with the service's own versioning or replication")
			}
			if store.IsPostgres(os.Getenv("CAPSTAN_DATABASE")) {
				return failure.New(failure.Usage, "database_unsupported", "make backup", "a backup copies a SQLite database, and CAPSTAN_DATABASE names a PostgreSQL", "use pg_dump, and copy the objects and the ledger's key beside it")
			}
			folder, err := storageFolder(storage)
			if err != nil {
				return err
			}
			return c.backup(cmd.Context(), dir, folder, args[0])
		},
	}
	cmd.Flags().StringVar(&data, "data", "", "data directory (default server in the user's data folder)")
	cmd.Flags().StringVar(&storage, "storage", "", "folder of the objects, when it is not in the data directory")
	return cmd
}

// backup writes beside the file and renames, so that a name never stands for
// half a backup.
func (c *Command) backup(ctx context.Context, dir, folder, path string) error {
	if _, err := os.Stat(path); err == nil {
		return failure.Newf(failure.Conflict, "exists", "make backup", "choose a new name", "%s exists already", oneLine(path))
	}
	part := path + ".part"
	file, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return failure.Wrap(err, failure.Failed, "backup_failed", "make backup", "choose a folder that this user may write to")
	}
	report, err := server.Backup(ctx, dir, folder, file)
	if err == nil {
		err = failure.Wrap(file.Sync(), failure.Failed, "backup_failed", "make backup", "")
	}
	if err := errors.Join(err, file.Close()); err != nil {
		_ = os.Remove(part)
		return err
	}
	if err := os.Rename(part, path); err != nil {
		return failure.Wrap(err, failure.Failed, "backup_failed", "make backup", "")
	}
	return c.reportBackup(report, path)
}

func (c *Command) reportBackup(report server.BackupReport, path string) error {
	for _, name := range report.Missing {
		c.Notef("warning: the database knows the object %s, and its file is missing", oneLine(name))
	}
	result := map[string]any{"file": path, "files": len(report.Files), "size": report.Size(), "audit_entries": report.AuditEntries, "audit_head": report.AuditHead, "missing": len(report.Missing)}
	return c.Result(result, func(w io.Writer) {
		fmt.Fprintf(w, "%s: %d files, %d bytes, %d audit entries up to %.16s, verified\n", oneLine(path), len(report.Files), report.Size(), report.AuditEntries, report.AuditHead)
	})
}

func newRestore(c *Command) *cobra.Command {
	var data string
	cmd := &cobra.Command{
		Use: "restore FILE", Short: "Read a backup into an empty data directory", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := serverDataDir(data)
			if err != nil {
				return err
			}
			file, err := os.Open(args[0])
			if err != nil {
				return failure.Wrap(err, failure.NotFound, "backup_missing", "restore backup", "name a file that capstan backup wrote")
			}
			defer file.Close()
			report, err := server.Restore(cmd.Context(), file, dir)
			if err != nil {
				return err
			}
			return c.reportBackup(report, dir)
		},
	}
	cmd.Flags().StringVar(&data, "data", "", "data directory to fill (default server in the user's data folder)")
	return cmd
}
