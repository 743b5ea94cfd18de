"""Requests that get lost from one variant, from the request to the report."""

from collections.abc import Callable

import grpc

from tests.api.experiments.conftest import ADMIN, ADMIN_KEY, Versions, WriteExperiment, fails_with, until

# Kept counts are as old as fifty countings take, which on a busy machine is longer than a test waits.
REPORT = "/experiments/trial/report?fresh=true"


async def test_failed_requests_of_one_variant_break_the_split(
    open_gateway: Callable, versions: Versions, write_experiment: WriteExperiment, ask: Callable
) -> None:
    settings = {"experiments": write_experiment(), "admin_key": ADMIN_KEY, "outcome_flush_s": 0.05}
    async with open_gateway(model_server=versions.address, **settings) as client:

        async def split() -> dict:
            return (await client.get(REPORT, headers=ADMIN)).json()["split"]

        answered = [await ask(client, f"user-{n}") for n in range(40)]
        counted = {name: sum(one.json()["variant"] == name for one in answered) for name in ("old", "new")}

        async def settled() -> bool:
            found = await split()
            return found["assigned"] == found["observed"] == counted

        await until(settled)
        assert (await split())["lost"] == {"old": 0, "new": 0}

        # The control has nobody who would answer for it.
        versions.faults[1] = fails_with(grpc.StatusCode.INTERNAL)
        failed = 0
        while failed < 60:
            failed += (await ask(client)).status_code == 502
        assert (await ask(client, headers={"X-Variant": "old"})).status_code == 502

        async def counted_as_lost() -> bool:
            return (await split())["lost"]["old"] >= failed

        await until(counted_as_lost)
        report = (await client.get(REPORT, headers=ADMIN)).json()
    assert report["split"]["lost"] == {"old": failed, "new": 0}
    assert [variant["lost"] for variant in report["variants"]] == [failed, 0]
    assert report["verdict"] == "broken split"
    assert "do not get lost from the variants alike" in report["advice"]
