package server

import (
	"bytes"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestPulse(t *testing.T) {
	var p pulse
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for second := int64(1000); second < 1100; second++ {
				for range 25 {
					p.beat(second)
				}
			}
		})
	}
	workers.Wait()
	p.beat(1100)
	p.beat(1102) // 1101 was silent
	got := p.seconds(1102)
	if len(got) != 60 || got[59] != 0 || got[58] != 1 || p.total.Load() != 10_002 {
		t.Errorf("%v, %d in all", got, p.total.Load())
	}
	if late := p.seconds(5000); late[0] != 0 || late[59] != 0 {
		t.Errorf("an old count is shown again: %v", late)
	}
}

func TestTee(t *testing.T) {
	var out bytes.Buffer
	var kept lines
	log := slog.New(newTee(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelWarn}), &kept))
	log.Debug("not kept")
	log.Info("asked", "route", "GET /app", "text", "two\nlines")
	log.With("app", "com.example.a").WithGroup("g").Error("failed", "n", 1)
	list := kept.last()
	if len(list) != 2 || !strings.HasSuffix(list[0], ` INFO asked route="GET /app" text="two\nlines"`) || !strings.HasSuffix(list[1], ` ERROR failed app=com.example.a g.n=1`) {
		t.Errorf("%q", list)
	}
	if text := out.String(); strings.Contains(text, "asked") || !strings.Contains(text, "msg=failed") {
		t.Errorf("the log itself: %s", text)
	}
	for range linesKept {
		log.Info("more")
	}
	if list := kept.last(); len(list) != linesKept || strings.Contains(list[0], "asked") {
		t.Errorf("%d lines, the first %q", len(list), list[0])
	}
}

func TestStatus(t *testing.T) {
	s, err := New(Config{DataDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range 3 {
		s.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/app", nil))
	}
	status := s.Status()
	if status.Total != 3 || len(status.Requests) != 60 || status.Devices != 0 || time.Since(status.Started) > time.Minute || len(status.Log) < 3 {
		t.Errorf("%+v", status)
	}
}
