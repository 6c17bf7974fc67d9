"""The blocks of docs/CLIENTS.md as files that can be run, and whether all of them were.

document.py extract FOLDER ADDRESS KEY   writes a file for each block: SECTION.LANGUAGE
document.py check FOLDER                 fails unless every one was run to its end, and every test has a section

A section starts with `<!-- client: SECTION -->` and has one block of a language at most. ADDRESS and KEY take the
places of those that the document shows. Each file's last statement notes in FOLDER/run that it was reached.
"""

import re
import sys
from pathlib import Path

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "CLIENTS.md"
ADDRESS, KEY = "http://127.0.0.1:8080", "sk-your-key"

SUFFIXES = {"bash": "sh", "python": "py", "js": "mjs"}
NOTES = {
    "sh": 'echo "{name}" >>"{record}"\n',
    "py": 'with open("{record}", "a") as record:\n    record.write("{name}\\n")\n',
    "mjs": 'import {{ appendFileSync }} from "node:fs";\nappendFileSync("{record}", "{name}\\n");\n',
}


def blocks(text):
    """Name and content of every block; what can't be run is a mistake."""
    section = None
    for match in re.finditer(
        r"^(?:<!-- client: (\S+) -->|## [^\n]*|```(\S*)\n(.*?)^```)$", text, re.MULTILINE | re.DOTALL
    ):
        client, language, content = match.groups()
        if client:
            section = client
        elif content is None:
            section = None
        elif section is None:
            raise SystemExit(f"{DOCUMENT.name}: a block stands outside a client's section:\n{content}")
        elif language not in SUFFIXES:
            raise SystemExit(f"{DOCUMENT.name}: nobody runs a block of '{language}', in {section}")
        else:
            yield f"{section}.{SUFFIXES[language]}", content


def exports(content):
    names = re.findall(r"^const (\w+) =", content, re.MULTILINE)
    return f"export {{ {', '.join(names)} }};\n"


def extract(folder, address, key):
    folder.mkdir(parents=True)
    found = list(blocks(DOCUMENT.read_text(encoding="utf-8")))
    if not found:
        raise SystemExit(f"{DOCUMENT.name}: no client has a block")
    for name, content in found:
        file = folder / name
        if file.exists():
            raise SystemExit(f"{DOCUMENT.name}: {name} stands there twice")
        content = content.replace(ADDRESS, address).replace(KEY, key)
        if file.suffix == ".mjs":
            content += exports(content)
        note = NOTES[file.suffix[1:]].format(name=name, record=folder / "run")
        file.write_text(content + note, encoding="utf-8")


def check(folder):
    record = folder / "run"
    run = set(record.read_text(encoding="utf-8").split()) if record.exists() else set()
    never = {file.name for file in folder.iterdir() if file.suffix} - run
    if strays := tests_of_nobody():
        raise SystemExit(f"{DOCUMENT.name}: has no client for {', '.join(strays)}")
    if never:
        raise SystemExit(f"{DOCUMENT.name}: no test ran {', '.join(sorted(never))}")
    print(f"all {len(run)} blocks of {DOCUMENT.name} were run")


def tests_of_nobody():
    """Files of tests that run.sh would never run."""
    clients = re.findall(r"^<!-- client: (\S+) -->$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    folder = Path(__file__).parent
    files = [*folder.glob("python/test_*.py"), *folder.glob("node/*.test.mjs")]
    belongs = re.compile(f"(test_)?({'|'.join(clients).replace('-', '[-_]')})[_.].*")
    return [file.name for file in files if not belongs.fullmatch(file.name)]


match sys.argv[1:]:
    case ["extract", folder, address, key]:
        extract(Path(folder), address, key)
    case ["check", folder]:
        check(Path(folder))
    case _:
        raise SystemExit(__doc__)
