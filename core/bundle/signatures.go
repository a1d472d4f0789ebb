package bundle

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
)

// signatures are the signed hashes of one key, as a Cache keeps them between two
// delta updates. An RSA-2048 signature costs about a thousand times what reading
// it does, and a file that did not change has the same one in every bundle.
//
// The file <dir>/<key>.signatures is, in this order:
//
//	24 bytes   "capstan signatures 1" and a line feed, padded with zeros
//	544 bytes  for each file: SHA-256 of the plain file, the 256 bytes of its
//	           hash signed in form v2, the 256 bytes of form v3; those that the
//	           last build used come first
//	256 bytes  the key's signature of signaturesSealed and the SHA-256 of
//	           everything above
//
// That last signature vouches for all the others: one check takes the place of
// two for each file. What it signs is 40 bytes long, a length that no session
// key and no checksum has, so that it means nothing to a device.
type signatures struct {
	path string
	pub  *rsa.PublicKey
	old  []byte              // entries as they were read
	at   map[[32]byte][]byte // entry by hash, of old and of added

	mu    sync.Mutex
	used  [][]byte // entries of this build, in the order of use
	seen  map[[32]byte]bool
	fresh bool // something is not in the file yet
}

const (
	signaturesMagic  = "capstan signatures 1\n\x00\x00\x00"
	signaturesSealed = "capstan\x00"
	signaturesEntry  = 32 + 2*keyBytes
	// maxSignatures bounds the file at 16 MiB: three of the largest delta updates.
	maxSignatures = 3 * maxManifest
)

// signatures reads what is kept for a key. What is damaged, or was not sealed
// with that key, counts as absent.
func (c *Cache) signatures(pub *rsa.PublicKey) *signatures {
	if c == nil {
		return nil
	}
	id := sha256.Sum256(x509.MarshalPKCS1PublicKey(pub))
	s := &signatures{path: filepath.Join(c.dir, hex.EncodeToString(id[:8])+".signatures"), pub: pub, at: map[[32]byte][]byte{}, seen: map[[32]byte]bool{}}
	f, err := os.Open(s.path)
	if err != nil {
		return s
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, int64(len(signaturesMagic)+maxSignatures*signaturesEntry+keyBytes+1)))
	entries := len(text) - len(signaturesMagic) - keyBytes
	if err != nil || entries < 0 || entries%signaturesEntry != 0 || !bytes.HasPrefix(text, []byte(signaturesMagic)) {
		return s
	}
	body, seal := text[:len(text)-keyBytes], text[len(text)-keyBytes:]
	if !signedBy(pub, signaturesPayload(sha256.Sum256(body)), seal) {
		return s
	}
	s.old = body[len(signaturesMagic):]
	for rest := s.old; len(rest) > 0; rest = rest[signaturesEntry:] {
		s.at[[32]byte(rest)] = rest[:signaturesEntry:signaturesEntry]
	}
	return s
}

func signaturesPayload(sum [32]byte) []byte { return append([]byte(signaturesSealed), sum[:]...) }

// sign gives a hash in both signed forms, and asks the signer only for one that
// is not known.
func (s *signatures) sign(signer crypto.Signer, sum [32]byte) (v2, v3 string, err error) {
	if s == nil {
		return signChecksum(signer, sum)
	}
	s.mu.Lock()
	entry, found := s.at[sum]
	s.mu.Unlock()
	if !found {
		if v2, v3, err = signChecksum(signer, sum); err != nil {
			return "", "", err
		}
		if entry, err = signaturesEntryOf(sum, v2, v3); err != nil {
			return "", "", err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.seen[sum] {
		s.seen[sum] = true
		s.used = append(s.used, entry)
	}
	if !found {
		s.at[sum] = entry
		s.fresh = true
		return v2, v3, nil
	}
	return base64.StdEncoding.EncodeToString(entry[32 : 32+keyBytes]), hex.EncodeToString(entry[32+keyBytes:]), nil
}

func signaturesEntryOf(sum [32]byte, v2, v3 string) ([]byte, error) {
	older, err := base64.StdEncoding.DecodeString(v2)
	if err != nil {
		return nil, err
	}
	newer, err := hex.DecodeString(v3)
	if err != nil || len(older) != keyBytes || len(newer) != keyBytes {
		return nil, fmt.Errorf("a signed hash of %d and %d bytes", len(older), len(newer))
	}
	return append(append(append(make([]byte, 0, signaturesEntry), sum[:]...), older...), newer...), nil
}

// keep writes what became known, with the signatures of earlier builds behind
// those of this one as long as there is room. It may fail without harm.
func (s *signatures) keep(c *Cache, signer crypto.Signer) {
	if s == nil || !s.fresh {
		return
	}
	hash := sha256.New()
	c.write(s.path, func(f io.Writer) error {
		w := io.MultiWriter(f, hash)
		if _, err := io.WriteString(w, signaturesMagic); err != nil {
			return err
		}
		room := maxSignatures
		for _, entry := range s.used[:min(len(s.used), room)] {
			if _, err := w.Write(entry); err != nil {
				return err
			}
			room--
		}
		for rest := s.old; len(rest) > 0 && room > 0; rest = rest[signaturesEntry:] {
			if s.seen[[32]byte(rest)] {
				continue
			}
			if _, err := w.Write(rest[:signaturesEntry]); err != nil {
				return err
			}
			room--
		}
		seal, err := sign(signer, signaturesPayload([32]byte(hash.Sum(nil))))
		if err != nil {
			return err
		}
		_, err = f.Write(seal)
		return err
	})
}
