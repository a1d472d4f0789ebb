// Package fault marks the places where a process may die. Production code
// calls Point at every boundary that durability depends on (a stage's begin and
// end, fsync, rename, remote change); a test installs a hook that kills the
// process there, and then proves that the next run continues. Fails is the same
// for operations that the system may refuse: a full disk, a broken one. Without
// a hook a point costs one atomic load.
package fault

import "sync/atomic"

var hook atomic.Pointer[func(point string)]

// Point tells the hook that execution reached a boundary.
func Point(name string) {
	if h := hook.Load(); h != nil {
		(*h)(name)
	}
}

// Set installs a hook and gives a function that removes it. For tests.
func Set(h func(point string)) (remove func()) {
	hook.Store(&h)
	return func() { hook.Store(nil) }
}

var serverHook atomic.Pointer[func(point string)]

// ServerPoint is Point for the update server. Tests run it in the process of its
// client, whose places they count: the server's are apart.
func ServerPoint(name string) {
	if h := serverHook.Load(); h != nil {
		(*h)(name)
	}
}

// SetServer installs the hook of ServerPoint and gives a function that removes
// it. For tests.
func SetServer(h func(point string)) (remove func()) {
	serverHook.Store(&h)
	return func() { serverHook.Store(nil) }
}

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
