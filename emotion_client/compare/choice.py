"""Which model, by name, version or label."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Choice:
    """`random`, `random:3` or `random@stable`."""

    model: str
    version: int | None = None
    label: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Choice":
        """
        Raises:
            ValueError: it is none of them; the text says so.
        """
        found = re.fullmatch(r"([^:@\s]+)(?::(\d{1,18})|@([^:@\s]+))?", text)
        if found is None:
            raise ValueError(f"{text!r} is none of NAME, NAME:VERSION and NAME@LABEL")
        return cls(found[1], int(found[2]) if found[2] else None, found[3])
