"""Makes on a gateway what the client tests use, and prints the user key.

provision.py GATEWAY_URL PROVIDER_URL

Takes ADMIN_KEY and CLIENTS_PROVIDER_KEY from the environment.
"""

import csv
import http.client
import json
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

# What whoever hangs is given up after.
SECONDS = 30


def main(gateway_url, provider_url):
    connection = http.client.HTTPConnection(urlsplit(gateway_url).netloc, timeout=SECONDS)

    def make(what, **fields):
        headers = {
            "Authorization": f"Bearer {os.environ['ADMIN_KEY']}",
            "Content-Type": "application/json",
        }
        connection.request("POST", f"/admin/{what}", json.dumps(fields), headers)
        response = connection.getresponse()
        body = response.read()
        if response.status != 201:
            raise SystemExit(f"could not make one of {what}: {response.status} {body.decode()}")
        return json.loads(body)

    def provider(name, kind, base_url):
        key = os.environ["CLIENTS_PROVIDER_KEY"]
        return make("providers", name=name, kind=kind, base_url=base_url, api_key=key)["id"]

    providers = {
        "mock": provider("mock", "openai", provider_url),
        "anthropic": provider("anthropic", "anthropic", provider_url),
        # Nothing listens on port 1, the long-forgotten tcpmux.
        "nowhere": provider("nowhere", "openai", "http://127.0.0.1:1/v1"),
    }
    for name, served_by, theirs in models():
        theirs = {} if theirs == "-" else {"provider_model_name": theirs}
        make("models", name=name, provider_id=providers[served_by], **theirs)
    print(make("keys", name="client tests")["key"])


def models():
    with open(Path(__file__).parent / "models.tsv", encoding="utf-8") as lines:
        yield from csv.reader((line for line in lines if not line.startswith("#")), delimiter="\t")


main(*sys.argv[1:])
