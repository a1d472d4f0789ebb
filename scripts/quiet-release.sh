#!/usr/bin/env bash
# A whole release where only its storage and its server exist: nothing else can
# be reached, and nothing else is missed. In a network namespace of its own it
# starts an S3 gateway, a web server that publishes its folder, and capstan
# serve, and then takes the sample app to a live channel, plans, rolls back and
# checks everything.
# usage: scripts/quiet-release.sh CAPSTAN   (the binary)
# needs versitygw in PATH (scripts/install-peers.sh), python3, ip and unshare.
set -euo pipefail
capstan=$(realpath "${1:?usage: scripts/quiet-release.sh CAPSTAN}")
if [ "${QUIET_RELEASE_INSIDE:-}" != 1 ]; then
	for program in versitygw python3 ip unshare; do
		command -v "$program" >/dev/null || { echo "$program is absent: see scripts/install-peers.sh" >&2; exit 1; }
	done
	if ! unshare -rn true 2>/dev/null; then
		echo "this machine gives no network namespace; the release did not run"
		exit 0
	fi
	QUIET_RELEASE_INSIDE=1 exec unshare -rn "$0" "$capstan"
fi
ip link set lo up
work=$(mktemp -d)
running=()
trap 'kill "${running[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT

# started PORT: waits until somebody listens there.
started() {
	for _ in $(seq 600); do
		(exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return
		sleep 0.1
	done
	echo "nothing listens on $1" >&2
	cat "$work"/*.log >&2
	exit 1
}

# The variables of the outside must not lead anywhere.
for name in $(compgen -e | grep -E '^(CAPSTAN_|CAPGO_|AWS_|HTTPS?_PROXY|https?_proxy|NO_PROXY|no_proxy)' || true); do unset "$name"; done
export HOME="$work/home" CAPSTAN_HOME="$work/home/capstan" DBUS_SESSION_BUS_ADDRESS="unix:path=$work/no-bus"
export AWS_ACCESS_KEY_ID=quiet AWS_SECRET_ACCESS_KEY=quiet-secret-0123456789
mkdir -p "$work/data/bundles" "$work/meta" "$HOME"
versitygw --access "$AWS_ACCESS_KEY_ID" --secret "$AWS_SECRET_ACCESS_KEY" --port 127.0.0.1:9000 --quiet posix --sidecar "$work/meta" "$work/data" >"$work/gateway.log" 2>&1 &
running+=($!)
(cd "$work/data" && exec python3 -m http.server --bind 127.0.0.1 9001) >"$work/web.log" 2>&1 &
running+=($!)
"$capstan" serve --listen 127.0.0.1:9002 --data "$work/server" >"$work/server.log" 2>&1 &
running+=($!)
started 9000
started 9001
started 9002

CAPSTAN_TOKEN=$(grep -oE 'capstan_[A-Za-z0-9_-]+' "$work/server.log" | head -n 1)
export CAPSTAN_TOKEN CAPSTAN_SERVER=http://127.0.0.1:9002
export CAPSTAN_STORAGE='s3://bundles/live?endpoint=http://127.0.0.1:9000' CAPSTAN_PUBLIC_URL=http://127.0.0.1:9001/bundles/live
mkdir -p "$work/app/www" && cd "$work/app"
echo '{"appId":"com.example.quiet","appName":"Quiet","webDir":"www"}' >capacitor.config.json
echo '{"name":"quiet","version":"1.0.0","dependencies":{"@capgo/capacitor-updater":"8.51.23"}}' >package.json
echo '<!doctype html><script src="main.js"></script>' >www/index.html
echo 'import { CapacitorUpdater } from "@capgo/capacitor-updater"; CapacitorUpdater.notifyAppReady()' >www/main.js
echo 'correct horse battery staple' >"$work/passphrase"
export CAPSTAN_PASSPHRASE_FILE="$work/passphrase"

"$capstan" key create --store file >/dev/null
"$capstan" release --channel production --create-app --delta
"$capstan" release --channel production --bundle 1.1.0
"$capstan" plan rollback production
"$capstan" apply capstan-plan.json --confirm=production
"$capstan" doctor --storage
"$capstan" fsck
"$capstan" channel show production | grep -q '1\.0\.0'
echo "released, planned, rolled back and checked without a network"
