"""Predicting with an exported SavedModel or with the folder of a training run, alike."""

from __future__ import annotations

import atexit
import functools
import hashlib
import os
import pathlib
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple, Optional

import numpy as np
import tensorflow as tf

from kmax_tf.config import label_space, load_experiment
from kmax_tf.errors import UserError
from kmax_tf.export.version_folder import EXPERIMENT_FILE, find_export, read_labels
from kmax_tf.files.reading import names_in
from kmax_tf.files.writing import is_remote, plain_path
from kmax_tf.labels import LabelSpace
from kmax_tf.postprocessing.postprocessor import MAPS
from kmax_tf.version import __version__

_EXPERIMENT = "experiment.textproto"
Prediction = dict[str, np.ndarray]
Signature = Callable[..., dict[str, tf.Tensor]]


class Predictor:
    """Segments images.

    Attributes:
      labels: what the ids of the maps mean.
      identity: the same for models with the same results.
      image_bytes: the signature of that name.
    """

    def __init__(
        self,
        serving_default: Signature,
        image_bytes: Signature,
        labels: LabelSpace,
        identity: str,
    ):
        """Takes the signatures of a model; use `load_predictor`.

        Args:
          serving_default: the signature of that name.
          image_bytes: the signature of that name.
          labels: what the ids of the maps mean.
          identity: the same for models with the same results.
        """
        self.labels, self.image_bytes, self.identity = labels, image_bytes, identity
        self._serve = serving_default

    def __call__(self, image: np.ndarray) -> Prediction:
        """Segments an image [H, W, 3] uint8; maps are [H, W], segments [N]."""
        return self.batch([image])[0]

    def batch(self, images: Sequence[np.ndarray]) -> list[Prediction]:
        """Segments images [H, W, 3] uint8 of one size."""
        outputs = self._serve(images=tf.constant(np.stack(images)))
        values = {name: value.numpy() for name, value in outputs.items()}
        return [
            {name: value[index] for name, value in values.items()} for index in range(len(images))
        ]


def load_predictor(
    path: str | os.PathLike[str], outputs: Optional[Collection[str]] = None
) -> Predictor:
    """Loads what predicts from a folder.

    Args:
      path: a folder that `kmax export` wrote (the newest version is taken), one of its versions, or
        the folder of a training run. A remote export is copied to this machine first.
      outputs: what is needed of a prediction; None: what the model gives. An export gives the maps
        that it was made with, a run those that are needed.

    Raises:
      UserError: it is none of them, is damaged, or doesn't give what is needed.
    """
    run = pathlib.Path(path)
    if not is_remote(path) and find_export(run) is None and (run / _EXPERIMENT).exists():
        return _of_run(run, outputs)
    return _of_export(read_export(path), outputs or ())


class Export(NamedTuple):
    """What is known of an export before it is loaded.

    Attributes:
      folder: of the version, on this machine.
      labels: what the ids of the maps mean.
      identity: the same for models with the same results.
    """

    folder: pathlib.Path
    labels: LabelSpace
    identity: str


def read_export(path: str | os.PathLike[str]) -> Export:
    """Reads what a folder that `kmax export` wrote says of its newest version.

    Raises:
      UserError: it isn't such a folder, or is damaged.
    """
    export = find_export(pathlib.Path(_copied(os.fspath(path)) if is_remote(path) else path))
    if export is None:
        raise UserError(
            f"{path} holds no model: expected saved_model.pb (written by `kmax export`), numbered "
            "versions of it, or experiment.textproto with checkpoints (written by trainer.py)"
        )
    files = (export / "saved_model.pb", export / EXPERIMENT_FILE)
    return Export(export, read_labels(export), _digest([*files, *export.glob("variables/*.index")]))


def _of_export(export: Export, needed: Collection[str]) -> Predictor:
    folder = export.folder
    try:
        signatures = tf.saved_model.load(plain_path(folder)).signatures
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise UserError(
            f"cannot load the SavedModel {folder}: {error}; it is damaged or half written: "
            "export the model again"
        ) from error
    missing = {"serving_default", "image_bytes"} - set(signatures)
    if missing:
        raise UserError(
            f"{folder} was exported without {', '.join(sorted(missing))}; export the model "
            "again, with --signatures that list both, or without"
        )
    serve = signatures["serving_default"]
    lacking = sorted(set(needed) - serve.structured_outputs.keys())
    if lacking:
        raise UserError(
            f"{folder} doesn't give {', '.join(lacking)}: export the model again, "
            "with postprocessing.maps that list what is needed"
        )
    return Predictor(
        serve,
        signatures["image_bytes"],
        export.labels,
        export.identity,
    )


def _of_run(folder: pathlib.Path, needed: Optional[Collection[str]]) -> Predictor:
    from kmax_tf.checkpoints.restore import restore_weights
    from kmax_tf.export.serving_model import ServingModel
    from kmax_tf.inference import Inference
    from kmax_tf.model.builder import build_model

    experiment_file = folder / _EXPERIMENT
    experiment = load_experiment(experiment_file)
    model = build_model(experiment)
    checkpoint = restore_weights(model, folder).checkpoint
    maps = None if needed is None else [name for name in MAPS if name in needed]
    serving = ServingModel(Inference(experiment, model), experiment, maps)
    return Predictor(
        # Functions that keep the model: a tf.function doesn't keep what it is a method of.
        lambda images: serving.serving_default(images),  # noqa: PLW0108
        lambda image_bytes: serving.image_bytes(image_bytes),  # noqa: PLW0108
        label_space(experiment.dataset),
        _digest([experiment_file, pathlib.Path(f"{checkpoint}.index")]),
    )


def _digest(files: Iterable[pathlib.Path]) -> str:
    """Returns a checksum of files; a checkpoint's index has checksums of its tensors."""
    digest = hashlib.sha256(__version__.encode())
    for file in (file for file in files if file.exists()):
        digest.update(file.read_bytes())
    return digest.hexdigest()


@functools.cache
def _copied(url: str) -> str:
    """Copies the newest version of a remote export into a folder that goes with this process."""
    copy = tempfile.mkdtemp(prefix="kmax_model_")
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    try:
        names = names_in(url)
        versions = [int(name) for name in names if re.fullmatch(r"\d+", name)]
        if "saved_model.pb" not in names and versions:
            url = os.path.join(url, str(max(versions)))
        for folder, _, files in tf.io.gfile.walk(url):
            there = os.path.join(copy, os.path.relpath(folder, url))
            os.makedirs(there, exist_ok=True)
            for file in files:
                tf.io.gfile.copy(os.path.join(folder, file), os.path.join(there, file))
    except tf.errors.OpError as error:
        raise UserError(f"cannot read the model {url}: {error.message}") from error
    return copy
