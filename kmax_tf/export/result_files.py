"""What a prediction looks like as files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from kmax_tf.errors import UserError
from kmax_tf.figures import draw_panoptic
from kmax_tf.files.images import encode_image, write_png
from kmax_tf.files.writing import write_atomically
from kmax_tf.labels import LabelSpace
from kmax_tf.panoptic.coco_results import write_annotation, write_panoptic_json
from kmax_tf.panoptic.fields import ImageId
from kmax_tf.postprocessing.mask_reports import MaskReport, mask_reports
from kmax_tf.records.examples import image_names

# What files of results end in, by the kind of result.
ENDINGS = {
    "panoptic": (".png", ".json", "_overlay.png"),
    "semantic": ("_semantic.png",),
    "instances": ("_instances.json",),
    "why": ("_why.json",),
    "clusters": ("_clusters.png",),
    "video": ("_overlay.mp4",),
    "frame": (".jpg",),
}
# Files of all images together.
JOINED = {"panoptic": "predictions.json", "instances": "instances.json"}
_FRAME_QUALITY = 95
RESERVED = tuple(name.partition(".")[0] for name in JOINED.values())
_ENDINGS = tuple(
    ending.partition(".")[0] for kind in ENDINGS.values() for ending in kind if ending[0] == "_"
)


def result_names(paths: Sequence[str]) -> list[str]:
    """Returns what the results of images are named like: their paths without the ending.

    Those that would be called the same, or like a result of another image, keep their endings.

    Args:
      paths: of images, below one folder, with "/".
    """
    return [
        path if name in RESERVED or name.endswith(_ENDINGS) else name
        for path, name in zip(paths, image_names(paths))
    ]


def paths_of(folder: str, name: str, kinds: Iterable[str]) -> list[str]:
    """Returns the files of an image's results of some kinds."""
    return [os.path.join(folder, f"{name}{ending}") for kind in kinds for ending in ENDINGS[kind]]


def write_result(
    folder: str,
    name: str,
    image: np.ndarray,
    prediction: Mapping[str, np.ndarray],
    labels: LabelSpace,
    image_id: ImageId | None = None,
) -> dict[str, Any]:
    """Writes NAME.png (ids as COCO encodes them), NAME.json (their segments), NAME_overlay.png.

    Args:
      folder: of the results.
      name: of the image.
      image: [H, W, 3] uint8.
      prediction: with panoptic [H, W], and segment_ids and segment_scores [N].
      labels: what ids mean.
      image_id: that annotations give the image; None: told by its name.

    Returns:
      The image's entry in a JSON of annotations.

    Raises:
      OutputError: a file can't be written.
    """
    panoptic = prediction["panoptic"]
    scores = {
        int(panoptic_id): float(score)
        for panoptic_id, score in sorted(
            zip(prediction["segment_ids"], prediction["segment_scores"]), key=lambda pair: pair[1]
        )
    }
    base = os.path.join(folder, name)
    entry = write_annotation(folder, name, image_id, panoptic, labels, scores)
    write_panoptic_json(f"{base}.json", [entry], labels)
    overlay = draw_panoptic(image, panoptic, labels)
    # A third of the usual time, a tenth larger.
    write_atomically(f"{base}_overlay.png", encode_image(overlay, compress_level=1))
    return entry


def write_frame(
    folder: str,
    name: str,
    image: np.ndarray,
    prediction: Mapping[str, np.ndarray],
    labels: LabelSpace,
) -> None:
    """Writes NAME.jpg, the overlay of a frame of which a video will be made; as `write_result`."""
    overlay = draw_panoptic(image, prediction["panoptic"], labels)
    path = os.path.join(folder, f"{name}.jpg")
    write_atomically(path, encode_image(overlay, "JPEG", quality=_FRAME_QUALITY))


class SemanticIds:
    """The publisher's ids of classes as the values of a grey PNG.

    Attributes:
      none: value of pixels without a class: 0, or the largest value where a class has the id 0.
    """

    def __init__(self, labels: LabelSpace):
        """Chooses 8 bits, or 16 where these hold all ids.

        Raises:
          UserError: an id doesn't fit into 16 bits.
        """
        ids = [category.original_id for category in labels.classes]
        none = 0 if 0 not in ids else max(ids) + 1
        if min(ids) < 0 or max(*ids, none) >= 1 << 16:
            raise UserError(
                f"a PNG of class ids holds 0 to 65535, but '{labels.name}' has the ids "
                f"{min(ids)} to {max(ids)}; --write panoptic has room for them"
            )
        kind = np.uint8 if max(*ids, none) < 1 << 8 else np.uint16
        self.none = 0 if not none else int(np.iinfo(kind).max)
        self._table = np.full(len(labels.class_index_of_id), self.none, kind)
        for category in labels.classes:
            self._table[category.id] = category.original_id

    def write(self, folder: str, name: str, semantic: np.ndarray) -> None:
        """Writes NAME_semantic.png.

        Args:
          folder: of the results.
          name: of the image.
          semantic: [H, W] int32 class ids.

        Raises:
          OutputError: the file can't be written.
        """
        write_png(os.path.join(folder, f"{name}_semantic.png"), self._table[semantic])


def write_reports(
    folder: str, name: str, prediction: Mapping[str, np.ndarray], labels: LabelSpace
) -> list[MaskReport]:
    """Writes NAME_why.json: what became of each center's mask.

    Returns:
      The reports, best rank first.

    Raises:
      OutputError: the file can't be written.
    """
    reports = mask_reports(prediction, labels)
    content = json.dumps([report._asdict() for report in reports], indent=1)
    write_atomically(os.path.join(folder, f"{name}_why.json"), content + "\n")
    return reports
