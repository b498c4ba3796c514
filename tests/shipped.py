"""Names of the shipped experiments."""

from __future__ import annotations

from kmax_tf import config
from kmax_tf.config.textproto import merge_text
from kmax_tf.protos import experiment_pb2


def experiments() -> list[str]:
    """Returns the files with a name, which are experiments; the others are bases or datasets."""
    folder = config.shipped_configs()
    return [
        path.relative_to(folder).as_posix()
        for path in sorted(folder.glob("*/*.textproto"))
        if path.parent.name != "datasets" and _read(path.read_text()).name
    ]


def _read(text: str) -> experiment_pb2.Experiment:
    message = experiment_pb2.Experiment()
    merge_text(text, str, message, {})
    return message
