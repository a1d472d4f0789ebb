package keyringtest

import (
	"testing"

	"github.com/godbus/dbus/v5"
)

// The D-Bus names of the Secret Service (freedesktop.org Secret Service API 0.2).
const (
	serviceName  = "org.freedesktop.secrets"
	servicePath  = dbus.ObjectPath("/org/freedesktop/secrets")
	loginPath    = dbus.ObjectPath("/org/freedesktop/secrets/collection/login")
	promptPath   = dbus.ObjectPath("/org/freedesktop/secrets/prompt/p1")
	serviceIface = "org.freedesktop.Secret.Service"
	promptIface  = "org.freedesktop.Secret.Prompt"
)

// Prompter is a Secret Service whose only keyring is locked and whose unlock
// prompt stays open until Dismiss: a person who looks elsewhere.
type Prompter struct {
	conn *dbus.Conn
	// Shown receives once for every prompt that opens.
	Shown chan struct{}
}

// StartPrompter takes the Secret Service's name on the session bus; it belongs
// in a BusOnly session.
func StartPrompter(t testing.TB) *Prompter {
	t.Helper()
	conn, err := dbus.ConnectSessionBus()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	p := &Prompter{conn: conn, Shown: make(chan struct{}, 16)}
	for _, e := range []struct {
		object any
		path   dbus.ObjectPath
		iface  string
	}{
		{p, servicePath, serviceIface},
		{properties{}, servicePath, "org.freedesktop.DBus.Properties"},
		{prompt{p}, promptPath, promptIface},
	} {
		if err := conn.Export(e.object, e.path, e.iface); err != nil {
			t.Fatal(err)
		}
	}
	reply, err := conn.RequestName(serviceName, dbus.NameFlagDoNotQueue)
	if err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatalf("take the secret service's name: %v, reply %v", err, reply)
	}
	return p
}

// OpenSession is the Secret Service's method.
func (p *Prompter) OpenSession(string, dbus.Variant) (dbus.Variant, dbus.ObjectPath, *dbus.Error) {
	return dbus.MakeVariant(""), "/org/freedesktop/secrets/session/s1", nil
}

// Unlock is the Secret Service's method: it unlocks nothing and names a prompt.
func (p *Prompter) Unlock([]dbus.ObjectPath) ([]dbus.ObjectPath, dbus.ObjectPath, *dbus.Error) {
	return []dbus.ObjectPath{}, promptPath, nil
}

// Dismiss closes the open prompt unanswered.
func (p *Prompter) Dismiss(t testing.TB) {
	t.Helper()
	if err := p.conn.Emit(promptPath, promptIface+".Completed", true, dbus.MakeVariant([]dbus.ObjectPath{})); err != nil {
		t.Fatal(err)
	}
}

type prompt struct{ p *Prompter }

// Prompt is the Secret Service's method: it shows the prompt and returns.
func (x prompt) Prompt(string) *dbus.Error {
	x.p.Shown <- struct{}{}
	return nil
}

type properties struct{}

// Get is D-Bus's method; the only property asked for is the list of keyrings.
func (properties) Get(string, string) (dbus.Variant, *dbus.Error) {
	return dbus.MakeVariant([]dbus.ObjectPath{loginPath}), nil
}
