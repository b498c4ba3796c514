"""`kmax predict`: segments images and writes maps, COCO-style JSON and overlays."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from kmax_tf.cli import arguments, image_files

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from kmax_tf.labels import LabelSpace

HELP = "segment images: panoptic PNG, COCO-style JSON and a coloured overlay each"

# What --write may ask for, and the map that each is made of.
_KINDS = {"panoptic": "panoptic", "instances": "panoptic", "semantic": "semantic"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the sub-command's arguments."""
    parser.add_argument(
        "--model", required=True, help="folder written by `kmax export`, or folder of a run"
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help=image_files.HELP)
    parser.add_argument("--output", required=True, help="folder of the results")
    parser.add_argument(
        "--write",
        action="append",
        choices=_KINDS,
        help="panoptic (default): ids, their segments and an overlay; semantic: a PNG of class "
        "ids; instances: COCO results, run-length masks with scores (repeatable)",
    )
    parser.add_argument(
        "--why",
        action="store_true",
        help="print which rule dropped each mask, and write it as JSON",
    )
    parser.add_argument(
        "--annotations",
        metavar="JSON",
        help="takes the images' ids from a COCO file's list of images, for results that are "
        "compared with it; by default an image's id is its name, as a number if that is all digits",
    )
    arguments.add_overwrite(parser)


def run(args: argparse.Namespace) -> int:
    """Segments each image."""
    import os

    from kmax_tf.export.instances import write_instances
    from kmax_tf.export.predictor import load_predictor
    from kmax_tf.export.result_files import ENDINGS, JOINED
    from kmax_tf.files.writing import check_writable
    from kmax_tf.panoptic.coco_results import write_panoptic_json

    kinds = list(dict.fromkeys(args.write or ["panoptic"]))
    images = image_files.find_images(args.images)
    ids = dict(zip(images, image_files.image_ids(images, args.annotations)))
    check_writable(args.output)
    endings = [ending for kind in (*kinds, *["why"] * args.why) for ending in ENDINGS[kind]]
    files = [f"{image.name}{ending}" for image in images for ending in endings]
    joined = {kind: os.path.join(args.output, name) for kind, name in JOINED.items()}
    files += [JOINED[kind] for kind in kinds if kind in JOINED]
    image_files.check_outputs([os.path.join(args.output, file) for file in files], images)
    predictor = load_predictor(args.model, sorted({_KINDS[kind] for kind in kinds}))
    writer = _Writer(args, kinds, predictor.labels)
    reading = image_files.ImagesInTurn(images, "predict")
    try:
        for image, pixels in reading:
            writer.write(image.name, ids[image], pixels, predictor(pixels))
    finally:  # what could be read is of use
        if "panoptic" in kinds and writer.images:
            write_panoptic_json(joined["panoptic"], writer.annotations, predictor.labels)
        if "instances" in kinds and writer.images:
            write_instances(joined["instances"], writer.instances)
    return reading.end(f"results in {args.output}")


class _Writer:
    """Writes the results of images.

    Attributes:
      images: number of those written so far.
      annotations: of the images so far, as COCO's panoptic format has them.
      instances: of the images so far, as COCO's results of detection have them.
    """

    def __init__(self, args: argparse.Namespace, kinds: Sequence[str], labels: LabelSpace):
        from kmax_tf.export.result_files import SemanticIds

        self._args, self._kinds, self._labels = args, kinds, labels
        self._semantic = SemanticIds(labels) if "semantic" in kinds else None
        if self._semantic is not None and self._semantic.none:
            print(f"pixels without a class are {self._semantic.none} in PNGs of class ids")
        self.images = 0
        self.annotations: list[dict[str, Any]] = []
        self.instances: list[dict[str, Any]] = []

    def write(
        self, name: str, image_id: int | str, image: np.ndarray, prediction: dict[str, np.ndarray]
    ) -> None:
        """Writes what was asked for of one image."""
        import os

        from kmax_tf.export.instances import coco_instances, write_instances
        from kmax_tf.export.result_files import write_reports, write_result
        from kmax_tf.postprocessing.mask_reports import format_reports

        folder, labels = self._args.output, self._labels
        self._check(prediction)
        if "panoptic" in self._kinds:
            self.annotations.append(write_result(folder, name, image, prediction, labels, image_id))
        if "instances" in self._kinds:
            found = coco_instances(prediction, labels, image_id)
            write_instances(os.path.join(folder, f"{name}_instances.json"), found)
            self.instances += found
        if self._semantic is not None:
            self._semantic.write(folder, name, prediction["semantic"])
        if self._args.why:
            reports = write_reports(folder, name, prediction, labels)
            print(f"{name}\n{format_reports(reports)}")
        self.images += 1

    def _check(self, prediction: dict[str, np.ndarray]) -> None:
        from kmax_tf.errors import UserError
        from kmax_tf.postprocessing.postprocessor import SEGMENTS

        needed = {_KINDS[kind] for kind in self._kinds} | set(SEGMENTS if self._args.why else ())
        missing = sorted(needed - prediction.keys())
        if missing:
            raise UserError(
                f"{self._args.model} doesn't give {', '.join(missing)}: export the model again, "
                "with postprocessing.maps that list what is needed"
            )
