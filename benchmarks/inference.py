"""Forward pass of an experiment: time, memory and what the machine could do.

One JSON line a variant:
  model: what exports and predictions run (batch normalizations folded).
  model_and_merging: with merging into a panoptic and a semantic map, of masks made up as those of
    postprocessing.py, as a trained network is sure of most pixels.
  model_and_all_maps: with all that post-processing can give, of the random weights' own masks, of
    which none is sure: the most work.
  unfolded: the network as training builds it.
  resnet50: keras.applications' classifier without its top at the same size, as a yardstick.
`ratio` is the time over that of `unfolded`, measured in turns; `peak_share` is the share of the
multiply-adds a second that a product of two 2048 x 2048 matrices reached in the same run.
"""

from __future__ import annotations

import argparse

import numpy as np
import tensorflow as tf
from measuring import (
    Run,
    finished,
    parser_of,
    peak_memory,
    peak_memory_in_a_process,
    print_line,
    product_peak,
    ratio,
    summary,
    time_in_turns,
)
from postprocessing import example

import kmax_tf
from kmax_tf.keras_api import keras
from kmax_tf.model.complexity import multiply_adds
from kmax_tf.model.folding import fold_batch_norms
from kmax_tf.postprocessing.builder import build_postprocessor

SIZE_OF_PRODUCT = 2048


def main() -> None:
    """Measures and prints."""
    args = arguments()
    tf.config.threading.set_intra_op_parallelism_threads(args.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    keras.mixed_precision.set_global_policy(args.precision)
    runs, work = cases(args)
    if args.memory_of:
        print_line(peak_memory_mb=peak_memory(runs[args.memory_of]))
        return
    runs = {name: run for name, run in runs.items() if name in (args.cases or runs)}
    dtype = tf.as_dtype(keras.mixed_precision.global_policy().compute_dtype)
    product = product_peak(SIZE_OF_PRODUCT, dtype)
    seconds = time_in_turns({**runs, "product": product}, args.repeats)
    peak = SIZE_OF_PRODUCT**3 / min(seconds["product"])
    for name in runs:
        rate = args.batch / np.median(seconds[name])  # images a second
        print_line(
            case=name,
            config=args.config,
            size=args.size,
            batch=args.batch,
            threads=args.threads,
            xla=args.xla,
            precision=args.precision,
            **summary(seconds[name]),
            images_per_s=round(rate, 3),
            ratio=ratio(seconds[name], seconds["unfolded"]) if "unfolded" in runs else None,
            peak_memory_mb=peak_memory_in_a_process(name),
            multiply_adds=args.batch * work[name] if name in work else None,
            peak_share=round(rate * work[name] / peak, 3) if name in work else None,
        )


def cases(args: argparse.Namespace) -> tuple[dict[str, Run], dict[str, int]]:
    """Returns what is measured, and the multiply-adds an image of what has some."""
    experiment = kmax_tf.load_experiment(args.config, args.set)
    height, width = args.size
    images = tf.constant(
        np.random.default_rng(0).uniform(0, 255, [args.batch, height, width, 3]).astype(np.float32)
    )
    model = kmax_tf.build_model(experiment)
    folded = fold_batch_norms(model)
    yardstick = keras.applications.ResNet50(
        include_top=False, weights=None, input_shape=[height, width, 3]
    )

    def compiled(network, after=lambda predictions: predictions):
        @tf.function(jit_compile=args.xla or None)
        def run(images):
            return after(network(images, training=False))

        return lambda: finished(run(images))

    def masks_and_classes(predictions):
        return predictions["mask_logits"], predictions["class_logits"]

    postprocess = build_postprocessor(experiment)
    sure = example(
        postprocess, args.size, args.batch, experiment.model.transformer_decoder.num_centers
    )

    def merged(predictions):
        maps = postprocess(sure)
        return masks_and_classes(predictions), maps["panoptic"], maps["semantic"]

    runs = {
        "model": compiled(folded, masks_and_classes),
        "model_and_merging": compiled(folded, merged),
        "model_and_all_maps": compiled(folded, postprocess),
        "unfolded": compiled(model, masks_and_classes),
        "resnet50": compiled(yardstick),
    }
    work = dict.fromkeys(("model", "unfolded"), multiply_adds(folded, height, width))
    return runs, {**work, "resnet50": multiply_adds(yardstick, height, width)}


def arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = parser_of(
        __doc__,
        config="coco/resnet50.textproto",
        batch=1,
        threads=2,
        repeats=11,
        precision="float32",
    )
    parser.add_argument("--size", type=int, nargs="+", default=[641], help="side, or height width")
    parser.add_argument("--cases", nargs="+", help="by default all")
    parser.add_argument("--xla", action="store_true")
    parser.add_argument("--memory-of", help="print the peak memory of this case only")
    args = parser.parse_args()
    args.size = args.size * 2 if len(args.size) == 1 else args.size
    return args


if __name__ == "__main__":
    main()
