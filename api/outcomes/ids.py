"""Ids of predictions. They carry the time they were made at, which outlives what is stored about the prediction."""

import re
import secrets
from datetime import UTC, datetime, timedelta

_HEX = re.compile(r"[0-9a-f]{32}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

# RFC 9562, section 5.7: 48 bits of time, version 7, 12 random bits, variant 0b10, 62 random bits.
_VERSION_7 = 0x7 << 76
_VARIANT = 0b10 << 62


def new_id(at: datetime | None = None) -> str:
    """A UUID of version 7 (RFC 9562) as 32 hexadecimal digits. at: aware; now when None."""
    moment = at if at is not None else datetime.now(UTC)
    random = secrets.randbits(12) << 64 | secrets.randbits(62)
    return f"{(moment - _EPOCH) // _MILLISECOND << 80 | _VERSION_7 | _VARIANT | random:032x}"


def made_at(prediction_id: str) -> datetime | None:
    """When new_id() made this id (UTC, to the millisecond), or None when it never can have."""
    if not _HEX.fullmatch(prediction_id):
        return None
    number = int(prediction_id, 16)
    if number >> 76 & 0xF != 7 or number >> 62 & 0b11 != 0b10:
        return None
    try:
        return _EPOCH + (number >> 80) * _MILLISECOND
    except OverflowError:
        return None


def lowest_id(at: datetime) -> str:
    """Every id made before this moment sorts before it, and no other. at: aware."""
    return f"{(at - _EPOCH) // _MILLISECOND << 80:032x}"
