"""What the tests of the monitoring share: the files, the running servers that run.sh names, and traffic."""

import http.client
import json
import os
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import promql_parser
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = ROOT / "docker/grafana/dashboards/llm-gateway.json"
ALERTS = ROOT / "docker/prometheus/alerts.yml"

# What Grafana puts in for its variables. The interval is several times that of run.sh's Prometheus.
VARIABLES = {"__rate_interval": "10s", "__interval": "10s"}
# What has to happen happens within seconds; a busy machine may take longer.
PATIENCE = 60


@dataclass(frozen=True)
class Query:
    """An expression, and where it stands."""

    where: str
    expression: str


def alerts():
    (group,) = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return group["rules"]


def dashboard():
    return json.loads(DASHBOARD.read_text(encoding="utf-8"))


def filled_in(expression, variables):
    """Variables of the dashboard stand for everything."""
    values = VARIABLES | {name: ".*" for name in variables}
    for name in sorted(values, key=len, reverse=True):
        expression = expression.replace(f"${name}", values[name])
    assert "$" not in expression, f"an unknown variable: {expression}"
    return expression


def dashboard_queries():
    board = dashboard()
    variables = [variable["name"] for variable in board["templating"]["list"]]
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            yield Query(f"panel {panel['title']}", filled_in(target["expr"], variables))


def annotation_queries():
    board = dashboard()
    variables = [variable["name"] for variable in board["templating"]["list"]]
    for annotation in board["annotations"]["list"]:
        if "expr" in annotation:
            yield Query(f"annotation {annotation['name']}", filled_in(annotation["expr"], variables))


def alert_queries():
    return [Query(rule["alert"], rule["expr"]) for rule in alerts()]


@dataclass(frozen=True)
class Selector:
    """A metric, the labels that a query expects it to have, and the words that it compares them with."""

    metric: str
    labels: frozenset
    words: frozenset


def children(node):
    for name in ("lhs", "rhs", "expr", "param", "vector_selector"):
        if getattr(node, name, None) is not None:
            yield getattr(node, name)
    yield from getattr(node, "args", None) or []


def selectors(node, labels=frozenset()):
    """All of a query. What is summed by a label has to have it."""
    if isinstance(node, promql_parser.VectorSelector):
        matched = {matcher.name for matcher in node.matchers.matchers}
        values = {value for matcher in node.matchers.matchers for value in matcher.value.split("|")}
        yield Selector(node.name, labels | matched, {value for value in values if re.fullmatch("[a-z_]+", value)})
        return
    modifier = getattr(node, "modifier", None)
    if isinstance(node, promql_parser.AggregateExpr) and modifier is not None:
        assert modifier.type == promql_parser.AggModifierType.By, "`without` hides what is left"
        labels = labels | set(modifier.labels)
    for child in children(node):
        yield from selectors(child, labels)


def selectors_of(query):
    return list(selectors(promql_parser.parse(query.expression)))


class Prometheus:
    """The running one."""

    def __init__(self, url):
        self.url = url

    def ask(self, path, **parameters):
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            body = json.load(answer)
        assert body["status"] == "success", body
        return body["data"]

    def query(self, expression):
        return self.ask("query", query=expression)["result"]

    def labels_of(self, metric):
        """The names of the labels of each of its series."""
        series = self.ask("series", **{"match[]": metric})
        return [set(one) - {"__name__"} for one in series]


class Gateway:
    def __init__(self, url, admin_key):
        self.url, self.admin_key = url, admin_key

    def call(self, path, key, body=None):
        """The status, if there is a whole answer, and the body or what is wrong."""
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except (OSError, http.client.HTTPException) as error:
            return None, str(error).encode()

    def make(self, what, **fields):
        status, body = self.call(f"/admin/{what}", self.admin_key, fields)
        assert status == 201, body
        return json.loads(body)


# Models by the provider that has them, and how that answers: as it should, with an error, and broken off.
MODELS = {"good": "gpt-4o", "failing": "mock:status=500", "breaking": "mock:cut=2"}


def provision(gateway, mock_url):
    mock = gateway.make("providers", name="mock", kind="openai", base_url=f"{mock_url}/v1", api_key="sk-mock-provider-key")
    # Nothing listens on port 1.
    away = gateway.make("providers", name="away", kind="openai", base_url="http://127.0.0.1:1", api_key="sk-away")
    for name, theirs in MODELS.items():
        gateway.make("models", name=name, provider_id=mock["id"], provider_model_name=theirs)
    gateway.make("models", name="unreachable", provider_id=away["id"])
    return gateway.make("keys", name="monitoring")["key"]


def send_some(gateway, key):
    """Requests that end in every way that is quick."""
    for model in [*MODELS, "unreachable", "unknown"]:
        for streamed in (False, True):
            body = {"model": model, "stream": streamed, "messages": [{"role": "user", "content": "Hello!"}]}
            gateway.call("/v1/chat/completions", key, body)
    gateway.call("/v1/models", key)
    gateway.call("/admin/keys", "a wrong admin key")


@pytest.fixture(scope="session")
def prometheus():
    """Prometheus, which has seen some traffic and goes on seeing it."""
    gateway = Gateway(os.environ["GATEWAY_URL"], os.environ["ADMIN_KEY"])
    key = provision(gateway, os.environ["MOCK_URL"])
    is_over = threading.Event()

    def go_on():
        while not is_over.wait(0.1):
            send_some(gateway, key)

    traffic = threading.Thread(target=go_on)
    traffic.start()
    try:
        server = Prometheus(os.environ["PROMETHEUS_URL"])
        rate = 'rate(llm_gateway_requests_total{model="breaking", outcome="upstream_cut"}[10s])'
        eventually(lambda: server.query(rate), "Prometheus to have seen requests")
        yield server
    finally:
        is_over.set()
        traffic.join()


def eventually(holds, what):
    deadline = time.monotonic() + PATIENCE
    while not (found := holds()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.2)
    return found


def section(title):
    """A section of docs/OPERATIONS.md."""
    text = (ROOT / "docs/OPERATIONS.md").read_text(encoding="utf-8")
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.M | re.S).group(1)
