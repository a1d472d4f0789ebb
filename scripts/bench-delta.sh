#!/usr/bin/env bash
# Times the files of a delta update of the medium input of bench-bundle.sh:
# capstan with an empty cache and with one file in a hundred changed since the
# last time, beside what the Capgo CLI 8.68.1 does for every release: Node's
# brotli at quality 11 for files of 8 KiB and more, AES-128-CBC, and one RSA
# signature of each SHA-256. The peer is less than the whole CLI: no start of
# the CLI, no zip, no upload.
#
#   scripts/bench-delta.sh [ROUNDS]      default 3 rounds, the sides in turn; medians
#
# Needs go, node 20 and the inputs: BENCH_DIR is the folder in which
# scripts/bench-bundle.sh medium made them.
set -euo pipefail
rounds=${1:-3}
cd "$(dirname "$0")/.."
dir=${BENCH_DIR:?run BENCH_DIR=folder scripts/bench-bundle.sh medium first, then this with the same BENCH_DIR}
input=$dir/medium
[ -e "$input/.made" ] || { echo "bench-delta: there is no $input: run scripts/bench-bundle.sh medium with the same BENCH_DIR" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
CGO_ENABLED=0 go build -o "$work/bench" ./scripts/bench-delta

cat >"$work/peer.js" <<'NODE'
const fs = require('fs'), path = require('path'), crypto = require('crypto'), zlib = require('zlib'), { promisify } = require('util');
const brotli = promisify(zlib.brotliCompress);
const [dir, keyFile] = process.argv.slice(2);
const key = fs.readFileSync(keyFile), session = crypto.randomBytes(16), iv = crypto.randomBytes(16);
const files = [];
const walk = d => { for (const e of fs.readdirSync(d, { withFileTypes: true })) e.isDirectory() ? walk(path.join(d, e.name)) : files.push(path.join(d, e.name)); };
walk(dir);
let stored = 0, next = 0;
const one = async file => {
  const plain = fs.readFileSync(file);
  if (!plain.length) return;
  crypto.privateEncrypt({ key, padding: crypto.constants.RSA_PKCS1_PADDING }, crypto.createHash('sha256').update(plain).digest());
  let bytes = plain;
  if (plain.length >= 8192) {
    const dense = await brotli(plain);
    if (dense.length < plain.length - 10) bytes = dense;
  }
  const cipher = crypto.createCipheriv('aes-128-cbc', session, iv);
  stored += cipher.update(bytes).length + cipher.final().length;
};
(async () => {
  const started = process.hrtime.bigint();
  await Promise.all(Array.from({ length: require('os').cpus().length }, async () => { while (next < files.length) await one(files[next++]); }));
  console.log((Number(process.hrtime.bigint() - started) / 1e9).toFixed(3), stored, files.length);
})();
NODE

median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

cp -r "$input/dist" "$work/dist"
for round in $(seq "$rounds"); do
	node "$work/peer.js" "$work/dist" "$input/.capgo_key_v2" >>"$work/peer"
	rm -rf "$work/cache"
	"$work/bench" "$work/dist" "$input/.capgo_key_v2" "$work/cache" >>"$work/new"
	# One text file in a hundred is another one now.
	find "$work/dist" -name '*.js' -o -name '*.css' | sort | awk 'NR % 100 == 50' | while read -r file; do
		echo "/* $round */" >>"$file"
	done
	"$work/bench" "$work/dist" "$input/.capgo_key_v2" "$work/cache" >>"$work/changed"
done

echo "$(go version); node $(node --version); $(uname -sm); $(nproc) cores; load $(cut -d' ' -f1-3 /proc/loadavg); medians of $rounds"
peer=$(median <"$work/peer")
bytes=$(tail -n 1 "$work/peer" | cut -d' ' -f2)
printf '%-46s %9s %8s %12s %8s\n' 'files of a delta update, medium' 'wall s' 'faster' 'bytes' 'more'
for side in 'peer|Node, brotli 11, as the Capgo CLI 8.68.1' 'new|capstan, nothing cached' 'changed|capstan, 1 % of the text files changed'; do
	name=${side%%|*}
	awk -v l="${side#*|}" -v w="$(median <"$work/$name")" -v p="$peer" -v b="$(tail -n 1 "$work/$name" | cut -d' ' -f2)" -v pb="$bytes" \
		'BEGIN { printf "%-46s %9.3f %7.1fx %12d %+7.1f%%\n", l, w, p / w, b, 100 * (b / pb - 1) }'
done
