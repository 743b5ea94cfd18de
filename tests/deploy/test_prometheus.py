"""A drill: a real Prometheus scrapes a real gateway, and every query of the dashboard has something to show."""

import asyncio
import json
import math
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from tests.api.gateway_process import GatewayProcess
from tests.deploy import monitored
from tests.ports import free_port

pytestmark = pytest.mark.drill

# It takes about ten seconds: a rate needs two scrapes. The rest is for slow machines.
PATIENCE_S = 80


class Prometheus:
    """Prometheus on our own configuration and rules, but scraping every second, and targets of this machine."""

    def __init__(self, program: str, folder: Path, ports: dict[str, int]) -> None:
        """ports: of the target of each job."""
        config = yaml.safe_load(monitored.CONFIG.read_text())
        config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(monitored.RULES)]
        for job in config["scrape_configs"]:
            del job["dns_sd_configs"]
            job["static_configs"] = [{"targets": [f"127.0.0.1:{ports[job['job_name']]}"]}]
        file = folder / "prometheus.yml"
        file.write_text(yaml.safe_dump(config))
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._log = folder / "prometheus.log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [
                    program,
                    f"--config.file={file}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{port}",
                    "--enable-feature=exemplar-storage",
                ],
                stdout=log,
                stderr=log,
            )

    async def ready(self, client: httpx.AsyncClient) -> None:
        async with asyncio.timeout(60):
            while True:
                assert self.process.poll() is None, self._log.read_text()
                try:
                    if (await client.get(f"{self.url}/-/ready")).status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.1)

    async def get(self, client: httpx.AsyncClient, path: str, **parameters: str) -> Any:
        response = await client.get(f"{self.url}/api/v1/{path}", params=parameters)
        assert response.status_code == 200, response.text
        return response.json()["data"]

    async def has_data(self, client: httpx.AsyncClient, query: str) -> bool:
        found = await self.get(client, "query", query=query)
        return any(not math.isnan(float(series["value"][1])) for series in found["result"])

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def program() -> str:
    found = shutil.which("prometheus")
    if found is None:
        pytest.skip("no prometheus: apt-get install prometheus")
    return found


@pytest.fixture
def closing() -> Iterator[list[Any]]:
    """What is put in is closed at the end."""
    things: list[Any] = []
    yield things
    for thing in reversed(things):
        thing.close()


async def stream(url: str, frame: bytes) -> None:
    """One frame of a camera."""
    address = f"{url.replace('http', 'ws', 1)}/v1/stream"
    async with connect(address, subprotocols=[Subprotocol("emotion.v1")], proxy=None) as socket:
        await socket.send(json.dumps({"type": "configure", "label": "stable"}))
        await socket.send(frame)
        reply = json.loads(await socket.recv())
        assert reply["type"] == "result", reply


async def test_every_query_of_the_dashboard_returns_data(program: str, tmp_path: Path, closing: list[Any]) -> None:
    queries = {f"{title}: {query}": query for title, query in monitored.queries(rate_interval="10s")}
    async with monitored.model_server() as server, httpx.AsyncClient(timeout=60) as client:
        settings = monitored.settings(tmp_path, server)
        gateway = await asyncio.to_thread(GatewayProcess, tmp_path, **settings, outcome_flush_s=0.1)
        closing.append(gateway)
        with monitored.tensorflow_serving_metrics() as serving_port:
            prometheus = Prometheus(program, tmp_path, {"gateway": gateway.port, "serving": serving_port})
            closing.append(prometheus)
            await prometheus.ready(client)
            loop = asyncio.get_running_loop()
            deadline = loop.time() + PATIENCE_S
            async with httpx.AsyncClient(base_url=gateway.url, timeout=60) as asking:
                while queries and loop.time() < deadline:
                    await monitored.traffic(asking, monitored.photo())
                    await stream(gateway.url, monitored.photo())
                    await asyncio.sleep(0.3)
                    for title, query in list(queries.items()):
                        if await prometheus.has_data(client, query):
                            del queries[title]
            assert list(queries) == [], "these have no data"

            targets = (await prometheus.get(client, "targets"))["activeTargets"]
            assert {(target["labels"]["job"], target["health"]) for target in targets} == {
                ("gateway", "up"),
                ("serving", "up"),
            }
            groups = (await prometheus.get(client, "rules"))["groups"]
            seen = [rule for group in groups for rule in group["rules"]]
            assert len(seen) == len(monitored.rules())
            assert {(rule["health"], rule.get("lastError", "")) for rule in seen} == {("ok", "")}
            firing = await prometheus.get(client, "query", query='ALERTS{alertstate="firing"}')
            assert firing["result"] == []
