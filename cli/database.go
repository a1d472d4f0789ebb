package cli

import (
	"context"
	"net/url"
	"os"
	"path/filepath"

	"capstan/core/failure"
	"capstan/server"
	"capstan/server/store"
)

// databaseURL reads a flag that names a database, or else the environment. A
// password is taken from there alone.
func databaseURL(flag, variable string) (string, error) {
	if u, err := url.Parse(flag); err == nil && u.User != nil {
		if _, has := u.User.Password(); has {
			return "", failure.New(failure.Usage, "url_with_secret", "read the database's address", "a password does not belong on the command line, where every user of the machine sees it", "put the URL into "+variable)
		}
	}
	if flag == "" {
		flag = os.Getenv(variable)
	}
	return flag, nil
}

// openStore opens the database of a server on this machine, running or not:
// named, or in its data directory, where the ledger's key is in any case.
func openStore(ctx context.Context, data, database string) (*store.Store, error) {
	const op = "open database"
	dir, err := serverDataDir(data)
	if err != nil {
		return nil, err
	}
	absent := func() error {
		return failure.Newf(failure.NotFound, "data_dir", op, "name the server's data directory with --data, and a database elsewhere with --database", "there is no server's data in %s", oneLine(dir))
	}
	if database == "" {
		database = filepath.Join(dir, "capstan.db")
	}
	if !store.IsPostgres(database) {
		if _, err := os.Stat(database); err != nil {
			return nil, absent()
		}
	} else if !server.HasLedgerKey(dir) {
		// A key made here would sign the next entry, and the nodes' own would not verify.
		return nil, failure.Newf(failure.NotFound, "ledger_key", op, "name the data directory of a node of this database with --data", "there is no ledger.key in %s", oneLine(dir))
	}
	signer, err := server.OpenLedgerKey(dir)
	if err != nil {
		return nil, err
	}
	return store.Open(ctx, database, store.Options{Ledger: signer})
}
