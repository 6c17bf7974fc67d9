"""The Deployment's container as a process: its environment, its probes, its end."""

import http.client
import json
import os
import re
import signal
import subprocess
import time

import pytest
from conftest import PROGRAM

SECRETS = {
    "ADMIN_KEY": "test-admin-key-0123456789abcdef",
    "ENCRYPTION_KEY": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
    "DATABASE_URL": os.environ["DATABASE_URL"],
    "REDIS_URL": os.environ["REDIS_URL"],
}


class Pod:
    """The container's process, and what a kubelet does with it. Its ports are any that are free."""

    def __init__(self, manifests, folder):
        self.manifests = manifests
        self.log = folder / "log"
        environment = dict(manifests.settings)
        environment |= {name: SECRETS[name] for name, optional in manifests.secrets.items() if not optional}
        environment |= {"LISTEN_ADDR": "127.0.0.1:0", "ADMIN_LISTEN_ADDR": "127.0.0.1:0",
                        "METRICS_ADDR": "127.0.0.1:0"}
        # Other tests use the same Redis.
        environment |= {"CACHE_PREFIX": os.environ["DATABASE_URL"].rsplit("/", 1)[1].split("?")[0]}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([PROGRAM], env=environment, cwd=folder, stderr=log)

    def address(self, port):
        words = {"http": r"listening on ([\d.:]+)", "admin": r"operators are served on ([\d.:]+)",
                 "metrics": r"metrics are served on ([\d.:]+)"}
        found = re.search(words[port], self.log.read_text(encoding="utf-8"))
        return found and found[1]

    def get(self, port, path, timeout):
        """The status, or None where there is no answer in time."""
        try:
            connection = http.client.HTTPConnection(self.address(port) or "127.0.0.1:1", timeout=timeout)
            connection.request("GET", path)
            return connection.getresponse().status
        except OSError:
            return None

    def probe(self, kind):
        """Asks once, as the kubelet does."""
        probe = self.manifests.probes[kind]
        status = self.get(probe["httpGet"]["port"], probe["httpGet"]["path"], probe["timeoutSeconds"])
        return status is not None and 200 <= status < 400

    def comes_to(self, kind, expected):
        """Asks as often as the manifests say."""
        probe = self.manifests.probes[kind]
        for _ in range(probe["failureThreshold"]):
            if self.probe(kind) == expected:
                return True
            time.sleep(probe["periodSeconds"])
        return False


@pytest.fixture
def pod(manifests, tmp_path):
    pod = Pod(manifests, tmp_path)
    yield pod
    pod.process.kill()
    pod.process.wait()


def test_it_starts_serves_and_stops_as_the_manifests_expect(pod):
    assert pod.comes_to("startupProbe", True), pod.log.read_text()
    assert pod.comes_to("readinessProbe", True), pod.log.read_text()
    assert pod.probe("livenessProbe")
    assert pod.get("admin", "/admin/keys", 5) == 401
    assert pod.get("http", "/admin/keys", 5) == 404
    assert pod.get("metrics", "/metrics", 5) == 200
    assert pod.get("http", "/metrics", 5) == 404

    pod.process.send_signal(signal.SIGTERM)
    assert pod.comes_to("readinessProbe", False)
    # While others hear of it, it serves on.
    assert pod.get("http", "/v1/models", 5) == 401
    grace = pod.manifests.pod["spec"]["terminationGracePeriodSeconds"]
    assert pod.process.wait(timeout=grace) == 0, pod.log.read_text()
    for line in pod.log.read_text(encoding="utf-8").splitlines():
        json.loads(line)


def test_it_does_not_start_without_a_database(manifests, tmp_path):
    environment = dict(manifests.settings, ADMIN_KEY=SECRETS["ADMIN_KEY"])
    ended = subprocess.run([PROGRAM], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert "DATABASE_URL" in ended.stderr
