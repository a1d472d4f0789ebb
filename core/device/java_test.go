package device

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"capstan/internal/peers"
)

// TestStreamReaderIsJavas compares the streaming reader with Java's own
// ZipInputStream: on every archive of the matrix, and on copies of them with
// damage in random places. Both must refuse, or read the same names and bytes.
func TestStreamReaderIsJavas(t *testing.T) {
	java := peers.Program(t, "java", "install a JDK 17")
	dir := t.TempDir()
	var files []string
	keep := func(name string, b []byte) {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	zips := archives(t)
	random := rand.New(rand.NewPCG(1, 2))
	for _, name := range slices.Sorted(maps.Keys(zips)) {
		b := zips[name].served
		keep(name, b)
		if len(b) == 0 || len(b) > 4096 {
			continue // damage shows best where headers are many and content is little
		}
		for i := range 60 {
			damaged := bytes.Clone(b)
			for range 1 + random.IntN(3) {
				damaged[random.IntN(len(damaged))] ^= 1 << random.IntN(8)
			}
			if i%6 == 0 {
				damaged = damaged[:random.IntN(len(damaged))]
			}
			keep(fmt.Sprintf("%s-%d", name, i), damaged)
		}
	}
	cmd := exec.CommandContext(t.Context(), java, "testdata/java/ReadZips.java")
	cmd.Stdin = strings.NewReader(strings.Join(files, "\n"))
	out, err := cmd.Output()
	if err != nil {
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			t.Fatalf("%v\n%s", err, failed.Stderr)
		}
		t.Fatal(err)
	}
	answers := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(answers) != len(files) {
		t.Fatalf("%d answers for %d archives", len(answers), len(files))
	}
	refused := 0
	for i, file := range files {
		if answers[i] == "refused" {
			refused++
		}
		if got := streamDigest(t, file); got != answers[i] {
			t.Errorf("%s: the device reads %s, Java %s", filepath.Base(file), got, answers[i])
		}
	}
	t.Logf("%d archives, %d of them refused by both", len(files), refused)
}

// streamDigest is what ReadZips.java prints, by the device's reader.
func streamDigest(t *testing.T, file string) string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z := &zipStream{r: bufio.NewReader(f)}
	digest, entries := sha256.New(), 0
	for {
		e, err := z.next()
		if errors.Is(err, io.EOF) {
			return fmt.Sprintf("%d %s", entries, hex.EncodeToString(digest.Sum(nil)))
		}
		if err != nil {
			return "refused"
		}
		digest.Write([]byte(e.name + "\x00"))
		if _, err := io.Copy(digest, e); err != nil {
			return "refused"
		}
		digest.Write([]byte{0})
		entries++
	}
}
