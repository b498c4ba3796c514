"""`kmax inspect-dataset`: checks records, counts what is in them, and shows examples on a page."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from kmax_tf.conversion.dataset_page import Picture, SplitPage
    from kmax_tf.conversion.inspection import Inspection, Place, Record
    from kmax_tf.labels import LabelSpace
    from kmax_tf.records.statistics import Statistics

from kmax_tf.cli import arguments
from kmax_tf.wording import count_of

HELP = "check records, count what is in them, and draw examples"
_PROBLEMS = 1
# Of a picture on the sheet.
_CELL = 480
# On the page: pairs of equal labels; pixels around a segment at least; of JPEGs.
_EQUAL, _MARGIN, _QUALITY = 6, 16, 80


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
        "--output",
        help="folder of inspection.html, and of examples_SPLIT.png, a picture each split (that of "
        "the records)",
    )
    parser.add_argument(
        "--examples", type=int, default=8, help="on the picture (%(default)s); 0: no page either"
    )
    parser.add_argument(
        "--config",
        help="experiment whose crop size, centers and limits are compared with the records "
        "(experiment.textproto beside them)",
    )
    parser.add_argument("--workers", type=int, default=1, help="processes (%(default)s)")
    arguments.add_overwrite(parser)


def run(args: argparse.Namespace) -> int:
    """Inspects each split; the status is 1 where anything is wrong."""
    from kmax_tf.config.dataset import read_description, written_splits
    from kmax_tf.conversion.dataset_page import dataset_page
    from kmax_tf.conversion.inspection import check_written, find_shards, inspect
    from kmax_tf.errors import UserError
    from kmax_tf.files.ownership import check_free
    from kmax_tf.files.writing import write_atomically
    from kmax_tf.records.report import read_report

    if min(args.examples, args.workers - 1) < 0:
        raise UserError("--examples cannot be negative, and --workers must be at least 1")
    shards = find_shards(args.records, args.split)
    folder = os.path.dirname(next(iter(shards.values()))[0])
    sheets = {
        split: os.path.join(args.output or folder, f"examples_{split}.png") for split in shards
    }
    page_path = os.path.join(args.output or folder, "inspection.html")
    config = args.config or os.path.join(folder, "experiment.textproto")
    if args.examples:
        check_free([*sheets.values(), page_path])
    labels, text = read_description(args.description or os.path.join(folder, "dataset.textproto"))
    written = written_splits(text)
    problems = _differences([f for files in shards.values() for f in files], labels)
    pages = {}
    for split, files in shards.items():
        found = inspect(files, labels, split, args.workers, look=args.examples > 0)
        if split in written and os.path.isdir(args.records):
            found.problems += check_written(files, split, *written[split])
        _print_inspection(split, found, labels)
        if args.examples and found.statistics.images:
            _write_sheet(sheets[split], _examples(found, labels, args.examples), labels)
        problems += found.problems
        pages[split] = _page(found, read_report(folder).get(split, {}), config, labels)
        for sentence in pages[split].cut_off:
            print(f"  {sentence}")
    if args.examples:
        write_atomically(page_path, dataset_page(f"Records of {labels.name}", pages, labels))
        print(f"{page_path} shows them")
    problems += _doubts({name: page.statistics for name, page in pages.items()}, labels)
    print(count_of(len(problems), "problem") if problems else "no problems")
    return _PROBLEMS if problems else 0


def _differences(files: list[str], labels: LabelSpace) -> list[str]:
    """Prints and returns what the description beside the records says otherwise."""
    from kmax_tf.data.builder import check_descriptions
    from kmax_tf.errors import UserError

    try:
        check_descriptions(files, labels, "--description")
    except UserError as error:
        print(f"problem: {error}")
        return [str(error)]
    return []


def _doubts(statistics: dict[str, Statistics], labels: LabelSpace) -> list[str]:
    """Prints what is odd about all splits together; returns what makes them useless."""
    from kmax_tf.errors import UserError
    from kmax_tf.records.label_checks import doubts_about

    try:
        for doubt in doubts_about(statistics, labels):
            print(f"warning: {doubt}")
    except UserError as error:
        print(f"problem: {error}")
        return [str(error)]
    return []


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
    from kmax_tf.conversion.inspection import Place

    places = [Place(file, index) for file, n in found.records.items() for index in range(n)]
    count = min(count, len(places))
    chosen = [places[i * len(places) // count] for i in range(count)]
    return list(_records_at(chosen, labels).values())


def _records_at(places: Iterable[Place], labels: LabelSpace) -> dict[Place, Record]:
    from kmax_tf.conversion.inspection import read_records

    indices: dict[str, list[int]] = {}
    for file, index in places:
        indices.setdefault(file, []).append(index)
    records = {}
    for file, of_file in indices.items():
        records.update(read_records(file, of_file, labels))
    return records


def _page(
    found: Inspection, report: Mapping[str, Any], config: str, labels: LabelSpace
) -> SplitPage:
    """Returns what the page shows of a split, of which a conversion made a report, or none."""
    from kmax_tf.conversion.dataset_page import SplitPage, page_of_report

    try:
        told = page_of_report(report)
    except (KeyError, TypeError, AttributeError):  # none, or another tool's
        told = SplitPage(found.statistics)
    # Records may be others by now; what making labels did is in the report only.
    statistics = dataclasses.replace(found.statistics, counts=told.statistics.counts)
    return SplitPage(
        statistics,
        told.refused,
        told.equal,
        found.problems,
        _cut_off(config, found),
        _pictures(found, labels),
    )


def _cut_off(config: str, found: Inspection) -> list[str]:
    """Returns what an experiment, where there is one, cuts off of a split."""
    from kmax_tf.config import load_experiment
    from kmax_tf.conversion.inspection import cut_off
    from kmax_tf.files.reading import is_file

    if not is_file(config):
        return []
    experiment = load_experiment(config)
    height, width = experiment.eval_data.crop_size
    centers = experiment.model.transformer_decoder.num_centers
    limit = experiment.postprocessing.thing_area_limit
    return cut_off(found.statistics, (height, width), centers, limit)


def _pictures(found: Inspection, labels: LabelSpace) -> dict[str, list[Picture]]:
    """Draws the records that were noted: odd ones first, then those of each class."""
    from kmax_tf.conversion.dataset_page import Picture

    equal = [places for places in found.labels_seen.values() if len(places) > 1][:_EQUAL]
    places = [odd.place for listed in found.odd.values() for odd in listed]
    places += [place for listed in (*found.by_class.values(), *equal) for place in listed]
    records = _records_at(places, labels)

    def whole(place: Place) -> bytes:
        return _panel(records[place].pixels(), records[place].panoptic, labels)

    pictures = {}
    for kind, listed in found.odd.items():
        pictures[f"Odd: {kind}"] = [
            Picture(
                records[odd.place].name,
                [whole(odd.place), _close(records[odd.place], odd.panoptic_id, labels)],
            )
            for odd in listed
        ]
    if equal:
        pictures["Equal labels of several images"] = [
            Picture(" and ".join(records[p].name for p in pair), [whole(p) for p in pair])
            for pair in equal
        ]
    for name in (category.name for category in labels.classes):
        pictures[f"Examples of {name}"] = [
            Picture(records[p].name, [whole(p)]) for p in found.by_class.get(name, ())
        ]
    return pictures


def _panel(image: np.ndarray, panoptic: np.ndarray | None, labels: LabelSpace) -> bytes:
    """Draws segments over an image, small: a JPEG."""
    from kmax_tf.evaluation.report.gallery import shrink_image, shrink_map
    from kmax_tf.figures import draw_panoptic
    from kmax_tf.files.images import encode_image

    picture = shrink_image(image)
    if panoptic is not None:
        picture = draw_panoptic(picture, shrink_map(panoptic), labels)
    return encode_image(picture, "JPEG", quality=_QUALITY)


def _close(record: Record, panoptic_id: int, labels: LabelSpace) -> bytes:
    """Draws a segment alone, with some of the image around it."""
    import numpy as np

    mine = np.asarray(record.panoptic) == panoptic_id
    sides = []
    for axis, length in ((1, record.height), (0, record.width)):
        inside = np.flatnonzero(mine.any(axis))
        margin = max((inside[-1] - inside[0]) // 4, _MARGIN)
        sides.append(slice(max(inside[0] - margin, 0), min(inside[-1] + margin + 1, length)))
    alone = np.where(mine, panoptic_id, labels.void_panoptic_id).astype(np.int32)
    return _panel(record.pixels()[tuple(sides)], alone[tuple(sides)], labels)


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
