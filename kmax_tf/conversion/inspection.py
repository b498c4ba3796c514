"""Looking through records, ours or the reference's: are they whole, and what is in them?"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from kmax_tf.conversion.shards import file_checksum
from kmax_tf.conversion.suspicion import find_suspicions
from kmax_tf.errors import BadExampleError, UserError
from kmax_tf.files.images import check_encoded, decode_image
from kmax_tf.files.opening import MAX_PIXELS
from kmax_tf.files.progress import Progress
from kmax_tf.files.reading import list_folder
from kmax_tf.files.workers import run_tasks
from kmax_tf.labels import LabelSpace
from kmax_tf.panoptic.fields import ImageId
from kmax_tf.panoptic.runs import find_runs
from kmax_tf.records.examples import parse_shard_name, source_id_of
from kmax_tf.records.index import walk_records
from kmax_tf.records.statistics import Statistics
from kmax_tf.wording import count_of, some

# Enough to see what is wrong with a file.
_MOST_PROBLEMS = 20
# Examples of a class, and of what is odd in one way.
_OF_CLASS, _OF_KIND = 3, 6


@dataclasses.dataclass(frozen=True)
class Record:
    """A record, checked.

    Attributes:
      name: what the image is known by (`records.image_names`).
      source_id: what the annotation file calls it; None where it isn't said.
      image: the encoded image.
      panoptic: [H, W] int32; None where it has no label.
      height: in pixels.
      width: in pixels.
      areas: pixels of each segment by class id, crowds not counted.
    """

    name: str
    source_id: ImageId | None
    image: bytes
    panoptic: np.ndarray | None
    height: int
    width: int
    areas: dict[int, list[int]]

    def pixels(self) -> np.ndarray:
        """Decodes the image: [H, W, 3] uint8."""
        return decode_image(self.image, self.name)


class Place(NamedTuple):
    """Where a record is: its file, and its number in it."""

    file: str
    number: int


class Odd(NamedTuple):
    """Something odd in a record: how odd, where, and in which segment."""

    score: float
    place: Place
    panoptic_id: int


@dataclasses.dataclass
class Inspection:
    """What was found in records.

    Attributes:
      statistics: of those that are whole.
      problems: sentences.
      records: number of records of each file, in order.
      names: number of images known by each name.
      by_class: some records with segments of each class, by its name.
      odd: the oddest segments by what is odd about them (`suspicion`).
      labels_seen: records by the digest of their label, where it has a segment; two of one at most.
    """

    statistics: Statistics = dataclasses.field(default_factory=Statistics)
    problems: list[str] = dataclasses.field(default_factory=list)
    records: dict[str, int] = dataclasses.field(default_factory=dict)
    names: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    by_class: dict[str, list[Place]] = dataclasses.field(default_factory=dict)
    odd: dict[str, list[Odd]] = dataclasses.field(default_factory=dict)
    labels_seen: dict[str, list[Place]] = dataclasses.field(default_factory=dict)

    def look_at(self, record: Record, place: Place, labels: LabelSpace) -> None:
        """Notes what a page may show of a record."""
        if record.panoptic is None or not record.areas:
            return
        names = {category.id: category.name for category in labels.classes}
        self.add_looks(
            {names[class_id]: [place] for class_id in record.areas},
            {
                suspicion.kind: [Odd(suspicion.score, place, suspicion.panoptic_id)]
                for suspicion in find_suspicions(record.panoptic, labels)
            },
            {hashlib.sha256(record.panoptic.tobytes()).hexdigest(): [place]},
        )

    def add_looks(
        self,
        by_class: Mapping[str, Sequence[Place]],
        odd: Mapping[str, Sequence[Odd]],
        labels_seen: Mapping[str, Sequence[Place]],
    ) -> None:
        """Adds those of other records; the first few of a class are kept, and the oddest."""
        for name, places in by_class.items():
            self.by_class[name] = [*self.by_class.get(name, ()), *places][:_OF_CLASS]
        for kind, found in odd.items():
            self.odd[kind] = sorted([*self.odd.get(kind, ()), *found], reverse=True)[:_OF_KIND]
        for digest, places in labels_seen.items():
            self.labels_seen[digest] = [*self.labels_seen.get(digest, ()), *places][:2]


def find_shards(path: str, split: str | None = None) -> dict[str, list[str]]:
    """Finds the record files at a path, of a file or a folder, by split, in order.

    Raises:
      UserError: there are none.
    """
    if tf.io.gfile.isdir(path):
        names = list_folder(path)
        files = [os.path.join(path, name) for name in names if name.endswith(".tfrecord")]
    else:
        files = [path] if tf.io.gfile.exists(path) else []
    shards: dict[str, list[str]] = collections.defaultdict(list)
    for file in files:
        shard = parse_shard_name(os.path.basename(file))
        name = shard[0] if shard else os.path.basename(file)
        if split in (None, name):
            shards[name].append(file)
    if not shards:
        of_split = f" of the split {split}" if split else ""
        raise UserError(
            f"no records{of_split} at {path}; give a .tfrecord file or a folder of them"
        )
    return dict(shards)


def inspect(
    files: Sequence[str], labels: LabelSpace, split: str, workers: int, look: bool = False
) -> Inspection:
    """Reads and checks all records of a split, in its files' order.

    Args:
      files: of the split.
      labels: what ids mean.
      split: its name.
      workers: number of processes.
      look: whether to note what a page shows: examples, and what is odd.

    Raises:
      UserError: a process died.
    """
    total = Inspection(problems=_missing(files))
    progress = Progress(None, f"inspect {split}")
    tasks = [(file, labels, look) for file in files]
    for found in run_tasks(_inspect_file, tasks, workers, progress):
        total.statistics.add(found.statistics)
        total.problems += found.problems
        total.records.update(found.records)
        total.names.update(found.names)
        total.add_looks(found.by_class, found.odd, found.labels_seen)
    progress.finish()
    total.problems += _repeated(total.names)
    return total


def check_written(files: Sequence[str], split: str, shards: int, checksum: str) -> list[str]:
    """Returns what is wrong with the files of a split.

    A dataset.textproto says how many shards the conversion wrote, and the checksum of SPLIT.sha256.
    """
    problems = []
    folder = os.path.dirname(files[0])
    if len(files) != shards:
        problems.append(f"{count_of(len(files), 'shard')} of {split} where {shards} were written")
    sums_path = os.path.join(folder, f"{split}.sha256")
    try:
        with tf.io.gfile.GFile(sums_path, "rb") as file:
            content = file.read()
    except tf.errors.OpError:
        return [*problems, f"{sums_path} is missing, so checksums of shards aren't known"]
    if hashlib.sha256(content).hexdigest() != checksum:
        return [*problems, f"{sums_path} is not the one that dataset.textproto was written with"]
    sums = dict(line.split("  ", 1)[::-1] for line in content.decode("ascii").splitlines())
    for path in files:
        if sums.get(os.path.basename(path)) != file_checksum(path):
            problems.append(f"{path} has not the checksum that {sums_path} gives it")
    return problems


def check_record(serialized: bytes, labels: LabelSpace) -> Record:
    """Reads a record and checks all that can be checked.

    Raises:
      BadExampleError: says what is wrong.
    """
    try:
        features = tf.train.Example.FromString(serialized).features.feature
    except DecodeError as error:
        raise BadExampleError("it is no tf.train.Example") from error
    name = _bytes_of(features, "image/filename").decode("utf-8", "replace")
    # Records of the reference don't have it.
    given = "image/source_id" in features
    source_id = source_id_of(_bytes_of(features, "image/source_id")) if given else None
    data = _bytes_of(features, "image/encoded")
    height, width = (_integer_of(features, f"image/{side}") for side in ("height", "width"))
    if not 0 < height * width <= MAX_PIXELS or min(height, width) < 1:
        raise BadExampleError(f"{name}: its size is given as {width} x {height}")
    decoded = check_encoded(data, name)
    if decoded != (height, width):
        raise BadExampleError(
            f"{name}: its image is {decoded[1]} x {decoded[0]}, but it says {width} x {height}"
        )
    if "image/segmentation/class/encoded" not in features:
        return Record(name, source_id, data, None, height, width, {})
    label = _bytes_of(features, "image/segmentation/class/encoded")
    kind = _bytes_of(features, "image/segmentation/class/format")
    if kind != b"raw" or len(label) != 4 * height * width:
        raise BadExampleError(
            f"{name}: its label has {count_of(len(label), 'byte')} of format {kind!r}, not "
            f"{4 * height * width} of format 'raw'"
        )
    panoptic = np.frombuffer(label, "<i4").reshape(height, width)  # [H, W]
    return Record(name, source_id, data, panoptic, height, width, _areas(name, panoptic, labels))


def read_records(file: str, indices: Sequence[int], labels: LabelSpace) -> dict[Place, Record]:
    """Reads some records of a file that was found whole; bad ones are left out."""
    records = {}
    for index, serialized in enumerate(tf.data.TFRecordDataset(file).as_numpy_iterator()):
        if index in indices:
            with contextlib.suppress(BadExampleError):  # told when all were inspected
                records[Place(file, index)] = check_record(serialized, labels)
        if index >= max(indices):
            break
    return records


def cut_off(
    statistics: Statistics, crop: tuple[int, int], num_centers: int, area_limit: int
) -> list[str]:
    """Says what a network can't see of a split: sentences.

    Args:
      statistics: of the split.
      crop: height and width of its input.
      num_centers: number of cluster centers.
      area_limit: smaller things are dropped; pixels at the crop size.
    """
    sentences = []
    images = count_of(statistics.images, "image")
    sizes = [
        (max(height / crop[0], width / crop[1]), n) for height, width, n in statistics.size_pairs()
    ]
    larger = sum(n for shrink, n in sizes if shrink > 1)
    if larger:
        sentences.append(
            f"{larger} of {images} are larger than the crop of {crop[1]} x {crop[0]} and are "
            f"shrunk, at most {max(sizes)[0]:.1f} times"
        )
    # A segment of 2^-k of the square over the longer side has this much of the crop's.
    side = max(crop)
    small = sum(n for k, n in statistics.relative_areas.items() if side**2 / 2**k < area_limit)
    if small:
        total = sum(statistics.relative_areas.values())
        sentences.append(
            f"{small} of {count_of(total, 'segment')} ({100 * small / total:.1f} %) have less than "
            f"{area_limit} pixels there, which post-processing drops (thing_area_limit)"
        )
    many = sum(n for segments, n in statistics.segments_per_image.items() if segments > num_centers)
    if many:
        sentences.append(
            f"{many} of {images} have more segments than the {num_centers} cluster centers, "
            f"{max(statistics.segments_per_image)} at most: raise "
            "model.transformer_decoder.num_centers"
        )
    return sentences


def _inspect_file(task: tuple[str, LabelSpace, bool], advance: Callable[[], None]) -> Inspection:
    file, labels, look = task
    found = Inspection()
    count = whole = 0
    try:
        whole, damage = _whole_records(file)
        for serialized in tf.data.TFRecordDataset(file).take(whole).as_numpy_iterator():
            advance()
            try:
                record = check_record(serialized, labels)
                found.statistics.add_image(
                    record.height, record.width, record.areas, labels, record.panoptic is not None
                )
                found.names[record.name] += 1
                if look:
                    found.look_at(record, Place(file, count), labels)
            except BadExampleError as error:
                found.problems.append(f"record {count} of {file}: {error}")
            count += 1
    except OSError as error:
        damage = f"{file} cannot be read: {error.strerror or error}"
    except tf.errors.OpError:
        damage = f"record {count} of {file} doesn't have its checksum; none after it was read"
    found.problems = found.problems[:_MOST_PROBLEMS] + ([damage] if damage else [])
    found.records[file] = count
    return found


def _whole_records(file: str) -> tuple[int, str]:
    """Returns how many records of a file are whole by their lengths, and what is wrong, or ""."""
    if tf.io.gfile.isdir(file):
        return 0, f"{file} is a folder"
    are_whole = [is_whole for _, is_whole in walk_records(file)]
    if not are_whole:
        return 0, f"{file} is empty"
    whole = sum(are_whole)
    damage = f"{file} is truncated or damaged at record {whole}" if not are_whole[-1] else ""
    return whole, damage


def _repeated(names: Mapping[str, int]) -> list[str]:
    """Returns a problem where images are known by one name."""
    twice = [name for name, count in names.items() if count > 1]
    if not twice:
        return []
    return [
        f"{count_of(len(twice), 'name')} of several images, which can't be told apart in an "
        f"evaluation: {some(map(repr, twice))}; convert the dataset again"
    ]


def _missing(files: Sequence[str]) -> list[str]:
    """Returns a problem for each number of shards that the files' names don't have all of."""
    seen: dict[int, set[int]] = collections.defaultdict(set)
    for file in files:
        shard = parse_shard_name(os.path.basename(file))
        if shard:
            _, index, count = shard
            seen[count].add(index)
    problems = [
        f"{count - len(found)} of {count} shards are missing beside {files[0]}"
        for count, found in seen.items()
        if len(found) < count and len(files) > 1
    ]
    if len(seen) > 1:
        problems.append(f"shards of several conversions lie beside {files[0]}: of {sorted(seen)}")
    return problems


def _areas(name: str, panoptic: np.ndarray, labels: LabelSpace) -> dict[int, list[int]]:
    """Returns the areas of segments by class id; raises BadExampleError for impossible ids."""
    runs = find_runs(panoptic)
    things = {category.id: category.thing for category in labels.classes}
    areas: dict[int, list[int]] = {}
    for panoptic_id, area in zip(runs.values.tolist(), runs.areas.tolist()):
        class_id, instance = divmod(panoptic_id, labels.label_divisor)
        if panoptic_id == labels.void_panoptic_id:
            continue
        if class_id not in things or (instance and not things[class_id]):
            raise BadExampleError(
                f"{name}: its label has the id {panoptic_id} = {class_id} * "
                f"{labels.label_divisor} + {instance}, which is no segment of the dataset "
                f"description '{labels.name}'"
            )
        if instance or not things[class_id]:
            areas.setdefault(class_id, []).append(area)
    return areas


def _bytes_of(features: Any, key: str) -> bytes:
    content: bytes = _only(list(features[key].bytes_list.value) if key in features else [], key)
    return content


def _integer_of(features: Any, key: str) -> int:
    return int(_only(list(features[key].int64_list.value) if key in features else [], key))


def _only(values: list[Any], key: str) -> Any:
    if len(values) != 1:
        raise BadExampleError(f"it has {len(values)} values of the feature {key}, not one")
    return values[0]
