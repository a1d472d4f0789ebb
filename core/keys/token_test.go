//go:build !pkcs11

package keys

import (
	"testing"

	"capstan/core/failure"
)

// TestWithoutTokens: the ordinary program says what it lacks.
func TestWithoutTokens(t *testing.T) {
	ring := newTestRing(t, Options{})
	place := TokenKey{Module: "/lib.so", Token: "t", Key: "k"}
	for what, make := range map[string]func() error{
		"create": func() error { _, err := ring.CreateOnToken(t.Context(), testApp, place); return err },
		"adopt":  func() error { _, err := ring.AdoptToken(t.Context(), testApp, place); return err },
		"sign": func() error {
			_, err := ring.SignerOf(t.Context(), Record{AppID: testApp, Store: PKCS11, Token: &place})
			return err
		},
	} {
		if err := make(); failure.CodeOf(err) != "store_missing" || failure.HintOf(err) == "" {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := ring.AdoptToken(t.Context(), testApp, TokenKey{}); failure.CodeOf(err) != "token_not_named" {
		t.Errorf("no place: %v", err)
	}
	if _, err := ring.Create(t.Context(), testApp, PKCS11); failure.CodeOf(err) != "store_read_only" {
		t.Errorf("create in a store of that kind: %v", err)
	}
	if HasTokens() {
		t.Error("it claims to have them")
	}
}
