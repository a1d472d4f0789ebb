package server

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"capstan/core/failure"
	"capstan/core/remote/storage"
	"capstan/server/store"
)

// A backup is a tar file: capstan.db, the ledger's key pair, the objects below objects/, and last
// manifest.json, which names every file with its hash. The database is a SQLite
// file whichever engine it came from, so that a backup can be restored to either.
// A backup that was cut short has no manifest, and is refused.
const (
	databaseFile  = "capstan.db"
	objectsFolder = "objects"
	manifestFile  = "manifest.json"
	backupFormat  = 1
)

// ledgerFiles go along, so that a restored server signs as before.
var ledgerFiles = []string{ledgerKeyFile, ledgerPublicFile}

// BackupReport says what a backup holds.
type BackupReport struct {
	Format       int           `json:"format"`
	Created      time.Time     `json:"created"`
	AuditEntries int64         `json:"audit_entries"`
	AuditHead    string        `json:"audit_head"`            // hash of the newest entry
	LedgerRoot   string        `json:"ledger_root,omitempty"` // of the newest checkpoint
	Files        []BackupEntry `json:"files"`
	// Missing are objects that the database knows and the folder or bucket lacks.
	Missing []string `json:"missing,omitempty"`
	// Bucket is how many objects stay where they are, in a bucket.
	Bucket int `json:"bucket,omitempty"`
}

// BackupEntry is one file of a backup.
type BackupEntry struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"` // hex
}

// Size is the sum of the files in bytes.
func (r BackupReport) Size() (total int64) {
	for _, f := range r.Files {
		total += f.Size
	}
	return total
}

// Source says what to back up.
type Source struct {
	DataDir string // holds the ledger's key, and the rest unless told otherwise
	// Database is a postgres:// URL or the path of a SQLite file; "" is
	// capstan.db in DataDir.
	Database   string
	ObjectsDir string // "" is objects in DataDir
	// Bucket is the s3:// URL of a bucket that holds the objects: it is not
	// copied, only looked through for what the database knows.
	Bucket string
}

// Backup writes a server's data to w; servers may run meanwhile. The database is
// copied as it was at one moment, and the copy verified, its audit chain included,
// before it is written. Objects are copied afterwards, so that none is missing
// that the database knows.
func Backup(ctx context.Context, from Source, w io.Writer) (BackupReport, error) {
	const op = "make backup"
	report := BackupReport{Format: backupFormat, Created: time.Now().UTC()}
	temp, err := os.MkdirTemp(from.DataDir, ".backup-")
	if err != nil {
		return report, failure.Wrap(err, failure.NotFound, "data_dir", op, "name the server's data directory with --data")
	}
	defer os.RemoveAll(temp)
	copied := filepath.Join(temp, databaseFile)
	if err := copyDatabase(ctx, from, copied); err != nil {
		return report, err
	}
	names, err := inspectCopy(ctx, copied, &report)
	if err != nil {
		return report, err
	}
	out := tar.NewWriter(w)
	if err := addFile(ctx, out, &report, copied, databaseFile); err != nil {
		return report, failure.Wrap(err, failure.Failed, "backup_failed", op, "")
	}
	for _, name := range ledgerFiles {
		if err := addFile(ctx, out, &report, filepath.Join(from.DataDir, name), name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return report, failure.Wrap(err, failure.Failed, "backup_failed", op, "")
		}
	}
	if from.Bucket != "" {
		err = lookThrough(ctx, from.Bucket, names, &report)
	} else {
		err = copyObjects(ctx, out, from, names, &report)
	}
	if err != nil {
		return report, failure.Wrap(err, failure.Failed, "backup_failed", op, "")
	}
	text, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return report, err
	}
	if err := out.WriteHeader(&tar.Header{Name: manifestFile, Mode: 0o600, Size: int64(len(text)), ModTime: report.Created, Format: tar.FormatPAX}); err != nil {
		return report, failure.Wrap(err, failure.Failed, "backup_failed", op, "")
	}
	if _, err := out.Write(text); err != nil {
		return report, failure.Wrap(err, failure.Failed, "backup_failed", op, "")
	}
	return report, failure.Wrap(out.Close(), failure.Failed, "backup_failed", op, "")
}

// copyDatabase writes a consistent copy of either engine's database to a SQLite file.
func copyDatabase(ctx context.Context, from Source, to string) error {
	if store.IsPostgres(from.Database) {
		if !HasLedgerKey(from.DataDir) {
			return failure.Newf(failure.NotFound, "ledger_key", "make backup", "name the data directory of a node of this database with --data", "there is no ledger.key in %s", from.DataDir)
		}
		if _, err := store.Extract(ctx, from.Database, to); err != nil {
			return err
		}
		return store.CheckSQLite(ctx, to)
	}
	if from.Database == "" {
		from.Database = filepath.Join(from.DataDir, databaseFile)
	}
	return store.CopySQLite(ctx, from.Database, to)
}

func copyObjects(ctx context.Context, out *tar.Writer, from Source, names []string, report *BackupReport) error {
	dir := from.ObjectsDir
	if dir == "" {
		dir = filepath.Join(from.DataDir, objectsFolder)
	}
	if err := addObjects(ctx, out, report, dir); err != nil {
		return err
	}
	held := map[string]bool{}
	for _, f := range report.Files {
		held[f.Name] = true
	}
	for _, name := range names {
		if !held[objectsFolder+"/"+name] {
			report.Missing = append(report.Missing, name)
		}
	}
	return nil
}

// lookThrough asks a bucket for every object that the database knows.
func lookThrough(ctx context.Context, bucket string, names []string, report *BackupReport) error {
	s, err := storage.Open(ctx, bucket, "", storage.Credentials{})
	if err != nil {
		return err
	}
	for _, name := range names {
		_, err := s.Stat(ctx, name)
		switch {
		case failure.CodeOf(err) == "object_not_found":
			report.Missing = append(report.Missing, name)
		case err != nil:
			return err
		default:
			report.Bucket++
		}
	}
	return nil
}

// inspectCopy verifies a copied database as a server would read it, and lists
// the objects that it knows.
func inspectCopy(ctx context.Context, path string, report *BackupReport) ([]string, error) {
	s, err := store.Open(ctx, path, store.Options{})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if report.AuditEntries, report.AuditHead, err = s.VerifyAudit(ctx); err != nil {
		return nil, err
	}
	if report.LedgerRoot, err = s.LedgerRoot(ctx); err != nil {
		return nil, err
	}
	return s.ObjectNames(ctx)
}

func addObjects(ctx context.Context, out *tar.Writer, report *BackupReport, dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		if entry.IsDir() {
			if name == incoming {
				return filepath.SkipDir
			}
			return nil
		}
		if !entry.Type().IsRegular() || !validName(name) {
			return nil // not an object
		}
		return addFile(ctx, out, report, path, objectsFolder+"/"+name)
	})
}

func addFile(ctx context.Context, out *tar.Writer, report *BackupReport, path, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	header := &tar.Header{Name: name, Mode: 0o600, Size: info.Size(), ModTime: info.ModTime().UTC().Truncate(time.Second), Format: tar.FormatPAX}
	if err := out.WriteHeader(header); err != nil {
		return err
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(out, sum), io.LimitReader(file, info.Size()))
	if err != nil {
		return err
	}
	if n != info.Size() {
		return fmt.Errorf("%s became shorter while it was read", name)
	}
	report.Files = append(report.Files, BackupEntry{Name: name, Size: n, SHA256: hex.EncodeToString(sum.Sum(nil))})
	return nil
}

// restoring is the ending of files that get their name last.
const restoring = ".restoring"

// Restore reads a backup into a data directory that no server has used, and its
// database into an empty PostgreSQL where database names one. Every file is
// checked against the manifest, and the database against its own tests, before
// anything gets its name: a restore that failed leaves nothing that a server
// would start on. Codes data_dir_in_use, backup_damaged, and those of store.Move.
func Restore(ctx context.Context, r io.Reader, dataDir, database string) (BackupReport, error) {
	const op = "restore backup"
	var report BackupReport
	for _, name := range append([]string{databaseFile}, ledgerFiles...) {
		if _, err := os.Stat(filepath.Join(dataDir, name)); err == nil {
			return report, failure.Newf(failure.Conflict, "data_dir_in_use", op, "restore into an empty folder, then start the server on it", "%s holds a server's data", dataDir)
		}
	}
	if err := os.MkdirAll(dataDir, 0o700); err != nil {
		return report, failure.Wrap(err, failure.Failed, "data_dir", op, "choose a folder that this user may write to, with --data")
	}
	root, err := os.OpenRoot(dataDir)
	if err != nil {
		return report, failure.Wrap(err, failure.Failed, "data_dir", op, "")
	}
	defer root.Close()
	defer func() { // what did not get its name
		for _, suffix := range []string{"", "-wal", "-shm"} {
			_ = root.Remove(databaseFile + restoring + suffix)
		}
		for _, name := range ledgerFiles {
			_ = root.Remove(name + restoring)
		}
	}()
	if report, err = unpackBackup(ctx, tar.NewReader(r), root); err != nil {
		return report, err
	}
	path := filepath.Join(dataDir, databaseFile+restoring)
	if err := store.CheckSQLite(ctx, path); err != nil {
		return report, err
	}
	inside := report
	if _, err := inspectCopy(ctx, path, &inside); err != nil {
		return report, err
	}
	if inside.AuditHead != report.AuditHead || inside.AuditEntries != report.AuditEntries || report.LedgerRoot != "" && inside.LedgerRoot != report.LedgerRoot {
		return report, damaged("the audit in the database is not the one that was backed up")
	}
	if database != "" {
		moved, err := store.Move(ctx, path, database, nil)
		if err != nil {
			return report, err
		}
		if moved.AuditHead != report.AuditHead || moved.LedgerRoot != inside.LedgerRoot {
			return report, damaged("the audit in PostgreSQL is not the one that was backed up")
		}
	}
	for _, f := range report.Files {
		if slices.Contains(ledgerFiles, f.Name) || f.Name == databaseFile && database == "" {
			if err := root.Rename(f.Name+restoring, f.Name); err != nil {
				return report, failure.Wrap(err, failure.Failed, "restore_failed", op, "")
			}
		}
	}
	return report, nil
}

// VerifyBackup does what Restore does up to the point where a server could start
// on it, in a folder of its own below dir, and leaves nothing.
func VerifyBackup(ctx context.Context, r io.Reader, dir string) (BackupReport, error) {
	temp, err := os.MkdirTemp(dir, ".verify-")
	if err != nil {
		return BackupReport{}, failure.Wrap(err, failure.Failed, "data_dir", "verify backup", "choose a folder that this user may write to, with --data")
	}
	defer os.RemoveAll(temp)
	return Restore(ctx, r, filepath.Join(temp, "restored"), "")
}

func damaged(why string) error {
	return failure.New(failure.Verification, "backup_damaged", "restore backup", why, "use another backup")
}

// unpackBackup writes the files of a backup and compares them with its manifest.
func unpackBackup(ctx context.Context, in *tar.Reader, root *os.Root) (BackupReport, error) {
	var report BackupReport
	found := map[string]BackupEntry{}
	for {
		if err := ctx.Err(); err != nil {
			return report, err
		}
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return report, damaged("the backup was cut short: it has no manifest")
		}
		if err != nil {
			return report, damaged("the file is not a whole tar file")
		}
		if header.Typeflag != tar.TypeReg {
			return report, damaged("the backup holds something that is not a file")
		}
		if header.Name == manifestFile {
			return readManifest(in, header.Size, found)
		}
		to := header.Name + restoring
		if object, ok := strings.CutPrefix(header.Name, objectsFolder+"/"); ok {
			if !validName(object) {
				return report, damaged("the backup holds a file that is not an object")
			}
			to = header.Name
		} else if header.Name != databaseFile && !slices.Contains(ledgerFiles, header.Name) {
			return report, damaged("the backup holds a file that does not belong there")
		}
		if _, twice := found[header.Name]; twice {
			return report, damaged("the backup holds a file twice")
		}
		sum, err := writeRestored(root, to, in)
		if err != nil {
			return report, err
		}
		found[header.Name] = BackupEntry{Name: header.Name, Size: header.Size, SHA256: sum}
	}
}

// maxManifest bounds the manifest in bytes: some hundred bytes a file.
const maxManifest = 1 << 30

func readManifest(in io.Reader, size int64, found map[string]BackupEntry) (report BackupReport, err error) {
	if size > maxManifest {
		return report, damaged("the manifest is too large")
	}
	if err := json.NewDecoder(in).Decode(&report); err != nil {
		return report, damaged("the manifest cannot be read")
	}
	if report.Format != backupFormat {
		return report, damaged("the backup was made by another version")
	}
	if len(report.Files) != len(found) {
		return report, damaged("the backup does not hold the files that its manifest names")
	}
	for _, f := range report.Files {
		if found[f.Name] != f {
			return report, damaged("a file of the backup was changed")
		}
	}
	if _, ok := found[databaseFile]; !ok {
		return report, damaged("the backup holds no database")
	}
	return report, nil
}

func writeRestored(root *os.Root, name string, in io.Reader) (string, error) {
	failed := func(err error) error {
		return failure.Wrap(err, failure.Failed, "restore_failed", "restore backup", "see the volume of the data directory")
	}
	if dir := filepath.Dir(name); dir != "." {
		if err := root.MkdirAll(dir, 0o700); err != nil {
			return "", failed(err)
		}
	}
	file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return "", failed(err)
	}
	sum := sha256.New()
	_, err = io.Copy(io.MultiWriter(file, sum), in)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		_ = file.Close()
		return "", damaged("the backup was cut short")
	}
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return "", failed(err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
