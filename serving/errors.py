"""The one exception of `python -m serving`: an answer of the server, or the line that ends a command."""

from functools import partial

from grpc import StatusCode


class ServingError(Exception):
    """A failure to be reported to a client, in a version's status, or to the user of a command."""

    def __init__(self, message: str, code: StatusCode = StatusCode.UNKNOWN) -> None:
        super().__init__(message)
        self.code = code


invalid_argument = partial(ServingError, code=StatusCode.INVALID_ARGUMENT)
not_found = partial(ServingError, code=StatusCode.NOT_FOUND)
failed_precondition = partial(ServingError, code=StatusCode.FAILED_PRECONDITION)


def as_serving_error(error: Exception) -> ServingError:
    """`error` with a code: its own, TensorFlow's, or INTERNAL with its type and message."""
    if isinstance(error, ServingError):
        return error
    if isinstance(error, MemoryError):
        return ServingError("out of memory", StatusCode.RESOURCE_EXHAUSTED)
    # A tf.errors.OpError has a google.rpc.Code; one that gRPC does not know becomes UNKNOWN.
    if (number := getattr(error, "error_code", None)) is not None:
        codes = {code.value[0]: code for code in StatusCode}
        return ServingError(getattr(error, "message", str(error)), codes.get(number, StatusCode.UNKNOWN))
    return ServingError(f"{type(error).__name__}: {error}", StatusCode.INTERNAL)
