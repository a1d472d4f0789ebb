//go:build race

package ui

// racing is set under the race detector, which makes drawing ten times as
// slow: there the suites that only compare pictures take every fifth of their
// cases. The journeys, where goroutines meet, always run whole.
const racing = true
