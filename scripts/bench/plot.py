"""The picture of docs/PERFORMANCE.md."""

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402  the kind of output is chosen first

from matplotlib.ticker import MaxNLocator  # noqa: E402

from bars import DIRECT, KIB, added, value  # noqa: E402

# Distinct also in grey and to most colour-blind eyes: Okabe and Ito's palette.
COLOURS = ["#56B4E9", "#009E73", "#E69F00", "#D55E00", "#0072B2", "#CC79A7", "#F0E442", "#999999"]


def draw(results, path):
    # The same figures make the same file.
    plt.rcParams.update({"svg.hashsalt": "llm-gateway", "font.size": 10, "axes.titlesize": 10.5})
    plt.rcParams.update({"axes.titleweight": "bold", "axes.spines.top": False, "axes.spines.right": False})
    names = [name for name in results["targets"] if name != DIRECT]
    shown = panels(results)
    rows = (len(shown) + 1) // 2
    figure, axes = plt.subplots(rows, 2, figsize=(11, rows * (1.1 + 0.35 * len(names))), layout="constrained")
    for axis, (title, digits, figures) in zip(axes.flat, shown):
        panel(axis, title, digits, {name: figures(name) for name in names})
    for axis in axes[:, 1]:
        # The names are on the left, in the same order.
        axis.set_yticklabels([])
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def panels(results):
    """(title, digits, figure of a target) of each panel."""
    streams = f"{results['streams']:,} slow streams"

    def kibibytes(name):
        return results["fresh"][name].get("stream_bytes", 0) / KIB

    return [
        ("CPU per request, µs", 1, lambda name: value(results, "requests", name, "cpu_us")),
        ("Requests per second, 64 connections", 0, lambda name: value(results, "requests", name, "per_second")),
        ("Latency added at 1,000/s, p50, µs", 0, lambda name: added(results, "rate_1000", name, "p50")),
        ("Latency added at 1,000/s, p99, µs", 0, lambda name: added(results, "rate_1000", name, "p99")),
        ("CPU per chunk without pauses, µs", 2, lambda name: value(results, "stream", name, "chunk_us")),
        (f"CPU per chunk, {streams}, µs", 1, lambda name: value(results, "slow_streams", name, "chunk_us")),
        (f"Lag added per chunk, {streams}, p50, µs", 0, lambda name: added(results, "slow_streams", name, "lag_p50")),
        (f"Memory of each of {streams}, KiB", 1, kibibytes),
    ]


def panel(axis, title, digits, figures):
    axis.set_title(title, loc="left")
    if None in figures.values():
        axis.set_axis_off()
        axis.text(0, 0.5, "not measured", transform=axis.transAxes)
        return
    colours = [COLOURS[index % len(COLOURS)] for index in range(len(figures))]
    drawn = axis.barh(list(figures), list(figures.values()), color=colours)
    axis.bar_label(drawn, fmt=lambda number: f"{number:,.{digits}f}", padding=4)
    axis.invert_yaxis()
    axis.margins(x=0.2)
    axis.xaxis.set_major_locator(MaxNLocator(5))
    axis.xaxis.set_major_formatter("{x:,.0f}")
