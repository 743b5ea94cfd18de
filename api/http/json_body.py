"""JSON bodies: the image as a member of an object, and small documents that are read after who sent them is known."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from api.errors import InvalidParameter, UnsupportedFormat
from api.http.schemas import Base64Body

# The one member that there may be needs one at most, after `data:image/jpeg;base64`.
_MAX_COMMAS = 100


Document = TypeVar("Document", bound=BaseModel)


async def read_document(request: Request, kind: type[Document]) -> Document:
    """The body as a document of that kind. FastAPI would read it before it asks for a key.

    Raises:
        UnsupportedFormat: Content-Type says that it is something else than JSON.
        InvalidParameter: it is not JSON, or not such a document; names the place.
        TooLarge: from BodyLimit, whose limit for this path must be small: it is parsed on the event loop.
    """
    named = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if named not in ("application/json", "") and not named.endswith("+json"):
        raise UnsupportedFormat(f"Content-Type is {named}; it must be application/json.")
    try:
        return kind.model_validate_json(await request.body())
    except ValidationError as error:
        raise _invalid(error) from error


def encoded_image(body: bytes) -> str:
    """The member `image`, still base64.

    Raises:
        InvalidParameter: it is not JSON, not an object, or not that one member.
    """
    # Every value but the first of its array or object follows a comma, and nesting has a limit of its own. With
    # millions of values a parser would hold the GIL, and with it the event loop, for seconds.
    place = -1
    for _ in range(_MAX_COMMAS):
        place = body.find(b",", place + 1)
        if place < 0:
            break
    else:
        raise InvalidParameter({"body": f'has {_MAX_COMMAS} commas or more; it must be {{"image": "(base64)"}}'})
    try:
        return Base64Body.model_validate_json(body).image
    except ValidationError as error:
        raise _invalid(error) from error


def _invalid(error: ValidationError) -> InvalidParameter:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return InvalidParameter(
        {".".join(map(str, e["loc"])) or "body": e["msg"].removeprefix("Value error, ") for e in found}
    )
