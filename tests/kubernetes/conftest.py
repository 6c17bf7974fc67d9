"""What the tests of the manifests share. run.sh renders them and says where they are."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = os.environ["PROGRAM"]

UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}


class UniqueKeys(yaml.SafeLoader):
    """YAML in which a key stands once: the last of two would hide the first."""


def mapping(loader, node):
    pairs = [(loader.construct_object(key, deep=True), value) for key, value in node.value]
    names = [name for name, _ in pairs]
    assert len(names) == len(set(names)), f"a key stands twice: {node.start_mark}"
    return {name: loader.construct_object(value, deep=True) for name, value in pairs}


UniqueKeys.add_constructor("tag:yaml.org,2002:map", mapping)


def read_yaml(path):
    return list(yaml.load_all(Path(path).read_text(encoding="utf-8"), UniqueKeys))


def seconds(duration):
    """A duration as the gateway's settings have it."""
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h)?", duration).groups()
    return int(number) * UNITS[unit or "s"]


class Manifests:
    """A rendered folder, by kind and name."""

    def __init__(self, folder):
        self.folder = folder
        self.items = read_yaml(Path(os.environ["RENDERED"]) / f"{folder}.yaml")

    def all(self, kind):
        return [item for item in self.items if item["kind"] == kind]

    def one(self, kind):
        (item,) = self.all(kind)
        return item

    @property
    def pod(self):
        return self.one("Deployment")["spec"]["template"]

    @property
    def container(self):
        (container,) = self.pod["spec"]["containers"]
        return container

    @property
    def ports(self):
        return {port["name"]: port["containerPort"] for port in self.container["ports"]}

    @property
    def settings(self):
        """The ConfigMap that the container takes its environment from."""
        (source,) = self.container["envFrom"]
        name = source["configMapRef"]["name"]
        (config,) = [item for item in self.all("ConfigMap") if item["metadata"]["name"] == name]
        return config["data"]

    @property
    def secrets(self):
        """The variables that come from the Secret; whether they may be missing."""
        refs = {entry["name"]: entry["valueFrom"]["secretKeyRef"] for entry in self.container["env"]}
        return {name: ref.get("optional", False) for name, ref in refs.items()}

    @property
    def probes(self):
        kinds = ("startupProbe", "readinessProbe", "livenessProbe")
        return {kind: self.container[kind] for kind in kinds}


@pytest.fixture(params=["base", "example"])
def manifests(request):
    return Manifests(request.param)


@pytest.fixture(scope="session")
def defaults():
    """Every setting of the program, with its default."""
    printed = subprocess.run(
        [PROGRAM, "check-config"],
        env={"ADMIN_KEY": "test-admin-key-0123456789abcdef"},
        cwd=os.environ["RENDERED"],
        check=True,
        capture_output=True,
        text=True,
    )
    return dict(line.split("=", 1) for line in printed.stdout.splitlines())
