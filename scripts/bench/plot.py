"""The picture of docs/PERFORMANCE.md."""

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402  the kind of output is chosen first

from matplotlib.ticker import MaxNLocator  # noqa: E402

from bars import DIRECT, KIB, added, value  # noqa: E402

# Distinct also in grey and to most colour-blind eyes: Okabe and Ito's palette.
COLOURS = ["#999999", "#56B4E9", "#009E73", "#E69F00", "#D55E00", "#0072B2", "#CC79A7", "#F0E442"]


def draw(results, path):
    # The same figures make the same file.
    plt.rcParams.update({"svg.hashsalt": "llm-gateway", "font.size": 10, "axes.spines.top": False})
    plt.rcParams.update({"axes.spines.right": False, "axes.titlesize": 11, "axes.titleweight": "bold"})
    figure, axes = plt.subplots(3, 2, figsize=(11, 11), layout="constrained")
    names = results["targets"]
    proxies = [name for name in names if name != DIRECT]
    colours = {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(names)}

    def bars(axis, title, figures, shown, digits=1):
        axis.set_title(title, loc="left")
        rows = [name for name in shown if figures(name) is not None]
        drawn = axis.barh(rows, [figures(name) for name in rows], color=[colours[name] for name in rows])
        axis.bar_label(drawn, fmt=lambda number: f"{number:,.{digits}f}", padding=4)
        axis.invert_yaxis()
        axis.margins(x=0.18)
        axis.xaxis.set_major_locator(MaxNLocator(5))
        axis.xaxis.set_major_formatter("{x:,.0f}")

    bars(
        axes[0, 0],
        "CPU per request, µs (1 KiB, 64 connections)",
        lambda name: value(results, "requests", name, "cpu_us"),
        proxies,
    )
    bars(
        axes[0, 1],
        "Requests per second, 64 connections",
        lambda name: value(results, "requests", name, "per_second"),
        names,
        digits=0,
    )
    latency(axes[1, 0], results, proxies, colours)
    bars(
        axes[1, 1],
        f"CPU per chunk, µs ({results['streams']:,} slow streams)",
        lambda name: value(results, "slow_streams", name, "chunk_us"),
        proxies,
    )
    bars(
        axes[2, 0],
        "Lag added per chunk, µs, p50 (slow streams)",
        lambda name: added(results, "slow_streams", name, "lag_p50"),
        proxies,
        digits=0,
    )
    bars(
        axes[2, 1],
        "Memory per slow stream, KiB",
        lambda name: kibibytes(results["fresh"][name].get("stream_bytes")),
        proxies,
    )
    for axis in axes[:, 1]:
        # The same order as on the left, where the names are.
        if len(axis.get_yticklabels()) == len(proxies):
            axis.set_yticklabels([])
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def kibibytes(size):
    return None if size is None else size / KIB


def latency(axis, results, names, colours):
    """Groups of bars: one group per percentile."""
    shares = ("p50", "p99", "p99.9")
    axis.set_title("Latency added at 1,000 requests/s, µs", loc="left")
    if "rate_1000" not in results["measures"]:
        axis.set_axis_off()
        axis.text(0.5, 0.5, "not measured", ha="center", transform=axis.transAxes)
        return
    width = 0.8 / len(names)
    for index, name in enumerate(names):
        heights = [max(added(results, "rate_1000", name, share), 1) for share in shares]
        places = [group + index * width for group in range(len(shares))]
        drawn = axis.bar(places, heights, width, color=colours[name], label=name)
        axis.bar_label(drawn, fmt="{:,.0f}", padding=2, fontsize=7)
    axis.set_xticks([group + 0.4 - width / 2 for group in range(len(shares))], shares)
    axis.set_yscale("log")
    axis.margins(y=0.15)
    axis.legend(fontsize=8, frameon=False, loc="upper left")
