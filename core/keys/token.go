package keys

import (
	"context"
	"crypto"
	"crypto/rsa"

	"capstan/core/failure"
)

// TokenKey says where a key on a PKCS#11 token is; none of it is secret.
type TokenKey struct {
	Module string `json:"module"` // path of the vendor's library
	Token  string `json:"token"`  // the token's label
	Key    string `json:"key"`    // the label of the private key object on it
}

// location names the key for people.
func (t TokenKey) location() string { return "token " + clean(t.Token) + ", key " + clean(t.Key) }

// check refuses a place that is not whole.
func (t TokenKey) check(op string) error {
	if t.Module == "" || t.Token == "" || t.Key == "" {
		return failure.New(failure.Usage, "token_not_named", op, "the library, the token or the key is not named",
			"give --pkcs11-module, --pkcs11-token and --pkcs11-key")
	}
	return nil
}

// openToken and makeOnToken are there in builds with the tag pkcs11: the
// vendor's libraries are C, and the ordinary program has none.
var (
	openToken   func(ctx context.Context, t TokenKey, pin Ask) (crypto.Signer, error)
	makeOnToken func(ctx context.Context, t TokenKey, pin Ask) (crypto.Signer, error)
)

// HasTokens reports whether this program can use PKCS#11 tokens.
func HasTokens() bool { return openToken != nil }

func noTokens(op string) error {
	return failure.New(failure.KeyStore, "store_missing", op, "this program was built without PKCS#11",
		"build it with: CGO_ENABLED=1 go build -tags pkcs11")
}

// CreateOnToken lets a token make a pair whose private half never leaves it,
// and records it as the app's key.
func (r *Ring) CreateOnToken(ctx context.Context, appID string, t TokenKey) (Record, error) {
	return r.recordToken(ctx, "create key", appID, t, makeOnToken, false)
}

// AdoptToken records a key that is on a token already.
func (r *Ring) AdoptToken(ctx context.Context, appID string, t TokenKey) (Record, error) {
	return r.recordToken(ctx, "adopt key", appID, t, openToken, true)
}

func (r *Ring) recordToken(ctx context.Context, op, appID string, t TokenKey, open func(context.Context, TokenKey, Ask) (crypto.Signer, error), imported bool) (Record, error) {
	if err := CheckAppID(appID); err != nil {
		return Record{}, err
	}
	if err := t.check(op); err != nil {
		return Record{}, err
	}
	if open == nil {
		return Record{}, noTokens(op)
	}
	unlock, err := lock(ctx, r.dir, createLock)
	if err != nil {
		return Record{}, err
	}
	defer unlock()
	signer, err := open(ctx, t, r.opts.Passphrase)
	if err != nil {
		return Record{}, err
	}
	public := signer.Public().(*rsa.PublicKey)
	if err := provesItself(op, signer); err != nil {
		return Record{}, err
	}
	rec := Record{
		AppID: appID, KeyID: KeyID(public), PublicPEM: string(EncodePublic(public)), Scheme: V2,
		Store: PKCS11, Location: t.location(), Token: &t, Created: r.now(), Imported: imported,
	}
	if known, err := r.known(); err != nil {
		return Record{}, err
	} else if position(known, rec.Ref()) >= 0 {
		return Record{}, exists(op, rec.Ref(), "the index")
	}
	r.mu.Lock()
	r.tokens[rec.Ref()] = signer
	r.mu.Unlock()
	return rec, r.finish(ctx, rec)
}

// onToken opens a recorded key on its token. It stays open as long as the
// process lives: most tokens ask for the PIN once a session.
func (r *Ring) onToken(ctx context.Context, rec Record) (crypto.Signer, error) {
	const op = "open token"
	if openToken == nil {
		return nil, noTokens(op)
	}
	if rec.Token == nil {
		return nil, failure.Newf(failure.KeyStore, "token_not_named", op, "forget it with capstan key remove, and import it again", "the index does not say which token holds key %s", rec.KeyID)
	}
	r.mu.Lock()
	open := r.tokens[rec.Ref()]
	r.mu.Unlock()
	if open != nil {
		return open, nil
	}
	signer, err := openToken(ctx, *rec.Token, r.opts.Passphrase)
	if err != nil {
		return nil, err
	}
	if public := signer.Public().(*rsa.PublicKey); string(EncodePublic(public)) != rec.PublicPEM {
		return nil, failure.Newf(failure.KeyStore, "key_mismatch", op, "look for the token that holds it", "%s holds another key than %s", rec.Location, rec.KeyID)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tokens[rec.Ref()] = signer
	return signer, nil
}

// staysOnToken is the refusal to hand out what a token keeps.
func staysOnToken(op string, rec Record) error {
	return failure.Newf(failure.Usage, "key_not_exportable", op, "a second token, or a key in another store, is its backup", "the private half of key %s never leaves its token", rec.KeyID)
}

// provesItself lets a signer make a signature and verifies it.
func provesItself(op string, signer crypto.Signer) error {
	message := make([]byte, sessionKeySize)
	message[0] = 1
	signature, err := signer.Sign(nil, message, crypto.Hash(0))
	if err != nil {
		return err
	}
	if err := rsa.VerifyPKCS1v15(signer.Public().(*rsa.PublicKey), crypto.Hash(0), message, signature); err != nil {
		return failure.New(failure.Verification, "token_signature_wrong", op, "the token's signature does not verify", "check the token")
	}
	return nil
}
