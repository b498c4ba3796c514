"""`kmax inspect-dataset`: checks records, counts what is in them, and draws examples."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from kmax_tf.conversion.inspection import Inspection, Record
    from kmax_tf.labels import LabelSpace

from kmax_tf.cli import arguments
from kmax_tf.wording import count_of

HELP = "check records, count what is in them, and draw examples"
_PROBLEMS = 1
# Of a picture on the sheet.
_CELL = 480


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the sub-command's arguments."""
    parser.add_argument("records", help="folder of records, or one .tfrecord file")
    parser.add_argument(
        "--description",
        help="dataset description: a file, or the name of a shipped one such as coco "
        "(dataset.textproto beside the records)",
    )
    parser.add_argument("--split", help="the only one to look at (all)")
    parser.add_argument(
        "--output", help="folder of examples_SPLIT.png, a picture each split (that of the records)"
    )
    parser.add_argument("--examples", type=int, default=8, help="on the picture (%(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes (%(default)s)")
    arguments.add_overwrite(parser)


def run(args: argparse.Namespace) -> int:
    """Inspects each split; the status is 1 where anything is wrong."""
    from kmax_tf.config.dataset import read_description, written_splits
    from kmax_tf.conversion.inspection import check_written, find_shards, inspect
    from kmax_tf.data.builder import check_descriptions
    from kmax_tf.errors import UserError
    from kmax_tf.files.ownership import check_free
    from kmax_tf.records.label_checks import doubts_about

    if min(args.examples, args.workers - 1) < 0:
        raise UserError("--examples cannot be negative, and --workers must be at least 1")
    shards = find_shards(args.records, args.split)
    folder = os.path.dirname(next(iter(shards.values()))[0])
    sheets = {
        split: os.path.join(args.output or folder, f"examples_{split}.png") for split in shards
    }
    if args.examples:
        check_free(sheets.values())
    labels, text = read_description(args.description or os.path.join(folder, "dataset.textproto"))
    written = written_splits(text)
    problems = []
    statistics = {}
    try:
        check_descriptions([f for files in shards.values() for f in files], labels, "--description")
    except UserError as error:
        problems.append(str(error))
        print(f"problem: {error}")
    for split, files in shards.items():
        found = inspect(files, labels, split, args.workers)
        if split in written and os.path.isdir(args.records):
            found.problems += check_written(files, split, *written[split])
        _print_inspection(split, found, labels)
        if args.examples and found.statistics.images:
            _write_sheet(sheets[split], _examples(found, labels, args.examples), labels)
        problems += found.problems
        statistics[split] = found.statistics
    try:
        for doubt in doubts_about(statistics, labels):
            print(f"warning: {doubt}")
    except UserError as error:
        print(f"problem: {error}")
        problems.append(str(error))
    print(count_of(len(problems), "problem") if problems else "no problems")
    return _PROBLEMS if problems else 0


def _print_inspection(split: str, found: Inspection, labels: LabelSpace) -> None:
    from kmax_tf.records.statistics import segments_table, sizes_line

    segments = sum(counted.segments for counted in found.statistics.classes.values())
    without = found.statistics.unlabeled
    unlabeled = f", {without} without labels" if without else ""
    print(
        f"{split}: {count_of(found.statistics.images, 'example')} in "
        f"{count_of(len(found.records), 'file')}, {count_of(segments, 'segment')}{unlabeled}"
    )
    print(f"  {sizes_line(found.statistics)}")
    if segments:
        for line in segments_table(found.statistics, labels):
            print(f"  {line}")
    for problem in found.problems:
        print(f"  problem: {problem}")


def _examples(found: Inspection, labels: LabelSpace, count: int) -> list[Record]:
    """Returns records from all over the split."""
    from kmax_tf.conversion.inspection import read_records

    places = [(file, index) for file, n in found.records.items() for index in range(n)]
    count = min(count, len(places))
    chosen = [places[i * len(places) // count] for i in range(count)]
    records = []
    for file in dict.fromkeys(file for file, _ in chosen):
        indices = [index for name, index in chosen if name == file]
        records += read_records(file, indices, labels)
    return records


def _write_sheet(path: str, records: list[Record], labels: LabelSpace) -> None:
    """Draws records, each beside its segments, two in a row, and the classes below them."""
    import numpy as np

    from kmax_tf.figures import draw_legend, draw_panoptic
    from kmax_tf.figures.panels import arrange
    from kmax_tf.files.images import write_png

    pictures, captions, present = [], [], set()
    for record in records:
        image = record.pixels()
        panels = [image]
        if record.panoptic is not None:
            panels.append(draw_panoptic(image, record.panoptic, labels))
            present |= {int(i) // labels.label_divisor for i in np.unique(record.panoptic)}
        segments = sum(map(len, record.areas.values()))
        captions += [record.name, count_of(segments, "segment")][: len(panels)]
        pictures += panels
    if not pictures:
        return
    aspect = float(np.median([picture.shape[1] / picture.shape[0] for picture in pictures]))
    sheet = arrange([_fitted(picture, aspect) for picture in pictures], captions, columns=4)
    if present:
        sheet = np.concatenate([sheet, draw_legend(labels, sorted(present), sheet.shape[1])])
    write_png(path, sheet)
    print(f"  {path} shows {len(records)} of them")


def _fitted(picture: np.ndarray, aspect: float) -> np.ndarray:
    """Scales a picture [H, W, 3] into a cell of that aspect (width over height), on white."""
    import numpy as np
    import PIL.Image

    width = round(_CELL * min(max(aspect, 0.5), 2.0))
    cell = PIL.Image.new("RGB", (width, _CELL), (255, 255, 255))
    scale = min(width / picture.shape[1], _CELL / picture.shape[0])
    size = (max(round(picture.shape[1] * scale), 1), max(round(picture.shape[0] * scale), 1))
    method = PIL.Image.Resampling.LANCZOS if scale < 1 else PIL.Image.Resampling.BICUBIC
    scaled = PIL.Image.fromarray(picture).resize(size, method)
    cell.paste(scaled, ((width - size[0]) // 2, (_CELL - size[1]) // 2))
    return np.asarray(cell)
