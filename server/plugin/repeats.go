package plugin

import (
	"hash/maphash"
	"net/http"
	"strconv"
	"sync"

	"capstan/core/capgo"
)

// repeats remembers the events that were recorded last. Plugins send a batch
// again when its acknowledgement was lost on the way; the second copy is
// acknowledged without being counted twice. The memory is bounded and does not
// outlive the process: a store that wants certainty over restarts keeps its own
// unique key.
type repeats struct {
	mu   sync.Mutex
	seed maphash.Seed
	now  map[uint64]struct{}
	last map[uint64]struct{}
}

// generation is how many events one generation holds. Two are kept.
const generation = 1 << 16

// identity is what makes two events the same, 0 for an event without a device
// clock, which cannot be told from another.
func (s *repeats) identity(appID string, e *capgo.StatsEvent) uint64 {
	if e.Timestamp == 0 {
		return 0
	}
	var h maphash.Hash
	h.SetSeed(s.seed)
	for _, part := range [...]string{appID, e.DeviceID, e.Action, e.VersionName} {
		h.WriteString(part)
		h.WriteByte(0)
	}
	h.WriteString(strconv.FormatInt(e.Timestamp, 36))
	return h.Sum64() | 1
}

// fresh returns the events not seen before, each once, and their identities.
func (s *repeats) fresh(appID string, events []capgo.StatsEvent) (keep []capgo.StatsEvent, ids []uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now == nil {
		s.seed = maphash.MakeSeed()
		s.now = map[uint64]struct{}{}
	}
	batch := make(map[uint64]struct{}, len(events))
	for i := range events {
		id := s.identity(appID, &events[i])
		if id != 0 {
			_, again := batch[id]
			_, recent := s.now[id]
			_, older := s.last[id]
			if again || recent || older {
				continue
			}
			batch[id] = struct{}{}
			ids = append(ids, id)
		}
		keep = append(keep, events[i])
	}
	return keep, ids
}

// remember marks events as recorded.
func (s *repeats) remember(ids []uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		s.now[id] = struct{}{}
	}
	if len(s.now) >= generation {
		s.last, s.now = s.now, map[uint64]struct{}{}
	}
}

// record keeps the events that are new. They count as seen only once they are
// durable.
func (h *Handler) record(r *http.Request, appID string, events []capgo.StatsEvent) error {
	keep, ids := h.repeats.fresh(appID, events)
	if len(keep) == 0 {
		return nil
	}
	if err := h.Devices.Record(r.Context(), appID, keep); err != nil {
		return err
	}
	h.repeats.remember(ids)
	return nil
}
