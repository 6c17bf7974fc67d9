"""What the client tests share. run.sh starts everything and says where it is."""

import csv
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

HELLO = [{"role": "user", "content": "Hello!"}]

# Without a gateway in between, the mock provider is asked by its own names.
DIRECT = os.environ["CLIENTS_MODE"] == "direct"

BASE_URL = os.environ["CLIENTS_BASE_URL"]
API_KEY = os.environ["CLIENTS_API_KEY"]
PROVIDER_URL = os.environ["CLIENTS_PROVIDER_URL"]
PROVIDER_KEY = os.environ["CLIENTS_PROVIDER_KEY"]

WRONG_KEYS = os.environ["CLIENTS_WRONG_KEYS"].split()

# What the mock provider says when nothing else was asked for.
CHUNKS, CHUNK_TEXT, PROMPT_TOKENS = 20, "All work and no ", 12
# Whole answers have as much text, but go on in the phrase.
TEXT_LENGTH = CHUNKS * len(CHUNK_TEXT)

# Far more than anything here takes, so that whatever hangs fails.
TIMEOUT = 60

# The same for a program of several: each reads many modules first, and all suites run at once.
SCRIPT_TIMEOUT = 3 * TIMEOUT

# A failed request is the result, not something to try again.
OPTIONS = {"timeout": TIMEOUT, "max_retries": 0}


def provider_names():
    with open(Path(__file__).parents[1] / "models.tsv", encoding="utf-8") as lines:
        rows = csv.reader((line for line in lines if not line.startswith("#")), delimiter="\t")
        return {name: name if theirs == "-" else theirs for name, _, theirs in rows}


PROVIDER_NAMES = provider_names()


def model(name):
    """The name to ask for: that of models.tsv, or the provider's own if it is asked directly."""
    theirs = PROVIDER_NAMES[name]
    return theirs if DIRECT else name


def document(block):
    """The names that a block of docs/CLIENTS.md leaves behind."""
    return runpy.run_path(document_file(block))


def document_file(block):
    """A block of docs/CLIENTS.md as a file."""
    file = Path(os.environ["CLIENTS_DOCUMENT"]) / block
    assert file.exists(), f"docs/CLIENTS.md has no {block}"
    return str(file)


def after_document(block, program):
    """What a program prints that is run where a block of shell commands was run before."""
    script = f'source "{document_file(block)}"\nexec "$0" -c "$1"'
    return bash(script, sys.executable, program)


def bash(script, *arguments):
    """What a script prints. Whatever fails in it fails."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=SCRIPT_TIMEOUT,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def pytest_configure(config):
    config.addinivalue_line("markers", "gateway: what only a gateway answers")


def pytest_collection_modifyitems(config, items):
    if DIRECT:
        left_out = [item for item in items if item.get_closest_marker("gateway")]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


@pytest.fixture(scope="session")
def client():
    """OpenAI's SDK, as docs/CLIENTS.md sets it up."""
    with document("openai-python.py")["client"] as client:
        yield client.with_options(**OPTIONS)


@pytest.fixture(scope="session")
def impatient_client(client):
    """Asks a gateway that waits for a provider one second only."""
    return client.with_options(
        base_url=os.environ["CLIENTS_IMPATIENT_URL"], api_key=os.environ["CLIENTS_IMPATIENT_KEY"]
    )
