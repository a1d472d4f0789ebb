// Package servertest starts a real update server for a test: on loopback, with
// a data directory of its own, stopped when the test ends.
package servertest

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"capstan/server"
)

// Server is a running server.
type Server struct {
	*server.Server
	BaseURL string // http://127.0.0.1:port
	Token   string // of an admin
	DataDir string
}

// Start starts a server; change may adjust its configuration.
func Start(t testing.TB, change ...func(*server.Config)) *Server {
	t.Helper()
	config := server.Config{Listen: "127.0.0.1:0", DataDir: t.TempDir(), Version: "test"}
	for _, c := range change {
		c(&config)
	}
	s, err := server.New(config)
	if err != nil {
		t.Fatalf("start server: %v", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("stop server: %v", err)
			}
		case <-time.After(time.Minute):
			t.Error("the server does not stop")
		}
	})
	return &Server{Server: s, BaseURL: "http://" + s.Addr().String(), Token: s.FirstToken(), DataDir: config.DataDir}
}

// Do sends a request with the admin token (another one in the header capgkey
// wins) and gives status and body.
func (s *Server) Do(t testing.TB, method, path string, body io.Reader, header http.Header) (int, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.BaseURL+path, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("capgkey", s.Token)
	for name, values := range header {
		r.Header[http.CanonicalHeaderKey(name)] = values
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return answer.StatusCode, text
}
