package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"

	"github.com/spf13/cobra"

	"capstan/core/failure"
	"capstan/core/workspace"
	"capstan/server"
)

func init() { registrations = append(registrations, newServe) }

func newServe(c *Command) *cobra.Command {
	config := server.Config{}
	logFormat := "text"
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the update server",
		Long: `Run the update server that devices poll and releases go to.

State is one SQLite file and one folder of objects below --data. The first start
prints an admin token, once. SIGTERM lets running requests finish and stops.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.serve(cmd.Context(), config, logFormat) },
	}
	f := cmd.Flags()
	f.StringVar(&config.Listen, "listen", "127.0.0.1:8787", "address to listen on")
	f.StringVar(&config.DataDir, "data", "", "data directory (default server in the user's data folder)")
	f.StringVar(&config.PublicURL, "public-url", os.Getenv("CAPSTAN_PUBLIC_URL"), "address under which devices reach this server")
	f.StringVar(&config.Database, "database", "", "postgres:// URL, or a SQLite file; $CAPSTAN_DATABASE keeps a password out of the process list (default capstan.db in the data directory)")
	f.StringVar(&config.ReadDatabase, "read-database", "", "postgres:// URL of a streaming replica for lists and statistics, or $CAPSTAN_READ_DATABASE")
	f.StringVar(&config.ObjectsDir, "storage", "", "folder of the objects, or s3://bucket/prefix?endpoint=…&region=… with credentials where Amazon's tools keep them (default objects in the data directory)")
	f.StringSliceVar(&config.TrustedProxies, "trusted-proxy", nil, "address or network whose X-Forwarded-For is believed")
	f.StringVar(&config.Certificate, "tls-cert", "", "PEM certificate; read again when it changes")
	f.StringVar(&config.CertificateKey, "tls-key", "", "PEM key of the certificate")
	f.StringSliceVar(&config.ACME.Domains, "acme-domain", nil, "get a certificate for this domain by ACME; may be repeated, and accepts the authority's terms")
	f.StringVar(&config.ACME.Directory, "acme-dir", "", "ACME directory of the authority (default Let's Encrypt's)")
	f.StringVar(&config.ACME.Email, "acme-email", "", "address that the authority may write to")
	f.StringVar(&config.ACME.HTTP, "acme-http", "", "address for http-01 challenges, e.g. :80 (default tls-alpn-01 on --listen only)")
	f.StringVar(&config.ACME.Roots, "acme-ca", "", "PEM file that a private authority's own https is trusted by")
	f.StringVar(&config.Metrics, "metrics", "", "address for Prometheus metrics, e.g. 127.0.0.1:9187")
	f.Int64Var(&config.MaxObject, "max-object", 0, "largest upload in bytes (default 1 GiB)")
	f.IntVar(&config.Rates.Busy, "busy", 0, "device requests a second from which on the app that asks most waits for the others; negative: never (default 10,000 for each core)")
	f.StringVar(&logFormat, "log-format", logFormat, "text or json")
	cmd.MarkFlagsRequiredTogether("tls-cert", "tls-key")
	cmd.MarkFlagsMutuallyExclusive("tls-cert", "acme-domain")
	return cmd
}

// serve runs the server until ctx ends.
func (c *Command) serve(ctx context.Context, config server.Config, logFormat string) error {
	level := slog.LevelInfo
	if c.Quiet {
		level = slog.LevelWarn
	}
	options := &slog.HandlerOptions{Level: level}
	var handler slog.Handler
	switch logFormat {
	case "text":
		handler = slog.NewTextHandler(c.Err, options)
	case "json":
		handler = slog.NewJSONHandler(c.Err, options)
	default:
		return failure.Newf(failure.Usage, "usage", "", "write text or json", "--log-format %q is not known", logFormat)
	}
	config.Log = slog.New(handler)
	dir, err := serverDataDir(config.DataDir)
	if err != nil {
		return err
	}
	config.DataDir = dir
	if config.Database, err = databaseURL(config.Database, "CAPSTAN_DATABASE"); err != nil {
		return err
	}
	if config.ReadDatabase, err = databaseURL(config.ReadDatabase, "CAPSTAN_READ_DATABASE"); err != nil {
		return err
	}
	if _, isBucket := cutScheme(config.ObjectsDir, "s3://"); isBucket {
		config.Bucket, config.ObjectsDir = config.ObjectsDir, ""
	}
	if config.ObjectsDir, err = storageFolder(config.ObjectsDir); err != nil {
		return err
	}
	config.Version = Version()
	floor := fillBeforeCollecting()
	defer runtime.KeepAlive(floor)
	go followLoad(ctx)

	s, err := server.New(config)
	if err != nil {
		return err
	}
	started := map[string]any{"listening": s.Addr().String(), "public_url": s.URL(), "data": config.DataDir}
	if s.FirstToken() != "" {
		started["token"] = s.FirstToken()
	}
	err = c.Result(started, func(w io.Writer) {
		fmt.Fprintf(w, "listening on %s\npublic address %s\ndata in %s\n", s.Addr(), s.URL(), config.DataDir)
		if s.FirstToken() != "" {
			fmt.Fprintf(w, "\nadmin token, shown this once: %s\nkeep it in a password manager; capstan token create makes others\n", s.FirstToken())
		}
	})
	if err != nil {
		_ = s.Close()
		return err
	}
	return s.Run(ctx)
}

// storageFolder reads --storage: a folder, or a file:// URL of one.
func storageFolder(raw string) (string, error) {
	rest, isURL := cutScheme(raw, "file://")
	if isURL {
		return filepath.FromSlash(rest), nil
	}
	for _, scheme := range []string{"gs://", "azblob://", "https://", "http://"} {
		if _, ok := cutScheme(raw, scheme); ok {
			return "", failure.Newf(failure.Usage, "storage_unsupported", "start server", "upload to it with the profile's storage instead; devices then download there and not from this server",
				"the server keeps objects in a folder or an s3:// bucket, not in %s", scheme)
		}
	}
	return raw, nil
}

func cutScheme(raw, scheme string) (string, bool) {
	if len(raw) >= len(scheme) && raw[:len(scheme)] == scheme {
		return raw[len(scheme):], true
	}
	return raw, false
}

// serverDataDir is the server's folder below the user's data directory, unless
// another was named.
func serverDataDir(named string) (string, error) {
	if named != "" {
		return named, nil
	}
	dir, err := workspace.DataDir()
	return filepath.Join(dir, "server"), err
}
