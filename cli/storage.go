package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/core/release"
	"capstan/core/workspace"
)

func init() { registrations = append(registrations, newStorage) }

func newStorage(c *Command) *cobra.Command {
	command := &cobra.Command{Use: "storage", Short: "Look into the storage, and delete objects that no bundle names", Args: cobra.NoArgs}
	command.AddCommand(newStorageList(c), newStorageDelete(c))
	return command
}

// storedObject is a row of storage list.
type storedObject struct {
	Name    string     `json:"name"`
	Size    int64      `json:"size"` // bytes
	Changed *time.Time `json:"changed,omitempty"`
	URL     string     `json:"url"`
}

func newStorageList(c *Command) *cobra.Command {
	var f workspaceFlags
	command := &cobra.Command{
		Use: "list [PREFIX]", Short: "List the objects in the storage", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			w, err := c.storageOf(ctx, &f)
			if err != nil {
				return err
			}
			rows, cells := []storedObject{}, [][]string{}
			for object, err := range w.Storage.List(ctx, strings.Join(args, "")) {
				if err != nil {
					return err
				}
				row := storedObject{Name: object.Name, Size: object.Size, URL: w.Storage.PublicURL(object.Name)}
				changed := "-"
				if !object.Changed.IsZero() {
					row.Changed = &object.Changed
					changed = object.Changed.Local().Format("2006-01-02 15:04")
				}
				rows = append(rows, row)
				cells = append(cells, []string{object.Name, humanize.IBytes(uint64(object.Size)), changed})
			}
			return c.Result(rows, func(out io.Writer) { table(out, "NAME\tSIZE\tCHANGED", cells) })
		},
	}
	f.add(command)
	return command
}

func newStorageDelete(c *Command) *cobra.Command {
	var f workspaceFlags
	command := &cobra.Command{
		Use: "delete OBJECT", Short: "Delete a bundle's object that no bundle names any more", Args: cobra.ExactArgs(1),
		Long: `delete removes an object that a release left in the storage, by its name: APPID/VERSION/SHA256.zip.
An object that a registered bundle names stays: devices download it. capstan fsck names the others.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, name := cmd.Context(), args[0]
			w, err := c.storageOf(ctx, &f)
			if err != nil {
				return err
			}
			if err := unnamed(ctx, w, name); err != nil {
				return err
			}
			object, err := w.Storage.Stat(ctx, name)
			if err != nil {
				return err
			}
			if err := c.Confirmed(fmt.Sprintf("object %s (%s) is deleted for good", oneLine(name), humanize.IBytes(uint64(object.Size)))); err != nil {
				return err
			}
			if err := w.Storage.Delete(ctx, name); err != nil {
				return err
			}
			return c.Result(map[string]any{"object": name, "size": object.Size, "deleted": true}, func(out io.Writer) { fmt.Fprintln(out, "deleted", oneLine(name)) })
		},
	}
	f.add(command)
	return command
}

// storageOf opens the workspace of a command that needs storage and registry.
func (c *Command) storageOf(ctx context.Context, f *workspaceFlags) (*workspace.Workspace, error) {
	w, err := c.workspace(ctx, f)
	if err != nil {
		return nil, err
	}
	if w.Registry == nil || w.Storage == nil {
		if _, err := w.Config.Target.Connect(); err != nil {
			return nil, err
		}
		_, err = w.Config.Target.OpenStorage(ctx)
		return nil, err
	}
	return w, nil
}

// unnamed makes sure that no bundle of the app names the object.
func unnamed(ctx context.Context, w *workspace.Workspace, name string) error {
	const op = "delete the object"
	appID, _, ok := release.ParseObjectName(name)
	if !ok {
		return failure.New(failure.Usage, "object_name_invalid", op, "this is no name of a bundle's object", "capstan storage list shows them: APPID/VERSION/SHA256.zip")
	}
	bundles, err := w.Registry.Bundles(ctx, appID)
	if f, known := failure.Find(err); known && f.Class == failure.NotFound {
		return nil // an app that is not on record has no bundles
	}
	if err != nil {
		return err
	}
	for _, b := range bundles {
		if namesObject(b, appID, name, w.Storage.PublicURL(name)) {
			return failure.Newf(failure.Conflict, "object_in_use", op, "delete the bundle first: capstan bundle delete "+oneLine(b.Name)+" "+oneLine(appID),
				"bundle %s of %s is this object", oneLine(b.Name), oneLine(appID))
		}
	}
	return nil
}

func namesObject(b capgo.Bundle, appID, name, address string) bool {
	if b.ExternalURL == address || strings.HasSuffix("/"+b.R2Path, "/"+name) || b.ObjectSHA256 != "" && release.ObjectName(appID, b.Name, b.ObjectSHA256) == name {
		return true
	}
	for _, seal := range b.Seals {
		if release.ObjectName(appID, b.Name, seal.ObjectSHA256) == name {
			return true
		}
	}
	return false
}
