"""Every link from one document to another, and to a heading, leads somewhere."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def without_code(text):
    return re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)


def anchor(heading):
    """As GitHub makes it."""
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")


def anchors(document):
    headings = re.findall(r"^#+ (.*)$", without_code(document.read_text(encoding="utf-8")), re.M)
    return {anchor(heading) for heading in headings}


def problems(document):
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code(document.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, heading = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        if not target.exists():
            yield f"{link}: no such file"
        elif heading and target.suffix == ".md" and heading not in anchors(target):
            yield f"{link}: no such heading"


found = [f"{document.relative_to(ROOT)}: {problem}" for document in DOCUMENTS for problem in problems(document)]
sys.exit("\n".join(found) or 0)
