package release_test

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"capstan/core/release"
)

// keyed notes the idempotency key of every change that is sent to the registry.
type keyed struct {
	mu   sync.Mutex
	keys map[string]string // by method and path
}

func (k *keyed) RoundTrip(r *http.Request) (*http.Response, error) {
	// An object's name is its key, and devices have none.
	changes := r.Method != http.MethodGet && r.Method != http.MethodHead && !strings.HasPrefix(r.URL.Path, "/capstan/v1/objects/") && r.Header.Get("capgkey") != ""
	if changes {
		key := ""
		for name, values := range r.Header { // it is not written as net/http would
			if strings.EqualFold(name, "Idempotency-Key") {
				key = strings.Join(values, " ")
			}
		}
		k.mu.Lock()
		k.keys[r.Method+" "+r.URL.Path] = key
		k.mu.Unlock()
	}
	return http.DefaultTransport.RoundTrip(r)
}

// TestChangesAreKeyed: every change of a release carries a key that is the same
// when the release is continued, and another one for each change.
func TestChangesAreKeyed(t *testing.T) {
	y := newYard(t)
	v := y.victim(t, "com.example.keyed", "1.0.0")
	k := &keyed{keys: map[string]string{}}
	result, err := v.pipelineOver(t, k).Run(t.Context(), v.Plan, func(release.Event) {})
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for call, key := range k.keys {
		if !strings.HasPrefix(key, result.ID+"/") || slices.Contains(keys, key) {
			t.Errorf("%s carries the key %q", call, key)
		}
		keys = append(keys, key)
	}
	if len(keys) != 4 { // app, public key, bundle, channel
		t.Errorf("the changes are %v", k.keys)
	}
}
