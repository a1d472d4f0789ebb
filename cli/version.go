package cli

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func init() { registrations = append(registrations, newVersion) }

// builtVersion is set by the release build with -ldflags -X.
var builtVersion string

// Version is the version of this binary: the release's number, or what the Go
// toolchain knows of a build from source.
func Version() string {
	if builtVersion != "" {
		return builtVersion
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "0.1.0-dev"
	}
	return info.Main.Version
}

func newVersion(c *Command) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := map[string]string{"version": Version(), "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}
			return c.Result(v, func(out io.Writer) {
				fmt.Fprintf(out, "capstan %s (%s, %s)\n", v["version"], v["go"], v["platform"])
			})
		},
	}
}
