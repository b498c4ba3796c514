"""What inference says of a few images, and what an export's replies must say likewise."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import PIL.Image
import tensorflow as tf
from pycocotools import mask as rle_masks

from kmax_tf.errors import UserError
from kmax_tf.export.warmup import Request
from kmax_tf.inference import Inference
from kmax_tf.labels import LabelSpace
from kmax_tf.postprocessing.postprocessor import MAPS

# Scores that are no further off are the same: they pass through other operations on their way.
_TOLERANCE = 1e-5


class Image(NamedTuple):
    """An image: its file's bytes, and its pixels [H, W, 3] uint8."""

    encoded: bytes
    pixels: np.ndarray


class Expectation:
    """What inference in this process says of the images of a trial.

    Attributes:
      maps: of each image [H, W] by name, and what is known of centers.
    """

    def __init__(self, inference: Inference, images: Sequence[Image], maps: Sequence[str]):
        """Predicts.

        Args:
          inference: what the export must equal.
          images: of the trial.
          maps: names of the maps that the export gives; panoptic and semantic are made anyway.
        """
        self._inference, self._images = inference, images
        wanted = [name for name in MAPS if name in {*maps, "panoptic", "semantic"}]
        self.maps: list[dict[str, np.ndarray]] = []
        for image in images:
            inputs, fitted_size = inference.fit(image.pixels)
            outputs = inference(inputs[tf.newaxis], wanted)
            size = tf.constant(image.pixels.shape[:2])
            found = {name: value[0].numpy() for name, value in outputs.items()}
            restored = {
                name: inference.restore(outputs[name][0], fitted_size, size).numpy()
                for name in wanted
            }
            self.maps.append(inference.clean({**found, **restored}))

    def compare(
        self, request: Request, reply: Mapping[str, np.ndarray], first: int, labels: LabelSpace
    ) -> None:
        """Checks the reply to a request.

        Args:
          request: of `trial_requests`.
          reply: what the export said.
          first: number of the request's first image.
          labels: what ids mean.

        Raises:
          UserError: says what differs, and of which image.
        """
        signature, inputs = request
        for place in range(len(next(iter(inputs.values())))):
            number = first + place
            height, width, _ = self._images[number].pixels.shape
            said = _said(signature, reply, place, (height, width))
            expected = {**self.maps[number], **_in_short(self.maps[number]["panoptic"], labels)}
            if signature == "logits":
                predictions = self._inference.predict(self._inference.fit(inputs["images"])[0])
                expected = {
                    "mask_logits": predictions["mask_logits"][0].numpy(),
                    "class_logits": predictions["class_logits"][0].numpy(),
                }
            if signature == "assignments":
                expected = {"assignments": self._assignments(self._images[number].pixels)}
            for name, value in said.items():
                if not _same(value, expected[name]):
                    raise UserError(
                        f"the export differs from the evaluation: signature {signature}, "
                        f"image {number}, {name}: {_difference(value, expected[name])}; nothing "
                        "was published. This is a fault of the export, not of the model: report "
                        "it, or publish all the same with --no-trial"
                    )

    def _assignments(self, pixels: np.ndarray) -> np.ndarray:
        """Returns the centers of pixels [blocks + 1, H, W]."""
        inputs, fitted_size = self._inference.fit(pixels)
        size = tf.constant(pixels.shape[:2])
        return np.stack(
            [
                self._inference.restore_assignment(centers[0], fitted_size, size)
                for centers in self._inference.assignments(inputs[tf.newaxis])
            ]
        )


def _said(
    signature: str, reply: Mapping[str, np.ndarray], place: int, size: tuple[int, int]
) -> dict[str, np.ndarray]:
    """Reads what a reply says of an image."""
    if signature in ("serving_default", "image_bytes", "logits"):
        cut = signature == "image_bytes"
        return {
            name: value[place][: size[0], : size[1]] if cut and name in MAPS else value[place]
            for name, value in reply.items()
            if name not in ("sizes", "fitted_size")
        }
    if signature == "semantic":
        return {"semantic": _pixels_of(reply["semantic_png_bytes"][place])}
    if signature == "assignments":
        pngs = reply["assignments_png_bytes"][place]
        return {"assignments": np.stack([_pixels_of(png) for png in pngs])}
    count = reply["count"][place]
    ids, areas = (reply[name][place, :count] for name in ("ids", "areas"))
    table = np.stack([ids, areas], axis=1)[np.argsort(ids)]
    if signature != "instances":
        return {"segments": table, "panoptic": _pixels_of(reply["panoptic_png_bytes"][place])}
    things = np.zeros(size, np.int32)
    for panoptic_id, counts in zip(ids, reply["counts"][place]):
        things[rle_masks.decode({"size": list(size), "counts": counts}) > 0] = panoptic_id
    return {"thing_segments": table, "things": things}


def _pixels_of(png: bytes) -> np.ndarray:
    """Returns the ids [H, W] of a PNG: grey, or of channels with the lowest byte first."""
    pixels = np.asarray(PIL.Image.open(io.BytesIO(png)))
    channels = pixels.reshape(*pixels.shape[:2], -1).astype(np.int64)
    return (channels * 256 ** np.arange(channels.shape[2])).sum(axis=2)  # [H, W]


def _in_short(panoptic: np.ndarray, labels: LabelSpace) -> dict[str, np.ndarray]:
    """Returns what small replies say of a map: its segments with their areas, and its things."""
    is_thing = np.isin(panoptic // labels.label_divisor, labels.ids[labels.is_thing])
    table = np.stack(np.unique(panoptic, return_counts=True), axis=1)
    table = table[table[:, 0] != labels.void_panoptic_id]
    classes = table[:, 0] // labels.label_divisor
    return {
        "segments": table,
        "thing_segments": table[np.isin(classes, labels.ids[labels.is_thing])],
        "things": np.where(is_thing, panoptic, 0),
    }


def _same(value: np.ndarray, expected: np.ndarray) -> bool:
    if value.shape != expected.shape:
        return False
    if np.issubdtype(value.dtype, np.integer):
        return np.array_equal(value, expected)
    return np.allclose(value, expected, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True)


def _difference(value: np.ndarray, expected: np.ndarray) -> str:
    if value.shape != expected.shape:
        return f"shape {value.shape}, not {expected.shape}"
    return f"{(value != expected).sum()} of {value.size} values"
