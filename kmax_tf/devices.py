"""What TensorFlow computes on."""

from __future__ import annotations

import tensorflow as tf


def accelerated() -> bool:
    """Returns whether TensorFlow sees a GPU or a TPU: other operations are fast there."""
    return any(tf.config.list_logical_devices(kind) for kind in ("GPU", "TPU"))


def onednn_in_use() -> bool:
    """Returns whether TensorFlow computes convolutions on this CPU with oneDNN.

    What says so is a graph as it was run: oneDNN's operations take the place of TensorFlow's own.
    """
    with tf.Graph().as_default(), tf.device("CPU"), tf.compat.v1.Session() as session:
        images = tf.random.uniform([1, 4, 4, 8])
        outputs = tf.nn.conv2d(images, tf.ones([3, 3, 8, 8]), 1, "SAME")
        options = tf.compat.v1.RunOptions(output_partition_graphs=True)
        record = tf.compat.v1.RunMetadata()
        session.run(outputs, options=options, run_metadata=record)
    return any("Mkl" in node.op for graph in record.partition_graphs for node in graph.node)
