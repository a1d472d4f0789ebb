// Package storagetest is the conformance suite that every storage driver
// passes: Run it on a new driver before anything else.
package storagetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net/http"
	"sort"
	"strings"
	"sync"
	"testing"

	"capstan/core/failure"
	"capstan/core/remote/storage"
)

// Target is one driver and what stands behind it.
type Target struct {
	// Open gives the driver on an empty place of its own.
	Open func(t *testing.T) storage.Storage
	// Unreachable gives the driver on a host that does not exist; nil where
	// there is no host.
	Unreachable func(t *testing.T) storage.Storage
	// Flaky gives the driver on a place of which the next n requests fail with
	// a temporary error; nil where that cannot be arranged.
	Flaky func(t *testing.T, n int) storage.Storage
	// Refused gives the driver with credentials that the service does not take; nil where there are none.
	Refused func(t *testing.T) storage.Storage
	// Secret is what no text may show; "" where there is none.
	Secret string
	// Fetches says that PublicURL can be downloaded in the test.
	Fetches bool
	// CannotList says that the service has no listing.
	CannotList bool
	// FewNames says that the service refuses, with a failure of class Usage,
	// some names that others take.
	FewNames bool
	// Unconditional says that the service knows no "only if it is not there":
	// of two contents that are put at the same instant the later one stays.
	Unconditional bool
	// Coarse says that progress is only heard before the first and after the
	// last byte.
	Coarse bool
	// Large is the size of the object whose upload is cancelled half-way; 0 = 24 MiB.
	Large int64
}

// Sum is the hex SHA-256 of b.
func Sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// Bytes gives n deterministic bytes that do not compress.
func Bytes(n int, seed byte) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

func put(t *testing.T, s storage.Storage, name string, content []byte) storage.Object {
	t.Helper()
	object, err := s.Put(t.Context(), name, bytes.NewReader(content), int64(len(content)), Sum(content), nil)
	if err != nil {
		t.Fatalf("Put %s: %v", name, err)
	}
	return object
}

func read(t *testing.T, s storage.Storage, name string, offset, length int64) []byte {
	t.Helper()
	r, err := s.Get(t.Context(), name, offset, length)
	if err != nil {
		t.Fatalf("Get %s from %d: %v", name, offset, err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("read %s from %d: %v", name, offset, err)
	}
	return b
}

func wantCode(t *testing.T, err error, class failure.Class, code string) {
	t.Helper()
	f, ok := failure.Find(err)
	if !ok || f.Code != code || f.Class != class {
		t.Fatalf("error is %v (code %q), want code %q of class %d", err, failure.CodeOf(err), code, class)
	}
}

func wantAbsent(t *testing.T, s storage.Storage, name string) {
	t.Helper()
	_, err := s.Stat(t.Context(), name)
	wantCode(t, err, failure.NotFound, "object_not_found")
}

// Run runs the whole suite.
func Run(t *testing.T, target Target) {
	if target.Large == 0 {
		target.Large = 24 << 20
	}
	for _, test := range []struct {
		name string
		run  func(*testing.T, Target)
	}{
		{"put, stat, get", testPut},
		{"same content is success", testSame},
		{"other content is refused", testOther},
		{"ranges", testRanges},
		{"delete", testDelete},
		{"absent", testAbsent},
		{"odd names", testOddNames},
		{"refused names", testRefusedNames},
		{"zero length", testZero},
		{"wrong hash", testWrongHash},
		{"short source", testShortSource},
		{"failing source", testFailingSource},
		{"cancel", testCancel},
		{"cancelled before", testCancelledBefore},
		{"progress", testProgress},
		{"concurrent writers", testConcurrent},
		{"list", testList},
		{"public URL", testPublic},
		{"unknown host", testUnknownHost},
		{"refused credentials", testRefused},
		{"retry", testRetry},
		{"no secrets in texts", testTexts},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, target) })
	}
}

// AppID is the first part of every name that the suite uses.
const AppID = "com.example.app"

const zipName = AppID + "/1.2.3/bundle.zip"

func testPut(t *testing.T, target Target) {
	s, content := target.Open(t), Bytes(100_003, 1)
	object := put(t, s, zipName, content)
	if object.Existed || object.Name != zipName || object.Size != int64(len(content)) || object.SHA256 != Sum(content) {
		t.Errorf("Put gives %+v", object)
	}
	object, err := s.Stat(t.Context(), zipName)
	if err != nil || object.Size != int64(len(content)) || object.Name != zipName {
		t.Errorf("Stat gives %+v, %v", object, err)
	}
	if object.SHA256 != "" && object.SHA256 != Sum(content) {
		t.Errorf("Stat gives the SHA-256 %s, want %s or none", object.SHA256, Sum(content))
	}
	if !bytes.Equal(read(t, s, zipName, 0, -1), content) {
		t.Error("Get gives other bytes than were put")
	}
}

func testSame(t *testing.T, target Target) {
	s, content := target.Open(t), Bytes(5000, 2)
	put(t, s, zipName, content)
	if again := put(t, s, zipName, content); !again.Existed {
		t.Errorf("the second Put of the same content gives %+v, want Existed", again)
	}
}

func testOther(t *testing.T, target Target) {
	s, content := target.Open(t), Bytes(5000, 3)
	put(t, s, zipName, content)
	for _, other := range [][]byte{Bytes(5000, 4), Bytes(4999, 3), Bytes(1, 5)} {
		_, err := s.Put(t.Context(), zipName, bytes.NewReader(other), int64(len(other)), Sum(other), nil)
		wantCode(t, err, failure.Conflict, "object_exists")
	}
	if !bytes.Equal(read(t, s, zipName, 0, -1), content) {
		t.Error("the object changed")
	}
}

func testRanges(t *testing.T, target Target) {
	s, content := target.Open(t), Bytes(70_000, 6)
	put(t, s, zipName, content)
	for _, r := range []struct{ offset, length int64 }{{0, 1}, {0, 70_000}, {1, 10}, {65_535, 2}, {69_999, 1}, {69_999, -1}, {12, -1}, {69_000, 5000}, {5, 0}} {
		want := content[r.offset:]
		if r.length >= 0 && r.length < int64(len(want)) {
			want = want[:r.length]
		}
		if got := read(t, s, zipName, r.offset, r.length); !bytes.Equal(got, want) {
			t.Errorf("range %+v gives %d bytes, want %d of the right content", r, len(got), len(want))
		}
	}
	if _, err := s.Get(t.Context(), zipName, 70_001, -1); failure.CodeOf(err) != "range_invalid" {
		t.Errorf("a range beyond the end gives %v, want range_invalid", err)
	}
}

func testDelete(t *testing.T, target Target) {
	s := target.Open(t)
	put(t, s, zipName, Bytes(10, 7))
	for range 2 { // the second one finds nothing, and that is success
		if err := s.Delete(t.Context(), zipName); err != nil {
			t.Fatalf("Delete: %v", err)
		}
	}
	wantAbsent(t, s, zipName)
	if again := put(t, s, zipName, Bytes(11, 8)); again.Existed {
		t.Error("an object that was deleted counts as existing")
	}
}

func testAbsent(t *testing.T, target Target) {
	s := target.Open(t)
	wantAbsent(t, s, zipName)
	_, err := s.Get(t.Context(), zipName, 0, -1)
	wantCode(t, err, failure.NotFound, "object_not_found")
}

func testOddNames(t *testing.T, target Target) {
	s := target.Open(t)
	names := []string{
		"1.2.3-rc.1+build.7/a.zip", "a b/c d.zip", "é/ñ/日本.zip", "100%/50%25.zip", "q?x=1&y=2#z.zip",
		"plus+plus/~tilde/(paren)/[bracket]/'quote'.zip", "A.zip", "semi;colon/com,ma/at@sign=.zip", strings.Repeat("n", 200) + "/x.zip", ".hidden/x.zip", "-dash/--flag.zip",
	}
	for i := range names {
		names[i] = AppID + "/" + names[i]
	}
	taken := map[string]bool{}
	for i, name := range names {
		content := Bytes(100+i, byte(i))
		_, err := s.Put(t.Context(), name, bytes.NewReader(content), int64(len(content)), Sum(content), nil)
		if f, ok := failure.Find(err); ok && target.FewNames && f.Class == failure.Usage {
			continue
		}
		if err != nil {
			t.Errorf("Put %q: %v", name, err)
			continue
		}
		taken[name] = true
	}
	if !taken[names[0]] {
		t.Errorf("a version with build metadata is refused as a name")
	}
	for i, name := range names {
		if !taken[name] {
			continue
		}
		if got := read(t, s, name, 0, -1); !bytes.Equal(got, Bytes(100+i, byte(i))) {
			t.Errorf("%q gives other bytes than were put", name)
		}
		if err := s.Delete(t.Context(), name); err != nil {
			t.Errorf("Delete %q: %v", name, err)
		}
		wantAbsent(t, s, name)
	}
}

func testRefusedNames(t *testing.T, target Target) {
	s := target.Open(t)
	for _, name := range []string{"", "/abs", "a//b", "a/", "..", "../up", "a/../b", "a/./b", ".", "a\\b", "nul\x00", "line\nbreak", "bidi\u202e.zip", "\xff.zip", strings.Repeat("x", 901), "a/" + strings.Repeat("y", 256), "end./x", " a/b", "a/b "} {
		_, err := s.Put(t.Context(), name, strings.NewReader("x"), 1, Sum([]byte("x")), nil)
		wantCode(t, err, failure.Usage, "object_name_invalid")
		if _, err := s.Get(t.Context(), name, 0, -1); failure.CodeOf(err) != "object_name_invalid" {
			t.Errorf("Get %q gives %v", name, err)
		}
		if err := s.Delete(t.Context(), name); failure.CodeOf(err) != "object_name_invalid" {
			t.Errorf("Delete %q gives %v", name, err)
		}
	}
}

func testZero(t *testing.T, target Target) {
	s := target.Open(t)
	put(t, s, AppID+"/1.0.0/empty.zip", nil)
	object, err := s.Stat(t.Context(), AppID+"/1.0.0/empty.zip")
	if err != nil || object.Size != 0 {
		t.Errorf("Stat of an empty object gives %+v, %v", object, err)
	}
	if got := read(t, s, AppID+"/1.0.0/empty.zip", 0, -1); len(got) != 0 {
		t.Errorf("an empty object gives %d bytes", len(got))
	}
	if again := put(t, s, AppID+"/1.0.0/empty.zip", nil); !again.Existed {
		t.Error("an empty object is not recognised as the same")
	}
}

func testWrongHash(t *testing.T, target Target) {
	s := target.Open(t)
	for _, size := range []int{0, 1, 3000, 3 << 20} {
		content := Bytes(size, 9)
		_, err := s.Put(t.Context(), zipName, bytes.NewReader(content), int64(size), Sum([]byte("another content")), nil)
		wantCode(t, err, failure.Verification, "hash_mismatch")
		wantAbsent(t, s, zipName)
	}
	if _, err := s.Put(t.Context(), zipName, strings.NewReader("x"), 1, "not a hash", nil); failure.CodeOf(err) != "object_hash_malformed" {
		t.Errorf("a malformed hash gives %v", err)
	}
}

func testShortSource(t *testing.T, target Target) {
	s := target.Open(t)
	content := Bytes(200_000, 10)
	_, err := s.Put(t.Context(), zipName, bytes.NewReader(content[:150_000]), int64(len(content)), Sum(content), nil)
	wantCode(t, err, failure.Verification, "hash_mismatch")
	wantAbsent(t, s, zipName)
}

// brokenAt fails like a disk at one offset.
type brokenAt struct {
	b  []byte
	at int64
}

var errDisk = errors.New("input/output error")

func (r brokenAt) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > r.at {
		return 0, errDisk
	}
	return bytes.NewReader(r.b).ReadAt(p, off)
}

func testFailingSource(t *testing.T, target Target) {
	s := target.Open(t)
	content := Bytes(1<<20, 11)
	_, err := s.Put(t.Context(), zipName, brokenAt{content, 1 << 19}, int64(len(content)), Sum(content), nil)
	if err == nil {
		t.Fatal("a source that cannot be read gives no error")
	}
	wantCode(t, err, failure.Failed, "source_unreadable")
	wantAbsent(t, s, zipName)
}

func testCancel(t *testing.T, target Target) {
	s := target.Open(t)
	content := Bytes(int(target.Large), 12)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := s.Put(ctx, zipName, bytes.NewReader(content), int64(len(content)), Sum(content), func(done int64) {
		if target.Coarse || done > int64(len(content))/4 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("a cancelled Put gives %v, want context.Canceled", err)
	}
	wantAbsent(t, s, zipName)
	// Nothing half-written stands in the way of the next attempt.
	if object := put(t, s, zipName, content); object.Existed {
		t.Error("after a cancelled Put the object counts as existing")
	}
}

func testCancelledBefore(t *testing.T, target Target) {
	s := target.Open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	content := Bytes(10, 13)
	if _, err := s.Put(ctx, zipName, bytes.NewReader(content), 10, Sum(content), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Put gives %v", err)
	}
	if _, err := s.Stat(ctx, zipName); !errors.Is(err, context.Canceled) {
		t.Errorf("Stat gives %v", err)
	}
	if _, err := s.Get(ctx, zipName, 0, -1); !errors.Is(err, context.Canceled) {
		t.Errorf("Get gives %v", err)
	}
}

func testProgress(t *testing.T, target Target) {
	s := target.Open(t)
	content := Bytes(8<<20, 14)
	var mu sync.Mutex
	var seen []int64
	_, err := s.Put(t.Context(), zipName, bytes.NewReader(content), int64(len(content)), Sum(content), func(done int64) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, done)
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(seen) < 2 || seen[len(seen)-1] != int64(len(content)) {
		t.Fatalf("progress was heard %d times and ended at %v, want %d", len(seen), seen[max(0, len(seen)-1):], len(content))
	}
	if !sort.SliceIsSorted(seen, func(i, j int) bool { return seen[i] < seen[j] }) {
		t.Error("progress went down")
	}
}

// testConcurrent: of many writers of one name exactly one content wins, and
// every writer of that content succeeds.
func testConcurrent(t *testing.T, target Target) {
	s := target.Open(t)
	contents := [][]byte{Bytes(300_000, 15), Bytes(300_000, 16)}
	if target.Unconditional {
		contents[1] = contents[0]
	}
	errs := make([]error, 6)
	var group sync.WaitGroup
	for i := range errs {
		group.Go(func() {
			content := contents[i%2]
			_, errs[i] = s.Put(t.Context(), zipName, bytes.NewReader(content), int64(len(content)), Sum(content), nil)
		})
	}
	group.Wait()
	got := read(t, s, zipName, 0, -1)
	for i, err := range errs {
		won := bytes.Equal(got, contents[i%2])
		if won && err != nil {
			t.Errorf("writer %d of the content that is there got %v", i, err)
		}
		if !won && failure.CodeOf(err) != "object_exists" {
			t.Errorf("writer %d of the other content got %v, want object_exists", i, err)
		}
	}
}

func testList(t *testing.T, target Target) {
	s := target.Open(t)
	if target.CannotList {
		for _, err := range s.List(t.Context(), "") {
			wantCode(t, err, failure.Failed, "unsupported")
		}
		return
	}
	sizes := map[string]int64{AppID + "/1.0.0/a.zip": 10, AppID + "/1.0.1/b.zip": 20, AppID + "/1.1.0/c d+e.zip": 30, "other/1.0.0/a.zip": 40}
	for name, size := range sizes {
		put(t, s, name, Bytes(int(size), 17))
	}
	for prefix, want := range map[string]int{"": 4, AppID + "/": 3, AppID + "/1.0": 2, "nothing": 0} {
		found := 0
		for object, err := range s.List(t.Context(), prefix) {
			if err != nil {
				t.Fatalf("List %q: %v", prefix, err)
			}
			if sizes[object.Name] != object.Size || !strings.HasPrefix(object.Name, prefix) {
				t.Errorf("List %q gives %+v", prefix, object)
			}
			found++
		}
		if found != want {
			t.Errorf("List %q gives %d objects, want %d", prefix, found, want)
		}
	}
	for range s.List(t.Context(), "") {
		break // an early end must not hang
	}
}

func testPublic(t *testing.T, target Target) {
	s := target.Open(t)
	if u := s.PublicURL("app/1.0.0+b 1/x.zip"); !strings.HasSuffix(u, "/app/1.0.0+b%201/x.zip") {
		t.Errorf("PublicURL gives %s", u)
	}
	if !target.Fetches {
		return
	}
	content := Bytes(1000, 18)
	name := AppID + "/1.0.0+b.1/x.zip"
	put(t, s, name, content)
	u := s.PublicURL(name)
	response, err := http.Get(u)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK || !bytes.Equal(got, content) {
		t.Errorf("a device gets HTTP %d and %d bytes from %s, %v", response.StatusCode, len(got), u, err)
	}
}

func testUnknownHost(t *testing.T, target Target) {
	if target.Unreachable == nil {
		return
	}
	s, content := target.Unreachable(t), Bytes(10, 19)
	_, err := s.Put(t.Context(), zipName, bytes.NewReader(content), 10, Sum(content), nil)
	if f, ok := failure.Find(err); !ok || f.Class != failure.Unavailable || f.Hint == "" {
		t.Errorf("Put to an unknown host gives %v, want a failure of class Unavailable with a hint", err)
	}
	if _, err := s.Stat(t.Context(), zipName); failure.ExitStatus(err) != int(failure.Unavailable) {
		t.Errorf("Stat on an unknown host gives %v", err)
	}
}

func testRefused(t *testing.T, target Target) {
	if target.Refused == nil {
		return
	}
	s, content := target.Refused(t), Bytes(10, 20)
	_, err := s.Put(t.Context(), zipName, bytes.NewReader(content), 10, Sum(content), nil)
	if f, ok := failure.Find(err); !ok || f.Class != failure.NotAuthorised || f.Hint == "" {
		t.Errorf("Put with refused credentials gives %v, want a failure of class NotAuthorised with a hint", err)
	}
}

func testRetry(t *testing.T, target Target) {
	if target.Flaky == nil {
		return
	}
	content := Bytes(200_000, 21)
	s := target.Flaky(t, 2)
	if object := put(t, s, zipName, content); object.SHA256 != Sum(content) {
		t.Errorf("Put gives %+v", object)
	}
	if !bytes.Equal(read(t, s, zipName, 0, -1), content) {
		t.Error("Get gives other bytes than were put")
	}
	s = target.Flaky(t, 1000)
	_, err := s.Put(t.Context(), zipName, bytes.NewReader(content), int64(len(content)), Sum(content), nil)
	if f, ok := failure.Find(err); !ok || f.Class != failure.Unavailable {
		t.Errorf("Put to a service that never recovers gives %v, want a failure of class Unavailable", err)
	}
}

func testTexts(t *testing.T, target Target) {
	s := target.Open(t)
	if text := s.String(); text == "" || target.Secret != "" && strings.Contains(text, target.Secret) {
		t.Errorf("String gives %q", text)
	}
	_, err := s.Get(t.Context(), zipName, 0, -1)
	if err != nil && target.Secret != "" && strings.Contains(err.Error()+failure.HintOf(err), target.Secret) {
		t.Errorf("an error shows the secret: %v", err)
	}
}

// CRC32C is the CRC-32C of b as Google writes it: base64 of its four bytes, the
// highest first.
func CRC32C(b []byte) string {
	sum := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum))
}
