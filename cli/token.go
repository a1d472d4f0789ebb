package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/core/remote"
	"capstan/server/store"
)

func init() { registrations = append(registrations, newToken) }

// tokens is where tokens are kept: a server's API, or its database on this machine.
type tokens interface {
	Tokens(ctx context.Context) ([]capgo.Token, error)
	CreateToken(ctx context.Context, token capgo.Token) (capgo.Token, error)
	RevokeToken(ctx context.Context, id string) error
}

// tokenTarget are the flags that say where.
type tokenTarget struct{ server, data, database string }

func newToken(c *Command) *cobra.Command {
	var target tokenTarget
	cmd := &cobra.Command{Use: "token", Short: "Make, list and revoke tokens of an update server"}
	cmd.PersistentFlags().StringVar(&target.server, "server", os.Getenv("CAPSTAN_SERVER"), "address of the server; the token that asks is read from $CAPSTAN_TOKEN")
	cmd.PersistentFlags().StringVar(&target.data, "data", "", "data directory of a server on this machine, instead of --server")
	cmd.PersistentFlags().StringVar(&target.database, "database", "", "its postgres:// URL, or a SQLite file (default $CAPSTAN_DATABASE, or capstan.db in the data directory)")
	cmd.AddCommand(newTokenCreate(c, &target), newTokenList(c, &target), newTokenRevoke(c, &target))
	return cmd
}

func newTokenCreate(c *Command, target *tokenTarget) *cobra.Command {
	want := capgo.Token{}
	scope, life := string(capgo.ScopeUpload), 90*24*time.Hour
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Make a token; its secret is printed once", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			want.Name, want.Scope = args[0], capgo.TokenScope(scope)
			if life > 0 {
				at := time.Now().Add(life).UTC().Truncate(time.Second)
				want.ExpiresAt = &at
			}
			return target.with(cmd.Context(), func(t tokens) error {
				made, err := t.CreateToken(cmd.Context(), want)
				if err != nil {
					return err
				}
				return c.Result(made, func(w io.Writer) {
					c.Notef("token %s, scope %s; this is the only time its secret is shown", made.ID, made.Scope)
					fmt.Fprintln(w, made.Secret)
				})
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&scope, "scope", scope, "read, upload, promote or admin; each includes those before it")
	f.StringSliceVar(&want.Apps, "app", nil, "limit to these apps")
	f.StringSliceVar(&want.Channels, "channel", nil, "limit to these channels")
	f.DurationVar(&life, "expires", life, "life of the token, 0 for no end")
	return cmd
}

func newTokenList(c *Command, target *tokenTarget) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List tokens, without their secrets", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return target.with(cmd.Context(), func(t tokens) error {
				list, err := t.Tokens(cmd.Context())
				if err != nil {
					return err
				}
				return c.Result(list, func(w io.Writer) { printTokens(w, list) })
			})
		},
	}
}

func printTokens(w io.Writer, list []capgo.Token) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tNAME\tSCOPE\tLIMITS\tEXPIRES\tLAST USED")
	for _, t := range list {
		limits := strings.Join(append(append([]string{}, t.Apps...), t.Channels...), " ")
		if limits == "" {
			limits = "-"
		}
		expires := day(t.ExpiresAt)
		if t.Revoked {
			expires = "revoked"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", t.ID, oneLine(t.Name), t.Scope, oneLine(limits), expires, day(t.LastUsed))
	}
	_ = table.Flush() // w reports its own errors at the next write
}

func day(at *time.Time) string {
	if at == nil {
		return "-"
	}
	return at.Format(time.DateOnly)
}

func newTokenRevoke(c *Command, target *tokenTarget) *cobra.Command {
	return &cobra.Command{
		Use: "revoke ID", Short: "End a token's validity, and that of the tokens made with it", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return target.with(cmd.Context(), func(t tokens) error {
				if err := t.RevokeToken(cmd.Context(), args[0]); err != nil {
					return err
				}
				return c.Result(map[string]any{"id": args[0], "revoked": true}, func(w io.Writer) { fmt.Fprintln(w, "revoked", oneLine(args[0])) })
			})
		},
	}
}

// with opens the target, lets fn use it and closes it.
func (t tokenTarget) with(ctx context.Context, fn func(tokens) error) error {
	if t.data != "" || t.database != "" || t.server == "" {
		return t.onMachine(ctx, fn)
	}
	secret := os.Getenv("CAPSTAN_TOKEN")
	if secret == "" {
		return failure.New(failure.NotAuthorised, "no_key_provided", "", "no token to ask with", "put an admin token into $CAPSTAN_TOKEN, or use --data on the server's machine")
	}
	client, err := remote.New(remote.Config{BaseURL: t.server, Token: remote.NewToken(secret)})
	if err != nil {
		return err
	}
	return fn(client)
}

// onMachine uses the database of a server on this machine, running or not.
func (t tokenTarget) onMachine(ctx context.Context, fn func(tokens) error) error {
	database, err := databaseURL(t.database, "CAPSTAN_DATABASE")
	if err != nil {
		return err
	}
	s, err := openStore(ctx, t.data, database)
	if err != nil {
		return err
	}
	return closing(s, fn(local{s}))
}

func closing(c io.Closer, err error) error {
	if closeErr := c.Close(); err == nil {
		return closeErr
	}
	return err
}

// local is the machine's operator, who may do anything with the database.
type local struct{ *store.Store }

func (l local) CreateToken(ctx context.Context, token capgo.Token) (capgo.Token, error) {
	switch token.Scope {
	case capgo.ScopeRead, capgo.ScopeUpload, capgo.ScopePromote, capgo.ScopeAdmin:
	default:
		return capgo.Token{}, failure.New(failure.Usage, "invalid_scope", "", "the scope is read, upload, promote or admin", "")
	}
	return l.Store.CreateToken(ctx, "operator", "", token)
}

func (l local) RevokeToken(ctx context.Context, id string) error {
	return l.Store.RevokeToken(ctx, "operator", id)
}
