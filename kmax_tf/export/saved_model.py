"""A SavedModel for TensorFlow Serving: pictures in, maps out, everything in between inside."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Sequence
from typing import Callable, Optional

import tensorflow as tf

from kmax_tf.config import experiment_text, label_space
from kmax_tf.data.preprocessing import fit_image, restore_map
from kmax_tf.errors import OutputError, UserError
from kmax_tf.files import check_writable, write_atomically
from kmax_tf.model.folding import fold_batch_norms
from kmax_tf.model.kmax import KMaX
from kmax_tf.postprocessing.builder import build_postprocessor, build_views, output_maps
from kmax_tf.postprocessing.postprocessor import SEGMENTS
from kmax_tf.protos import experiment_pb2
from kmax_tf.structures import Category, LabelSpace, Predictions

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
        experiment: experiment_pb2.Experiment,
        maps: Optional[Sequence[str]] = None,
    ):
        """Prepares a model.

        Args:
          model: with its weights restored.
          experiment: resolved; its eval_data says how images are fitted.
          maps: names of the maps to give; None: those of `postprocessing.maps`.
        """
        super().__init__(name="kmax_serving")
        model = fold_batch_norms(model)
        # Variables are saved, and nothing else of Keras: the lambda hides the model from the search
        # for trackable objects.
        self.weights = list(model.variables)
        views = build_views(experiment)
        self._predict: Callable[[tf.Tensor], Predictions] = lambda images: views(
            lambda view: model(view, training=False), images
        )
        self._maps = output_maps(experiment) if maps is None else tuple(maps)
        self._data = experiment.eval_data
        self._postprocess = build_postprocessor(experiment)
        self._void = label_space(experiment.dataset).void_panoptic_id

    @tf.function(
        input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, "images")], autograph=False
    )
    def serving_default(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Segments images [B, H, W, 3] of any one size."""
        inputs, fitted_size = self._fit(images)
        maps = self._postprocess(self._predict(inputs))
        raw_size = tf.shape(images)[1:3]
        outputs = {name: restore_map(maps[name], fitted_size, raw_size) for name in self._maps}
        return {**outputs, **{name: maps[name] for name in SEGMENTS}}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")], autograph=False)
    def image_bytes(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Segments encoded images [B] (JPEG, PNG, BMP, GIF's first frame), each of its own size.

        Maps are padded at the bottom and right to the largest image, ids with the unlabeled one;
        `sizes` [B, 2] int32 says how much of each is the image. EXIF rotation is not applied.
        """
        height, width = self._data.crop_size
        inputs, fitted_sizes, raw_sizes = tf.map_fn(
            self._decode,
            image_bytes,
            fn_output_signature=(
                tf.TensorSpec([height, width, 3], tf.float32),
                tf.TensorSpec([2], tf.int32),
                tf.TensorSpec([2], tf.int32),
            ),
        )
        maps = self._postprocess(self._predict(inputs))
        largest = tf.reduce_max(raw_sizes, axis=0)
        outputs = {
            name: tf.map_fn(
                lambda item: self._restore_padded(item[0], item[1], item[2], largest),
                (maps[name], fitted_sizes, raw_sizes),
                fn_output_signature=tf.TensorSpec([None, None], maps[name].dtype),
            )
            for name in self._maps
        }
        padded = (
            tf.sequence_mask(raw_sizes[:, 0], largest[0])[:, :, tf.newaxis]
            & (tf.sequence_mask(raw_sizes[:, 1], largest[1])[:, tf.newaxis])
        )
        if "panoptic" in outputs:
            outputs["panoptic"] = tf.where(padded, outputs["panoptic"], self._void)
        return {**outputs, **{name: maps[name] for name in SEGMENTS}, "sizes": raw_sizes}

    def _fit(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        data = self._data
        height, width = data.crop_size
        return fit_image(images, (height, width), data.min_size, data.max_size)

    def _decode(self, encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
        image = tf.ensure_shape(image, [None, None, 3])
        inputs, fitted_size = self._fit(image)
        return inputs, fitted_size, tf.shape(image)[:2]

    def _restore_padded(
        self, values: tf.Tensor, fitted_size: tf.Tensor, raw_size: tf.Tensor, largest: tf.Tensor
    ) -> tf.Tensor:
        restored = restore_map(values, fitted_size, raw_size)
        bottom, right = largest[0] - raw_size[0], largest[1] - raw_size[1]
        return tf.pad(restored, [[0, bottom], [0, right]])


def export_saved_model(
    model: KMaX, experiment: experiment_pb2.Experiment, output: str | os.PathLike[str]
) -> str:
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
            write_atomically(os.path.join(unfinished, LABELS_FILE), labels)
            write_atomically(os.path.join(unfinished, EXPERIMENT_FILE), experiment_text(experiment))
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
