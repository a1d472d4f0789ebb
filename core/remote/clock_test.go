package remote_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"capstan/core/failure"
	"capstan/core/remote"
)

// TestClock compares this machine's clock with the Date of answers.
func TestClock(t *testing.T) {
	for _, test := range []struct {
		name  string
		date  func() string // "" for none
		age   string
		says  string // "" for nothing
		first bool   // asked before any call
	}{
		{name: "nothing was asked", first: true, date: func() string { return dated(time.Hour) }},
		{name: "the same", date: func() string { return dated(0) }},
		{name: "a minute and a half", date: func() string { return dated(90 * time.Second) }},
		{name: "behind", date: func() string { return dated(5 * time.Minute) }, says: "behind that of"},
		{name: "ahead", date: func() string { return dated(-5 * time.Minute) }, says: "ahead of that of"},
		{name: "days", date: func() string { return dated(72 * time.Hour) }, says: "72h0m"},
		{name: "a cache's old copy", date: func() string { return dated(-time.Hour) }, age: "3600"},
		{name: "no date", date: func() string { return "" }},
		{name: "no date in it", date: func() string { return "yesterday" }},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header()["Date"] = nil // net/http adds none of its own then
				if date := test.date(); date != "" {
					w.Header().Set("Date", date)
				}
				if test.age != "" {
					w.Header().Set("Age", test.age)
				}
				_, _ = io.WriteString(w, `{"server":"capstan","version":"1","capabilities":[]}`)
			}))
			defer server.Close()
			c, err := remote.New(remote.Config{BaseURL: server.URL})
			if err != nil {
				t.Fatal(err)
			}
			if !test.first {
				if _, err := c.About(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			err = c.CheckClock()
			if test.says == "" && err != nil || test.says != "" && (failure.CodeOf(err) != "clock_skew" || !strings.Contains(err.Error(), test.says) || failure.HintOf(err) == "") {
				t.Errorf("%v", err)
			}
		})
	}
}

func dated(ahead time.Duration) string { return time.Now().Add(ahead).UTC().Format(http.TimeFormat) }

// TestClockRefusal: the clocks are compared also where the server refuses, for
// then it matters most.
func TestClockRefusal(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", dated(-3*time.Hour))
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"error":"invalid_apikey","message":"Invalid apikey"}`)
	}))
	defer server.Close()
	c, err := remote.New(remote.Config{BaseURL: server.URL, Token: remote.NewToken("expired")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Apps(t.Context()); err == nil {
		t.Fatal("a refusal is a success")
	}
	if err := c.CheckClock(); failure.CodeOf(err) != "clock_skew" || !strings.Contains(err.Error(), "3h0m") {
		t.Errorf("%v", err)
	}
}
