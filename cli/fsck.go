package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"capstan/core/failure"
	"capstan/core/fsck"
)

func init() { registrations = append(registrations, newFsck) }

func newFsck(c *Command) *cobra.Command {
	var f workspaceFlags
	var all bool
	var ledgerKey string
	command := &cobra.Command{
		Use: "fsck [APPID]", Short: "Compare storage, registry, public addresses, signatures, channels and journals", Args: cobra.MaximumNArgs(1),
		Long: `fsck compares the objects in storage, the registry's rows, what the public addresses really serve,
the signatures with the app's key on record, the channels' pointers and history with the proofs of the
server's ledger, and the release journals of this machine. Every drift gets a line with its fix; nothing is changed. Bundles that a
channel serves are downloaded and opened; --all does so with every bundle.

Exit status: 0 when nothing needs to be put right (warnings are allowed), 1 when something does,
6 when a bundle that a channel serves does not verify.`,
		RunE: func(cmd *cobra.Command, args []string) error { return c.fsck(cmd.Context(), &f, args, all, ledgerKey) },
	}
	f.add(command)
	command.Flags().StringVar(&ledgerKey, "ledger-key", "", "file with the public key of the server's ledger (its ledger.pub): the root of every proof must be signed with it")
	command.Flags().BoolVar(&all, "all", false, "download and open every bundle, not only those that are served")
	return command
}

func (c *Command) fsck(ctx context.Context, f *workspaceFlags, args []string, all bool, ledgerKey string) error {
	w, err := c.workspace(ctx, f)
	if err != nil {
		return err
	}
	if _, err := w.Pipeline(); err != nil { // says what is missing to reach a registry
		return err
	}
	config := fsck.Config{Registry: w.Registry, Journals: w.Journals, All: all}
	if ledgerKey != "" {
		if config.LedgerKey, err = readLedgerKey(ledgerKey); err != nil {
			return err
		}
	}
	if w.Storage != nil {
		config.Storage = w.Storage
	}
	switch {
	case len(args) == 1:
		config.AppID = args[0]
	case w.Project != nil:
		config.AppID = w.Project.AppID
	}
	if config.AppID == "" {
		return failure.New(failure.Usage, "app_missing", "", "which app is not said, and there is no Capacitor project here", "name the app, or run the command in the project's folder")
	}
	if record, err := w.Keys.Find(ctx, config.AppID); err == nil {
		config.PublicKey = record.PublicPEM
	}
	if c.Terminal {
		config.Progress = func(done, total int, what string) { c.Notef("%d of %d: %s", done+1, total, oneLine(what)) }
	}
	report, err := fsck.Check(ctx, config)
	if err != nil {
		return err
	}
	if err := c.Result(report, func(w io.Writer) { printReport(w, report) }); err != nil {
		return err
	}
	return report.Err()
}

func printReport(w io.Writer, r fsck.Report) {
	for _, f := range r.Findings {
		line := fmt.Sprintf("%-5s  %-20s  %s", f.Level, f.Code, oneLine(f.Text))
		if f.Hint != "" {
			line += " - " + oneLine(f.Hint)
		}
		fmt.Fprintln(w, line)
	}
	fmt.Fprintf(w, "%s: %d bundles, %d channels, %d objects looked up, %d downloaded (%s), %d releases of this machine\n",
		oneLine(r.AppID), r.Bundles, r.Channels, r.Objects, r.Downloaded, humanize.IBytes(uint64(r.Bytes)), r.Releases)
}
