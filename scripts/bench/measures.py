"""The measurements: what each does to a target, and the figures that it returns."""

from dataclasses import dataclass
from statistics import median

from bars import DIRECT
from loads import Body
from processes import forget_peak, memory

KIB, MIB = 1024, 1024 * 1024


@dataclass
class Size:
    """How much is measured."""

    rounds: int
    seconds: float
    rate_seconds: float
    streams: int
    stream_chunks: int
    keys: int
    routes: int


FULL = Size(rounds=5, seconds=2, rate_seconds=3, streams=1000, stream_chunks=8, keys=100_000, routes=10_000)
# Shows that everything works; the figures mean little.
QUICK = Size(rounds=1, seconds=1, rate_seconds=1, streams=50, stream_chunks=3, keys=1000, routes=100)
# Most of the time at full load, as that is what a program is optimised for.
TRAINING = Size(rounds=1, seconds=6, rate_seconds=0, streams=300, stream_chunks=4, keys=2000, routes=100)

# Of a slow stream: a thousand of them make two thousand events a second.
PAUSE_MS = 500
# Within this time all slow streams begin, so that their events don't come in step.
RAMP = 1
# Events of a stream beyond its pieces of text: the role, the reason of its end, `[DONE]`.
FRAME_EVENTS = 3
FAST_CHUNKS = 50
RATES = (200, 1000)
UPLOADS = 8


class Measures:
    """Each method measures one thing once, on one target."""

    def __init__(self, loads, size, folder):
        self.loads, self.size = loads, size
        self.small = Body.write(folder, KIB)
        self.medium = Body.write(folder, 100 * KIB)
        self.large = Body.write(folder, 8 * MIB)
        self.streamed = Body.write(folder, KIB, streamed=True)

    def rounds(self):
        """All that is repeated, in this order in each round."""
        steps = {
            "requests": lambda target: self.closed(target, self.small, 64),
            "stream": lambda target: self.fast_streams(target),
            "body_100k": lambda target: self.closed(target, self.medium, 16, share=0.5),
            "body_8m": lambda target: self.closed(target, self.large, 4, share=0.5),
            "response_50m": lambda target: self.closed(
                target, self.small, 4, share=0.5, headers={"x-mock-response-bytes": "50MiB"}
            ),
            "slow_streams": lambda target: self.slow_streams(target),
        }
        if self.loads.oha:
            for rate in RATES:
                steps[f"rate_{rate}"] = lambda target, rate=rate: self.at_rate(target, rate)
        return steps

    def closed(self, target, body, connections, share=1.0, headers=None, keys=None):
        """As many requests as it can: how many, and what each costs."""
        # wrk counts whole seconds.
        seconds = max(1, round(self.size.seconds * share))
        cpu, helpers = target.cpu(), target.helpers_cpu()
        outcome = self.loads.wrk(target, body, seconds, connections, headers, keys)
        requests = outcome["requests"]
        return {
            "per_second": requests / outcome["microseconds"] * 1e6,
            "cpu_us": (target.cpu() - cpu) / requests * 1e6,
            "helpers_us": (target.helpers_cpu() - helpers) / requests * 1e6,
        }

    def fast_streams(self, target):
        figures = self.closed(target, self.streamed, 64, headers={"x-mock-chunks": FAST_CHUNKS})
        chunks = FAST_CHUNKS + FRAME_EVENTS
        return {"chunk_us": figures["cpu_us"] / chunks, "chunks_per_second": figures["per_second"] * chunks}

    def at_rate(self, target, rate):
        percentiles = self.loads.at_rate(target, self.small, self.size.rate_seconds, rate)
        return {name: percentiles[name] * 1e6 for name in ("p50", "p99", "p99.9")}

    def slow_streams(self, target):
        """The processor time is that of the events alone: it counts from when all streams are open."""
        chunks = self.size.stream_chunks

        outcome, cpu = self.loads.streams(
            target, self.streamed, self.size.streams, RAMP, chunks, PAUSE_MS, target.cpu
        )
        return {
            "first_byte_p50": outcome["first_byte"]["p50"],
            "first_byte_p99": outcome["first_byte"]["p99"],
            "lag_p50": outcome["lag"]["p50"],
            "lag_p99": outcome["lag"]["p99"],
            "chunk_us": (target.cpu() - cpu) / outcome["events"] * 1e6,
        }

    def on_fresh_process(self, target):
        """Before anything else was asked of it, because memory doesn't all come back."""
        idle = target.memory()
        figures = {"idle_bytes": idle}
        if target.process and target.name != DIRECT:
            _, open_bytes = self.loads.streams(
                target, self.streamed, self.size.streams, RAMP, 2, PAUSE_MS, target.memory
            )
            figures["stream_bytes"] = (open_bytes - idle) / self.size.streams
            before = target.memory()
            forget_peak(target.pid)
            # All are there as a whole while the provider takes its time; the rest is for sending them.
            self.loads.wrk(target, self.large, 4, UPLOADS, {"x-mock-delay": "1s"})
            figures["body_share"] = (memory(target.pid, peak=True) - before) / UPLOADS / self.large.size
        return figures

    def warm_up(self, target):
        self.loads.wrk(target, self.small, 1, 64)

    def growth(self, target, control, folder, key_of):
        """The same requests with few keys and models, and with many, all of them known already. `control` looks at
        neither, so what many different requests cost it is the load generator's doing. Its provider sees one model,
        as that of `target` does."""
        body = Body.write(folder, 200)

        def asking(name, keys, routes):
            file = folder / f"{name}.txt"
            lines = (f"{key_of(number)} bulk-{number % routes + 1}\n" for number in range(1, keys + 1))
            file.write_text("".join(lines))
            return file

        few = asking("few", 10, 1)
        many = asking("many", self.size.keys, self.size.routes)
        many_keys = asking("many-keys", self.size.keys, 1)
        for file, keys in ((few, 10), (many, self.size.keys)):
            self.loads.wrk(target, body, 1 + keys // 10_000, 64, keys=file)
        asked = {
            "few": (target, few),
            "many": (target, many),
            "control_few": (control, few),
            "control_many": (control, many_keys),
        }
        costs = {name: [] for name in asked}
        for _ in range(self.size.rounds):
            for name, (one, file) in asked.items():
                costs[name].append(self.closed(one, body, 64, keys=file)["cpu_us"])
        return {name: median(rounds) for name, rounds in costs.items()}
