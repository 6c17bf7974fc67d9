"""sizing.py KEYS ROUTES STREAMS: measures the gateway that scripts/sizing.sh started."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

KEYS, ROUTES, STREAMS = map(int, sys.argv[1:])
GATEWAY = urlsplit(os.environ["GATEWAY_URL"])
PREFIX = os.environ["CACHE_PREFIX"]
# Far more than anything here takes.
PATIENCE = 60


def call(method, path, key=os.environ["ADMIN_KEY"], body=None):
    connection = http.client.HTTPConnection(GATEWAY.hostname, GATEWAY.port, timeout=PATIENCE)
    connection.request(method, path, body and json.dumps(body),
                       {"Authorization": f"Bearer {key}", "Content-Type": "application/json"})
    return json.loads(connection.getresponse().read())


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def sql(statement):
    return run("psql", "--no-psqlrc", "--tuples-only", "--no-align", "--command", statement, os.environ["DATABASE_URL"])


def redis(*command):
    return run("redis-cli", "-u", os.environ["REDIS_URL"], *command)


def resident():
    """Of the gateway, in KiB."""
    status = Path(f"/proc/{os.environ['GATEWAY_PID']}/status").read_text(encoding="utf-8")
    return int(status.split("VmRSS:")[1].split()[0])


def wait_for(what, holds):
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


def row(what, figure):
    print(f"| {what} | {figure} |")


def opened(request):
    """A connection on which a request was sent and the first bytes of its answer were read."""
    connection = socket.create_connection((GATEWAY.hostname, GATEWAY.port), timeout=PATIENCE)
    connection.sendall(request)
    connection.recv(4096)
    return connection


def measure_held(requests):
    """What each of several connections costs the gateway while it is open, in KiB."""
    before = resident()
    held = [opened(request) for request in requests]
    cost = (resident() - before) / len(held)
    for connection in held:
        connection.close()
    return cost


def head(method, path, key, body=b""):
    return (f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body


def main():
    provider = call("POST", "/admin/providers", body={
        "name": "p", "kind": "openai", "api_key": "sk-0123456789", "base_url": os.environ["MOCK_URL"] + "/v1"})
    slow = "mock:chunks=10000,chunk-delay=1s"
    call("POST", "/admin/models", body={"name": "slow", "provider_id": provider["id"], "provider_model_name": slow})
    key = call("POST", "/admin/keys", body={"name": "k"})["key"]

    print("| | |\n|---|---|")
    row("memory at rest (resident)", f"{resident() / 1024:.1f} MiB")
    alive = head("GET", "/healthz", key)
    measure_held([alive] * (STREAMS // 10))  # what is allocated once
    row("for each idle connection of a client", f"{measure_held([alive] * STREAMS):.1f} KiB")
    question = json.dumps({"model": "slow", "stream": True, "messages": [{"role": "user", "content": "x" * 4096}]})
    ask = head("POST", "/v1/chat/completions", key, question.encode())
    row("for each stream whose client reads", f"{measure_held([ask] * STREAMS):.1f} KiB")

    sql(f"INSERT INTO user_keys (id, name, key_hash, key_prefix) SELECT gen_random_uuid(), 'key ' || n, "
        f"encode(sha256(n::text::bytea), 'hex'), 'sk-00000000' FROM generate_series(1, {KEYS}) n")
    sql(f"INSERT INTO models (id, name, provider_id) SELECT gen_random_uuid(), 'models/number-' || n, "
        f"'{provider['id']}' FROM generate_series(1, {ROUTES}) n")
    names = {part: "{%s}:%s" % (PREFIX, part) for part in ("keys", "callers", "routes")}
    wait_for("Redis to hold the keys", lambda: int(redis("SCARD", names["keys"])) > KEYS)
    wait_for("Redis to hold the routes", lambda: int(redis("HLEN", names["routes"])) > ROUTES)
    for part, hashes, count in (("keys", ("keys", "callers"), KEYS), ("routes", ("routes",), ROUTES)):
        sizes = [redis("MEMORY", "USAGE", names[name], "SAMPLES", "0") for name in hashes]
        size = sum(map(int, sizes))
        row(f"Redis, for each of {count:,} {part}", f"{size / count:.0f} bytes")
    for table, count in (("user_keys", KEYS), ("models", ROUTES)):
        size = int(sql(f"SELECT pg_total_relation_size('{table}')"))
        row(f"PostgreSQL with indexes, for each of {count:,} rows of `{table}`", f"{size / count:.0f} bytes")


main()
