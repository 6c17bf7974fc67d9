"""The figures as text: tables for the terminal, and docs/PERFORMANCE.md."""

import re

from bars import BOTH, DIRECT, KIB, MIB, NGINX, added, value


def tables(results):
    return "\n\n".join(f"{title}\n\n{table}" for title, table in sections(results))


def sections(results):
    """(title, table) of everything that was measured."""
    names = results["targets"]
    made = [
        (
            "Requests of 1 KiB, 64 connections",
            ["CPU µs/request", "÷ nginx", "requests/s", "CPU µs/request in PostgreSQL and Redis"],
            lambda name: [
                cost(results, "requests", name, "cpu_us", 1),
                relative(results, "requests", name, "cpu_us"),
                number(value(results, "requests", name, "per_second")),
                number(value(results, "requests", name, "helpers_us"), 1) if name == BOTH else "",
            ],
        ),
        (
            "Latency added, µs, at a fixed rate",
            [f"{rate:,}/s {figure}" for rate in (200, 1000) for figure in ("p50", "p99", "p99.9")],
            lambda name: [
                latency(results, f"rate_{rate}", name, figure)
                for rate in (200, 1000)
                for figure in ("p50", "p99", "p99.9")
            ],
        ),
        (
            "Streams of 50 chunks without a pause, 64 at once",
            ["CPU µs/chunk", "÷ nginx", "chunks/s"],
            lambda name: [
                cost(results, "stream", name, "chunk_us", 2),
                relative(results, "stream", name, "chunk_us"),
                number(value(results, "stream", name, "chunks_per_second")),
            ],
        ),
        (
            f"{results['streams']:,} slow streams at once, two chunks a second each",
            [
                "first byte added, µs p50",
                "p99",
                "lag per chunk added, µs p50",
                "p99",
                "CPU µs/chunk",
                "÷ nginx",
            ],
            lambda name: [
                *(latency(results, "slow_streams", name, f"first_byte_{share}") for share in ("p50", "p99")),
                *(latency(results, "slow_streams", name, f"lag_{share}") for share in ("p50", "p99")),
                cost(results, "slow_streams", name, "chunk_us", 1),
                relative(results, "slow_streams", name, "chunk_us"),
            ],
        ),
        (
            "Large bodies: CPU µs per request, and requests/s",
            [f"{what}{unit}" for what in ("100 KiB request", "8 MiB request", "50 MiB response") for unit in (", µs", ", per s")],
            lambda name: [
                cell
                for measure in ("body_100k", "body_8m", "response_50m")
                for cell in (
                    cost(results, measure, name, "cpu_us", 0),
                    number(value(results, measure, name, "per_second")),
                )
            ],
        ),
        (
            f"Memory of a fresh process, and after the run ({results['streams']:,} slow streams)",
            ["idle, MiB", "per slow stream, KiB", "for an 8 MiB body, times its size", "after all rounds, MiB"],
            lambda name: [
                number(results["fresh"][name]["idle_bytes"], 1, MIB),
                number(results["fresh"][name].get("stream_bytes"), 1, KIB),
                number(results["fresh"][name].get("body_share"), 2),
                number(results["fresh"][name]["later_bytes"], 1, MIB),
            ],
        ),
    ]
    filled = [(title, ["", *heads], [[name, *cells(name)] for name in names]) for title, heads, cells in made]
    return [(title, table(heads, rows)) for title, heads, rows in filled if was_measured(rows)]


def was_measured(rows):
    return any(cell not in ("", "–") for _, *cells in rows for cell in cells)


def bars(verdicts):
    return table([f"Bars, {BOTH}", "measured", "bar", ""], [list(verdict) for verdict in verdicts])


def cost(results, measure, name, figure, digits):
    """Processor time; that of the provider itself in brackets."""
    shown = number(value(results, measure, name, figure), digits)
    return f"({shown})" if name == DIRECT and shown != "–" else shown


def number(figure, digits=0, unit=1):
    return "–" if figure is None else f"{figure / unit:,.{digits}f}"


def relative(results, measure, name, figure):
    mine, nginx = (value(results, measure, one, figure) for one in (name, NGINX))
    if name == DIRECT:
        return ""
    # A quick run may take less than a tick of the clock.
    return f"{mine / nginx:.2f}" if mine is not None and nginx else "–"


def latency(results, measure, name, figure):
    """What is added; of the way straight to the provider, all."""
    if name == DIRECT:
        total = value(results, measure, name, figure)
        return "–" if total is None else f"({total:,.0f})"
    return number(added(results, measure, name, figure))


def table(heads, rows):
    """Markdown that can be read as it is."""
    widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads))]

    def line(cells):
        first, *rest = zip(cells, widths, strict=True)
        aligned = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]
        return f"| {' | '.join(aligned)} |"

    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([line(heads), line(rule), *map(line, rows)])


def micro_benchmarks(text):
    """From lines such as `test key/hash ... bench:  57 ns/iter (+/- 1)`."""
    found = re.findall(r"^test (.+?) \.\.\. bench:\s+([\d,.]+) ns/iter \(\+/- ([\d,.]+)\)", text, re.M)
    rows = [[name.replace("/", ", "), *(duration(figure) for figure in figures)] for name, *figures in found]
    return table(["", "time", "±"], rows)


def duration(nanoseconds):
    value = float(nanoseconds.replace(",", ""))
    for unit, size in (("ms", 1e6), ("µs", 1e3)):
        if value >= size:
            return f"{value / size:,.1f} {unit}"
    return f"{value:,.0f} ns"


METHOD = """\
All on loopback of one machine, in one run. Between the load and the mock provider stands: nothing (`direct`);
nginx as a plain reverse proxy (connections kept on both sides, nothing buffered, no log); a bare pass-through on
actix-web and awc (`examples/bare_proxy.rs`: hashes the key and puts another model in, checks and keeps nothing), which
is what the stack itself costs; and the gateway with its caches warm, on SQLite alone and on PostgreSQL with Redis.
Each has two workers. Rounds are interleaved, each begins with another target, and every figure is the median of
{rounds} rounds, so that what else the machine does happens to all.

Gateway and bare pass-through are built by `scripts/optimized.sh`: the compiler knows what runs how often, from a
minute of load of the kinds that are measured here. `plain build` is what `cargo build --release` makes, and what the
container image holds. nginx is Debian's.

- *CPU* is user and system time of the target's process and its children, from `/proc/PID/stat`. Of all figures it
  depends least on what else runs, though how busy the machine is decides how much a proxy gets to do per wake-up.
- *At a fixed rate* means that requests are sent whether or not answers came, and latency counts from the time at which
  a request was due (oha with `--latency-correction`). What is *added* is the difference to `direct` in the same round;
  the figures of `direct` itself, and what the provider costs, are in brackets.
- *Lag* is the time from the provider's writing an event to the client's reading it (`examples/slow_streams.rs`).
- *Memory* is resident memory: per stream, what there is beyond the idle process; for a body, the peak with eight of
  them on their way.
"""


def markdown(results, verdicts, extras):
    machine = results["machine"]
    parts = [
        "# Performance",
        "Written by `scripts/bench.sh`, which builds and measures all of this again in half an hour. Don't edit it by hand.",
        "![CPU per request, latency, and streams](performance.svg)",
        "## Machine",
        f"{machine['processor']}, {machine['memory']}, Linux {machine['kernel']}, on {machine['date']}, "
        f"load before the run {machine['load']}.",
    ]
    if "versions" in extras:
        parts.append(f"```text\n{extras['versions'].strip()}\n```")
    parts += ["## Method", METHOD.format(rounds=results["rounds"]).strip()]
    parts += ["## Bars", bars(verdicts)]
    parts += ["## Figures", *(f"### {title}\n\n{shown}" for title, shown in sections(results))]
    if growth := results.get("growth"):
        parts.append(
            f"### Many keys\n\nCPU per request on {BOTH}, all known already: {growth['few']:.1f} µs with 10 keys and "
            f"one model, {growth['many']:.1f} µs with {growth['keys']:,} keys and {growth['routes']:,} models. The "
            "many are asked for in turn: as little as possible of what is known of each is still in a core's own cache. "
            f"nginx, which looks at no key, pays {growth['control_few']:.1f} and {growth['control_many']:.1f} µs for as few "
            "and as many different requests."
        )
    if "instructions" in extras:
        parts.append(
            "## Instructions\n\nOf one request of 1 KiB in user space, counted by `scripts/instructions.sh` under "
            f"callgrind, of the optimised build.\n\n```text\n{extras['instructions'].strip()}\n```"
        )
    if "micro" in extras:
        parts.append(
            "## Micro-benchmarks\n\nWhat is ours on the path of a request, without the network, by criterion: `cargo bench`, a plain build.\n\n"
            + micro_benchmarks(extras["micro"])
        )
    return "\n\n".join(parts) + "\n"
