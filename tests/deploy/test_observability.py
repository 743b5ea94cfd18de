"""Alerts and dashboard: they name what is really exported, parse, and fire when they should."""

import itertools
import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from api.app import create_app
from api.settings import Settings
from tests.api.experiments.conftest import until
from tests.api.in_process import in_process
from tests.deploy import monitored

ALERTS_TEST = Path(__file__).with_name("alerts_test.yml")
ROOT = Path(__file__).resolve().parents[2]
MANUALS = ("docs/experiments.md", "docs/operating.md", "observability/README.md")

# Of Prometheus itself.
BUILT_IN = {"up", "ALERTS"}
SCRAPE_LABELS = {"job", "instance", "namespace"}
SEVERITIES = {"critical", "warning", "info"}

Exported = dict[str, set[frozenset[str]]]


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("no promtool: apt-get install prometheus")
    return found


def check(promtool: str, *arguments: str) -> None:
    done = subprocess.run([promtool, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
async def exported(tmp_path: Path) -> Exported:
    """Label names by name of the series, of a gateway that has had every kind of request."""
    async with monitored.model_server() as server:
        app = create_app(Settings(**monitored.settings(tmp_path, server)))
        async with in_process(app) as (client, _):
            await monitored.traffic(client, monitored.photo())
            text = ""

            async def shadowed() -> bool:
                nonlocal text
                text = (await client.get("/metrics")).text
                return {"emotion_shadow_results_total{", "emotion_shadow_errors_total{"} <= set(
                    re.findall(r"^\w+\{", text, re.MULTILINE)
                )

            await until(shadowed)
    series: Exported = defaultdict(set)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            series[sample.name].add(frozenset(sample.labels))
    return series


def test_rules_and_dashboard_name_only_what_is_exported(exported: Exported) -> None:
    recorded = {rule["record"] for rule in monitored.rules() if "record" in rule}
    served = set(re.findall(r"^(:[\w:]+)\{", monitored.TENSORFLOW_SERVING, re.MULTILINE))
    known = set(exported) | recorded | served | BUILT_IN
    board = monitored.dashboard()
    expressions = [
        *(rule["expr"] for rule in monitored.rules()),
        *(query for _, query in monitored.queries()),
        *(annotation["expr"] for annotation in board["annotations"]["list"]),
    ]
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            [name] = re.findall(r"^label_values\((\w+), \w+\)$", variable["definition"])
            expressions.append(name)
    named = set().union(*map(monitored.metric_names, expressions))
    assert len(named) > 40
    assert named - known == set()


def test_the_manuals_name_all_that_is_exported_and_nothing_else(exported: Exported) -> None:
    named = set().union(*(re.findall(r"`(emotion_[a-z_]+)`", (ROOT / name).read_text()) for name in MANUALS))

    def family(name: str) -> str:
        return re.sub(r"_(bucket|count|created|info|sum|total)$", "", name)

    ours = {name for name in exported if name.startswith("emotion_")}
    assert set(map(family, named)) == set(map(family, ours))


def test_the_series_of_the_alerts_test_are_like_real_ones(exported: Exported) -> None:
    """Else an alert could pass its test and never fire."""
    tests = yaml.safe_load(ALERTS_TEST.read_text())["tests"]
    given = {entry["series"] for test in tests for entry in test["input_series"]}
    for series in given:
        name, _, labels = series.partition("{")
        if name not in BUILT_IN:
            found = frozenset(re.findall(r"(\w+)=", labels)) - SCRAPE_LABELS
            assert found in exported[name], series


def test_every_alert_says_what_to_do() -> None:
    alerts = [rule for rule in monitored.rules() if "alert" in rule]
    assert len({alert["alert"] for alert in alerts}) == len(alerts) > 15
    for alert in alerts:
        assert alert["labels"]["severity"] in SEVERITIES, alert["alert"]
        assert set(alert["annotations"]) == {"summary", "runbook"}, alert["alert"]


def test_every_alert_is_seen_firing_by_the_alerts_test() -> None:
    fired = set(re.findall(r'ALERTS\{alertname="(\w+)", alertstate="firing"', ALERTS_TEST.read_text()))
    assert fired == {rule["alert"] for rule in monitored.rules() if "alert" in rule}


def test_the_jobs_are_those_that_prometheus_scrapes() -> None:
    jobs = {job["job_name"] for job in yaml.safe_load(monitored.CONFIG.read_text())["scrape_configs"]}
    text = monitored.RULES.read_text() + monitored.DASHBOARD.read_text().replace('\\"', '"')
    patterns = set(re.findall(r'job=~"(.*?)"', text))
    assert patterns
    for pattern in patterns:
        assert any(re.fullmatch(pattern, job) for job in jobs), pattern


def test_configuration_and_rules_are_valid(promtool: str) -> None:
    check(promtool, "check", "config", str(monitored.CONFIG))
    check(promtool, "check", "rules", "--lint-fatal", str(monitored.RULES))


def test_alerts_fire_when_they_should_and_only_then(promtool: str) -> None:
    check(promtool, "test", "rules", str(ALERTS_TEST))


def test_every_query_of_the_dashboard_parses(promtool: str, tmp_path: Path) -> None:
    recording = [{"record": f"query:{i}", "expr": query} for i, (_, query) in enumerate(monitored.queries())]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": recording}]}))
    check(promtool, "check", "rules", str(file))


def test_the_dashboard_is_well_formed() -> None:
    board = monitored.dashboard()
    assert board["uid"] == "emotion-serving"
    variables = {variable["name"] for variable in board["templating"]["list"]}
    assert set(re.findall(r"\$\{?([a-z]\w*)", monitored.DASHBOARD.read_text())) == variables
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in monitored.panels():
        title = panel["title"]
        assert title
        assert panel["description"], title
        assert panel["fieldConfig"]["defaults"]["unit"], title
        assert panel["datasource"]["uid"] == "${datasource}", title
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references) > 0, title
        for target in panel["targets"]:
            assert target["datasource"] == panel["datasource"], title
            # A second data series would not be told from the first.
            assert target["legendFormat"] or panel["type"] == "stat", title


def test_no_panel_of_the_dashboard_covers_another() -> None:
    cells: dict[tuple[int, int], str] = {}
    for panel in monitored.dashboard()["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        columns = range(place["x"], place["x"] + place["w"])
        rows = range(place["y"], place["y"] + place["h"])
        for cell in itertools.product(columns, rows):
            assert cell not in cells, f"{panel['title']} covers {cells[cell]}"
            cells[cell] = panel["title"]


def test_grafana_is_provisioned_with_the_prometheus_of_compose() -> None:
    folder = monitored.FOLDER / "grafana" / "provisioning"
    [source] = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert (source["type"], source["url"], source["isDefault"]) == ("prometheus", "http://prometheus:9090", True)
    interval = yaml.safe_load(monitored.CONFIG.read_text())["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == interval
    [provider] = yaml.safe_load((folder / "dashboards" / "emotion-serving.yml").read_text())["providers"]
    assert provider["type"] == "file"
