"""What a client wants to get (RFC 9110, section 12.5.1)."""

import re
from collections.abc import Sequence
from typing import Annotated, Final, Literal, cast

from fastapi import Depends, Request

from api.errors import NotAcceptable
from api.pictures.colour import MediaType

JSON: Final = "application/json"
OFFERS = (JSON, "image/png", "image/jpeg")

Wanted = Literal["application/json"] | MediaType

_WEIGHT = re.compile(r"[ \t]*q[ \t]*=[ \t]*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)[ \t]*", re.IGNORECASE)


def best(accept: str | None, offers: Sequence[str]) -> str:
    """The offer that a header Accept likes best; of several the first.

    Raises:
        NotAcceptable: it takes none of them.
    """
    if accept is None or not accept.strip():
        return offers[0]
    weights = {offer: _weight(offer, accept) for offer in offers}
    liked = max(offers, key=weights.__getitem__)
    if not weights[liked]:
        raise NotAcceptable(f"Accept takes none of {', '.join(offers)}.", available=list(offers))
    return liked


def _weight(offer: str, accept: str) -> float:
    """q of the most specific range that has the offer in it; 0: of none."""
    ranges = ("*/*", f"{offer.partition('/')[0]}/*", offer)
    found = (-1, 0.0)
    for part in accept.split(","):
        name, *parameters = part.split(";")
        name = name.strip().lower()
        if name in ranges:
            weights = [float(match[1]) for parameter in parameters if (match := _WEIGHT.fullmatch(parameter))]
            found = max(found, (ranges.index(name), weights[0] if weights else 1.0))
    return found[1]


async def wanted(request: Request) -> Wanted:
    """
    Raises:
        NotAcceptable: neither JSON nor a picture.
    """
    # Several headers of one name mean a list.
    accept = ", ".join(request.headers.getlist("accept"))
    return cast(Wanted, best(accept, OFFERS))


WantedDep = Annotated[Wanted, Depends(wanted)]
