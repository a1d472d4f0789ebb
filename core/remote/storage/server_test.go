package storage_test

import (
	"testing"

	"capstan/core/remote"
	"capstan/core/remote/storage"
	"capstan/core/remote/storage/storagetest"
	"capstan/internal/servertest"
)

// TestCapstanServer runs the suite on the real update server.
func TestCapstanServer(t *testing.T) {
	storagetest.Run(t, storagetest.Target{
		Fetches:    true,
		CannotList: true,
		FewNames:   true,
		Open: func(t *testing.T) storage.Storage {
			s := servertest.Start(t)
			c, err := remote.New(remote.Config{BaseURL: s.BaseURL, Token: remote.NewToken(s.Token)})
			if err != nil {
				t.Fatal(err)
			}
			if err := c.CreateApp(t.Context(), storagetest.AppID, "Suite"); err != nil {
				t.Fatal(err)
			}
			return open(t, "capstan+"+s.BaseURL, "", storage.Credentials{Token: remote.NewToken(s.Token), Pause: noPause})
		},
		Refused: func(t *testing.T) storage.Storage {
			return open(t, "capstan+"+servertest.Start(t).BaseURL, "", storage.Credentials{Token: remote.NewToken("wrong"), Pause: noPause})
		},
	})
}
