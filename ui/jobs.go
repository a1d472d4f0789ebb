package ui

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"

	"capstan/core/failure"
	"capstan/core/release"
	"capstan/ui/text"
	"capstan/ui/views"
)

// jobs runs long work beside the screen. Each job has one goroutine and one
// bounded channel of events: progress is thinned to ten events a second and
// may be dropped, everything else arrives in order, and the end always arrives.
type jobs struct {
	list []*job
	// dead is closed when the program has ended and nobody reads events any more.
	dead       chan struct{}
	wait       sync.WaitGroup
	cancelling bool
	onCrash    func(value any, stack []byte)
}

type job struct {
	msg    views.JobMsg
	stop   context.CancelFunc
	events chan release.Event
	value  any
	err    error

	// What was reported last, for the status line.
	done, total int64
	stage       release.StageName
}

const (
	eventBuffer   = 64
	progressEvery = 100 * time.Millisecond
)

// start runs a job and gives the command that carries its first event.
func (j *jobs) start(parent context.Context, m views.JobMsg) tea.Cmd {
	ctx, stop := context.WithCancel(parent)
	one := &job{msg: m, stop: stop, events: make(chan release.Event, eventBuffer)}
	j.list = append(j.list, one)
	j.wait.Add(1)
	run := func() tea.Msg {
		defer j.wait.Done()
		defer stop()
		// The end is the closing of the channel, so it comes after every event.
		defer close(one.events)
		defer func() {
			if p := recover(); p != nil {
				if j.onCrash != nil {
					j.onCrash(p, debug.Stack())
				}
				one.err = failure.Newf(failure.Crash, "crash", m.Title, "this is a fault of capstan; please report it", "internal error: %s", text.Clean(fmt.Sprint(p)))
			}
		}()
		one.value, one.err = m.Run(ctx, j.emitter(one))
		return nil
	}
	return tea.Batch(run, j.next(m.ID))
}

// emitter takes events from the job's goroutine.
func (j *jobs) emitter(one *job) func(release.Event) {
	var last time.Time
	return func(ev release.Event) {
		if ev.Kind == release.EventProgress {
			now := time.Now()
			if ev.Done < ev.Total && now.Sub(last) < progressEvery {
				return
			}
			last = now
			select {
			case one.events <- ev:
			default: // the screen is behind; the next one says more
			}
			return
		}
		select {
		case one.events <- ev:
		case <-j.dead:
		}
	}
}

// next waits for a job's next event, or its end.
func (j *jobs) next(id string) tea.Cmd {
	one := j.find(id)
	if one == nil {
		return nil
	}
	return func() tea.Msg {
		ev, ok := <-one.events
		if !ok {
			return views.JobDoneMsg{JobID: id, Owner: one.msg.Owner, Value: one.value, Err: one.err}
		}
		return views.JobEventMsg{JobID: id, Owner: one.msg.Owner, Event: ev}
	}
}

// note keeps what the status line shows of a job.
func (j *jobs) note(id string, ev release.Event) {
	one := j.find(id)
	if one == nil {
		return
	}
	switch ev.Kind {
	case release.EventStarted:
		one.stage, one.done, one.total = ev.Stage, 0, 0
	case release.EventProgress:
		one.stage, one.done = ev.Stage, ev.Done
		if ev.Total > 0 {
			one.total = ev.Total
		}
	}
}

func (j *jobs) find(id string) *job {
	for _, one := range j.list {
		if one.msg.ID == id {
			return one
		}
	}
	return nil
}

func (j *jobs) running() bool { return len(j.list) > 0 }

// end forgets a job.
func (j *jobs) end(id string) {
	for i, one := range j.list {
		if one.msg.ID == id {
			j.list = append(j.list[:i], j.list[i+1:]...)
			break
		}
	}
	if len(j.list) == 0 {
		j.cancelling = false
	}
}

// cancel asks all jobs to stop.
func (j *jobs) cancel() {
	j.cancelling = len(j.list) > 0
	for _, one := range j.list {
		one.stop()
	}
}

// title is the newest job's title, "" when none runs.
func (j *jobs) title() string {
	if len(j.list) == 0 {
		return ""
	}
	return j.list[len(j.list)-1].msg.Title
}

// share is how far the newest job's stage is, -1 while unknown.
func (j *jobs) share() float64 {
	if len(j.list) == 0 {
		return -1
	}
	one := j.list[len(j.list)-1]
	if one.total <= 0 {
		return -1
	}
	return min(1, float64(one.done)/float64(one.total))
}

// finish waits until every job has ended, at most limit. It is called after
// the program has ended.
func (j *jobs) finish(limit time.Duration) {
	j.cancel()
	close(j.dead)
	ended := make(chan struct{})
	go func() {
		j.wait.Wait()
		close(ended)
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
	}
}
