"""The k-means update of the cluster centers: two formulations, forward and with gradients.

One JSON line a case: sums by segments, which touch each pixel's values once, and a product with the
one-hot assignment, which multiplies mostly by zero. `ratio` is the time over that of the product.
"""

from __future__ import annotations

import argparse

import numpy as np
import tensorflow as tf
from measuring import finished, print_line, ratio, summary, time_in_turns

from kmax_tf.model.kmeans_attention import assign_pixels, sum_by_product, sum_by_segments

FORMULATIONS = {"product": sum_by_product, "segments": sum_by_segments}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[41, 81, 161])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--centers", type=int, default=128)
    parser.add_argument("--channels", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=21)
    args = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(args.threads)
    devices = ["GPU:0"] if tf.config.list_logical_devices("GPU") else ["CPU:0"]
    for side in args.sides:
        for device in devices:
            for xla in (False, True):
                with tf.device(device):
                    measure(args, side, device, xla)


def measure(args: argparse.Namespace, side: int, device: str, xla: bool) -> None:
    """Measures one size: assignment and update, without and with the gradient of the values."""
    rng = np.random.default_rng(0)
    shape = [args.batch, side, side, args.centers]
    logits = tf.constant(rng.normal(size=shape).astype(np.float32))
    shape = [args.batch, side * side, args.channels]
    values = tf.constant(rng.normal(size=shape).astype(np.float32))

    def update(total, values):
        return total(assign_pixels(logits), values, args.centers)

    def gradient(total, values):
        with tf.GradientTape() as tape:
            tape.watch(values)
            centers = update(total, values)
            loss = tf.reduce_sum(centers * centers)
        return tape.gradient(loss, values)

    for passes, compute in (("forward", update), ("forward_and_backward", gradient)):
        compiled = {name: tf.function(compute, jit_compile=xla or None) for name in FORMULATIONS}
        runs = {
            name: lambda name=name, compiled=compiled: finished(
                compiled[name](FORMULATIONS[name], values)
            )
            for name in FORMULATIONS
        }
        seconds = time_in_turns(runs, args.repeats)
        for name in runs:
            print_line(
                case=name,
                passes=passes,
                pixels=side * side,
                batch=args.batch,
                device=device,
                xla=xla,
                **summary(seconds[name]),
                ratio=ratio(seconds[name], seconds["product"]),
            )


if __name__ == "__main__":
    main()
