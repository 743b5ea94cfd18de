"""The image as a member of a JSON object, at a cost that the object's other members do not decide."""

from pydantic import ValidationError

from api.errors import InvalidParameter
from api.http.schemas import Base64Body

# The one member that there may be needs one at most, after `data:image/jpeg;base64`.
_MAX_COMMAS = 100


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
        found = error.errors(include_url=False, include_context=False, include_input=False)
        raise InvalidParameter({".".join(map(str, e["loc"])) or "body": e["msg"] for e in found}) from error
