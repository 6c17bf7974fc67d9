"""What the dashboard and the alerts ask for is there; every alert is tested and explained."""

import re

import pytest
import yaml
from conftest import (
    ROOT,
    alert_queries,
    alerts,
    annotation_queries,
    dashboard,
    dashboard_queries,
    eventually,
    section,
    selectors_of,
)

# Of Prometheus itself.
ITS_OWN = {"up"}
EVERYTHING = [*dashboard_queries(), *annotation_queries(), *alert_queries()]


def name(query):
    return query.where


@pytest.mark.parametrize("query", EVERYTHING, ids=name)
def test_what_is_asked_for_exists(prometheus, query):
    found = selectors_of(query)
    assert found
    for selector in found:
        series = eventually(lambda: prometheus.labels_of(selector.metric), f"{selector.metric}")
        missing = [selector.labels - labels for labels in series]
        # A label that each series lacks is a typing error.
        assert set() in missing, f"{selector.metric} lacks {min(missing, key=len)}"


@pytest.mark.parametrize("query", list(dashboard_queries()), ids=name)
def test_every_panel_shows_something(prometheus, query):
    eventually(lambda: prometheus.query(query.expression), f"an answer to {query.expression}")


@pytest.mark.parametrize("query", [*annotation_queries(), *alert_queries()], ids=name)
def test_what_is_rarely_true_can_be_asked(prometheus, query):
    prometheus.query(query.expression)


@pytest.mark.parametrize("query", EVERYTHING, ids=name)
def test_labels_are_compared_with_words_that_the_document_has(query):
    document = (ROOT / "docs/OBSERVABILITY.md").read_text(encoding="utf-8")
    for selector in selectors_of(query):
        for word in selector.words:
            assert f"`{word}`" in document, f"{selector.metric} has no {word}"


def test_variables_are_filled_from_metrics_that_exist(prometheus):
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] != "query":
            continue
        metric, label = re.fullmatch(r"label_values\((\w+)(?:\{.*\})?, (\w+)\)", variable["definition"]).groups()
        assert any(label in labels for labels in prometheus.labels_of(metric)), variable["definition"]
        assert variable["query"]["query"] == variable["definition"]


def test_every_metric_is_explained_and_no_other_is(prometheus):
    document = (ROOT / "docs/OBSERVABILITY.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`(?:llm_gateway|process)_.*?) \|", document, re.M)
    explained = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    shown = {
        re.sub(r"_(bucket|sum|count)$", "", name)
        for name in prometheus.ask("label/__name__/values")
        if name.startswith(("llm_gateway_", "process_"))
    }
    assert shown == explained


def test_prometheus_has_read_the_alerts(prometheus):
    (group,) = prometheus.ask("rules")["groups"]
    assert [rule["name"] for rule in group["rules"]] == [rule["alert"] for rule in alerts()]
    eventually(
        lambda: {rule["health"] for rule in prometheus.ask("rules")["groups"][0]["rules"]} == {"ok"},
        "every rule to be evaluated",
    )


def test_panels_do_not_share_an_id_nor_overlap():
    panels = dashboard()["panels"]
    ids = [panel["id"] for panel in panels]
    assert len(ids) == len(set(ids))
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert x < 24 and (x, y) not in taken, panel["title"]
                taken.add((x, y))


def test_every_alert_says_what_it_is_and_how_bad():
    for rule in alerts():
        assert rule["labels"]["severity"] in ("critical", "warning", "info"), rule["alert"]
        assert set(rule["annotations"]) == {"summary", "description"}, rule["alert"]


def test_every_alert_is_explained_to_operators_and_no_other_is():
    explained = re.findall(r"^\| `(LlmGateway\w+)` \|", section("Alerts"), re.M)
    assert explained == [rule["alert"] for rule in alerts()]


def test_of_every_alert_it_is_tested_when_it_fires_and_when_it_does_not():
    tests = yaml.safe_load((ROOT / "tests/monitoring/alerts.test.yml").read_text(encoding="utf-8"))["tests"]
    outcomes = {rule["alert"]: set() for rule in alerts()}
    for test in tests:
        for case in test["alert_rule_test"]:
            outcomes[case["alertname"]].add(bool(case.get("exp_alerts")))
    assert outcomes == {alert: {True, False} for alert in outcomes}


def test_grafana_finds_its_dashboards_and_prometheus_where_compose_puts_them():
    read = lambda path: yaml.safe_load((ROOT / "docker" / path).read_text(encoding="utf-8"))
    services = read("compose.yml")["services"]
    mounts = dict(volume.split(":")[:2] for volume in services["grafana"]["volumes"])
    (provider,) = read("grafana/provisioning/dashboards/llm-gateway.yml")["providers"]
    assert mounts["./grafana/dashboards"] == provider["options"]["path"]
    assert mounts["./grafana/provisioning"] == "/etc/grafana/provisioning"
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (ROOT / "docker/grafana/dashboards" / home.rsplit("/", 1)[1]).is_file()
    (source,) = read("grafana/provisioning/datasources/prometheus.yml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    prometheus = read("prometheus/prometheus.yml")
    assert source["jsonData"]["timeInterval"] == prometheus["global"]["scrape_interval"]
    (job,) = prometheus["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    host, port = target.split(":")
    assert services[host]["environment"]["METRICS_ADDR"] == f"0.0.0.0:{port}"
    for service in ("prometheus", "grafana", host):
        assert "monitoring" in services[service]["profiles"]
