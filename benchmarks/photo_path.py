"""How many of the project's own functions does one photo pass on its way to its answer?

    python -m benchmarks.photo_path [--list]

The gateway runs in this process, in front of a model server that always answers the same. It gets a photo of two faces
in a form: outside of an experiment, and within one for another variant than the control. `sys.setprofile` notes every
function of api/, faces/ and wire/ that is called until the last byte of the answer is out, in the event loop's thread
and in all others. What takes note of the answer after that is counted apart. It is the second photo, because the first
one makes what is made once. Comprehensions and lambdas are read where they stand, and are no functions here.
"""

import argparse
import asyncio
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import grpc
import httpx
import yaml

from api.app import create_app
from api.settings import Settings
from tests.api.fake_model_server import answer, serve

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = tuple(f"{ROOT / name}/" for name in ("api", "faces", "wire"))
PHOTO = ROOT / "api" / "samples" / "two.jpg"
CLASSES = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
# The subject's bucket belongs to the second variant.
SUBJECT = {"X-Subject-ID": "somebody"}
VARIANTS = [{"name": f"v{version}", "model": "random", "version": version, "weight": version} for version in (1, 99)]
EXPERIMENT = {"name": "trial", "start": "2020-01-01T00:00:00Z", "variants": VARIANTS}

Calls = dict[CodeType, None]


class Notes:
    """Functions of ours in the order of their first calls."""

    def __init__(self) -> None:
        self.answered: Calls = {}
        """Until the answer is out."""
        self.afterwards: Calls = {}
        self._now: Calls | None = None

    def note(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if self._now is None or event != "call" or code in self.answered:
            return
        # <lambda>, <listcomp> and their like are no functions.
        if code.co_filename.startswith(PACKAGES) and not code.co_name.startswith("<"):
            self._now.setdefault(code)

    @contextmanager
    def noting(self) -> Iterator[None]:
        self._now = self.answered
        try:
            yield
        finally:
            self._now = None

    def answer_is_out(self) -> None:
        if self._now is not None:
            self._now = self.afterwards


async def post(client: httpx.AsyncClient) -> httpx.Response:
    return await client.post("/v1/predict", files={"file": PHOTO.read_bytes()}, headers=SUBJECT)


async def path(notes: Notes, folder: Path, **settings: Any) -> None:
    """Note what one photo passes in a gateway that has just been started."""
    # Nothing is written and no file is read meanwhile.
    slow = {"outcome_flush_s": 60, "experiments_poll_s": 3600}
    given = {"database_url": f"sqlite:///{folder}/outcomes.db", "default_label": None, **slow}
    app = create_app(Settings(**given, **settings))
    async with app.router.lifespan_context(app) as state:

        async def served(scope: Any, receive: Any, send: Any) -> None:
            async def noted_send(message: Any) -> None:
                await send(message)
                if message["type"] == "http.response.body" and not message.get("more_body"):
                    notes.answer_is_out()

            await app({**scope, "state": dict(state or {})}, receive, noted_send)

        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=served), base_url="http://gateway") as client:
            await post(client)
            # What the first one and the start have left to do is done by then.
            await asyncio.sleep(1)
            with notes.noting():
                response = await post(client)
    body = response.raise_for_status().json()
    assert len(body["faces"]) == 2
    assert body["variant"] == ("v99" if settings.get("experiments") else None)


def lines(code: CodeType) -> int:
    """Of the function, from its first line to its last, with decorators and docstring."""
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    ends = [line for _, _, line in code.co_lines() if line] + [one.co_firstlineno + lines(one) - 1 for one in inner]
    return max(ends) - code.co_firstlineno + 1


def show(title: str, calls: Calls, *, listed: bool) -> None:
    files = {code.co_filename for code in calls}
    longest = max(calls, key=lines)
    print(
        f"{title}: {len(calls)} functions in {len(files)} files, "
        f"the longest {longest.co_qualname} of {lines(longest)} lines"
    )
    for code in calls if listed else ():
        where = f"{Path(code.co_filename).relative_to(ROOT)}:{code.co_firstlineno}"
        print(f"    {where:40} {code.co_qualname}, {lines(code)} lines")


async def main(listed: bool) -> None:
    async def predict(request: Any, _: grpc.aio.ServicerContext) -> Any:
        return answer(request, CLASSES, version=request.model_spec.version.value or 1)

    outside, within = Notes(), Notes()

    def note(frame: FrameType, event: str, argument: Any) -> None:
        for notes in (outside, within):
            notes.note(frame, event, argument)

    # Before any thread begins: threads are noted from their start.
    threading.setprofile(note)
    sys.setprofile(note)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / "experiments.yaml"
        file.write_text(yaml.safe_dump({"experiments": [EXPERIMENT]}), encoding="utf-8")
        async with serve(predict) as server:
            await path(outside, folder, model_server=server.address)
            await path(within, folder, model_server=server.address, experiments=file)
    sys.setprofile(None)
    for title, notes in (("outside of an experiment", outside), ("within an experiment", within)):
        show(title, notes.answered, listed=listed)
        show("  afterwards, to take note of the answer", notes.afterwards, listed=listed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="list the functions, in the order of their first calls")
    asyncio.run(main(parser.parse_args().list))
