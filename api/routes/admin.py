"""The key that endpoints for operators ask for."""

import hmac
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader

from api.errors import AdminDisabled, Unauthorized
from api.gateway import Gateway

HEADER = "X-Admin-Key"

_header = APIKeyHeader(name=HEADER, auto_error=False, description="The value of EMOTION_ADMIN_KEY.")


def require_admin(request: Request, given: Annotated[str | None, Security(_header)]) -> None:
    """Raises AdminDisabled when the settings have no key, for none is open by default; else Unauthorized."""
    gateway: Gateway = request.app.state.gateway
    key = gateway.settings.admin_key
    if key is None:
        raise AdminDisabled("This gateway has no EMOTION_ADMIN_KEY, so its endpoints for operators are closed.")
    # Compared in constant time, so that the time of a refusal tells nothing of the key.
    if given is None or not hmac.compare_digest(given.encode(), key.get_secret_value().encode()):
        raise Unauthorized(f"{HEADER} is {'missing' if given is None else 'wrong'}.", header=HEADER)


AdminDep = Depends(require_admin)
