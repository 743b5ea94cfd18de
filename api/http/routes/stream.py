"""WS /v1/stream: a camera's frames, and what is in each of them."""

import asyncio
import json
from functools import partial
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, WebSocket
from pydantic import ValidationError
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocketDisconnect, WebSocketState

from api.errors import BadRequest, Forbidden, InvalidParameter, ServiceError
from api.experiments.assignment import Assignment, assign
from api.experiments.config import Experiment
from api.http.callers import admitted, given_key, identified
from api.http.dependencies import find_options, subject_of, target_or_experiment
from api.http.problems import noted, problem_response
from api.http.rendering import answer_out, photos_out
from api.http.schemas import PredictQuery
from api.http.state import State
from api.keys.callers import Caller
from api.predictor import Prediction
from api.stream.messages import SUBPROTOCOL, Configure, Reply, problem
from api.stream.session import GOING_AWAY, POLICY, Close, Frame, Limits, Session
from api.stream.smoothing import Smoothing
from api.stream.tracks import Tracks
from faces.finder import FaceOptions, FoundFaces
from wire.target import Target

TRY_LATER = 1013
_RECORD_S = 1.0
"""At most one outcome of a stream in that time: frames of one second say the same."""

router = APIRouter()


@router.websocket("/stream")
async def stream(websocket: WebSocket) -> None:
    """Subprotocol emotion.v1: docs/api.md has the messages."""
    state: State = websocket.state  # type: ignore[assignment]
    try:
        _require_origin(websocket, state)
        if SUBPROTOCOL not in websocket.scope["subprotocols"]:
            raise BadRequest(f"Sec-WebSocket-Protocol must have {SUBPROTOCOL}.")
    except ServiceError as error:
        await websocket.send_denial_response(problem_response(error, state["metrics"]))
        return
    await websocket.accept(SUBPROTOCOL)
    channel = _WebSocketChannel(websocket)
    close: Close | None
    with state["places"].take() as free:
        if state["drain"].active:
            close = GOING_AWAY, "the gateway stops; connect again"
        elif not free:
            close = TRY_LATER, f"all {state['places'].limit} streams are taken; try again later"
        else:
            close = await _serve(websocket, channel, state)
    if close is not None and websocket.application_state is WebSocketState.CONNECTED:
        await channel.close(*close)


async def _serve(websocket: WebSocket, channel: "_WebSocketChannel", state: State) -> Close | None:
    settings, metrics = state["settings"], state["metrics"]

    def as_problem(error: Exception) -> dict[str, Any]:
        return noted(error, metrics).problem()

    first = await channel.first(settings.stream_idle_s)
    if first is None:
        return None if channel.gone else (POLICY, f"no frame for {settings.stream_idle_s:g} s")
    try:
        configured = _configure(first)
        given = configured.key.get_secret_value() if configured.key else given_key(websocket)
        caller = identified(websocket, state["callers"], given)
        async with admitted(caller, "predict", state["callers"], metrics):
            asked, options = _asked(websocket, configured, state), _options(configured, state)
            answers = _Answers(state, caller, asked, options, configured.smoothing_s)
            session = Session(
                channel,
                answers.answer,
                as_problem,
                partial(_count_frame, state, caller),
                lambda: state["drain"].active,
                Limits(settings.stream_fps, settings.stream_idle_s, settings.stream_life_s),
                metrics,
            )
            return await session.run(first if isinstance(first, bytes) else None)
    except WebSocketDisconnect:
        return None
    except ServiceError as error:
        refused = problem(as_problem(error))
        await channel.send({"type": refused["type"], "seq": None, **refused})
        return POLICY, error.title


class _WebSocketChannel:
    """A Channel."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self.gone = False

    async def first(self, seconds: float) -> str | bytes | None:
        """The first message; None: none came in that time."""
        try:
            async with asyncio.timeout(seconds):
                return await self.receive()
        except TimeoutError:
            return None

    async def receive(self) -> str | bytes | None:
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            self.gone = True
            return None
        content: bytes | None = message.get("bytes")
        return content if content is not None else str(message["text"])

    async def send(self, reply: Reply) -> None:
        await self._websocket.send_text(json.dumps(reply, separators=(",", ":")))

    async def close(self, code: int, reason: str) -> None:
        # 125 bytes are a control frame's, two of them the code's.
        await self._websocket.close(code, reason.encode()[:120].decode(errors="ignore"))


def _require_origin(connection: HTTPConnection, state: State) -> None:
    """
    Raises:
        Forbidden: a page of another host asks, in a browser whose user knows nothing of it.
    """
    origin = connection.headers.get("origin")
    allowed = state["settings"].cors_origins
    if origin is None or origin in allowed or "*" in allowed:
        return
    parts, host = urlsplit(origin), connection.headers.get("host", "")
    port = {"http": ":80", "https": ":443"}.get(parts.scheme, "")
    if parts.netloc.lower().removesuffix(port) != host.lower().removesuffix(port):
        raise Forbidden("Pages of this origin may not open streams: EMOTION_CORS_ORIGINS.")


def _configure(first: str | bytes) -> Configure:
    if isinstance(first, bytes):
        return Configure(type="configure")
    try:
        return Configure.model_validate_json(first)
    except ValidationError as error:
        wrong = {".".join(map(str, item["loc"])) or "configure": item["msg"] for item in error.errors()}
        raise InvalidParameter(wrong) from error


async def _count_frame(state: State, caller: Caller) -> None:
    """
    Raises:
        RateLimited: the key's rate is used up.
    """
    if caller.key is not None:
        await state["callers"].quotas.hit(caller.key)


def _asked(connection: HTTPConnection, configured: Configure, state: State) -> Target | Assignment:
    """One target, or one variant, for the stream's life."""
    query = PredictQuery.model_validate(configured.model_dump(include={"model", "version", "label"}))
    found = target_or_experiment(query, state["settings"], state["experiments"])
    if not isinstance(found, Experiment):
        return found
    return assign(found, configured.subject or subject_of(connection, found.subject) or None, None)


def _options(configured: Configure, state: State) -> FaceOptions:
    query = PredictQuery.model_validate(configured.model_dump(include={"max_faces", "min_face"}))
    return find_options(query, state["settings"], state["detectors"])


class _Answers:
    """What is in each frame of one stream."""

    def __init__(
        self, state: State, caller: Caller, asked: Target | Assignment, options: FaceOptions, smoothing_s: float
    ) -> None:
        self._predictor = state["predictor"]
        self._share = caller.share
        self._asked = asked
        self._options = options
        self._tracks = Tracks()
        self._smoothing = Smoothing(smoothing_s)
        self._recorded = -_RECORD_S

    async def answer(self, frame: Frame) -> Reply:
        """
        Raises:
            FrameLate: it had to wait too long.
            ServiceError, FaceError: as a request would.
        """
        # Only what is recorded counts as assigned, else streams would look like losses in a report.
        before, now = self._recorded, monotonic()
        record = now - before >= _RECORD_S
        if record:
            self._recorded = now
        try:
            prediction = await self._predictor.predict(
                [frame.content],
                self._options,
                self._asked,
                caller=self._share,
                return_exceptions=False,
                begin=frame.begin,
                behind=True,
                count=record,
            )
        except BaseException:
            if not frame.begun:
                # It was not counted, and the next one may be.
                self._recorded = before
            raise
        if record:
            await self._predictor.record(prediction, frame.age_s)
        else:
            self._predictor.measure(prediction)
        return self._result(prediction, frame, recorded=record)

    def _result(self, prediction: Prediction, frame: Frame, *, recorded: bool) -> Reply:
        [photo] = prediction.photos
        assert isinstance(photo, FoundFaces)
        [shown] = photos_out(prediction)
        tracks = self._tracks.follow([face.box for face in photo.faces], frame.arrived)
        classes = prediction.scores.classes
        faces = []
        for track, row, face in zip(tracks, prediction.scores.probabilities.tolist(), shown["faces"], strict=True):
            smoothed, best = self._smoothing.add(track, classes, row, frame.arrived)
            faces.append(
                {
                    "track": track,
                    **face.model_dump(mode="json", exclude={"landmarks"}),
                    "smoothed": {name: round(value, 6) for name, value in zip(classes, smoothed, strict=True)},
                    "emotion": classes[best],
                    "confidence": round(smoothed[best], 6),
                }
            )
        self._smoothing.forget_all_but(self._tracks.known)
        answer = answer_out(prediction, 0.0)
        answer["timing_ms"].total = round(frame.age_s * 1000, 2)
        return {
            "type": "result",
            # Feedback can be given on what is recorded alone.
            "id": prediction.id if recorded else None,
            "experiment": answer["experiment"],
            "variant": answer["variant"],
            "fallback": answer["fallback"],
            "image": shown["image"].model_dump(),
            "faces": faces,
            "model": answer["model"].model_dump(),
            "timing_ms": answer["timing_ms"].model_dump(),
        }
