"""Writing of SavedModels as versions of a TensorFlow Serving folder, and what lies beside them."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from typing import Optional

import tensorflow as tf

from kmax_tf.config import Experiment, experiment_text, label_space
from kmax_tf.errors import OutputError, UserError
from kmax_tf.export.constants import with_constants
from kmax_tf.export.expectation import Expectation, Image
from kmax_tf.export.server_files import MODEL_NAME, write_server_files
from kmax_tf.export.serving_model import SIGNATURES, ServingModel
from kmax_tf.export.trial import (
    TrialReport,
    agreement,
    trial_images,
    trial_requests,
    try_export,
)
from kmax_tf.export.version_folder import EXPERIMENT_FILE, LABELS_FILE, labels_as_json
from kmax_tf.export.warmup import Request, write_warmup
from kmax_tf.files.writing import check_writable, write_atomically
from kmax_tf.inference import Inference
from kmax_tf.labels import LabelSpace
from kmax_tf.model.kmax import KMaX

# Keras' names of what the network computes in; its logits are float32 in any case.
_POLICIES = {"float32": None, "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


@dataclasses.dataclass(frozen=True)
class ExportOptions:
    """How an export computes.

    Attributes:
      precision: of the network: float32, bfloat16 or float16.
      xla: whether XLA compiles the network, for each size of batch that comes.
      fixed_size: whether the signature `logits` takes images of the network's size only.
    """

    precision: str = "float32"
    xla: bool = False
    fixed_size: bool = False

    @property
    def keeps_maps(self) -> bool:
        """Returns whether maps are those of evaluation, to the last bit."""
        return self.precision == "float32" and not self.xla


PLAIN = ExportOptions()


def export_saved_model(
    model: KMaX,
    experiment: Experiment,
    output: str | os.PathLike[str],
    signatures: Sequence[str] = SIGNATURES,
    options: ExportOptions = PLAIN,
    images: Optional[Sequence[str | os.PathLike[str]]] = (),
) -> str:
    """Writes a SavedModel as the next version of a TensorFlow Serving folder.

    Before it appears there, it is tried: loaded in another process, it must give the maps that
    evaluation gives (`trial`).

    Args:
      model: with its weights restored.
      experiment: the resolved experiment; its eval_data says how images are fitted.
      output: folder of the versions; the first is OUTPUT/1.
      signatures: names of `ServingModel`'s that it has.
      options: how it computes.
      images: files for the trial; none: the first of the experiment's evaluation records, or made
        ones where there are no records. None: it isn't tried.

    Returns:
      The folder of the new version, which appears only when it is complete. Class names, colours
      and ids lie in its assets.extra/labels.json, the experiment and requests to warm a server up
      beside it; what servers read lies beside the versions (`server_files`).

    Raises:
      UserError: there is no such signature or precision, or the export failed its trial; then
        nothing is left behind.
      OutputError: the folder cannot be written.
    """
    return publish(model, experiment, output, signatures, options, images)[0]


def publish(
    model: KMaX,
    experiment: Experiment,
    output: str | os.PathLike[str],
    signatures: Sequence[str],
    options: ExportOptions,
    images: Optional[Sequence[str | os.PathLike[str]]],
) -> tuple[str, Optional[TrialReport]]:
    """Does what `export_saved_model` does; also returns what the trial found, if there was one."""
    unknown = [name for name in signatures if name not in SIGNATURES]
    if unknown:
        raise UserError(f"no signature {unknown[0]!r}; there are: {', '.join(SIGNATURES)}")
    if options.precision not in _POLICIES:
        raise UserError(f"no precision {options.precision!r}; there are: {', '.join(_POLICIES)}")
    tried = trial_images(experiment, images or ())
    labels = label_space(experiment.dataset)
    output = os.fspath(output)
    check_writable(output)
    target = os.path.join(output, str(next_version(output)))
    plain = Inference(experiment, model)
    computing = plain
    if options.precision != "float32":
        computing = Inference(experiment, model, precision=_POLICIES[options.precision])
    exported = computing.rewritten(functools.partial(with_constants, xla=options.xla))
    serving = ServingModel(exported, experiment, fixed_size=options.fixed_size)
    functions = {name: serving.signature(name) for name in signatures}
    requests = trial_requests(
        signatures,
        tried,
        serving.thresholds,
        plain.input_shape[:2] if options.fixed_size else None,
    )
    report = None
    try:
        with tempfile.TemporaryDirectory(prefix=".export-", dir=output) as scratch:
            unfinished = os.path.join(scratch, "model")
            # Without gradients of our own, which nobody could use.
            no_gradients = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
            tf.saved_model.save(serving.module, unfinished, functions, no_gradients)
            _write_extras(unfinished, experiment, serving.thresholds, requests)
            if images is not None:
                inferences = plain, plain if options.keeps_maps else exported
                report = _try(unfinished, inferences, serving.maps, tried, requests, labels)
            write_server_files(output, functions)
            os.rename(unfinished, target)
    except UserError:
        raise
    except (OSError, tf.errors.OpError) as error:
        raise OutputError(
            f"cannot write the export {target}: {error}; nothing was published"
        ) from error
    return target, report


def _write_extras(
    folder: str,
    experiment: Experiment,
    thresholds: Mapping[str, float],
    requests: Sequence[Request],
) -> None:
    """Writes what lies beside a SavedModel: classes, experiment, requests to warm up with."""
    labels = {**labels_as_json(label_space(experiment.dataset)), "thresholds": thresholds}
    os.makedirs(os.path.join(folder, "assets.extra"), exist_ok=True)
    write_atomically(os.path.join(folder, LABELS_FILE), json.dumps(labels, indent=1), own=True)
    text = experiment_text(experiment)
    write_atomically(os.path.join(folder, EXPERIMENT_FILE), text, own=True)
    first = {signature: inputs for signature, inputs in reversed(requests)}
    of_one = {
        signature: {name: x[:1] if x.ndim else x for name, x in inputs.items()}
        for signature, inputs in first.items()
    }
    write_warmup(folder, MODEL_NAME, of_one.items())


def _try(
    folder: str,
    inferences: tuple[Inference, Inference],
    maps: Sequence[str],
    images: Sequence[Image],
    requests: Sequence[Request],
    labels: LabelSpace,
) -> TrialReport:
    """Tries a version that isn't published yet.

    Args:
      folder: of the version.
      inferences: that of evaluation, and that whose maps the version must give: the same but for
        another precision.
      maps: names of the maps that it gives.
      images: to try it with.
      requests: of the images.
      labels: what ids mean.
    """
    plain, exported = inferences
    expectation, report = try_export(
        folder, requests, lambda: Expectation(exported, images, maps), labels
    )
    if exported is plain:
        return report
    same_classes, pq = agreement(expectation, Expectation(plain, images, ()), labels)
    return dataclasses.replace(report, same_classes=same_classes, pq=pq)


def next_version(output: str) -> int:
    """Returns one more than the largest version in a TensorFlow Serving folder."""
    versions = [int(name) for name in os.listdir(output) if re.fullmatch(r"\d+", name)]
    return max(versions, default=0) + 1
