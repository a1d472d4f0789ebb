package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"capstan/core/capgo"
	"capstan/core/device"
	"capstan/core/failure"
	"capstan/core/profile"
	"capstan/core/project"
)

// probeDeviceID is the device id of a probe, so that all probes of an app
// together are one device in its fleet.
const probeDeviceID = "00000000-0000-4000-8000-000000000002"

// newestPlugin is the plugin that a probe stands for when nothing says otherwise.
const newestPlugin = "8.51.23"

func init() { registrations = append(registrations, newProbe) }

// probe is one run of the command.
type probe struct {
	updateURL string
	keyFile   string
	project   string
	install   string
	noInstall bool
	device    capgo.UpdateRequest
	debug     bool   // a development build
	profile   string // of capstan.toml, "" is the default
	key       []byte
}

// probeResult is the object of --json.
type probeResult struct {
	// Answer holds the known fields of what the server sent.
	Answer capgo.UpdateAnswer `json:"answer"`
	// Reason is a stable code: offered, the server's error code, or what the device stumbled over.
	Reason string `json:"reason"`
	// Outcome is what the device does: offered, current, builtin, quiet, failed, silent.
	Outcome   device.Outcome `json:"outcome"`
	Status    int            `json:"status"` // of HTTP
	Installed bool           `json:"installed"`
	// Dir holds the unpacked bundle, with --install.
	Dir   string        `json:"dir,omitempty"`
	Steps []device.Step `json:"steps"`
}

func newProbe(c *Command) *cobra.Command {
	p := &probe{}
	cmd := &cobra.Command{
		Use:   "probe",
		Short: "Ask an update server as a device, and explain the answer",
		Long: `Ask an update server as a device of a given plugin version and platform would,
and explain the answer. When a bundle is offered and the app's public key is
known, the bundle is downloaded, decrypted, verified and unpacked as that plugin
does. Exit status 6 means that the device would refuse it.

Inside a project the app, the update server, the key, the channel and the
versions of plugin and native app come from there.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p.profile = c.Profile
			if err := p.complete(cmd.Context()); err != nil {
				return err
			}
			return p.run(cmd.Context(), c)
		},
	}
	f := cmd.Flags()
	f.StringVar(&p.updateURL, "update-url", "", "the server's update endpoint, e.g. https://updates.example.com/updates")
	f.StringVar(&p.device.AppID, "app", "", "the app's id")
	f.StringVar(&p.device.Platform, "platform", device.Android, "android or ios")
	f.StringVar(&p.device.PluginVersion, "plugin-version", "", "version of @capgo/capacitor-updater in the app (default the project's, else "+newestPlugin+")")
	f.StringVar(&p.device.VersionName, "version-name", capgo.Builtin, "the bundle that the device runs")
	f.StringVar(&p.device.VersionBuild, "version-build", "", "version of the native app (default the project's, else 1.0.0)")
	f.StringVar(&p.device.DefaultChannel, "channel", "", "the channel that the app asks for")
	f.StringVar(&p.device.DeviceID, "device-id", probeDeviceID, "id of the device")
	f.StringVar(&p.device.CustomID, "custom-id", "", "the app's own id for the device")
	f.BoolVar(&p.device.IsEmulator, "emulator", false, "ask as an emulator")
	f.BoolVar(&p.debug, "debug-build", false, "ask as a development build")
	f.StringVar(&p.keyFile, "key", "", "file with the app's public key")
	f.StringVar(&p.project, "project", "", "folder of the app's project (default the current folder, when it is one)")
	f.StringVar(&p.install, "install", "", "unpack the bundle into this folder and keep it")
	f.BoolVar(&p.noInstall, "no-install", false, "only ask")
	cmd.MarkFlagsMutuallyExclusive("install", "no-install")
	return cmd
}

// complete fills what the flags left open, from the project where there is one.
func (p *probe) complete(ctx context.Context) error {
	if p.keyFile != "" {
		key, err := os.ReadFile(p.keyFile)
		if err != nil {
			return failure.Wrap(err, failure.NotFound, "key_not_found", "read the public key", "give the file that key create wrote: .capgo_key_v2.pub")
		}
		p.key = key
	}
	if err := p.fromProject(ctx); err != nil {
		return err
	}
	if p.updateURL == "" {
		p.updateURL = serverUpdateURL(ctx, p.project, p.profile)
	}
	if p.device.PluginVersion == "" {
		p.device.PluginVersion = newestPlugin
	}
	if p.device.VersionBuild == "" {
		p.device.VersionBuild = "1.0.0"
	}
	p.device.IsProd = !p.debug
	p.device.VersionOS, p.device.VersionCode = "15", "1"
	switch {
	case p.updateURL == "":
		return failure.New(failure.Usage, "update_url_missing", "", "which server to ask is not known", "give --update-url, or run it in a project whose config has updateUrl or whose profile has a server")
	case p.device.AppID == "":
		return failure.New(failure.Usage, "app_missing", "", "which app to ask for is not known", "give --app, or run it in the app's project")
	}
	return nil
}

// serverUpdateURL is the update endpoint of the server that releases go to, for
// a project whose config does not say where it asks. "" when none is known.
func serverUpdateURL(ctx context.Context, dir, name string) string {
	if dir == "" {
		dir = "."
	}
	target, err := profile.Resolve(ctx, dir, name, profile.Flags{})
	if err != nil || target.Server == "" || target.Server == profile.CapgoServer {
		return ""
	}
	return strings.TrimRight(target.Server, "/") + "/updates"
}

// fromProject takes what the flags left open from the app's project. Without
// --project it is a convenience: no project is no failure.
func (p *probe) fromProject(ctx context.Context) error {
	dir := p.project
	if dir == "" {
		dir = "."
	}
	app, err := project.OpenWith(ctx, dir, project.Options{})
	if err != nil {
		if p.project == "" && (p.updateURL != "" && p.device.AppID != "" || failure.CodeOf(err) == "project_not_found") {
			return nil
		}
		return err
	}
	if p.device.AppID != "" && p.device.AppID != app.AppID {
		if p.project == "" {
			return nil // the command is about another app than the folder
		}
		return failure.Newf(failure.Usage, "app_mismatch", "", "leave out --app or --project", "the project is %s, not %s", app.AppID, p.device.AppID)
	}
	p.device.AppID = app.AppID
	for _, v := range []struct {
		field *string
		value string
	}{
		{&p.updateURL, app.UpdateURL},
		{&p.device.PluginVersion, app.PluginVersion},
		{&p.device.DefaultChannel, app.DefaultChannel},
		{&p.device.VersionBuild, nativeVersion(app, p.device.Platform)},
	} {
		if *v.field == "" {
			*v.field = v.value
		}
	}
	if p.key == nil && app.PublicKey != "" {
		p.key = []byte(app.PublicKey)
	}
	return nil
}

// nativeVersion is the version of the native app that the plugin reports: its
// own setting before that of the native project.
func nativeVersion(app *project.Project, platform string) string {
	if v, ok := app.Setting("version"); ok {
		if text, ok := v.(string); ok && text != "" {
			return text
		}
	}
	native := app.Native.Android
	if platform == device.IOS {
		native = app.Native.IOS
	}
	if native == nil {
		return ""
	}
	return native.Version
}

// run asks, installs and prints.
func (p *probe) run(ctx context.Context, c *Command) error {
	result := probeResult{Steps: []device.Step{}}
	step := func(s device.Step) { result.Steps = append(result.Steps, s) }
	err := p.ask(ctx, &result, step)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if len(result.Steps) == 0 {
		return err
	}
	if printErr := c.Result(result, func(w io.Writer) { printProbe(w, result) }); printErr != nil {
		return printErr
	}
	return err
}

func (p *probe) ask(ctx context.Context, result *probeResult, step func(device.Step)) error {
	dir, temporary, err := p.folder()
	if err != nil {
		return err
	}
	if temporary {
		defer os.RemoveAll(dir)
	}
	d, err := device.New(device.Device{Request: p.device, PublicKey: p.key, Dir: dir})
	if err != nil {
		return err
	}
	step(device.Step{Name: "request", OK: true, Detail: fmt.Sprintf("%s as %s %s, native %s, running %s",
		p.updateURL, p.device.Platform, p.device.PluginVersion, p.device.VersionBuild, p.device.VersionName)})
	answer, err := d.Check(ctx, p.updateURL)
	if err != nil {
		step(device.Step{Name: "answer", Detail: err.Error(), Code: failure.CodeOf(err)})
		result.Reason = failure.CodeOf(err)
		return err
	}
	result.Answer, result.Reason, result.Outcome, result.Status = answer.UpdateAnswer, answer.Reason, answer.Outcome, answer.Status
	if err := judge(answer, step); err != nil || answer.Outcome != device.Offered {
		return err
	}
	if p.noInstall || len(p.key) == 0 && p.install == "" {
		if !p.noInstall {
			step(device.Step{Name: "install", OK: true, Detail: "not tried: the app's public key is not known; --key names it, --install DIR tries without"})
		}
		return nil
	}
	got, err := d.Install(ctx, answer, step)
	if err != nil {
		result.Reason = failure.CodeOf(err)
		return withHint(err)
	}
	result.Installed = true
	if !temporary {
		result.Dir = got.Dir
	}
	return nil
}

// folder gives the device's folder, and whether it goes away afterwards.
func (p *probe) folder() (dir string, temporary bool, err error) {
	if p.install != "" {
		dir, err = filepath.Abs(p.install)
		return dir, false, err
	}
	dir, err = os.MkdirTemp("", "capstan-probe-")
	if err != nil {
		return "", false, failure.Wrap(err, failure.Failed, "device_folder", "make a folder for the device", "")
	}
	return dir, true, nil
}

// judge reports the answer and turns one that no device could use into an
// error. A server that offers nothing for a reason is not one.
func judge(a device.Answer, step func(device.Step)) error {
	meaning, hint := device.Explain(a.Reason)
	if meaning == "" {
		meaning = a.Detail
	}
	if a.Outcome == device.Offered {
		meaning = "version " + a.Version + " is offered"
	}
	fromServer := a.Error != "" || a.Kind != "" || a.Message != ""
	ok := a.Outcome != device.Silent && (a.Outcome != device.Failed || fromServer && a.Kind != "")
	s := device.Step{Name: "answer", Detail: meaning, OK: ok}
	if a.Outcome != device.Offered {
		s.Code = a.Reason
	}
	step(s)
	switch {
	case a.Outcome == device.Silent:
		return failure.New(failure.Verification, a.Reason, "read the answer", meaning, hint)
	case a.Outcome != device.Failed || fromServer && a.Status/100 == 2:
		if a.Outcome == device.Failed && a.Kind == "" {
			step(device.Step{Name: "kind", Code: "kind_missing", Detail: "the refusal has no kind, so that the plugin counts it as a failed download"})
		}
		return nil
	case a.Status >= 500 || a.Status == 429:
		return failure.Newf(failure.Unavailable, a.Reason, "read the answer", hint, "%s (HTTP %d)", meaning, a.Status)
	}
	return failure.Newf(failure.Failed, a.Reason, "read the answer", hint, "%s (HTTP %d)", meaning, a.Status)
}

// withHint puts what to do on a refusal that has no hint of its own.
func withHint(err error) error {
	f, ok := failure.Find(err)
	if !ok || failure.HintOf(err) != "" {
		return err
	}
	_, hint := device.Explain(f.Code)
	return &failure.Error{Class: f.Class, Code: f.Code, Op: f.Op, Err: f.Err, Hint: hint}
}

// printProbe prints the steps as a table, one line each.
func printProbe(out io.Writer, r probeResult) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, s := range r.Steps {
		word := "ok"
		if !s.OK {
			word = "refused"
		}
		detail := s.Detail
		if s.Code != "" {
			detail += " (" + s.Code + ")"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", word, oneLine(s.Name), oneLine(detail))
	}
	_ = w.Flush()
	if r.Installed {
		fmt.Fprintf(out, "the device installs %s\n", oneLine(r.Answer.Version))
	}
}
