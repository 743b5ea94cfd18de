"""Whose key a request has, and what that one may do."""

import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from api.config_file.watched import WatchedFile
from api.errors import AdminDisabled, Forbidden, Unauthorized
from api.keys.file import ApiKey, KeysConfig, Scope, digest, parse_keys
from api.keys.guesses import Guesses
from api.keys.quotas import Quotas
from api.observe.metrics import Metrics

ADMIN = "admin"
"""The name of EMOTION_ADMIN_KEY's holder."""

ANONYMOUS = "anonymous"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request."""

    # For metrics and logs: the key's name, or `anonymous`.
    name: str
    # Whose share of the gateway it takes: the key's, or the address's.
    share: str
    scopes: frozenset[str]
    # None of an anonymous caller, and of EMOTION_ADMIN_KEY's holder.
    key: ApiKey | None = None

    def may(self, scope: Scope) -> bool:
        """Whether the scope is one of the caller's."""
        return scope in self.scopes or "admin" in self.scopes


@dataclass
class Callers:
    """Keys in use.

    Args:
        admin_key: EMOTION_ADMIN_KEY.
        path: the file of keys; None: everybody may predict.

    Raises:
        ConfigFileError: the file cannot be read, or is invalid.
    """

    admin_key: str | None
    path: Path | None
    metrics: Metrics
    file: WatchedFile[KeysConfig] | None = field(init=False, default=None)
    guesses: Guesses = field(default_factory=Guesses)
    quotas: Quotas = field(default_factory=Quotas)

    def __post_init__(self) -> None:
        valid = self.metrics.keys_config_valid
        valid.set(1)
        if self.path is not None:
            self.file = WatchedFile(self.path, parse_keys, valid, "keys")

    @property
    def open(self) -> bool:
        """Whether who has no key may predict."""
        return self.file is None

    @asynccontextmanager
    async def watched(self, poll_s: float) -> AsyncIterator[None]:
        """Look at the file every `poll_s` seconds for as long as the body runs."""
        if self.file is None:
            yield
            return
        async with self.file.watched(poll_s, lambda config: ", ".join(key.name for key in config.keys)):
            yield

    def identify(self, given: str | None, address: str) -> Caller:
        """Who sent a request from an address with this key, or with none.

        Raises:
            Unauthorized: the key is wrong or past its time.
            TooManyGuesses: too many were wrong.
        """
        if given is None:
            return Caller(ANONYMOUS, address, frozenset({"predict"} if self.open else ()))
        self.guesses.require_patience(address)
        given_digest, found = digest(given), None
        # All are compared, each in constant time, so that the time of a refusal tells nothing of the keys.
        for key in self.file.current.keys if self.file else ():
            if hmac.compare_digest(given_digest, key.sha256):
                found = Caller(key.name, f"key:{key.name}", frozenset(key.scopes), key)
        if self.admin_key is not None and hmac.compare_digest(given_digest, digest(self.admin_key)):
            found = Caller(ADMIN, f"key:{ADMIN}", frozenset({"admin"}))
        if found is None:
            if self.open and self.admin_key is None:
                # There are none to guess.
                return Caller(ANONYMOUS, address, frozenset({"predict"}))
            self.guesses.note_wrong(address)
            raise Unauthorized("The key is wrong.")
        if found.key is not None and found.key.expired(datetime.now(UTC)):
            raise Unauthorized(f"Key {found.name} has expired.")
        return found

    def require(self, caller: Caller, scope: Scope) -> None:
        """
        Raises:
            AdminDisabled: nobody can have the scope, because there are no keys.
            Unauthorized: it takes a key, and none was given.
            Forbidden: the key's scopes are others.
        """
        if caller.may(scope):
            return
        if caller.name != ANONYMOUS:
            raise Forbidden(f"Key {caller.name} has not the scope {scope}.", scope=scope)
        if self.open and self.admin_key is None:
            raise AdminDisabled(
                f"This takes a key of scope {scope}, and this gateway has none: no EMOTION_ADMIN_KEY and no"
                " EMOTION_KEYS_FILE."
            )
        raise Unauthorized(f"This takes a key of scope {scope}, and none was given.")
