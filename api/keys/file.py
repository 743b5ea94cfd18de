"""The file of keys. It holds digests: who reads it cannot call the service."""

import hashlib
import secrets
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from limits import RateLimitItem, parse
from pydantic import AfterValidator, AwareDatetime, Field, model_validator

from api.config_file.document import Strict, read_document

ROOT = "keys"

Scope = Literal["predict", "feedback", "report", "test", "admin"]
"""`test`: force variants; `admin`: everything."""

_PREFIX = "emo_"


def _rate(text: str) -> str:
    try:
        parse(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no rate such as '20/second' or '5000/hour'") from error
    return text


class ApiKey(Strict):
    """One caller's."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    scopes: tuple[Scope, ...] = Field(min_length=1)
    rate: Annotated[str, AfterValidator(_rate)] | None = None
    concurrency: int | None = Field(default=None, ge=1, le=10_000)
    expires: AwareDatetime | None = None

    @property
    def limit(self) -> RateLimitItem | None:
        """`rate`, parsed."""
        return parse(self.rate) if self.rate else None

    def expired(self, now: datetime) -> bool:
        """Whether it is past its time."""
        return self.expires is not None and self.expires <= now


class KeysConfig(Strict):
    """The file."""

    keys: tuple[ApiKey, ...]

    @model_validator(mode="after")
    def _differ(self) -> Self:
        for what in ("name", "sha256"):
            twice = [value for value, count in Counter(getattr(key, what) for key in self.keys).items() if count > 1]
            if twice:
                raise ValueError(f"{what} {twice[0]!r} is there twice")
        return self


def parse_keys(content: bytes, path: Path) -> KeysConfig:
    """The content of the file of keys. Raises ConfigFileError."""
    return read_document(content, path, KeysConfig, ROOT)


def digest(key: str) -> str:
    """SHA-256 of a key, hex. A fast hash will do: keys are 256 random bits, which nobody searches through."""
    return hashlib.sha256(key.encode()).hexdigest()


def new_key() -> str:
    """A random key of 256 bits, with a prefix by which scanners of leaked secrets can know it."""
    return _PREFIX + secrets.token_urlsafe(32)


def entry(name: str, key: str, scopes: Sequence[str]) -> ApiKey:
    """The file's entry for a key.

    Raises:
        ValidationError: the name or a scope is none.
    """
    return ApiKey.model_validate({"name": name, "sha256": digest(key), "scopes": list(scopes)})
