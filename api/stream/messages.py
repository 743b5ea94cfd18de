"""What goes over a stream, besides frames."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from api.settings import MAX_FACE
from wire.target import Label

SUBPROTOCOL = "emotion.v1"

SMOOTHING_S = 0.4

Reason = Literal["busy", "rate", "late"]
Reply = dict[str, Any]


class Configure(BaseModel):
    """The first message, as text; it may be left out where no key is asked for."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["configure"]
    model: str | None = None
    version: int | None = Field(default=None, ge=0, lt=2**63)
    label: Label | None = None
    max_faces: int | None = Field(default=None, ge=1)
    min_face: int | None = Field(default=None, ge=1, le=MAX_FACE)
    # Time constant in seconds; true: the default, false: none.
    smoothing: bool | Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = True
    subject: str | None = Field(default=None, min_length=1, max_length=1024)
    key: SecretStr | None = None

    @property
    def smoothing_s(self) -> float:
        """The time constant; 0: none."""
        if isinstance(self.smoothing, bool):
            return SMOOTHING_S if self.smoothing else 0.0
        return self.smoothing


def dropped(reason: Reason) -> Reply:
    """busy: a newer frame came before this one's turn, or the gateway has too much to do."""
    return {"type": "dropped", "reason": reason}


def problem(document: dict[str, Any]) -> Reply:
    """An RFC 9457 document."""
    return {"type": "problem", "problem": document}
