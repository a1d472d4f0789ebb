package main

import (
	"cmp"
	"context"
	"os"
	"time"

	"capstan/cli"
	"capstan/core/keys"
	"capstan/core/profile"
	"capstan/core/workspace"
	"capstan/examples"
	"capstan/ui"
	"capstan/ui/connect"
	"capstan/ui/text"
	"capstan/ui/theme"
	"capstan/ui/views"
)

// openConsole opens the console on the demo's sandbox or on the project around
// the working folder, and again when another profile is chosen in it.
func openConsole(ctx context.Context, start cli.ConsoleStart) error {
	for {
		next := ""
		if err := consoleOnce(ctx, start, func(name string) { next = name }); err != nil || next == "" {
			return err
		}
		start.Profile = next
	}
}

func consoleOnce(ctx context.Context, start cli.ConsoleStart, another func(profile string)) error {
	config, options, err := consoleOn(ctx, start)
	if err != nil {
		return err
	}
	var passphrases *ui.Passphrases
	if start.Demo == nil { // the demo knows its own
		passphrases = ui.NewPassphrases()
		if config.Keys, err = consoleKeys(passphrases); err != nil {
			return err
		}
	}
	config.NoGit = true // the first frame does not wait for it
	w, err := workspace.Open(ctx, config)
	if err != nil {
		return err
	}
	services, err := connect.Services(w, options)
	if err != nil {
		return err
	}
	var remembered views.Settings // what cannot be read is not worth an error
	if services.Preferences != nil {
		remembered, _ = services.Preferences.Load(ctx)
	}
	lang := text.Choose(cmp.Or(start.Lang, os.Getenv("CAPSTAN_LANG"), remembered.Lang), os.Getenv("LC_ALL"), os.Getenv("LC_MESSAGES"), os.Getenv("LANG"))
	appID := ""
	if start.Demo != nil {
		appID, another = start.Demo.AppID, nil
	}
	began := time.Now()
	err = ui.Run(ctx, ui.Options{
		Services: services, Facts: connect.Facts(w, appID), Demo: start.Demo != nil, ReadOnly: start.ReadOnly,
		Accessible: start.Accessible || os.Getenv("ACCESSIBLE") != "" || os.Getenv("TERM") == "dumb", NoColor: start.NoColor, Lang: lang, Theme: theme.Name(remembered.Theme), Passphrases: passphrases,
		SwitchProfile: another,
	})
	if start.Demo == nil { // the sandbox is gone, with what was in it
		cli.PrintStopped(context.WithoutCancel(ctx), os.Stderr, w, began)
	}
	return err
}

// consoleKeys takes passphrases and keys from where the commands take them, and
// asks in a dialog where the environment names no passphrase file.
func consoleKeys(passphrases *ui.Passphrases) (keys.Options, error) {
	o, err := cli.EnvironmentKeys()
	if err == nil && o.Passphrase == nil {
		o.Passphrase, o.NewPassphrase = passphrases.Ask, passphrases.AskNew
	}
	return o, err
}

func consoleOn(ctx context.Context, start cli.ConsoleStart) (workspace.Config, connect.Options, error) {
	if box := start.Demo; box != nil {
		options := connect.Options{CreateApp: true, BeforeSeal: func(_ context.Context, version string) error {
			if err := box.Connect(); err != nil {
				return err
			}
			return examples.SetVersion(box.ProjectDir, version)
		}}
		if box.Server != nil {
			options.Server = connect.InProcess{Server: box.Server, Version: cli.Version(), DataDir: box.ServerDir}
		}
		return box.Workspace(), options, nil
	}
	target, err := profile.Resolve(ctx, start.Dir, start.Profile, profile.Flags{})
	if err != nil {
		return workspace.Config{}, connect.Options{}, err
	}
	return workspace.Config{Dir: start.Dir, Target: target}, connect.Options{CreateApp: true}, nil
}
