"""What a command needs of an extra is imported when it runs: PyAV and Matplotlib take half a second."""

from collections.abc import Iterator
from contextlib import contextmanager

from emotion_client.errors import EmotionError


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Around imports of what an extra brings.

    Raises:
        EmotionError: it is not installed; says how to.
    """
    try:
        yield
    except ImportError as error:
        raise EmotionError(f"this needs `pip install '.[{name}]'` ({error.name} is missing)") from error
