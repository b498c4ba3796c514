"""Sends requests to an exported SavedModel, in a process of its own that can't import kmax_tf.

python trial_client.py EXPORT REQUESTS REPLIES

REQUESTS is a pickle of (signature, {input: array}), REPLIES becomes one of {"load_seconds": ...,
"first_seconds": of the first answer, "replies": [({output: array}, seconds)]}: those of a second
call, as the first prepares.
"""

import pickle
import sys
import time


def main(export: str, requests: str, replies: str) -> None:
    """Sends the requests one after another."""
    import tensorflow as tf

    # Proves that the export stands alone: importing the package is an error from here on.
    sys.modules["kmax_tf"] = None  # type: ignore[assignment]
    with open(requests, "rb") as file:
        asked = pickle.load(file)
    start = time.perf_counter()
    signatures = tf.saved_model.load(export).signatures
    answer = {"load_seconds": time.perf_counter() - start, "first_seconds": 0.0}
    answers = []
    for signature, inputs in asked:
        serve = signatures[signature]
        tensors = {name: tf.constant(value) for name, value in inputs.items()}
        start = time.perf_counter()
        serve(**tensors)
        answer["first_seconds"] = answer["first_seconds"] or time.perf_counter() - start
        start = time.perf_counter()
        outputs = {name: value.numpy() for name, value in serve(**tensors).items()}
        answers.append((outputs, time.perf_counter() - start))
    with open(replies, "wb") as file:
        pickle.dump({**answer, "replies": answers}, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
