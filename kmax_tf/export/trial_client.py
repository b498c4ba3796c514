"""Sends requests to an exported SavedModel, in a process of its own that can't import kmax_tf.

python trial_client.py EXPORT REQUESTS REPLIES

REQUESTS is a pickle of (signature, {input: array}), REPLIES becomes one of {"load_seconds": ...,
"first_seconds": of the first answer, "replies": [({output: array}, seconds)]}: those of a second
call, as the first prepares.
"""

from __future__ import annotations

import concurrent.futures
import os
import pickle
import sys
import time
from typing import Any


def main(export: str, requests: str, replies: str) -> None:
    """Sends the requests one after another."""
    import tensorflow as tf

    # Proves that the export stands alone: importing the package is an error from here on.
    sys.modules["kmax_tf"] = None  # type: ignore[assignment]
    with open(requests, "rb") as file:
        asked = pickle.load(file)
    start = time.perf_counter()
    signatures = tf.saved_model.load(export).signatures
    load_seconds = time.perf_counter() - start

    def answer(number: int) -> tuple[dict[str, Any], float]:
        signature, inputs = asked[number]
        tensors = {name: tf.constant(value) for name, value in inputs.items()}
        start = time.perf_counter()
        outputs = {name: value.numpy() for name, value in signatures[signature](**tensors).items()}
        return outputs, time.perf_counter() - start

    numbers = range(len(asked))
    _, first_seconds = answer(0)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        # The first call of each makes its graph ready, on one core.
        list(pool.map(answer, numbers[1:]))
    found = {
        "load_seconds": load_seconds,
        "first_seconds": first_seconds,
        "replies": [answer(number) for number in numbers],
    }
    with open(replies, "wb") as output:
        pickle.dump(found, output)


if __name__ == "__main__":
    main(*sys.argv[1:])
