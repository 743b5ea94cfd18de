"""What can be wrong with a photo. What that means in HTTP is the gateway's business.

FaceError
├── ImageError
│   ├── UnreadableImage     empty, truncated or corrupt
│   ├── UnsupportedFormat   none of the formats we read
│   └── TooLarge            over the byte or pixel limit
├── OutOfMemory             no fault of the image
└── DetectorFailed          ours
"""

# ruff: noqa: N818 - a caller reads the name as what went wrong; the suffix Error on each would add nothing.

from typing import Any


class FaceError(Exception):
    def __init__(self, detail: str, **members: Any) -> None:
        """
        Args:
            detail: one sentence for people.
            members: what programs may want to know of it, such as the limit passed.
        """
        super().__init__(detail)
        self.detail = detail
        self.members = members


class ImageError(FaceError):
    """Something about the image itself."""


class UnreadableImage(ImageError):
    pass


class UnsupportedFormat(ImageError):
    pass


class TooLarge(ImageError):
    def __init__(self, what: str, *, unit: str, limit: int, size: int) -> None:
        """
        Args:
            what: the thing measured, which has `size` of `unit`.
        """
        super().__init__(
            f"{what} has {size:,} {unit}; the limit is {limit:,} {unit}.", limit=limit, unit=unit, size=size
        )


class OutOfMemory(FaceError):
    pass


class DetectorFailed(FaceError):
    """Raised from what the detector raised."""

    def __init__(self) -> None:
        super().__init__("The face detector failed.")
