//go:build unix

package bundle

import "syscall"

// openFlags keep the open of a fifo that took a file's place from blocking.
const openFlags = syscall.O_NONBLOCK | syscall.O_CLOEXEC
