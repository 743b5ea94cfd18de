"""The one exception the model server answers with."""

from __future__ import annotations

import grpc

# gRPC sends the message in a trailer, whose default limit is 8 KiB; TensorFlow Serving cuts at the same
# length.
MESSAGE_LIMIT = 1024


class ServingError(Exception):
    """A failure with a gRPC status code, to be reported to a client or in a version's status.

    `str(error)` is the full message; `details` is what fits on the wire.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code

    @property
    def number(self) -> int:
        """The code as in google.rpc.Code, which tensorflow.error.Code shares."""
        number, _ = self.code.value
        return int(number)

    @property
    def details(self) -> str:
        message = str(self)
        return message if len(message) <= MESSAGE_LIMIT else message[:MESSAGE_LIMIT] + "...TRUNCATED"


def invalid_argument(message: str) -> ServingError:
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)


def not_found(message: str) -> ServingError:
    return ServingError(grpc.StatusCode.NOT_FOUND, message)


def failed_precondition(message: str) -> ServingError:
    return ServingError(grpc.StatusCode.FAILED_PRECONDITION, message)


def as_serving_error(error: Exception) -> ServingError:
    """`error` itself if it has a code already, otherwise INTERNAL with its type and message."""
    if isinstance(error, ServingError):
        return error
    if isinstance(error, MemoryError):
        return ServingError(grpc.StatusCode.RESOURCE_EXHAUSTED, "out of memory")
    return ServingError(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}")


def from_number(number: int, message: str) -> ServingError:
    """`number` is a google.rpc.Code; one that gRPC does not know becomes UNKNOWN."""
    codes = {code.value[0]: code for code in grpc.StatusCode}
    return ServingError(codes.get(number, grpc.StatusCode.UNKNOWN), message)
