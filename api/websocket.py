"""WebSockets on one connection: uvicorn's protocol, with the end that a stream is promised."""

import asyncio
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

# How long a peer may leave what is sent in our buffers.
_WRITE_S = 10.0
_GOING_AWAY = 1001


class StreamProtocol(WebSocketsSansIOProtocol):
    """One WebSocket.

    - When the server stops, it closes with 1001, not with 1012.
    - A peer that does not read loses its connection.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._write_timer: asyncio.TimerHandle | None = None

    def shutdown(self) -> None:
        if self.handshake_complete and not self.close_sent:
            self.queue.put_nowait({"type": "websocket.disconnect", "code": _GOING_AWAY})
            self.conn.send_close(_GOING_AWAY, "the gateway stops; connect again")
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
        super().shutdown()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_timer = self.loop.call_later(_WRITE_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def _stop_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
