package keys

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"math/big"
	"sync"

	"capstan/core/failure"
)

// pkcs1Private and pkcs1Public are the structures of RFC 8017, appendix A.1.
// They are read here before crypto/x509 sees them, so that a refusal can say
// what is wrong instead of "invalid key".
type pkcs1Private struct {
	Version            int
	N, E, D, P, Q      *big.Int
	Dp, Dq, Qinv       *big.Int
	AdditionalPrimeRaw asn1.RawValue `asn1:"optional"`
}

type pkcs1Public struct{ N, E *big.Int }

// weak is the refusal of a well-formed key that must not sign updates.
func weak(op, format string, args ...any) error {
	return failure.Newf(failure.Usage, "key_weak", op, hintNewKey, format, args...)
}

// publicFromDER reads a PKCS#1 public key and holds it against the policy.
func publicFromDER(op string, der []byte) (*rsa.PublicKey, error) {
	var raw pkcs1Public
	rest, err := asn1.Unmarshal(der, &raw)
	if err != nil {
		if _, spki := x509.ParsePKIXPublicKey(der); spki == nil {
			return nil, malformed(op, hintConvertPublic, "the block is labelled PKCS#1 but holds an SPKI key")
		}
		return nil, malformed(op, hintCopyAgain, "the block does not hold a PKCS#1 public key")
	}
	if len(rest) != 0 {
		return nil, malformed(op, hintCopyAgain, "there are %d bytes after the key inside the block", len(rest))
	}
	if err := checkModulus(op, raw.N, raw.E); err != nil {
		return nil, err
	}
	key := &rsa.PublicKey{N: raw.N, E: Exponent}
	if !bytes.Equal(x509.MarshalPKCS1PublicKey(key), der) {
		return nil, malformed(op, hintConvertPublic, "the key is not in its one canonical encoding")
	}
	return key, nil
}

// privateFromDER reads a PKCS#1 private key and holds it against the policy.
func privateFromDER(op string, der []byte) (*rsa.PrivateKey, error) {
	var raw pkcs1Private
	rest, err := asn1.Unmarshal(der, &raw)
	if err != nil {
		if _, pkcs8 := x509.ParsePKCS8PrivateKey(der); pkcs8 == nil {
			return nil, malformed(op, hintConvertPrivate, "the block is labelled PKCS#1 but holds a PKCS#8 key")
		}
		return nil, malformed(op, hintCopyAgain, "the block does not hold a PKCS#1 private key")
	}
	if len(rest) != 0 {
		return nil, malformed(op, hintCopyAgain, "there are %d bytes after the key inside the block", len(rest))
	}
	if raw.Version != 0 || len(raw.AdditionalPrimeRaw.FullBytes) != 0 {
		return nil, weak(op, "the key has more than two primes")
	}
	if err := checkForm(op, raw.N, raw.E); err != nil {
		return nil, err
	}
	if err := checkPrimes(op, raw); err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS1PrivateKey(der)
	if err != nil {
		return nil, weak(op, "the parts of the key do not fit together")
	}
	if !bytes.Equal(x509.MarshalPKCS1PrivateKey(key), der) {
		return nil, malformed(op, hintConvertPrivate, "the key is not in its one canonical encoding")
	}
	return key, nil
}

// checkModulus refuses what can be told weak from the public half alone.
func checkModulus(op string, n, e *big.Int) error {
	if err := checkForm(op, n, e); err != nil {
		return err
	}
	if n.ProbablyPrime(0) {
		return weak(op, "the modulus is a prime number")
	}
	return nil
}

// checkForm is checkModulus for a modulus whose two primes are known, which spares
// the most expensive question.
func checkForm(op string, n, e *big.Int) error {
	switch {
	case n.Sign() <= 0 || e.Sign() <= 0:
		return malformed(op, hintCopyAgain, "the modulus or the exponent is not a positive number")
	case n.BitLen() != Bits:
		return weak(op, "the key has %d bits; the updater plugin accepts exactly %d", n.BitLen(), Bits)
	case e.Cmp(big.NewInt(Exponent)) != 0:
		if e.BitLen() > 64 {
			return weak(op, "the public exponent has %d bits; it must be %d", e.BitLen(), Exponent)
		}
		return weak(op, "the public exponent is %s; it must be %d", e, Exponent)
	case n.Bit(0) == 0:
		return weak(op, "the modulus is even")
	case new(big.Int).GCD(nil, nil, n, smallPrimes()).Cmp(one) != 0:
		return weak(op, "the modulus has a small factor")
	case closePrimes(n):
		return weak(op, "the two primes are so close that the key can be factored")
	case rocaPrint(n):
		return weak(op, "the modulus has the mark of a flawed generator (ROCA, CVE-2017-15361)")
	}
	return nil
}

// checkPrimes refuses private halves whose parts are wrong or guessable.
func checkPrimes(op string, k pkcs1Private) error {
	for _, part := range []*big.Int{k.D, k.P, k.Q, k.Dp, k.Dq, k.Qinv} {
		if part.Sign() <= 0 {
			return malformed(op, hintCopyAgain, "a part of the private key is not a positive number")
		}
	}
	p1, q1 := new(big.Int).Sub(k.P, one), new(big.Int).Sub(k.Q, one)
	inverse := func(m *big.Int) bool { // d·e ≡ 1 modulo m
		ed := new(big.Int).Mul(k.D, k.E)
		return ed.Mod(ed, m).Cmp(one) == 0
	}
	distance := new(big.Int).Sub(k.P, k.Q)
	switch {
	case new(big.Int).Mul(k.P, k.Q).Cmp(k.N) != 0:
		return weak(op, "the modulus is not the product of the two primes")
	case k.P.BitLen() != Bits/2 || k.Q.BitLen() != Bits/2:
		return weak(op, "the primes have %d and %d bits instead of %d each", k.P.BitLen(), k.Q.BitLen(), Bits/2)
	case !bothPrime(k.P, k.Q):
		return weak(op, "a factor of the modulus is not a prime number")
	case distance.BitLen() <= Bits/2-100: // FIPS 186-5, appendix A.1.3
		return weak(op, "the two primes are so close that the key can be factored")
	case k.D.Cmp(k.N) >= 0:
		return weak(op, "the private exponent is larger than the modulus")
	case k.D.BitLen() <= Bits/2: // FIPS 186-5, appendix A.1.1; also Wiener's attack
		return weak(op, "the private exponent is so small that it can be computed from the public key")
	case !inverse(p1) || !inverse(q1):
		return weak(op, "the private exponent does not belong to the public one")
	case new(big.Int).Mod(k.D, p1).Cmp(k.Dp) != 0 || new(big.Int).Mod(k.D, q1).Cmp(k.Dq) != 0:
		return weak(op, "the stored exponents of the two primes are wrong")
	case new(big.Int).ModInverse(k.Q, k.P) == nil || new(big.Int).ModInverse(k.Q, k.P).Cmp(k.Qinv) != 0:
		return weak(op, "the stored coefficient of the two primes is wrong")
	}
	return nil
}

// bothPrime tests two numbers side by side, which is most of what reading a key
// costs, by Baillie and PSW: no composite number is known that passes. Numbers
// made to pass would only come from somebody who made the whole key, and so
// needs no weakness to have it.
func bothPrime(p, q *big.Int) bool {
	first := make(chan bool, 1)
	go func() { first <- p.ProbablyPrime(0) }()
	second := q.ProbablyPrime(0)
	return <-first && second
}

var one = big.NewInt(1)

// smallPrimes is the product of the odd primes below 4096: one greatest common
// divisor finds any of them in a modulus.
var smallPrimes = sync.OnceValue(func() *big.Int {
	product := big.NewInt(1)
	for _, p := range primesBelow(4096) {
		product.Mul(product, big.NewInt(p))
	}
	return product
})

// primesBelow gives the odd prime numbers below limit, by the sieve: a key is read
// at the start of most commands, and a probabilistic test of each number takes
// milliseconds.
func primesBelow(limit int64) []int64 {
	var primes []int64
	composite := make([]bool, limit)
	for n := int64(3); n < limit; n += 2 {
		if composite[n] {
			continue
		}
		primes = append(primes, n)
		for multiple := n * n; multiple < limit; multiple += 2 * n {
			composite[multiple] = true
		}
	}
	return primes
}

// closePrimes tries Fermat's factoring for a few steps: enough for primes that
// agree in their upper half, which is how known broken generators failed.
func closePrimes(n *big.Int) bool {
	a := new(big.Int).Sqrt(n)
	if new(big.Int).Mul(a, a).Cmp(n) < 0 {
		a.Add(a, one)
	}
	var b2, b, square big.Int
	for range 64 {
		b2.Sub(b2.Mul(a, a), n)
		b.Sqrt(&b2)
		if square.Mul(&b, &b).Cmp(&b2) == 0 {
			return true
		}
		a.Add(a, one)
	}
	return false
}

// rocaPrint reports whether n looks like a key of the generator behind
// CVE-2017-15361, whose primes are k·M + (65537^a mod M) with M a primorial: so
// is then n a power of 65537 modulo each small prime that divides M. Only
// primes for which that is a proper subgroup tell anything; together a random
// modulus passes by chance about once in 2^27 (Nemec et al., CCS 2017).
func rocaPrint(n *big.Int) bool {
	for prime, member := range rocaSubgroups() {
		r := new(big.Int).Mod(n, big.NewInt(prime)).Int64()
		if !member[r] {
			return false
		}
	}
	return true
}

// rocaSubgroups gives, for each telling prime up to 167, the powers of 65537.
var rocaSubgroups = sync.OnceValue(func() map[int64]map[int64]bool {
	groups := map[int64]map[int64]bool{}
	for _, p := range primesBelow(168) {
		powers := map[int64]bool{}
		for x := int64(1); !powers[x]; x = x * Exponent % p {
			powers[x] = true
		}
		if int64(len(powers)) < p-1 {
			groups[p] = powers
		}
	}
	return groups
})
