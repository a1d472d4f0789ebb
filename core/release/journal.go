package release

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"capstan/core/bundle"
	"capstan/core/failure"
	"capstan/internal/fault"
)

// Journals is the folder of all journals, one sub-folder a release:
//
//	<dir>/<id>/journal.jsonl   the plan, then a line at each stage's begin and end
//	<dir>/<id>/bundle.zip      the spool: the object's bytes, until the release ends
//	<dir>/<id>/second.zip      the same, sealed for the second key of an app that changes keys
//	<dir>/<id>/delta.*         the same for the files of a delta update
//
// Folders have mode 0700 and files 0600. A line is on disk (fsync) before the
// step that it announces, and a torn last line counts as not written.
type Journals struct{ dir string }

// OpenJournals uses dir, and makes it when it is absent.
func OpenJournals(dir string) (*Journals, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, failure.Wrap(err, failure.Failed, "state_folder", "open the release journals", "check that the folder can be written, or set CAPSTAN_HOME")
	}
	return &Journals{dir: dir}, nil
}

// State is a release as its journal tells it.
type State struct {
	ID      string    `json:"id"`
	Started time.Time `json:"started"`
	Updated time.Time `json:"updated"`
	Plan    Plan      `json:"plan"`
	// The outcomes of the stages that are done; nil means not done.
	Preflight *PreflightOutcome `json:"preflight,omitempty"`
	Sealed    *bundle.Sealed    `json:"sealed,omitempty"`
	// SecondSealed is the seal for the second key; nil for a release with one.
	SecondSealed *bundle.Sealed   `json:"second_sealed,omitempty"`
	Uploaded     *UploadOutcome   `json:"uploaded,omitempty"`
	Proved       *ProveOutcome    `json:"proved,omitempty"`
	Registered   *RegisterOutcome `json:"registered,omitempty"`
	Promoted     *PromoteOutcome  `json:"promoted,omitempty"`
	// NewApp says that this release made the app, or was about to when it died.
	NewApp bool `json:"new_app,omitempty"`
	// Failed is the last error, until the stage is tried again.
	FailedStage StageName `json:"failed_stage,omitempty"`
	Failed      string    `json:"failed,omitempty"`
	// Ended is set once nothing is left to do, or the release was given up.
	Ended bool `json:"ended"`
}

// line is one record of a journal.
type line struct {
	At      time.Time       `json:"at"`
	Stage   StageName       `json:"stage,omitempty"`
	State   string          `json:"state"` // planned, begin, app_new, app_there, done, failed, ended
	Outcome json.RawMessage `json:"outcome,omitempty"`
	Error   string          `json:"error,omitempty"`
}

// journal is one release's file, locked by this process.
type journal struct {
	dir   string
	file  *os.File
	size  int64 // of the file, up to the last whole record
	lock  *flock.Flock
	state State
	now   func() time.Time
}

// create starts a journal with the plan as its first line.
func (j *Journals) create(plan Plan, now func() time.Time) (*journal, error) {
	var random [4]byte
	_, _ = rand.Read(random[:])
	id := now().UTC().Format("20060102-150405") + "-" + hex.EncodeToString(random[:])
	dir := filepath.Join(j.dir, id)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, stateFailure(err)
	}
	jr, err := openJournal(dir, now)
	if err != nil {
		return nil, err
	}
	jr.state = State{ID: id, Started: now(), Plan: plan}
	outcome, err := json.Marshal(plan)
	if err == nil {
		err = jr.append(line{State: "planned", Outcome: outcome})
	}
	if err == nil {
		err = errors.Join(syncDir(dir), syncDir(j.dir)) // the journal's own entry, and its folder's
	}
	if err != nil {
		jr.close()
		return nil, stateFailure(err)
	}
	return jr, nil
}

// open locks an existing journal and reads it.
func (j *Journals) open(id string, now func() time.Time) (*journal, error) {
	state, err := j.Read(id)
	if err != nil {
		return nil, err
	}
	jr, err := openJournal(filepath.Join(j.dir, state.ID), now)
	if err != nil {
		return nil, err
	}
	// Read again under the lock: another process may have gone on meanwhile.
	if jr.state, err = j.Read(state.ID); err != nil {
		jr.close()
		return nil, err
	}
	return jr, nil
}

func openJournal(dir string, now func() time.Time) (*journal, error) {
	lock := flock.New(filepath.Join(dir, "lock"), flock.SetPermissions(0o600))
	held, err := lock.TryLock()
	if err != nil {
		return nil, stateFailure(err)
	}
	if !held {
		return nil, failure.New(failure.Conflict, "release_running", "open the release journal",
			"this release is being run by another capstan", "wait for it, or end that process")
	}
	path := filepath.Join(dir, "journal.jsonl")
	if err := dropTornLine(path); err != nil {
		_ = lock.Unlock()
		return nil, stateFailure(err)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		_ = lock.Unlock()
		return nil, stateFailure(err)
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close()
		_ = lock.Unlock()
		return nil, stateFailure(err)
	}
	return &journal{dir: dir, file: file, size: info.Size(), lock: lock, now: now}, nil
}

// dropTornLine cuts what a crash left after the last line break, so that the
// next record does not run into it.
func dropTornLine(path string) error {
	content, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) || err == nil && (len(content) == 0 || content[len(content)-1] == '\n') {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Truncate(path, int64(bytes.LastIndexByte(content, '\n')+1))
}

// append writes a record and waits until it is on disk. A record that could
// not be written whole is cut off again, so that the next one starts a line of
// its own; where even that fails, the journal takes no more.
func (j *journal) append(l line) error {
	l.At = j.now()
	encoded, err := json.Marshal(l)
	if err != nil {
		return err
	}
	encoded = append(encoded, '\n')
	if err := j.write(encoded); err != nil {
		if cut := j.file.Truncate(j.size); cut != nil {
			_ = j.file.Close()
		}
		return stateFailure(err)
	}
	j.size += int64(len(encoded))
	fault.Point("journal.synced")
	j.state.apply(l)
	return nil
}

func (j *journal) write(record []byte) error {
	fault.Point("journal.write")
	if err := fault.Fails("journal.write"); err != nil {
		return err
	}
	if _, err := j.file.Write(record); err != nil {
		return err
	}
	fault.Point("journal.sync")
	if err := fault.Fails("journal.sync"); err != nil {
		return err
	}
	return j.file.Sync()
}

func (j *journal) begin(stage StageName) error {
	return j.append(line{Stage: stage, State: "begin"})
}

func (j *journal) done(stage StageName, outcome any) error {
	encoded, err := json.Marshal(outcome)
	if err != nil {
		return err
	}
	return j.append(line{Stage: stage, State: "done", Outcome: encoded})
}

// creates notes ahead that the app is about to be made; and with false that
// somebody else was faster.
func (j *journal) creates(app bool) error {
	return j.append(line{Stage: StagePreflight, State: map[bool]string{true: "app_new", false: "app_there"}[app]})
}

// fail notes why a stage ended. Its own error matters less than the cause.
func (j *journal) fail(stage StageName, cause error) {
	_ = j.append(line{Stage: stage, State: "failed", Error: cause.Error()})
}

// end removes the spool and marks that nothing is left to do, in this order: a
// crash in between leaves a release that ends at its next continuation. The
// removal is on disk first, or a loss of power brings the spool back and nobody
// looks for it any more.
func (j *journal) end() error {
	if err := j.removeSpool(); err != nil {
		return err
	}
	if err := syncDir(j.dir); err != nil {
		return stateFailure(err)
	}
	return j.append(line{State: "ended"})
}

func (j *journal) removeSpool() error {
	for _, path := range append(j.deltaPaths(), j.spool(), j.spool()+".part", j.secondSpool(), j.secondSpool()+".part") {
		if err := fault.Fails("spool.remove"); err != nil {
			return stateFailure(err)
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return stateFailure(err)
		}
	}
	return nil
}

// spool is where the object's bytes wait for their upload.
func (j *journal) spool() string { return filepath.Join(j.dir, "bundle.zip") }

func (j *journal) close() {
	_ = j.file.Close()
	_ = j.lock.Unlock()
}

// apply folds one record into the state.
func (s *State) apply(l line) {
	s.Updated = l.At
	switch l.State {
	case "planned":
		s.Started = l.At
		_ = json.Unmarshal(l.Outcome, &s.Plan)
	case "begin":
		s.FailedStage, s.Failed = "", ""
	case "failed":
		s.FailedStage, s.Failed = l.Stage, l.Error
	case "app_new", "app_there":
		s.NewApp = l.State == "app_new"
	case "ended":
		s.Ended = true
	case "done":
		var target any
		switch l.Stage {
		case StagePreflight:
			s.Preflight = new(PreflightOutcome)
			target = s.Preflight
		case StageSeal:
			s.Sealed = new(bundle.Sealed)
			var also struct{ Second *bundle.Sealed }
			_ = json.Unmarshal(l.Outcome, &also)
			s.SecondSealed = also.Second
			target = s.Sealed
		case StageUpload:
			s.Uploaded = new(UploadOutcome)
			target = s.Uploaded
		case StageProve:
			s.Proved = new(ProveOutcome)
			target = s.Proved
		case StageRegister:
			s.Registered = new(RegisterOutcome)
			target = s.Registered
		case StagePromote:
			s.Promoted = new(PromoteOutcome)
			target = s.Promoted
		default:
			return
		}
		_ = json.Unmarshal(l.Outcome, target)
	}
}

// Read gives a release's state. id may be a unique prefix, or "" for the
// newest release that has not ended.
func (j *Journals) Read(id string) (State, error) {
	const op = "read the release journal"
	if id == "" {
		all, err := j.List(context.Background())
		if err != nil {
			return State{}, err
		}
		for _, state := range all {
			if !state.Ended {
				return state, nil
			}
		}
		return State{}, failure.New(failure.NotFound, "release_not_found", op, "no release is waiting to be continued", "start one with capstan release")
	}
	if strings.ContainsAny(id, `/\`) || strings.HasPrefix(id, ".") {
		return State{}, failure.Newf(failure.Usage, "release_id_malformed", op, "capstan release --list shows the ids", "%q is not a release id", id)
	}
	matches, err := filepath.Glob(filepath.Join(j.dir, globEscape(id)+"*", "journal.jsonl"))
	if err != nil || len(matches) != 1 {
		return State{}, failure.Newf(failure.NotFound, "release_not_found", op, "capstan release --list shows the ids", "%d releases start with %q", len(matches), id)
	}
	return readState(matches[0])
}

func globEscape(s string) string {
	return strings.NewReplacer("*", `\*`, "?", `\?`, "[", `\[`).Replace(s)
}

func readState(path string) (State, error) {
	file, err := os.Open(path)
	if err != nil {
		return State{}, stateFailure(err)
	}
	defer file.Close()
	state := State{ID: filepath.Base(filepath.Dir(path))}
	lines := bufio.NewReader(file)
	for {
		text, err := lines.ReadBytes('\n')
		if err != nil {
			// A line without its break was being written when the process died.
			return state, nil
		}
		var l line
		if err := json.Unmarshal(text, &l); err != nil {
			return state, failure.Wrap(fmt.Errorf("%s: %w", state.ID, err), failure.Failed, "journal_damaged", "read the release journal",
				"start a new release; the damaged journal is left as it is")
		}
		state.apply(l)
	}
}

// List gives all releases, newest first. A damaged journal is left out.
func (j *Journals) List(ctx context.Context) ([]State, error) {
	matches, err := filepath.Glob(filepath.Join(j.dir, "*", "journal.jsonl"))
	if err != nil {
		return nil, stateFailure(err)
	}
	slices.Sort(matches)
	slices.Reverse(matches)
	states := make([]State, 0, len(matches))
	for _, path := range matches {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if state, err := readState(path); err == nil {
			states = append(states, state)
		}
	}
	return states, nil
}

// GiveUp ends a release that shall not be continued and frees its spool. The
// returned lines say what it left behind in storage and registry.
func (j *Journals) GiveUp(id string) ([]string, error) {
	jr, err := j.open(id, time.Now)
	if err != nil {
		return nil, err
	}
	defer jr.close()
	return jr.state.Leftovers(), jr.end()
}

// Leftovers says what a release that stopped has left where others can see it,
// with the command that removes it.
func (s State) Leftovers() []string {
	if s.Promoted != nil {
		return nil
	}
	var left []string
	if s.Registered != nil {
		left = append(left, fmt.Sprintf("bundle %s is registered for %s; no channel points at it. Remove it with: capstan bundle delete %s %s",
			s.Plan.Version, s.Plan.AppID, s.Plan.AppID, s.Plan.Version))
	}
	if s.Uploaded != nil {
		left = append(left, fmt.Sprintf("object %s is in storage at %s", s.Uploaded.Name, s.Uploaded.URL))
		if second := s.Uploaded.Second; second != nil {
			left = append(left, fmt.Sprintf("object %s is in storage at %s", second.Name, second.URL))
		}
	}
	return left
}

func stateFailure(err error) error {
	if _, known := failure.Find(err); known || err == nil {
		return err
	}
	if isFull(err) {
		return failure.Wrap(err, failure.Failed, "disk_full", "write the release state", "free space on the disk that holds capstan's state folder and run capstan release --resume")
	}
	return failure.Wrap(err, failure.Failed, "state_folder", "write the release state", "check the free space and the permissions of the state folder")
}

// syncDir makes a rename or a new entry in dir survive a power loss.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	// Windows and some network file systems cannot sync a folder; there the
	// rename itself is all that can be had.
	_ = d.Sync()
	return nil
}
