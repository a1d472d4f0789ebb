// Package multibuffer signs with RSA-2048 eight payloads at a time, on processors
// that multiply eight numbers side by side (x86-64 with AVX-512 IFMA). It is for
// delta updates, which have thousands of hashes to sign: a signature then costs
// about a fifth of what it costs crypto/rsa.
//
// The signature is PKCS#1 v1.5 without a DigestInfo, byte for byte that of
// rsa.SignPKCS1v15 with crypto.Hash(0).
//
// What depends on the private key takes the same time and touches the same
// addresses whatever the key and the payload are: fixed windows, tables that are
// read whole, masks in place of branches. math/big is used once a key, to derive
// constants from it, and never for a signature. Every signature is verified with
// the public key before it is given out: one that was computed wrongly in one of
// the two primes would give the private key away.
package multibuffer

import (
	"crypto"
	"crypto/fips140"
	"crypto/rsa"
	"encoding/binary"
	"math/big"
	"math/bits"
	"slices"
)

const (
	keyBits   = 2048
	keyBytes  = keyBits / 8
	primeBits = keyBits / 2
	exponent  = 65537

	primeWords = primeBits / 64
	digits     = primeBits / windowBits

	// lowBytes of a padded payload are the 1040 bits that a block holds. What is
	// above them is the rest divided by R.
	lowBytes = limbs * limbBits / 8
)

// Key is a private key with what follows from it. It may be used by several
// goroutines.
type Key struct {
	private *rsa.PrivateKey
	p, q    prime
	qWords  [primeWords]uint64
	inverse block // of q modulo p, times R
}

// prime is one of the two primes m and what is needed to raise numbers to the
// private exponent modulo m. The numbers in its blocks are the same in all lanes.
type prime struct {
	modulus
	exponent [digits]uint8 // d mod (m-1), from its highest four bits on
	one      block         // 1
	r        block         // R mod m, which is Montgomery's form of 1
	r2, r3   block         // R^2 and R^3 mod m
}

// New prepares a key. It gives nil when this machine cannot sign several payloads
// at a time, when the program runs in FIPS 140-3 mode, whose module has no such
// thing, and for every key but RSA of 2048 bits with the exponent 65537 and two
// primes of 1024 bits: crypto/rsa signs with those.
func New(key *rsa.PrivateKey) *Key {
	if !hasKernel || fips140.Enabled() || !suitable(key) {
		return nil
	}
	return derive(key)
}

func suitable(key *rsa.PrivateKey) bool {
	if key == nil || key.N == nil || key.D == nil || key.E != exponent || key.N.BitLen() != keyBits || len(key.Primes) != 2 {
		return false
	}
	p, q := key.Primes[0], key.Primes[1]
	return p.BitLen() == primeBits && q.BitLen() == primeBits && p.Bit(0) == 1 && q.Bit(0) == 1 &&
		p.Cmp(q) != 0 && new(big.Int).Mul(p, q).Cmp(key.N) == 0 && key.D.Sign() > 0
}

func derive(key *rsa.PrivateKey) *Key {
	p, q := key.Primes[0], key.Primes[1]
	k := &Key{private: key}
	k.p.derive(p, key.D)
	k.q.derive(q, key.D)
	k.qWords = repeated(q).words(0)
	inverse := new(big.Int).ModInverse(q, p)
	if inverse == nil { // one of them is no prime; crypto/rsa says what is wrong
		return nil
	}
	k.inverse = *repeated(inverse.Mod(inverse.Lsh(inverse, limbs*limbBits), p))
	return k
}

func (f *prime) derive(m, d *big.Int) {
	numbers := repeated(m)
	for j := range limbs {
		f.limbs[j] = numbers[j][0]
	}
	limb := new(big.Int).Lsh(big.NewInt(1), limbBits)
	f.k = new(big.Int).Sub(limb, new(big.Int).ModInverse(m, limb)).Uint64()

	d = new(big.Int).Mod(d, new(big.Int).Sub(m, big.NewInt(1)))
	for i, b := range d.FillBytes(make([]byte, primeBits/8)) {
		f.exponent[2*i], f.exponent[2*i+1] = b>>4, b&15
	}

	power := func(n uint) *block { // R^n mod m
		r := new(big.Int).Lsh(big.NewInt(1), n*limbs*limbBits)
		return repeated(r.Mod(r, m))
	}
	f.one, f.r, f.r2, f.r3 = *repeated(big.NewInt(1)), *power(1), *power(2), *power(3)
}

// repeated is a block with the same number in all lanes.
func repeated(n *big.Int) *block {
	b := new(block)
	for lane := range lanes {
		b.set(lane, n.FillBytes(make([]byte, lowBytes)))
	}
	return b
}

// Sign gives the signature of each payload, each verified with the public key.
// It fails with the error of crypto/rsa when a payload is longer than 245 bytes
// or the key is not sound, and then gives none.
func (k *Key) Sign(payloads [][]byte) ([][]byte, error) {
	signed := make([][]byte, 0, len(payloads))
	for batch := range slices.Chunk(payloads, lanes) {
		var computed [lanes][]byte
		if len(batch) > 1 { // eight take as long as one, which crypto/rsa does sooner
			computed = k.compute(batch)
		}
		for i, payload := range batch {
			signature := computed[i]
			if rsa.VerifyPKCS1v15(&k.private.PublicKey, crypto.Hash(0), payload, signature) != nil {
				var err error
				if signature, err = rsa.SignPKCS1v15(nil, k.private, crypto.Hash(0), payload); err != nil {
					return nil, err
				}
			}
			signed = append(signed, signature)
		}
	}
	return signed, nil
}

// workspace is what one computation needs; most of it is as secret as the key.
// It is all numbers, so that its blocks come to lie on whole cache lines.
type workspace struct {
	padded    [keyBytes]byte
	low, high block // of the padded payloads: low + high*R
	base      block
	byP, byQ  block // the padded payloads to the power of d, modulo p and q
	factor    block
	double    block
	table     [entries]block
	signed    [lanes][2 * primeWords]uint64 // lowest word first
}

// compute raises up to eight padded payloads to the private exponent. The result
// must be verified before anybody sees it. It is nil for a payload that is too
// long.
func (k *Key) compute(payloads [][]byte) (signed [lanes][]byte) {
	w := new(workspace)
	defer func() { *w = workspace{} }()
	for lane, payload := range payloads {
		if pad(&w.padded, payload) {
			w.high.set(lane, w.padded[:keyBytes-lowBytes])
			w.low.set(lane, w.padded[keyBytes-lowBytes:])
		}
	}
	k.p.power(&w.byP, w)
	k.q.power(&w.byQ, w)
	k.combine(w)
	for lane, payload := range payloads {
		if len(payload) > keyBytes-11 {
			continue
		}
		signed[lane] = make([]byte, keyBytes)
		for i, word := range w.signed[lane] {
			binary.BigEndian.PutUint64(signed[lane][keyBytes-8*(i+1):], word)
		}
	}
	return signed
}

// pad writes 00 01 FF…FF 00 payload, and reports whether there is room for it.
func pad(padded *[keyBytes]byte, payload []byte) bool {
	at := keyBytes - len(payload)
	if at < 11 {
		return false
	}
	padded[0], padded[1] = 0, 1
	for i := 2; i < at-1; i++ {
		padded[i] = 0xff
	}
	padded[at-1] = 0
	copy(padded[at:], payload)
	return true
}

// power raises w.low + w.high*R to the private exponent modulo m.
func (f *prime) power(z *block, w *workspace) {
	// Modulo m and in Montgomery's form: low*R^2/R + high*R^3/R, below 4m. Both
	// factors of each product are below R and m.
	multiply(&w.base, &w.low, &f.r2, &f.modulus)
	multiply(&w.factor, &w.high, &f.r3, &f.modulus)
	w.base.add(&w.base, &w.factor)

	w.table[0], w.table[1] = f.r, w.base
	for i := 2; i < entries; i++ {
		multiply(&w.table[i], &w.table[i-1], &w.base, &f.modulus)
	}
	*z = f.r
	for _, digit := range f.exponent {
		for range windowBits {
			square(z, z, &w.double, &f.modulus)
		}
		lookup(&w.factor, &w.table, uint64(digit))
		multiply(z, z, &w.factor, &f.modulus)
	}
	// Out of Montgomery's form: (z + q*m)/R with z < 2m and q < R is at most m.
	multiply(z, z, &f.one, &f.modulus)
	z.reduce(&f.modulus)
}

// combine is Garner's recombination: byQ + q*h with h = (byP - byQ)/q mod p.
func (k *Key) combine(w *workspace) {
	// q < 2p, as both have 1024 bits, so that byP + 2p - byQ is in 0..3p.
	w.base.subtract(&w.byP, &w.byQ, &k.p.modulus)
	multiply(&w.base, &w.base, &k.inverse, &k.p.modulus)
	w.base.reduce(&k.p.modulus)
	for lane := range lanes {
		h, low := w.base.words(lane), w.byQ.words(lane)
		sum := &w.signed[lane]
		copy(sum[:], low[:])
		// byQ + q*h <= q-1 + q*(p-1) < p*q: no carry leaves the highest word.
		for i := range primeWords {
			var carry uint64
			for j := range primeWords {
				high, low := bits.Mul64(h[i], k.qWords[j])
				var c uint64
				low, c = bits.Add64(low, carry, 0)
				high += c
				sum[i+j], c = bits.Add64(sum[i+j], low, 0)
				carry = high + c
			}
			sum[i+primeWords] += carry
		}
	}
}
