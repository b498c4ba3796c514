"""A model without a network, and the server around it, for tests of what surrounds a model."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import threading
import types

import numpy as np
import tensorflow as tf
import uvicorn
from PIL import Image

from kmax_tf.serving.app import build_app
from kmax_tf.serving.limits import Limits
from kmax_tf.serving.metrics import Metrics
from kmax_tf.serving.refusals import RefusedError
from kmax_tf.serving.served_model import ServedModel, Signature

ENCODED = {"image_bytes": tf.TensorSpec([None], tf.string)}
ANY_SIZE = tf.TensorSpec([None, None, None], tf.int32)


class FakeModel(ServedModel):
    """Tells how long the bytes of images are; waits and fails as it is told.

    Attributes:
      batches: numbers of images of the calls so far.
      bad: image that it can't decode.
      go: cleared to make calls wait.
      called: set by each call.
    """

    def __init__(self, version=1):
        self.version, self.labels = version, {"classes": []}
        self.thresholds = {"thing_threshold": np.float32(0.7)}
        self.batches: list[int] = []
        self.bad = b""
        self.go, self.called = threading.Event(), threading.Event()
        self.go.set()
        threshold = {"thing_threshold": tf.TensorSpec(None, tf.float32)}
        lengths = {"lengths": tf.TensorSpec([None], tf.int32)}
        images = {"images": tf.TensorSpec([None, None, None, 3], tf.uint8)}
        self.signatures = {
            name: Signature(name, inputs, outputs, lambda **_: {})
            for name, inputs, outputs in [
                ("serving_default", images, lengths),
                ("compact", ENCODED, {**lengths, "png_bytes": tf.TensorSpec([None], tf.string)}),
                ("with_thresholds", {**ENCODED, **threshold}, lengths),
                ("image_bytes", ENCODED, {"maps": ANY_SIZE}),
                ("logits", images, {**lengths, "fitted_size": tf.TensorSpec([2], tf.int32)}),
            ]
        }

    def __call__(self, signature, inputs):
        self.called.set()
        assert self.go.wait(20)
        values = inputs.get("image_bytes", inputs.get("images"))
        self.batches.append(len(values))
        if signature.takes_encoded and self.bad in list(values):
            raise RefusedError(422, f"image {list(values).index(self.bad)} is bad")
        if signature.name == "logits":
            raise ZeroDivisionError("a secret of the model")
        outputs = {"lengths": np.array([len(value) for value in values], np.int32)}
        if signature.name == "compact":
            outputs["png_bytes"] = np.array([value[:3] for value in values], object)
        if signature.name == "image_bytes":
            outputs = {"maps": np.zeros((len(values), 50, 50), np.int32)}
        return outputs


def png(size=(4, 3), mode="RGB", **options):
    """An image file."""
    file = io.BytesIO()
    Image.new(mode, size).save(file, **{"format": "PNG", **options})
    return file.getvalue()


class Client:
    """Asks a server on this machine."""

    def __init__(self, port):
        self.port = port

    def ask(self, path, body=None, method=None, headers=()):
        """Returns status, headers and content of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        try:
            connection.request(
                method or ("GET" if body is None else "POST"), path, body, dict(headers)
            )
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        if "json" in response.headers.get("content-type", ""):
            content = json.loads(content)
        return types.SimpleNamespace(
            status=response.status, headers=response.headers, content=content
        )

    def predict(self, signature, inputs, form="inputs", **more):
        body = {"signature_name": signature, form: inputs}
        return self.ask("/v1/models/kmax:predict", json.dumps(body), **more)


@contextlib.contextmanager
def served(model, **limits):
    """Serves a model in a thread; gives a client."""
    versions = types.SimpleNamespace(
        current=model,
        statuses=lambda: [{"version": "1", "state": "AVAILABLE"}],
        close=lambda: None,
    )
    app = build_app("kmax", versions, Limits(**limits), Metrics())
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            thread.join(0.01)
        yield Client(server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(20)
