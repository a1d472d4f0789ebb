package release_test

import (
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"sync"
	"testing"

	"capstan/core/bundle"
	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/core/keys"
	"capstan/core/release"
	"capstan/core/remote"
	"capstan/internal/fault"
)

// changing is an app that changes keys, with both on record at a real server.
type changing struct {
	victim
	old, next *rsa.PrivateKey
}

func (y yard) changing(t *testing.T, app, version string) changing {
	t.Helper()
	c := changing{victim: y.victim(t, app, version)}
	for _, key := range []**rsa.PrivateKey{&c.old, &c.next} {
		private, err := keys.Generate()
		if err != nil {
			t.Fatal(err)
		}
		*key = private
	}
	client := c.client(t)
	pem := func(key *rsa.PrivateKey) string { return string(keys.EncodePublic(&key.PublicKey)) }
	for _, err := range []error{client.CreateApp(t.Context(), app, app), client.SetPublicKey(t.Context(), app, pem(c.old)), client.SetSecondPublicKey(t.Context(), app, pem(c.next))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	c.Key, c.Second = string(keys.EncodePrivate(c.next)), string(keys.EncodePrivate(c.old))
	c.Plan.KeyID, c.Plan.PublicKey, c.Plan.CreateApp = keys.KeyID(&c.next.PublicKey), pem(c.next), false
	c.Plan.Second = &release.SecondKey{KeyID: keys.KeyID(&c.old.PublicKey), PublicKey: pem(c.old)}
	return c
}

func (c changing) client(t *testing.T) *remote.Client {
	t.Helper()
	client, err := remote.New(remote.Config{BaseURL: c.Server, Token: remote.NewToken(c.Token)})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// check looks at what is registered: one version, two seals, each opened with
// its own key from its public address, both holding the same zip.
func (c changing) check(t *testing.T) {
	t.Helper()
	b, err := c.client(t).Bundle(t.Context(), c.Plan.AppID, c.Plan.Version)
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Seals) != 1 || b.KeyID != keys.KeyID(&c.next.PublicKey) || b.Seals[0].KeyID != keys.KeyID(&c.old.PublicKey) || b.SessionKey == b.Seals[0].SessionKey || b.ExternalURL == b.Seals[0].ExternalURL {
		t.Fatalf("%+v", b)
	}
	for key, seal := range map[*rsa.PrivateKey]capgo.Bundle{c.next: b, c.old: b.With(b.Seals[0])} {
		answer, err := http.Get(seal.ExternalURL)
		if err != nil {
			t.Fatal(err)
		}
		stored := sha256.New()
		sum, _, err := bundle.Decrypt(t.Context(), io.TeeReader(answer.Body, stored), io.Discard, seal.SessionKey, &key.PublicKey)
		answer.Body.Close()
		if err != nil || hex.EncodeToString(sum[:]) != b.PlainChecksum || hex.EncodeToString(stored.Sum(nil)) != seal.ObjectSHA256 {
			t.Errorf("key %s: %v, %x", seal.KeyID, err, sum)
		}
		for _, checksum := range []string{seal.ChecksumV2, seal.ChecksumV3} {
			if signed, _, err := bundle.RecoverChecksum(&key.PublicKey, checksum); err != nil || signed != sum {
				t.Errorf("key %s: %v", seal.KeyID, err)
			}
		}
	}
	states, err := c.pipeline(t).Journals.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// A kill before the plan was written leaves an empty journal behind.
	states = slices.DeleteFunc(states, func(s release.State) bool { return s.Plan.AppID == "" })
	if len(states) != 1 || !states[0].Ended {
		t.Fatalf("%d journals: %+v", len(states), states)
	}
	s := states[0]
	if s.Promoted == nil || s.Promoted.Device == nil || s.Promoted.SecondDevice == nil || !s.Promoted.Device.Installed || !s.Promoted.SecondDevice.Installed {
		t.Errorf("%+v", s.Promoted)
	}
	if n := c.pipeline(t).Journals.Spool(s.ID); n != 0 {
		t.Errorf("%d bytes of spool are left", n)
	}
}

// TestTwoKeys interrupts a release for two keys at every place where it may
// stop, by cancelling it and by kill -9, and continues it.
func TestTwoKeys(t *testing.T) {
	y := newYard(t)
	var mu sync.Mutex
	var points []string
	remove := fault.Set(func(p string) {
		mu.Lock()
		defer mu.Unlock()
		points = append(points, p)
	})
	whole := y.changing(t, "com.example.twokeys", "1.0.0")
	result, err := whole.pipeline(t).Run(t.Context(), whole.Plan, func(release.Event) {})
	remove()
	if err != nil || result.SecondKeyID != whole.Plan.Second.KeyID || result.SecondURL == "" {
		t.Fatalf("%+v %v", result, err)
	}
	whole.check(t)
	step := max(1, len(points)/9)
	if os.Getenv("CAPSTAN_LONG") == "1" {
		step = 1
	}
	t.Logf("count: two keys: %d places, every %d. tried, cancelled and by kill -9", len(points), step)
	for at := 0; at < len(points); at += step {
		t.Run(fmt.Sprintf("kill %03d %s", at, points[at]), func(t *testing.T) {
			c := y.changing(t, fmt.Sprintf("com.example.twokeyskilled%d", at), "1.0.0")
			dieAt(t, c.victim, at)
			c.victim.goOn(t)
			c.check(t)
			c.checkAudit(t)
		})
		t.Run(fmt.Sprintf("%03d %s", at, points[at]), func(t *testing.T) {
			c := y.changing(t, fmt.Sprintf("com.example.twokeys%d", at), "1.0.0")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			n := 0
			remove := fault.Set(func(string) {
				mu.Lock()
				defer mu.Unlock()
				if n == at {
					cancel()
				}
				n++
			})
			_, err := c.pipeline(t).Run(ctx, c.Plan, func(release.Event) {})
			remove()
			if err != nil {
				c.goOn(t, c.pipeline(t))
			}
			c.check(t)
		})
	}
}

func (c changing) goOn(t *testing.T, p *release.Pipeline) {
	t.Helper()
	states, err := p.Journals.List(t.Context())
	if err != nil || len(states) != 1 {
		t.Fatalf("%d journals: %v", len(states), err)
	}
	if states[0].Ended {
		return
	}
	if _, err := p.Resume(t.Context(), states[0].ID, func(release.Event) {}); err != nil {
		t.Fatalf("continue: %v", err)
	}
}

// TestTwoKeysUnsupported: a server that answers all devices alike gets the
// bundle sealed for the first key, and the release says so; one that has not
// both keys on record gets none.
func TestTwoKeysUnsupported(t *testing.T) {
	y := newYard(t)
	c := y.changing(t, "com.example.onekey", "1.0.0")
	p := c.pipeline(t)
	p.Registry = oneKey{p.Registry.(*remote.Client)}
	var said []string
	result, err := p.Run(t.Context(), c.Plan, func(e release.Event) {
		if e.Kind == release.EventFinding {
			said = append(said, e.Code)
		}
	})
	if err != nil || result.SecondKeyID != "" {
		t.Fatalf("%+v %v", result, err)
	}
	if !slices.Contains(said, "two_keys_unsupported") {
		t.Errorf("it said %v", said)
	}
	b, err := c.client(t).Bundle(t.Context(), c.Plan.AppID, "1.0.0")
	if err != nil || len(b.Seals) != 0 || b.KeyID != c.Plan.KeyID {
		t.Errorf("%+v %v", b, err)
	}

	if err := c.client(t).SetSecondPublicKey(t.Context(), c.Plan.AppID, ""); err != nil {
		t.Fatal(err)
	}
	c.Plan.Version = "1.0.1"
	if _, err := c.pipeline(t).Run(t.Context(), c.Plan, func(release.Event) {}); failure.CodeOf(err) != "key_mismatch" {
		t.Errorf("one key on record: %v", err)
	}
	if err := c.client(t).SetSecondPublicKey(t.Context(), c.Plan.AppID, string(keys.EncodePublic(&c.next.PublicKey))); err != nil {
		t.Fatal(err)
	}
	c.Plan.Second, said = nil, nil
	if _, err := c.pipeline(t).Run(t.Context(), c.Plan, func(e release.Event) { said = append(said, e.Code) }); err != nil || !slices.Contains(said, "one_key") {
		t.Errorf("sealed for one of two keys: %v %v", said, err)
	}
}

// oneKey is a server without two keys.
type oneKey struct{ *remote.Client }

func (o oneKey) About(ctx context.Context) (capgo.About, error) {
	about, err := o.Client.About(ctx)
	var kept []string
	for _, c := range about.Capabilities {
		if c != capgo.CapTwoKeys {
			kept = append(kept, c)
		}
	}
	about.Capabilities = kept
	return about, err
}
