"""What is tried again: what the service refused because it was busy, and what it never got."""

from collections.abc import Callable

import httpx

from emotion_client.errors import RateLimited, Unavailable


def again(timeout_s: float) -> Callable[[Exception], bool | float]:
    """Whether to try again; or after so many seconds, where the service says after how many.

    Every request of this client may be sent twice: a prediction changes nothing, and feedback is one word a face.

    Args:
        timeout_s: of the whole call; a wait beyond it is not begun.
    """

    def decide(error: Exception) -> bool | float:
        if isinstance(error, RateLimited | Unavailable):
            if error.retry_after_s is None:
                return True
            return error.retry_after_s if error.retry_after_s < timeout_s else False
        return isinstance(error, httpx.ConnectError | httpx.RemoteProtocolError | httpx.ReadError | httpx.WriteError)

    return decide
