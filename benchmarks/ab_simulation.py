"""Does the A/B testing keep its promises, where the truth is known?

    python -m benchmarks.ab_simulation statistics --runs 2000     # minutes; the tests alone, on drawn data
    python -m benchmarks.ab_simulation service --requests 20000   # minutes; gateway, database and report

`statistics` looks daily at many experiments: how often is there a false alarm, a miss, an interval that does not cover
the truth? `service` sends faces through two gateways on one database to a stand-in for the model server whose versions
are right with known probability, gives feedback on every face, and reads the report.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Annotated

import grpc
import httpx
import numpy as np
import typer
import yaml
from PIL import Image
from rich.console import Console
from rich.table import Table
from scipy.stats import binom, chisquare
from sqlalchemy import delete, func, select, update

from api.app import create_app
from api.outcomes.store import OutcomeStore
from api.outcomes.tables import assignments, predictions, splits
from api.reports import always_valid, proportions
from api.reports.proportions import Proportion
from api.reports.report import ALPHA
from api.reports.split_check import SPLIT_ALPHA
from api.settings import Settings
from tests.api.in_process import in_process
from wire import serving_pb2 as pb

CLASSES = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
ACCURACIES = {1: 0.65, 2: 0.70}
KEY = "a key of the simulation"

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)
console = Console()


@app.command("statistics")
def simulate_statistics(
    runs: int = 2000,
    days: int = 40,
    daily: Annotated[int, typer.Option(help="Subjects a day and variant.")] = 200,
    seed: int = 1,
) -> None:
    """Daily looks at experiments without and with a difference, with subjects alike, differing, and very different."""
    table = Table(
        "subjects", "false alarms, every look", "the same by one-look p", "coverage of every look", "of one look"
    )
    table.add_column("power, 5 points")
    generator = np.random.default_rng(seed)
    for name, spread in (("alike", 1e6), ("differing", 3.0), ("very different", 0.5)):
        same = [_experiment(generator, (0.65, 0.65), spread, days, daily) for _ in range(runs)]
        other = [_experiment(generator, (0.70, 0.65), spread, days, daily) for _ in range(runs)]
        table.add_row(
            name,
            f"{np.mean([_any_rejects(looks) for looks in same]):.2%}",
            f"{np.mean([_any_naive(looks) for looks in same]):.2%}",
            f"{np.mean([_always_covers(looks, 0.05) for looks in other]):.2%}",
            f"{np.mean([_covers(looks[-1], 0.05) for looks in other]):.2%}",
            f"{np.mean([_any_rejects(looks) for looks in other]):.2%}",
        )
    console.print(table)
    console.print(f"{runs} experiments each, {days} daily looks, alpha {ALPHA:g}, seed {seed}")
    _simulate_splits(generator, 10 * runs)


def _simulate_splits(generator: np.random.Generator, runs: int) -> None:
    table = Table("split", "lost before the gateway", "alarm by day 20", "by day 60", "chi-square on any of 60 days")
    for shares in ((0.5, 0.5), (0.9, 0.1)):
        for lost in (0.0, 0.05, 0.1):
            daily = generator.multinomial(1000, shares, (runs // 20, 60))
            counts = generator.binomial(daily, [1, 1 - lost]).cumsum(axis=1)
            always = np.array([[always_valid.split_p(day, shares) <= SPLIT_ALPHA for day in run] for run in counts])
            expected = counts.sum(axis=2, keepdims=True) * np.array(shares)
            chi = chisquare(counts, expected, axis=2).pvalue < 0.01
            rates = always[:, :20].any(axis=1), always.any(axis=1), chi.any(axis=1)
            row = (f"{rate.mean():.2%}" for rate in rates)
            table.add_row("/".join(f"{100 * share:g}" for share in shares), f"{lost:.0%}", *row)
    console.print(table)
    console.print(f"{runs // 20} experiments each, 1,000 subjects a day, the second variant losing some")


Look = tuple[Proportion, Proportion]


def _experiment(
    generator: np.random.Generator, rates: tuple[float, float], spread: float, days: int, daily: int
) -> list[Look]:
    """The data after each day. Half of a day's faces are of new subjects, half of those who have been here before."""
    sides = []
    for rate in rates:
        subjects = daily // 2 * days
        own = generator.beta(rate * spread, (1 - rate) * spread, subjects)
        sizes, successes = np.zeros(subjects, int), np.zeros(subjects, int)
        after = []
        for day in range(1, days + 1):
            known = daily // 2 * day
            new = np.arange(known - daily // 2, known)
            who = np.concatenate([new, generator.integers(0, known, daily - len(new))])
            np.add.at(sizes, who, 1)
            np.add.at(successes, who, generator.random(len(who)) < own[who])
            n, s = sizes[:known], successes[:known]
            sums = (n.sum(), s.sum(), known, (n * n).sum(), (s * s).sum(), (n * s).sum())
            after.append(Proportion(*map(int, sums)))
        sides.append(after)
    return list(zip(*sides, strict=True))


def _valid(looks: list[Look]) -> list[Look]:
    return [look for look in looks if min(side.effective for side in look) >= always_valid.LEAST_EFFECTIVE]


def _any_rejects(looks: list[Look]) -> bool:
    return any(
        always_valid.msprt_p(a.rate - b.rate, always_valid.variance_of_difference(a, b)) < ALPHA
        for a, b in _valid(looks)
    )


def _any_naive(looks: list[Look]) -> bool:
    return any(proportions.two_proportion_p(a.rate, a.effective, b.rate, b.effective) < ALPHA for a, b in looks)


def _always_covers(looks: list[Look], truth: float) -> bool:
    intervals = [
        always_valid.confidence_sequence(a.rate - b.rate, always_valid.variance_of_difference(a, b), ALPHA)
        for a, b in _valid(looks)
    ]
    return all(interval.low <= truth <= interval.high for interval in intervals)


def _covers(look: Look, truth: float) -> bool:
    a, b = look
    interval = proportions.newcombe(a.rate, a.effective, b.rate, b.effective)
    return interval.low <= truth <= interval.high


@app.command("service")
def simulate_service(
    requests: int = 20_000,
    database: Annotated[str, typer.Option(help="URL; a new SQLite file when empty.")] = "",
    per_subject: Annotated[int, typer.Option(help="Requests of one subject, on average.")] = 2,
    concurrency: int = 16,
    seed: int = 1,
) -> None:
    """Every request through the gateways; then one variant loses 5 % of what was stored."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(
            _service(
                requests, database or f"sqlite:///{folder}/outcomes.db", Path(folder), per_subject, concurrency, seed
            )
        )


async def _service(requests: int, database: str, folder: Path, per_subject: int, concurrency: int, seed: int) -> None:
    experiments = folder / "experiments.yaml"
    variants = [{"name": f"v{n}", "model": "residual", "version": n, "weight": 1} for n in ACCURACIES]
    # A name of its own, so that an earlier run in the same database does not count.
    name = f"simulation-{time.time_ns():x}"
    document = {"experiments": [{"name": name, "start": "2020-01-01T00:00:00Z", "variants": variants}]}
    experiments.write_text(yaml.safe_dump(document))
    photos = [_photo(index) for index in range(len(CLASSES))]
    generator = np.random.default_rng(seed)
    truths = generator.integers(0, len(CLASSES), requests)
    subjects = generator.integers(0, max(1, requests // per_subject), requests)
    variants_of: dict[int, set[str]] = {}
    statuses: dict[int, int] = {}
    async with _model_server(seed) as address:
        settings = Settings(
            database_url=database,
            experiments=experiments,
            admin_key=KEY,
            model_server=address,
            subject_secret="the same for both gateways",
        )
        async with _client(settings) as (one, store), _client(settings) as (other, _):
            places = iter(range(requests))

            async def ask() -> None:
                for place in places:
                    client = (one, other)[place % 2]
                    subject = int(subjects[place])
                    answer = await client.post(
                        "/v1/predict?crop=none",
                        files={"file": photos[truths[place]]},
                        headers={"X-Subject-ID": str(subject)},
                    )
                    statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
                    if answer.status_code != 200:
                        continue
                    variants_of.setdefault(subject, set()).add(answer.json()["variant"])
                    said = {"prediction_id": answer.json()["id"], "emotion": CLASSES[truths[place]]}
                    given = await client.post("/v1/feedback", json=said)
                    statuses[given.status_code] = statuses.get(given.status_code, 0) + 1

            start = time.perf_counter()
            await asyncio.gather(*(ask() for _ in range(concurrency)))
            seconds = time.perf_counter() - start
            report = (await one.get(f"/v1/experiments/{name}/report")).json()
            looked = time.perf_counter()
            await one.get(f"/v1/experiments/{name}/report")
            looked = time.perf_counter() - looked
            lost = await _lose(store, name, generator)
            broken = (await one.get(f"/v1/experiments/{name}/report")).json()
    console.print(
        f"{requests} requests and as much feedback in {seconds:.0f} s; statuses {statuses}; report {looked:.2f} s"
    )
    console.print(f"subjects with more than one variant: {sum(len(seen) > 1 for seen in variants_of.values())}")
    first, second = report["split"]["observed"].values()
    low, high = binom.interval(0.95, first + second, 0.5)
    console.print(f"subjects of v1: {first} of {first + second}; 95 % within {low:.0f} to {high:.0f}")
    for variant in report["variants"]:
        accuracy, truth = variant["accuracy"], ACCURACIES[int(variant["name"][1:])]
        console.print(
            f"{variant['name']}: accuracy {accuracy['value']:.4f} ({accuracy['low']:.4f} to {accuracy['high']:.4f}), "
            f"truly {truth}; {'covered' if accuracy['low'] <= truth <= accuracy['high'] else 'NOT covered'}"
        )
    console.print(f"{report['verdict']}: {report['advice']}")
    console.print(
        f"v2 losing {lost} requests from the database: {broken['verdict']}, p of the losses "
        f"{broken['split']['lost_p']:.2g}, of the subjects {broken['split']['always_valid_p']:.2g}"
    )


async def _lose(store: OutcomeStore, name: str, generator: np.random.Generator) -> int:
    """Take 5 % of v2's requests out of the database, as if they had never been stored."""
    async with store.engine.begin() as connection:
        found = select(predictions.c.id).where(predictions.c.experiment == name, predictions.c.variant == "v2")
        ids = sorted(await connection.scalars(found))
        lost = generator.choice(ids, len(ids) // 20, replace=False)
        for start in range(0, len(lost), 500):
            await connection.execute(
                delete(predictions).where(predictions.c.id.in_(lost[start : start + 500].tolist()))
            )
        mine = (
            assignments.c.split.in_(select(splits.c.id).where(splits.c.experiment == name)),
            assignments.c.variant == "v2",
        )
        run = await connection.scalar(select(func.min(assignments.c.run)).where(*mine))
        stored = assignments.c.stored - len(lost)
        await connection.execute(update(assignments).where(*mine, assignments.c.run == run).values(stored=stored))
    return len(lost)


@asynccontextmanager
async def _client(settings: Settings) -> AsyncIterator[tuple[httpx.AsyncClient, OutcomeStore]]:
    gateway = create_app(settings)
    async with in_process(gateway, headers={"X-Admin-Key": KEY}) as (client, state):
        yield client, state["outcomes"].store


def _photo(truth: int) -> bytes:
    """A grey square; how bright it is says to the stand-in what it truly shows."""
    file = BytesIO()
    Image.new("L", (48, 48), 20 + 30 * truth).save(file, "PNG")
    return file.getvalue()


@asynccontextmanager
async def _model_server(seed: int) -> AsyncIterator[str]:
    generator = np.random.default_rng(seed + 1)

    async def predict(request: pb.PredictRequest, _: grpc.aio.ServicerContext) -> pb.PredictResponse:
        version = request.model_spec.version.value
        faces = np.frombuffer(request.inputs["faces"].tensor_content, np.float32).reshape(-1, 48 * 48)
        truths = np.rint(((faces.mean(axis=1) + 1) * 127.5 - 20) / 30).astype(int)
        wrong = generator.random(len(truths)) >= ACCURACIES[version]
        guesses = np.where(wrong, (truths + generator.integers(1, 7, len(truths))) % 7, truths)
        scores = np.full((len(truths), 7), 0.05, np.float32)
        scores[np.arange(len(truths)), guesses] = 0.7
        shape = pb.TensorShapeProto(dim=[pb.TensorShapeProto.Dim(size=size) for size in scores.shape])
        answer = pb.PredictResponse()
        answer.model_spec.version.value = version
        for output in request.output_filter:
            tensor = pb.TensorProto(dtype=pb.DT_FLOAT, tensor_shape=shape, float_val=scores.ravel().tolist())
            if output == "classes":
                names = [one.encode() for one in CLASSES] * len(truths)
                tensor = pb.TensorProto(dtype=pb.DT_STRING, tensor_shape=shape, string_val=names)
            answer.outputs[output].CopyFrom(tensor)
        return answer

    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(
        predict,
        request_deserializer=pb.PredictRequest.FromString,
        response_serializer=pb.PredictResponse.SerializeToString,
    )
    service = grpc.method_handlers_generic_handler("tensorflow.serving.PredictionService", {"Predict": handler})
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


if __name__ == "__main__":
    app()
