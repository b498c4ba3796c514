"""Post-processing of an experiment against its definition: time and memory.

Predictions are made up: as many confident masks as asked for, smooth, some on top of each other,
and the rest unsure. Both forms give the same maps, which is checked.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

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
from kmax_tf.grids import grid_side
from kmax_tf.postprocessing.builder import build_postprocessor
from kmax_tf.postprocessing.full_size import Grid
from kmax_tf.postprocessing.merging_by_cells import read_best
from kmax_tf.postprocessing.postprocessor import Postprocessor
from kmax_tf.postprocessing.readings import Best


def main() -> None:
    """Measures and prints."""
    args = arguments()
    tf.config.threading.set_intra_op_parallelism_threads(args.threads)
    tf.config.threading.set_inter_op_parallelism_threads(args.threads)
    experiment = kmax_tf.load_experiment(args.config, args.set)
    by_cells, definition = (build_postprocessor(experiment, form) for form in (True, False))
    for size in [args.memory_size] if args.memory_of else args.size:
        predictions = example(
            definition, [size, size], args.batch, args.centers, args.masks, args.unsure
        )
        runs = cases(by_cells, definition, predictions, args.xla)
        if args.memory_of:
            print_line(peak_memory_mb=peak_memory(runs[args.memory_of]))
            return
        maps, expected = runs["by cells"](), runs["definition"]()
        for name in expected:
            np.testing.assert_array_equal(maps[name], expected[name])
        seconds = time_in_turns(runs, args.repeats)
        for name in runs:
            again = name, f"--memory-size={size}"
            memory = peak_memory_in_a_process(*again) if args.memory else None
            print_line(
                case=name,
                config=args.config,
                size=size,
                batch=args.batch,
                segments=len(np.unique(maps["panoptic"][0])),
                unsure=args.unsure,
                threads=args.threads,
                xla=args.xla,
                **summary(seconds[name]),
                ratio=ratio(seconds[name], seconds["definition"]),
                peak_memory_mb=memory,
            )


def cases(
    by_cells: Postprocessor, definition: Postprocessor, predictions: dict[str, tf.Tensor], xla: bool
) -> dict[str, Run]:
    """Returns what is timed: the definition, perhaps compiled, the form for CPUs, and a floor.

    The floor is a softmax and the best center of each mask logit, which nothing can do without.
    """

    def maps_of(merge: Postprocessor, jit_compile: bool = False):
        def maps(predictions: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            every = merge(predictions)
            return {name: every[name] for name in ("panoptic", "semantic")}

        return tf.function(maps, jit_compile=jit_compile or None)

    def read_once(predictions: dict[str, tf.Tensor]) -> Best:
        return Grid.of(predictions["mask_logits"], by_cells.output_stride).read_corners(read_best)

    functions = {
        "definition": maps_of(definition, xla),
        "by cells": maps_of(by_cells),
        "by cells, with instance scores": tf.function(by_cells),
        "mask logits read once": tf.function(read_once),
    }
    return {
        name: (lambda function=function: finished(function(predictions)))
        for name, function in functions.items()
    }


def example(
    postprocess: Postprocessor,
    size: Sequence[int],
    batch: int = 1,
    centers: int = 128,
    masks: int = 30,
    unsure: float = 0.05,
) -> dict[str, tf.Tensor]:
    """Returns made up predictions: masks that share the image, and centers without one.

    Distances to random points divide the image; at a border, the logits of the two masks cross
    within about two mask logits. In the lowest rows no mask is sure.

    Args:
      postprocess: what will merge them.
      size: height and width of the images.
      batch: images.
      centers: of an image.
      masks: how many of them are sure, at most.
      unsure: share of the rows where none is.
    """
    rng, masks = np.random.default_rng(0), min(masks, centers)
    height, width = (grid_side(side, postprocess.output_stride) for side in size)
    y, x = np.mgrid[0:height, 0:width]
    y, x = y / (height - 1), x / (width - 1)
    logits = rng.normal(size=[batch, height, width, centers], scale=0.5)
    for image in range(batch):
        middles, weights = rng.uniform(0, 1, [masks, 2]), rng.uniform(0, 0.1, masks)
        distance = [np.hypot(y - m[0], x - m[1]) - w for m, w in zip(middles, weights)]
        distance = np.stack(distance, axis=-1)
        behind = (distance - distance.min(axis=-1, keepdims=True)) * (max(height, width) - 1)
        sure = 10 - np.minimum(4 * behind, 14)  # in mask logits from the border
        sure[y >= 1 - unsure] = 0
        logits[image, :, :, :masks] += sure
    num_classes = postprocess.labels.num_classes
    classes = rng.normal(size=[batch, centers, num_classes + 1])
    classes[:, masks:, -1] += 12
    for center in range(masks):
        classes[:, center, rng.integers(num_classes)] += 12
    return {
        "mask_logits": tf.constant(logits, tf.float32),
        "class_logits": tf.constant(classes, tf.float32),
    }


def arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = parser_of(__doc__, config="coco/resnet50.textproto", batch=1, threads=2, repeats=7)
    parser.add_argument("--size", type=int, nargs="+", default=[641, 1281])
    parser.add_argument("--centers", type=int, default=128)
    parser.add_argument("--masks", type=int, default=30, help="confident ones")
    parser.add_argument("--unsure", type=float, default=0.05, help="share of rows without a mask")
    parser.add_argument("--xla", action="store_true", help="compile the definition")
    parser.add_argument("--memory", action="store_true", help="also measure peak memory")
    parser.add_argument("--memory-of", help="print the peak memory of this case only")
    parser.add_argument("--memory-size", type=int, help="at this size")
    return parser.parse_args()


if __name__ == "__main__":
    main()
