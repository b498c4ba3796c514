"""The configs that come with the package."""

from __future__ import annotations

import pathlib

from kmax_tf.config.textproto import merge_text
from kmax_tf.protos import experiment_pb2


def shipped_configs() -> pathlib.Path:
    """Returns the folder of the configs that come with the package."""
    package = pathlib.Path(__file__).resolve().parent.parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def shipped_experiments() -> list[str]:
    """Returns the files that are experiments, which have a name; the others are bases."""
    folder, names = shipped_configs(), []
    for path in sorted(folder.glob("*/*.textproto")):
        if path.parent.name != "datasets":
            content = experiment_pb2.Experiment()
            merge_text(path.read_text("utf-8"), f"{path}:{{}}".format, content, {})
            if content.name:
                names.append(path.relative_to(folder).as_posix())
    return names
