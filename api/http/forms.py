"""Forms of files (multipart/form-data, RFC 7578).

Of the request's Content-Type only the boundary counts: a codec that the client names would be run on the event loop,
and some take minutes. Headers of parts are UTF-8. A part that does not belong here is refused at its headers.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser
from starlette.requests import Request

from api.errors import InvalidParameter, UnreadableImage

# Of each part, which needs two: what it is called, and its type.
_MAX_HEADERS = 8
_MAX_HEADER_BYTES = 4096

_PARAMETER = re.compile(rb';[ \t]*([!#-\'*+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*("(?:[^"\\]|\\.)*"|[^;]*)', re.DOTALL)
_ESCAPED = re.compile(rb'\\(["\\])')
# Those that RFC 5987 demands; any other name of a codec is not looked up.
_CHARSETS = {b"utf-8": "utf-8", b"iso-8859-1": "iso-8859-1"}


@dataclass(frozen=True, slots=True)
class Upload:
    filename: str | None
    content: bytes


async def read_files(request: Request, *, field: str, limit: int, also: Sequence[str] = ()) -> list[Upload]:
    """The files of a form that has nothing else, 1 to `limit` of them, all in the field of that name.

    Args:
        also: names that do as well as `field`.
        request: its Content-Type is multipart/form-data, and its body is limited.

    Raises:
        InvalidParameter: another field, text, too many files or none; or it is not such a form.
        UnreadableImage: the body is empty, or ends before the form does.
    """
    boundary = _parameters(request.headers["content-type"].encode("latin-1")).get(b"boundary", b"")
    if not boundary:
        raise InvalidParameter({field: "the Content-Type of the form names no boundary"})
    form = _Form(field, limit, also)
    empty = True
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": form.begin_part,
                "on_header_field": form.add_to_name,
                "on_header_value": form.add_to_value,
                "on_header_end": form.end_header,
                "on_headers_finished": form.begin_content,
                "on_part_data": form.add_content,
                "on_part_end": form.end_part,
                "on_end": form.end,
            },
            max_header_count=_MAX_HEADERS,
            max_header_size=_MAX_HEADER_BYTES,
        )
        async for chunk in request.stream():
            empty = empty and not chunk
            parser.write(chunk)
    except FormParserError as error:
        raise InvalidParameter({field: f"the form is broken: {error}"}) from error
    if empty:
        raise UnreadableImage("The body is empty.")
    if not form.ended:
        raise UnreadableImage("The form is truncated: it ends before its closing boundary.")
    if not form.files:
        raise InvalidParameter({field: "is missing"})
    return form.files


class _Form:
    """What the parser has come across so far."""

    def __init__(self, field: str, limit: int, also: Sequence[str]) -> None:
        self.files: list[Upload] = []
        self.ended = False
        self._field = field
        self._names = (field, *also)
        self._limit = limit

    def begin_part(self) -> None:
        self._name = self._value = self._disposition = b""
        self._filename: str | None = None
        self._content = bytearray()

    def add_to_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def add_to_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def end_header(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name = self._value = b""

    def begin_content(self) -> None:
        parameters = _parameters(self._disposition)
        name = self._text(parameters, b"name")
        if name is None:
            raise InvalidParameter({self._field: "a part of the form has no name"})
        if name not in self._names:
            raise InvalidParameter({name: f"unknown form field; the image goes into {self._field!r}"})
        self._filename = self._text(parameters, b"filename")
        if self._filename is None:
            raise InvalidParameter({self._field: "must be a file (a part with a filename), not text"})
        if len(self.files) == self._limit:
            raise InvalidParameter({self._field: f"has more files than the limit of {self._limit}"})

    def add_content(self, data: bytes, start: int, end: int) -> None:
        self._content += data[start:end]

    def end_part(self) -> None:
        self.files.append(Upload(self._filename, bytes(self._content)))
        self._content = bytearray()

    def end(self) -> None:
        self.ended = True

    def _text(self, parameters: dict[bytes, bytes], key: bytes) -> str | None:
        try:
            if (extended := parameters.get(key + b"*")) is not None:
                charset, _, value = extended.partition(b"'")
                return unquote_to_bytes(value.partition(b"'")[2]).decode(_CHARSETS[charset.lower()])
            return None if (plain := parameters.get(key)) is None else plain.decode()
        except UnicodeDecodeError as error:
            raise InvalidParameter({self._field: f"the {key.decode()} of a part is not UTF-8"}) from error
        except KeyError as error:
            raise InvalidParameter({self._field: f"the {key.decode()}* of a part is not in UTF-8"}) from error


def _parameters(header: bytes) -> dict[bytes, bytes]:
    """Those of a header's value, by lower-case name; of several with one name the first."""
    found: dict[bytes, bytes] = {}
    for name, value in _PARAMETER.findall(header):
        if value.startswith(b'"') and len(value) > 1:
            # Browsers of old send backslashes of paths as they are.
            value = _ESCAPED.sub(rb"\1", value[1:-1])
        found.setdefault(name.lower(), value.strip())
    return found
