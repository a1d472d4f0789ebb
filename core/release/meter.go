package release

import "time"

// meter turns byte counts into a steady rate and an ETA: the rate is taken
// over a sliding window, so that one stall does not make the ETA jump, and
// reports are limited to ten a second.
type meter struct {
	now     func() time.Time
	emit    func(Event)
	stage   StageName
	total   int64
	samples []sample // oldest first, at most window old
	last    time.Time
}

type sample struct {
	at   time.Time
	done int64
}

const (
	meterWindow   = 10 * time.Second
	meterInterval = 100 * time.Millisecond
)

func newMeter(now func() time.Time, emit func(Event), stage StageName, total int64) *meter {
	return &meter{now: now, emit: emit, stage: stage, total: total}
}

// update reports that done bytes of total are behind us. A total of 0 keeps the known one.
func (m *meter) update(done, total int64) {
	if total > 0 {
		m.total = total
	}
	at := m.now()
	complete := m.total > 0 && done >= m.total
	if !complete && at.Sub(m.last) < meterInterval {
		return
	}
	m.last = at
	m.samples = append(m.samples, sample{at, done})
	for len(m.samples) > 2 && at.Sub(m.samples[0].at) > meterWindow {
		m.samples = m.samples[1:]
	}
	event := Event{Time: at, Stage: m.stage, Kind: EventProgress, Done: done, Total: m.total}
	first := m.samples[0]
	if elapsed := at.Sub(first.at); elapsed > 0 && done > first.done {
		event.Rate = float64(done-first.done) / elapsed.Seconds()
		if m.total > done {
			event.ETA = time.Duration(float64(m.total-done) / event.Rate * float64(time.Second))
		}
	}
	m.emit(event)
}
