"""The experiment that a conversion of people's own images writes beside the records.

It is a place to start from: sizes follow from the images, the rest from what the published
experiments have, scaled to the data.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping

from kmax_tf.files.writing import is_remote
from kmax_tf.grids import grid_side, valid_side_that_holds
from kmax_tf.records.examples import shard_pattern
from kmax_tf.records.statistics import Statistics
from kmax_tf.wording import count_of

# The longer side of a crop, as published for ADE20K; smaller images have smaller crops.
_LONGEST_SIDE = 641
_BATCH = 8
# As in the published training on COCO: 150000 steps of 64 images are 81 epochs. The data that this
# file is written for is smaller, where more epochs help.
_EPOCHS = 150
_STEPS = (4000, 150000)
_CENTERS = 128
# Published for crops of 1281 x 1281.
_PUBLISHED_SIDE = 1281
_AREA_LIMITS = {"thing_area_limit": 400, "stuff_area_limit": 6400}
# Shares of images with more segments than there are centers for, and of segments too small.
_BEYOND_CENTERS, _DROPPED = 0.01, 0.02
_THINGS_ONLY = """\
# All classes are things: mask AP leads, and tells which checkpoint is the best.
evaluation { mask_ap: true }
"""
_SAMPLES = 4096
_MASK_STRIDE = 4


def crop_size(statistics: Statistics) -> tuple[int, int]:
    """Returns height and width, 32k + 1 each, that hold each image once its longer side fits."""
    pairs = statistics.size_pairs()
    longest = max(max(height, width) for height, width, _ in pairs)
    side = min(valid_side_that_holds(longest), _LONGEST_SIDE)
    height, width = (
        max(-(-pair[axis] * side // max(pair[:2])) for pair in pairs) for axis in (0, 1)
    )
    return valid_side_that_holds(height), valid_side_that_holds(width)


def new_experiment_text(
    name: str, output: str, splits: Mapping[str, Statistics], has_stuff: bool = True
) -> str:
    """Returns an experiment for records; each value that follows from them says why.

    Args:
      name: of the dataset.
      output: folder of the records, of dataset.textproto and of the experiment.
      splits: what each split holds; "train", or else the first, is trained on, and "val", or else
        the last, is held out.
      has_stuff: whether there is a stuff class.
    """
    names = list(splits)
    training = "train" if "train" in splits else names[0]
    evaluation = "val" if "val" in splits else names[-1]
    everything = Statistics()
    for statistics in splits.values():
        everything.add(statistics)
    height, width = crop_size(everything)
    most = everything.most_segments
    images = splits[training].images
    data = _sizes_of_data(everything, height, width)
    folder = output if is_remote(output) else os.path.abspath(output)
    return f"""\
# Written by `kmax convert-dataset`: a place to start from. It is yours: a new conversion keeps it.
#
# Train:    kmax train --config={_in_shell(os.path.join(output, "experiment.textproto"))} \
--model_dir=runs/{_word(name)} --mode=train_and_eval
# Predict:  kmax predict --model runs/{_word(name)} --output predictions IMAGE.jpg
#
# {_word(training)}: {count_of(images, "image")}; \
{_word(evaluation)}: {splits[evaluation].images}; \
at most {count_of(most, "segment")} in an image.
base: "coco/base.textproto"
base: "backbones/resnet50.textproto"
name: {json.dumps(name, ensure_ascii=False)}
dataset_file: "dataset.textproto"
data_dir: {json.dumps(folder, ensure_ascii=False)}

train_data {{
  records: {json.dumps(shard_pattern(training), ensure_ascii=False)}
  batch_size: {_BATCH}
{data}
}}
eval_data {{
  records: {json.dumps(shard_pattern(evaluation), ensure_ascii=False)}
{data}
}}
{_model(everything)}{_losses(height, width)}{_training(images)}postprocessing {{
{_limits(everything, height, width, has_stuff)}
}}
{"" if has_stuff else _THINGS_ONLY}"""


def _training(images: int) -> str:
    """Returns the section of how long to train on so many images, and from where."""
    steps = min(max(-(-_EPOCHS * images // _BATCH // 500) * 500, _STEPS[0]), _STEPS[1])
    return f"""\
training {{
  # {count_of(round(steps * _BATCH / images), "epoch")}: {_EPOCHS}, but from {_STEPS[0]} to \
{_STEPS[1]} steps.
  steps: {steps}
  checkpoint_interval: 500
  validation_interval: 1000
  # A backbone trained on ImageNet, which is downloaded. A checkpoint of kMaX-DeepLab on COCO is
  # better yet: give its path instead.
  initial_weights: "imagenet"
  optimizer {{ learning_rate: 1e-4 warmup_steps: {steps // 10} }}
}}
"""


def segments_of_most(statistics: Statistics) -> tuple[int, int]:
    """Returns how many segments nearly all images have at most, and how many images have more."""
    counts = sorted(statistics.segments_per_image.items())
    images = seen = sum(number for _, number in counts)
    for segments, number in reversed(counts):
        if images - (seen - number) > _BEYOND_CENTERS * images:
            return segments, images - seen
        seen -= number
    return statistics.most_segments, 0


def area_limit(statistics: Statistics, published: int, height: int, width: int) -> tuple[int, int]:
    """Returns the area below which segments are dropped at a crop size, and the published one.

    That is published for another size, and scaled; it is lower where more than a few segments of
    the records would be dropped.
    """
    scaled = round(published * height * width / _PUBLISHED_SIDE**2)
    dropped = _DROPPED * sum(statistics.relative_areas.values())
    smaller = 0
    for halvings, number in sorted(statistics.relative_areas.items(), reverse=True):
        smaller += number
        if smaller > dropped:
            return min(scaled, max(height, width) ** 2 >> halvings), scaled
    return scaled, scaled


def _sizes_of_data(statistics: Statistics, height: int, width: int) -> str:
    """Returns what both datasets have in common."""
    side = max(height, width)
    longest = max(max(pair[:2]) for pair in statistics.size_pairs())
    # Room for an image pasted into another (copy-paste), and for images that are not here.
    most = statistics.most_segments
    max_segments = max(16, -(-2 * most // 8) * 8)
    why = "all fit as they are" if longest <= side else f"larger ones are scaled to {side}"
    return f"""\
  # 32k + 1 each, for images whose longer side is at most {longest}: {why}.
  crop_size: [{height}, {width}] min_size: {side} max_size: {side}
  # Twice the {most} that an image has, since images are pasted into each other; at least 16.
  max_segments: {max_segments}"""


def _model(statistics: Statistics) -> str:
    """Returns the number of cluster centers."""
    of_most, beyond = segments_of_most(statistics)
    wanted = of_most * 5 // 4
    if wanted <= _CENTERS:
        centers, why = _CENTERS, "As published, which is enough"
    else:
        centers, why = -(-wanted // 64) * 64, "A quarter more than the segments, in steps of 64"
    has = f", and {count_of(beyond, 'image')} more" if beyond else ""
    return f"""\
# {why}: images have at most {count_of(of_most, "segment")}{has}.
model {{ transformer_decoder {{ num_centers: {centers} }} }}
"""


def _losses(height: int, width: int) -> str:
    """Returns what losses need where the crop has fewer pixels than they sample."""
    pixels = grid_side(height, _MASK_STRIDE) * grid_side(width, _MASK_STRIDE)
    if pixels >= _SAMPLES:
        return ""
    return f"""\
# All pixels of the masks, which are fewer than the {_SAMPLES} of large crops.
losses {{ instance_discrimination {{ sample_count: {pixels} }} }}
"""


def _limits(statistics: Statistics, height: int, width: int, has_stuff: bool) -> str:
    lines = []
    for field, published in _AREA_LIMITS.items():
        if field.startswith("stuff") and not has_stuff:
            continue
        limit, scaled = area_limit(statistics, published, height, width)
        why = "scaled to this crop" if limit == scaled else "lowered to keep small segments"
        lines += [f"  # {published} pixels at {_PUBLISHED_SIDE} x {_PUBLISHED_SIDE}, {why}."]
        lines += [f"  {field}: {limit}"]
    return "\n".join(lines)


def _in_shell(path: str) -> str:
    """Returns a path as a shell takes it, in one line."""
    return " ".join(shlex.quote(path).split("\n"))


def _word(name: str) -> str:
    """Returns a name as a part of a path."""
    return "".join(letter if letter.isalnum() else "_" for letter in name) or "mine"
