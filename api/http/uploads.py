"""Request bodies: the image, or the files of a batch, out of whichever encoding the client chose."""

import base64
import binascii
from collections.abc import Sequence

from starlette.requests import Request

from api.errors import InvalidParameter, UnreadableImage, UnsupportedFormat
from api.http.forms import Upload, read_files
from api.http.json_body import encoded_image
from api.workers import CpuPool

MULTIPART = "multipart/form-data"
JSON = "application/json"
# The content decides what an image is; any name of one will do, and none, too. These are told to readers.
RAW = (
    "image/jpeg",
    "image/png",
    "image/webp",
    "image/avif",
    "image/gif",
    "image/bmp",
    "image/*",
    "application/octet-stream",
)
_UNNAMED = ("", "application/octet-stream", "binary/octet-stream")
_URL_SAFE = bytes.maketrans(b"-_", b"+/")


async def read_image(request: Request, pool: CpuPool, *, also: Sequence[str] = ()) -> bytes:
    """The image of a request, by Content-Type: form field `file`, JSON member `image`, or the raw body.

    Args:
        pool: decodes base64.
        also: fields of a form that do as well as `file`.

    Raises:
        UnsupportedFormat: another Content-Type.
        InvalidParameter: a wrong form or JSON.
        UnreadableImage: an empty body.
        TooLarge: from BodyLimit.
    """
    kind = _kind(request)
    if kind == MULTIPART:
        [upload] = await read_files(request, field="file", limit=1, also=also)
        return upload.content
    body = await request.body()
    if not body:
        raise UnreadableImage("The body is empty.")
    if kind == JSON:
        # Megabytes of base64 would hold up the event loop.
        return await pool.run(_from_json, body)
    if kind in _UNNAMED or kind.startswith("image/"):
        return body
    accepted = ", ".join((MULTIPART, JSON, *RAW))
    raise UnsupportedFormat(f"Content-Type is {kind}; it must be one of {accepted}, or none.")


async def read_form_image(request: Request, field: str) -> bytes:
    """The image of a form, in the field of that name. Raises as read_image() does."""
    _require_form(request, "it")
    [upload] = await read_files(request, field=field, limit=1)
    return upload.content


async def read_batch(request: Request, limit: int) -> list[Upload]:
    """The files of a batch, form field `files` repeated 1 to `limit` times. Raises as read_image() does."""
    _require_form(request, "a batch")
    return await read_files(request, field="files", limit=limit)


def _kind(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _require_form(request: Request, what: str) -> None:
    if (kind := _kind(request)) != MULTIPART:
        raise UnsupportedFormat(f"Content-Type is {kind or 'missing'}; {what} must be {MULTIPART}.")


def _from_json(body: bytes) -> bytes:
    encoded = encoded_image(body)
    if encoded.startswith("data:"):
        encoded = encoded.partition(",")[2]
    try:
        return _from_base64(encoded.encode())
    except (binascii.Error, ValueError) as error:
        raise InvalidParameter({"image": f"is not base64: {error}"}) from error


def _from_base64(encoded: bytes) -> bytes:
    """Standard or URL-safe (RFC 4648), in lines or not, padded or not."""
    bare = b"".join(encoded.split()).translate(_URL_SAFE).rstrip(b"=")
    return base64.b64decode(bare + b"=" * (-len(bare) % 4), validate=True)
