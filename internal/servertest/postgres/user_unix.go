//go:build unix

package postgres

import (
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// immediate makes PostgreSQL stop without a checkpoint.
const immediate = syscall.SIGQUIT

// unprivileged runs a program as the user postgres where the test is root:
// PostgreSQL refuses to run as root.
func unprivileged(c *exec.Cmd) error {
	uid, gid, needed, err := other()
	if err != nil || !needed {
		return err
	}
	c.Dir = "/"
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}}
	return nil
}

func own(dir string) error {
	uid, gid, needed, err := other()
	if err != nil || !needed {
		return err
	}
	return os.Chown(dir, int(uid), int(gid))
}

func other() (uid, gid uint32, needed bool, err error) {
	if os.Getuid() != 0 {
		return 0, 0, false, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return 0, 0, true, err
	}
	number := func(s string) uint32 {
		n, convErr := strconv.ParseUint(s, 10, 32)
		if convErr != nil {
			err = convErr
		}
		return uint32(n)
	}
	return number(u.Uid), number(u.Gid), true, err
}
