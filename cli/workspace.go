package cli

import (
	"context"

	"github.com/spf13/cobra"

	"capstan/core/profile"
	"capstan/core/workspace"
)

// workspaceFlags say where releases go, over what the profile says.
type workspaceFlags struct {
	dir string
	profile.Flags
}

func (f *workspaceFlags) add(command *cobra.Command) {
	flags := command.Flags()
	flags.StringVar(&f.dir, "project", ".", "folder of the Capacitor project")
	flags.StringVar(&f.Server, "server", "", "base URL of the update server or of Capgo's API")
	flags.StringVar(&f.Storage, "storage", "", "URL of the storage (default: the server's own)")
	flags.StringVar(&f.PublicURL, "public-url", "", "base URL under which devices find the objects")
}

// workspace opens the project, keys, registry and storage of a command.
func (c *Command) workspace(ctx context.Context, f *workspaceFlags) (*workspace.Workspace, error) {
	target, err := profile.Resolve(ctx, f.dir, c.Profile, f.Flags)
	if err != nil {
		return nil, err
	}
	options, err := c.ringOptions(environmentKeySource())
	if err != nil {
		return nil, err
	}
	return workspace.Open(ctx, workspace.Config{Dir: f.dir, Target: target, Keys: options})
}
