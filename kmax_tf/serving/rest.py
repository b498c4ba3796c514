"""The REST paths of TensorFlow Serving, predict, status and metadata, and those for watching."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from kmax_tf.serving.batching import Batcher
from kmax_tf.serving.image_checks import check_images
from kmax_tf.serving.json_forms import format_reply, parse
from kmax_tf.serving.limits import Limits
from kmax_tf.serving.logs import log
from kmax_tf.serving.metrics import CONTENT_TYPE, Metrics
from kmax_tf.serving.refusals import RefusedError
from kmax_tf.serving.served_model import ServedModel
from kmax_tf.serving.versions import Versions

# Bytes of a body that is too large are read and thrown away up to this number, so that who sends
# them gets to read the answer.
_DRAINED = 256 * 2**20
# What the client closed before there was an answer: nginx's number, for logs.
_GONE = 499


class _Name(Convertor[str]):
    """The name of a model, behind which ":predict" may stand."""

    regex = "[^/:]+"

    def convert(self, value: str) -> str:
        """Returns it as it is."""
        return value

    def to_string(self, value: str) -> str:
        """Returns it as it is."""
        return value


register_url_convertor("name", _Name())


class Rest:
    """Answers requests to a model of one name."""

    def __init__(self, name: str, versions: Versions, limits: Limits, metrics: Metrics):
        self._name, self._versions, self._limits = name, versions, limits
        self._metrics = metrics
        self._batcher = Batcher(limits, metrics)
        self._under_way = 0

    def routes(self) -> list[Route]:
        """Returns the paths."""
        model = "/v1/models/{name:name}"
        version = model + "/versions/{version}"
        return [
            *(
                Route(f"{path}:predict", self._predict, methods=["POST"])
                for path in (version, model)
            ),
            *(Route(f"{path}/metadata", self._metadata) for path in (version, model)),
            *(Route(path, self._status) for path in (version, model)),
            Route("/metrics", self._show_metrics),
            Route("/healthz", self._health),
        ]

    def close(self) -> None:
        """Answers what waits, and ends."""
        self._batcher.close()

    async def _predict(self, request: Request) -> Response:
        start = time.perf_counter()
        told: dict[str, Any] = {"signature": "none"}
        try:
            self._enter()
            try:
                response = await asyncio.wait_for(self._answer(request, told), self._limits.seconds)
            finally:
                self._leave()
        except asyncio.TimeoutError:
            response = refuse(self._too_late(told))
        except RefusedError as error:
            response = refuse(error)
        except ClientDisconnect:
            response = Response(status_code=_GONE)
        except Exception:  # The log tells all of it, the answer nothing.
            log("request failed", logging.ERROR, exc_info=True, **told)
            response = refuse(
                RefusedError(500, "the model failed on this request; the server's log says how")
            )
        self._note(request, response, told, time.perf_counter() - start)
        return response

    def _enter(self) -> None:
        if self._under_way >= self._limits.requests:
            raise RefusedError(
                429,
                f"{self._under_way} requests are under way, which is as many as may; ask again "
                "later",
            )
        self._under_way += 1
        self._metrics.under_way.set(self._under_way)

    def _leave(self) -> None:
        self._under_way -= 1
        self._metrics.under_way.set(self._under_way)

    async def _answer(self, request: Request, told: dict[str, Any]) -> Response:
        """Reads a request, has the model compute, and writes the answer."""
        model = self._model_of(request)
        body = await self._read(request)
        told["bytes"] = len(body)
        call = await run_in_threadpool(parse, body, model.signature)
        del body
        told.update(signature=call.signature.name, images=call.images, version=model.version)
        await run_in_threadpool(check_images, call, self._limits)
        outputs = await asyncio.wrap_future(self._batcher.submit(model, call))
        if sum(value.size for value in outputs.values()) > self._limits.values:
            raise RefusedError(
                422,
                f"the reply would have more than {self._limits.values} numbers; ask for the "
                "signature compact, or send fewer or smaller images",
            )
        reply = await run_in_threadpool(format_reply, call, outputs)
        return Response(reply, media_type="application/json")

    async def _read(self, request: Request) -> bytes:
        """Reads a body.

        Raises:
          RefusedError: it is compressed, or has too many bytes.
        """
        if request.headers.get("content-encoding", "identity") != "identity":
            raise RefusedError(415, "compressed requests aren't taken; send JSON as it is")
        most = self._limits.body
        sentence = f"the request has more than {most} bytes; send fewer or smaller images"
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > max(most, _DRAINED):
            raise RefusedError(413, sentence)
        parts, length = [], 0
        async for part in request.stream():
            length += len(part)
            if length <= most:
                parts.append(part)
            else:
                parts.clear()
                if length > _DRAINED:
                    break
        if length > most:
            raise RefusedError(413, sentence)
        return b"".join(parts)

    def _too_late(self, told: dict[str, Any]) -> RefusedError:
        seconds = f"{self._limits.seconds:g} seconds"
        if "images" not in told:
            return RefusedError(408, f"the request wasn't here within {seconds}; send it again")
        return RefusedError(
            504, f"there was no answer within {seconds}; ask again later, or send fewer images"
        )

    def _note(
        self, request: Request, response: Response, told: dict[str, Any], seconds: float
    ) -> None:
        """Counts and logs an answer."""
        signature, status = str(told["signature"]), response.status_code
        self._metrics.seconds.labels(signature).observe(seconds)
        self._metrics.requests.labels(signature, status).inc()
        if isinstance(response, _Refusal):
            told["reason"] = response.reason
        log(
            "predict",
            status=status,
            seconds=round(seconds, 4),
            client=request.client.host if request.client else None,
            **told,
        )

    def _model_of(self, request: Request) -> ServedModel:
        """Returns the model that a path names: what is served, if the version is its."""
        self._check_name(request)
        model = self._versions.current
        version = request.path_params.get("version", str(model.version))
        if version != str(model.version):
            raise RefusedError(404, f"version {version[:20]} isn't served; {model.version} is")
        return model

    def _check_name(self, request: Request) -> None:
        name: str = request.path_params["name"]
        if name != self._name:
            raise RefusedError(404, f"there is no model {name[:100]!r}; there is {self._name!r}")

    async def _status(self, request: Request) -> Response:
        self._check_name(request)
        version = request.path_params.get("version", "")
        found = [one for one in self._versions.statuses() if version in ("", one["version"])]
        if not found:
            raise RefusedError(404, f"there is no version {version[:20]}")
        return JSONResponse({"model_version_status": found})

    async def _metadata(self, request: Request) -> Response:
        model = self._model_of(request)
        return JSONResponse(
            {
                "model_spec": {
                    "name": self._name,
                    "signature_name": "",
                    "version": str(model.version),
                },
                "metadata": {"signature_def": {"signature_def": model.metadata()}},
            }
        )

    async def _show_metrics(self, request: Request) -> Response:
        return Response(self._metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    async def _health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})


class _Refusal(JSONResponse):
    """The answer to what can't be done.

    Attributes:
      reason: a sentence.
    """

    def __init__(self, error: RefusedError):
        self.reason = str(error)
        super().__init__({"error": self.reason}, error.status, headers=error.headers)


def refuse(error: RefusedError) -> Response:
    """Returns the answer to what can't be done, as TensorFlow Serving gives it."""
    return _Refusal(error)
