package release_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func newLoopback(t testing.TB, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}
