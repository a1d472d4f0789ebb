//go:build !amd64 || purego

package multibuffer

const hasKernel = false

func multiplyIFMA(z, x, y *block, m *modulus) { panic("not on this machine") }

func squareIFMA(z, x, double *block, m *modulus) { panic("not on this machine") }

func lookupIFMA(z *block, table *[entries]block, index uint64) { panic("not on this machine") }
