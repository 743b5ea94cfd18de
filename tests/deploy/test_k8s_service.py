"""What the manifests say agrees with the code, the images and the files that they are about."""

import math
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from api.app import create_app
from api.experiments.config import parse
from api.outcomes.lifespan import CLOSE_TIMEOUT_S
from api.settings import Settings
from scripts.prometheus_rule import RULES, prometheus_rule
from tests.deploy.k8s_manifests import (
    ROOT,
    SEARCH,
    SERVICE,
    Document,
    containers,
    find,
    needs_kubectl,
    of_kind,
    pod_spec,
    shipped,
)
from tests.deploy.k8s_policies import DOCUMENTED_SECRETS
from trainer.__main__ import app as trainer

pytestmark = needs_kubectl

SECRETS = {
    "database-url": "postgresql://user:password@host/name",
    "admin-key": "a-key-of-16-or-more-characters",
    "subject-secret": "a-secret-of-16-or-more-characters",
}


def deployment(name: str, which: str) -> Document:
    return find(shipped(which), "Deployment", name)


def container(name: str, which: str) -> Document:
    [found] = pod_spec(deployment(name, which))["containers"]
    return found


def environment(which: str) -> dict[str, str]:
    """The gateway's variables as a kubelet would set them."""
    found = container("gateway", which)
    values = {}
    for entry in found["env"]:
        match entry:
            case {"value": str(value)}:
                values[entry["name"]] = value
            case {"valueFrom": {"secretKeyRef": {"key": key}}}:
                values[entry["name"]] = SECRETS[key]
            case {"valueFrom": {"resourceFieldRef": {"resource": "requests.cpu"}}}:
                values[entry["name"]] = str(processors(found))
            case _:
                pytest.fail(f"not understood: {entry}")
    return values


def processors(found: Document) -> int:
    """requests.cpu as the downward API gives it: whole cores, rounded up."""
    text = found["resources"]["requests"]["cpu"]
    return math.ceil(Decimal(text.removesuffix("m")) / (1000 if text.endswith("m") else 1))


def settings(which: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    values = environment(which)
    mounted = values["EMOTION_EXPERIMENTS"]
    config = find(shipped(which), "ConfigMap", "experiments")["data"]
    (tmp_path / Path(mounted).name).write_text(config[Path(mounted).name])
    for name, value in values.items():
        monkeypatch.setenv(name, value.replace(str(Path(mounted).parent), str(tmp_path)))
    return Settings()


@pytest.mark.parametrize("which", SERVICE)
def test_the_gateway_starts_with_these_settings(which: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fields = {f"EMOTION_{name.upper()}" for name in Settings.model_fields}
    assert environment(which).keys() <= fields
    found = settings(which, monkeypatch, tmp_path)
    assert found.cpu_workers == 1
    assert found.database_url.get_secret_value().startswith("postgresql:" if "prod" in which else "sqlite:")
    create_app(found)


@pytest.mark.parametrize("which", SERVICE)
def test_the_gateway_has_the_time_that_its_end_may_take(
    which: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = settings(which, monkeypatch, tmp_path)
    assert found.drain_s > 0
    # Pruning, the last write and its last attempt, and the connections.
    closing = 3 * CLOSE_TIMEOUT_S
    longest = found.drain_s + found.request_timeout_s + closing
    assert pod_spec(deployment("gateway", which))["terminationGracePeriodSeconds"] >= longest + 5


@pytest.mark.parametrize("which", SERVICE)
def test_probes_wait_for_the_slowest_no(which: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = settings(which, monkeypatch, tmp_path)
    assert container("gateway", which)["readinessProbe"]["timeoutSeconds"] > found.model_timeout_s


@pytest.mark.parametrize("which", SERVICE)
def test_the_gateway_finds_the_pods_of_a_headless_service(which: str) -> None:
    target = environment(which)["EMOTION_MODEL_SERVER"]
    name, port = re.fullmatch(r"dns:///([a-z]+):(\d+)", target).groups()
    service = find(shipped(which), "Service", name)["spec"]
    assert service["clusterIP"] == "None"
    assert int(port) in [one["port"] for one in service["ports"]]


def flags() -> dict[str, str]:
    """The model server's, of Dockerfile.serving."""
    text = (ROOT / "Dockerfile.serving").read_text()
    return dict(re.findall(r'"--([a-z_]+)=([^"]*)"', text))


@pytest.mark.parametrize("which", SERVICE)
def test_model_servers_end_after_the_gateways_have_left(which: str) -> None:
    age_s = int(re.search(r"grpc\.max_connection_age_ms=(\d+)", flags()["grpc_channel_arguments"])[1]) / 1000
    # gRPC spreads the age by a tenth; 30 s is what CoreDNS lets others cache.
    longest = age_s * 1.1 + 30 + Settings.model_fields["model_timeout_s"].default
    for server in of_kind(shipped(which), "Deployment"):
        if not server["metadata"]["name"].startswith("serving"):
            continue
        spec = pod_spec(server)
        sleep = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert longest <= sleep < spec["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("which", SERVICE)
def test_the_model_servers_files_and_ports_are_there(which: str) -> None:
    documents, found = shipped(which), container("serving", which)
    volumes = {volume["name"]: volume for volume in pod_spec(deployment("serving", which))["volumes"]}
    mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in found["volumeMounts"]}
    sources = mounts["/config"]["projected"]["sources"]
    present = {key for one in sources for key in find(documents, "ConfigMap", one["configMap"]["name"])["data"]}
    asked = {value for value in flags().values() if value.startswith("/config/")}
    assert asked == {f"/config/{key}" for key in present}
    ports = {port["name"]: str(port["containerPort"]) for port in found["ports"]}
    assert ports == {"grpc": flags()["port"], "http-metrics": flags()["rest_api_port"]}
    assert flags()["enable_grpc_healthcheck_service"] == "true"
    assert int(flags()["model_config_file_poll_wait_seconds"]) > 0
    batching = find(documents, "ConfigMap", sources[1]["configMap"]["name"])["data"]["batching.config"]
    if which != "overlays/dev":
        assert processors(found) == int(re.search(r"num_batch_threads \{ value: (\d+) \}", batching)[1])


@pytest.mark.parametrize("which", SERVICE)
def test_only_what_is_read_at_start_up_alone_rolls_the_pods(which: str) -> None:
    """A hash in the name gives new pods for an edit; a file that is watched must keep its name."""
    names = {one["metadata"]["name"] for one in of_kind(shipped(which), "ConfigMap")}
    assert names > {"models-config", "experiments"}
    [hashed] = names - {"models-config", "experiments"}
    assert re.fullmatch(r"serving-config-[a-z0-9]{10}", hashed)


@pytest.mark.parametrize("which", SERVICE)
def test_config_maps_are_the_files(which: str) -> None:
    documents = shipped(which)
    assert find(documents, "ConfigMap", "models-config")["data"] == {
        "models.config": (ROOT / "serving" / "models.config").read_text()
    }
    text = find(documents, "ConfigMap", "experiments")["data"]["experiments.yaml"]
    parse(text.encode(), Path("experiments.yaml"), Settings.model_fields["models"].default)


def test_dev_is_one_of_each_and_needs_nothing_else() -> None:
    documents = shipped("overlays/dev")
    assert [one["spec"]["replicas"] for one in of_kind(documents, "Deployment")] == [1, 1]
    assert {one["apiVersion"] for one in documents} <= {
        "v1",
        "apps/v1",
        "policy/v1",
        "networking.k8s.io/v1",
    }
    required = [
        entry["name"]
        for _, found in containers(documents)
        for entry in found["env"]
        if not entry.get("valueFrom", {}).get("secretKeyRef", {"optional": True}).get("optional")
    ]
    assert required == []


def test_the_canary_differs_in_image_and_track_alone() -> None:
    stable, canary = (deployment(name, "overlays/prod-canary") for name in ("serving", "serving-canary"))
    assert canary["spec"].pop("replicas") == 1
    image = pod_spec(canary)["containers"][0]["image"]
    assert image.rpartition(":")[0] == "emotion-serving/model-server"
    pod_spec(canary)["containers"][0]["image"] = pod_spec(stable)["containers"][0]["image"]

    def as_stable(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: "stable" if key == "track" else as_stable(one) for key, one in value.items()}
        return [as_stable(one) for one in value] if isinstance(value, list) else value

    assert as_stable(canary["spec"]) == stable["spec"]


def test_the_routes_are_the_gateways() -> None:
    app = create_app(Settings())
    documented = app.openapi()["paths"]
    # Neither the page at /, nor streams, nor the aliases without /v1 are in the schema.
    paths = {
        "/",
        "/v1/stream",
        "/docs",
        "/openapi.json",
        *documented,
        *(path.removeprefix("/v1") for path in documented),
    }
    rules = find(shipped("overlays/prod"), "HTTPRoute", "gateway")["spec"]["rules"]
    public = {match["path"]["value"] for rule in rules for match in rule["matches"]}
    assert public <= paths
    assert not public & {"/metrics", "/healthz", "/readyz", "/experiments", "/v1/experiments"}
    # The prefix takes in /predict/batch.
    for predict in ("/predict", "/v1/predict"):
        assert {path for path in paths if path.startswith(predict)} == {predict, f"{predict}/batch"}


def test_the_alerts_are_those_of_the_rules_file() -> None:
    wanted = prometheus_rule(yaml.safe_load(RULES.read_text()))["spec"]
    found = find(shipped("overlays/prod"), "PrometheusRule", "emotion-serving")["spec"]
    assert found == wanted, "run `make prometheus-rule`"


def test_readme_tells_of_every_secret() -> None:
    text = (ROOT / "k8s" / "README.md").read_text().replace("\\\n", " ")
    commands = re.findall(r"create secret generic (\S+)((?:\s+--from-literal=\S+?=(?:\"[^\"]*\"|'[^']*'|\S+))+)", text)
    found = {name: set(re.findall(r"--from-literal=(\S+?)=", rest)) for name, rest in commands}
    assert found == DOCUMENTED_SECRETS


@pytest.mark.parametrize("which", SEARCH)
@pytest.mark.parametrize("job", ["study-create", "search-worker"])
def test_the_jobs_arguments_are_the_trainers(which: str, job: str) -> None:
    documents = shipped(which)
    [found] = pod_spec(find(documents, "Job", job))["containers"]
    known = {entry["name"] for entry in found["env"]}
    values = {"CPUS": "2"} | find(documents, "ConfigMap", "study")["data"]

    def expand(match: re.Match[str]) -> str:
        assert match[1] in known
        return values[match[1]]

    words = [re.sub(r"\$\(([A-Z]+)\)", expand, word) for word in found["args"]]
    command = typer.main.get_command(trainer)
    for _ in range(2):
        command = command.commands[words.pop(0)]
    with command.make_context(job, words) as context:
        assert context.params["name"] == "efficient1"
        assert context.params["storage"].startswith("postgresql://")


def test_a_worker_for_each_index() -> None:
    for which in SEARCH:
        spec = find(shipped(which), "Job", "search-worker")["spec"]
        assert spec["completionMode"] == "Indexed"
        assert spec["completions"] == spec["parallelism"] > 1
        assert spec["suspend"] is True
