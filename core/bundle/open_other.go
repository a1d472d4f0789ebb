//go:build !unix

package bundle

const openFlags = 0
