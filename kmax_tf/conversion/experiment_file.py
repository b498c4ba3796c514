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


def new_experiment_text(name: str, output: str, splits: Mapping[str, Statistics]) -> str:
    """Returns an experiment for records.

    Args:
      name: of the dataset.
      output: folder of the records, of dataset.textproto and of the experiment.
      splits: what each split holds; "train", or else the first, is trained on, and "val", or else
        the last, is held out.
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
    steps = min(max(-(-_EPOCHS * images // _BATCH // 500) * 500, _STEPS[0]), _STEPS[1])
    data, limits = _sizes_of_data(most, height, width)
    folder = output if is_remote(output) else os.path.abspath(output)
    model, losses = _sizes_of_model(most, height, width)
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
{model}{losses}training {{
  # {count_of(round(steps * _BATCH / images), "epoch")}.
  steps: {steps}
  checkpoint_interval: 500
  validation_interval: 1000
  # A backbone trained on ImageNet, which is downloaded. A checkpoint of kMaX-DeepLab on COCO is
  # better yet: give its path instead.
  initial_weights: "imagenet"
  optimizer {{ learning_rate: 1e-4 warmup_steps: {steps // 10} }}
}}
postprocessing {{ {limits} }}
"""


def _sizes_of_data(most_segments: int, height: int, width: int) -> tuple[str, str]:
    """Returns what both datasets and post-processing have in common with the size of the crop."""
    side = max(height, width)
    # Room for an image pasted into another (copy-paste), and for images that are not here.
    max_segments = max(16, -(-2 * most_segments // 8) * 8)
    data = f"crop_size: [{height}, {width}] min_size: {side} max_size: {side} " + (
        f"max_segments: {max_segments}"
    )
    limits = " ".join(
        f"{field}: {round(area * height * width / _PUBLISHED_SIDE**2)}"
        for field, area in _AREA_LIMITS.items()
    )
    return data, limits


def _sizes_of_model(most_segments: int, height: int, width: int) -> tuple[str, str]:
    """Returns what the model and its losses need beyond the base, or empty texts."""
    model = losses = ""
    wanted = most_segments * 5 // 4
    if wanted > _CENTERS:
        centers = -(-wanted // 64) * 64
        model = f"model {{ transformer_decoder {{ num_centers: {centers} }} }}\n"
    pixels = grid_side(height, _MASK_STRIDE) * grid_side(width, _MASK_STRIDE)
    if pixels < _SAMPLES:
        losses = f"losses {{ instance_discrimination {{ sample_count: {pixels} }} }}\n"
    return model, losses


def _in_shell(path: str) -> str:
    """Returns a path as a shell takes it, in one line."""
    return " ".join(shlex.quote(path).split("\n"))


def _word(name: str) -> str:
    """Returns a name as a part of a path."""
    return "".join(letter if letter.isalnum() else "_" for letter in name) or "mine"
