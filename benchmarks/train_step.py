"""A training step of an experiment: time of its parts, memory, and the definitions.

One JSON line a case, all measured in turns:
  forward: the network in training.
  loss: matching and all terms with their gradients, from given predictions.
  gradients: forward pass, loss and backward pass.
  update: the optimizer, from given gradients.
  step: all of it, as the trainer runs it.
  definitions_step: the same with every operation as its definition reads.
  classifier_step: keras.applications' ResNet50 with cross-entropy at the same size, a yardstick.
`ratio` is the time over that of `step`. The last line has the shares of the parts; the backward
pass is what the gradients take beyond forward pass and loss.
"""

from __future__ import annotations

import argparse
from typing import Callable

import numpy as np
import tensorflow as tf
from measuring import (
    Run,
    finished,
    parser_of,
    peak_memory,
    peak_memory_in_a_process,
    print_line,
    ratio,
    summary,
    time_in_turns,
)

import kmax_tf
from kmax_tf import ops
from kmax_tf.keras_api import keras
from kmax_tf.losses.builder import build_loss
from kmax_tf.losses.kmax_loss import total_loss
from kmax_tf.training.builder import build_optimizer


def main() -> None:
    """Measures and prints."""
    args = arguments()
    tf.config.threading.set_intra_op_parallelism_threads(args.threads)
    tf.config.threading.set_inter_op_parallelism_threads(args.threads)
    keras.mixed_precision.set_global_policy(args.precision)
    keras.utils.set_random_seed(0)
    builders = cases(args)
    if args.memory_of:
        print_line(peak_memory_mb=peak_memory(builders[args.memory_of]()))
        return
    runs = {name: build() for name, build in builders.items()}
    seconds = time_in_turns(runs, args.repeats)
    setting = {
        name: getattr(args, name)
        for name in ("config", "size", "batch", "segments", "threads", "xla", "precision")
    }
    for name in runs:
        memory = None
        if args.memory and name.endswith("step"):
            memory = peak_memory_in_a_process(name)
        print_line(
            case=name,
            **setting,
            **summary(seconds[name]),
            images_per_s=round(args.batch / float(np.median(seconds[name])), 3),
            ratio=ratio(seconds[name], seconds["step"]),
            peak_memory_mb=memory,
        )
    median = {name: float(np.median(values)) for name, values in seconds.items()}
    backward = median["gradients"] - median["forward"] - median["loss"]
    shares = {
        **{name: median[name] for name in ("forward", "loss", "update")},
        "backward": backward,
    }
    print_line(
        case="shares",
        **{name: round(value / median["step"], 3) for name, value in shares.items()},
    )


def cases(args: argparse.Namespace) -> dict[str, Callable[[], Run]]:
    """Returns what makes the functions that are measured."""
    experiment = kmax_tf.load_experiment(args.config, args.set)
    images, targets = example(args, experiment)
    model = kmax_tf.build_model(experiment)
    loss = build_loss(experiment)
    optimizer = build_optimizer(experiment, model)

    def gradients_of():
        with tf.GradientTape() as tape:
            value = total_loss(loss(targets, model(images, training=True)))
        return value, tape.gradient(value, model.trainable_variables)

    def step():
        value, gradients = gradients_of()
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        return value

    def definitions_step():
        with ops.definitions():
            return step()

    def loss_alone(predictions):
        with tf.GradientTape() as tape:
            tape.watch(predictions)
            value = total_loss(loss(targets, predictions))
        return value, tape.gradient(value, predictions)

    def update(gradients):
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        return optimizer.iterations.read_value()

    def compiled(function, *makers):
        def build():
            run = tf.function(function, jit_compile=args.xla or None)
            inputs = [tf.function(make)() for make in makers]
            return lambda: finished(run(*inputs))

        return build

    def forward():
        return model(images, training=True)

    return {
        "forward": compiled(forward),
        "loss": compiled(loss_alone, forward),
        "gradients": compiled(gradients_of),
        "update": compiled(update, lambda: gradients_of()[1]),
        "step": compiled(step),
        "definitions_step": compiled(definitions_step),
        "classifier_step": compiled(classifier_step(images)),
    }


def classifier_step(images: tf.Tensor) -> Callable[[], tf.Tensor]:
    """Returns a training step of a plain ResNet-50 with the simplest loss and optimizer."""
    classifier = keras.applications.ResNet50(
        weights=None, input_shape=images.shape[1:], classifier_activation=None
    )
    optimizer = keras.optimizers.legacy.SGD(1e-4, momentum=0.9)
    labels = tf.zeros(images.shape[:1], tf.int32)

    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = classifier(images, training=True)
            value = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        gradients = tape.gradient(value, classifier.trainable_variables)
        optimizer.apply_gradients(zip(gradients, classifier.trainable_variables))
        return value

    return step


def example(args, experiment):
    """Returns images and targets: segments are rectangles over a background of crowd and void."""
    rng = np.random.default_rng(0)
    shape = [args.batch, args.size, args.size]
    segments = np.full(shape, -1, np.int32)
    classes = np.full([args.batch, experiment.model.transformer_decoder.num_centers], -1, np.int32)
    classes[:, : args.segments] = rng.integers(
        0, len(experiment.dataset.classes), [args.batch, args.segments]
    )
    for image in range(args.batch):
        for segment in range(args.segments):
            top, left = rng.integers(0, args.size - 32, 2)
            height, width = rng.integers(16, args.size // 2, 2)
            segments[image, top : top + height, left : left + width] = segment
    ids = np.array([category.id for category in experiment.dataset.classes])
    batch = np.arange(args.batch)[:, np.newaxis, np.newaxis]
    semantic = np.where(
        segments >= 0,
        ids[classes[batch, np.maximum(segments, 0)]],
        experiment.dataset.ignore_label,
    )
    targets = {
        "semantic_map": tf.constant(semantic, tf.int32),
        "segment_map": tf.constant(segments),
        "segment_classes": tf.constant(classes),
        "semantic_weights": tf.ones(shape),
    }
    return tf.constant(rng.uniform(0, 255, [*shape, 3]).astype(np.float32)), targets


def arguments() -> argparse.Namespace:
    """Reads the command line."""
    defaults = {"size": 321, "batch": 1, "segments": 20, "threads": 2, "repeats": 7}
    parser = parser_of(__doc__, config="coco/resnet50.textproto", precision="float32", **defaults)
    parser.add_argument("--xla", action="store_true")
    parser.add_argument("--memory", action="store_true", help="also measure the steps' peak memory")
    parser.add_argument("--memory-of", help="print the peak memory of this case only")
    return parser.parse_args()


if __name__ == "__main__":
    main()
