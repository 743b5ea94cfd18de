"""What to ask a model server."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import StringConstraints

from wire import serving_pb2 as pb

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
Label = Name


@dataclass(frozen=True, slots=True)
class Target:
    """What to ask: a version, a label, or, with neither, the model server's newest version."""

    model: str
    version: int | None = None
    label: str | None = None

    def spec(self) -> pb.ModelSpec:
        spec = pb.ModelSpec(name=self.model)
        if self.version is not None:
            spec.version.value = self.version
        elif self.label is not None:
            spec.version_label = self.label
        return spec
