"""Measures the gateway beside what it could be compared with: see scripts/bench.sh."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import bars
import plot
import report
from bars import ALONE, BOTH, PLAIN
from loads import Loads
from measures import FULL, QUICK, TRAINING, Measures
from processes import end_on_terminate
from targets import Stage, Target


def main():
    end_on_terminate()
    options = parse_options()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="llm-gateway-bench-") as folder:
        results = measure(options, Path(folder))
    results["seconds"] = time.monotonic() - began
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "results.json").write_text(json.dumps(results, indent=1))
    # What was measured outside, by scripts/bench.sh.
    extras = {path.stem: path.read_text() for path in options.output.glob("*.txt")}
    verdicts = bars.judge(results)
    plot.draw(results, options.output / "performance.svg")
    (options.output / "PERFORMANCE.md").write_text(report.markdown(results, verdicts, extras))
    print(report.tables(results))
    print(f"\n{report.bars(verdicts)}")
    if options.size is not FULL:
        print("\nThis was a short run: it shows that everything works, and its figures mean little.")


def parse_options():
    parser = argparse.ArgumentParser()
    parser.add_argument("--programs", type=lambda path: Path(path).resolve(), required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--database-url", required=True)
    parser.add_argument("--redis-url", required=True)
    parser.add_argument("--helper", type=int, action="append", default=[])
    parser.add_argument("--nginx-port", type=int, required=True)
    parser.add_argument("--tls-port", type=int)
    parser.add_argument("--oha", type=Path)
    parser.add_argument("--quick", dest="size", action="store_const", const=QUICK, default=FULL)
    parser.add_argument("--training", dest="size", action="store_const", const=TRAINING)
    parser.add_argument("--plain", type=lambda path: Path(path).resolve())
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--target", type=parse_target, action="append", default=[])
    parser.add_argument("--provider-port", type=int, default=0)
    return parser.parse_args()


def parse_target(text):
    """NAME=HOST:PORT,PID[,HEADER: VALUE…]"""
    try:
        name, _, rest = text.partition("=")
        address, pid, *headers = rest.split(",")
        headers = dict(header.split(": ", 1) for header in headers)
        return Target(name, address, int(pid), headers)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(
            f"'{text}' is not NAME=HOST:PORT,PID[,HEADER: VALUE…]"
        ) from problem


def measure(options, folder):
    size = options.size
    size.rounds = options.rounds or size.rounds
    stage = Stage(options.programs, folder, options.provider_port)
    try:
        nginx = stage.nginx(options.nginx_port)
        stage.bare()
        stage.gateway(ALONE, None, "none")
        # Both tiers hold all keys that are asked for: 100,000 is just where the default ends.
        settings = {"MEMORY_CACHE_ENTRIES": "200000"}
        both = stage.gateway(BOTH, options.database_url, options.redis_url, options.helper, settings)
        if options.plain:
            stage.programs = options.plain
            database_url = sibling_database(options.database_url, "plain")
            settings |= {"CACHE_PREFIX": "plain"}
            stage.gateway(PLAIN, database_url, options.redis_url, options.helper, settings)
        if options.tls_port:
            provider, certificate = stage.tls_provider(options.tls_port)
            settings = {"SSL_CERT_FILE": str(certificate), "LOG_FORMAT": "json"}
            stage.gateway("gateway, TLS and JSON", None, "none", settings=settings, provider=provider)
        for target in options.target:
            stage.add(target)
        loads = Loads(folder, options.oha, options.programs / "examples/slow_streams")
        measures = Measures(loads, size, folder)
        results = {"machine": machine(), "rounds": size.rounds}
        results["streams"] = size.streams
        results["targets"] = [target.name for target in stage.targets]
        results["fresh"] = {target.name: measures.on_fresh_process(target) for target in stage.targets}
        for target in stage.targets:
            measures.warm_up(target)
        results["measures"] = run_rounds(stage, measures, options.only)
        for target in stage.targets:
            results["fresh"][target.name]["later_bytes"] = target.memory()
        if not options.only or "growth" in options.only:
            add_many(options, both, size)
            progress("growth")
            results["growth"] = {"keys": size.keys, "routes": size.routes}
            results["growth"] |= measures.growth(both, nginx, folder, bulk_key)
        return results
    finally:
        stage.end()


def sibling_database(url, name):
    """The same server, another database, which the gateway makes."""
    address = urlsplit(url)
    return address._replace(path=f"/{name}").geturl()


def run_rounds(stage, measures, only):
    """Interleaved: whatever the machine does meanwhile, it does to all. Each round begins with another."""
    steps = {name: step for name, step in measures.rounds().items() if not only or name in only}
    outcome = {name: {target.name: [] for target in stage.targets} for name in steps}
    for number in range(measures.size.rounds):
        first = number % len(stage.targets)
        for name, step in steps.items():
            progress(f"round {number + 1} of {measures.size.rounds}: {name}")
            for target in stage.targets[first:] + stage.targets[:first]:
                outcome[name][target.name].append(step(target))
    progress("")
    return outcome


def progress(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def bulk_key(number):
    """The key with this number, as the statement below makes it too."""
    return f"sk-{number:08x}-0000-4000-8000-000000000000"


INSERT_KEYS = """INSERT INTO user_keys (id, name, key_hash, key_prefix)
SELECT gen_random_uuid(), 'bulk', encode(sha256(key::BYTEA), 'hex'), left(key, 7)
FROM (SELECT 'sk-' || lpad(to_hex(n), 8, '0') || '-0000-4000-8000-000000000000' AS key
      FROM generate_series(1, {keys}) AS n) AS bulk"""

INSERT_ROUTES = """INSERT INTO models (id, name, provider_id, provider_model_name)
SELECT gen_random_uuid(), 'bulk-' || n, (SELECT id FROM providers LIMIT 1), 'mock'
FROM generate_series(1, {routes}) AS n"""


def add_many(options, target, size):
    """By SQL, as an import would; the database's triggers tell the gateway."""
    statements = [INSERT_KEYS.format(keys=size.keys), INSERT_ROUTES.format(routes=size.routes)]
    for statement in statements:
        # The address holds a password, which the list of processes must not show.
        env = {**os.environ, "PGDATABASE_URL": options.database_url}
        command = ["sh", "-c", 'exec psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 "$PGDATABASE_URL"']
        subprocess.run(command, input=statement, text=True, env=env, check=True, timeout=60)


def machine():
    info = Path("/proc/cpuinfo").read_text()
    model = next((line.split(":")[1].strip() for line in info.splitlines() if line.startswith("model name")), "?")
    return {
        "processor": f"{os.cpu_count()} × {model}",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "kernel": os.uname().release,
        "load": " ".join(f"{value:.2f}" for value in os.getloadavg()),
        "date": time.strftime("%Y-%m-%d"),
    }


main()
