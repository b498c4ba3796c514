"""Layers of the project against the library's own: forward pass and all gradients.

One JSON line a case and layer; `ratio` is the time over that of the library's. The sizes are those
of the network at 321x321, but for the dilation by 18, which is of 641x641.
"""

from __future__ import annotations

import argparse

import tensorflow as tf
from measuring import finished, print_line, ratio, summary, time_in_turns
from plain_layers import PlainConvolution, PlainDepthwiseConvolution, PlainLayerNorm

from kmax_tf.keras_api import keras
from kmax_tf.model.convolutions import Convolution, DepthwiseConvolution
from kmax_tf.model.layers import LayerNorm, activate, gelu


class Gelu(keras.layers.Layer):
    """A GELU as the project's layers have it."""

    def call(self, x, training=None):
        """Activates."""
        return activate(gelu, x, training)


class PlainGelu(keras.layers.Layer):
    """The library's GELU."""

    def call(self, x, training=None):
        """Activates."""
        return gelu(x)


SAME = {"padding": "same"}
PLAIN = {
    Convolution: PlainConvolution,
    DepthwiseConvolution: PlainDepthwiseConvolution,
    Gelu: PlainGelu,
    LayerNorm: PlainLayerNorm,
}
# The layer with its arguments, and the input.
CASES = {
    "depthwise 5x5": (DepthwiseConvolution, [5], {"use_bias": False}, [81, 81, 256]),
    "1x1, many pixels": (Convolution, [256, 1], SAME, [81, 81, 64]),
    "1x1, many channels": (Convolution, [512, 1], SAME, [11, 11, 2048]),
    "1x1, every second": (Convolution, [1024, 1], {"strides": 2}, [41, 41, 512]),
    "3x3, dilated by 6": (Convolution, [256, 3], {**SAME, "dilation_rate": 6}, [11, 11, 2048]),
    "3x3, dilated by 12": (Convolution, [256, 3], {**SAME, "dilation_rate": 12}, [11, 11, 2048]),
    "3x3, dilated by 18": (Convolution, [256, 3], {**SAME, "dilation_rate": 18}, [21, 21, 2048]),
    "GELU": (Gelu, [], {}, [81, 81, 256]),
    "layer normalization": (LayerNorm, [], {}, [81, 81, 256]),
}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=21)
    args = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(args.threads)
    for case, (ours, arguments, options, shape) in CASES.items():
        x = tf.random.stateless_normal([args.batch, *shape], seed=[1, 2])
        runs = {
            name: training(layer(*arguments, **options), x)
            for name, layer in (("library", PLAIN[ours]), ("ours", ours))
        }
        seconds = time_in_turns(runs, args.repeats)
        for name in runs:
            print_line(
                case=case,
                layer=name,
                batch=args.batch,
                threads=args.threads,
                **summary(seconds[name]),
                ratio=ratio(seconds[name], seconds["library"]),
            )


def training(layer, x):
    """Returns a function that makes outputs and gradients."""
    upstream = tf.ones_like(layer(x))

    @tf.function
    def run(x, upstream):
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = layer(x, training=True)
        wanted = [x, *layer.trainable_variables]
        return outputs, tape.gradient(outputs, wanted, output_gradients=upstream)

    return lambda: finished(run(x, upstream))


if __name__ == "__main__":
    main()
