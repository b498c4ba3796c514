"""A SavedModel for TensorFlow Serving: pictures in, maps out, everything in between inside."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Sequence
from typing import Optional

import tensorflow as tf

from kmax_tf.config import Experiment, experiment_text, label_space
from kmax_tf.errors import OutputError, UserError
from kmax_tf.files.decoding import decode_upright
from kmax_tf.files.writing import check_writable, write_atomically
from kmax_tf.inference import Inference
from kmax_tf.labels import Category, LabelSpace
from kmax_tf.model.kmax import KMaX
from kmax_tf.postprocessing.builder import output_maps

LABELS_FILE = os.path.join("assets.extra", "labels.json")
EXPERIMENT_FILE = os.path.join("assets.extra", "experiment.textproto")


class ServingModel(tf.Module):
    """The network between its pre- and post-processing, with the two signatures.

    Both give maps at the images' own sizes: panoptic and semantic int32, semantic_scores and
    instance_scores float32, [B, H, W], or those of them that `postprocessing.maps` lists; and what
    is known of each cluster center, [B, N], as segment_ids int32 and segment_scores float32
    (`postprocessing.postprocessor.Postprocessor`).
    """

    def __init__(
        self,
        model: KMaX,
        experiment: Experiment,
        maps: Optional[Sequence[str]] = None,
    ):
        """Prepares a model.

        Args:
          model: with its weights restored.
          experiment: resolved; its eval_data says how images are fitted.
          maps: names of the maps to give; None: those of `postprocessing.maps`.
        """
        super().__init__(name="kmax_serving")
        maps = output_maps(experiment) if maps is None else maps
        self._inference = Inference(experiment, model, maps)
        # Variables are saved, and nothing else of Keras, which no search for trackable objects
        # finds inside.
        self.weights = self._inference.variables
        self._void = label_space(experiment.dataset).void_panoptic_id

    @tf.function(
        input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, "images")], autograph=False
    )
    def serving_default(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Segments images [B, H, W, 3] of any one size."""
        inference = self._inference
        inputs, fitted_size = inference.fit(images)
        outputs = inference(inputs)
        size = tf.shape(images)[1:3]
        restored = {
            name: inference.restore(outputs[name], fitted_size, size) for name in inference.maps
        }
        return {**outputs, **restored}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")], autograph=False)
    def image_bytes(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Segments encoded images [B] (JPEG, PNG, BMP, GIF's first frame), each of its own size.

        EXIF rotation is applied. Maps are padded at the bottom and right to the largest image, ids
        with the unlabeled one; `sizes` [B, 2] int32 says how much of each is the image.

        Raises:
          tf.errors.InvalidArgumentError: names each image that cannot be decoded, and says why.
        """
        inference = self._inference
        problems, inputs, fitted_sizes, sizes = tf.map_fn(
            self._decode,
            image_bytes,
            fn_output_signature=(
                tf.TensorSpec([], tf.string),
                tf.TensorSpec(inference.input_shape, tf.float32),
                tf.TensorSpec([2], tf.int32),
                tf.TensorSpec([2], tf.int32),
            ),
        )
        with tf.control_dependencies([_assert_none(problems)]):
            outputs = inference(tf.identity(inputs))
        largest = tf.reduce_max(sizes, axis=0)
        restored = {
            name: tf.map_fn(
                lambda item: self._restore_padded(item[0], item[1], item[2], largest),
                (outputs[name], fitted_sizes, sizes),
                fn_output_signature=tf.TensorSpec([None, None], outputs[name].dtype),
            )
            for name in inference.maps
        }
        of_image = (
            tf.sequence_mask(sizes[:, 0], largest[0])[:, :, tf.newaxis]
            & (tf.sequence_mask(sizes[:, 1], largest[1])[:, tf.newaxis])
        )
        if "panoptic" in restored:
            restored["panoptic"] = tf.where(of_image, restored["panoptic"], self._void)
        return {**outputs, **restored, "sizes": sizes}

    def _decode(self, encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        problem, image = decode_upright(encoded)
        inputs, fitted_size = self._inference.fit(image)
        return problem, inputs, fitted_size, tf.shape(image)[:2]

    def _restore_padded(
        self, values: tf.Tensor, fitted_size: tf.Tensor, size: tf.Tensor, largest: tf.Tensor
    ) -> tf.Tensor:
        restored = self._inference.restore(values, fitted_size, size)
        return tf.pad(restored, [[0, largest[0] - size[0]], [0, largest[1] - size[1]]])


def _assert_none(problems: tf.Tensor) -> tf.Operation:
    """Makes problems [B] of images, "" where there is none, one error that names each image."""
    numbers = tf.strings.as_string(tf.range(tf.size(problems)))
    told = tf.strings.join(["image ", numbers, " of image_bytes: ", problems])
    bad = tf.boolean_mask(told, problems != "")
    return tf.debugging.Assert(tf.size(bad) == 0, [tf.strings.reduce_join(bad, separator="; ")])


def export_saved_model(model: KMaX, experiment: Experiment, output: str | os.PathLike[str]) -> str:
    """Writes a SavedModel as the next version of a TensorFlow Serving folder.

    Args:
      model: with its weights restored.
      experiment: the resolved experiment; its eval_data says how images are fitted.
      output: folder of the versions; the first is OUTPUT/1.

    Returns:
      The folder of the new version, which appears only when it is complete. Class names, colours
      and ids lie in its assets.extra/labels.json, the experiment beside it.

    Raises:
      OutputError: the folder cannot be written.
    """
    output = os.fspath(output)
    check_writable(output)
    target = os.path.join(output, str(next_version(output)))
    serving = ServingModel(model, experiment)
    try:
        with tempfile.TemporaryDirectory(prefix=".export-", dir=output) as scratch:
            unfinished = os.path.join(scratch, "model")
            tf.saved_model.save(
                serving,
                unfinished,
                signatures={
                    "serving_default": serving.serving_default,
                    "image_bytes": serving.image_bytes,
                },
            )
            labels = json.dumps(labels_as_json(label_space(experiment.dataset)), indent=1)
            os.makedirs(os.path.join(unfinished, "assets.extra"), exist_ok=True)
            write_atomically(os.path.join(unfinished, LABELS_FILE), labels, own=True)
            text = experiment_text(experiment)
            write_atomically(os.path.join(unfinished, EXPERIMENT_FILE), text, own=True)
            os.rename(unfinished, target)
    except (OSError, tf.errors.OpError) as error:
        raise OutputError(f"cannot write the export {target}: {error}") from error
    return target


def next_version(output: str) -> int:
    """Returns one more than the largest version in a TensorFlow Serving folder."""
    versions = [int(name) for name in os.listdir(output) if re.fullmatch(r"\d+", name)]
    return max(versions, default=0) + 1


def labels_as_json(labels: LabelSpace) -> dict[str, object]:
    """Returns what the ids of the maps mean, for clients that don't have this package."""
    return {
        "dataset": labels.name,
        "label_divisor": labels.label_divisor,
        "ignore_label": labels.ignore_label,
        "num_ids": labels.num_ids,
        "classes": [
            {
                "id": category.id,
                "name": category.name,
                "thing": category.thing,
                "color": list(category.color),
                "original_id": category.original_id,
            }
            for category in labels.classes
        ],
    }


def read_labels(export: str | os.PathLike[str]) -> LabelSpace:
    """Reads what the ids of an exported model's maps mean.

    Args:
      export: folder of one version.

    Raises:
      UserError: the folder is not such an export, or is damaged.
    """
    path = os.path.join(export, LABELS_FILE)
    try:
        with open(path, encoding="utf-8") as file:
            data = json.load(file)
        return LabelSpace(
            classes=tuple(
                Category(**{**entry, "color": tuple(entry["color"])}) for entry in data["classes"]
            ),
            num_ids=data["num_ids"],
            ignore_label=data["ignore_label"],
            label_divisor=data["label_divisor"],
            name=data["dataset"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{export} is not a SavedModel of `kmax export`, or is damaged: {path}: {error}"
        ) from error
