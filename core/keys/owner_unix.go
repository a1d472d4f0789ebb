//go:build unix

package keys

import (
	"io/fs"
	"os"
	"syscall"
)

// foreign reports whether a file belongs to neither this user nor root.
func foreign(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) != os.Geteuid() && st.Uid != 0
}
