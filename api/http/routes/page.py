"""The page for people at /, the API's documentation at /docs, and their files. No other host is asked for any."""

import json
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from types import MappingProxyType

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException

WEB = Path(__file__).parents[2] / "web"
SAMPLES = Path(__file__).parents[2] / "samples"

_SWAGGER_UI = files("fastapi_swagger") / "resources"

ASSETS: Mapping[str, Traversable] = MappingProxyType(
    {
        **{path.name: path for path in WEB.iterdir() if path.suffix in (".css", ".js", ".svg")},
        **{path.name: path for path in SAMPLES.iterdir() if path.suffix == ".jpg"},
        **{name: _SWAGGER_UI / name for name in ("swagger-ui.css", "swagger-ui-bundle.js")},
    }
)

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
}

_FRESH = {"Cache-Control": "no-cache"}

router = APIRouter(include_in_schema=False)


@router.get("/")
async def page() -> FileResponse:
    return FileResponse(WEB / "index.html", headers=_FRESH)


@router.get("/docs")
async def documentation() -> FileResponse:
    return FileResponse(WEB / "docs.html", headers=_FRESH)


@router.get("/openapi.json")
async def openapi(request: Request) -> Response:
    state = request.app.state
    if not hasattr(state, "document"):
        # Tens of kilobytes that never change: rendered for each request, a crowd of them would hold up all others.
        state.document = json.dumps(request.app.openapi(), ensure_ascii=False).encode()
    return Response(state.document, media_type="application/json", headers=_FRESH)


@router.get("/assets/{name}")
def asset(name: str) -> Response:
    """
    Raises:
        HTTPException: there is no such file.
    """
    if name not in ASSETS:
        raise HTTPException(404)
    return Response(ASSETS[name].read_bytes(), media_type=_TYPES[Path(name).suffix], headers=_FRESH)
