#!/usr/bin/env bash
# Uploads one file to versitygw on this machine with capstan's s3 driver, with
# minio-go's own PutObject and with rclone, in turn, and prints the medians of
# time, CPU and peak memory of the uploading process. capstan is given what a
# release has at hand: the hash of the file and the sums of its blocks, which
# sealing takes while it writes the file; here they are taken before the clock runs.
# usage: scripts/bench-upload.sh [ROUNDS [MIB]]   (default 5 rounds of 1024 MiB)
# SKIP_RCLONE=1 leaves rclone out, which takes many times as long as the others.
# HOST=ADDRESS uses another of this machine's addresses than 127.0.0.1: there
# the parts are signed, as on any plain http that could be overheard.
# needs versitygw and rclone in PATH (scripts/install-peers.sh) and GNU time.
set -euo pipefail
rounds=${1:-5}
mib=${2:-1024}
cd "$(dirname "$0")/.."
clients=(capstan minio rclone)
[ -z "${SKIP_RCLONE:-}" ] || clients=(capstan minio)
for program in versitygw /usr/bin/time ${clients[2]:-}; do
	command -v "$program" >/dev/null || { echo "$program is absent: see scripts/install-peers.sh" >&2; exit 1; }
done
work=$(mktemp -d)
gateway=
trap '[ -z "$gateway" ] || kill "$gateway" 2>/dev/null; rm -rf "$work"' EXIT
CGO_ENABLED=0 go build -o "$work/bench" ./scripts/bench-upload
# Bytes that do not compress, like a sealed bundle.
head -c "$((mib * 1048576))" /dev/urandom >"$work/file"
port=$((20000 + RANDOM % 20000))
host=${HOST:-127.0.0.1}
endpoint=$host:$port
unset AWS_CA_BUNDLE # plain http on loopback, and rclone trips over it
export AWS_ACCESS_KEY_ID=bench AWS_SECRET_ACCESS_KEY=bench-secret-0123456789
mkdir "$work/data" "$work/meta"
versitygw --access "$AWS_ACCESS_KEY_ID" --secret "$AWS_SECRET_ACCESS_KEY" --port "$endpoint" --quiet posix --sidecar "$work/meta" "$work/data" >"$work/gateway.log" 2>&1 &
gateway=$!
for _ in $(seq 100); do
	(exec 3<>"/dev/tcp/$host/$port") 2>/dev/null && break
	sleep 0.1
done
"$work/bench" bucket "$endpoint" bench x "$work/file"
"$work/bench" sums "$work/file" "$work/sums"
export RCLONE_CONFIG=/dev/null RCLONE_CONFIG_S3_TYPE=s3 RCLONE_CONFIG_S3_PROVIDER=Other RCLONE_CONFIG_S3_ENDPOINT=http://$endpoint \
	RCLONE_CONFIG_S3_ENV_AUTH=true RCLONE_CONFIG_S3_REGION=us-east-1

# once NAME COMMAND...: one upload into an empty place; a line of seconds, CPU seconds and KiB.
once() {
	local name=$1
	shift
	/usr/bin/time -f "%e %U %S %M" -o "$work/time" "$@"
	awk '{print $1, $2 + $3, $4}' "$work/time" >>"$work/$name"
	rm -rf "$work/data/bench/"* "$work/meta/bench/"*
}
for round in $(seq 0 "$rounds"); do
	once capstan "$work/bench" capstan "$endpoint" bench "$work/sums" "$work/file"
	once minio "$work/bench" minio "$endpoint" bench m.zip "$work/file"
	[ -n "${SKIP_RCLONE:-}" ] || once rclone rclone copyto --s3-no-check-bucket "$work/file" S3:bench/r.zip
	if [ "$round" = 0 ]; then # the warm-up
		rm -f "$work"/capstan "$work"/minio "$work"/rclone
	fi
done
median() { cut -d' ' -f"$2" "$work/$1" | sort -n | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }
echo "cores $(nproc), load $(cut -d' ' -f1 /proc/loadavg), $rounds rounds of $mib MiB, $(versitygw --version | head -1)${clients[2]:+, $(rclone version | head -1)}"
for name in "${clients[@]}"; do
	echo "$name: $(median $name 1) s, CPU $(median $name 2) s, peak $(($(median $name 3) / 1024)) MiB, best $(cut -d' ' -f1 "$work/$name" | sort -n | head -1) s"
done
for name in "${clients[@]:1}"; do
	awk -v c="$(median capstan 1)" -v o="$(median "$name" 1)" -v name="$name" 'BEGIN {printf "capstan takes %.2f of the time of %s\n", c / o, name}'
done
