//go:build pkcs11

package keys

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"math/big"
	"sync"

	"github.com/miekg/pkcs11"

	"capstan/core/failure"
)

func init() {
	openToken = func(ctx context.Context, t TokenKey, pin Ask) (crypto.Signer, error) { return OpenToken(ctx, t, pin) }
	makeOnToken = func(ctx context.Context, t TokenKey, pin Ask) (crypto.Signer, error) { return MakeOnToken(ctx, t, pin) }
}

// TokenSigner signs with a key that never leaves its token. The token must
// allow CKM_RSA_PKCS, the raw operation; tokens in FIPS mode may refuse it.
type TokenSigner struct {
	mu      sync.Mutex // a session does one thing at a time
	module  *pkcs11.Ctx
	owner   bool // it initialised the library, and so ends it
	session pkcs11.SessionHandle
	key     pkcs11.ObjectHandle
	public  *rsa.PublicKey
}

var _ crypto.Signer = (*TokenSigner)(nil)

// OpenToken logs in to a token and finds its key, which must satisfy the key
// policy. Failure codes: token_absent, passphrase_wrong, key_not_found,
// key_weak. Close ends the session.
func OpenToken(ctx context.Context, t TokenKey, pin Ask) (*TokenSigner, error) {
	return onSession(ctx, "open token", t, pin, pkcs11.CKF_SERIAL_SESSION, func(s *TokenSigner, op string) error {
		var err error
		if s.key, err = s.object(op, pkcs11.CKO_PRIVATE_KEY, t.Key); err != nil {
			return err
		}
		return s.readPublic(op)
	})
}

// MakeOnToken lets the token make a pair that it never hands out, under a label
// that must be free: key_exists.
func MakeOnToken(ctx context.Context, t TokenKey, pin Ask) (*TokenSigner, error) {
	return onSession(ctx, "make key on token", t, pin, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION, func(s *TokenSigner, op string) error {
		_, err := s.object(op, pkcs11.CKO_PRIVATE_KEY, t.Key)
		if !errors.Is(err, ErrNotFound) {
			if err != nil && failure.CodeOf(err) != "key_ambiguous" {
				return err
			}
			return failure.Newf(failure.Conflict, "key_exists", op, "choose another --pkcs11-key, or record it with capstan key import --store pkcs11", "the token holds a key %q already", clean(t.Key))
		}
		if err := s.generate(op, t.Key); err != nil {
			return err
		}
		return s.readPublic(op)
	})
}

// generate makes an RSA pair as the key policy wants it.
func (s *TokenSigner) generate(op, label string) error {
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		return storeFailed(op, err)
	}
	public := []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true), pkcs11.NewAttribute(pkcs11.CKA_LABEL, label), pkcs11.NewAttribute(pkcs11.CKA_ID, id),
		pkcs11.NewAttribute(pkcs11.CKA_VERIFY, true), pkcs11.NewAttribute(pkcs11.CKA_MODULUS_BITS, Bits),
		pkcs11.NewAttribute(pkcs11.CKA_PUBLIC_EXPONENT, big.NewInt(Exponent).Bytes()),
	}
	private := []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true), pkcs11.NewAttribute(pkcs11.CKA_LABEL, label), pkcs11.NewAttribute(pkcs11.CKA_ID, id),
		pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true), pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, true),
		pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, false), pkcs11.NewAttribute(pkcs11.CKA_SIGN, true),
	}
	_, key, err := s.module.GenerateKeyPair(s.session, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN, nil)}, public, private)
	if err != nil {
		return tokenFailed(op, err)
	}
	s.key = key
	return nil
}

// onSession logs in to a token and does something there. Where that fails the
// session is closed.
func onSession(ctx context.Context, op string, t TokenKey, pin Ask, flags uint, do func(s *TokenSigner, op string) error) (*TokenSigner, error) {
	if err := t.check(op); err != nil {
		return nil, err
	}
	module := pkcs11.New(t.Module)
	if module == nil {
		return nil, failure.Newf(failure.KeyStore, "token_absent", op, "check the path of the PKCS#11 library", "%s cannot be loaded", clean(t.Module))
	}
	err := module.Initialize()
	if err != nil && !errors.Is(err, pkcs11.Error(pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED)) {
		module.Destroy()
		return nil, tokenFailed(op, err)
	}
	s := &TokenSigner{module: module, owner: err == nil}
	if err := s.login(ctx, op, t, pin, flags); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := do(s, op); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *TokenSigner) login(ctx context.Context, op string, t TokenKey, ask Ask, flags uint) error {
	slot, err := s.slot(op, t.Token)
	if err != nil {
		return err
	}
	if s.session, err = s.module.OpenSession(slot, flags); err != nil {
		return tokenFailed(op, err)
	}
	pin, err := ask.ask(ctx, op, "PIN of token "+clean(t.Token))
	if err != nil {
		return err
	}
	defer clear(pin)
	err = s.module.Login(s.session, pkcs11.CKU_USER, string(pin))
	if err != nil && !errors.Is(err, pkcs11.Error(pkcs11.CKR_USER_ALREADY_LOGGED_IN)) {
		return tokenFailed(op, err)
	}
	return nil
}

func (s *TokenSigner) slot(op, label string) (uint, error) {
	slots, err := s.module.GetSlotList(true)
	if err != nil {
		return 0, tokenFailed(op, err)
	}
	for _, slot := range slots {
		if info, err := s.module.GetTokenInfo(slot); err == nil && info.Label == label {
			return slot, nil
		}
	}
	return 0, failure.Newf(failure.KeyStore, "token_absent", op, "plug it in, or check its label", "there is no token %q", clean(label))
}

// object finds the one object of a class with a label.
func (s *TokenSigner) object(op string, class uint, label string) (pkcs11.ObjectHandle, error) {
	err := s.module.FindObjectsInit(s.session, []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, class), pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_RSA), pkcs11.NewAttribute(pkcs11.CKA_LABEL, label),
	})
	if err != nil {
		return 0, tokenFailed(op, err)
	}
	found, _, err := s.module.FindObjects(s.session, 2)
	if err := errors.Join(err, s.module.FindObjectsFinal(s.session)); err != nil {
		return 0, tokenFailed(op, err)
	}
	switch len(found) {
	case 0:
		return 0, failure.Newf(failure.NotFound, "key_not_found", op, "check the key's label", "the token holds no RSA key %q", clean(label))
	case 1:
		return found[0], nil
	}
	return 0, failure.Newf(failure.Conflict, "key_ambiguous", op, "give the keys different labels", "the token holds several RSA keys %q", clean(label))
}

// readPublic takes the public numbers from the private object, which tokens
// keep readable, and holds them against the key policy.
func (s *TokenSigner) readPublic(op string) error {
	attributes, err := s.module.GetAttributeValue(s.session, s.key, []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_MODULUS, nil), pkcs11.NewAttribute(pkcs11.CKA_PUBLIC_EXPONENT, nil),
	})
	if err != nil {
		return tokenFailed(op, err)
	}
	n, e := new(big.Int).SetBytes(attributes[0].Value), new(big.Int).SetBytes(attributes[1].Value)
	if err := checkModulus(op, n, e); err != nil {
		return err
	}
	s.public = &rsa.PublicKey{N: n, E: Exponent}
	return nil
}

// Public gives the *rsa.PublicKey.
func (s *TokenSigner) Public() crypto.PublicKey { return s.public }

// Sign pads and signs the message as it is: only crypto.Hash(0) is offered,
// which is what sealing a bundle needs.
func (s *TokenSigner) Sign(_ io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	const op = "sign with token"
	if opts.HashFunc() != 0 {
		return nil, failure.Newf(failure.Failed, "signature_unsupported", op, "", "the token key signs raw messages only, not %v", opts.HashFunc())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.module.SignInit(s.session, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_RSA_PKCS, nil)}, s.key); err != nil {
		return nil, tokenFailed(op, err)
	}
	signature, err := s.module.Sign(s.session, message)
	if err != nil {
		return nil, tokenFailed(op, err)
	}
	if err := rsa.VerifyPKCS1v15(s.public, crypto.Hash(0), message, signature); err != nil {
		return nil, failure.New(failure.Verification, "token_signature_wrong", op, "the token's signature does not verify", "check the token")
	}
	return signature, nil
}

// Close ends the session.
func (s *TokenSigner) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.module == nil {
		return nil
	}
	var err error
	if s.session != 0 {
		err = s.module.CloseSession(s.session)
		if errors.Is(err, pkcs11.Error(pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED)) { // ended by another key of the same library
			err = nil
		}
	}
	if s.owner {
		err = errors.Join(err, s.module.Finalize())
	}
	s.module.Destroy()
	s.module = nil
	return err
}

// Format writes the key id for every verb and flag.
func (s *TokenSigner) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "signer of %s on a token", describe(s.public))
}

// tokenFailed classifies what the PKCS#11 library said.
func tokenFailed(op string, err error) error {
	var code pkcs11.Error
	if errors.As(err, &code) {
		switch code {
		case pkcs11.CKR_PIN_INCORRECT, pkcs11.CKR_PIN_INVALID, pkcs11.CKR_PIN_LEN_RANGE:
			return failure.New(failure.KeyStore, "passphrase_wrong", op, "the PIN is wrong", "a few wrong PINs lock the token")
		case pkcs11.CKR_PIN_LOCKED:
			return failure.New(failure.KeyStore, "keyring_locked", op, "the token is locked after wrong PINs", "unlock it with its own tool")
		case pkcs11.CKR_TOKEN_NOT_PRESENT, pkcs11.CKR_DEVICE_REMOVED:
			return failure.New(failure.KeyStore, "token_absent", op, "the token is gone", "plug it in")
		}
	}
	return failure.Newf(failure.KeyStore, "key_store_failed", op, "", "the token failed: %s", clean(err.Error()))
}
