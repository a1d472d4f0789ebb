package store_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/server/store"
)

func keep(token, key, request string) *store.Keep {
	return &store.Keep{TokenID: token, Key: key, Request: request, Render: func(result any) (int, []byte, error) {
		body, err := json.Marshal(result)
		return 200, body, err
	}}
}

// An answer is kept with its change for a day, and so many of one token.
func testAnswers(t *testing.T, open opener) {
	now := newClock()
	s := fresh(t, open, store.Options{Now: now.Now})
	ctx := t.Context()
	rename := func(k *store.Keep, name string) error {
		_, err := s.ChangeApp(store.Keeping(ctx, k), "ana", app, store.AppChange{Name: &name})
		return err
	}
	named := func() string {
		a, err := s.App(ctx, app)
		ok(t, err)
		return a.Name
	}
	ok(t, rename(keep("t", "k", "r"), "one"))
	var kept *store.Kept
	if err := rename(keep("t", "k", "r"), "two"); !errors.As(err, &kept) || kept.Status != 200 || named() != "one" {
		t.Fatalf("%v, %s", err, named())
	}
	var then capgo.App
	if err := json.Unmarshal(kept.Body, &then); err != nil || then.Name != "one" {
		t.Errorf("%s: %v", kept.Body, err)
	}
	code(t, rename(keep("t", "k", "another"), "two"), "idempotency_key_reused")
	ok(t, rename(keep("u", "k", "another"), "three")) // of another token

	// What fails keeps nothing, and neither does a change whose answer cannot be made.
	failing := keep("t", "f", "r")
	if _, err := s.ChangeApp(store.Keeping(ctx, failing), "ana", "com.example.none", store.AppChange{}); failure.CodeOf(err) != "cannot_find_app" {
		t.Error(err)
	}
	failing.Render = func(any) (int, []byte, error) { return 0, nil, errors.New("no answer") }
	if err := rename(failing, "never"); err == nil || named() != "three" {
		t.Errorf("%v, %s", err, named())
	}
	if kept, err := s.Answer(ctx, failing); kept != nil || err != nil {
		t.Errorf("%v, %v", kept, err)
	}

	now.add(24*time.Hour - time.Minute)
	ok(t, s.Prune(ctx))
	if kept, err := s.Answer(ctx, keep("t", "k", "r")); kept == nil || err != nil {
		t.Errorf("within a day: %v", err)
	}
	now.add(2 * time.Minute)
	if kept, err := s.Answer(ctx, keep("t", "k", "another")); kept != nil || err != nil {
		t.Errorf("after a day: %v, %v", kept, err)
	}
	ok(t, rename(keep("t", "k", "another"), "four")) // the key is free before the row is gone
	ok(t, s.Prune(ctx))
	if kept, err := s.Answer(ctx, keep("u", "k", "another")); kept != nil || err != nil {
		t.Errorf("after a day: %v, %v", kept, err)
	}

	// The newest thousand of a token stay; another token's are not touched.
	ok(t, rename(keep("u", "mine", "r"), "five"))
	for n := range 1010 {
		now.add(time.Millisecond)
		ok(t, s.SetOverride(store.Keeping(ctx, keep("many", fmt.Sprint(n), "r")), "ana", app, device(1), testChannel(t, s)))
	}
	for n, there := range map[int]bool{0: false, 9: false, 10: true, 1009: true} {
		if kept, err := s.Answer(ctx, keep("many", fmt.Sprint(n), "r")); (kept != nil) != there || err != nil {
			t.Errorf("number %d: %v, %v", n, kept, err)
		}
	}
	if kept, err := s.Answer(ctx, keep("u", "mine", "r")); kept == nil || err != nil {
		t.Errorf("another token's: %v", err)
	}
}

// testChannel is a channel that devices can be put on.
func testChannel(t *testing.T, s *store.Store) string {
	t.Helper()
	if _, err := s.Channel(t.Context(), app, "beta"); err != nil {
		_, _, err := s.ChangeChannel(t.Context(), "ana", change("beta", nil))
		ok(t, err)
	}
	return "beta"
}
