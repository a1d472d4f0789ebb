//go:build !unix

package postgres

import (
	"os"
	"os/exec"
)

var immediate = os.Kill

func unprivileged(*exec.Cmd) error { return nil }

func own(string) error { return nil }
