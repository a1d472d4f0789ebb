#!/bin/sh
# Loads `capstan serve` beside a bare net/http server with a fixed JSON answer,
# in the same run and in turn, and prints ratios, latencies and memory:
#
#   scripts/bench-serve.sh
#
# Four servers take the load one after another, in slices so short that other
# load on the machine hits all alike, and the others are stopped meanwhile: bare;
# capstan with 5 apps and few devices; capstan with 1,000 apps of 20 channels and
# 100 bundles; capstan with DEVICES=5000000 device rows. Then promotions under
# full load, and Capgo's published rate of 580 a second. ROUNDS=20 rounds of
# SLICE=0.5 seconds each; the load comes from the same machine. It needs about
# 3 GB below TMPDIR and some minutes, most of them to fill the databases. CAPSTAN
# names a binary that is built already. SELFHOST names a binary of capgo-selfhost
# (github.com/meauxt/capgo-selfhost, go build), another server of the same protocol
# with a row per check: it takes its turn as well, and the ratio is printed.
set -eu

repo=$(cd "$(dirname "$0")/.." && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
bin=${CAPSTAN:-$dir/capstan}
cd "$repo"
[ -x "$bin" ] || CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$bin" .
CGO_ENABLED=0 go build -trimpath -o "$dir/bench-serve" ./scripts/bench-serve
"$dir/bench-serve" -capstan "$bin" -dir "$dir" -rounds "${ROUNDS:-20}" -seconds "${SLICE:-0.5}" -devices "${DEVICES:-5000000}" -selfhost "${SELFHOST:-}"
