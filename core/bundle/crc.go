package bundle

// joinCRC gives the CRC-32 (IEEE) of two pieces of data from the CRCs of both
// and the length of the second. Appending n bytes multiplies the first CRC by
// x^(8n) modulo the polynomial; the multiplication is done by squaring.
func joinCRC(a, b uint32, n int64) uint32 {
	shift := uint32(1) << 31 // the polynomial 1, bits reversed
	power := uint32(1) << 23 // x^8
	for ; n > 0; n >>= 1 {
		if n&1 != 0 {
			shift = mulCRC(shift, power)
		}
		power = mulCRC(power, power)
	}
	return mulCRC(a, shift) ^ b
}

// mulCRC multiplies two polynomials over GF(2) modulo the CRC-32 polynomial,
// both with reversed bits.
func mulCRC(a, b uint32) uint32 {
	const polynomial = 0xedb88320
	var product uint32
	for bit := uint32(1) << 31; bit != 0; bit >>= 1 {
		if a&bit != 0 {
			product ^= b
		}
		if b&1 != 0 {
			b = b>>1 ^ polynomial
		} else {
			b >>= 1
		}
	}
	return product
}
