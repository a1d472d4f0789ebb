#!/usr/bin/env bash
# The tests of keys on a token, against SoftHSM2: a token signs byte for byte
# like the same key in software, makes keys itself, and seals a release.
# Needs a C compiler and softhsm2 (apt-get install gcc libc6-dev softhsm2).
set -euo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=1
command -v softhsm2-util >/dev/null || { echo "softhsm2-util is absent: apt-get install softhsm2" >&2; exit 1; }
go vet -tags pkcs11 ./core/keys ./cli
go test -tags pkcs11 -run 'Token' "$@" ./core/keys ./cli
