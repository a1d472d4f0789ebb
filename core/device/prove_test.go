package device

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
)

const cliData = "../bundle/testdata/capgo-cli/"

func TestProveTakesWhatTheCLIMade(t *testing.T) {
	raw, err := os.ReadFile(cliData + "kat.json")
	if err != nil {
		t.Fatal(err)
	}
	var kat struct{ IvSessionKey, ChecksumV3hex, ChecksumV2base64, Sha256Plain, Sha256Encrypted string }
	if err := json.Unmarshal(raw, &kat); err != nil {
		t.Fatal(err)
	}
	pub, err := os.ReadFile(cliData + "key_v2.pub")
	if err != nil {
		t.Fatal(err)
	}
	host := httptest.NewServer(http.FileServer(http.Dir(cliData + "tampered")))
	defer host.Close()
	object := Object{URL: host.URL + "/enc.zip", SessionKey: kat.IvSessionKey, ChecksumV2: kat.ChecksumV2base64,
		ChecksumV3: kat.ChecksumV3hex, PlainChecksum: kat.Sha256Plain, ObjectSHA256: kat.Sha256Encrypted, ObjectSize: 324256}
	versions := []string{"5.9.5", "6.3.0", "6.14.26", "7.9.2", "7.27.8", "8.40.7", "8.51.14", "8.51.23"}
	verdicts, err := Prove(t.Context(), object, pub, versions, []string{Android, IOS}, func(s Step) { t.Logf("%+v", s) })
	if err != nil {
		t.Fatal(err)
	}
	if len(verdicts) != 2*len(versions) {
		t.Fatalf("%d verdicts", len(verdicts))
	}
	for _, v := range verdicts {
		if v.Offered != (v.PluginVersion != "5.9.5") || v.Installed != v.Offered {
			t.Errorf("%+v", v)
		}
		if v.Installed && v.Files != 10 {
			t.Errorf("%d files", v.Files)
		}
	}
}
