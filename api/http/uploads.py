"""Request bodies: the image, or the files of a batch, out of whichever encoding the client chose."""

import base64
import binascii
from dataclasses import dataclass

from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from api.errors import InvalidParameter, UnreadableImage, UnsupportedFormat
from api.http.schemas import Base64Body
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


@dataclass(frozen=True, slots=True)
class Upload:
    filename: str | None
    content: bytes


class _InMemoryParser(MultiPartParser):
    # Bodies are capped before they come here. Spooling to a temporary file would cost a thread per write and
    # fail in a container with a read-only root.
    spool_max_size = 2**31


async def read_image(request: Request, pool: CpuPool) -> bytes:
    """The image of a request, by Content-Type: form field `file`, JSON member `image`, or the raw body.

    Args:
        pool: decodes base64.

    Raises:
        UnsupportedFormat: another Content-Type.
        InvalidParameter: a wrong form or JSON.
        UnreadableImage: an empty body.
        TooLarge: from BodyLimit.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == MULTIPART:
        [upload] = await _read_files(request, field="file", limit=1)
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


async def read_batch(request: Request, limit: int) -> list[Upload]:
    """The files of a batch, form field `files` repeated 1 to `limit` times. Raises as read_image() does."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != MULTIPART:
        raise UnsupportedFormat(f"Content-Type is {kind or 'missing'}; a batch must be {MULTIPART}.")
    return await _read_files(request, field="files", limit=limit)


async def _read_files(request: Request, *, field: str, limit: int) -> list[Upload]:
    try:
        form = await _InMemoryParser(request.headers, request.stream(), max_files=limit, max_fields=limit).parse()
    except MultiPartException as error:
        raise InvalidParameter({field: error.message}) from error
    try:
        for name, value in form.multi_items():
            if name != field:
                raise InvalidParameter({name: f"unknown form field; the image goes into {field!r}"})
            if not isinstance(value, UploadFile):
                raise InvalidParameter({field: "must be a file (a part with a filename), not text"})
        files = form.getlist(field)
        if not files:
            raise InvalidParameter({field: "is missing"})
        return [Upload(file.filename, await file.read()) for file in files if isinstance(file, UploadFile)]
    finally:
        await form.close()


def _from_json(body: bytes) -> bytes:
    try:
        encoded = Base64Body.model_validate_json(body).image
    except ValidationError as error:
        raise InvalidParameter({".".join(map(str, e["loc"])) or "body": e["msg"] for e in error.errors()}) from error
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
