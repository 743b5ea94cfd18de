"""The id of the request that is being worked for, for every layer that wants to name it."""

from contextvars import ContextVar

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
