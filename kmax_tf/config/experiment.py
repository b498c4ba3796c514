"""Textproto -> Experiment: base chain, dataset file, overrides, validation.

`load_experiment` gives an experiment that is resolved and self-contained: neither `base` nor
`dataset_file` is left in it.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from google.protobuf import text_format
from google.protobuf.message import Message

from kmax_tf.config.overrides import merge_override
from kmax_tf.config.problems import report
from kmax_tf.config.shipped import shipped_configs
from kmax_tf.config.textproto import Origins, is_repeated, merge_text, nearest
from kmax_tf.config.validation import problems
from kmax_tf.errors import ConfigError
from kmax_tf.files.writing import PathLike, decode_text, is_remote
from kmax_tf.protos import experiment_pb2


class _Source(NamedTuple):
    """An experiment file of the base chain."""

    path: pathlib.Path
    text: str

    def where(self, line: int) -> str:
        return f"{_shown(self.path)}:{line}"


def load_experiment(path: PathLike, overrides: Sequence[str] = ()) -> experiment_pb2.Experiment:
    """Reads an experiment with its bases and its dataset, and validates it.

    Args:
      path: experiment file; one that doesn't exist is looked for among the shipped configs, so
        "coco/resnet50.textproto" works anywhere.
      overrides: "path.to.field=value" each, applied last, in order.

    Returns:
      The experiment, self-contained. Relative paths, such as data_dir, are left as given.

    Raises:
      ConfigError: a file is missing or malformed, or the experiment is not consistent; the message
        names file and line, or the override, of each problem.
    """
    origins: Origins = {}
    errors: list[str] = []
    chain = _base_chain(_find(path, [pathlib.Path()], "the experiment"))
    experiment = _merge(chain, overrides, None, origins, errors)
    if experiment.dataset_file:
        naming = _last_naming_dataset(chain, overrides)
        dataset = _read_dataset_file(experiment, naming, origins["dataset_file"])
        origins, errors = {}, []
        experiment = _merge(chain, overrides, (naming, dataset), origins, errors)
    experiment.ClearField("base")
    experiment.ClearField("dataset_file")
    found = problems(experiment)
    if found or errors:
        raise ConfigError(report(found, origins, _shown(chain[-1].path), errors))
    return experiment


def validate(experiment: experiment_pb2.Experiment, num_replicas: int = 1) -> None:
    """Checks that an experiment is consistent.

    Args:
      experiment: a resolved experiment.
      num_replicas: devices that share a batch.

    Raises:
      ConfigError: lists all problems, each with the path of its field.
    """
    found = problems(experiment, num_replicas)
    if found:
        raise ConfigError(report(found, {}, "experiment"))


def mean_the_same(first: Message, second: Message) -> bool:
    """Tells whether two messages say the same, where a default is as good written out as left out.

    Whether a message within them is there does count: it may choose a part of the model.
    """
    fields: Any = first.DESCRIPTOR.fields
    for field in fields:
        values = getattr(first, field.name), getattr(second, field.name)
        if field.message_type is None:
            same = list(values[0]) == list(values[1]) if is_repeated(field) else len({*values}) == 1
        elif is_repeated(field):
            same = len(values[0]) == len(values[1]) and all(map(mean_the_same, *values))
        else:
            there = first.HasField(field.name), second.HasField(field.name)
            same = there[0] == there[1] and (not there[0] or mean_the_same(*values))
        if not same:
            return False
    return True


def experiment_text(experiment: experiment_pb2.Experiment) -> str:
    """Returns an experiment as a textproto, which load_experiment reads back to the same."""
    return str(
        text_format.MessageToString(experiment, as_utf8=True, use_short_repeated_primitives=True)
    )


def _base_chain(
    path: pathlib.Path, where: str = "", above: tuple[pathlib.Path, ...] = ()
) -> list[_Source]:
    """Returns the files that make an experiment, each once and after its bases.

    Args:
      path: of the experiment file.
      where: it is named.
      above: the files that lead to it.
    """
    if path.resolve() in [opened.resolve() for opened in above]:
        names = " -> ".join(_shown(p) for p in (*above, path))
        raise ConfigError(f"{where}: base leads back to itself: {names}")
    source = _Source(path, _read(path))
    origins: Origins = {}
    chain: list[_Source] = []
    for index, base in enumerate(_merge([source], (), None, origins, []).base):
        named = origins[f"base[{index}]"]
        found = _find(base, [path.parent], "base names it", named)
        read = {earlier.path.resolve() for earlier in chain}
        added = _base_chain(found, named, (*above, path))
        chain += [new for new in added if new.path.resolve() not in read]
    return [*chain, source]


def _merge(
    chain: Sequence[_Source],
    overrides: Sequence[str],
    dataset: tuple[_Source | None, _Source] | None,
    origins: Origins,
    errors: list[str],
) -> experiment_pb2.Experiment:
    """Merges the files of a chain and the overrides, in order.

    Args:
      chain: the outermost base first.
      overrides: applied last.
      dataset: the source that names the dataset file (None: an override does) and that file, which
        replaces whatever dataset the sources before gave.
      origins: updated.
      errors: gets what cannot be merged, which is left out.
    """
    experiment = experiment_pb2.Experiment()
    for source in (*chain, None):
        if dataset is not None and dataset[0] is source:
            experiment.ClearField("dataset")
            file = dataset[1]
            merge_text(file.text, file.where, experiment.dataset, origins, "dataset", errors)
            origins.setdefault("dataset", _shown(file.path))
        if source is not None:
            merge_text(source.text, source.where, experiment, origins, errors=errors)
    for override in overrides:
        try:
            if override.partition("=")[0].strip() == "base":
                raise ConfigError("--set base: cannot be overridden; give another experiment file")
            merge_override(override, experiment, origins)
        except ConfigError as error:
            errors.append(str(error))
    return experiment


def _last_naming_dataset(chain: Sequence[_Source], overrides: Iterable[str]) -> _Source | None:
    """Returns the last source that gives dataset_file; None stands for an override."""
    if any(override.partition("=")[0].strip() == "dataset_file" for override in overrides):
        return None
    return next(
        source for source in reversed(chain) if _merge([source], (), None, {}, []).dataset_file
    )


def _read_dataset_file(
    experiment: experiment_pb2.Experiment, naming: _Source | None, where: str
) -> _Source:
    folders = [pathlib.Path() if naming is None else naming.path.parent]
    folders.append(shipped_configs() / "datasets")
    if experiment.data_dir and not is_remote(experiment.data_dir):
        folders.append(pathlib.Path(experiment.data_dir))
    path = _find(experiment.dataset_file, folders, "dataset_file names it", where)
    return _Source(path, _read(path))


def _find(
    path: PathLike, folders: Sequence[pathlib.Path], purpose: str, where: str = ""
) -> pathlib.Path:
    """Returns the first of folder / path, then of the shipped configs, that is a file."""
    tried = [folder / path for folder in (*folders, shipped_configs())]
    for candidate in tried:
        if candidate.is_file():
            return candidate
    prefix = f"{where}: " if where else ""
    places = ", ".join(dict.fromkeys(_shown(candidate.parent) for candidate in tried))
    raise ConfigError(
        f"{prefix}no file {os.fspath(path)} ({purpose}); looked in {places}; "
        f"{nearest(os.fspath(path), _shipped_names())}"
    )


def _shipped_names() -> list[str]:
    folder = shipped_configs()
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.textproto"))


def _read(path: pathlib.Path) -> str:
    try:
        return decode_text(path.read_bytes())
    except ValueError as error:
        raise ConfigError(f"{_shown(path)}: not a text file: {error}") from error
    except OSError as error:
        raise ConfigError(f"{_shown(path)}: cannot be read: {error.strerror}") from error


def _shown(path: PathLike) -> str:
    """Returns a path as a person would type it: relative where it is below the working folder."""
    relative = os.path.relpath(path)
    return os.path.normpath(path) if relative.startswith(os.pardir) else relative
