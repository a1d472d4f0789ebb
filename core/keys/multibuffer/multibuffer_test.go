package multibuffer

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"fmt"
	"math/big"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// draw makes a key, the same for a seed each time. What it has as its first
// prime is sometimes the larger one and sometimes the smaller.
func draw(t testing.TB, seed uint64) *rsa.PrivateKey {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 2048))
	prime := func() *big.Int {
		for {
			p := below(r, primeSpan)
			p.SetBit(p, 0, 1)
			p.SetBit(p, primeBits-1, 1)
			p.SetBit(p, primeBits-2, 1)
			minus := new(big.Int).Sub(p, one)
			if new(big.Int).Mod(minus, big.NewInt(exponent)).Sign() != 0 && p.ProbablyPrime(0) {
				return p
			}
		}
	}
	return keyOf(t, prime(), prime())
}

func keyOf(t testing.TB, p, q *big.Int) *rsa.PrivateKey {
	t.Helper()
	phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
	key := &rsa.PrivateKey{
		PublicKey: rsa.PublicKey{N: new(big.Int).Mul(p, q), E: exponent},
		D:         new(big.Int).ModInverse(big.NewInt(exponent), phi),
		Primes:    []*big.Int{p, q},
	}
	key.Precompute()
	if err := key.Validate(); err != nil {
		t.Fatal(err)
	}
	return key
}

// swapped is the same key with its primes the other way round.
func swapped(t testing.TB, key *rsa.PrivateKey) *rsa.PrivateKey {
	return keyOf(t, key.Primes[1], key.Primes[0])
}

// standard is what crypto/rsa makes of a payload.
func standard(t testing.TB, key *rsa.PrivateKey, payload []byte) []byte {
	t.Helper()
	signed, err := rsa.SignPKCS1v15(nil, key, crypto.Hash(0), payload)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func random(r *rand.Rand, size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// The lengths are those of what capstan signs, and the shortest and longest.
func payloads(r *rand.Rand) [][]byte {
	all := [][]byte{{}, {0}, bytes.Repeat([]byte{0xff}, keyBytes-11), make([]byte, keyBytes-11), make([]byte, 32), bytes.Repeat([]byte{0xff}, 48)}
	for _, size := range []int{16, 32, 40, 48, 100, 126, 130} {
		all = append(all, random(r, size))
	}
	return all
}

func TestSameAsCryptoRSA(t *testing.T) {
	seeds := uint64(12)
	if testing.Short() || !hasKernel {
		seeds = 2
	}
	larger := map[bool]int{}
	for seed := range seeds {
		first := draw(t, seed)
		for _, key := range []*rsa.PrivateKey{first, swapped(t, first)} {
			larger[key.Primes[0].Cmp(key.Primes[1]) > 0]++
			k := derive(key)
			all := payloads(rand.New(rand.NewPCG(seed, 1)))
			for i := 0; i < len(all); i += lanes {
				batch := all[i:min(i+lanes, len(all))]
				for lane, signed := range k.compute(batch) {
					if lane < len(batch) && !bytes.Equal(signed, standard(t, key, batch[lane])) {
						t.Errorf("seed %d: another signature of %x", seed, batch[lane])
					}
				}
			}
		}
	}
	if larger[true] != larger[false] {
		t.Errorf("the first prime was the larger one in %d keys, and the smaller in %d", larger[true], larger[false])
	}
}

// A batch may have any number of payloads, and equal ones.
func TestBatches(t *testing.T) {
	key := draw(t, 1)
	k := derive(key)
	r := rand.New(rand.NewPCG(5, 1))
	for n := range 2*lanes + 2 {
		if n > 3 && !hasKernel {
			break // each takes its time
		}
		batch := make([][]byte, n)
		for i := range batch {
			batch[i] = random(r, 32)
		}
		if n > 2 {
			batch[n-1] = batch[0]
		}
		before := fmt.Sprint(batch)
		signed, err := k.Sign(batch)
		if err != nil || len(signed) != n {
			t.Fatalf("%d signatures of %d: %v", len(signed), n, err)
		}
		for i := range batch {
			if !bytes.Equal(signed[i], standard(t, key, batch[i])) {
				t.Errorf("%d payloads: signature %d is another", n, i)
			}
		}
		if fmt.Sprint(batch) != before {
			t.Error("a payload was written to")
		}
	}
}

// Several goroutines share a key.
func TestSignAtOnce(t *testing.T) {
	key := draw(t, 1)
	k := derive(key)
	batch := [][]byte{{1}, {2}, {3}}
	want := [][]byte{standard(t, key, batch[0]), standard(t, key, batch[1]), standard(t, key, batch[2])}
	failed := make(chan error)
	for range 4 {
		go func() {
			signed, err := k.Sign(batch)
			for i := range signed {
				if !bytes.Equal(signed[i], want[i]) {
					err = fmt.Errorf("signature %d is another", i)
				}
			}
			failed <- err
		}()
	}
	for range 4 {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
}

// A bit that flips in what the computation works with makes signatures that are
// right modulo one prime and wrong modulo the other: the greatest common divisor
// with the modulus is a prime of the key. None may be given out.
func TestFaultsAreNotGivenOut(t *testing.T) {
	key := draw(t, 1)
	batch := [][]byte{[]byte("first payload"), []byte("second payload")}
	want := [][]byte{standard(t, key, batch[0]), standard(t, key, batch[1])}
	for name, flip := range map[string]func(*Key){
		"modulo p":       func(k *Key) { k.p.r2[3][1] ^= 1 << 17 },
		"modulo q":       func(k *Key) { k.q.r3[0][1] ^= 1 },
		"exponent":       func(k *Key) { k.p.exponent[40] ^= 4 },
		"recombination":  func(k *Key) { k.inverse[19][1] ^= 1 << 20 },
		"product":        func(k *Key) { k.qWords[7] ^= 1 << 63 },
		"the modulus":    func(k *Key) { k.q.limbs[10] ^= 1 << 50 },
		"the constant":   func(k *Key) { k.p.k ^= 1 << 3 },
		"the first step": func(k *Key) { k.q.r[5][1] ^= 1 << 9 },
		"the last step":  func(k *Key) { k.p.one[1][1] ^= 1 },
	} {
		t.Run(name, func(t *testing.T) {
			k := derive(key)
			flip(k)
			faulty := k.compute(batch)[1]
			if bytes.Equal(faulty, want[1]) {
				t.Fatal("the fault has no effect: it does not test anything")
			}
			if name == "modulo p" { // the attack, so that it is known what is at stake
				gap := new(big.Int).Sub(new(big.Int).SetBytes(faulty), new(big.Int).SetBytes(want[1]))
				if gap.GCD(nil, nil, gap.Abs(gap), key.N); gap.Cmp(key.Primes[1]) != 0 {
					t.Error("the fault does not give the key away: it is another one than meant")
				}
			}
			signed, err := k.Sign(batch)
			if err != nil || !bytes.Equal(signed[0], want[0]) || !bytes.Equal(signed[1], want[1]) {
				t.Errorf("a fault is given out (%v)", err)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	key := draw(t, 1)
	k := derive(key)
	long := make([]byte, keyBytes-10)
	if signed, err := k.Sign([][]byte{{1}, long}); err != rsa.ErrMessageTooLong || signed != nil {
		t.Errorf("a payload of %d bytes: %d signatures, %v", len(long), len(signed), err)
	}
	broken := *key
	broken.D = new(big.Int).Add(key.D, one)
	broken.Precomputed = rsa.PrecomputedValues{}
	if signed, err := derive(&broken).Sign([][]byte{{1}, {2}}); err == nil || signed != nil {
		t.Errorf("a key whose exponents do not fit: %d signatures", len(signed))
	}

	small, err := rsa.GenerateKey(nil, 1024)
	if err != nil {
		t.Fatal(err)
	}
	third := *key
	third.Primes = append([]*big.Int{big.NewInt(3)}, key.Primes...)
	odd := *key
	odd.E = 3
	uneven := *key
	uneven.Primes = []*big.Int{one, key.N}
	other := *key
	other.Primes = draw(t, 2).Primes
	public := rsa.PrivateKey{PublicKey: key.PublicKey}
	for name, key := range map[string]*rsa.PrivateKey{
		"1024 bits": small, "three primes": &third, "another exponent": &odd, "a prime of 2048 bits": &uneven,
		"primes of another key": &other, "the public half": &public, "none": nil, "an empty one": {},
	} {
		if suitable(key) || New(key) != nil {
			t.Errorf("%s: taken", name)
		}
	}
	if (New(key) != nil) != hasKernel {
		t.Error("a good key is refused")
	}
}

// In FIPS 140-3 mode crypto/rsa signs: the mode is fixed when a program starts.
func TestFIPS(t *testing.T) {
	if os.Getenv("CAPSTAN_IN_FIPS") == "1" {
		if New(draw(t, 1)) != nil {
			t.Error("a key was taken")
		}
		return
	}
	needsKernel(t) // without it no key is taken, and builds without assembly have no such mode
	cmd := exec.Command(os.Args[0], "-test.run=^TestFIPS$", "-test.v")
	cmd.Env = append(os.Environ(), "CAPSTAN_IN_FIPS=1", "GODEBUG=fips140=on")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestFIPS") {
		t.Errorf("%v\n%s", err, out)
	}
}

// FuzzSign takes any payload, and holds it against crypto/rsa in every lane.
func FuzzSign(f *testing.F) {
	needsKernel(f)
	first := draw(f, 3)
	both := []*rsa.PrivateKey{first, swapped(f, first)}
	derived := []*Key{derive(both[0]), derive(both[1])}
	for _, payload := range payloads(rand.New(rand.NewPCG(6, 1))) {
		f.Add(payload, uint8(len(payload)))
	}
	f.Fuzz(func(t *testing.T, payload []byte, choice uint8) {
		key, lane := both[choice&1], int(choice>>1)%lanes
		batch := make([][]byte, lanes)
		batch[lane] = payload
		batch[(lane+1)%lanes] = bytes.Repeat([]byte{choice}, 32)
		signed, err := rsa.SignPKCS1v15(nil, key, crypto.Hash(0), payload)
		if got := derived[choice&1].compute(batch)[lane]; !bytes.Equal(got, signed) || (got == nil) != (err != nil) {
			t.Errorf("lane %d: another signature of %x (%v)", lane, payload, err)
		}
	})
}

// BenchmarkSign signs eight hashes, beside crypto/rsa in the same run.
func BenchmarkSign(b *testing.B) {
	key := draw(b, 1)
	batch := make([][]byte, lanes)
	for i := range batch {
		batch[i] = random(rand.New(rand.NewPCG(7, uint64(i))), 32)
	}
	report := func(b *testing.B) {
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*lanes), "µs/signature")
	}
	b.Run("crypto-rsa", func(b *testing.B) {
		for b.Loop() {
			for _, payload := range batch {
				standard(b, key, payload)
			}
		}
		report(b)
	})
	b.Run("eight", func(b *testing.B) {
		needsKernel(b)
		k := derive(key)
		for b.Loop() {
			if _, err := k.Sign(batch); err != nil {
				b.Fatal(err)
			}
		}
		report(b)
	})
	b.Run("verify", func(b *testing.B) {
		signed := standard(b, key, batch[0])
		for b.Loop() {
			for range lanes {
				if err := rsa.VerifyPKCS1v15(&key.PublicKey, crypto.Hash(0), batch[0], signed); err != nil {
					b.Fatal(err)
				}
			}
		}
		report(b)
	})
	b.Run("multiply", func(b *testing.B) {
		needsKernel(b)
		w, m := new(workspace), &derive(key).p.modulus
		for b.Loop() {
			multiply(&w.base, &w.base, &w.factor, m)
		}
	})
	b.Run("square", func(b *testing.B) {
		needsKernel(b)
		w, m := new(workspace), &derive(key).p.modulus
		for b.Loop() {
			square(&w.base, &w.base, &w.double, m)
		}
	})
	b.Run("lookup", func(b *testing.B) {
		needsKernel(b)
		w := new(workspace)
		for b.Loop() {
			lookup(&w.factor, &w.table, 7)
		}
	})
}
