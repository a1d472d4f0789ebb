package cli

import "github.com/spf13/cobra"

func init() { registrations = append(registrations, newBundle) }

// bundleCommands are the constructors of what stands below capstan bundle; the
// files of local and remote verbs append to it in their init functions.
var bundleCommands []func(*Command) *cobra.Command

func newBundle(c *Command) *cobra.Command {
	command := &cobra.Command{
		Use:   "bundle",
		Short: "Pack, seal, verify, upload and list bundles",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for _, verb := range bundleCommands {
		command.AddCommand(verb(c))
	}
	return command
}
