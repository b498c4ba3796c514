"""The server as an ASGI application."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from kmax_tf.serving.limits import Limits
from kmax_tf.serving.metrics import Metrics
from kmax_tf.serving.page import page_routes
from kmax_tf.serving.refusals import RefusedError
from kmax_tf.serving.rest import Rest, refuse
from kmax_tf.serving.versions import Versions


def build_app(name: str, versions: Versions, limits: Limits, metrics: Metrics) -> Starlette:
    """Builds the application: REST paths, the page, and sentences for everything else.

    Args:
      name: of the model, in paths.
      versions: of it; closed with the application.
      limits: of requests.
      metrics: what is counted.
    """
    rest = Rest(name, versions, limits, metrics)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(rest.close)
        await run_in_threadpool(versions.close)

    async def no_such_path(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException) and error.status_code == 405:
            sentence = f"{request.method} isn't what this path takes"
            return refuse(RefusedError(405, sentence))
        sentence = (
            f"there is no such path; ask with POST /v1/models/{name}:predict, or GET "
            f"/v1/models/{name}, /v1/models/{name}/metadata, /metrics, or / for the page"
        )
        return refuse(RefusedError(404, sentence))

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, RefusedError)
        return refuse(error)

    return Starlette(
        routes=[*rest.routes(), *page_routes(name, versions, limits)],
        exception_handlers={HTTPException: no_such_path, RefusedError: refused},
        lifespan=lifespan,
    )
