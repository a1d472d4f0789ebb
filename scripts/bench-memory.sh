#!/bin/sh
# Peak memory of folder → sealed bundle as the build grows to what a bundle may
# hold: 4 GiB, the most that every device's zip reader takes.
#
#   scripts/bench-memory.sh [MB...]      default: 100 1000 4000
#
# Each build is files of 8 MB: a megabyte of noise in hexadecimal, over and over
# with a number in front, which deflate halves at least. Peak memory and wall
# time are the operating system's for the whole process, from /usr/bin/time.
# Needs go, openssl, GNU time, and twice the largest size of disk.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$work/capstan" .
openssl genrsa -traditional -out "$work/key" 2048 2>/dev/null
export CAPSTAN_HOME="$work/home"

# A megabyte that is the same in every run, wider than deflate's window.
openssl enc -aes-128-ctr -K 00 -iv 00 -in /dev/zero 2>/dev/null | head -c 500000 | od -An -v -tx1 | tr -d ' \n' | head -c 1000000 >"$work/noise"
for _ in 1 2 3 4 5 6 7 8; do cat "$work/noise"; done >"$work/block"
mkdir "$work/build"
echo '<!doctype html><script src="main.js"></script>' >"$work/build/index.html"
echo 'CapacitorUpdater.notifyAppReady()' >"$work/build/main.js"

echo "$(go version); $(uname -sm); $(nproc) cores; load $(cut -d' ' -f1-3 /proc/loadavg)"
printf '%10s %8s %12s %8s %10s\n' 'build MB' 'files' 'bundle MB' 'wall s' 'peak MiB'
made=0
for size in ${*:-100 1000 4000}; do
	files=$(((size + 7) / 8))
	while [ "$made" -lt "$files" ]; do
		{ echo "$made"; cat "$work/block"; } >"$work/build/$made.json"
		made=$((made + 1))
	done
	/usr/bin/time -f '%e %M' -o "$work/time" "$work/capstan" bundle zip com.example.memory --path "$work/build" --bundle 1.0.0 \
		--name "$work/out.zip" --encrypt --key "$work/key" --level 6 --json >/dev/null
	awk -v size="$size" -v files="$files" -v out="$(stat -c %s "$work/out.zip")" '{ printf "%10d %8d %12.0f %8.1f %10.1f\n", size, files, out / 1e6, $1, $2 / 1024 }' "$work/time"
	rm "$work/out.zip"
done
