package release

import (
	"bufio"
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
	"golang.org/x/sync/errgroup"

	"capstan/core/bundle"
	"capstan/core/capgo"
	"capstan/core/device"
	"capstan/core/failure"
	"capstan/internal/fault"
)

// A release with delta files has three more files beside its journal, until it ends:
//
//	delta.bin   the stored bytes of all files, one behind the other; equal ones once
//	delta.json  the list of files with their places in delta.bin
//	delta.sent  the hashes of those that are in storage, a line each

const (
	deltaWorkers = 8 // uploads at once: many small objects wait for answers, not for bytes
)

// deltaList is delta.json.
type deltaList struct {
	// SessionKey and PlainChecksum tie the list to the bundle that it was made with.
	SessionKey    string      `json:"session_key"`
	PlainChecksum string      `json:"plain_checksum"`
	Size          int64       `json:"size"`   // of delta.bin
	SHA256        string      `json:"sha256"` // of delta.bin, hex
	Files         []deltaFile `json:"files"`
}

// deltaFile is one file and the place of its stored bytes in delta.bin.
type deltaFile struct {
	bundle.ManifestFile
	Offset int64 `json:"offset"`
}

// DeltaOutcome is what became of a release's delta files.
type DeltaOutcome struct {
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"` // of all files as stored, equal ones counted once
	Sent  int64 `json:"sent"`  // bytes that were not in storage yet
	// Existed counts the files that storage had already.
	Existed int `json:"existed"`
}

func (o *DeltaOutcome) text() string {
	if o == nil {
		return ""
	}
	text := fmt.Sprintf("; %s delta files, %s", humanize.Comma(int64(o.Files)), humanize.IBytes(uint64(o.Bytes)))
	if o.Existed > 0 {
		text += fmt.Sprintf(", %d there already", o.Existed)
	}
	return text
}

// delta reports whether this release makes delta files.
func (r *run) delta() bool {
	return r.plan().Delta && r.state.Preflight != nil && r.state.Preflight.Delta
}

// planDelta decides whether delta files can be made and kept. A registry that
// cannot keep them is no reason to stop: devices then download the whole bundle.
func (r *run) planDelta(ctx context.Context, about capgo.About, outcome *PreflightOutcome) error {
	plan := r.plan()
	if !plan.Delta {
		return nil
	}
	if !has(about, capgo.CapDelta) {
		r.event(Event{Stage: StagePreflight, Kind: EventFinding, Level: bundle.LevelWarn, Code: "delta_unsupported",
			Text: fmt.Sprintf("%s cannot take delta files from outside; devices will download the whole bundle", serverName(about)),
			Hint: "delta updates need a capstan server"})
		return nil
	}
	outcome.Delta = true
	return bundle.CheckDelta(ctx, plan.Dir, plan.options(nil))
}

func serverName(about capgo.About) string {
	if about.Server == "capgo" || about.Server == "" {
		return "Capgo's public API"
	}
	return "this server"
}

func (j *journal) deltaPath(suffix string) string { return filepath.Join(j.dir, "delta."+suffix) }

func (j *journal) deltaPaths() []string {
	return []string{j.deltaPath("bin"), j.deltaPath("json"), j.deltaPath("sent"), j.deltaPath("bin") + ".part", j.deltaPath("json") + ".part"}
}

// deltaSpool collects the stored bytes of all files, equal ones once.
type deltaSpool struct {
	mu     sync.Mutex
	file   *bufio.Writer
	hash   hash.Hash
	size   int64
	places map[string]int64 // offset by hash of the stored bytes
}

func (s *deltaSpool) put(_ context.Context, f bundle.ManifestFile, stored io.ReaderAt) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.places[f.StoredSHA256]; there {
		return nil
	}
	n, err := io.Copy(io.MultiWriter(s.file, s.hash), io.NewSectionReader(stored, 0, f.StoredSize))
	if err != nil {
		return spoolFailure(err)
	}
	s.places[f.StoredSHA256] = s.size
	s.size += n
	return nil
}

// sealDelta makes the delta files of the bundle that was just sealed, with its
// session key and IV, and leaves them in the spool.
func (r *run) sealDelta(ctx context.Context, sealed *bundle.Sealed, signer crypto.Signer) (text string, err error) {
	part := r.deltaPath("bin") + ".part"
	file, err := os.OpenFile(part, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return "", stateFailure(err)
	}
	defer os.Remove(part)
	defer file.Close()
	spool := &deltaSpool{file: bufio.NewWriterSize(file, 256<<10), hash: sha256.New(), places: map[string]int64{}}
	m := newMeter(time.Now, r.emit, StageSeal, 0)
	files, err := bundle.BuildManifest(ctx, r.plan().Dir, *sealed, signer, bundle.ManifestOptions{
		Options: r.plan().options(m.update), Quality: r.plan().DeltaQuality, Cache: r.Cache, Put: spool.put,
	})
	if err == nil {
		err = spool.file.Flush()
	}
	if err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = file.Close()
	}
	if err != nil {
		return "", spoolFailure(err)
	}
	list := deltaList{SessionKey: sealed.SessionKey, PlainChecksum: sealed.PlainChecksum, Size: spool.size, SHA256: hex.EncodeToString(spool.hash.Sum(nil))}
	for _, f := range files {
		list.Files = append(list.Files, deltaFile{f, spool.places[f.StoredSHA256]})
	}
	fault.Point("delta.rename")
	if err := os.Rename(part, r.deltaPath("bin")); err != nil {
		return "", spoolFailure(err)
	}
	// What an earlier attempt sent was sealed with another session key.
	if err := r.forgetSent(); err != nil {
		return "", err
	}
	if err := r.writeDelta(list); err != nil {
		return "", spoolFailure(err)
	}
	if r.Cache != nil {
		_ = r.Cache.Tidy(ctx) // what it could not remove takes room, and no more
	}
	return fmt.Sprintf("; %s delta files in %s", humanize.Comma(int64(len(files))), humanize.IBytes(uint64(list.Size))), nil
}

func (r *run) writeDelta(list deltaList) error {
	path := r.deltaPath("json")
	file, err := os.OpenFile(path+".part", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	w := bufio.NewWriterSize(file, 256<<10)
	if err := json.NewEncoder(w).Encode(list); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	if err := os.Rename(path+".part", path); err != nil {
		return err
	}
	return syncDir(r.dir)
}

// readDelta reads the list, which must be that of the sealed bundle.
func (r *run) readDelta() (list deltaList, err error) {
	file, err := os.Open(r.deltaPath("json"))
	if err != nil {
		return list, stateFailure(err)
	}
	defer file.Close()
	if err := json.NewDecoder(bufio.NewReader(file)).Decode(&list); err != nil {
		return list, stateFailure(err)
	}
	if s := r.state.Sealed; s == nil || list.SessionKey != s.SessionKey || list.PlainChecksum != s.PlainChecksum {
		return list, failure.New(failure.Failed, "delta_spool", "read the delta files", "they belong to another bundle than the sealed one",
			"give this release up and start a new one")
	}
	return list, nil
}

// deltaWhole reports whether the spooled files are there as they were made.
func (r *run) deltaWhole() bool {
	list, err := r.readDelta()
	if err != nil {
		return false
	}
	sum, size, _, err := hashFile(r.deltaPath("bin"))
	return err == nil && size == list.Size && sum == list.SHA256
}

// FileObjectName is the storage name of a delta file: <appId>/files/<sha256 of
// the stored bytes>. It has no suffix, so that no web server takes it for
// something to decode on the way.
func FileObjectName(appID, sha256Hex string) string { return appID + "/files/" + sha256Hex }

// uploadDelta sends the files that storage does not have. done hears the bytes
// that are behind us; it is called from one goroutine at a time.
//
// A sealed file never existed before its bundle was sealed, so it is only
// looked for when this release sent it before. Plain ones are shared between
// all bundles of the app: storage is asked first.
func (r *run) uploadDelta(ctx context.Context, list deltaList, done func(int64)) (*DeltaOutcome, error) {
	spool, err := os.Open(r.deltaPath("bin"))
	if err != nil {
		return nil, stateFailure(err)
	}
	defer spool.Close()
	sent, err := r.openSent()
	if err != nil {
		return nil, err
	}
	defer sent.file.Close()
	outcome := &DeltaOutcome{Files: len(list.Files), Bytes: list.Size}
	var mu sync.Mutex // of outcome and behind
	behind := int64(0)
	move := func(n int64) {
		mu.Lock()
		defer mu.Unlock()
		behind += n
		done(behind)
	}
	group, within := errgroup.WithContext(ctx)
	group.SetLimit(deltaWorkers)
	seen := make(map[string]bool, len(list.Files))
	for _, f := range list.Files {
		if seen[f.StoredSHA256] {
			continue
		}
		seen[f.StoredSHA256] = true
		if sent.before[f.StoredSHA256] {
			move(f.StoredSize)
			mu.Lock()
			outcome.Existed++
			mu.Unlock()
			continue
		}
		group.Go(func() error {
			existed, err := r.sendFile(within, f, spool, move)
			if err != nil {
				return err
			}
			mu.Lock()
			if existed {
				outcome.Existed++
			} else {
				outcome.Sent += f.StoredSize
			}
			mu.Unlock()
			return sent.note(f.StoredSHA256)
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return outcome, nil
}

// sendFile puts one file into storage, unless it is there.
func (r *run) sendFile(ctx context.Context, f deltaFile, spool *os.File, move func(int64)) (existed bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	name := FileObjectName(r.plan().AppID, f.StoredSHA256)
	if r.plan().KeyID == "" {
		have, err := r.Storage.Stat(ctx, name)
		if err == nil && have.Size == f.StoredSize && (have.SHA256 == "" || have.SHA256 == f.StoredSHA256) {
			move(f.StoredSize)
			return true, nil
		}
		if err != nil && !isClass(err, failure.NotFound) {
			return false, err
		}
	}
	last := int64(0)
	fault.Point("delta.put")
	object, err := r.Storage.Put(ctx, name, io.NewSectionReader(spool, f.Offset, f.StoredSize), f.StoredSize, f.StoredSHA256, func(n int64) {
		move(n - last)
		last = n
	})
	if err != nil {
		return false, err
	}
	move(f.StoredSize - last)
	return object.Existed, nil
}

// sentFiles is delta.sent. It is not synced: a line that a power failure takes
// costs one file sent again, and one is only written when the file is there.
type sentFiles struct {
	before map[string]bool
	mu     sync.Mutex
	file   *os.File
}

func (r *run) openSent() (*sentFiles, error) {
	path := r.deltaPath("sent")
	if err := dropTornLine(path); err != nil {
		return nil, stateFailure(err)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, stateFailure(err)
	}
	s := &sentFiles{before: map[string]bool{}, file: file}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		s.before[lines.Text()] = true
	}
	if err := lines.Err(); err != nil {
		file.Close()
		return nil, stateFailure(err)
	}
	return s, nil
}

// forgetSent has every file asked for again.
func (j *journal) forgetSent() error {
	if err := os.Remove(j.deltaPath("sent")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return stateFailure(err)
	}
	return nil
}

func (s *sentFiles) note(sha256Hex string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	fault.Point("delta.note")
	_, err := s.file.WriteString(sha256Hex + "\n")
	return stateFailure(err)
}

// deltaObjects describes the files as devices will download them.
func (r *run) deltaObjects() ([]device.DeltaFile, error) {
	if r.state.Uploaded.Delta == nil {
		return nil, nil
	}
	list, err := r.readDelta()
	if err != nil {
		return nil, err
	}
	files := make([]device.DeltaFile, len(list.Files))
	for i, f := range list.Files {
		files[i] = device.DeltaFile{ManifestFile: f.ManifestFile, URL: r.Storage.PublicURL(FileObjectName(r.plan().AppID, f.StoredSHA256))}
	}
	return files, nil
}

// manifest is what the registry is told of the files.
func (r *run) manifest() ([]capgo.NewFile, error) {
	files, err := r.deltaObjects()
	if err != nil || len(files) == 0 {
		return nil, err
	}
	manifest := make([]capgo.NewFile, len(files))
	for i, f := range files {
		manifest[i] = capgo.NewFile{FileName: f.FileName, SHA256: f.SHA256, HashV2: f.HashV2, HashV3: f.HashV3, URL: f.URL, Size: f.StoredSize}
	}
	return manifest, nil
}
