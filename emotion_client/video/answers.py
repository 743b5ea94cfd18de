"""What videos and comparisons need of a client: its answers have more."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol


class Box(Protocol):
    """Pixels; (x, y) is the top left corner."""

    @property
    def x(self) -> int: ...
    @property
    def y(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...


class Face(Protocol):
    @property
    def box(self) -> Box: ...
    @property
    def emotion(self) -> str: ...
    @property
    def confidence(self) -> float: ...
    @property
    def probabilities(self) -> dict[str, float]: ...


class Model(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int: ...


class Prediction(Protocol):
    @property
    def model(self) -> Model: ...
    @property
    def faces(self) -> Sequence[Face]: ...


Predict = Callable[[bytes], Awaitable[Prediction]]
"""A photo's faces, largest first."""
