package release

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"capstan/core/failure"
)

var testPlan = Plan{AppID: "com.example.app", Version: "1.2.3", Channel: "production", Dir: "/build"}

func openTestJournals(t *testing.T) *Journals {
	t.Helper()
	j, err := OpenJournals(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func mustCreate(t *testing.T, j *Journals) *journal {
	t.Helper()
	jr, err := j.create(testPlan, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return jr
}

func TestJournalTellsWhatIsDone(t *testing.T) {
	j := openTestJournals(t)
	jr := mustCreate(t, j)
	id := jr.state.ID
	if err := jr.begin(StageUpload); err != nil {
		t.Fatal(err)
	}
	if err := jr.done(StageUpload, UploadOutcome{Name: "n", URL: "u"}); err != nil {
		t.Fatal(err)
	}
	if err := jr.begin(StageProve); err != nil {
		t.Fatal(err)
	}
	jr.fail(StageProve, os.ErrDeadlineExceeded)
	jr.close()

	state, err := j.Read(id[:17])
	if err != nil {
		t.Fatal(err)
	}
	if state.Plan != testPlan {
		t.Errorf("plan %+v", state.Plan)
	}
	if state.Uploaded == nil || state.Uploaded.URL != "u" {
		t.Errorf("uploaded %+v", state.Uploaded)
	}
	if state.Proved != nil || state.FailedStage != StageProve || state.Failed == "" {
		t.Errorf("proof: %+v, failed %q %q", state.Proved, state.FailedStage, state.Failed)
	}
	if left := state.Leftovers(); len(left) != 1 {
		t.Errorf("leftovers %q", left)
	}
	info, err := os.Stat(filepath.Join(j.dir, id, "journal.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("journal has mode %v", info.Mode())
	}
}

func TestJournalForgetsATornLine(t *testing.T) {
	j := openTestJournals(t)
	jr := mustCreate(t, j)
	id, path := jr.state.ID, filepath.Join(jr.dir, "journal.jsonl")
	if err := jr.begin(StageSeal); err != nil {
		t.Fatal(err)
	}
	jr.close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// Cut the file at every byte: what is read is a prefix of what happened,
	// and appending afterwards gives a journal that reads whole.
	for cut := range len(whole) {
		if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		jr, err := j.open(id, time.Now)
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if err := jr.done(StageUpload, UploadOutcome{URL: "after"}); err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		jr.close()
		state, err := j.Read(id)
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if state.Uploaded == nil || state.Uploaded.URL != "after" {
			t.Fatalf("cut at %d: the record after the tear was lost", cut)
		}
	}
}

func TestJournalIsLocked(t *testing.T) {
	j := openTestJournals(t)
	jr := mustCreate(t, j)
	defer jr.close()
	_, err := j.open(jr.state.ID, time.Now)
	if failure.CodeOf(err) != "release_running" {
		t.Fatalf("second open: %v", err)
	}
}

func TestReadRefusesPaths(t *testing.T) {
	j := openTestJournals(t)
	for _, id := range []string{"../x", "/etc", `a\b`, ".hidden"} {
		if _, err := j.Read(id); failure.CodeOf(err) != "release_id_malformed" {
			t.Errorf("%q: %v", id, err)
		}
	}
	for _, id := range []string{"*", "2026", "[a-z]"} {
		if _, err := j.Read(id); failure.CodeOf(err) != "release_not_found" {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestNewestUnfinished(t *testing.T) {
	j := openTestJournals(t)
	clock := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	now := func() time.Time { clock = clock.Add(time.Second); return clock }
	var ids []string
	for range 3 {
		jr, err := j.create(testPlan, now)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, jr.state.ID)
		jr.close()
	}
	if _, err := j.GiveUp(ids[2]); err != nil {
		t.Fatal(err)
	}
	state, err := j.Read("")
	if err != nil {
		t.Fatal(err)
	}
	if state.ID != ids[1] {
		t.Errorf("newest unfinished is %s, want %s", state.ID, ids[1])
	}
}

func TestPlanRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		edit func(*Plan)
		code string
	}{
		"no app":        {func(p *Plan) { p.AppID = "" }, "app_missing"},
		"no folder":     {func(p *Plan) { p.Dir = "" }, "folder_missing"},
		"no version":    {func(p *Plan) { p.Version = "" }, "version_missing"},
		"two numbers":   {func(p *Plan) { p.Version = "1.2" }, "version_not_semver"},
		"leading v":     {func(p *Plan) { p.Version = "v1.2.3" }, "version_not_semver"},
		"leading zero":  {func(p *Plan) { p.Version = "1.02.3" }, "version_not_semver"},
		"key, no pem":   {func(p *Plan) { p.KeyID = "MIIBCgKCAQEAAAAAAAAA" }, "key_missing"},
		"spaces around": {func(p *Plan) { p.Version = " 1.2.3" }, "version_not_semver"},
	} {
		t.Run(name, func(t *testing.T) {
			plan := testPlan
			test.edit(&plan)
			err := plan.check()
			if failure.CodeOf(err) != test.code {
				t.Errorf("code %s of %v, want %s", failure.CodeOf(err), err, test.code)
			}
		})
	}
	if err := testPlan.check(); err != nil {
		t.Errorf("a good plan: %v", err)
	}
}

func TestMeterGivesRateAndETA(t *testing.T) {
	var events []Event
	at := time.Unix(0, 0)
	m := newMeter(func() time.Time { return at }, func(e Event) { events = append(events, e) }, StageUpload, 1000)
	for done := int64(0); done <= 1000; done += 10 {
		m.update(done, 0)
		at = at.Add(20 * time.Millisecond) // 500 bytes a second
	}
	if len(events) > 25 {
		t.Errorf("%d events in two seconds", len(events))
	}
	middle, last := events[len(events)/2], events[len(events)-1]
	if middle.Rate < 490 || middle.Rate > 510 {
		t.Errorf("rate %v, want 500", middle.Rate)
	}
	if want := time.Duration(float64(1000-middle.Done)/500*1000) * time.Millisecond; middle.ETA < want*95/100 || middle.ETA > want*105/100 {
		t.Errorf("ETA %v, want %v", middle.ETA, want)
	}
	if last.Done != 1000 {
		t.Errorf("the last report says %d", last.Done)
	}
}

func TestObjectName(t *testing.T) {
	if got, want := ObjectName("com.example.app", "1.2.3+build 5", "abc"), "com.example.app/1.2.3_build_5/abc.zip"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
