"""Looks for keys in all files of a folder, in every form in which they may have got there.

search.py FOLDER     its file `keys` has a line for each: what it is, a tab, the key; its file `plain` has the names
                     of storages without an encryption key, where providers' keys may stand

Fails if one is found, or if nothing would have been found: a canary has to be in a dump of PostgreSQL, in one of
Redis, in a file of SQLite's, in a log and in answers, and the hash of a user key where it is stored.
"""

import base64
import hashlib
import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import quote

# Where the canary must be found, by the names of files.
PLACES = {
    "PostgreSQL's dump": r"\.sql$",
    "Redis's dump": r"redis\.dump$",
    "SQLite's files": r"\.db(-wal)?$",
    "a gateway's log": r"gateway\.log$",
    "an access log": r"access\.log$",
    "answers of the admin API": r"answers\.log$",
}
# Where hashes of user keys belong; `.stored` is what the Rust suites kept.
STORES = r"\.sql$|redis\.dump$|\.db(-wal|-shm)?$|\.stored$"


def forms(key):
    """The key as it is, and as programs write it."""
    raw = key.encode()
    found = {
        "JSON": json.dumps(key)[1:-1],
        "percent-encoded": quote(key, safe=""),
        "percent-encoded throughout": "".join(f"%{byte:02X}" for byte in raw),
        "hex": raw.hex(),
        "HEX": raw.hex().upper(),
    }
    # Within a longer text, three bytes at a time become four letters; where the key begins decides which.
    for shift in range(3):
        for name, encode in (("base64", base64.b64encode), ("base64url", base64.urlsafe_b64encode)):
            encoded = encode(bytes(shift) + raw + bytes(-(shift + len(raw)) % 3)).decode()
            # What depends on the neighbours is cut off.
            first = (shift * 8 + 5) // 6
            last = (shift + len(raw)) * 8 // 6
            found[f"{name}, {shift} bytes in"] = encoded[first:last]
    return found | {"plain": key}


def grep(patterns, folder):
    """File and match of everything that is found; Python's `re` would take hours."""
    with tempfile.NamedTemporaryFile("w", dir=folder.parent, prefix="patterns.") as file:
        file.write("".join(f"{pattern}\n" for pattern in patterns))
        file.flush()
        command = ["grep", "--recursive", "--text", "--only-matching", "--with-filename", "--null"]
        command += ["--fixed-strings", "--file", file.name, "--exclude=keys", str(folder)]
        done = subprocess.run(command, env=os.environ | {"LC_ALL": "C"}, capture_output=True, check=False)
    if done.returncode > 1:
        raise SystemExit(done.stderr.decode())
    for line in done.stdout.splitlines():
        file, match = line.split(b"\0", 1)
        yield file.decode(), match.decode()


def finds_every_form():
    """Whether this very search finds a key however it was written."""
    with tempfile.TemporaryDirectory() as folder:
        key = f"+/?-{secrets.token_hex(12)}"
        folder = Path(folder) / "haystack"
        folder.mkdir()
        text = {**forms(key), "header": base64.b64encode(f"Bearer {key}\n".encode()).decode()}
        for name, form in text.items():
            (folder / name.replace("/", " ")).write_bytes(b"\xff\0" + form.encode() + b"\n")
        found = {Path(file).name for file, _ in grep(set(forms(key).values()), folder)}
        assert found == set(text), set(text) - found


def read_keys(file):
    """What each key is; the canaries apart."""
    lines = dict.fromkeys(file.read_text(encoding="utf-8").splitlines())
    pairs = [line.split("\t", 1) for line in lines]
    keys = {key: what for what, key in pairs if what != "canary"}
    short = [key for key in keys if len(key) < 8]
    assert not short, f"too short to be told from other text: {short}"
    return keys, [key for what, key in pairs if what == "canary"]


def main(folder):
    finds_every_form()
    keys, canaries = read_keys(folder / "keys")
    # Where two forms are alike, the plainer name stays: it comes last.
    look_for = {form: (what, name) for key, what in keys.items() for name, form in forms(key).items()}
    hashes = {
        hashlib.sha256(key.encode()).hexdigest(): (f"hash of a {what}", "hex")
        for key, what in keys.items()
        if "user key" in what
    }
    marks = {canary: ("canary", "plain") for canary in canaries}
    plain = folder / "plain"
    plain = set(plain.read_text(encoding="utf-8").split()) if plain.exists() else set()
    leaks, seen, stored = {}, {place: 0 for place in PLACES}, 0
    everything = look_for | hashes | marks
    for file, match in grep(everything, folder):
        if match in marks:
            for place, files in PLACES.items():
                seen[place] += bool(re.search(files, file))
        elif match in hashes and re.search(STORES, file):
            stored += 1
        else:
            what, form = everything[match]
            if what == "provider key" and Path(file).stem in plain:
                continue
            leaks.setdefault((what, form, str(Path(file).relative_to(folder))), match)
    for (what, form, file), match in sorted(leaks.items()):
        print(f"FOUND: {what} ({form}) in {file}: {match[:4]}…", file=sys.stderr)
    for place, times in seen.items():
        if times == 0:
            print(f"the canary is not in {place}, so a key would not be found there", file=sys.stderr)
    if stored == 0:
        print("no hash of a user key is stored, so this is no dump", file=sys.stderr)
    if leaks or not all(seen.values()) or not stored:
        raise SystemExit(1)
    files = [file for file in folder.rglob("*") if file.is_file() and file.name not in ("keys", "plain")]
    size = sum(file.stat().st_size for file in files) >> 20
    print(f"{len(keys)} keys, {len(look_for)} forms: none in {len(files)} files, {size} MiB")
    print("found, as it should be:", ", ".join(f"canary in {place} {n}×" for place, n in seen.items()))


main(Path(sys.argv[1]).resolve())
