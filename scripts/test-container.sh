#!/usr/bin/env bash
# Builds deploy/Containerfile with buildah, without a container engine and without
# a registry, and runs the image: what is in it, who it runs as, whether it
# serves, and whether it stops in order.
#
#   scripts/test-container.sh
#
# The base image golang:1.26 is made here, of busybox and the Go that is
# installed: the recipe is what is under test. Needs root or user namespaces, and
# buildah and busybox-static of Debian.
set -euo pipefail
cd "$(dirname "$0")/.."
for program in buildah busybox go curl; do
	command -v "$program" >/dev/null || { echo "test-container: $program is absent" >&2; exit 1; }
done
work=$(mktemp -d)
export XDG_RUNTIME_DIR=$work BUILDAH_ISOLATION=chroot
b() { buildah --root "$work/storage" --runroot "$work/run" "$@"; }
trap 'pkill -KILL -f "^/capstan serve --listen 127.0.0.1:${port:-none}" || true; b umount --all >/dev/null 2>&1 || true; b rm --all >/dev/null 2>&1 || true; chmod -R u+w "$work" 2>/dev/null; rm -rf "$work"' EXIT

mkdir -p "$work/base/bin" "$work/base/tmp" "$work/base/etc/ssl/certs" "$work/base/usr/local/go"
cp "$(command -v busybox)" "$work/base/bin/busybox"
for name in sh mkdir; do ln -s busybox "$work/base/bin/$name"; done
cp /etc/ssl/certs/ca-certificates.crt "$work/base/etc/ssl/certs/"
(cd "$(go env GOROOT)" && tar cf - --exclude=./test --exclude=./api . ) | tar xf - -C "$work/base/usr/local/go"
base=
if ! { base=$(b from scratch) && b add --quiet "$base" "$work/base" / && b run "$base" -- /bin/busybox mkdir -p /tmp/tried; } >"$work/log" 2>&1; then
	echo "this machine runs no containers; nothing was tried: $(tail -n 1 "$work/log")"
	exit 0
fi
b config --env PATH=/usr/local/go/bin:/bin --env GOPATH=/go --env GOTOOLCHAIN=local --env GOCACHE=/go/cache \
	--env GOFLAGS=-modcacherw --env GOPROXY="$(go env GOPROXY)" --env GONOSUMDB="$(go env GONOSUMDB)" --env GOSUMDB="$(go env GOSUMDB)" "$base"
b commit --quiet --rm "$base" docker.io/library/golang:1.26 >/dev/null
rm -rf "$work/base"

# Modules and what is compiled already come from this machine; the copy of the
# repository is what git has.
mkdir "$work/context"
archive=$(git stash create)
git archive "${archive:-HEAD}" | tar xf - -C "$work/context"
b bud --quiet --pull-never --layers=false --network host \
	-v "$(go env GOMODCACHE):/go/pkg/mod" -v "$(go env GOCACHE):/go/cache" \
	-f "$work/context/deploy/Containerfile" -t capstan "$work/context" >/dev/null

image=$(b from --pull-never localhost/capstan)
root=$(b mount "$image")
found=$(cd "$root" && find . -type f | sort | tr '\n' ' ')
[ "$found" = "./capstan ./etc/ssl/certs/ca-certificates.crt " ] || { echo "test-container: the image holds $found" >&2; exit 1; }
[ "$(stat -c '%u:%g %a' "$root/data")" = "65532:65532 700" ] || { echo "test-container: /data is $(stat -c '%u:%g %a' "$root/data")" >&2; exit 1; }
user=$(b inspect --type image --format '{{.OCIv1.Config.User}}' localhost/capstan)
[ "$user" = 65532:65532 ] || { echo "test-container: it runs as '$user'" >&2; exit 1; }
entry=$(b inspect --type image --format '{{.OCIv1.Config.Entrypoint}}' localhost/capstan | tr -d '[]')
echo "the image: $(stat -c %s "$root/capstan") bytes of program, user $user, $entry"

# The entry point as the image has it; the port is a free one, and only on loopback.
port=$((20000 + RANDOM % 20000))
b run --network host "$image" -- /capstan version
b run --network host "$image" -- ${entry/0.0.0.0:8787/127.0.0.1:$port} --public-url "http://127.0.0.1:$port" >"$work/log" 2>&1 &
server=$!
for _ in $(seq 300); do
	curl -fsS "http://127.0.0.1:$port/readyz" >/dev/null 2>&1 && break
	kill -0 "$server" 2>/dev/null || break
	sleep 0.1
done
curl -fsS "http://127.0.0.1:$port/readyz" >/dev/null || { cat "$work/log" >&2; exit 1; }
# /data is a volume: buildah keeps it beside the image.
[ "$(find "$work" -name capstan.db -printf %U -quit)" = 65532 ] || { echo "test-container: the database does not belong to the image's user" >&2; exit 1; }
pkill -TERM -f "^/capstan serve --listen 127.0.0.1:$port"
status=0
wait "$server" || status=$?
[ "$status" = 0 ] || { echo "test-container: stopped with $status" >&2; cat "$work/log" >&2; exit 1; }
echo "it served as its own user from an empty root, and stopped in order"
