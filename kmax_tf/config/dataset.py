"""Dataset descriptions: people's own, those that ship with the package, parts of experiments."""

from __future__ import annotations

import colorsys
import os
from collections.abc import Iterator

from kmax_tf.config.problems import report
from kmax_tf.config.shipped import shipped_configs
from kmax_tf.config.textproto import Origins, merge_text
from kmax_tf.config.validation import dataset_problems
from kmax_tf.errors import ConfigError, UserError
from kmax_tf.files.reading import is_file, read_file
from kmax_tf.files.writing import decode_text
from kmax_tf.labels import Category, LabelSpace
from kmax_tf.protos import dataset_pb2


def read_description(path: str) -> tuple[LabelSpace, str]:
    """Reads a dataset description; TensorFlow isn't imported for it, unless the file is remote.

    Args:
      path: a textproto file, or the name of one that ships with the package ("shapes").

    Returns:
      What its ids mean, and its text.

    Raises:
      UserError: there is no such file, or it is malformed or inconsistent.
    """
    shipped = shipped_configs() / "datasets"
    file = path if is_file(path) else os.fspath(shipped / f"{path}.textproto")
    try:
        text = decode_text(read_file(file))
    except FileNotFoundError as error:
        names = ", ".join(sorted(found.stem for found in shipped.glob("*.textproto")))
        raise UserError(
            f"no dataset description {path}; give a textproto file or one of: {names}"
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"the dataset description {file} cannot be read: {reason}") from error
    return parse_dataset(text, file), text


def parse_dataset(text: str, name: str) -> LabelSpace:
    """Returns what a dataset description by itself says; `name` is its file, for messages.

    Raises:
      ConfigError: lists all problems, each with the path of its field.
    """
    dataset = dataset_pb2.Dataset()
    origins: Origins = {}
    errors: list[str] = []
    merge_text(text, lambda line: f"{name}:{line}", dataset, origins, "dataset", errors)
    found = dataset_problems(dataset)
    if found or errors:
        places = {problem.path: origins.get(problem.path, name) for problem in found}
        raise ConfigError(report(found, places, name, errors))
    return label_space(dataset)


def written_splits(text: str) -> dict[str, tuple[int, str]]:
    """Returns the number of files, and their checksum, of the splits of a dataset description."""
    return {split.name: (split.shards, split.checksum) for split in _parsed(text).splits}


def colored_classes(text: str) -> tuple[str, ...]:
    """Returns the names of the classes to which a dataset description gives a color."""
    return tuple(category.name for category in _parsed(text).classes if category.color)


def _parsed(text: str) -> dataset_pb2.Dataset:
    dataset = dataset_pb2.Dataset()
    merge_text(text, str, dataset, {})
    return dataset


def label_space(dataset: dataset_pb2.Dataset) -> LabelSpace:
    """Returns what the ids of a dataset mean: things as listed, then stuff by increasing id.

    A class without original_id keeps its id; one without a color gets a distinct one.
    """
    things = [category for category in dataset.classes if category.thing]
    stuff = sorted((c for c in dataset.classes if not c.thing), key=lambda category: category.id)
    spare = _colors(taken={tuple(category.color) for category in dataset.classes})
    categories = []
    for category in (*things, *stuff):
        red, green, blue = tuple(category.color) or next(spare)
        categories.append(
            Category(
                id=category.id,
                name=category.name,
                thing=category.thing,
                color=(red, green, blue),
                original_id=(
                    category.original_id if category.HasField("original_id") else category.id
                ),
            )
        )
    return LabelSpace(
        classes=tuple(categories),
        num_ids=dataset.num_ids,
        ignore_label=dataset.ignore_label,
        label_divisor=dataset.label_divisor,
        name=dataset.name,
    )


def _colors(taken: set[tuple[int, ...]]) -> Iterator[tuple[int, int, int]]:
    """Yields distinct colors, each far in hue from the last ones."""
    step = 0
    while True:
        # Steps of the golden ratio never come back to the same hue; value tells laps apart.
        hue, value = (step * 0.618034) % 1, (0.95, 0.7, 0.5)[step % 3]
        red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.8, value))
        step += 1
        if (red, green, blue) not in taken:
            taken.add((red, green, blue))
            yield red, green, blue
