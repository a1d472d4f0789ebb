package ui

import (
	"context"
	"io"
)

func runLines(ctx context.Context, o Options) error { _ = io.EOF; return nil }
