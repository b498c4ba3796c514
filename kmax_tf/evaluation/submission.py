"""Files as the test servers of COCO and Cityscapes want them, written while images come in."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Union

import numpy as np

from kmax_tf.errors import UserError
from kmax_tf.evaluation.mask_ap import segment_scores
from kmax_tf.files.images import write_png
from kmax_tf.files.writing import write_atomically
from kmax_tf.panoptic.coco_results import write_annotation, write_panoptic_json
from kmax_tf.panoptic.fields import as_number

if TYPE_CHECKING:
    from kmax_tf.labels import LabelSpace
    from kmax_tf.panoptic.fields import ImageId


class CocoSubmission:
    """FOLDER/panoptic_results.json and FOLDER/panoptic_results/*.png, with COCO's category ids.

    Memory grows with the entries of the JSON, some 200 bytes a segment.
    """

    name = "panoptic_results"

    def __init__(self, folder: str, labels: LabelSpace) -> None:
        self._folder = folder
        self._label_space = labels
        self._annotations: list[dict[str, Any]] = []
        self._taken: set[tuple[str, ImageId]] = set()

    def add(
        self, name: str, image_id: ImageId | None, prediction: Mapping[str, np.ndarray]
    ) -> None:
        """Writes NAME.png of an image.

        Args:
          name: what the image is known by, a path.
          image_id: what the annotations call it; None: its name, as a number if that is all digits.
          prediction: [H, W] maps "panoptic", "semantic", "semantic_scores", "instance_scores".

        Raises:
          UserError: another image has its name or its id.
        """
        name = safe_name(name)
        image_id = as_number(name) if image_id is None else image_id
        for taken in (("name", name), ("id", image_id)):
            if taken in self._taken:
                raise UserError(
                    f"several images have the {taken[0]} {taken[1]!r}, so that results would "
                    "replace each other; convert the dataset again, which keeps folders and ids"
                )
            self._taken.add(taken)
        labels, folder = self._label_space, os.path.join(self._folder, self.name)
        scores = _scores(prediction, labels)
        self._annotations.append(
            write_annotation(folder, name, image_id, prediction["panoptic"], labels, scores)
        )

    def finish(self) -> str:
        """Writes the JSON and returns a sentence about what to upload."""
        path = os.path.join(self._folder, f"{self.name}.json")
        write_panoptic_json(path, self._annotations, self._label_space)
        return f"{path} and the folder of the same name: zip both, under the name the server asks"


class CityscapesSubmission:
    """Folders of Cityscapes' three tasks, with label ids; the server takes a zip of each.

    - pixel/CITY_SEQUENCE_FRAME_pred.png: label ids of the semantic map, 8 bits; 0 is unlabeled.
    - instance/CITY_SEQUENCE_FRAME_pred.txt: a line "mask label_id confidence" an instance, and the
      masks in instance/masks.
    - panoptic/: a JSON and PNGs, as COCO's.

    Raises:
      UserError: a label id doesn't fit into 8 bits.
    """

    def __init__(self, folder: str, labels: LabelSpace) -> None:
        ids = [category.original_id for category in labels.classes]
        wrong = [label_id for label_id in ids if not 0 < label_id < 256]
        if wrong:
            raise UserError(
                f"Cityscapes' label ids are 1 to 255, and 0 is unlabeled, but the dataset "
                f"'{labels.name}' has the original_id {wrong[0]}; --submission=coco has room "
                "for it"
            )
        self._folder = folder
        self._label_space = labels
        self._panoptic = CocoSubmission(os.path.join(folder, "panoptic"), labels)
        self._label_ids = np.zeros(len(labels.class_index_of_id), np.uint8)
        for category in labels.classes:
            self._label_ids[category.id] = category.original_id

    def add(
        self, name: str, image_id: ImageId | None, prediction: Mapping[str, np.ndarray]
    ) -> None:
        """Writes the files of an image, as `CocoSubmission.add`; flat, as the server wants them."""
        name = safe_name(name).rsplit("/", maxsplit=1)[-1]
        for suffix in ("_leftImg8bit", "_gtFine"):
            name = name.split(suffix)[0]
        self._panoptic.add(f"{name}_panoptic", name if image_id is None else image_id, prediction)
        label_ids = self._label_ids[prediction["semantic"]]
        write_png(os.path.join(self._folder, "pixel", f"{name}_pred.png"), label_ids)
        self._write_instances(name, prediction)

    def finish(self) -> str:
        """Writes the JSON of the panoptic task, as `CocoSubmission.finish`."""
        self._panoptic.finish()
        return f"{self._folder}/pixel, instance and panoptic: zip the content of each for its task"

    def _write_instances(self, name: str, prediction: Mapping[str, np.ndarray]) -> None:
        labels = self._label_space
        folder = os.path.join(self._folder, "instance")
        lines: list[str] = []
        for panoptic_id, score in _scores(prediction, labels).items():
            index = labels.class_index_of_id[panoptic_id // labels.label_divisor]
            if index < 0 or not labels.classes[index].thing:
                continue
            mask = f"masks/{name}_{len(lines):03d}.png"
            pixels = (prediction["panoptic"] == panoptic_id).astype(np.uint8)
            write_png(os.path.join(folder, mask), 255 * pixels)
            lines.append(f"{mask} {labels.classes[index].original_id} {score:.6f}\n")
        write_atomically(os.path.join(folder, f"{name}_pred.txt"), "".join(lines))


# They take one image after another; `finish` writes what is written last.
Submission = Union[CocoSubmission, CityscapesSubmission]
# By the name of the dataset whose server takes it.
SUBMISSIONS: Mapping[str, Callable[[str, LabelSpace], Submission]] = {
    "coco": CocoSubmission,
    "cityscapes": CityscapesSubmission,
}


def _scores(prediction: Mapping[str, np.ndarray], labels: LabelSpace) -> dict[int, float]:
    maps = (prediction[name] for name in ("panoptic", "semantic_scores", "instance_scores"))
    panoptic, semantic, instance = maps
    return segment_scores(panoptic, semantic, instance, labels)


def safe_name(image_id: str) -> str:
    """Returns the name of an image as a path below a folder, without its ending.

    Records of others have names with endings, or that would lead out of the folder.
    """
    path = pathlib.PurePosixPath(image_id)
    is_image = path.suffix.lower() in (".jpg", ".jpeg", ".png")
    parts = (path.with_suffix("") if is_image else path).parts
    return "/".join(part for part in parts if part not in ("/", "..")) or "image"
