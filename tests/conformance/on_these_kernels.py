"""Computes operations, layers and a training step; its process has oneDNN on or off.

python -m tests.conformance.on_these_kernels FILE writes what came out, as an .npz.
"""

from __future__ import annotations

import sys

import numpy as np
import tensorflow as tf

from kmax_tf import ops
from kmax_tf.cli import operation_checks
from kmax_tf.devices import onednn_in_use
from kmax_tf.losses.builder import build_loss
from kmax_tf.losses.kmax_loss import total_loss
from tests.conformance.layers_test import CASES as LAYERS
from tests.conformance.layers_test import built, random_inputs
from tests.model.building import build_with_zeros
from tests.model.weights import randomize
from tests.ops.operations_test import CASES as OPERATIONS
from tests.ops.operations_test import computed, defined
from tests.training.tiny import tiny_batch, tiny_experiment

# Networks, whose parts are in the list and in the training step.
COMPOSED = {
    *("ResNet", "ResNet-max-pool", "PixelDecoder", "TransformerDecoder", "KMaXBlock"),
    *("SemanticDecoder", "ConvNeXt", "ConvNeXt-stride-2", "ResidualStage", "PredictionHeads"),
}
# As published: of dilated convolutions in all parts that have some.
DILATED = ("model.pixel_decoder.dilation=2", "model.semantic_decoder.atrous_rates=[1, 2, 3]")


def main(path: str) -> None:
    """Computes and writes."""
    values = {"onednn": np.array(onednn_in_use())}
    failures = operation_checks.failures(operation_checks.operations())
    values["failures"] = np.array([" ".join(failure) for failure in failures])
    for name, case in OPERATIONS.items():
        values.update(numbered(f"operation/{name}/definition", defined(case)))
        for mode in ("graph", "inference"):
            values.update(numbered(f"operation/{name}/{mode}", computed(case, mode)))
    for name in sorted(set(LAYERS) - COMPOSED):
        values.update(numbered(f"layer/{name}", layer_pass(LAYERS[name])))
    values.update(numbered("step/fast", training_pass()))
    with ops.definitions():
        values.update(numbered("step/definitions", training_pass()))
    np.savez(path, **values)


def numbered(name, values):
    """Returns arrays by name and number."""
    return {f"{name}/{i}": np.asarray(value) for i, value in enumerate(tf.nest.flatten(values))}


def layer_pass(case):
    """Returns outputs and all gradients of a layer."""
    layer, inputs = built(case), random_inputs(case)
    tf.random.set_seed(0)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(*inputs, training=True)
        total = tf.add_n([tf.reduce_sum(tf.sin(x)) for x in tf.nest.flatten(outputs)])
    wanted = [inputs, layer.trainable_variables]
    gradients = tape.gradient(total, wanted, unconnected_gradients="zero")
    return outputs, tf.nest.map_structure(tf.convert_to_tensor, gradients)


def training_pass():
    """Returns the loss of a dilated model and the norm of all gradients, in a graph."""
    experiment = tiny_experiment(*DILATED, "model.semantic_decoder.dropout=0")
    model = build_with_zeros(experiment)
    randomize(model)
    images, targets = tiny_batch(experiment)
    loss = build_loss(experiment)

    @tf.function(autograph=False)
    def run(images):
        with tf.GradientTape() as tape:
            terms = loss(targets, model(images, training=True))
            total = total_loss(terms)
        gradients = tape.gradient(total, model.trainable_variables)
        return terms, tf.linalg.global_norm(gradients)

    return run(images)


if __name__ == "__main__":
    main(sys.argv[1])
