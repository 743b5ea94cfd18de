"""An address that guesses keys has to wait, twice as long after each wrong one."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address

from api.errors import TooManyGuesses

_FREE = 5
"""Wrong keys that cost nothing: a deployment with an old key is no attack."""
_LONGEST_S = 60.0
_FORGET_S = 600.0
_MAX_ADDRESSES = 10_000


class Guesses:
    """Wrong keys by address.

    Even a right key is refused while an address waits: else the wait would slow nobody down who guesses.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # Wrong keys so far, and when the next one is looked at; the latest guess last.
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def require_patience(self, address: str) -> None:
        """
        Raises:
            TooManyGuesses: it is too early for another key.
        """
        count, again = self._wrong.get(_network(address), (0, 0.0))
        wait = again - self._clock()
        if wait > 0:
            raise TooManyGuesses(
                f"{count} wrong keys came from this address; the next one is looked at in {math.ceil(wait)} s.",
                retry_after_s=math.ceil(wait),
            )

    def note_wrong(self, address: str) -> None:
        """A key was wrong."""
        now, network = self._clock(), _network(address)
        count, again = self._wrong.pop(network, (0, 0.0))
        count = 1 if again < now - _FORGET_S else count + 1
        wait = min(_LONGEST_S, 2.0 ** (count - _FREE)) if count > _FREE else 0.0
        self._wrong[network] = count, now + wait
        if len(self._wrong) > _MAX_ADDRESSES:
            self._wrong.popitem(last=False)


def _network(address: str) -> str:
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    # Whoever has an address of IPv6 has the 2^64 around it.
    return str(int(parsed) >> 64) if isinstance(parsed, IPv6Address) else address
