"""`python -m serving` with --overlay: labels and experiments, on real servers behind a stand-in for kubectl."""

import json
import os
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving import models_config
from serving.errors import ServingError
from serving.rollout import cluster
from serving.rollout.__main__ import main
from serving.rollout.client import connect
from tests.api.gateway_process import GatewayProcess
from tests.api.model_server_process import ModelServer as ModelServerProcess
from tests.deploy.k8s_manifests import KUBECTL, ROOT, needs_kubectl
from wire.target import Target

pytestmark = [needs_kubectl, pytest.mark.drill]

ADMIN_KEY = "an-operators-key"
CONFIG = """# Kept.
model_config_list {{
  config {{
    name: "residual"
    base_path: "{}/model_repository/residual"
    model_platform: "tensorflow"
    model_version_policy {{ specific {{ versions: 1 versions: 2 }} }}
    version_labels {{ key: "stable" value: 1 }}
  }}
}}
"""
EXPERIMENT = {
    "name": "newer",
    "start": "2026-01-01T00:00:00Z",
    "variants": [
        {"name": "old", "model": "residual", "label": "stable", "weight": 90},
        {"name": "new", "model": "residual", "version": 2, "weight": 10},
    ],
}


@dataclass
class Site:
    """A working tree, a stand-in for kubectl, and what runs behind its pods."""

    root: Path
    ports: dict[str, int] = field(default_factory=dict)

    @property
    def overlay(self) -> Path:
        return self.root / "tree" / "k8s" / "overlays" / "dev"

    @property
    def config(self) -> Path:
        return self.root / "tree" / "serving" / "models.config"

    @property
    def experiments(self) -> Path:
        return self.root / "tree" / "k8s" / "base" / "experiments.yaml"

    @property
    def kubectl(self) -> Path:
        return self.root / "bin"

    def mount(self, pod: str) -> Path:
        return self.root / "mounts" / pod

    def labels(self, text: str | None = None) -> dict[str, int]:
        """Of the file, unless a text is given."""
        proto = models_config.parse(self.config.read_text() if text is None else text, self.config)
        [entry] = proto.model_config_list.config
        return dict(entry.version_labels)

    def live(self) -> str:
        """models.config of the cluster."""
        return json.loads((self.kubectl / "config_maps" / "models-config.json").read_text())["data"]["models.config"]

    def log(self) -> list[str]:
        return (self.kubectl / "log").read_text().splitlines()

    def configure(self, **changes: Any) -> None:
        state = self.kubectl / "state.json"
        state.write_text(json.dumps(json.loads(state.read_text()) | changes))

    def stuck(self, pod: str) -> None:
        """From now on, the pod's mounts stay as they are."""
        pods = json.loads((self.kubectl / "state.json").read_text())["pods"]
        pods[pod]["mounts"] = {}
        self.configure(pods=pods)

    def answering(self, pod: str, label: str = "stable") -> int:
        with connect(f"127.0.0.1:{self.ports[pod]}") as server:
            return server.answering_version(Target("residual", label=label))


def pods(site: Site) -> dict[str, Any]:
    def of(name: str, app: str, port: str, config_map: str) -> dict[str, Any]:
        return {"app": app, "ports": {port: site.ports[name]}, "mounts": {str(site.mount(name)): config_map}}

    servers = {name: of(name, "serving", ":8500", "models-config") for name in ("serving-a", "serving-b")}
    return servers | {"gateway-a": of("gateway-a", "gateway", ":8000", "experiments")}


def write_mount(folder: Path, name: str, text: str) -> None:
    """As a kubelet first mounts a ConfigMap."""
    (folder / "..first").mkdir(parents=True)
    (folder / "..first" / name).write_text(text)
    (folder / "..data").symlink_to("..first")
    (folder / name).symlink_to(Path("..data") / name)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site"))
    for version in ("1", "2"):
        shutil.copytree(
            ROOT / "model_repository" / "residual" / "4", site.root / "model_repository" / "residual" / version
        )
    with ExitStack() as stack:
        for name in ("serving-a", "serving-b"):
            write_mount(site.mount(name), "models.config", CONFIG.format(site.root))
            process = ModelServerProcess(
                f"--model_config_file={site.mount(name)}/models.config",
                "--model_config_file_poll_wait_seconds=1",
                "--allow_version_labels_for_unavailable_models=true",
            )
            stack.callback(process.stop)
            site.ports[name] = process.port
        write_mount(site.mount("gateway-a"), "experiments.yaml", "experiments: []\n")
        gateway = GatewayProcess(
            site.root / "gateway-a",
            model_server=f"127.0.0.1:{site.ports['serving-a']}",
            admin_key=ADMIN_KEY,
            experiments=site.mount("gateway-a") / "experiments.yaml",
        )
        stack.callback(gateway.close)
        site.ports["gateway-a"] = gateway.port
        yield site


@pytest.fixture
def site(servers: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """stable at version 1, in the file, the cluster and the pods; no experiment."""
    site = Site(servers.root, servers.ports)
    tree = site.root / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(ROOT / "k8s", tree / "k8s")
    (tree / "serving").mkdir()
    for name in ("kustomization.yaml", "batching.config", "monitoring.config"):
        shutil.copy(ROOT / "serving" / name, tree / "serving")
    site.config.write_text(CONFIG.format(site.root))
    shutil.rmtree(site.kubectl, ignore_errors=True)
    (site.kubectl / "config_maps").mkdir(parents=True)
    program = site.kubectl / "kubectl"
    program.write_text(f"#!{sys.executable}\n" + Path(__file__).with_name("fake_kubectl.py").read_text())
    program.chmod(0o755)
    state = {"kubectl": KUBECTL, "namespace": "emotion-serving", "pods": pods(site), "refusing": ""}
    (site.kubectl / "state.json").write_text(json.dumps(state))
    for command in (
        ["apply", str(site.overlay)],
        *(["annotate", "pods", f"--selector=app.kubernetes.io/name={app}", "a=b"] for app in ("serving", "gateway")),
    ):
        subprocess.run([program, *command, "--namespace=emotion-serving"], check=True)
    for pod in ("serving-a", "serving-b"):
        until(lambda pod=pod: site.answering(pod) == 1)
    monkeypatch.setenv("PATH", f"{site.kubectl}:{os.environ['PATH']}")
    monkeypatch.setattr(cluster, "POLL_S", 0.1)
    (site.kubectl / "log").unlink()
    return site


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    for _ in range(int(seconds / 0.1)):
        if condition():
            return
        threading.Event().wait(0.1)
    pytest.fail("did not come true in time")


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """run(command, arguments...): exit status, standard output and error. The overlay and the config are given."""

    def call(command: str, *arguments: str) -> tuple[int, str, str]:
        edited = [f"--config={site.config}"] if command in ("promote", "rollback") else []
        shipped = [] if edited else [f"--repository={site.root / 'model_repository'}"]
        places = [f"--overlay={site.overlay}", *edited, *shipped]
        # What a test gives itself comes last, and wins.
        monkeypatch.setattr(sys, "argv", ["serving", command, *places, *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        return (int(end.value.code or 0), *capsys.readouterr())

    return call


@dataclass
class Load:
    """Calls by label to every model server, one after the other, while it runs."""

    site: Site
    answered: list[int] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def __enter__(self) -> "Load":
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(pod,)) for pod in ("serving-a", "serving-b")]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _call(self, pod: str) -> None:
        with connect(f"127.0.0.1:{self.site.ports[pod]}") as server:
            while not self._stop.wait(0.01):
                try:
                    self.answered.append(server.answering_version(Target("residual", label="stable")))
                except ServingError as error:
                    self.failed.append(str(error))


def test_promote_and_rollback_under_load(site: Site, run: Run) -> None:
    with Load(site) as load:
        until(lambda: len(load.answered) > 20)
        status, out, err = run("promote", "residual", "2")
        assert (status, err) == (0, ""), out
        assert [site.answering(pod) for pod in ("serving-a", "serving-b")] == [2, 2]
        assert site.labels() == site.labels(site.live()) == {"stable": 2, "stable-previous": 1}
        assert site.config.read_text().startswith("# Kept.\n")
        assert "stable from version 1 to version 2" in out
        status, out, err = run("rollback", "residual")
        assert (status, err) == (0, ""), out
        assert [site.answering(pod) for pod in ("serving-a", "serving-b")] == [1, 1]
        assert site.labels() == site.labels(site.live()) == {"stable": 1, "stable-previous": 2}
        count = len(load.answered)
        until(lambda: len(load.answered) > count + 20)
    assert load.failed == []
    assert set(load.answered) == {1, 2}
    assert all(line.startswith("apply --filename=-") for line in site.log() if line.startswith("apply"))


def test_a_version_that_no_pod_has(site: Site, run: Run) -> None:
    before = site.config.read_text()
    status, _, err = run("promote", "residual", "9")
    assert status == 1
    assert err == (
        "error: pod serving-a has not loaded residual version 9 (it has 1 AVAILABLE, 2 AVAILABLE):"
        " roll out an image that has it\n"
    )
    assert site.config.read_text() == site.live() == before
    assert not any(line.startswith("apply") for line in site.log())


def test_a_pod_that_does_not_follow_takes_it_back(site: Site, run: Run) -> None:
    before = site.config.read_text()
    site.stuck("serving-b")
    status, _, err = run("promote", "residual", "2", "--timeout=5")
    assert status == 1
    assert err.count("\n") == 1
    assert "after 5 s: pod serving-b: residual stable answers with version 1, not 2" in err
    assert "are as before" in err
    assert site.config.read_text() == site.live() == before
    until(lambda: site.answering("serving-a") == 1)


def test_what_somebody_else_promoted_is_not_taken_back(site: Site, run: Run) -> None:
    file = site.kubectl / "config_maps" / "models-config.json"
    file.write_text(file.read_text().replace("value: 1", "value: 2"))
    for command in (["promote", "residual", "2"], ["apply"]):
        status, _, err = run(*command)
        assert status == 1
        assert "get the newest commit" in err
    assert "value: 2" in site.live()


def test_nothing_to_roll_back_to(site: Site, run: Run) -> None:
    status, _, err = run("rollback", "residual")
    assert (status, err) == (
        1,
        f"error: {site.config}: residual has no label 'stable-previous': nothing to roll back to\n",
    )


def test_dry_run_changes_nothing(site: Site, run: Run) -> None:
    before = site.config.read_text()
    status, out, _ = run("promote", "residual", "2", "--dry-run")
    assert status == 0
    added = [line for line in out.splitlines() if line.startswith("+")]
    assert "+      value: 2" in added
    assert '+      key: "stable-previous"' in added
    assert run("apply", "--dry-run")[:2] == (0, f"a difference in {site.overlay}\n\n")
    assert site.config.read_text() == site.live() == before
    assert not any(line.startswith(("apply", "annotate")) for line in site.log())


def test_apply_waits_for_pods_and_labels(site: Site, run: Run) -> None:
    status, out, err = run("apply")
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "deployment/serving: rolled out",
        "deployment/gateway: rolled out",
        "every model server answers the labels of models.config",
    ]


def test_check_asks_every_pod_and_changes_nothing(site: Site, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    status, out, err = run("check")
    assert (status, err) == (0, "")
    assert "every model server answers the labels of models.config" in out
    monkeypatch.setenv("EMOTION_ADMIN_KEY", ADMIN_KEY)
    site.experiments.write_text(yaml.safe_dump({"experiments": [EXPERIMENT]}))
    status, _, err = run("check")
    assert (status, err) == (1, "error: pod gateway-a: an earlier experiments.yaml is in use\n")
    with connect(f"127.0.0.1:{site.ports['serving-b']}") as server:
        moved = models_config.parse(site.live().replace("value: 1", "value: 2"), site.config)
        server.reload(moved, 60)
        status, _, err = run("check")
        server.reload(models_config.parse(site.live(), site.config), 60)
    assert (status, err) == (1, "error: pod serving-b: residual stable answers with version 2, not 1\n")
    assert not any(line.startswith(("apply", "annotate")) for line in site.log())


def test_the_shipped_overlays_go_by_their_names(site: Site, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["serving", "check", "--overlay=dev"])
    with pytest.raises(SystemExit):
        main()
    assert site.log()[0] == f"kustomize {ROOT / 'k8s' / 'overlays' / 'dev'}"


def test_apply_says_that_a_rollout_failed(site: Site, run: Run) -> None:
    site.configure(refusing="rollout")
    status, _, err = run("apply")
    assert (status, err) == (1, "error: kubectl rollout status deployment/serving: error: rollout is refused\n")


def test_apply_refuses_a_label_on_a_version_that_no_image_will_have(site: Site, run: Run, tmp_path: Path) -> None:
    status, _, err = run("apply", f"--repository={tmp_path}")
    assert (status, err) == (
        1,
        f"error: models.config: residual stable is version 1, which is not in {tmp_path}\n",
    )
    assert not any(line.startswith("apply") for line in site.log())


def test_an_experiment_begins_and_ends(site: Site, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOTION_ADMIN_KEY", ADMIN_KEY)
    for experiments in ([EXPERIMENT], []):
        site.experiments.write_text(yaml.safe_dump({"experiments": experiments}))
        status, out, err = run("apply")
        assert (status, err) == (0, "")
        assert "every gateway has taken up experiments.yaml" in out
        request = urllib.request.Request(
            f"http://127.0.0.1:{site.ports['gateway-a']}/v1/experiments", headers={"X-Admin-Key": ADMIN_KEY}
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            assert [one["name"] for one in json.load(response)["experiments"]] == [one["name"] for one in experiments]


def test_a_gateway_that_does_not_follow(site: Site, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOTION_ADMIN_KEY", ADMIN_KEY)
    site.stuck("gateway-a")
    site.experiments.write_text(yaml.safe_dump({"experiments": [EXPERIMENT]}))
    status, _, err = run("apply", "--timeout=2")
    assert (status, err) == (1, "error: after 2 s: pod gateway-a: an earlier experiments.yaml is in use\n")


@pytest.mark.parametrize(
    ("change", "key", "reason"),
    [
        ({}, "", "experiments.yaml was edited, and EMOTION_ADMIN_KEY is not set to ask the gateways with"),
        ({"variants": []}, ADMIN_KEY, "experiments.yaml: experiments[0].variants: "),
        (
            {"variants": [{"name": "new", "model": "residual", "version": 9, "weight": 1}]},
            ADMIN_KEY,
            "experiments.yaml: new: pod serving-a does not answer residual version 9;",
        ),
    ],
)
def test_an_experiment_is_refused(
    site: Site, run: Run, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], key: str, reason: str
) -> None:
    monkeypatch.setenv("EMOTION_ADMIN_KEY", key)
    site.experiments.write_text(yaml.safe_dump({"experiments": [EXPERIMENT | change]}))
    status, _, err = run("apply")
    assert status == 1
    assert reason in err
    assert err.count("\n") == 1
    assert not any(line.startswith("apply") for line in site.log())


def test_a_pod_that_cannot_be_reached(site: Site, run: Run) -> None:
    site.configure(refusing="port-forward")
    status, _, err = run("promote", "residual", "2")
    assert (status, err) == (
        1,
        "error: pod serving-a: port 8500 cannot be reached: error: port-forward is refused\n",
    )


def test_no_kubectl(site: Site, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run("apply")[::2] == (1, "error: kubectl is not on the PATH\n")
