package server_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"capstan/internal/servertest/postgres"
)

// A server that is killed just before or just after it commits a change under an
// idempotency key, and before it answers: the same call to the next server makes
// the change, or hears the answer of the first.
func TestKilledBetweenChangeAndAnswer(t *testing.T) {
	rounds := 2
	if os.Getenv("CAPSTAN_LONG") == "1" {
		rounds = 50
	}
	t.Run("sqlite", func(t *testing.T) { killedBeforeAnswer(t, rounds, t.TempDir()) })
	t.Run("postgres", func(t *testing.T) {
		killedBeforeAnswer(t, rounds, t.TempDir()+"|"+postgres.Start(t).Database(t))
	})
}

func killedBeforeAnswer(t *testing.T, rounds int, where string) {
	c := spawn(t, where)
	token := c.token
	if status, err := c.send(token, "POST", "/app", `{"app_id":"`+mine+`"}`); status != http.StatusOK {
		t.Fatal(status, err)
	}
	c.kill()
	for round := range rounds {
		for point, replayed := range map[string]string{"answer.written": "", "answer.kept": "true"} {
			version := fmt.Sprintf("1.%d.%d", round, len(replayed))
			body := fmt.Sprintf(`{"app_id":%q,"version":%q,"external_url":"https://cdn.example.com/x.zip","checksum":"00"}`, mine, version)
			t.Setenv(dieEnv, point)
			dying := spawn(t, where)
			if answer, err := dying.register(token, version, body); err == nil {
				t.Fatalf("%s: the server lives and answers HTTP %d", point, answer.StatusCode)
			}
			<-dying.exited
			t.Setenv(dieEnv, "")

			next := spawn(t, where)
			heard := func(want string) string {
				t.Helper()
				answer, err := next.register(token, version, body)
				if err != nil {
					t.Fatal(err)
				}
				defer answer.Body.Close()
				text, err := io.ReadAll(answer.Body)
				if err != nil || answer.StatusCode != http.StatusOK || answer.Header.Get("Idempotency-Replayed") != want {
					t.Fatalf("%s: HTTP %d %s, replayed %q, want %q (%v)", point, answer.StatusCode, text, answer.Header.Get("Idempotency-Replayed"), want, err)
				}
				return string(text)
			}
			first := heard(replayed)
			if again := heard("true"); again != first || !strings.Contains(first, `"name":"`+version+`"`) {
				t.Fatalf("%s: %s, then %s", point, first, again)
			}
			if status, err := next.send(token, "POST", "/bundle", body); status != http.StatusBadRequest || err != nil {
				t.Errorf("%s: without the key: HTTP %d, %v", point, status, err)
			}
			next.kill()
		}
	}
	t.Logf("count: %d kills between a change and its answer", 2*rounds)
}

// register sends a bundle under the key that is its version.
func (c *child) register(token, key, body string) (*http.Response, error) {
	r, err := http.NewRequest("POST", c.base+"/bundle", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header["idempotency-key"] = []string{key} // net/http repeats a request with the canonical name by itself
	r.Header.Set("capgkey", token)
	return http.DefaultClient.Do(r)
}
