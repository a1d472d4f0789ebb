package storage_test

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"capstan/core/remote/storage"
	"capstan/core/remote/storage/storagetest"
)

// uploadTo and uploadFile are set in the child process that uploads until it is
// killed: the URL of the storage, the file, and the folder that remembers.
const uploadTo, uploadFile, uploadState = "TEST_UPLOAD_TO", "TEST_UPLOAD_FILE", "TEST_UPLOAD_STATE"

func init() {
	if rawURL := os.Getenv(uploadTo); rawURL != "" {
		if err := uploadUntilKilled(rawURL, os.Getenv(uploadFile)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// uploadUntilKilled is the child: it uploads a file and prints the bytes that
// the service acknowledged, a line each time.
func uploadUntilKilled(rawURL, path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	s, err := storage.Open(context.Background(), rawURL, "", remembering(os.Getenv(uploadState)))
	if err != nil {
		return err
	}
	sum := storagetest.Sum(content)
	_, err = s.Put(context.Background(), sum+".zip", bytes.NewReader(content), int64(len(content)), sum, func(done int64) { fmt.Println(done) })
	return err
}

// remembering are the credentials of the test with a folder for unfinished uploads.
func remembering(dir string) storage.Credentials {
	c := s3Credentials
	c.StateDir = dir
	return c
}

// TestS3Killed: an upload that is killed with SIGKILL is continued, and what is
// sent twice is at most one part for each worker.
func TestS3Killed(t *testing.T) {
	g := newGateway(t)
	killUploads(t, func(t *testing.T) string {
		return "s3://" + g.bucket(t) + "?endpoint=" + url.QueryEscape(g.proxy.URL)
	}, func() map[string]int {
		g.settle()
		return g.takePuts()
	}, 30, 60, 90)
}

// killUploads kills uploads of ten pieces at some percentages and continues them.
// place gives the URL of an empty storage, take how often each piece was sent
// since the last call.
func killUploads(t *testing.T, place func(*testing.T) string, take func() map[string]int, percentages ...int) {
	t.Helper()
	const pieces, pieceSize, workers = 10, 8 << 20, 4
	content := storagetest.Bytes(pieces*pieceSize, 40)
	path := filepath.Join(t.TempDir(), "sealed")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, percent := range percentages {
		t.Run(strconv.Itoa(percent), func(t *testing.T) {
			rawURL, state := place(t), filepath.Join(t.TempDir(), "uploads")
			take()
			child := exec.Command(self)
			child.Stderr = os.Stderr
			child.Env = append(os.Environ(), uploadTo+"="+rawURL, uploadFile+"="+path, uploadState+"="+state)
			out, err := child.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := child.Start(); err != nil {
				t.Fatal(err)
			}
			for done := 0; done < len(content)*percent/100; {
				if _, err := fmt.Fscanln(out, &done); err != nil {
					t.Fatalf("the upload ended by itself: %v", err)
				}
			}
			if err := child.Process.Kill(); err != nil { // SIGKILL: nothing can be tidied up
				t.Fatal(err)
			}
			_ = child.Wait()
			first := take()

			s := open(t, rawURL, "", remembering(state))
			sum := storagetest.Sum(content)
			if object, err := s.Put(t.Context(), sum+".zip", bytes.NewReader(content), int64(len(content)), sum, nil); err != nil || object.Existed {
				t.Fatalf("%+v, %v", object, err)
			}
			second, twice := take(), 0
			for piece := range second {
				if first[piece] > 0 {
					twice++
				}
			}
			t.Logf("%d pieces were begun before the kill and %d sent after it, %d of them again, of %d", len(first), len(second), twice, pieces)
			if len(first) == 0 || twice > workers || len(second) > pieces-pieces*percent/100+workers {
				t.Errorf("%d pieces were sent again and %d in all", twice, len(second))
			}
			r, err := s.Get(t.Context(), sum+".zip", 0, -1)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			var got bytes.Buffer
			if _, err := got.ReadFrom(r); err != nil || !bytes.Equal(got.Bytes(), content) {
				t.Errorf("the object is not what was uploaded: %d bytes, %v", got.Len(), err)
			}
		})
	}
}

// settle waits until the service has done with the requests of a dead client.
func (g *gateway) settle() {
	for range 50 {
		g.mu.Lock()
		before := len(g.puts)
		g.mu.Unlock()
		time.Sleep(10 * time.Millisecond)
		g.mu.Lock()
		after := len(g.puts)
		g.mu.Unlock()
		if before == after {
			return
		}
	}
}

// takePuts gives how often each part was sent since the last call.
func (g *gateway) takePuts() map[string]int {
	g.mu.Lock()
	defer g.mu.Unlock()
	count := map[string]int{}
	for _, part := range g.puts {
		count[part]++
	}
	g.puts = nil
	return count
}
