package store

// HoldWriter keeps the recorder from writing until release is called.
func HoldWriter(s *Store) (release func()) {
	s.recorder.writing.Lock()
	return s.recorder.writing.Unlock
}

// WaitingEvents is how many events wait to be written.
func WaitingEvents(s *Store) int {
	s.recorder.mu.Lock()
	defer s.recorder.mu.Unlock()
	return s.recorder.events
}
