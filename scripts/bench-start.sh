#!/bin/sh
# Times the start: capstan's version and the console's first frame beside the
# Capgo CLI's own start and, where it is installed, lazygit's first frame.
#
#   scripts/bench-start.sh
#   CAPSTAN_LAZYGIT=/path/to/lazygit scripts/bench-start.sh
#
# ROUNDS=9 rounds after a warm-up, the programs in turn; medians of wall time. A
# first frame is there when the program's own words arrive at a pseudo-terminal
# of 100×30 cells, which answers as terminals do who it is and what colour it
# has: lazygit waits a second for that. The console opens in the sample app with
# a server that does not answer: what is measured is the program, not the network.
#
# Needs go, python3 and, for the peer, node 20 with CAPSTAN_CAPGO_CLI naming a
# folder that @capgo/cli 8.68.1 is installed in. CAPSTAN names a binary that is
# built already, CAPSTAN_LAZYGIT a lazygit that is not on the PATH.
set -eu

repo=$(cd "$(dirname "$0")/.." && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
bin=${CAPSTAN:-$dir/capstan}
[ -x "$bin" ] || (cd "$repo" && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$bin" .)

cp -R "$repo/examples/harbour" "$dir/app"
printf '[profiles.bench]\nserver = "http://127.0.0.1:9"\n' > "$dir/app/capstan.toml"
git -C "$dir/app" init -q 2>/dev/null || true
export CAPSTAN_HOME="$dir/home" CI=1 CAPGO_DISABLE_TELEMETRY=1 CAPGO_DISABLE_POSTHOG=1
capgo=${CAPSTAN_CAPGO_CLI:+$CAPSTAN_CAPGO_CLI/node_modules/.bin/capgo}

BIN=$bin APP=$dir/app CAPGO=${capgo:-} ROUNDS=${ROUNDS:-9} exec python3 - <<'PYTHON'
import fcntl, os, pty, select, shutil, signal, statistics, struct, subprocess, sys, termios, time

app, rounds = os.environ["APP"], int(os.environ["ROUNDS"])

def run(*argv):
    begin = time.perf_counter()
    subprocess.run(argv, cwd=app, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begin

def frame(argv, word, limit=20):
    """Starts argv on a pseudo-terminal and gives the seconds until word arrives."""
    begin = time.perf_counter()
    pid, fd = pty.fork()
    if pid == 0:
        os.chdir(app)
        os.environ.update(TERM="xterm-256color", COLORTERM="truecolor")
        os.execv(argv[0], argv)
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    seen, took, asked = b"", None, {b"\x1b[c": b"\x1b[?62;22c", b"\x1b]11;?": b"\x1b]11;rgb:1e1e/1e1e/2e2e\x1b\\"}
    while time.perf_counter() - begin < limit:
        if select.select([fd], [], [], 0.05)[0]:
            try:
                seen += os.read(fd, 65536)
            except OSError:
                break
            for question in [q for q in asked if q in seen]:
                os.write(fd, asked.pop(question))
            if word in seen:
                took = time.perf_counter() - begin
                break
    os.kill(pid, signal.SIGTERM)
    end = time.perf_counter() + 5
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        if time.perf_counter() > end:
            os.kill(pid, signal.SIGKILL)
        if select.select([fd], [], [], 0.02)[0]:
            try:
                os.read(fd, 65536)
            except OSError:
                pass
    os.close(fd)
    if took is None:
        sys.exit(f"bench-start: {argv[0]} showed no {word!r}; it wrote {seen[-400:]!r}")
    return took

capstan, capgo, lazygit = os.environ["BIN"], os.environ["CAPGO"], os.environ.get("CAPSTAN_LAZYGIT") or shutil.which("lazygit")
cases = {"capstan version": lambda: run(capstan, "version"), "capstan, first frame": lambda: frame([capstan], b"Board")}
if capgo:
    cases["Capgo CLI --version"] = lambda: run("node", capgo, "--version")
if lazygit:
    cases["lazygit, first frame"] = lambda: frame([lazygit], b"Status")
times = {name: [] for name in cases}
for turn in range(rounds + 1):
    for name, case in cases.items():
        took = case()
        if turn:
            times[name].append(took)
for name, list_ in times.items():
    print(f"{name:24} median {statistics.median(list_) * 1000:7.0f} ms   least {min(list_) * 1000:7.0f} ms")
if capgo:
    peer = statistics.median(times["Capgo CLI --version"])
    for name in ("capstan version", "capstan, first frame"):
        print(f"Capgo CLI --version ÷ {name}: {peer / statistics.median(times[name]):.1f}×")
if lazygit:
    ratio = statistics.median(times["lazygit, first frame"]) / statistics.median(times["capstan, first frame"])
    print(f"lazygit, first frame ÷ capstan, first frame: {ratio:.1f}×")
PYTHON
