"""docker-compose.yml against the Compose specification, and against what the repository holds."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from api.settings import Settings
from tests.deploy.dockerfiles import ROOT, stages

PUBLISHED = {"gateway": "127.0.0.1:8000:8000", "prometheus": "127.0.0.1:9090:9090", "grafana": "127.0.0.1:3000:3000"}
# Folders that the user brings, by variable.
BROUGHT = {"./data"}


def interpolated() -> dict[str, Any]:
    """The file as Compose reads it where no variable is set."""
    text = (ROOT / "docker-compose.yml").read_text()
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)
    assert "$" not in re.sub(r"#.*", "", text), "a variable without a default keeps `docker compose up` from working"
    return yaml.safe_load(text)


COMPOSE = interpolated()
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def dockerfile(service: str) -> str | None:
    build = SERVICES[service].get("build")
    if build is None:
        return None
    assert build["context"] == "."
    return build["dockerfile"]


def mounts(service: str) -> list[tuple[str, str]]:
    """Source and target of every volume."""
    found = []
    for volume in SERVICES[service].get("volumes", []):
        source, target = volume.split(":")[:2] if isinstance(volume, str) else (volume["source"], volume["target"])
        found.append((source, target))
    return found


def test_it_is_what_the_specification_says() -> None:
    plain = {key: value for key, value in COMPOSE.items() if not key.startswith("x-")}
    PyCompose.from_json(json.dumps(plain)).validate()


def test_a_key_that_the_specification_lacks_is_found() -> None:
    wrong = {"services": {"gateway": {**SERVICES["gateway"], "health_check": {}}}}
    with pytest.raises(ValueError, match="health_check"):
        PyCompose.from_json(json.dumps(wrong))


def test_these_are_the_services() -> None:
    profiles = {name: service.get("profiles", []) for name, service in SERVICES.items()}
    plain, search = [], ["search"]
    assert profiles == {
        "gateway": plain,
        "serving": plain,
        "postgres": plain,
        "prometheus": plain,
        "grafana": plain,
        "study-create": search,
        "search-worker": search,
    }


@pytest.mark.parametrize("service", SERVICES)
def test_images_are_pinned_and_our_own_are_built_here(service: str) -> None:
    image = SERVICES[service]["image"]
    assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+(\.\d+)?(-\w+)?", image), image
    ours = image.startswith("emotion-serving/")
    assert ours is (dockerfile(service) is not None)
    if ours:
        version = stages(dockerfile(service))[-1].pairs("LABEL")["org.opencontainers.image.version"]
        assert image.endswith(f":{version}")
        # A registry may hold somebody else's image of that name.
        assert SERVICES[service]["pull_policy"] == "build"


@pytest.mark.parametrize("service", SERVICES)
def test_containers_may_do_little(service: str) -> None:
    options = SERVICES[service]
    assert options["read_only"] is True
    assert options["cap_drop"] == ["ALL"]
    assert options["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "pid", "network_mode", "ipc"} & set(options)
    user = options.get("user") or stages(dockerfile(service))[-1].values("USER")[0]
    assert int(user.split(":")[0]) > 0
    assert "restart" in options
    assert any(target.split(":")[0] == "/tmp" for target in options["tmpfs"])


def test_only_three_ports_are_published_and_on_loopback() -> None:
    assert {name: service["ports"] for name, service in SERVICES.items() if "ports" in service} == {
        name: [port] for name, port in PUBLISHED.items()
    }
    # A network without a way out cannot publish; the database and the model server are on nothing else.
    assert {name for name, network in COMPOSE["networks"].items() if not (network or {}).get("internal")} == {"front"}
    assert {name for name, service in SERVICES.items() if "front" in service["networks"]} == set(PUBLISHED)


@pytest.mark.parametrize("service", SERVICES)
def test_every_mount_is_there_and_what_is_ours_is_read_only(service: str) -> None:
    for volume, (source, target) in zip(SERVICES[service].get("volumes", []), mounts(service), strict=True):
        assert Path(target).is_absolute()
        if not source.startswith("."):
            assert source in COMPOSE["volumes"]
            continue
        read_only = volume.endswith(":ro") if isinstance(volume, str) else volume["read_only"]
        assert read_only, source
        if source in BROUGHT:
            # Docker would make an empty folder of root's for a path that was mistyped.
            assert volume["bind"] == {"create_host_path": False}
        else:
            assert (ROOT / source).is_dir(), source


def test_every_named_volume_and_network_is_used() -> None:
    used = {source for service in SERVICES for source, _ in mounts(service)}
    assert set(COMPOSE["volumes"]) <= used
    assert set(COMPOSE["networks"]) == {name for service in SERVICES.values() for name in service["networks"]}


@pytest.mark.parametrize("service", SERVICES)
def test_it_waits_for_what_can_come_true(service: str) -> None:
    for name, wait in SERVICES[service].get("depends_on", {}).items():
        if wait["condition"] == "service_healthy":
            file = dockerfile(name)
            assert "healthcheck" in SERVICES[name] or (file and stages(file)[-1].values("HEALTHCHECK")), name
        else:
            assert wait["condition"] == "service_completed_successfully"
            assert SERVICES[name]["restart"] == "no", name


def test_who_talks_shares_a_network() -> None:
    for one, other in [
        ("gateway", "serving"),
        ("gateway", "postgres"),
        ("prometheus", "gateway"),
        ("prometheus", "serving"),
        ("grafana", "prometheus"),
        ("study-create", "postgres"),
        ("search-worker", "postgres"),
    ]:
        assert set(SERVICES[one]["networks"]) & set(SERVICES[other]["networks"]), (one, other)
    assert not set(SERVICES["grafana"]["networks"]) & set(SERVICES["serving"]["networks"])


def test_the_gateway_has_the_settings_that_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    image = stages("Dockerfile.api")[-1].environment
    given = {key: value for key, value in {**image, **SERVICES["gateway"]["environment"]}.items() if value is not None}
    for key, value in given.items():
        if key.startswith("EMOTION_"):
            monkeypatch.setenv(key, value)
    names = [key for key in SERVICES["gateway"]["environment"] if key.startswith("EMOTION_")]
    assert {name.removeprefix("EMOTION_").lower() for name in names} <= set(Settings.model_fields)
    settings = Settings()
    assert settings.model_server == "dns:///serving:8500"
    assert settings.database_url.get_secret_value().startswith("postgresql://")
    # Longer than what may be in flight when it is asked to stop.
    in_flight = settings.upload_timeout_s + settings.request_timeout_s
    assert float(SERVICES["gateway"]["stop_grace_period"].removesuffix("s")) > in_flight


def test_one_password_opens_the_database() -> None:
    password = SERVICES["postgres"]["environment"]["POSTGRES_PASSWORD"]
    user = SERVICES["postgres"]["environment"]["POSTGRES_USER"]
    assert password
    for service in ("gateway", "study-create", "search-worker"):
        assert SERVICES[service]["environment"]["PGPASSWORD"] == password
    urls = re.findall(r"postgresql://(\w+)@(\w+)/(\w+)", (ROOT / "docker-compose.yml").read_text())
    created = re.findall(r"CREATE DATABASE (\w+);", (ROOT / "postgres" / "create-search-database.sql").read_text())
    databases = {SERVICES["postgres"]["environment"]["POSTGRES_DB"], *created}
    assert {(owner, host) for owner, host, _ in urls} == {(user, "postgres")}
    assert {database for *_, database in urls} == databases


def test_the_model_server_keeps_the_flags_of_its_image() -> None:
    assert not {"command", "entrypoint", "environment"} & set(SERVICES["serving"])
    assert mounts("serving") == [("./model_repository", "/models"), ("./serving", "/config")]


@pytest.mark.parametrize("service", ["study-create", "search-worker"])
def test_the_trainer_knows_what_it_is_told(service: str) -> None:
    group, command, *arguments = SERVICES[service]["command"]
    done = subprocess.run(
        [sys.executable, "-m", "trainer", group, command, "--help"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=300, env={"COLUMNS": "200", "TERM": "dumb"},
    )  # fmt: skip
    options = {argument.partition("=")[0] for argument in arguments if argument.startswith("--")}
    assert options
    for option in options:
        assert re.search(rf"(?<![\w-]){option}(?![\w-])", done.stdout), option
    assert len([argument for argument in arguments if not argument.startswith("--")]) == 1


def test_workers_take_the_study_that_is_made() -> None:
    names = [SERVICES[service]["command"][2] for service in ("study-create", "search-worker")]
    storages = [SERVICES[service]["command"][-1] for service in ("study-create", "search-worker")]
    assert names[0] == names[1]
    assert storages[0] == storages[1]
    assert isinstance(SERVICES["search-worker"]["deploy"]["replicas"], int)
    data = [target for _, target in mounts("search-worker")]
    assert data == ["/data", "/app/runs"]


def test_grafana_reads_its_dashboards_where_they_are_mounted() -> None:
    targets = {target for _, target in mounts("grafana")}
    providers = list((ROOT / "observability/grafana/provisioning/dashboards").glob("*.yml"))
    assert providers
    for file in providers:
        for provider in yaml.safe_load(file.read_text())["providers"]:
            assert provider["options"]["path"] in targets
