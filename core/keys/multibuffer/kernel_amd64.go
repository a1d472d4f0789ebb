//go:build !purego

package multibuffer

import "golang.org/x/sys/cpu"

// hasKernel says whether the assembly can run: the instructions of the
// processor, and an operating system that keeps their registers.
var hasKernel = cpu.X86.HasAVX512F && cpu.X86.HasAVX512IFMA

//go:noescape
func multiplyIFMA(z, x, y *block, m *modulus)

//go:noescape
func squareIFMA(z, x, double *block, m *modulus)

//go:noescape
func lookupIFMA(z *block, table *[entries]block, index uint64)
