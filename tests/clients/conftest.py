"""What the client tests share. run.sh starts everything and says where it is."""

import csv
import os
from pathlib import Path

import openai
import pytest

HELLO = [{"role": "user", "content": "Hello!"}]

# Without a gateway in between, the mock provider is asked by its own names.
DIRECT = os.environ["CLIENTS_MODE"] == "direct"

BASE_URL = os.environ["CLIENTS_BASE_URL"]
API_KEY = os.environ["CLIENTS_API_KEY"]
PROVIDER_URL = os.environ["CLIENTS_PROVIDER_URL"]
PROVIDER_KEY = os.environ["CLIENTS_PROVIDER_KEY"]

# Far more than anything here takes, so that whatever hangs fails.
TIMEOUT = 60

# A failed request is the result, not something to try again.
OPTIONS = {"timeout": TIMEOUT, "max_retries": 0}


def provider_names():
    with open(Path(__file__).parent / "models.tsv", encoding="utf-8") as lines:
        rows = csv.reader((line for line in lines if not line.startswith("#")), delimiter="\t")
        return {name: name if theirs == "-" else theirs for name, _, theirs in rows}


PROVIDER_NAMES = provider_names()


def model(name):
    """The name to ask for: that of models.tsv, or the provider's own if it is asked directly."""
    theirs = PROVIDER_NAMES[name]
    return theirs if DIRECT else name


def pytest_configure(config):
    config.addinivalue_line("markers", "gateway: what only a gateway answers")


def pytest_collection_modifyitems(config, items):
    if DIRECT:
        left_out = [item for item in items if item.get_closest_marker("gateway")]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


@pytest.fixture
def client():
    with openai.OpenAI(base_url=BASE_URL, api_key=API_KEY, **OPTIONS) as client:
        yield client


@pytest.fixture
def impatient_client():
    """Asks a gateway that waits for a provider one second only."""
    with openai.OpenAI(
        base_url=os.environ["CLIENTS_IMPATIENT_URL"],
        api_key=os.environ["CLIENTS_IMPATIENT_KEY"],
        **OPTIONS,
    ) as client:
        yield client
