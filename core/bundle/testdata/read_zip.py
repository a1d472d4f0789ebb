"""Reads zips as Python does and prints every file, one archive for each path on stdin."""
import hashlib
import sys
import zipfile

sys.stdin.reconfigure(encoding="utf-8")
sys.stdout.reconfigure(encoding="utf-8")
for line in sys.stdin:
    try:
        out = []
        with zipfile.ZipFile(line.rstrip("\n")) as z:
            for info in z.infolist():
                if info.is_dir():
                    continue
                name = info.filename
                if not info.flag_bits & 0x800:  # devices take every name for UTF-8
                    try:
                        name = name.encode("cp437").decode("utf-8")
                    except UnicodeEncodeError:
                        pass  # a Unicode extra field was read already
                data = z.read(info)
                out.append(f"{hashlib.sha256(data).hexdigest()} {len(data)} {name}")
        print("\n".join(out + ["ok"]), flush=True)
    except Exception as e:
        print("refused", str(e).replace("\n", " "), flush=True)
