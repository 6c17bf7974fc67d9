"""Counts what one request costs in user space, under callgrind: see scripts/instructions.sh."""

import argparse
import http.client
import re
import socket
import subprocess
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from loads import Body
from processes import Process, end_on_terminate, wait_for
from targets import PATH, Stage

# Enough for pools and caches to be full, and for buffers to have their final size.
WARM_UP = 100

# Whatever the allocator: malloc, mi_malloc_aligned, _rjem_mallocx.
ALLOCATIONS = r"(\w*_)?(malloc|calloc|realloc|memalign|posix_memalign|aligned_alloc)x?(_aligned)?"

# valgrind has no vDSO, so that reading the clock is a system call under it alone.
CLOCK = r"clock_gettime.*"
NOT_CLOCK = r"(?!clock_gettime).*"


def main():
    end_on_terminate()
    options = parse_options()
    with tempfile.TemporaryDirectory(prefix="llm-gateway-instructions-") as folder:
        folder = Path(folder)
        stage = Stage(options.programs, folder, workers=1, wrapper=callgrind(folder))
        try:
            target = stage.bare() if options.bare else stage.gateway("gateway", None, "none")
            body = Body.write(folder, options.body, streamed=options.chunks is not None)
            requester = Requester(target, body, options.chunks)
            requester.send(WARM_UP)
            # A dump, since a reset leaves the counts of system calls as they are.
            dump(folder, target.pid, 1)
            requester.send(options.requests)
            profiles = dump(folder, target.pid, 2)
        finally:
            stage.end()
        if options.keep:
            options.keep.mkdir(parents=True, exist_ok=True)
            for profile in profiles:
                (options.keep / profile.path.name).write_bytes(profile.path.read_bytes())
    report(options, profiles)


def parse_options():
    parser = argparse.ArgumentParser()
    parser.add_argument("--programs", type=lambda path: Path(path).resolve(), required=True)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--body", type=int, default=1024)
    parser.add_argument("--chunks", type=int)
    parser.add_argument("--top", type=int, default=0)
    parser.add_argument("--inclusive", action="store_true")
    parser.add_argument("--callers", action="append", default=[])
    parser.add_argument("--bare", action="store_true")
    parser.add_argument("--keep", type=Path)
    return parser.parse_args()


def callgrind(folder):
    # One file per thread, so that what the cache warmer does meanwhile isn't counted to a request.
    return [
        "valgrind",
        "--tool=callgrind",
        "--separate-threads=yes",
        "--collect-systime=yes",
        f"--callgrind-out-file={folder}/callgrind.%p",
    ]


class Requester:
    """Asks one request after another on one connection, so that each finds the same state."""

    def __init__(self, target, body, chunks):
        host, _, port = target.address.partition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=60)
        body = body.path.read_bytes()
        headers = {"Host": target.address, "Content-Type": "application/json", **target.headers}
        headers["Content-Length"] = len(body)
        if chunks is not None:
            # A pause lets each chunk through by itself, as it does with a real provider.
            headers |= {"x-mock-chunks": chunks, "x-mock-chunk-delay": "5ms"}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        # Head and body in one, as most clients send them.
        self.request = f"POST {PATH} HTTP/1.1\r\n{head}\r\n".encode() + body

    def send(self, count):
        for _ in range(count):
            self.socket.sendall(self.request)
            answer = http.client.HTTPResponse(self.socket, method="POST")
            answer.begin()
            content = answer.read()
            if answer.status != 200:
                raise SystemExit(f"instructions: answered {answer.status}: {content[:200]}")


@dataclass
class Function:
    """What was spent in it, alone and with what it called."""

    instructions: int = 0
    inclusive: int = 0
    system_calls: int = 0
    calls: int = 0
    # Caller to number of calls and instructions.
    callers: dict = field(default_factory=lambda: defaultdict(lambda: [0, 0]))


class Profile:
    """What one thread did. The format: valgrind's manual, "Callgrind Format Specification"."""

    def __init__(self, path):
        self.path = path
        self.functions = defaultdict(Function)
        self.names = {}
        self.read(iter(path.read_text().splitlines()))
        self.instructions = self.total("instructions")

    def read(self, lines):
        function = callee = None
        for line in lines:
            if line.startswith("fn="):
                function = self.name(line[3:])
            elif line.startswith("cfn="):
                callee = self.name(line[4:])
            elif line.startswith("calls="):
                self.add_call(function, callee, int(line[6:].split()[0]), costs(next(lines)))
            elif function and re.match(r"[+\-*\d]", line):
                instructions, system_calls = costs(line)
                self.functions[function].instructions += instructions
                self.functions[function].inclusive += instructions
                self.functions[function].system_calls += system_calls

    def add_call(self, caller, callee, count, cost):
        # The calls in which the thread was when counting began have no end, and cost as much as all.
        if count:
            self.functions[callee].calls += count
            edge = self.functions[callee].callers[caller]
            edge[0] += count
            edge[1] += cost[0]
            if caller != callee:
                self.functions[caller].inclusive += cost[0]

    def name(self, text):
        """A name is written out once, and is a number from then on."""
        number, _, name = text.partition(" ")
        if name:
            self.names[number] = re.sub(r"'\d+$", "", name)
        return self.names[number]

    def total(self, what, matching=r".*"):
        chosen = (cost for name, cost in self.functions.items() if re.fullmatch(matching, name))
        return sum(getattr(cost, what) for cost in chosen)


def costs(line):
    values = [int(value) for value in line.split()[1:3]]
    return values + [0] * (2 - len(values))


def dump(folder, pid, part):
    """The counts of each thread since the dump before, the busiest first."""
    command = ["callgrind_control", "-d", str(pid)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0 or "OK" not in done.stdout:
        raise SystemExit(f"instructions: {' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    found = wait_for(lambda: list(folder.glob(f"callgrind.{pid}.{part}-*")))
    return sorted(map(Profile, found), key=lambda profile: -profile.instructions)


def report(options, profiles):
    worker, others = profiles[0], profiles[1:]
    per = options.requests
    print(f"{'instructions per request':32}{worker.instructions / per:12,.0f}")
    print(f"{'allocations per request':32}{worker.total('calls', ALLOCATIONS) / per:12,.2f}")
    print(f"{'clock reads per request':32}{worker.total('system_calls', CLOCK) / per:12,.2f}")
    print(f"{'system calls per request':32}{worker.total('system_calls', NOT_CLOCK) / per:12,.2f}")
    kinds = {name: cost.system_calls for name, cost in worker.functions.items() if cost.system_calls}
    for name, count in sorted(kinds.items(), key=lambda item: -item[1]):
        if re.fullmatch(NOT_CLOCK, name) and count / per > 0.01:
            print(f"    {name:28}{count / per:12,.2f}")
    rest = sum(profile.instructions for profile in others)
    print(f"{'other threads meanwhile':32}{rest / per:12,.0f}  (driven by time, not by requests)")
    if options.top:
        print_functions(worker, per, options.top, options.inclusive)
    for pattern in options.callers:
        print_callers(worker, per, pattern)


def print_functions(worker, per, top, inclusive):
    what = "inclusive" if inclusive else "instructions"
    rows = sorted(worker.functions.items(), key=lambda item: -getattr(item[1], what))
    print(f"\n{what:>12}       calls  function")
    for name, cost in rows[:top]:
        print(f"{getattr(cost, what) / per:12,.1f}{cost.calls / per:12,.2f}  {name}")


def print_callers(worker, per, pattern):
    for name, cost in worker.functions.items():
        if re.search(pattern, name):
            print(f"\n{cost.instructions / per:12,.1f}{cost.calls / per:12,.2f}  {name}, called by")
            for caller, (count, spent) in sorted(cost.callers.items(), key=lambda item: -item[1][1]):
                print(f"{spent / per:12,.1f}{count / per:12,.2f}    {caller}")


main()
