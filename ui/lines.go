package ui

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/Masterminds/semver/v3"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/core/release"
	"capstan/ui/text"
	"capstan/ui/views"
)

// lines is the console for screen readers and dumb terminals: numbered
// questions, one line an event, nothing redrawn, no ornaments.
type lines struct {
	e   *views.Env
	in  *bufio.Reader // one for all questions: a second one would swallow answers
	out io.Writer
}

// errLeft ends line mode: the answer was q, or there are no more answers.
var errLeft = fmt.Errorf("left")

func runLines(ctx context.Context, o Options) error {
	if o.Input == nil {
		o.Input = os.Stdin
	}
	if o.Output == nil {
		o.Output = os.Stdout
	}
	l := &lines{e: o.env(ctx), in: bufio.NewReader(o.Input), out: o.Output}
	if o.Passphrases != nil {
		terminal, _ := o.Input.(*os.File)
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		go o.Passphrases.serveLines(ctx, terminal, l.say, l.e.S)
	}
	l.say("%s", l.e.S.LineIntro)
	for {
		err := l.menu(ctx)
		switch {
		case err == errLeft:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			l.complain(err)
		}
	}
}

func (l *lines) say(format string, args ...any) { fmt.Fprintf(l.out, format+"\n", args...) }

// complain prints an error and what to do about it.
func (l *lines) complain(err error) {
	l.say("%s: %s", l.e.S.ErrorTitle, views.Failed(l.e, err))
	if hint := views.Hinted(l.e, err); hint != "" {
		l.say("  %s", hint)
	}
}

// ask reads one answer; an empty one gives the default.
func (l *lines) ask(question, otherwise string) (string, error) {
	if otherwise != "" {
		question = fmt.Sprintf(l.e.S.LineDefault, question, otherwise)
	}
	fmt.Fprintf(l.out, "%s: ", question)
	answer, err := l.line()
	answer = text.Clean(strings.TrimSpace(answer))
	if cause := context.Cause(l.e.Ctx); cause != nil {
		l.say("")
		return "", cause
	}
	if err != nil && answer == "" {
		l.say("")
		return "", errLeft
	}
	if answer == "q" {
		return "", errLeft
	}
	if answer == "" {
		return otherwise, nil
	}
	return answer, nil
}

// line reads a line, or gives up when the console ends: a signal must not wait
// for somebody to press Enter.
func (l *lines) line() (string, error) {
	type read struct {
		line string
		err  error
	}
	done := make(chan read, 1)
	go func() {
		line, err := l.in.ReadString('\n')
		done <- read{line, err}
	}()
	select {
	case r := <-done:
		return r.line, r.err
	case <-l.e.Ctx.Done():
		return "", l.e.Ctx.Err()
	}
}

// pick asks for one of several, by number.
func (l *lines) pick(question string, items []string) (int, error) {
	l.say("%s", question)
	for i, it := range items {
		l.say("  %d. %s", i+1, it)
	}
	for {
		answer, err := l.ask(l.e.S.LineNumber, "")
		if err != nil {
			return 0, err
		}
		if n, err := strconv.Atoi(answer); err == nil && n >= 1 && n <= len(items) {
			return n - 1, nil
		}
		l.say(l.e.S.LineBad, len(items))
	}
}

func (l *lines) menu(ctx context.Context) error {
	s := l.e.S
	verbs := []func(context.Context) error{l.status, l.release, l.rollback, l.device, l.keys, l.setup}
	chosen, err := l.pick(s.LineMenu, []string{s.LineStatus, s.LineRelease, s.LineRollback, s.LineDevice, s.LineKeys, s.LineSetup, s.LineQuit})
	if err != nil {
		return err
	}
	if chosen == len(verbs) {
		return errLeft
	}
	if l.e.ReadOnly && (chosen == 1 || chosen == 2 || chosen == 5) {
		l.say("%s", s.WhyReadOnly)
		return nil
	}
	return verbs[chosen](ctx)
}

func (l *lines) bundle(name string) string {
	if name == "" || name == capgo.Builtin {
		return l.e.S.Builtin
	}
	return text.Clean(name)
}

func liveOf(c capgo.Channel) string {
	if c.Version == nil {
		return capgo.Builtin
	}
	return c.Version.Name
}

func (l *lines) status(ctx context.Context) error {
	s := l.e.S
	channels, err := l.e.Services.Registry.Channels(ctx, l.e.Facts.AppID)
	if err != nil {
		return err
	}
	health := map[string]capgo.ChannelSummary{}
	if summary, err := l.e.Services.Registry.Summary(ctx, l.e.Facts.AppID); err == nil {
		for _, h := range summary.Channels {
			health[h.Channel] = h
		}
	}
	if len(channels) == 0 {
		l.say("%s", s.WhyNoChannel)
	}
	for _, c := range channels {
		line := fmt.Sprintf(s.LineLive, text.Clean(c.Name), l.bundle(liveOf(c)), s.One(health[c.Name].Devices, s.OneDevice, s.ManyDevices))
		if c.RolloutVersionInfo != nil {
			line += ", " + fmt.Sprintf(s.RolloutStarted, text.Clean(c.RolloutVersionInfo.Name), s.Bps(c.RolloutPercentageBps))
			if c.RolloutPausedAt != nil {
				line += ", " + s.Paused
			}
		}
		l.say("%s", line)
	}
	return nil
}

func (l *lines) release(ctx context.Context) error {
	e, s := l.e, l.e.S
	keys, err := e.Services.Keys.List(ctx, e.Facts.AppID)
	if err != nil {
		return err
	}
	if len(keys) == 0 {
		l.say("%s", s.LineNoKey)
		key, err := l.newKey(ctx)
		if err != nil {
			return err
		}
		keys = []views.Key{key}
		if err := l.configure(ctx, key); err != nil {
			return err
		}
	}
	dir, err := l.folder(ctx)
	if err != nil {
		return err
	}
	channel, err := l.ask(s.LineChannel, e.Facts.Channel)
	if err != nil {
		return err
	}
	proposed, _ := e.Services.Releases.NextVersion(ctx, e.Facts.AppID, dir)
	version := ""
	for {
		if version, err = l.ask(s.LineVersion, proposed); err != nil {
			return err
		}
		if _, bad := semver.StrictNewVersion(version); bad == nil {
			break
		}
		l.say("%s", s.WhyNotSemver)
	}
	prepared, err := e.Services.Releases.Prepare(ctx, views.ReleaseRequest{AppID: e.Facts.AppID, Dir: dir, Channel: channel, Version: version, KeyID: keys[0].ID}, l.events())
	if err != nil {
		return err
	}
	question := fmt.Sprintf(s.PromoteTitle, text.Clean(prepared.Version), text.Clean(prepared.Channel))
	l.say("%s: %s, %s", s.BundleLabel, s.One(int64(prepared.Files), s.OneFile, s.ManyFiles), s.Bytes(prepared.Size))
	l.say(s.PromoteFromTo, l.bundle(prepared.Live))
	if prepared.Reason, err = l.reason(ctx); err != nil {
		return err
	}
	if ok, err := l.confirm(ctx, question, prepared.Channel); err != nil || !ok {
		return err
	}
	result, err := e.Services.Releases.Promote(ctx, prepared, l.events())
	if err != nil {
		return err
	}
	l.say(s.IsLive, text.Clean(result.Version), text.Clean(prepared.Channel))
	if d := result.Device; d != nil && d.Installed {
		l.say(s.DeviceTook, text.Clean(d.PluginVersion), text.Clean(result.Version))
	} else if d != nil {
		l.say(s.DeviceRefused, text.Clean(d.PluginVersion), text.Sentence(e.Lang, d.Reason))
	}
	return nil
}

// reason asks why a release cannot wait, while a freeze holds the app.
func (l *lines) reason(ctx context.Context) (string, error) {
	freezes, err := l.e.Services.Registry.Freezes(ctx, l.e.Facts.AppID)
	if err != nil || freezes.FrozenUntil == nil {
		return "", nil // a server without freezes; one that fails says so at the promotion
	}
	l.say(l.e.S.FrozenTitle, freezes.FrozenUntil.In(l.e.Now().Location()).Format("2006-01-02 15:04"))
	l.say("%s", l.e.S.FrozenWhat)
	for {
		reason, err := l.ask(l.e.S.ReasonLabel, "")
		if err != nil || reason != "" {
			return reason, err
		}
		l.say("%s", l.e.S.ReasonMissing)
	}
}

// setup goes through what a release needs: the key, the configuration that
// carries its public half, the native projects, and a proven backup.
func (l *lines) setup(ctx context.Context) error {
	e, s := l.e, l.e.S
	keys, err := e.Services.Keys.List(ctx, e.Facts.AppID)
	if err != nil {
		return err
	}
	if len(keys) == 0 {
		l.say("%s", s.LineNoKey)
		key, err := l.newKey(ctx)
		if err != nil {
			return err
		}
		keys = []views.Key{key}
	}
	if err := l.configure(ctx, keys[0]); err != nil {
		return err
	}
	if e.Services.Project != nil {
		findings, err := e.Services.Project.Doctor(ctx)
		if err != nil {
			return err
		}
		for _, f := range findings {
			if f.Level != "ok" {
				l.say("  %s", sentences(text.Finding(e.Lang, f.Code, f.Text), text.Hint(e.Lang, f.Code, f.Hint)))
			}
		}
	}
	if e.Services.KeyCare != nil && keys[0].BackedUp.IsZero() {
		return l.backup(ctx)
	}
	l.say("%s", s.LineAllSet)
	return nil
}

// configure offers to put the public key into the app's configuration.
func (l *lines) configure(ctx context.Context, key views.Key) error {
	s := l.e.S
	if l.e.Services.Project == nil {
		return nil
	}
	edit, err := l.e.Services.Project.PlanKey(ctx, key.PublicPEM)
	switch {
	case err != nil:
		return err
	case edit.Diff == "" && edit.Snippet == "":
		l.say("%s", s.EditThere)
		return nil
	case edit.Apply == nil:
		l.say("%s", s.EditByHand)
		for line := range strings.SplitSeq(edit.Snippet, "\n") {
			l.say("  %s", text.Clean(line))
		}
		return nil
	}
	l.say(s.EditOffer, text.Clean(edit.Path))
	for line := range strings.SplitSeq(strings.TrimRight(edit.Diff, "\n"), "\n") {
		l.say("  %s", text.Clean(line))
	}
	answer, err := l.ask(fmt.Sprintf(s.LineYes, s.EditTitle+"."), "")
	if err != nil {
		return err
	}
	if answer != s.LineYesWord {
		l.say("%s", s.LineNothing)
		return nil
	}
	if err := edit.Apply(ctx); err != nil {
		return err
	}
	l.say(s.EditDone+"; %s", text.Clean(edit.Path), s.CapSync)
	return nil
}

// backup makes a backup of the app's keys and opens it once.
func (l *lines) backup(ctx context.Context) error {
	e, s := l.e, l.e.S
	l.say("%s", s.BackupWhat)
	path, err := l.ask(s.LineBackupTo, "~/"+strings.ReplaceAll(text.Clean(e.Facts.AppID), "/", "-")+"-keys-"+e.Now().Format("2006-01-02")+".age")
	if err != nil {
		return err
	}
	if err := e.Services.KeyCare.Backup(ctx, e.Facts.AppID, path); err != nil {
		return err
	}
	l.say(s.BackedUp, text.Clean(path))
	l.say("%s", s.DrillOfferWhat)
	held, err := e.Services.KeyCare.Drill(ctx, path)
	if err != nil {
		return err
	}
	l.say("%s", s.DrilledTitle)
	for _, d := range held {
		l.say("  "+s.DrilledKey, text.Clean(d.KeyID), text.Clean(d.AppID))
	}
	return nil
}

// sentences puts what was found and what to do about it into one line.
func sentences(found, hint string) string {
	if hint == "" {
		return found
	}
	return found + ". " + hint
}

// folder asks until the answer is a web build.
func (l *lines) folder(ctx context.Context) (string, error) {
	s := l.e.S
	for {
		dir, err := l.ask(s.LineFolder, l.e.Facts.WebDir)
		if err != nil {
			return "", err
		}
		report, err := l.e.Services.Folders.Inspect(ctx, dir)
		if err != nil {
			l.complain(err)
			continue
		}
		for _, f := range report.Findings {
			if f.Level != "ok" {
				l.say("  %s", sentences(text.Finding(l.e.Lang, f.Code, f.Text), text.Hint(l.e.Lang, f.Code, f.Hint)))
			}
		}
		if report.Build {
			l.say(s.FolderIsBuild, s.One(int64(report.Files), s.OneFile, s.ManyFiles), s.Bytes(report.Bytes))
			return report.Dir, nil
		}
		l.say("%s", s.FolderNoBuild)
	}
}

// confirm asks before a change: by the channel's name where users are on it.
func (l *lines) confirm(ctx context.Context, question, channel string) (bool, error) {
	e, s := l.e, l.e.S
	severe := e.IsProduction(capgo.Channel{Name: channel})
	if channels, err := e.Services.Registry.Channels(ctx, e.Facts.AppID); err == nil {
		for _, c := range channels {
			if c.Name == channel {
				severe = e.IsProduction(c)
			}
		}
	}
	word, line := s.LineYesWord, fmt.Sprintf(s.LineYes, question+".")
	if severe {
		word, line = channel, fmt.Sprintf(s.LineConfirm, question, text.Clean(channel))
	}
	answer, err := l.ask(line, "")
	if err != nil {
		return false, err
	}
	if answer != word {
		l.say("%s", s.LineNothing)
		return false, nil
	}
	return true, nil
}

// events prints a line for each stage and for each quarter of its bytes.
func (l *lines) events() func(release.Event) {
	s := l.e.S
	quarter := int64(0)
	return func(ev release.Event) {
		name := s.StageNames[string(ev.Stage)]
		switch ev.Kind {
		case release.EventStarted:
			quarter = 0
			l.say(s.LineBusy, s.StageDoing[string(ev.Stage)])
		case release.EventProgress:
			if ev.Total > 0 && ev.Done*4/ev.Total > quarter && ev.Done < ev.Total {
				quarter = ev.Done * 4 / ev.Total
				l.say("  "+s.LinePercent, name, s.Percent(float64(quarter)/4))
			}
		case release.EventStep:
			l.say("  %s", text.Step(l.e.Lang, ev.Text))
		case release.EventFinding:
			if ev.Level != "ok" {
				l.say("  %s", sentences(text.Finding(l.e.Lang, ev.Code, ev.Text), text.Hint(l.e.Lang, ev.Code, ev.Hint)))
			}
		case release.EventFinished, release.EventSkipped:
			l.say(s.LineDone, name, text.Sentence(l.e.Lang, ev.Text))
		}
	}
}

func (l *lines) rollback(ctx context.Context) error {
	e, s := l.e, l.e.S
	channels, err := e.Services.Registry.Channels(ctx, e.Facts.AppID)
	if err != nil {
		return err
	}
	if len(channels) == 0 {
		l.say("%s", s.WhyNoChannel)
		return nil
	}
	names := make([]string, len(channels))
	for i, c := range channels {
		names[i] = text.Clean(c.Name) + ", " + fmt.Sprintf(s.LiveNow, l.bundle(liveOf(c)))
	}
	at, err := l.pick(s.LineRollback, names)
	if err != nil {
		return err
	}
	c := channels[at]
	if e.Data.History.Value, err = e.Services.Registry.History(ctx, e.Facts.AppID, c.Name); err != nil {
		return err
	}
	previous := e.Previous(c.Name, liveOf(c))
	if previous == "" {
		l.say("%s", s.WhyNoPrevious)
		return nil
	}
	if ok, err := l.confirm(ctx, fmt.Sprintf(s.BackTitle, text.Clean(c.Name), l.bundle(previous)), c.Name); err != nil || !ok {
		return err
	}
	change := capgo.ChannelChange{AppID: e.Facts.AppID, Channel: c.Name, Version: &previous}
	if c.Revision != 0 {
		change.ExpectedRevision = &c.Revision
	}
	if err := e.Services.Registry.ChangeChannel(ctx, change); err != nil {
		return err
	}
	l.say(s.IsLive, l.bundle(previous), text.Clean(c.Name))
	return nil
}

func (l *lines) device(ctx context.Context) error {
	e, s := l.e, l.e.S
	id, err := l.ask(s.LineDeviceID, "")
	if err != nil || id == "" {
		return err
	}
	found, err := e.Find(id)(ctx)
	if err != nil {
		return err
	}
	d := found.Devices[0]
	if len(found.Devices) > 1 {
		if found.Cut {
			l.say("%s", s.SearchCut)
		}
		var items []string
		for _, one := range found.Devices {
			items = append(items, text.Clean(one.DeviceID)+", "+text.Clean(one.Platform)+", "+l.bundle(one.VersionName))
		}
		at, err := l.pick(fmt.Sprintf(s.WhichDevice, text.Clean(id)), items)
		if err != nil {
			return err
		}
		d = found.Devices[at]
	}
	x, err := e.Services.Registry.Explain(ctx, views.RequestOf(d))
	if err != nil {
		return err
	}
	l.say("%s", views.Verdict(e, d, x))
	for _, c := range x.Checks {
		state := s.SampleOK
		if !c.Passed {
			state = s.SampleBad
		}
		name := s.CheckNames[c.Name]
		if name == "" {
			name = text.Clean(c.Name)
		}
		l.say("  %s: %s. %s", name, state, text.Sentence(e.Lang, c.Detail))
	}
	return nil
}

func (l *lines) keys(ctx context.Context) error {
	e, s := l.e, l.e.S
	keys, err := e.Services.Keys.List(ctx, e.Facts.AppID)
	if err != nil {
		return err
	}
	for _, k := range keys {
		l.say("%s %s, %s %s", s.KeyID, text.Clean(k.ID), s.KeyStored, l.store(k.Store))
	}
	if len(keys) > 0 {
		return nil
	}
	l.say("%s", s.LineNoKey)
	if e.ReadOnly {
		return nil
	}
	_, err = l.newKey(ctx)
	return err
}

func (l *lines) store(kind string) string {
	if n := l.e.S.StoreNames[kind]; n != "" {
		return n
	}
	return text.Clean(kind)
}

func (l *lines) newKey(ctx context.Context) (views.Key, error) {
	e, s := l.e, l.e.S
	stores, err := e.Services.Keys.Stores(ctx)
	if err != nil {
		return views.Key{}, err
	}
	var usable []views.KeyStore
	var names []string
	for _, st := range stores {
		if st.Unusable == "" {
			usable, names = append(usable, st), append(names, l.store(st.Kind)+", "+s.StoreWhat[st.Kind])
		} else {
			l.say("  %s: %s", l.store(st.Kind), text.Clean(st.Unusable))
		}
	}
	if len(usable) == 0 {
		return views.Key{}, failure.New(failure.KeyStore, "keyring_absent", "create a key", "no key store can be used here", "start a keyring, or use capstan key create --store file")
	}
	at, err := l.pick(s.ChooseStore, names)
	if err != nil {
		return views.Key{}, err
	}
	key, err := e.Services.Keys.Create(ctx, e.Facts.AppID, usable[at].Kind)
	if err != nil {
		return views.Key{}, err
	}
	l.say(s.KeyMade, text.Clean(key.ID))
	l.say("%s:", s.PublicKey)
	l.say("%s", strings.TrimSpace(key.PublicPEM))
	return key, nil
}
