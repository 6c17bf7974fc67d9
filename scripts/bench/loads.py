"""Load, from generators that exist: wrk as fast as it goes, oha at a fixed rate, and our own
example `slow_streams` for what neither can do."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent

# What a load may take beyond the time that it was given.
SLACK = 60

# Seconds for which a load is tried at most.
LONGEST = 10


@dataclass
class Body:
    """A chat request of a given size, in a file."""

    path: Path
    size: int

    @classmethod
    def write(cls, folder, size, model="bench", streamed=False):
        # In the order in which the official SDKs write the fields.
        head = b'{"messages":[{"role":"user","content":"'
        stream = ',"stream":true' if streamed else ""
        tail = f'"}}],"model":"{model}"{stream}}}'.encode()
        text = b"Is anybody there? "
        filler = size - len(head) - len(tail)
        content = (text * (filler // len(text) + 1))[:filler]
        path = folder / f"body-{size}-{model}{'-streamed' if streamed else ''}.json"
        path.write_bytes(head + content + tail)
        return cls(path, size)


class Loads:
    """Where the generators are, and a folder for what they read."""

    def __init__(self, folder, oha, slow_streams):
        self.folder, self.oha, self.slow_streams = folder, oha, slow_streams

    def wrk(self, target, body, seconds, connections, headers=None, keys=None):
        """As fast as it goes; how many requests, and in what time."""
        file = self.folder / "headers.txt"
        headers = {"Content-Type": "application/json", **target.headers, **(headers or {})}
        file.write_text("".join(f"{name}: {value}\n" for name, value in headers.items()))
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "20s"]
        command += ["-s", HERE / "wrk.lua", target.url, "--", file, body.path, *([keys] if keys else [])]
        outcome = json.loads(run(command, seconds).splitlines()[-1])
        if not outcome["requests"] and not outcome["failed"] and seconds < LONGEST:
            # The machine is too busy for even one; a figure of a longer time is as good.
            return self.wrk(target, body, 2 * seconds, connections, headers, keys)
        check(target, outcome["requests"], outcome["failed"])
        return outcome

    def at_rate(self, target, body, seconds, rate, connections=64):
        """At a fixed rate, whatever the answers do; latencies in seconds, from the scheduled time."""
        command = [self.oha, "--no-tui", "--output-format", "json", "--latency-correction"]
        command += ["-z", f"{seconds}s", "-q", rate, "-c", connections, "-m", "POST"]
        headers = {"Content-Type": "application/json", **target.headers}
        for name, value in headers.items():
            command += ["-H", f"{name}: {value}"]
        outcome = json.loads(run([*command, "-D", body.path, target.url], seconds))
        statuses = outcome["statusCodeDistribution"]
        served = statuses.get("200", 0)
        check(target, served, sum(statuses.values()) - served)
        return outcome["latencyPercentiles"]

    def streams(self, target, body, connections, ramp, chunks, pause, meanwhile=lambda: None):
        """Slow streams at once; `meanwhile` is called when all are open."""
        headers = {"Content-Type": "application/json", **target.headers}
        headers |= {"x-mock-timed": "true", "x-mock-chunks": chunks, "x-mock-chunk-delay": f"{pause}ms"}
        command = [self.slow_streams, "--address", target.address, "--path", "/v1/chat/completions"]
        command += ["--body", body.path, "--connections", connections, "--ramp", ramp]
        command += ["--limit", ramp + chunks * pause / 1000 + SLACK]
        for name, value in headers.items():
            command += ["--header", f"{name}: {value}"]
        command = [str(part) for part in command]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            try:
                if child.stdout.readline() != "open\n":
                    raise SystemExit(f"bench: the streams from {target.name} could not all be opened")
                seen = meanwhile()
                output, _ = child.communicate(timeout=ramp + chunks * pause / 1000 + SLACK)
            except BaseException:
                child.kill()
                raise
        outcome = json.loads(output)
        check(target, outcome["streams"], outcome["failed"])
        return outcome, seen


def run(command, seconds):
    command = [str(part) for part in command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + SLACK, check=False)
    if done.returncode != 0:
        raise SystemExit(f"bench: {command[0]} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def check(target, served, failed):
    """A figure of answers that were errors would mean nothing."""
    if failed or not served:
        raise SystemExit(f"bench: {target.name}: {served} requests served, {failed} failed")
