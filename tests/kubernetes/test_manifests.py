"""What no schema knows: that the manifests agree with each other, with the program and with the image."""

import re
import subprocess
import tomllib

import yaml
from conftest import ROOT, read_yaml, seconds

# PostgreSQL's defaults: max_connections, and of these superuser_reserved_connections.
POSTGRES_CONNECTIONS = 100 - 3
# How long a start may wait: for the database, and once for another replica's migrations.
LONGEST_START = 10 + 60


def test_every_variable_is_a_setting_of_the_program(manifests, defaults):
    named = set(manifests.settings) | set(manifests.secrets)
    assert named <= set(defaults)


def test_secrets_come_from_the_secret_alone(manifests):
    assert not manifests.all("Secret")
    assert not [name for name in manifests.settings if re.search(r"_KEY$|_KEY_|_URL$", name) and
                not name.startswith("REQUIRE_")]
    assert all("value" not in entry for entry in manifests.container["env"])
    needed = {name for name, optional in manifests.secrets.items() if not optional}
    assert needed == {"ADMIN_KEY", "DATABASE_URL", "REDIS_URL", "ENCRYPTION_KEY"}
    assert manifests.settings["REQUIRE_DATABASE_URL"] == "true"


def test_ports_agree(manifests):
    listens = {"http": "LISTEN_ADDR", "admin": "ADMIN_LISTEN_ADDR", "metrics": "METRICS_ADDR"}
    for name, port in manifests.ports.items():
        assert manifests.settings[listens[name]].endswith(f":{port}")
    targets = [port["targetPort"] for service in manifests.all("Service")
               for port in service["spec"]["ports"]]
    probed = [probe["httpGet"]["port"] for probe in manifests.probes.values()]
    admitted = [port["port"] for rule in manifests.one("NetworkPolicy")["spec"]["ingress"]
                for port in rule["ports"]]
    assert set(targets) == {"http", "admin"}
    assert set(admitted) == set(manifests.ports)
    assert set(probed) <= set(manifests.ports)


def test_operators_have_a_port_that_programs_do_not_reach(manifests):
    for service in manifests.all("Service"):
        assert len(service["spec"]["ports"]) == 1
    for rule in manifests.one("NetworkPolicy")["spec"]["ingress"]:
        if any(port["port"] != "http" for port in rule["ports"]):
            assert rule["from"]


def test_prometheus_finds_the_port_that_it_may_ask(manifests):
    annotations = manifests.pod["metadata"]["annotations"]
    assert int(annotations["prometheus.io/port"]) == manifests.ports["metrics"]
    (monitor,) = read_yaml(ROOT / "docker/kubernetes/prometheus-operator/pod-monitor.yaml")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("metrics", "/metrics")
    assert monitor["spec"]["selector"]["matchLabels"] == manifests.pod["metadata"]["labels"]


def test_everything_is_about_the_same_pods(manifests):
    labels = manifests.pod["metadata"]["labels"]
    spec = {kind: manifests.one(kind)["spec"]
            for kind in ("Deployment", "PodDisruptionBudget", "NetworkPolicy")}
    selectors = [spec["Deployment"]["selector"]["matchLabels"],
                 spec["PodDisruptionBudget"]["selector"]["matchLabels"],
                 spec["NetworkPolicy"]["podSelector"]["matchLabels"]]
    selectors += [service["spec"]["selector"] for service in manifests.all("Service")]
    selectors += [spread["labelSelector"]["matchLabels"]
                  for spread in manifests.pod["spec"]["topologySpreadConstraints"]]
    assert all(selector == labels for selector in selectors)
    target = manifests.one("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert target["name"] == manifests.one("Deployment")["metadata"]["name"]
    account = manifests.one("ServiceAccount")
    assert manifests.pod["spec"]["serviceAccountName"] == account["metadata"]["name"]


def test_a_stop_has_the_time_that_it_needs(manifests):
    drain = seconds(manifests.settings["DRAIN_DELAY"])
    shutdown = seconds(manifests.settings["SHUTDOWN_TIMEOUT"])
    assert manifests.pod["spec"]["terminationGracePeriodSeconds"] > drain + shutdown
    readiness = manifests.probes["readinessProbe"]
    noticed = readiness["failureThreshold"] * readiness["periodSeconds"] + readiness["timeoutSeconds"]
    assert noticed < drain


def test_a_start_has_the_time_that_it_needs(manifests):
    startup = manifests.probes["startupProbe"]
    assert startup["failureThreshold"] * startup["periodSeconds"] > LONGEST_START


def test_a_rollout_takes_nobody_away_before_somebody_else_is_ready(manifests):
    rolling = manifests.one("Deployment")["spec"]["strategy"]["rollingUpdate"]
    assert (rolling["maxUnavailable"], rolling["maxSurge"]) == (0, 1)
    assert "replicas" not in manifests.one("Deployment")["spec"], "the autoscaler decides"


def test_postgres_has_connections_for_all_replicas_of_the_base(manifests, defaults):
    if manifests.folder == "base":
        replicas = manifests.one("HorizontalPodAutoscaler")["spec"]["maxReplicas"] + 1
        each = int(defaults["DATABASE_MAX_CONNECTIONS"]) + 1
        assert replicas * each <= POSTGRES_CONNECTIONS


def test_the_container_has_no_rights(manifests):
    pod, container = manifests.pod["spec"], manifests.container["securityContext"]
    assert pod["automountServiceAccountToken"] is False
    assert manifests.one("ServiceAccount")["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["allowPrivilegeEscalation"] is False
    assert container["readOnlyRootFilesystem"] is True
    assert container["capabilities"] == {"drop": ["ALL"]}
    assert not {"hostNetwork", "hostPID", "hostIPC", "volumes"} & set(pod)


def test_the_image_has_a_version(manifests):
    cargo = tomllib.loads((ROOT / "Cargo.toml").read_text(encoding="utf-8"))
    _, tag = manifests.container["image"].rsplit(":", 1)
    assert tag == cargo["package"]["version"]


def test_the_image_is_what_the_manifests_take_it_for(manifests):
    dockerfile = (ROOT / "docker/Dockerfile").read_text(encoding="utf-8")
    (user,) = re.findall(r"^USER (\d+):(\d+)$", dockerfile, re.M)
    context = manifests.pod["spec"]["securityContext"]
    assert user == (str(context["runAsUser"]), str(context["runAsGroup"]))
    (exposed,) = re.findall(r"^EXPOSE (\d+)$", dockerfile, re.M)
    assert int(exposed) == manifests.ports["http"]
    assert "ENV REQUIRE_DATABASE_URL=true" in dockerfile
    assert {"command", "args"}.isdisjoint(manifests.container), "the image's entry point serves"


def test_compose_gives_the_gateway_time_to_stop_and_no_rights(defaults):
    (compose,) = read_yaml(ROOT / "docker/compose.yml")
    gateway = compose["services"]["gateway"]
    assert (gateway["read_only"], gateway["cap_drop"]) == (True, ["ALL"])
    grace = seconds(gateway["stop_grace_period"])
    assert grace > seconds(defaults["DRAIN_DELAY"]) + seconds(defaults["SHUTDOWN_TIMEOUT"])


def code_blocks(kind):
    text = (ROOT / "docs/KUBERNETES.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, re.M | re.S)


def test_the_document_makes_the_secret_that_the_deployment_reads(manifests, tmp_path):
    (script,) = [block for block in code_blocks("sh") if "create secret" in block]
    script = script.replace("create secret", "create --dry-run=client --output yaml secret")
    made = subprocess.run(["bash", "-euc", script], cwd=tmp_path, check=True, capture_output=True)
    secret = yaml.safe_load(made.stdout)
    names = {entry["valueFrom"]["secretKeyRef"]["name"] for entry in manifests.container["env"]}
    assert names == {secret["metadata"]["name"]}
    assert set(secret["data"]) == {name for name, optional in manifests.secrets.items() if not optional}
    assert not list(tmp_path.iterdir()), "a file with secrets is left behind"


def test_the_document_fetches_the_secret_that_the_deployment_reads(manifests):
    (text,) = [block for block in code_blocks("yaml") if "ExternalSecret" in block]
    spec = yaml.safe_load(text)["spec"]
    names = {entry["valueFrom"]["secretKeyRef"]["name"] for entry in manifests.container["env"]}
    assert {spec["target"]["name"]} == names
    fetched = {entry["secretKey"] for entry in spec["data"]}
    assert fetched == {name for name, optional in manifests.secrets.items() if not optional}
