package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"capstan/core/failure"
	"capstan/server"
	"capstan/server/store"
)

func init() { registrations = append(registrations, newBackup, newRestore) }

func newBackup(c *Command) *cobra.Command {
	var data, database, objects string
	cmd := &cobra.Command{
		Use: "backup FILE", Short: "Write a server's data to a tar file; servers may run", Args: cobra.ExactArgs(1),
		Long: `backup writes the database, the objects and the ledger's key to one tar file with the hash of everything.
The database is copied as it was at one moment, from SQLite or PostgreSQL, and verified. Objects in a
bucket stay there; backup says how many the database knows and which are missing.`,
		Example: "  capstan backup /backups/capstan.tar --data /var/lib/capstan\n  CAPSTAN_DATABASE='postgres://capstan@db.internal/capstan' capstan backup /backups/capstan.tar --data /var/lib/capstan --storage s3://bundles",
		RunE: func(cmd *cobra.Command, args []string) error {
			var source server.Source
			var err error
			if source.DataDir, err = serverDataDir(data); err != nil {
				return err
			}
			if source.Database, err = databaseURL(database, "CAPSTAN_DATABASE"); err != nil {
				return err
			}
			if _, isBucket := cutScheme(objects, "s3://"); isBucket {
				source.Bucket = objects
			} else if source.ObjectsDir, err = storageFolder(objects); err != nil {
				return err
			}
			return c.backup(cmd.Context(), source, args[0])
		},
	}
	cmd.Flags().StringVar(&data, "data", "", "data directory (default server in the user's data folder)")
	cmd.Flags().StringVar(&database, "database", "", "postgres:// URL, or a SQLite file (default $CAPSTAN_DATABASE, or capstan.db in the data directory)")
	cmd.Flags().StringVar(&objects, "storage", "", "folder or s3:// bucket of the objects, when they are not in the data directory")
	return cmd
}

// backup writes beside the file and renames, so that a name never stands for
// half a backup.
func (c *Command) backup(ctx context.Context, source server.Source, path string) error {
	if _, err := os.Stat(path); err == nil {
		return failure.Newf(failure.Conflict, "exists", "make backup", "choose a new name", "%s exists already", oneLine(path))
	}
	part := path + ".part"
	file, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return failure.Wrap(err, failure.Failed, "backup_failed", "make backup", "choose a folder that this user may write to")
	}
	report, err := server.Backup(ctx, source, file)
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
		c.Notef("warning: the database knows the object %s, and it is missing", oneLine(name))
	}
	result := map[string]any{"file": path, "files": len(report.Files), "size": report.Size(), "audit_entries": report.AuditEntries, "audit_head": report.AuditHead,
		"ledger_root": report.LedgerRoot, "missing": len(report.Missing), "bucket": report.Bucket}
	return c.Result(result, func(w io.Writer) {
		fmt.Fprintf(w, "%s: %d files, %d bytes, %d audit entries up to %.16s, verified\n", oneLine(path), len(report.Files), report.Size(), report.AuditEntries, report.AuditHead)
		if report.Bucket > 0 {
			fmt.Fprintf(w, "%d objects are in the bucket and not in the file\n", report.Bucket)
		}
	})
}

func newRestore(c *Command) *cobra.Command {
	var data, database string
	var verify bool
	cmd := &cobra.Command{
		Use: "restore FILE", Short: "Read a backup into an empty data directory, or verify it", Args: cobra.ExactArgs(1),
		Long: `restore checks a backup and reads it into a data directory that no server has used. With --database, or
CAPSTAN_DATABASE, its database goes into an empty PostgreSQL, whichever engine it came from. --verify
does everything but keep the result.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := serverDataDir(data)
			if err != nil {
				return err
			}
			if database, err = databaseURL(database, "CAPSTAN_DATABASE"); err != nil {
				return err
			}
			if database != "" && !store.IsPostgres(database) {
				return failure.New(failure.Usage, "database_url", "restore backup", "a SQLite database is restored into its data directory", "name that with --data, and leave --database out")
			}
			file, err := os.Open(args[0])
			if err != nil {
				return failure.Wrap(err, failure.NotFound, "backup_missing", "restore backup", "name a file that capstan backup wrote")
			}
			defer file.Close()
			if verify {
				report, err := server.VerifyBackup(cmd.Context(), file, filepath.Dir(args[0]))
				if err != nil {
					return err
				}
				return c.reportBackup(report, args[0])
			}
			report, err := server.Restore(cmd.Context(), file, dir, database)
			if err != nil {
				return err
			}
			return c.reportBackup(report, dir)
		},
	}
	cmd.Flags().StringVar(&data, "data", "", "data directory to fill (default server in the user's data folder)")
	cmd.Flags().StringVar(&database, "database", "", "postgres:// URL of an empty database to fill (default $CAPSTAN_DATABASE, or SQLite in the data directory)")
	cmd.Flags().BoolVar(&verify, "verify", false, "check the backup as a restore would, in a folder beside it, and keep nothing")
	return cmd
}
