"""`kmax evaluate-files`: measures predictions of any model, in COCO's panoptic format."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from kmax_tf.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kmax_tf.evaluation.from_files.pairing import Pair
    from kmax_tf.evaluation.from_files.panoptic_file import PanopticFile
    from kmax_tf.evaluation.metrics import PanopticMetrics
    from kmax_tf.evaluation.report.gallery import Picture
    from kmax_tf.labels import LabelSpace

from kmax_tf.cli import arguments
from kmax_tf.wording import count_of

HELP = "measure predictions of any model in COCO's panoptic format (JSON and PNGs)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the sub-command's arguments."""
    for name, what in (("ground-truth", "annotations"), ("predictions", "predictions")):
        parser.add_argument(f"--{name}", required=True, metavar="JSON", help=f"the {what}")
        parser.add_argument(
            f"--{name}-folder",
            metavar="DIR",
            help="their PNGs; by default the JSON's path without .json, or the JSON's own folder",
        )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder of the results")
    parser.add_argument(
        "--workers", type=_positive, metavar="N", help="processes; by default one a core"
    )
    parser.add_argument(
        "--category-ids",
        metavar="DESCRIPTION",
        help="the predictions number classes otherwise than the ground truth: one by `id`, the "
        "other by `original_id` of this dataset description, such as cityscapes (train ids, "
        "label ids)",
    )
    parser.add_argument(
        "--match-by",
        choices=("image_id", "file_name"),
        help="how images are matched; by default by image_id if that finds all, else by file_name",
    )
    pictures = parser.add_mutually_exclusive_group()
    pictures.add_argument("--images", metavar="DIR", help="the images, for the report")
    pictures.add_argument(
        "--no-pictures", action="store_true", help="a report without the worst and best images"
    )
    parser.add_argument(
        "--no-mask-ap", action="store_true", help="leave out mask AP, which needs scores"
    )
    arguments.add_overwrite(parser)


def run(args: argparse.Namespace) -> int:
    """Measures, prints the table, and writes metrics.json and report.html."""
    from kmax_tf.evaluation.from_files.counting import evaluate_pairs
    from kmax_tf.evaluation.from_files.pairing import pair_images
    from kmax_tf.evaluation.from_files.panoptic_file import categories_of, read_panoptic_file
    from kmax_tf.evaluation.report.page import write_report
    from kmax_tf.evaluation.scores import format_table, write_results
    from kmax_tf.files.ownership import check_free
    from kmax_tf.files.progress import Progress
    from kmax_tf.files.workers import available_cores
    from kmax_tf.files.writing import check_writable
    from kmax_tf.panoptic.coco_json import PREDICTIONS

    check_writable(args.output)
    check_free(os.path.join(args.output, name) for name in ("metrics.json", "report.html"))
    truth = read_panoptic_file(args.ground_truth, args.ground_truth_folder)
    predictions = read_panoptic_file(args.predictions, args.predictions_folder, PREDICTIONS)
    labels = categories_of(truth)
    if args.category_ids:
        known = {category.original_id for category in labels.classes}
        predictions = _translated(predictions, args.category_ids, known)
    if args.images is not None and not os.path.isdir(args.images):
        raise UserError(f"the folder {args.images} of the images doesn't exist; name another")
    pairs, way, notes = pair_images(truth, predictions, labels, args.match_by)
    mask_ap = not args.no_mask_ap and _has_scores(pairs, notes)
    workers = args.workers or available_cores()
    progress = Progress(len(pairs), "evaluate")
    metrics, more = evaluate_pairs(pairs, labels, mask_ap, workers, progress)
    notes += more
    result = {**metrics.result(), "miou_of": "panoptic maps", "matched_by": way, "notes": notes}
    print(format_table(result))
    print(f"truth and predictions are matched by {way}")
    for note in notes:
        print(f"note: {note}")
    print(f"results in {write_results(result, args.output)}", flush=True)
    pictures, missing = (
        ({}, [])
        if args.no_pictures
        else _pictures(args.images, truth, pairs, metrics, labels, workers)
    )
    for note in missing:
        print(f"note: {note}")
    report = write_report(
        args.output,
        {**result, "notes": [*notes, *missing]},
        labels,
        metrics.confusion,
        pictures,
        f"Panoptic evaluation of {os.path.basename(args.predictions)}",
    )
    print(f"report in {report}")
    return 0


def _pictures(
    folder: str | None,
    truth: PanopticFile,
    pairs: Sequence[Pair],
    metrics: PanopticMetrics,
    labels: LabelSpace,
    workers: int,
) -> tuple[dict[str, list[Picture]], list[str]]:
    """Draws the worst and the best images; returns them by heading, and what to say of them."""
    from kmax_tf.evaluation.from_files.drawing import ImageFolder, draw_extremes
    from kmax_tf.files.progress import Progress

    images = None if folder is None else ImageFolder(folder, truth.file_names)
    extremes = metrics.extremes
    progress = Progress(len(extremes.worst()) + len(extremes.best()), "pictures")
    return draw_extremes(pairs, extremes, labels, images, workers, progress)


def _translated(predictions: PanopticFile, description: str, known: set[int]) -> PanopticFile:
    """Brings the predictions' category ids into the numbering of the ground truth."""
    from kmax_tf.config.dataset import read_description
    from kmax_tf.evaluation.from_files.panoptic_file import translate_categories

    labels, _ = read_description(description)
    table = {category.id: category.original_id for category in labels.classes}
    if not known <= set(table.values()):
        table = {original: of_class for of_class, original in table.items()}
    return translate_categories(predictions, table)


def _has_scores(pairs: Sequence[Pair], notes: list[str]) -> bool:
    """Returns whether predictions have what mask AP needs; if not, a note says so."""
    scored = [s.score is not None for pair in pairs for s in pair.predicted.segments]
    if all(scored):
        return True
    notes.append(
        f"no mask AP: {scored.count(False)} of {count_of(len(scored), 'predicted segment')} "
        "without 'score'"
    )
    return False


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of processes, 1 or more")
    return int(text)
