// Package fault marks the places where a process may die. Production code
// calls Point at every boundary that durability depends on (a stage's begin and
// end, fsync, rename, remote change); a test installs a hook that kills the
// process there, and then proves that the next run continues. Fails is the same
// for operations that the system may refuse: a full disk, a broken one. Without
// a hook a point costs one atomic load.
package fault

import "sync/atomic"

// hook is what tests install: a function that is told the name of a point.
type hook struct {
	installed atomic.Pointer[func(point string)]
}

func (h *hook) reached(name string) {
	if f := h.installed.Load(); f != nil {
		(*f)(name)
	}
}

func (h *hook) install(f func(point string)) (remove func()) {
	h.installed.Store(&f)
	return func() { h.installed.Store(nil) }
}

// Tests run the update server in the process of its client, whose points they
// count: the server's are apart.
var client, server hook

// Point tells the hook that execution reached a boundary.
func Point(name string) { client.reached(name) }

// Set installs a hook and gives a function that removes it. For tests.
func Set(h func(point string)) (remove func()) { return client.install(h) }

// ServerPoint is Point for the update server.
func ServerPoint(name string) { server.reached(name) }

// SetServer installs the hook of ServerPoint and gives a function that removes
// it. For tests.
func SetServer(h func(point string)) (remove func()) { return server.install(h) }

var failing atomic.Pointer[func(point string) error]

// Fails gives the error with which a test lets the operation at a boundary
// fail, in place of doing it; nil without a test.
func Fails(name string) error {
	if h := failing.Load(); h != nil {
		return (*h)(name)
	}
	return nil
}

// SetFails installs the hook of Fails and gives a function that removes it.
func SetFails(h func(point string) error) (remove func()) {
	failing.Store(&h)
	return func() { failing.Store(nil) }
}
