package project

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// checkBuild: is the web build there, whole, fresh, and free of what must not
// be shipped?
func checkBuild(ctx context.Context, p *Project) []Finding {
	shown := p.Relative(p.WebDir)
	info, err := os.Stat(p.WebDir)
	if err != nil || !info.IsDir() {
		return []Finding{{Code: "web_dir_missing", Level: Block, Text: "the web build " + shown + " does not exist", Hint: "build the app, or correct webDir in " + filepath.Base(p.ConfigPath)}}
	}
	var found []Finding
	add := func(level Level, code, text, hint string) {
		found = append(found, Finding{Code: code, Level: level, Text: text, Hint: hint})
	}
	if !exists(filepath.Join(p.WebDir, "index.html")) {
		if sub := onlyFolder(p.WebDir); sub != "" {
			add(Warn, "web_dir_too_high", "index.html is in "+shown+"/"+sub+", not in webDir itself", "set webDir to "+shown+"/"+sub)
		} else {
			add(Block, "no_index_html", shown+" has no index.html", "build the app, or correct webDir in "+filepath.Base(p.ConfigPath))
			return found
		}
	}
	b := scanBuild(ctx, p.WebDir)
	if !b.notifies {
		add(Block, "no_notify_app_ready", "no script in "+shown+" calls notifyAppReady: every device would roll the update back", "call CapacitorUpdater.notifyAppReady() once the app has started")
	}
	if len(b.keys) > 0 {
		add(Block, "private_key_in_build", "a private key is in the build: "+b.keys[0], "remove it, and make a new key pair if the build was ever shared")
	}
	if len(b.secrets) > 0 {
		add(Block, "env_in_build", "a file with settings is in the build: "+b.secrets[0], "keep .env files out of "+shown)
	}
	if len(b.native) > 0 {
		add(Block, "native_in_build", "native code is in the build: "+b.native[0], "ship native code through the stores only")
	}
	if b.maps > 0 {
		add(Warn, "source_maps", fmt.Sprintf("%d source maps are in the build", b.maps), "switch them off for release builds; capstan leaves them out unless --source-maps is given")
	}
	if len(b.leftovers) > 0 {
		add(Warn, "adapter_leftovers", b.leftovers[0]+" belongs to a web host, not to an app", "build with the static adapter, or correct webDir")
	}
	if b.capped {
		add(Warn, "build_too_large_to_scan", fmt.Sprintf("%s has more than %d files: only those were looked at", shown, buildFilesLimit), "check that webDir is the build and not the project")
	}
	if newest, at := newestSource(ctx, p.Root); newest != "" && at.After(b.newest.Add(2*time.Second)) && !b.newest.IsZero() {
		add(Warn, "web_dir_stale", shown+" is older than "+p.Relative(newest), "build the app again")
	}
	return orOK(found, "web_dir", fmt.Sprintf("%s has %d files, %s", shown, b.files, size(b.bytes)))
}

// onlyFolder gives the one folder with an index.html, if there is just one folder.
func onlyFolder(dir string) string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ""
	}
	found := ""
	for _, e := range entries {
		if e.IsDir() && exists(filepath.Join(dir, e.Name(), "index.html")) {
			if found != "" {
				return ""
			}
			found = e.Name()
		}
	}
	return found
}

// buildFilesLimit is how many files of a build are looked at.
const buildFilesLimit = 20000

// build is what a scan of the web build saw. Paths are relative to it.
type build struct {
	files                            int
	bytes                            int64
	maps                             int
	notifies, capped                 bool
	keys, secrets, native, leftovers []string
	newest                           time.Time
}

func scanBuild(ctx context.Context, dir string) build {
	var b build
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		if ctx.Err() != nil {
			return errStop
		}
		if b.files++; b.files > buildFilesLimit {
			b.capped = true
			return errStop
		}
		rel, _ := filepath.Rel(dir, path)
		rel = filepath.ToSlash(rel)
		if info, err := d.Info(); err == nil {
			b.bytes += info.Size()
			if info.ModTime().After(b.newest) {
				b.newest = info.ModTime()
			}
		}
		name := strings.ToLower(d.Name())
		switch ext := filepath.Ext(name); {
		case name == ".capgo_key" || name == ".capgo_key_v2" || ext == ".p12" || ext == ".jks" || ext == ".keystore":
			b.keys = append(b.keys, rel)
		case name == ".env" || strings.HasPrefix(name, ".env."):
			b.secrets = append(b.secrets, rel)
		case ext == ".map":
			b.maps++
		case ext == ".so" || ext == ".dylib" || ext == ".dex" || ext == ".apk" || ext == ".ipa" || ext == ".aab":
			b.native = append(b.native, rel)
		case name == "_worker.js" || name == "_routes.json":
			b.leftovers = append(b.leftovers, rel)
		case ext == ".js" || ext == ".mjs" || ext == ".html" || ext == ".pem" || ext == ".key" || ext == ".txt" || ext == ".json":
			notify, key := scanText(path)
			b.notifies = b.notifies || notify
			if key {
				b.keys = append(b.keys, rel)
			}
		}
		return nil
	})
	return b
}

var (
	notifyCall   = []byte("notifyAppReady")
	privateMarks = [][]byte{[]byte("PRIVATE KEY-----\n"), []byte("PRIVATE KEY-----\r\n"), []byte(`PRIVATE KEY-----\n`), []byte(`PRIVATE KEY-----\r\n`)}
)

// scanText looks for the call that confirms a start, and for a private key: a
// PEM header with key material behind it, since libraries that handle PEM name
// the header alone.
func scanText(path string) (notify, key bool) {
	in, err := os.Open(path)
	if err != nil {
		return false, false
	}
	defer in.Close()
	const keep = 64 // more than what is looked for, so that nothing hides on a border
	buffer := make([]byte, 64<<10)
	held := 0
	for {
		n, err := in.Read(buffer[held:])
		chunk := buffer[:held+n]
		notify = notify || bytes.Contains(chunk, notifyCall)
		for _, marker := range privateMarks {
			if i := bytes.Index(chunk, marker); i >= 0 && bytes.HasPrefix(chunk[i+len(marker):], []byte("MII")) {
				key = true
			}
		}
		if err != nil { // the end, or a file that cannot be read: then nothing is claimed about the rest
			return notify, key
		}
		held = copy(buffer, chunk[max(0, len(chunk)-keep):])
	}
}

// newestSource gives the file in src that was changed last.
func newestSource(ctx context.Context, root string) (path string, at time.Time) {
	seen := 0
	_ = filepath.WalkDir(filepath.Join(root, "src"), func(name string, d fs.DirEntry, err error) error {
		if seen++; seen > buildFilesLimit || ctx.Err() != nil {
			return errStop
		}
		if err != nil || d.IsDir() {
			return nil
		}
		if info, err := d.Info(); err == nil && info.ModTime().After(at) {
			path, at = name, info.ModTime()
		}
		return nil
	})
	return path, at
}

// size writes a number of bytes for people.
func size(bytes int64) string {
	switch {
	case bytes >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20))
	case bytes >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(bytes)/(1<<10))
	}
	return fmt.Sprintf("%d B", bytes)
}
