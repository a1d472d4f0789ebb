package release_test

import (
	"fmt"
	"net/http"
	"os"
	"runtime"
	"sync/atomic"
	"testing"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/core/release"
	"capstan/internal/peers"
)

// expiring takes the server's word for a token away before the call at, or once
// it was answered: what is meant by a token that expires during a release.
type expiring struct {
	at     int64 // from 1; 0 never
	after  bool
	calls  *atomic.Int64
	expire func()
}

func (e expiring) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Header.Get("capgkey") == "" && r.Header.Get("Authorization") == "" {
		return http.DefaultTransport.RoundTrip(r)
	}
	n := e.calls.Add(1)
	if n == e.at && !e.after {
		e.expire()
	}
	answer, err := http.DefaultTransport.RoundTrip(r)
	if n == e.at && e.after {
		e.expire()
	}
	return answer, err
}

// TestTokenExpires lets the token end at each call of a release, before it
// arrives and once it is answered. The release says so and is continued with
// another token, as if nothing had happened.
func TestTokenExpires(t *testing.T) {
	y := newYard(t)
	run := func(t *testing.T, app string, delta bool, at int64, after bool) (victim, int64, error) {
		token, err := y.Store().CreateToken(t.Context(), "test", "", capgo.Token{Name: app, Scope: capgo.ScopeAdmin})
		if err != nil {
			t.Fatal(err)
		}
		v := y.victim(t, app, "1.0.0")
		v.Plan.Delta = delta
		short := v
		short.Token = token.Secret
		var calls atomic.Int64
		_, err = short.pipelineOver(t, expiring{at, after, &calls, func() {
			if err := y.Store().RevokeToken(t.Context(), "test", token.ID); err != nil {
				t.Error(err)
			}
		}}).Run(t.Context(), v.Plan, func(release.Event) {})
		return v, calls.Load(), err
	}
	var tried, stopped atomic.Int64
	slots := make(chan struct{}, 2*runtime.GOMAXPROCS(0))
	t.Run("calls", func(t *testing.T) {
		for _, delta := range []bool{false, true} {
			_, calls, err := run(t, fmt.Sprintf("com.example.lasting%v", delta), delta, 0, false)
			if err != nil {
				t.Fatal(err)
			}
			step := int64(4)
			if peers.Required() || os.Getenv("CAPSTAN_LONG") == "1" {
				step = 1
			}
			for at := int64(1); at <= calls; at += step {
				for _, after := range []bool{false, true} {
					t.Run(fmt.Sprintf("%d of %d, answered %v, delta %v", at, calls, after, delta), func(t *testing.T) {
						t.Parallel()
						slots <- struct{}{}
						defer func() { <-slots }()
						tried.Add(1)
						v, _, err := run(t, fmt.Sprintf("com.example.expires%d%v%v", at, after, delta), delta, at, after)
						if err != nil {
							stopped.Add(1)
							if f, _ := failure.Find(err); f == nil || f.Class != failure.NotAuthorised || f.Hint == "" {
								t.Errorf("it stops with %v", err)
							}
						}
						v.goOn(t)
						v.check(t)
					})
				}
			}
		}
	})
	t.Logf("count: expired token: %d tried, %d stopped and were continued", tried.Load(), stopped.Load())
	if stopped.Load() == 0 {
		t.Error("no release stopped")
	}
}
