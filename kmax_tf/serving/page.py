"""The page where a person looks at what a model says: its files are in page/."""

from __future__ import annotations

import importlib.resources
import mimetypes
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from kmax_tf.serving.limits import Limits
from kmax_tf.serving.versions import Versions

# Nothing is loaded from elsewhere, and nothing sent there.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def page_routes(name: str, versions: Versions, limits: Limits) -> list[Route]:
    """Returns the paths of the page, and `/page/model.json`, what it needs to know of the model."""

    async def describe(request: Request) -> Response:
        model = versions.current
        return JSONResponse(
            {
                "name": name,
                "version": model.version,
                "labels": model.labels,
                "signatures": sorted(model.signatures),
                "thresholds": {key: round(float(x), 6) for key, x in model.thresholds.items()},
                "most_bytes": limits.body,
            }
        )

    folder = importlib.resources.files("kmax_tf.serving") / "page"
    files = {entry.name: entry.read_bytes() for entry in folder.iterdir() if entry.is_file()}
    return [
        Route("/", _file("index.html", files["index.html"])),
        Route("/page/model.json", describe),
        *(Route(f"/page/{name}", _file(name, content)) for name, content in files.items()),
    ]


def _file(name: str, content: bytes) -> Callable[[Request], Awaitable[Response]]:
    """Returns what answers with a file of the page."""
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"

    async def answer(request: Request) -> Response:
        return Response(content, headers=_HEADERS, media_type=kind)

    return answer
