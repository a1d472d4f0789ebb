package cli

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"capstan/core/device/fleet"
	"capstan/core/failure"
	"capstan/core/keys"
	"capstan/core/profile"
	"capstan/core/project"
	"capstan/core/remote"
	"capstan/core/remote/storage"
	"capstan/core/workspace"
	"capstan/examples"
	"capstan/server"
)

func init() { registrations = append(registrations, newDemo) }

func newDemo(c *Command) *cobra.Command {
	var (
		dir        string
		devices    int
		accessible bool
	)
	command := &cobra.Command{
		Use:   "demo",
		Short: "A sandbox of its own: sample app, key, update server; the whole release on this machine",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.demo(cmd.Context(), dir, devices, accessible)
		},
	}
	command.Flags().StringVar(&dir, "dir", "", "where the sandbox lives (default: demo in the user's data folder)")
	command.Flags().IntVar(&devices, "devices", 60, "simulated devices that poll while the console is open")
	command.Flags().BoolVar(&accessible, "accessible", false, "numbered questions instead of the full screen")
	return command
}

func (c *Command) demo(ctx context.Context, dir string, devices int, accessible bool) error {
	box, err := openSandbox(dir)
	if err != nil {
		return err
	}
	srv, err := box.startServer()
	if err != nil {
		return err
	}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	stopped := make(chan error, 1)
	go func() { stopped <- srv.Run(serving) }()
	defer func() { stop(); <-stopped }()

	if accessible || c.Terminal && !c.Plain && !c.JSON {
		polling, rest := context.WithCancel(serving)
		gone := make(chan struct{})
		go func() { defer close(gone); box.pollAsFleet(polling, devices) }()
		defer func() { rest(); <-gone }()
		return c.OpenConsole(ctx, ConsoleStart{Dir: box.ProjectDir, Lang: c.Lang, NoColor: c.NoColor, Accessible: accessible, Demo: box})
	}
	return c.demoPlain(ctx, box)
}

// demoPlain ships the next version of the sample app, line by line.
func (c *Command) demoPlain(ctx context.Context, box *Sandbox) error {
	c.Notef("sandbox   %s", box.Dir)
	c.Notef("server    %s", box.ServerURL)
	w, err := workspace.Open(ctx, box.Workspace())
	if err != nil {
		return err
	}
	record, err := w.Keys.Find(ctx, box.AppID)
	if failure.CodeOf(err) == "key_not_found" {
		record, err = w.Keys.Create(ctx, box.AppID, keys.File)
		if err == nil {
			c.Notef("key       %s created, private half in %s", record.KeyID, record.Location)
		}
	}
	if err != nil {
		return err
	}
	if err := box.Configure(record.PublicPEM); err != nil {
		return err
	}
	version, err := w.NextVersion(ctx, box.AppID)
	if err != nil {
		return err
	}
	if err := examples.SetVersion(box.ProjectDir, version); err != nil {
		return err
	}
	if w, err = workspace.Open(ctx, box.Workspace()); err != nil { // the project as it is now
		return err
	}
	plan, err := w.Plan(ctx, workspace.Request{AppID: box.AppID, CreateApp: true})
	if err != nil {
		return err
	}
	c.Notef("release   %s %s from %s", plan.AppID, plan.Version, plan.Dir)
	pipeline, err := w.Pipeline()
	if err != nil {
		return err
	}
	printer := c.eventPrinter(false)
	result, err := pipeline.Run(ctx, plan, printer.print)
	if err != nil {
		return err
	}
	if result.Device == nil || !result.Device.Installed {
		reason := "the server was not asked"
		if result.Device != nil {
			reason = result.Device.Reason
		}
		return failure.Newf(failure.Verification, "device_refused", "let a device take the release", "", "the simulated device did not install %s: %s", result.Version, reason)
	}
	return c.Result(result, func(out io.Writer) {
		fmt.Fprintf(out, "%s %s is live on %s; a simulated device installed it (%s)\n", result.App, result.Version, result.Channel, took(result.Took))
	})
}

func took(d time.Duration) string { return d.Round(10 * time.Millisecond).String() }

// openSandbox makes the sandbox's folders and unpacks the sample app, or finds
// what an earlier run left.
func openSandbox(dir string) (*Sandbox, error) {
	const op = "open the sandbox"
	if dir == "" {
		data, err := workspace.DataDir()
		if err != nil {
			return nil, err
		}
		dir = filepath.Join(data, "demo")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, failure.Wrap(err, failure.Usage, "folder_missing", op, "name a folder with --dir")
	}
	box := &Sandbox{Dir: dir, ProjectDir: filepath.Join(dir, "app"), Channel: "production"}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, failure.Wrap(err, failure.Failed, "sandbox", op, "name another folder with --dir")
	}
	if err := examples.Unpack(box.ProjectDir); err != nil {
		return nil, err
	}
	app, err := project.Open(box.ProjectDir)
	if err != nil {
		return nil, err
	}
	box.AppID = app.AppID
	return box, nil
}

// startServer binds the port of the earlier runs, so that what devices and
// bundles remember stays true; any other when it is taken.
func (b *Sandbox) startServer() (*server.Server, error) {
	b.ServerDir = filepath.Join(b.Dir, "server")
	config := server.Config{DataDir: b.ServerDir, Version: Version()}
	portFile := filepath.Join(b.Dir, "port")
	var srv *server.Server
	err := error(errors.New("no earlier port"))
	if port, ok := readPort(portFile); ok {
		config.Listen = net.JoinHostPort("127.0.0.1", port)
		srv, err = server.New(config)
		if err != nil && failure.CodeOf(err) != "address_in_use" {
			return nil, err
		}
	}
	if err != nil {
		config.Listen = "127.0.0.1:0"
		if srv, err = server.New(config); err != nil {
			return nil, err
		}
	}
	b.Server, b.ServerURL, b.PublicURL = srv, srv.URL(), srv.URL()
	b.StorageURL = "capstan+" + srv.URL()
	_, port, err := net.SplitHostPort(srv.Addr().String())
	if err == nil {
		err = os.WriteFile(portFile, []byte(port+"\n"), 0o600)
	}
	if err == nil {
		b.Token, err = secretFile(filepath.Join(b.Dir, "token"), srv.FirstToken)
	}
	if err != nil {
		_ = srv.Close()
		return nil, failure.Wrap(err, failure.Failed, "sandbox", "open the sandbox", "remove "+b.Dir+" to start afresh")
	}
	return srv, nil
}

// fleetPeriod is how often each of the demo's devices asks; real ones ask when
// the app comes to the front.
const fleetPeriod = 20 * time.Second

// pollAsFleet lets simulated devices live in the sandbox until ctx ends: they
// ask, install and report through the same endpoints as real ones. They appear
// once the app has its key, as apps do that are built with it.
func (b *Sandbox) pollAsFleet(ctx context.Context, devices int) {
	if devices < 1 {
		return
	}
	var public []byte
	for public == nil {
		if w, err := workspace.Open(ctx, b.Workspace()); err == nil {
			if record, err := w.Keys.Find(ctx, b.AppID); err == nil {
				public = []byte(record.PublicPEM)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
	}
	f, err := fleet.New(fleet.Config{
		AppID: b.AppID, UpdateURL: b.ServerURL + "/updates", StatsURL: b.ServerURL + "/stats",
		PublicKey: public, Devices: devices, Seed: 1, Workers: 4, Dir: b.Dir,
		Natives: []fleet.Share{{Value: "1.0.0-0", Weight: 1}},
	})
	if err != nil {
		return
	}
	_ = f.Run(ctx, fleetPeriod, func(fleet.Round) {}) // ends with ctx
}

// readPort reads a port that an earlier run wrote; anything odd counts as none.
func readPort(path string) (string, bool) {
	text, err := os.ReadFile(path)
	port := strings.TrimSpace(string(text))
	if n, bad := strconv.Atoi(port); err != nil || bad != nil || n < 1 || n > 65535 {
		return "", false
	}
	return port, true
}

// secretFile gives the secret kept in a file of mode 0600. A new one is made
// when make gives it; else the file must be there.
func secretFile(path string, make func() string) (string, error) {
	if fresh := make(); fresh != "" {
		return fresh, os.WriteFile(path, []byte(fresh+"\n"), 0o600)
	}
	text, err := os.ReadFile(path)
	return strings.TrimSpace(string(text)), err
}

// Workspace is the sandbox as everything else opens it: its own key index and
// journals, away from the user's.
func (b *Sandbox) Workspace() workspace.Config {
	passphrase := func(context.Context, string) ([]byte, error) { return b.passphrase() }
	return workspace.Config{
		Dir: b.ProjectDir, ConfigDir: filepath.Join(b.Dir, "config"), StateDir: filepath.Join(b.Dir, "state"),
		Target: profile.Resolved{
			Profile:     profile.Profile{Name: "demo", Server: b.ServerURL, Storage: b.StorageURL, Channel: b.Channel},
			Client:      remote.Config{BaseURL: b.ServerURL, Token: remote.NewToken(b.Token)},
			Credentials: storage.Credentials{Token: remote.NewToken(b.Token)},
		},
		Keys: keys.Options{Passphrase: passphrase, NewPassphrase: passphrase, WorkFactor: sandboxWorkFactor},
	}
}

// sandboxWorkFactor keeps the demo quick: its passphrase lies beside the key,
// so that a dear one would protect nothing.
const sandboxWorkFactor = 10

// passphrase gives the passphrase of the sandbox's key file, made at its first
// use. It lies in the sandbox: the demo's key signs nothing but the demo's app.
func (b *Sandbox) passphrase() ([]byte, error) {
	path := filepath.Join(b.Dir, "passphrase")
	text, err := secretFile(path, func() string {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			return ""
		}
		var random [16]byte
		_, _ = rand.Read(random[:])
		return hex.EncodeToString(random[:])
	})
	if err != nil {
		return nil, failure.Wrap(err, failure.KeyStore, "passphrase_missing", "unlock the demo key", "remove "+b.Dir+" to start afresh")
	}
	return []byte(text), nil
}

// Configure puts the public key and the server's addresses into the sample
// app's configuration, as a developer would once.
func (b *Sandbox) Configure(publicPEM string) error {
	return b.edit(map[string]string{"publicKey": publicPEM})
}

// Connect points the sample app at the sandbox's server.
func (b *Sandbox) Connect() error { return b.edit(nil) }

func (b *Sandbox) edit(changes map[string]string) error {
	app, err := project.Open(b.ProjectDir)
	if err != nil {
		return err
	}
	settings := map[string]string{
		"updateUrl": b.ServerURL + "/updates", "statsUrl": b.ServerURL + "/stats", "channelUrl": b.ServerURL + "/channel_self",
	}
	maps.Copy(settings, changes)
	edit, err := app.PlanEdit(settings)
	if err != nil || !edit.Changed() {
		return err
	}
	return edit.Apply()
}
