//go:build !purego

#include "textflag.h"

// The three steps that touch secrets, for eight numbers side by side. They have
// no branch and no address that depends on a secret. kernel.go holds the same
// steps in Go, and says what they take and give.
//
// A block is 20 rows of 64 bytes: row j holds limb j, 52 bits in 64, of eight
// numbers. A modulus is 20 limbs of 8 bytes, the same for all eight.
//
// VPMADD52LUQ c, b, a adds the low 52 bits of the product of b and c to a, and
// VPMADD52HUQ the high 52 bits. Of b and c they read the low 52 bits alone.

#define X SI      // the block of the multiplicand
#define M DX      // the modulus
#define Y Z20     // a limb of the multiplier
#define Q Z21     // the multiple of the modulus that clears the lowest limb
#define K Z22     // -1/modulus mod 2^52
#define CARRY Z23
#define LIMB Z24  // 2^52 - 1
#define EVEN Z25  // 2^52 - 2

// Twenty accumulators hold 20 neighbouring columns of the product. After each
// limb of the multiplier the lowest column is a multiple of 2^52, its carry goes
// to the next one, and its register begins the column above the highest: so the
// roles of Z0 to Z19 go round, and nothing is moved.
//
// A column takes at most 4 halves of products from each of at most 20 limbs,
// each below 2^52, and one carry: below 2^59, so that 64 bits do without carries
// in between.
#define LO(j, a) VPMADD52LUQ (64*j)(X), Y, a
#define HI(j, a) VPMADD52HUQ (64*j)(X), Y, a
#define LOM(j, a) VPMADD52LUQ.BCST (8*j)(M), Q, a
#define HIM(j, a) VPMADD52HUQ.BCST (8*j)(M), Q, a

// FROMj does OP for the limbs j to 19, whose accumulators follow.
#define FROM19(OP, a19) OP(19, a19)
#define FROM18(OP, a18, a19) OP(18, a18); FROM19(OP, a19)
#define FROM17(OP, a17, a18, a19) OP(17, a17); FROM18(OP, a18, a19)
#define FROM16(OP, a16, a17, a18, a19) OP(16, a16); FROM17(OP, a17, a18, a19)
#define FROM15(OP, a15, a16, a17, a18, a19) OP(15, a15); FROM16(OP, a16, a17, a18, a19)
#define FROM14(OP, a14, a15, a16, a17, a18, a19) OP(14, a14); FROM15(OP, a15, a16, a17, a18, a19)
#define FROM13(OP, a13, a14, a15, a16, a17, a18, a19) OP(13, a13); FROM14(OP, a14, a15, a16, a17, a18, a19)
#define FROM12(OP, a12, a13, a14, a15, a16, a17, a18, a19) OP(12, a12); FROM13(OP, a13, a14, a15, a16, a17, a18, a19)
#define FROM11(OP, a11, a12, a13, a14, a15, a16, a17, a18, a19) OP(11, a11); FROM12(OP, a12, a13, a14, a15, a16, a17, a18, a19)
#define FROM10(OP, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19) OP(10, a10); FROM11(OP, a11, a12, a13, a14, a15, a16, a17, a18, a19)
#define FROM9(OP, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19) OP(9, a9); FROM10(OP, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19)
#define FROM8(OP, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19) OP(8, a8); FROM9(OP, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19)
#define FROM7(OP, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19) OP(7, a7); FROM8(OP, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19)
#define FROM6(OP, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19) OP(6, a6); FROM7(OP, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19)
#define FROM5(OP, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19) OP(5, a5); FROM6(OP, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19)
#define FROM4(OP, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19) OP(4, a4); FROM5(OP, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19)
#define FROM3(OP, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19) OP(3, a3); FROM4(OP, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19)
#define FROM2(OP, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19) OP(2, a2); FROM3(OP, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19)
#define FROM1(OP, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19) OP(1, a1); FROM2(OP, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19)
#define FROM0(OP, a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19) OP(0, a0); FROM1(OP, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19)

// REDUCE adds the multiple of the modulus that makes the lowest column, a0, a
// multiple of 2^52, and leaves the columns that begin with a1 and end with a0.
#define REDUCE(a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19) \
	VPXORQ Q, Q, Q; \
	VPMADD52LUQ K, a0, Q; \
	FROM0(LOM, a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19); \
	VPSRLQ $52, a0, CARRY; \
	VPADDQ CARRY, a1, a1; \
	VPXORQ a0, a0, a0; \
	FROM0(HIM, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19, a0)

// MULTIPLY is one limb of the multiplier: all of its products.
#define MULTIPLY(i, a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19) \
	VMOVDQU64 (64*i)(BX), Y; \
	FROM0(LO, a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19); \
	REDUCE(a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19); \
	FROM0(HI, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19, a0)

// CLEAR begins with empty columns.
#define CLEAR \
	VPXORQ Z0, Z0, Z0; VPXORQ Z1, Z1, Z1; VPXORQ Z2, Z2, Z2; VPXORQ Z3, Z3, Z3; \
	VPXORQ Z4, Z4, Z4; VPXORQ Z5, Z5, Z5; VPXORQ Z6, Z6, Z6; VPXORQ Z7, Z7, Z7; \
	VPXORQ Z8, Z8, Z8; VPXORQ Z9, Z9, Z9; VPXORQ Z10, Z10, Z10; VPXORQ Z11, Z11, Z11; \
	VPXORQ Z12, Z12, Z12; VPXORQ Z13, Z13, Z13; VPXORQ Z14, Z14, Z14; VPXORQ Z15, Z15, Z15; \
	VPXORQ Z16, Z16, Z16; VPXORQ Z17, Z17, Z17; VPXORQ Z18, Z18, Z18; VPXORQ Z19, Z19, Z19

// CONSTANTS loads what multiply and square have in common.
#define CONSTANTS \
	VPBROADCASTQ 160(M), K; \
	MOVQ $0xfffffffffffff, AX; \
	VPBROADCASTQ AX, LIMB

// STORE carries what is above 52 bits in a column to the next one, and writes
// the limb. The highest has nothing to carry: the result is below 2^1026.
#define STORE(j, a, next) \
	VPSRLQ $52, a, CARRY; \
	VPADDQ CARRY, next, next; \
	VPANDQ LIMB, a, a; \
	VMOVDQU64 a, (64*j)(DI)

#define RESULT \
	STORE(0, Z0, Z1); \
	STORE(1, Z1, Z2); \
	STORE(2, Z2, Z3); \
	STORE(3, Z3, Z4); \
	STORE(4, Z4, Z5); \
	STORE(5, Z5, Z6); \
	STORE(6, Z6, Z7); \
	STORE(7, Z7, Z8); \
	STORE(8, Z8, Z9); \
	STORE(9, Z9, Z10); \
	STORE(10, Z10, Z11); \
	STORE(11, Z11, Z12); \
	STORE(12, Z12, Z13); \
	STORE(13, Z13, Z14); \
	STORE(14, Z14, Z15); \
	STORE(15, Z15, Z16); \
	STORE(16, Z16, Z17); \
	STORE(17, Z17, Z18); \
	STORE(18, Z18, Z19); \
	VMOVDQU64 Z19, (64*19)(DI); \
	VZEROUPPER

// func multiplyIFMA(z, x, y *block, m *modulus)
TEXT ·multiplyIFMA(SB), NOSPLIT, $0-32
	MOVQ z+0(FP), DI
	MOVQ x+8(FP), X
	MOVQ y+16(FP), BX
	MOVQ m+24(FP), M
	CONSTANTS
	CLEAR
	MULTIPLY(0, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15, Z16, Z17, Z18, Z19)
	MULTIPLY(1, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15, Z16, Z17, Z18, Z19, Z0)
	MULTIPLY(2, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15, Z16, Z17, Z18, Z19, Z0, Z1)
	MULTIPLY(3, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15, Z16, Z17, Z18, Z19, Z0, Z1, Z2)
	MULTIPLY(4, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15, Z16, Z17, Z18, Z19, Z0, Z1, Z2, Z3)
	MULTIPLY(5, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15, Z16, Z17, Z18, Z19, Z0, Z1, Z2, Z3, Z4)
	MULTIPLY(6, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15, Z16, Z17, Z18, Z19, Z0, Z1, Z2, Z3, Z4, Z5)
	MULTIPLY(7, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15, Z16, Z17, Z18, Z19, Z0, Z1, Z2, Z3, Z4, Z5, Z6)
	MULTIPLY(8, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15, Z16, Z17, Z18, Z19, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7)
	MULTIPLY(9, Z9, Z10, Z11, Z12, Z13, Z14, Z15, Z16, Z17, Z18, Z19, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8)
	MULTIPLY(10, Z10, Z11, Z12, Z13, Z14, Z15, Z16, Z17, Z18, Z19, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9)
	MULTIPLY(11, Z11, Z12, Z13, Z14, Z15, Z16, Z17, Z18, Z19, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10)
	MULTIPLY(12, Z12, Z13, Z14, Z15, Z16, Z17, Z18, Z19, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11)
	MULTIPLY(13, Z13, Z14, Z15, Z16, Z17, Z18, Z19, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12)
	MULTIPLY(14, Z14, Z15, Z16, Z17, Z18, Z19, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13)
	MULTIPLY(15, Z15, Z16, Z17, Z18, Z19, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14)
	MULTIPLY(16, Z16, Z17, Z18, Z19, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15)
	MULTIPLY(17, Z17, Z18, Z19, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15, Z16)
	MULTIPLY(18, Z18, Z19, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15, Z16, Z17)
	MULTIPLY(19, Z19, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15, Z16, Z17, Z18)
	RESULT
	RET

// DOUBLE writes limb j of 2x: CARRY is the highest bit of the limb below.
#define DOUBLE(j) \
	VMOVDQU64 (64*j)(BX), Y; \
	VPADDQ Y, Y, Q; \
	VPANDQ LIMB, Q, Q; \
	VPORQ CARRY, Q, Q; \
	VMOVDQU64 Q, (64*j)(X); \
	VPSRLQ $51, Y, CARRY

// DIAGONAL and NEXT make of 2x what limb i of x is multiplied with: limb i of
// x itself, then 2x without the carry out of limb i, which belongs to another
// product. Limbs below i were multiplied with it already. What DIAGONAL and NEXT
// write over is not read again.
#define DIAGONAL(i) \
	VMOVDQU64 (64*i)(BX), Y; \
	VMOVDQU64 Y, (64*i)(X)
#define NEXT(j) \
	VPANDQ (64*j)(X), EVEN, CARRY; \
	VMOVDQU64 CARRY, (64*j)(X)

// func squareIFMA(z, x, double *block, m *modulus)
TEXT ·squareIFMA(SB), NOSPLIT, $0-32
	MOVQ z+0(FP), DI
	MOVQ x+8(FP), BX
	MOVQ double+16(FP), X
	MOVQ m+24(FP), M
	CONSTANTS
	MOVQ $0xffffffffffffe, AX
	VPBROADCASTQ AX, EVEN
	VPXORQ CARRY, CARRY, CARRY
	DOUBLE(0); DOUBLE(1); DOUBLE(2); DOUBLE(3); DOUBLE(4)
	DOUBLE(5); DOUBLE(6); DOUBLE(7); DOUBLE(8); DOUBLE(9)
	DOUBLE(10); DOUBLE(11); DOUBLE(12); DOUBLE(13); DOUBLE(14)
	DOUBLE(15); DOUBLE(16); DOUBLE(17); DOUBLE(18); DOUBLE(19)
	CLEAR

	DIAGONAL(0); NEXT(1)
	FROM0(LO, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15, Z16, Z17, Z18, Z19)
	REDUCE(Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15, Z16, Z17, Z18, Z19)
	FROM0(HI, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15, Z16, Z17, Z18, Z19, Z0)

	DIAGONAL(1); NEXT(2)
	FROM1(LO, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15, Z16, Z17, Z18, Z19, Z0)
	REDUCE(Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15, Z16, Z17, Z18, Z19, Z0)
	FROM1(HI, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15, Z16, Z17, Z18, Z19, Z0, Z1)

	DIAGONAL(2); NEXT(3)
	FROM2(LO, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15, Z16, Z17, Z18, Z19, Z0, Z1)
	REDUCE(Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15, Z16, Z17, Z18, Z19, Z0, Z1)
	FROM2(HI, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15, Z16, Z17, Z18, Z19, Z0, Z1, Z2)

	DIAGONAL(3); NEXT(4)
	FROM3(LO, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15, Z16, Z17, Z18, Z19, Z0, Z1, Z2)
	REDUCE(Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15, Z16, Z17, Z18, Z19, Z0, Z1, Z2)
	FROM3(HI, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15, Z16, Z17, Z18, Z19, Z0, Z1, Z2, Z3)

	DIAGONAL(4); NEXT(5)
	FROM4(LO, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15, Z16, Z17, Z18, Z19, Z0, Z1, Z2, Z3)
	REDUCE(Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15, Z16, Z17, Z18, Z19, Z0, Z1, Z2, Z3)
	FROM4(HI, Z9, Z10, Z11, Z12, Z13, Z14, Z15, Z16, Z17, Z18, Z19, Z0, Z1, Z2, Z3, Z4)

	DIAGONAL(5); NEXT(6)
	FROM5(LO, Z10, Z11, Z12, Z13, Z14, Z15, Z16, Z17, Z18, Z19, Z0, Z1, Z2, Z3, Z4)
	REDUCE(Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15, Z16, Z17, Z18, Z19, Z0, Z1, Z2, Z3, Z4)
	FROM5(HI, Z11, Z12, Z13, Z14, Z15, Z16, Z17, Z18, Z19, Z0, Z1, Z2, Z3, Z4, Z5)

	DIAGONAL(6); NEXT(7)
	FROM6(LO, Z12, Z13, Z14, Z15, Z16, Z17, Z18, Z19, Z0, Z1, Z2, Z3, Z4, Z5)
	REDUCE(Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15, Z16, Z17, Z18, Z19, Z0, Z1, Z2, Z3, Z4, Z5)
	FROM6(HI, Z13, Z14, Z15, Z16, Z17, Z18, Z19, Z0, Z1, Z2, Z3, Z4, Z5, Z6)

	DIAGONAL(7); NEXT(8)
	FROM7(LO, Z14, Z15, Z16, Z17, Z18, Z19, Z0, Z1, Z2, Z3, Z4, Z5, Z6)
	REDUCE(Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15, Z16, Z17, Z18, Z19, Z0, Z1, Z2, Z3, Z4, Z5, Z6)
	FROM7(HI, Z15, Z16, Z17, Z18, Z19, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7)

	DIAGONAL(8); NEXT(9)
	FROM8(LO, Z16, Z17, Z18, Z19, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7)
	REDUCE(Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15, Z16, Z17, Z18, Z19, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7)
	FROM8(HI, Z17, Z18, Z19, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8)

	DIAGONAL(9); NEXT(10)
	FROM9(LO, Z18, Z19, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8)
	REDUCE(Z9, Z10, Z11, Z12, Z13, Z14, Z15, Z16, Z17, Z18, Z19, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8)
	FROM9(HI, Z19, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9)

	DIAGONAL(10); NEXT(11)
	FROM10(LO, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9)
	REDUCE(Z10, Z11, Z12, Z13, Z14, Z15, Z16, Z17, Z18, Z19, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9)
	FROM10(HI, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10)

	DIAGONAL(11); NEXT(12)
	FROM11(LO, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10)
	REDUCE(Z11, Z12, Z13, Z14, Z15, Z16, Z17, Z18, Z19, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10)
	FROM11(HI, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11)

	DIAGONAL(12); NEXT(13)
	FROM12(LO, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11)
	REDUCE(Z12, Z13, Z14, Z15, Z16, Z17, Z18, Z19, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11)
	FROM12(HI, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12)

	DIAGONAL(13); NEXT(14)
	FROM13(LO, Z6, Z7, Z8, Z9, Z10, Z11, Z12)
	REDUCE(Z13, Z14, Z15, Z16, Z17, Z18, Z19, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12)
	FROM13(HI, Z7, Z8, Z9, Z10, Z11, Z12, Z13)

	DIAGONAL(14); NEXT(15)
	FROM14(LO, Z8, Z9, Z10, Z11, Z12, Z13)
	REDUCE(Z14, Z15, Z16, Z17, Z18, Z19, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13)
	FROM14(HI, Z9, Z10, Z11, Z12, Z13, Z14)

	DIAGONAL(15); NEXT(16)
	FROM15(LO, Z10, Z11, Z12, Z13, Z14)
	REDUCE(Z15, Z16, Z17, Z18, Z19, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14)
	FROM15(HI, Z11, Z12, Z13, Z14, Z15)

	DIAGONAL(16); NEXT(17)
	FROM16(LO, Z12, Z13, Z14, Z15)
	REDUCE(Z16, Z17, Z18, Z19, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15)
	FROM16(HI, Z13, Z14, Z15, Z16)

	DIAGONAL(17); NEXT(18)
	FROM17(LO, Z14, Z15, Z16)
	REDUCE(Z17, Z18, Z19, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15, Z16)
	FROM17(HI, Z15, Z16, Z17)

	DIAGONAL(18); NEXT(19)
	FROM18(LO, Z16, Z17)
	REDUCE(Z18, Z19, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15, Z16, Z17)
	FROM18(HI, Z17, Z18)

	DIAGONAL(19)
	FROM19(LO, Z18)
	REDUCE(Z19, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15, Z16, Z17, Z18)
	FROM19(HI, Z19)

	RESULT
	RET

#define ENTRY Z20  // all ones in the wanted entry of the table, else zero
#define WANTED Z21
#define HERE Z22
#define ONE Z23

// TAKE keeps what it had and adds limb j of this entry if it is the wanted one:
// a | ENTRY & limb. It reads the limb in any case.
#define TAKE(j, a) VPTERNLOGQ $0xf8, (64*j)(SI), ENTRY, a
#define WRITE(j, a) VMOVDQU64 a, (64*j)(DI)

// func lookupIFMA(z *block, table *[16]block, index uint64)
TEXT ·lookupIFMA(SB), NOSPLIT, $0-24
	MOVQ z+0(FP), DI
	MOVQ table+8(FP), SI
	VPBROADCASTQ index+16(FP), WANTED
	VPXORQ HERE, HERE, HERE
	MOVQ $1, AX
	VPBROADCASTQ AX, ONE
	MOVQ $16, CX
	CLEAR
entry:
	VPCMPEQQ HERE, WANTED, K1
	VPTERNLOGQ.Z $0xff, ENTRY, ENTRY, K1, ENTRY
	FROM0(TAKE, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15, Z16, Z17, Z18, Z19)
	VPADDQ ONE, HERE, HERE
	ADDQ $(20*64), SI
	DECQ CX
	JNZ entry
	FROM0(WRITE, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15, Z16, Z17, Z18, Z19)
	VZEROUPPER
	RET
