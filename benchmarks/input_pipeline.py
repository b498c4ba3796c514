"""The input pipeline of training, with all augmentation: images a second of one core.

Photos of COCO's size are made up (640x480, JPEG, about 130 kB, a dozen segments) and written as
records. One JSON line a case; time is that of the processor, of all threads, so that `images_per_s`
is what one core gives:
  pipeline: the whole preparation.
  without_NAME: the pipeline without a part of the augmentation.
  decode: reading and decoding alone; `ratio` is the time over this.
Then a line a stage, each of one example, with its share of the pipeline's time; the pasted example
goes through resize, cut and color as well.
"""

from __future__ import annotations

import argparse
import itertools
import pathlib
import statistics
import tempfile
import time

import numpy as np
import tensorflow as tf
from measuring import finished, parser_of, print_line

import kmax_tf
from kmax_tf.config import Experiment, options_of
from kmax_tf.data.builder import training_example
from kmax_tf.data.color import random_color
from kmax_tf.data.reader import ReaderOptions, read_forever
from kmax_tf.data.targets import make_targets
from kmax_tf.files.images import EncodedImage
from kmax_tf.records.examples import LabeledImage, encode_example, write_shard
from kmax_tf.records.index import index_records

_SIZE = (480, 640)
_READER = options_of(
    ReaderOptions,
    Experiment().train_data,
    Experiment().training,
    shard=(0, 1),
    first=0,
    cache=None,
)


def main() -> None:
    """Measures and prints."""
    parser = parser_of(__doc__, config="coco/resnet50.textproto", batch=4, repeats=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=[641, 1281])
    parser.add_argument("--photos", type=int, default=24)
    parser.add_argument("--images", type=int, default=16, help="of a case and round")
    args = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = str(pathlib.Path(folder) / "photos.tfrecord")
        write_shard(path, photos(args.photos, kmax_tf.load_experiment(args.config)))
        for size in args.sizes:
            measure(args, size, path)


def measure(args: argparse.Namespace, size: int, path: str) -> None:
    """Measures at one size."""
    overrides = [f"train_data.{name}={size}" for name in ("min_size", "max_size")]
    overrides += [f"train_data.crop_size={size},{size}"]
    # Of no matter here, but a small crop has fewer pixels than are sampled.
    overrides += ["losses.instance_discrimination.sample_count=1", *args.set]
    whole = training_example(kmax_tf.load_experiment(args.config, overrides))
    cases = {"pipeline": whole}
    for name in ("color", "copy_paste"):
        less = kmax_tf.load_experiment(args.config, overrides)
        less.train_data.augmentation.ClearField(name)
        cases[f"without_{name}"] = training_example(less)
    cases["decode"] = lambda number, examples: examples
    index = index_records([path])
    datasets = {}
    for name, make in cases.items():
        streams = getattr(make, "num_examples", 2)
        datasets[name] = read_forever(index, _READER, streams).map(make, num_parallel_calls=1)
        if name != "decode":
            datasets[name] = datasets[name].batch(args.batch)
    seconds = {name: [] for name in cases}
    for _ in range(args.repeats):
        for name, dataset in datasets.items():
            seconds[name].append(processor_time(dataset, args.images, name != "decode", args.batch))
    median = {name: statistics.median(values) for name, values in seconds.items()}
    for name, values in median.items():
        print_line(
            case=name,
            size=size,
            ms=round(1e3 * values, 1),
            images_per_s=round(1 / values, 2),
            ratio=round(values / median["decode"], 3),
        )
    for name, values in stages(whole, index).items():
        print_line(
            stage=name,
            size=size,
            ms=round(1e3 * values, 2),
            share=round(values / median["pipeline"], 3),
        )


def processor_time(dataset: tf.data.Dataset, images: int, batched: bool, batch: int) -> float:
    """Returns processor seconds an image."""
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    options.autotune.enabled = False
    iterator = iter(dataset.with_options(options))
    count = images // batch if batched else images
    next(iterator)  # compiles
    start = time.process_time()
    for element in itertools.islice(iterator, count):
        del element
    return (time.process_time() - start) / (count * (batch if batched else 1))


def stages(made, index) -> dict[str, float]:
    """Returns the mean processor time of the parts of an example's preparation."""
    options = made.options
    examples = [pair for _, pair in itertools.islice(read_forever(index, _READER, 2), 24)]
    seconds: dict[str, list[float]] = {}

    def timed(name, function, *inputs):
        result = finished(function(*inputs))
        start = time.process_time()
        result = finished(function(*inputs))
        seconds.setdefault(name, []).append(time.process_time() - start)
        return result

    shapes = {
        "image": tf.TensorSpec([None, None, 3], tf.uint8),
        "panoptic": tf.TensorSpec([None, None], tf.int32),
    }
    number = tf.TensorSpec([], tf.int64)
    augment = tf.function(made.augment, input_signature=[number, (shapes, shapes)])
    view = tf.function(
        lambda example, seed: made._view(example, seed, options.scales(), 0)[0],
        input_signature=[shapes, tf.TensorSpec([2], tf.int32)],
    )
    color = tf.function(
        lambda image, seed: random_color(image, seed, options.color),
        input_signature=[shapes["image"], tf.TensorSpec([2], tf.int32)],
    )
    target = tf.function(lambda label: make_targets(label, made.result_labels, made.targets))
    for place, both in enumerate(examples):
        pair = tuple({key: one[key] for key in shapes} for one in both)
        seed = tf.constant([1, place])
        one = timed("one example into the crop", view, pair[0], seed)
        if options.color is not None:
            timed("of that, color", color, tf.cast(one.image, tf.uint8), seed)
        _, label = timed("all augmentation", augment, tf.constant(place, tf.int64), pair)
        timed("targets", target, label)
    return {name: statistics.mean(values) for name, values in seconds.items()}


def photos(count: int, experiment) -> list[bytes]:
    """Returns records of made-up photos: patches of noise of many scales, with soft outlines."""
    rng = np.random.default_rng(0)
    things = [category.id for category in experiment.dataset.classes if category.thing]
    stuff = [category.id for category in experiment.dataset.classes if not category.thing]
    records = []
    for number in range(count):
        panoptic = np.full(_SIZE, 0, np.int32)
        score = np.full(_SIZE, -np.inf)
        image = np.zeros((*_SIZE, 3))
        for segment in range(4 + rng.integers(4, 12)):
            is_thing = segment >= 4
            field = noise(rng, 1 if is_thing else 0)
            if is_thing:
                row, column = rng.integers(0, _SIZE[0]), rng.integers(0, _SIZE[1])
                rows, columns = np.ogrid[: _SIZE[0], : _SIZE[1]]
                radius = rng.uniform(20, 120)
                field = 2.2 + 0.3 * field - np.hypot(rows - row, columns - column) / radius
                field[field < 1.2] = -np.inf
            inside = field > score
            score = np.maximum(score, field)
            one = rng.choice(things if is_thing else stuff)
            panoptic[inside] = one * experiment.dataset.label_divisor + segment * is_thing
            texture = 40 * noise(rng, 3)[..., np.newaxis] + rng.uniform(30, 220, 3)
            image[inside] = texture[inside]
        image = np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)
        data = tf.io.encode_jpeg(image, quality=95).numpy()
        encoded = EncodedImage(data, "jpeg", *_SIZE)
        records.append(encode_example(LabeledImage(str(number), encoded, panoptic, {})))
    return records


def noise(rng, finest: int) -> np.ndarray:
    """Returns smooth noise of unit size: octaves of 4 x 5 values and finer."""
    total = np.zeros(_SIZE)
    for octave in range(finest + 3):
        shape = (4 * 2**octave, 5 * 2**octave, 1)
        values = tf.image.resize(rng.normal(size=shape), _SIZE, method="bicubic")
        total += values[..., 0].numpy() / 1.6**octave
    return total


if __name__ == "__main__":
    main()
