package plugin_test

import (
	"context"
	"maps"
	"sync"

	"capstan/core/capgo"
	"capstan/server/decide"
)

// memory is a small real state: snapshots that are replaced on change, and what
// devices told.
type memory struct {
	mu     sync.Mutex
	apps   map[string]*decide.App
	seen   []decide.Verdict
	events []capgo.StatsEvent
	fail   error
}

func newMemory(apps ...*decide.App) *memory {
	m := &memory{apps: map[string]*decide.App{}}
	for _, app := range apps {
		m.apps[app.ID] = app
	}
	return m
}

func (m *memory) Snapshot(_ context.Context, appID string) (*decide.App, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.apps[appID], m.fail
}

func (m *memory) Seen(_ capgo.UpdateRequest, v decide.Verdict) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen = append(m.seen, v)
}

func (m *memory) Record(_ context.Context, _ string, events []capgo.StatsEvent) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail == nil {
		m.events = append(m.events, events...)
	}
	return m.fail
}

func (m *memory) ChooseChannel(_ context.Context, appID, deviceID string, channelID int64) error {
	return m.selfSet(appID, func(chosen map[string]int64) { chosen[deviceID] = channelID })
}

func (m *memory) ForgetChannel(_ context.Context, appID, deviceID string) error {
	return m.selfSet(appID, func(chosen map[string]int64) { delete(chosen, deviceID) })
}

func (m *memory) selfSet(appID string, change func(map[string]int64)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	next := *m.apps[appID]
	next.SelfSet = maps.Clone(next.SelfSet)
	if next.SelfSet == nil {
		next.SelfSet = map[string]int64{}
	}
	change(next.SelfSet)
	m.apps[appID] = &next
	return nil
}
