// Package failure is the one error shape that people and machines see.
//
// Every error that leaves a core package towards an operator is (or wraps) an
// *Error: what was attempted, why it failed, what to do about it, a stable code
// for scripts, and a class that decides the exit status. Packages build one at
// the point where the cause is known, with New or Wrap; callers read it with
// Find. Texts start in lower case and carry no final full stop, and never
// contain secrets.
package failure

import (
	"context"
	"errors"
	"fmt"
)

// Class groups errors by what a script does about them. Its value is the
// process exit status of the command-line contract.
type Class int

// The classes, with the exit status as value.
const (
	Failed        Class = 1 // anything without a class of its own
	Usage         Class = 2 // wrong arguments, or a confirmation is missing
	NotFound      Class = 3 // a named thing does not exist
	NotAuthorised Class = 4 // the credentials do not allow it
	KeyStore      Class = 5 // the key store is locked or absent
	Verification  Class = 6 // a signature, checksum or archive is not right
	Conflict      Class = 7 // it exists already, or it moved meanwhile
	Unavailable   Class = 8 // a remote did not answer, worth retrying
	Crash         Class = 70
)

// Error says what was attempted, why it failed and what to do.
type Error struct {
	Class Class
	// Code is stable, lower case with underscores, e.g. "version_exists".
	Code string
	// Op names the attempt in the infinitive or as a noun, e.g. "read bundle". May be empty.
	Op string
	// Err is the cause. Never nil in an Error made by this package.
	Err error
	// Hint is one sentence that tells the reader what to do next. May be empty.
	Hint string
}

// New makes an Error whose cause is a plain message.
func New(class Class, code, op, message, hint string) *Error {
	return &Error{Class: class, Code: code, Op: op, Err: errors.New(message), Hint: hint}
}

// Newf is New with a formatted message; %w is allowed.
func Newf(class Class, code, op, hint, format string, args ...any) *Error {
	return &Error{Class: class, Code: code, Op: op, Err: fmt.Errorf(format, args...), Hint: hint}
}

// Wrap puts a class, a code and a hint on a cause. A nil cause gives a nil error.
func Wrap(cause error, class Class, code, op, hint string) error {
	if cause == nil {
		return nil
	}
	return &Error{Class: class, Code: code, Op: op, Err: cause, Hint: hint}
}

// Error is "op: cause" in one line.
func (e *Error) Error() string {
	if e.Op == "" {
		return e.Err.Error()
	}
	return e.Op + ": " + e.Err.Error()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is makes errors.Is match on the code: a sentinel *Error stands for every
// Error with its code, whatever the operation and cause.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// Find gives the outermost *Error in the chain.
func Find(err error) (*Error, bool) {
	var e *Error
	ok := errors.As(err, &e)
	return e, ok
}

// CodeOf gives the stable code: "cancelled" for a cancelled context,
// "timeout" for a deadline, "failed" for an error without a code.
func CodeOf(err error) string {
	if e, ok := Find(err); ok {
		return e.Code
	}
	switch {
	case errors.Is(err, context.Canceled):
		return "cancelled"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	}
	return "failed"
}

// HintOf gives the hint of the outermost Error that has one.
func HintOf(err error) string {
	for err != nil {
		e, ok := Find(err)
		if !ok {
			return ""
		}
		if e.Hint != "" {
			return e.Hint
		}
		err = e.Err
	}
	return ""
}

// ExitStatus is the process exit status for err: 0 for nil, 130 for a
// cancelled context, 8 for a deadline, else the class of the outermost Error.
func ExitStatus(err error) int {
	if err == nil {
		return 0
	}
	if errors.Is(err, context.Canceled) {
		return 130
	}
	if e, ok := Find(err); ok {
		return int(e.Class)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return int(Unavailable)
	}
	return int(Failed)
}
