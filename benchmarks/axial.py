"""Attention along one axis: plain matrix products against einsums, forward and with gradients.

One JSON line a case. `ratio` is the time over that of the einsums. The sizes are those of the pixel
decoder's stages of stride 16 and 32.
"""

from __future__ import annotations

import argparse

import numpy as np
import tensorflow as tf
from measuring import finished, print_line, ratio, summary, time_in_turns

from kmax_tf.config import Experiment, options_of
from kmax_tf.grids import grid_side
from kmax_tf.model.axial_attention import AxisAttention
from kmax_tf.model.batch_norm import BatchNormFactory


class EinsumAttention(AxisAttention):
    """The same attention as the equations are written."""

    def _similarity(self, query, key, length):
        terms = [
            tf.einsum("nlhd,nmhd->hnlm", query, key),
            tf.einsum("nlhd,lmd->hnlm", query, self._relative(self.query_positions, length)),
            tf.einsum("nmhd,lmd->hnlm", key, self._relative(self.key_positions, length)),
        ]
        return [tf.reshape(term, [1, self.num_heads, -1, length]) for term in terms]

    def _retrieved(self, weights, value, length):
        parts = [
            tf.einsum("hnlm,nmhd->hnld", weights, value),
            tf.einsum("hnlm,lmd->hnld", weights, self._relative(self.value_positions, length)),
        ]
        return [tf.reshape(part, [1, self.num_heads, -1, value.shape[3]]) for part in parts]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=641, help="side of the image")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--xla", action="store_true")
    args = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(args.threads)
    for stride, filters in ((16, 256), (32, 512)):
        measure(args, grid_side(args.size, stride), filters)


def measure(args: argparse.Namespace, length: int, filters: int) -> None:
    """Measures one stage: the whole layer in inference, folded, and in training."""
    shape = [args.batch * length, length, 2 * filters]
    inputs = tf.constant(np.random.default_rng(0).normal(size=shape).astype(np.float32))
    layers = {
        name: kind(
            filters,
            2 * filters,
            8,
            255,
            options_of(BatchNormFactory, Experiment().model.batch_norm),
            name="attention",
        )
        for name, kind in (("einsums", EinsumAttention), ("products", AxisAttention))
    }
    for layer in layers.values():
        layer(inputs)

    def train(layer):
        with tf.GradientTape() as tape:
            outputs = layer(inputs, training=True)
            loss = tf.reduce_sum(outputs * outputs)
        return tape.gradient(loss, layer.trainable_variables)

    def infer(layer):
        return layer(inputs, training=False)

    def compare(case, compute):
        compiled = {name: tf.function(compute, jit_compile=args.xla or None) for name in layers}
        runs = {name: lambda name=name: finished(compiled[name](layers[name])) for name in layers}
        seconds = time_in_turns(runs, args.repeats)
        for name in runs:
            print_line(
                case=name,
                passes=case,
                length=length,
                filters=filters,
                xla=args.xla,
                **summary(seconds[name]),
                ratio=ratio(seconds[name], seconds["einsums"]),
            )

    compare("training_step", train)
    compare("inference", infer)
    for layer in layers.values():
        layer.fold()
    compare("inference_folded", infer)


if __name__ == "__main__":
    main()
