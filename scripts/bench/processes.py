"""Processes: started, found by what they say of themselves, measured through /proc, ended by pid."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

# The longest that anything here may take to start or to end: a gateway has 5 s to drain and 30 s for running answers,
# and one that counts for scripts/optimized.sh writes down its counts last.
PATIENCE = 60

LISTENING = re.compile(r"listening on (?:http://)?([0-9.]+:[0-9]+)")


def end_on_terminate():
    """SIGTERM ends this program as an exception does, so that it ends what it started."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


class Process:
    """A program of ours, with its log."""

    def __init__(self, command, log, env=None):
        self.log = Path(log)
        with open(self.log, "wb") as output:
            # In the log's folder, so that a developer's .env doesn't reach it.
            self.child = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.log.parent,
                env=env,
            )
        self.pid = self.child.pid

    def address(self):
        """Where it says that it listens."""
        found = wait_for(lambda: LISTENING.search(self.log.read_text()) or self.child.poll() is not None)
        if found is True:
            raise SystemExit(f"bench: {self.log.name} ended at its start:\n{self.log.read_text()}")
        return found.group(1)

    def end(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
        try:
            self.child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()


def wait_for(condition):
    """Asks until the answer is yes, and returns it."""
    deadline = time.monotonic() + PATIENCE
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise SystemExit("bench: something did not start in time")
        time.sleep(0.02)
    return answer


def tree(pid):
    """A process and all that descend from it."""
    pids = [pid]
    for parent in pids:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                pids.extend(int(child) for child in task.read_text().split())
            except OSError:
                pass  # It has just ended.
    return pids


def cpu_seconds(pid):
    """User and system time of the tree, with what its reaped children took."""
    ticks = 0
    for member in tree(pid):
        try:
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / TICKS_PER_SECOND


def memory(pid, peak=False):
    """Resident bytes of the tree; pages of files, which its members share, are counted once."""
    own, shared = 0, 0
    for member in tree(pid):
        try:
            status = Path(f"/proc/{member}/status").read_text()
        except OSError:
            continue
        own += kibibytes(status, "VmHWM") - kibibytes(status, "RssFile") if peak else kibibytes(status, "RssAnon")
        shared = max(shared, kibibytes(status, "RssFile") + kibibytes(status, "RssShmem"))
    return 1024 * (own + shared)


def kibibytes(status, field):
    return int(re.search(rf"^{field}:\s+(\d+) kB", status, re.M).group(1))


def forget_peak(pid):
    """From now on VmHWM is the peak since now."""
    for member in tree(pid):
        Path(f"/proc/{member}/clear_refs").write_text("5")
