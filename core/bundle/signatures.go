package bundle

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"slices"
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

// sign signs hashes in both forms, and asks the signer only for those that are
// not known.
func (s *signatures) sign(signer crypto.Signer, sums [][32]byte) ([]signedSum, error) {
	if s == nil {
		return signSums(signer, sums)
	}
	made, err := signSums(signer, s.unknown(sums))
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range made {
		s.at[m.sum] = m.entry()
		s.fresh = true
	}
	all := make([]signedSum, len(sums))
	for i, sum := range sums {
		entry := s.at[sum]
		if !s.seen[sum] {
			s.seen[sum] = true
			s.used = append(s.used, entry)
		}
		all[i] = signedSum{sum, entry[32 : 32+keyBytes], entry[32+keyBytes:]}
	}
	return all, nil
}

// unknown gives those of the hashes that have no signature yet, each once.
func (s *signatures) unknown(sums [][32]byte) (unknown [][32]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sum := range sums {
		if s.at[sum] == nil && !slices.Contains(unknown, sum) {
			unknown = append(unknown, sum)
		}
	}
	return unknown
}

// entry is what a file of signatures holds of it.
func (s signedSum) entry() []byte { return slices.Concat(s.sum[:], s.v2, s.v3) }

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
