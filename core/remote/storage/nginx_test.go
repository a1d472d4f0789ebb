package storage_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"capstan/core/remote"
	"capstan/core/remote/storage"
	"capstan/core/remote/storage/storagetest"
	"capstan/internal/peers"
)

// newNginx runs nginx with its WebDAV module before a fresh folder. It takes
// PUT and DELETE with the token and GET from everybody, and makes folders.
func newNginx(t *testing.T) (address, root string) {
	t.Helper()
	const how = "scripts/install-peers.sh"
	program := "/usr/sbin/nginx"
	if _, err := os.Stat(program); err != nil {
		program = peers.Program(t, "nginx", how)
	}
	if out, _ := exec.Command(program, "-V").CombinedOutput(); !strings.Contains(string(out), "http_dav_module") {
		peers.Missing(t, "nginx with its WebDAV module", how)
	}
	dir, err := os.MkdirTemp("", "nginx-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	root, address = filepath.Join(dir, "www"), freeAddress(t)
	for _, name := range []string{"www", "tmp", "logs"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	user := ""
	if os.Getuid() == 0 {
		user = "user root;" // the folders are this user's
	}
	config := fmt.Sprintf(`%s
daemon off; master_process off; pid DIR/pid; error_log DIR/logs/error;
events {}
http {
	access_log off;
	client_body_temp_path DIR/tmp; proxy_temp_path DIR/tmp; fastcgi_temp_path DIR/tmp; uwsgi_temp_path DIR/tmp; scgi_temp_path DIR/tmp;
	client_max_body_size 100m;
	server {
		listen %s;
		root DIR/www;
		location / {
			dav_methods PUT DELETE;
			create_full_put_path on;
			set $refused "$request_method $http_authorization";
			if ($refused ~ "^(PUT|DELETE) (?!Bearer %s$)") { return 403; }
		}
	}
}
`, user, address, token)
	path := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(config, "DIR", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, exec.Command(program, "-e", filepath.Join(dir, "logs", "error"), "-c", path), address)
	return address, root
}

// TestNginx runs the suite on nginx, the plainest WebDAV server there is.
func TestNginx(t *testing.T) {
	address, root := newNginx(t)
	front, fails := failing(t, address)
	opened := func(t *testing.T, secret string) storage.Storage {
		t.Helper()
		if err := os.RemoveAll(root); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(root, 0o700); err != nil {
			t.Fatal(err)
		}
		return open(t, "http+put://"+front, "", storage.Credentials{Token: remote.NewToken(secret), Pause: noPause,
			HTTP: &http.Client{Transport: &http.Transport{}}})
	}
	storagetest.Run(t, storagetest.Target{
		Secret: token, Fetches: true, CannotList: true, Unconditional: true,
		Open:    func(t *testing.T) storage.Storage { return opened(t, token) },
		Refused: func(t *testing.T) storage.Storage { return opened(t, "wrong-token-of-the-test") },
		Flaky: func(t *testing.T, n int) storage.Storage {
			s := opened(t, token)
			fails.Store(int64(n))
			t.Cleanup(func() { fails.Store(0) })
			return s
		},
	})
}

// TestNginxServesTheFolder: what a folder storage writes, a stock web server
// gives to devices, with ranges.
func TestNginxServesTheFolder(t *testing.T) {
	address, root := newNginx(t)
	s := open(t, "file://"+root, "http://"+address, storage.Credentials{})
	for _, f := range storage.Check(t.Context(), s, storagetest.AppID, nil) {
		if f.Level != "ok" && f.Code != "cleartext" {
			t.Errorf("%+v", f)
		}
	}
	redirecting := httptest.NewServer(http.RedirectHandler("http://"+address, http.StatusFound))
	defer redirecting.Close()
	s = open(t, "file://"+root, redirecting.URL, storage.Credentials{})
	if findings := storage.Check(t.Context(), s, storagetest.AppID, nil); !storage.Blocked(findings) {
		t.Errorf("a redirect passes: %+v", findings)
	}
}
