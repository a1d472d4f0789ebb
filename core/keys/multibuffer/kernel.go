package multibuffer

import "math/bits"

const (
	lanes    = 8
	limbs    = 20
	limbBits = 52
	limbMask = 1<<limbBits - 1
	// entries of a table: the exponent is read four bits at a time.
	windowBits = 4
	entries    = 1 << windowBits
)

// block is eight numbers side by side: limb j of number i, its bits from 52*j
// on, is block[j][i].
type block [limbs][lanes]uint64

// modulus is an odd number m of 1024 bits. The assembly knows its layout.
type modulus struct {
	limbs [limbs]uint64
	k     uint64 // -1/m mod 2^52
}

// The arithmetic is Montgomery's with R = 2^1040, of which m leaves 16 bits
// unused. That is room enough to do without a final subtraction: for x and y
// with x*y < R*m the result (x*y + q*m)/R, q < R, is below 2m, and two results
// of 2m, or two sums of such results, are operands again: 4m * 4m < R*m.

// multiply sets z to x*y/R modulo m, below 2m, for x*y < R*m. z may be x or y.
func multiply(z, x, y *block, m *modulus) {
	if hasKernel {
		multiplyIFMA(z, x, y, m)
	} else {
		multiplyGo(z, x, y, m)
	}
}

// square sets z to x*x/R modulo m, below 2m, for x < 4m. z may be x; double is
// scratch and no other block.
func square(z, x, double *block, m *modulus) {
	if hasKernel {
		squareIFMA(z, x, double, m)
	} else {
		multiplyGo(z, x, x, m)
	}
}

// lookup copies the table's entry of that index, and reads all of them, so that
// no address depends on the index.
func lookup(z *block, table *[entries]block, index uint64) {
	if hasKernel {
		lookupIFMA(z, table, index)
	} else {
		lookupGo(z, table, index)
	}
}

// multiplyGo is the same in plain Go, one number after the other. It is what the
// assembly is compared with, and lets everything else be tested on any machine.
// It is too slow to sign with.
func multiplyGo(z, x, y *block, m *modulus) {
	for lane := range lanes {
		// column[j] takes 4 halves of products below 2^52 from each of at most 20
		// limbs of y, and a carry: it stays below 2^59.
		var column [limbs + 1]uint64
		for i := range limbs {
			for j := range limbs {
				high, low := product(x[j][lane], y[i][lane])
				column[j] += low
				column[j+1] += high
			}
			// q*m clears the lowest column but for its carry.
			_, q := product(column[0]&limbMask, m.k)
			for j := range limbs {
				high, low := product(m.limbs[j], q)
				column[j] += low
				column[j+1] += high
			}
			column[1] += column[0] >> limbBits
			copy(column[:], column[1:])
			column[limbs] = 0
		}
		for j := range limbs - 1 {
			column[j+1] += column[j] >> limbBits
			z[j][lane] = column[j] & limbMask
		}
		z[limbs-1][lane] = column[limbs-1]
	}
}

// product gives the two halves, of 52 bits each, of the product of two limbs.
func product(a, b uint64) (high, low uint64) {
	high, low = bits.Mul64(a, b)
	return high<<(64-limbBits) | low>>limbBits, low & limbMask
}

func lookupGo(z *block, table *[entries]block, index uint64) {
	clear(z[:])
	for here := range uint64(entries) {
		wanted := ((here ^ index) - 1) >> 63 // 1 for the entry, else 0
		for j := range limbs {
			for lane := range lanes {
				z[j][lane] |= table[here][j][lane] & -wanted
			}
		}
	}
}

// set makes a lane the big-endian number, which has at most 130 bytes.
func (z *block) set(lane int, number []byte) {
	var rest uint64 // of fewer than 52 bits, and then 8 more
	filled, limb := 0, 0
	for i := len(number) - 1; i >= 0; i-- {
		rest |= uint64(number[i]) << filled
		if filled += 8; filled >= limbBits {
			z[limb][lane] = rest & limbMask
			rest >>= limbBits
			filled -= limbBits
			limb++
		}
	}
	for ; limb < limbs; limb++ {
		z[limb][lane] = rest
		rest = 0
	}
}

// words gives the number of a lane, which is below 2^1024, in words of 64 bits,
// the lowest first.
func (z *block) words(lane int) (w [primeWords]uint64) {
	for j := range limbs {
		at := j * limbBits
		w[at/64] |= z[j][lane] << (at % 64)
		if at%64 > 64-limbBits && at/64+1 < primeWords {
			w[at/64+1] |= z[j][lane] >> (64 - at%64)
		}
	}
	return w
}

// add sets z to x + y, which must be below R.
func (z *block) add(x, y *block) {
	for lane := range lanes {
		var carry uint64
		for j := range limbs {
			sum := x[j][lane] + y[j][lane] + carry
			z[j][lane] = sum & limbMask
			carry = sum >> limbBits
		}
	}
}

// subtract sets z to x + 2m - y, for y up to 2m.
func (z *block) subtract(x, y *block, m *modulus) {
	for lane := range lanes {
		var carry int64 // -1, 0, 1 or 2
		for j := range limbs {
			difference := int64(x[j][lane]+2*m.limbs[j]-y[j][lane]) + carry
			z[j][lane] = uint64(difference) & limbMask
			carry = difference >> limbBits
		}
	}
}

// reduce takes m away from numbers below 2m that are not below m.
func (z *block) reduce(m *modulus) {
	for lane := range lanes {
		var less [limbs]uint64 // z - m
		var borrow uint64
		for j := range limbs {
			difference := z[j][lane] - m.limbs[j] - borrow
			less[j] = difference & limbMask
			borrow = difference >> 63
		}
		keep := -borrow // all ones when z was below m
		for j := range limbs {
			z[j][lane] = z[j][lane]&keep | less[j]&^keep
		}
	}
}
