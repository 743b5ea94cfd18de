"""Frames of a camera in, results out, over `WS /v1/stream`."""

import asyncio
import json
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import suppress
from typing import Any, Literal

import websockets
from websockets.asyncio.client import ClientConnection, connect

from emotion_client.answers import Dropped, StreamResult
from emotion_client.errors import EmotionError, Problem, Unreachable, problem
from emotion_client.requests import is_local

_PROTOCOL = websockets.Subprotocol("emotion.v1")
# Replies that may be outstanding: the service looks at the newest frame, and drops those between.
_AHEAD = 4


async def stream(
    url: str, frames: AsyncIterable[bytes], configure: Mapping[str, Any]
) -> AsyncIterator[StreamResult | Dropped | Problem]:
    """One reply to each frame, in their order.

    Args:
        url: of the service.
        frames: JPEG, PNG or WebP each. They are taken as fast as replies come in; a source of its own pace, such as a
            camera, sets it.
        configure: the members of the first message, as docs/api.md has them.

    Yields:
        StreamResult: the frame's faces. Dropped: it was not looked at. Problem: what was wrong with this frame alone.

    Raises:
        Unreachable: nothing answers at the URL.
        Problem: `configure` is wrong, or the key.
        EmotionError: the service closed the stream; the text says why.
    """
    address = "ws" + url.removeprefix("http") + "/v1/stream"
    proxy: Literal[True] | None = None if is_local(url) else True
    try:
        async with connect(address, subprotocols=[_PROTOCOL], compression=None, max_size=2**24, proxy=proxy) as socket:
            if configure:
                await socket.send(json.dumps({"type": "configure", **configure}))
            places = asyncio.Semaphore(_AHEAD)
            sender = asyncio.create_task(_send(socket, frames, places))
            try:
                async for reply in _replies(socket, sender):
                    places.release()
                    yield reply
            finally:
                sender.cancel()
                with suppress(asyncio.CancelledError, websockets.ConnectionClosed):
                    await sender
    except websockets.ConnectionClosed as closed:
        said = closed.rcvd
        why = f"{said.code} {said.reason}".strip() if said else "without a word"
        raise EmotionError(f"{url}: the service closed the stream: {why}") from closed
    except websockets.InvalidStatus as refused:
        raise EmotionError(f"{url}: no stream: HTTP {refused.response.status_code}") from refused
    except (OSError, websockets.InvalidHandshake, TimeoutError) as error:
        raise Unreachable(url, f"cannot be reached ({error or type(error).__name__})") from error


async def _send(socket: ClientConnection, frames: AsyncIterable[bytes], places: asyncio.Semaphore) -> int:
    """All frames; how many."""
    count = 0
    async for frame in frames:
        await places.acquire()
        await socket.send(frame)
        count += 1
    return count


async def _replies(
    socket: ClientConnection, sender: "asyncio.Task[int]"
) -> AsyncIterator[StreamResult | Dropped | Problem]:
    """Until each frame has its own."""
    count = 0
    while not (sender.done() and count >= sender.result()):
        receiving = asyncio.ensure_future(socket.recv())
        waited: set[asyncio.Future[Any]] = {receiving} if sender.done() else {receiving, sender}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if not receiving.done() and sender.done() and count >= sender.result():
            # The reply to the last frame came before the sender knew that it was the last.
            receiving.cancel()
            return
        members = json.loads(await receiving)
        match members["type"]:
            case "result":
                reply: StreamResult | Dropped | Problem = StreamResult.model_validate(members)
            case "dropped":
                reply = Dropped.model_validate(members)
            case _:
                reply = problem(members["problem"].get("status", 500), members["problem"])
                if members["seq"] is None:
                    raise reply
        count += 1
        yield reply
