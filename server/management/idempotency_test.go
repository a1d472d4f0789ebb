package management_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"capstan/core/capgo"
	"capstan/internal/servertest"
	"capstan/internal/servertest/postgres"
	"capstan/server"
	"capstan/server/store"
)

// A change under an idempotency key is made once and answered again, on both
// engines.
func TestIdempotencyKeys(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		keyed(t, func(t *testing.T) string { return filepath.Join(t.TempDir(), "capstan.db") })
	})
	t.Run("postgres", func(t *testing.T) {
		database := postgres.Start(t)
		keyed(t, func(t *testing.T) string { return database.Database(t) })
	})
}

type reply struct {
	status   int
	body     string
	replayed bool
}

func keyed(t *testing.T, open func(*testing.T) string) {
	s := servertest.Start(t, func(c *server.Config) { c.Database = open(t) })
	ask := func(token, key, method, path, body string) reply {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, s.BaseURL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("capgkey", token)
		if key != "" {
			r.Header.Set("Idempotency-Key", key)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return reply{answer.StatusCode, string(text), answer.Header.Get("Idempotency-Replayed") == "true"}
	}
	code := func(r reply) string {
		var problem capgo.APIError
		_ = json.Unmarshal([]byte(r.body), &problem) // a success is no problem
		return problem.Error
	}
	entries := func() int {
		t.Helper()
		list, err := s.Store().Changes(t.Context(), store.ChangeFilter{Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	const bundleOf = `{"app_id":"` + own + `","version":%q,"external_url":"https://cdn.example.com/x.zip","checksum":"00"}`
	channel := func(version string) string {
		return `{"app_id":"` + own + `","channel":"production","version":"` + version + `"}`
	}

	// Every change, each of whose second attempts would be refused or would count again.
	device := "00000000-0000-4000-8000-000000000001"
	for i, c := range []struct{ method, path, body string }{
		{"POST", "/app", `{"app_id":"` + own + `","name":"Own"}`},
		{"PUT", "/app/" + own, `{"name":"Renamed","ios_store_url":"https://apps.example/1"}`},
		{"POST", "/bundle", fmt.Sprintf(bundleOf, "1.0.0")},
		{"POST", "/bundle", fmt.Sprintf(bundleOf, "1.1.0")},
		{"POST", "/channel", channel("1.0.0")},
		{"POST", "/channel", `{"app_id":"` + own + `","channel":"production","version":"1.1.0","expected_revision":1}`},
		{"PUT", "/bundle", `{"app_id":"` + own + `","version_id":1,"channel_id":1}`},
		{"POST", "/bundle/metadata", `{"app_id":"` + own + `","version_id":1,"comment":"c"}`},
		{"POST", "/device", `{"app_id":"` + own + `","device_id":"` + device + `","channel":"production"}`},
		{"DELETE", "/device", `{"app_id":"` + own + `","device_id":"` + device + `"}`},
		{"PUT", "/capstan/v1/schedule", `{"app_id":"` + own + `","channel":"production","version":"1.1.0","at":"2099-01-01T00:00:00Z"}`},
		{"DELETE", "/capstan/v1/schedule", `{"app_id":"` + own + `","channel":"production"}`},
		{"PUT", "/capstan/v1/freeze", `{"app_id":"` + own + `","name":"f","days":["fri"],"start":"17:00","minutes":60}`},
		{"DELETE", "/capstan/v1/freeze", `{"app_id":"` + own + `","name":"f"}`},
		{"DELETE", "/bundle", `{"app_id":"` + own + `","version":"1.1.0"}`},
		{"DELETE", "/channel", `{"app_id":"` + own + `","channel":"production"}`},
		{"DELETE", "/bundle", `{"app_id":"` + own + `"}`},
		{"DELETE", "/app/" + own, ``},
	} {
		key := fmt.Sprint("each-", i)
		first := ask(s.Token, key, c.method, c.path, c.body)
		if first.status != http.StatusOK || first.replayed {
			t.Fatalf("%s %s: %+v", c.method, c.path, first)
		}
		made := entries()
		// The other spelling of a path is the same request.
		second := ask(s.Token, key, c.method, "/functions/v1"+c.path+"/", c.body)
		if second.status != first.status || second.body != first.body || !second.replayed || entries() != made {
			t.Errorf("%s %s again: %+v after %+v", c.method, c.path, second, first)
		}
	}

	ask(s.Token, "", "POST", "/app", `{"app_id":"`+own+`"}`)
	// Another request under the same key, in each of its parts.
	first := ask(s.Token, "k", "POST", "/bundle", fmt.Sprintf(bundleOf, "2.0.0"))
	if first.status != http.StatusOK {
		t.Fatalf("%+v", first)
	}
	for name, c := range map[string][3]string{
		"body": {"POST", "/bundle", fmt.Sprintf(bundleOf, "2.1.0")}, "method": {"PUT", "/bundle", fmt.Sprintf(bundleOf, "2.0.0")},
		"route": {"POST", "/channel", `{"app_id":"` + own + `","channel":"x"}`}, "query": {"POST", "/bundle?a=b", fmt.Sprintf(bundleOf, "2.0.0")},
	} {
		if r := ask(s.Token, "k", c[0], c[1], c[2]); r.status != http.StatusConflict || code(r) != "idempotency_key_reused" {
			t.Errorf("another %s under the key: %+v", name, r)
		}
	}
	// Another token's key is another key, and a token that does not reach so far hears nothing.
	other, err := s.Store().CreateToken(t.Context(), "test", "", capgo.Token{Name: "other", Scope: capgo.ScopeAdmin})
	if err != nil {
		t.Fatal(err)
	}
	if r := ask(other.Secret, "k", "POST", "/bundle", fmt.Sprintf(bundleOf, "2.0.0")); r.replayed || code(r) != "version_already_exists" {
		t.Errorf("another token: %+v", r)
	}
	if err := s.Store().RevokeToken(t.Context(), "test", other.ID); err != nil {
		t.Fatal(err)
	}
	if r := ask(other.Secret, "k", "POST", "/bundle", fmt.Sprintf(bundleOf, "2.0.0")); r.status != http.StatusUnauthorized {
		t.Errorf("a revoked token: %+v", r)
	}
	// What was refused changed nothing and is decided anew.
	if r := ask(s.Token, "later", "POST", "/channel", channel("3.0.0")); code(r) != "cannot_find_version" {
		t.Errorf("%+v", r)
	}
	ask(s.Token, "", "POST", "/bundle", fmt.Sprintf(bundleOf, "3.0.0"))
	if r := ask(s.Token, "later", "POST", "/channel", channel("3.0.0")); r.status != http.StatusOK || r.replayed {
		t.Errorf("after the cause is gone: %+v", r)
	}
	// A token's secret is in no database: the second answer says what there is to do.
	made := ask(s.Token, "t", "POST", "/capstan/v1/tokens", `{"name":"ci","scope":"read"}`)
	again := ask(s.Token, "t", "POST", "/capstan/v1/tokens", `{"name":"ci","scope":"read"}`)
	if made.status != http.StatusCreated || again.status != http.StatusConflict || code(again) != "idempotency_secret_once" || strings.Contains(again.body, "capstan_") {
		t.Errorf("a token: %d, then %+v", made.status, again)
	}
	for _, key := range []string{strings.Repeat("k", 256), "a b", "ü"} {
		if r := ask(s.Token, key, "POST", "/channel", channel("3.0.0")); code(r) != "invalid_idempotency_key" {
			t.Errorf("the key %q: %+v", key, r)
		}
	}
	// Reading takes no notice.
	if r := ask(s.Token, "k", "GET", "/bundle?app_id="+own, ""); r.status != http.StatusOK || r.replayed {
		t.Errorf("%+v", r)
	}

	// Many at once under one key: one is made, all hear the same.
	before := entries()
	var wait sync.WaitGroup
	replies := make([]reply, 12)
	for i := range replies {
		wait.Go(func() { replies[i] = ask(s.Token, "race", "POST", "/bundle", fmt.Sprintf(bundleOf, "4.0.0")) })
	}
	wait.Wait()
	fresh := 0
	for _, r := range replies {
		if r.status != http.StatusOK || r.body != replies[0].body {
			t.Errorf("at once: %+v", r)
		}
		if !r.replayed {
			fresh++
		}
	}
	if fresh != 1 || entries() != before+1 {
		t.Errorf("%d were made, %d entries", fresh, entries()-before)
	}
}
