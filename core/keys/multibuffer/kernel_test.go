package multibuffer

import (
	"encoding/binary"
	"math/big"
	"math/rand/v2"
	"testing"
)

// The steps are held against math/big: those in Go on every machine, those in
// assembly where the processor has the instructions.

type kernel struct {
	name     string
	multiply func(z, x, y *block, m *modulus)
	square   func(z, x, double *block, m *modulus)
	lookup   func(z *block, table *[entries]block, index uint64)
}

func eachKernel(t *testing.T, test func(*testing.T, kernel)) {
	t.Run("go", func(t *testing.T) {
		test(t, kernel{"go", multiplyGo, func(z, x, _ *block, m *modulus) { multiplyGo(z, x, x, m) }, lookupGo})
	})
	t.Run("assembly", func(t *testing.T) {
		needsKernel(t)
		test(t, kernel{"assembly", multiplyIFMA, squareIFMA, lookupIFMA})
	})
}

func needsKernel(t testing.TB) {
	t.Helper()
	if !hasKernel {
		t.Skip("this processor has no AVX-512 IFMA, or the build is without assembly")
	}
}

var (
	one       = big.NewInt(1)
	radix     = new(big.Int).Lsh(one, limbs*limbBits) // R
	primeSpan = new(big.Int).Lsh(one, primeBits)
)

func bigOf(b *block, lane int) *big.Int {
	n := new(big.Int)
	for j := limbs - 1; j >= 0; j-- {
		n.Add(n.Lsh(n, limbBits), new(big.Int).SetUint64(b[j][lane]))
	}
	return n
}

func put(b *block, lane int, n *big.Int) { b.set(lane, n.FillBytes(make([]byte, lowBytes))) }

func modulusOf(m *big.Int) *modulus {
	var f prime
	f.derive(m, one)
	return &f.modulus
}

// below draws a number below n.
func below(r *rand.Rand, n *big.Int) *big.Int {
	words := make([]byte, 8*(n.BitLen()/64+2))
	for i := 0; i < len(words); i += 8 {
		binary.LittleEndian.PutUint64(words[i:], r.Uint64())
	}
	return new(big.Int).Mod(new(big.Int).SetBytes(words), n)
}

// moduli are random ones and the extremes: most limbs full, and most empty.
func moduli(r *rand.Rand) []*big.Int {
	all := []*big.Int{
		new(big.Int).Sub(primeSpan, one),
		new(big.Int).SetBit(big.NewInt(1), primeBits-1, 1),
		new(big.Int).Sub(primeSpan, new(big.Int).Sub(new(big.Int).Lsh(one, limbBits), one)), // the lowest limb is 1
	}
	for range 20 {
		m := below(r, primeSpan)
		m.SetBit(m, 0, 1)
		all = append(all, m.SetBit(m, primeBits-1, 1))
	}
	return all
}

// operands are what a lane may hold: for multiply any pair with x*y < R*m.
func operands(r *rand.Rand, m *big.Int) []*big.Int {
	fours := new(big.Int).Lsh(m, 2)
	return []*big.Int{
		big.NewInt(0), one, new(big.Int).Sub(m, one), m, new(big.Int).Add(m, one), new(big.Int).Sub(new(big.Int).Lsh(m, 1), one),
		new(big.Int).Sub(fours, one), new(big.Int).Sub(primeSpan, one), below(r, fours), below(r, fours), below(r, m),
	}
}

func checkProduct(t *testing.T, what string, z *block, lane int, x, y, m *big.Int) {
	t.Helper()
	got := bigOf(z, lane)
	if got.Cmp(new(big.Int).Lsh(m, 1)) >= 0 {
		t.Errorf("%s: lane %d: not below 2m for x %x, y %x, m %x", what, lane, x, y, m)
	}
	for j := range limbs {
		if z[j][lane] > limbMask {
			t.Errorf("%s: lane %d: limb %d has more than 52 bits", what, lane, j)
		}
	}
	want := new(big.Int).Mul(x, y)
	want.Mod(want.Mul(want, new(big.Int).ModInverse(radix, m)), m)
	if got.Mod(got, m).Cmp(want) != 0 {
		t.Errorf("%s: lane %d: wrong for x %x, y %x, m %x", what, lane, x, y, m)
	}
}

func TestMultiplyAndSquare(t *testing.T) {
	eachKernel(t, func(t *testing.T, k kernel) {
		r := rand.New(rand.NewPCG(1, 1))
		for _, m := range moduli(r) {
			ops := operands(r, m)
			// Below R and m is the other pair that is used.
			full := []*big.Int{new(big.Int).Sub(radix, one), below(r, radix)}
			mod := modulusOf(m)
			for shift := range len(ops) {
				var x, y, double, z block
				var as, bs [lanes]*big.Int
				for lane := range lanes {
					as[lane], bs[lane] = ops[lane%len(ops)], ops[(lane+shift)%len(ops)]
					if lane < len(full) {
						as[lane], bs[lane] = full[lane], below(r, m)
					}
					put(&x, lane, as[lane])
					put(&y, lane, bs[lane])
				}
				k.multiply(&z, &x, &y, mod)
				for lane := range lanes {
					checkProduct(t, "multiply", &z, lane, as[lane], bs[lane], m)
				}
				// Into its own operands, as the exponentiation does.
				same := x
				if k.multiply(&same, &same, &y, mod); same != z {
					t.Error("multiply into x differs")
				}
				same = y
				if k.multiply(&same, &x, &same, mod); same != z {
					t.Error("multiply into y differs")
				}
				k.square(&z, &y, &double, mod)
				for lane := range lanes {
					checkProduct(t, "square", &z, lane, bs[lane], bs[lane], m)
				}
				if k.square(&y, &y, &double, mod); y != z {
					t.Error("square into x differs")
				}
			}
		}
	})
}

// Full limbs fill the columns as far as they ever are.
func TestFullLimbs(t *testing.T) {
	eachKernel(t, func(t *testing.T, k kernel) {
		m := new(big.Int).Sub(primeSpan, one)
		n := new(big.Int).Sub(radix, one)
		x, double, z := repeated(n), new(block), new(block)
		y := new(big.Int).Sub(m, one)
		k.multiply(z, x, repeated(y), modulusOf(m))
		checkProduct(t, "multiply", z, 3, n, y, m)
		// Of 1028 bits: what a square takes in the signature has at most 1026.
		n.Sub(new(big.Int).Lsh(one, primeBits+4), one)
		k.square(z, repeated(n), double, modulusOf(m))
		checkProduct(t, "square", z, 5, n, n, m)
	})
}

// The lanes are independent, and what is in the scratch does not matter.
func TestLanes(t *testing.T) {
	eachKernel(t, func(t *testing.T, k kernel) {
		r := rand.New(rand.NewPCG(2, 1))
		m := moduli(r)[5]
		mod := modulusOf(m)
		var x, clean, z, again block
		for lane := range lanes {
			put(&x, lane, below(r, m))
		}
		k.square(&z, &x, &clean, mod)
		for lane := range lanes {
			alone := block{}
			for j := range limbs {
				alone[j][lane] = x[j][lane]
			}
			dirty := x
			k.square(&again, &alone, &dirty, mod)
			for other := range lanes {
				want := new(big.Int)
				if other == lane {
					want = bigOf(&z, lane)
				}
				if bigOf(&again, other).Cmp(want) != 0 {
					t.Errorf("lane %d changes lane %d", lane, other)
				}
			}
		}
	})
}

func TestLookup(t *testing.T) {
	eachKernel(t, func(t *testing.T, k kernel) {
		r := rand.New(rand.NewPCG(3, 1))
		var table [entries]block
		for i := range table {
			for j := range limbs {
				for lane := range lanes {
					table[i][j][lane] = r.Uint64()
				}
			}
		}
		for i := range table {
			z := table[(i+1)%entries]
			if k.lookup(&z, &table, uint64(i)); z != table[i] {
				t.Errorf("entry %d is another", i)
			}
		}
	})
}

// What is in plain Go around the steps: conversions, sums, the last subtraction.
func TestBlocks(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 1))
	for _, m := range moduli(r) {
		mod := modulusOf(m)
		twice := new(big.Int).Lsh(m, 1)
		for round := range 20 {
			a, b := below(r, twice), below(r, twice)
			switch round {
			case 0:
				a, b = new(big.Int), twice
			case 1:
				a, b = new(big.Int).Sub(m, one), m
			case 2:
				a, b = m, new(big.Int)
			case 3:
				a = new(big.Int).Sub(twice, one)
			}
			x, y, z := repeated(a), repeated(b), new(block)
			lane := round % lanes
			if bigOf(x, lane).Cmp(a) != 0 {
				t.Fatalf("%x is read as %x", a, bigOf(x, lane))
			}
			if z.add(x, y); bigOf(z, lane).Cmp(new(big.Int).Add(a, b)) != 0 {
				t.Errorf("%x + %x is %x", a, b, bigOf(z, lane))
			}
			want := new(big.Int).Sub(new(big.Int).Add(a, twice), b)
			if z.subtract(x, y, mod); bigOf(z, lane).Cmp(want) != 0 {
				t.Errorf("%x + 2m - %x is %x", a, b, bigOf(z, lane))
			}
			reduced := new(big.Int).Mod(a, m)
			if x.reduce(mod); bigOf(x, lane).Cmp(reduced) != 0 {
				t.Errorf("%x modulo %x is %x", a, m, bigOf(x, lane))
			}
			if reduced.Cmp(primeSpan) < 0 {
				words := new(big.Int)
				w := x.words(lane)
				for i := primeWords - 1; i >= 0; i-- {
					words.Add(words.Lsh(words, 64), new(big.Int).SetUint64(w[i]))
				}
				if words.Cmp(reduced) != 0 {
					t.Errorf("the words of %x are %x", reduced, words)
				}
			}
		}
	}
}

// FuzzKernel takes any modulus and operands.
func FuzzKernel(f *testing.F) {
	needsKernel(f)
	f.Add([]byte{1}, []byte{0}, []byte{0})
	all := new(big.Int).Sub(radix, one).Bytes()
	f.Add(all[:primeBits/8], all, all)
	f.Fuzz(func(t *testing.T, modulo, left, right []byte) {
		number := func(b []byte, limit *big.Int) *big.Int {
			n := new(big.Int).SetBytes(b[:min(len(b), lowBytes)])
			return n.Mod(n, limit)
		}
		m := number(modulo, primeSpan)
		m.SetBit(m, 0, 1)
		m.SetBit(m, primeBits-1, 1)
		fours := new(big.Int).Lsh(m, 2)
		a, b := number(left, fours), number(right, fours)
		mod := modulusOf(m)
		x, y, z, double, inGo := repeated(a), repeated(b), new(block), new(block), new(block)
		multiplyIFMA(z, x, y, mod)
		checkProduct(t, "multiply", z, 0, a, b, m)
		if multiplyGo(inGo, x, y, mod); *inGo != *z {
			t.Error("multiply differs from the one in Go")
		}
		squareIFMA(z, x, double, mod)
		checkProduct(t, "square", z, 7, a, a, m)
		if multiplyGo(inGo, x, x, mod); *inGo != *z {
			t.Error("square differs from the one in Go")
		}
	})
}
