package management

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"

	"capstan/core/capgo"
	"capstan/server/store"
)

// maxKey is the longest idempotency key in characters.
const maxKey = 255

// recall reads the idempotency key of a change. A change that was made under it
// before is answered as it was then (answered is true); else the change that
// follows keeps its answer. Uploads are outside: an object is named by its
// content. Codes invalid_idempotency_key, idempotency_key_reused.
func (c *call) recall(route Route) (answered bool, err error) {
	key := c.r.Header.Get("Idempotency-Key")
	if key == "" || route.raw || route.Scope == "" || route.Method == http.MethodGet || route.Method == http.MethodHead {
		return false, nil
	}
	if len(key) > maxKey || strings.ContainsFunc(key, func(r rune) bool { return r < 0x21 || r > 0x7e }) {
		return false, bad("invalid_idempotency_key", "an idempotency key is at most %d visible ASCII characters", maxKey)
	}
	keep := &store.Keep{TokenID: c.token.ID, Key: key, Request: c.fingerprint(), Render: c.render}
	kept, err := c.api.Store.Answer(c.ctx, keep)
	if err != nil {
		return false, err
	}
	if kept != nil {
		c.replay(kept)
		return true, nil
	}
	c.ctx = store.Keeping(c.ctx, keep)
	return false, nil
}

// fingerprint tells requests apart: the hash of method, path, query and body.
func (c *call) fingerprint() string {
	h := sha256.New()
	for _, part := range []string{c.r.Method, strings.TrimSuffix(c.r.URL.Path, "/"), c.r.URL.RawQuery} {
		h.Write([]byte(part + "\n"))
	}
	h.Write(c.in.sum[:])
	return hex.EncodeToString(h.Sum(nil))
}

// answers says how the result of the store's change becomes the answer, which is
// then kept with it. A call without one answers {"status":"ok"}.
func answers[T any](c *call, shape func(T) any) {
	c.shape = func(result any) (int, any) {
		made, _ := result.(T) // the store's methods say which type they give
		return http.StatusOK, shape(made)
	}
}

func (c *call) render(result any) (status int, body []byte, err error) {
	status, answer := http.StatusOK, any(statusOK)
	if c.shape != nil {
		status, answer = c.shape(result)
	}
	body, err = json.Marshal(answer)
	return status, body, err
}

func (c *call) replay(kept *store.Kept) {
	c.w.Header().Set("Idempotency-Replayed", "true")
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(kept.Status)
	_, _ = c.w.Write(kept.Body) // the client is gone; nobody is left to tell
}

// once is kept in place of an answer with a secret: a database holds none.
func once(made capgo.Token) (int, any) {
	return http.StatusConflict, capgo.APIError{Error: "idempotency_secret_once", Message: "the token was made, and its secret was in the first answer only",
		MoreInfo: map[string]any{"id": made.ID, "hint": "revoke it, and make another one under a new idempotency key"}}
}
