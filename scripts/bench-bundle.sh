#!/bin/sh
# Times folder → sealed bundle: capstan beside the real Capgo CLI, Info-ZIP and
# openssl, on three inputs made deterministically from pinned npm packages.
#
#   scripts/bench-bundle.sh [small] [medium] [large]      default: all three
#
# ROUNDS=5 rounds after a warm-up, the sides in turn (A B A B); medians. CPU time
# and peak memory are the operating system's figures for the whole process (wait4),
# wall time is from its start to its end. Absolute figures move from machine to
# machine: quote the ratios of one run.
#
# Needs go, node 20, npm, python3, zip and openssl. BENCH_DIR keeps the inputs
# and the packages (about 400 MB with the large input 1.5 GB) between runs;
# CAPSTAN_CAPGO_CLI names a folder that @capgo/cli 8.68.1 is installed in.
set -eu

repo=$(cd "$(dirname "$0")/.." && pwd)
dir=${BENCH_DIR:-$(mktemp -d)}
rounds=${ROUNDS:-5}
inputs=${*:-small medium large}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)

for tool in go node npm python3 zip openssl sha256sum; do
	command -v "$tool" >/dev/null || { echo "bench-bundle: $tool is absent" >&2; exit 1; }
done

export CI=1 NO_COLOR=1 CAPGO_DISABLE_TELEMETRY=1 CAPGO_DISABLE_POSTHOG=1 CAPSTAN_HOME="$dir/home"

# Inputs ----------------------------------------------------------------------

if [ ! -d "$dir/packages/node_modules" ]; then
	mkdir -p "$dir/packages"
	(cd "$dir/packages" && npm init -y >/dev/null && npm install --no-audit --no-fund --ignore-scripts --loglevel=error \
		@ionic/core@8.7.3 monaco-editor@0.52.2 three@0.179.1 pdfjs-dist@5.4.149 ionicons@8.0.13 mathjax@3.2.2)
fi
cli=${CAPSTAN_CAPGO_CLI:-$dir/capgo}
if [ ! -e "$cli/node_modules/.bin/capgo" ]; then
	mkdir -p "$cli"
	(cd "$cli" && npm init -y >/dev/null && npm install --no-audit --no-fund --ignore-scripts --loglevel=error @capgo/cli@8.68.1)
fi

# make_input NAME TEXT_FILES MIN_TEXT_BYTES MAX_TEXT_BYTES MEDIA_FILES MEDIA_BYTES
make_input() {
	[ -e "$dir/$1/.made" ] && return
	rm -rf "$dir/$1"
	node - "$dir/packages/node_modules" "$dir/$1" "$2" "$3" "$4" "$5" "$6" <<'NODE'
const fs = require('fs'), path = require('path'), crypto = require('crypto');
const [pool, out, texts, minText, maxText, media, mediaBytes] = process.argv.slice(2);
const sources = [];
const walk = d => {
  for (const e of fs.readdirSync(d, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const p = path.join(d, e.name);
    if (e.isDirectory()) walk(p);
    else if (/\.(js|mjs|css|json|svg|html)$/.test(e.name)) {
      const size = fs.statSync(p).size;
      if (size >= +minText && size <= +maxText) sources.push(p);
    }
  }
};
for (const p of ['@ionic/core', 'monaco-editor/min', 'monaco-editor/esm', 'three/examples', 'pdfjs-dist', 'ionicons/dist/svg', 'mathjax/es5']) walk(path.join(pool, p));
const write = (name, data) => {
  const p = path.join(out, 'dist', name);
  fs.mkdirSync(path.dirname(p), { recursive: true });
  fs.writeFileSync(p, data);
};
write('index.html', '<!doctype html><script src="app.js"></script>');
write('app.js', 'window.Capacitor?.Plugins?.CapacitorUpdater?.notifyAppReady()');
const step = 7919; // a prime: visits every source before it repeats one
for (let i = 0; i < +texts; i++) {
  const from = sources[(i * step) % sources.length], ext = path.extname(from);
  let data = fs.readFileSync(from);
  const round = Math.floor(i / sources.length); // a repeated source must not be the same file again
  if (round > 0 && /\.(js|mjs|css)$/.test(ext)) data = Buffer.concat([Buffer.from(`/* ${crypto.createHash('sha256').update(String(i)).digest('hex')} */\n`), data]);
  write(`assets/${i % 97}/${path.basename(from, ext).replace(/[^\w.-]/g, '_')}-${i}${ext}`, data);
}
for (let i = 0; i < +media; i++) {
  const key = crypto.createHash('sha256').update('media ' + i).digest();
  const noise = crypto.createCipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(+mediaBytes));
  write(`media/${i % 13}/picture-${i}.${['jpg', 'png', 'webp', 'mp4'][i % 4]}`, noise);
}
const root = (name, data) => fs.writeFileSync(path.join(out, name), data);
root('capacitor.config.json', '{"appId":"com.example.bench","appName":"Bench","webDir":"dist","plugins":{"CapacitorUpdater":{}}}');
root('package.json', '{"name":"bench","version":"1.0.0","private":true,"dependencies":{"@capgo/capacitor-updater":"8.51.23"}}');
const plugin = path.join(out, 'node_modules/@capgo/capacitor-updater');
fs.mkdirSync(plugin, { recursive: true });
fs.writeFileSync(path.join(plugin, 'package.json'), '{"name":"@capgo/capacitor-updater","version":"8.51.23"}');
const { privateKey, publicKey } = crypto.generateKeyPairSync('rsa', { modulusLength: 2048 });
root('.capgo_key_v2', privateKey.export({ type: 'pkcs1', format: 'pem' }));
root('.capgo_key_v2.pub', publicKey.export({ type: 'pkcs1', format: 'pem' }));
fs.chmodSync(path.join(out, '.capgo_key_v2'), 0o600);
root('.made', '');
NODE
}

for input in $inputs; do
	case $input in
	small) make_input small 186 3000 120000 12 150000 ;;
	medium) make_input medium 2898 2000 120000 100 150000 ;;
	large) make_input large 20000 200 120000 1600 560000 ;;
	*) echo "bench-bundle: no input $input" >&2; exit 2 ;;
	esac
done

(cd "$repo" && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$dir/capstan" .)

# Sides -----------------------------------------------------------------------
# Each runs in the project's folder and leaves one sealed bundle.

cat >"$dir/capgo.sh" <<SIDE
sum=\$(node "$cli/node_modules/.bin/capgo" bundle zip com.example.bench --path dist --name a.zip --json | sed -n 's/.*"checksum": *"\([0-9a-f]*\)".*/\1/p')
node "$cli/node_modules/.bin/capgo" bundle encrypt a.zip "\$sum" --json >/dev/null
SIDE
cat >"$dir/capstan.sh" <<SIDE
exec "$dir/capstan" bundle zip com.example.bench --path dist --name b.zip --encrypt --key .capgo_key_v2 --json >/dev/null
SIDE
cat >"$dir/twosteps.sh" <<SIDE
"$dir/capstan" bundle zip com.example.bench --path dist --name c.zip --json >/dev/null
"$dir/capstan" bundle encrypt c.zip --key .capgo_key_v2 --json >/dev/null
SIDE
cat >"$dir/infozip.sh" <<'SIDE'
rm -f d.zip
(cd dist && zip -q -6 -r -X ../d.zip .)
sha256sum d.zip >/dev/null
openssl enc -aes-128-cbc -K 000102030405060708090a0b0c0d0e0f -iv 101112131415161718191a1b1c1d1e1f -in d.zip -out d.enc
SIDE

clean() { rm -f "$1"/*.zip "$1"/d.enc; }

cat >"$dir/measure.py" <<'PYTHON'
import os, sys, time
begin = time.perf_counter()
pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)])
_, status, used = os.wait4(pid, 0)
print("%.4f %.4f %d" % (time.perf_counter() - begin, used.ru_utime + used.ru_stime, used.ru_maxrss))
sys.exit(os.waitstatus_to_exitcode(status))
PYTHON

# run SIDE INPUT: one line "wall cpu peakKiB" on stdout
run() {
	(cd "$dir/$2" && clean . && python3 "$dir/measure.py" sh "$dir/$1.sh" 2>"$dir/err") ||
		{ echo "bench-bundle: $1 failed on $2:" >&2; cat "$dir/err" >&2; exit 1; }
}

median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

echo "capstan $("$dir/capstan" version 2>/dev/null | head -1); $(go version); node $(node --version); $(uname -sm); $(nproc) cores; load $(cut -d' ' -f1-3 /proc/loadavg 2>/dev/null)"
for input in $inputs; do
	set -- capgo capstan twosteps infozip
	for side in "$@"; do
		: >"$dir/$side.txt"
		run "$side" "$input" >/dev/null # warm-up
	done
	for _ in $(seq "$rounds"); do
		for side in "$@"; do run "$side" "$input" >>"$dir/$side.txt"; done
	done
	echo
	echo "$input: $(find "$dir/$input/dist" -type f | wc -l) files, $(du -sb "$dir/$input/dist" | cut -f1) bytes; medians of $rounds"
	printf '%-44s %9s %9s %10s %8s %8s\n' side 'wall s' 'cpu s' 'peak MiB' wall cpu
	w0=$(cut -d' ' -f1 "$dir/capstan.txt" | median)
	c0=$(cut -d' ' -f2 "$dir/capstan.txt" | median)
	for side in "$@"; do
		case $side in
		capgo) label='Capgo CLI 8.68.1, zip then encrypt' ;;
		capstan) label='capstan, one pass' ;;
		twosteps) label='capstan, zip then encrypt' ;;
		infozip) label='zip -6, sha256sum, openssl enc' ;;
		esac
		w=$(cut -d' ' -f1 "$dir/$side.txt" | median)
		c=$(cut -d' ' -f2 "$dir/$side.txt" | median)
		m=$(cut -d' ' -f3 "$dir/$side.txt" | median)
		awk -v l="$label" -v w="$w" -v c="$c" -v m="$m" -v w0="$w0" -v c0="$c0" \
			'BEGIN { printf "%-44s %9.3f %9.3f %10.1f %7.1fx %7.1fx\n", l, w, c, m / 1024, w / w0, c / c0 }'
	done
	(cd "$dir/$input" && clean . && sh "$dir/capgo.sh" 2>/dev/null && sh "$dir/capstan.sh" && sh "$dir/infozip.sh" &&
		wc -c <a.zip_encrypted.zip | tr -d '\n' && printf ' bytes by Capgo, ' && wc -c <b.zip | tr -d '\n' && printf ' by capstan, ' && wc -c <d.enc | tr -d '\n' && echo ' by zip -6')
	clean "$dir/$input"
done
echo
echo "Capgo's zip holds dotfiles and source maps that capstan leaves out; these inputs have none. Peak memory of the"
echo "two-step sides is that of their largest process."
