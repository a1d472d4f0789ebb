package bundle

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"capstan/internal/peers"
)

const javaHow = "install a JDK, 17 or later (openjdk-17-jdk-headless)"

// zipReader is a running program that lists the archives it is told of.
type zipReader struct {
	in  io.WriteCloser
	out *bufio.Scanner
}

// startJava runs ZipInputStream, the reader that Android devices use.
func startJava(t testing.TB) *zipReader {
	t.Helper()
	javac := peers.Program(t, "javac", javaHow)
	java := peers.Program(t, "java", javaHow)
	classes := t.TempDir()
	if text, err := exec.Command(javac, "-d", classes, filepath.Join("testdata", "ReadZip.java")).CombinedOutput(); err != nil {
		t.Fatalf("javac: %v: %s", err, text)
	}
	return startReader(t, exec.Command(java, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dfile.encoding=UTF-8", "-Dsun.jnu.encoding=UTF-8", "-cp", classes, "ReadZip"))
}

func startReader(t testing.TB, cmd *exec.Cmd) *zipReader {
	t.Helper()
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	scanner := bufio.NewScanner(out)
	scanner.Buffer(nil, 1<<20)
	return &zipReader{in, scanner}
}

// read lists "sha256 size name" of every file in an archive, sorted; ok is
// false when it refuses it.
func (j *zipReader) read(t testing.TB, path string) (lines []string, ok bool) {
	t.Helper()
	fmt.Fprintln(j.in, path)
	for j.out.Scan() {
		line := j.out.Text()
		if line == "ok" {
			slices.Sort(lines)
			return lines, true
		}
		if strings.HasPrefix(line, "refused ") {
			return []string{line}, false
		}
		lines = append(lines, line)
	}
	t.Fatal("the reader stopped:", j.out.Err())
	return nil, false
}

// TestJavaReadsEveryZip gives Java's streaming reader archives of every level
// and shape that the packer makes.
func TestJavaReadsEveryZip(t *testing.T) {
	java := startJava(t)
	trees := []map[string][]byte{
		sampleTree(),
		{"index.html": nil},
		{"index.html": []byte("x"), "a.js": text(1, blockBytes-1), "b.js": text(2, blockBytes+1), "c.bin": noise(3, 2*blockBytes)},
	}
	for i, files := range trees {
		var want []string
		for name, content := range files {
			want = append(want, fmt.Sprintf("%s %d %s", hexSum(content), len(content), name))
		}
		slices.Sort(want)
		dir := writeTree(t, files)
		levels := []int{DefaultLevel}
		if i == len(trees)-1 { // small, and with blocks of both kinds
			levels = []int{1, 6, 7, 9}
		}
		for _, level := range levels {
			archive, _ := packBytes(t, dir, Options{Level: level})
			path := filepath.Join(t.TempDir(), "bundle.zip")
			if err := os.WriteFile(path, archive, 0o644); err != nil {
				t.Fatal(err)
			}
			got, ok := java.read(t, path)
			if !ok || !slices.Equal(got, want) {
				t.Errorf("tree %d, level %d: Java reads %q, want %q", i, level, got, want)
			}
			if !bytes.HasSuffix(archive, []byte{0, 0}) {
				t.Error("the archive ends with a comment")
			}
		}
	}
}
