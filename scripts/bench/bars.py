"""What the project asks of itself, and what came out."""

from math import isnan, nan
from statistics import median

NGINX, BARE, DIRECT = "nginx", "bare", "direct"
ALONE, BOTH = "gateway, SQLite", "gateway, PostgreSQL + Redis"
# The last, by `cargo build --release` alone.
PLAIN = "the same, plain build"
KIB, MIB = 1024, 1024 * 1024


def value(results, measure, target, figure):
    """The median of the rounds; `None` where that wasn't measured."""
    rounds = results["measures"].get(measure, {}).get(target, [])
    return median(one[figure] for one in rounds) if rounds else None


def added(results, measure, target, figure):
    """The median of what it adds to going straight to the provider in the same round."""
    rounds = results["measures"].get(measure)
    if not rounds:
        return None
    pairs = zip(rounds[target], rounds[DIRECT], strict=True)
    return median(one[figure] - direct[figure] for one, direct in pairs)


def judge(results):
    """(what, measured, bar, verdict) of each bar whose figures are there."""
    verdicts = []

    def bar(what, measured, limit, show="{:.2f}", most=True):
        if measured is not None:
            met = measured <= limit if most else measured >= limit
            sign = "≤" if most else "≥"
            verdict = "too noisy to tell" if isnan(measured) else "met" if met else "MISSED"
            verdicts.append((what, show.format(measured), f"{sign} {show.format(limit)}", verdict))

    def ratio(of, measure, figure, to, how=value):
        mine, theirs = how(results, measure, of, figure), how(results, measure, to, figure)
        if mine is None:
            return None
        # A quick run may take less than a tick of the clock, and noise may be more than what is added.
        return mine / theirs if theirs > 0 else nan

    bar("CPU per request ÷ bare pass-through", ratio(BOTH, "requests", "cpu_us", BARE), 1.15)
    bar("CPU per request ÷ nginx", ratio(BOTH, "requests", "cpu_us", NGINX), 1.6)
    bar("the same, aim", ratio(BOTH, "requests", "cpu_us", NGINX), 1.3)
    bar("requests/s at 64 connections ÷ nginx", ratio(BOTH, "requests", "per_second", NGINX), 0.85, most=False)
    bar("latency added at 1,000/s, p50 ÷ nginx", ratio(BOTH, "rate_1000", "p50", NGINX, added), 1.5)
    bar("latency added at 1,000/s, p99 ÷ nginx", ratio(BOTH, "rate_1000", "p99", NGINX, added), 2)
    bar("CPU per chunk ÷ nginx, as fast as they come", ratio(BOTH, "stream", "chunk_us", NGINX), 1.5)
    bar("CPU per chunk ÷ nginx, slow streams", ratio(BOTH, "slow_streams", "chunk_us", NGINX), 1.5)
    for figure in ("lag_p50", "lag_p99"):
        mine, theirs = (value(results, "slow_streams", name, figure) for name in (BOTH, NGINX))
        more = mine - theirs if mine is not None else None
        bar(f"lag per chunk beyond nginx's, {figure[4:]}, µs", more, 100, "{:.0f}")
    fresh = results["fresh"]
    for name in (ALONE, BOTH):
        bar(f"idle memory, {name}, MiB", fresh[name]["idle_bytes"] / MIB, 25, "{:.1f}")
    stream = fresh[BOTH]["stream_bytes"] / KIB
    bar(f"memory per slow stream at {results['streams']:,}, KiB", stream, 20, "{:.1f}")
    bar("memory for an 8 MiB body ÷ its size", fresh[BOTH].get("body_share"), 1.2)
    if growth := results.get("growth"):
        what = f"CPU per request, {growth['keys']:,} keys and {growth['routes']:,} models ÷ 10 and 1"
        bar(what, growth["many"] / growth["few"], 1.1)
    rounds = results["measures"].get("requests", {}).get(BOTH, [])
    if len(rounds) > 1:
        bar("CPU per request, last round ÷ first", rounds[-1]["cpu_us"] / rounds[0]["cpu_us"], 1.1)
    return verdicts
