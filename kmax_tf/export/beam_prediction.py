"""Prediction as an Apache Beam pipeline over an export: Dataflow, Flink, Spark, ... run it.

Workers need this package, the export, the images and the output: local paths serve on one machine,
others (gs://, a shared folder) on many.
"""

from __future__ import annotations

import collections
import functools
import shlex
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Optional, Union

import apache_beam as beam
import numpy as np
from apache_beam.ml.inference.base import ModelHandler, RunInference
from apache_beam.options.pipeline_options import PipelineOptions

from kmax_tf.errors import BadExampleError, UserError
from kmax_tf.export.pipeline import Computed, Outcome
from kmax_tf.export.predictor import Predictor, load_predictor
from kmax_tf.export.results import Picture, Results
from kmax_tf.files.images import decode_upright_image
from kmax_tf.files.opening import read_bytes
from kmax_tf.files.ownership import check_free

Encoded = tuple[Picture, Union[bytes, BadExampleError]]
Predicted = tuple[Picture, Union[Computed, BadExampleError]]


def predict_with_beam(
    pictures: Sequence[Picture],
    model: str,
    needed: Collection[str],
    results: Results,
    flags: str,
    batch_size: int,
) -> Iterator[tuple[Picture, Outcome]]:
    """Predicts images in a pipeline; yields each with what became of it.

    Args:
      pictures: image files.
      model: folder of the export.
      needed: what is needed of a prediction.
      results: where they go.
      flags: Beam's options as on a command line, such as "--runner=FlinkRunner ...".
      batch_size: images at most that a worker takes at once.

    Raises:
      UserError: the pipeline left an image out.
      OutputError: a file is in the way of a result.
    """
    left = []
    for picture in pictures:
        before = results.find(picture)
        if before is None:
            left.append(picture)
        else:
            yield picture, before
    check_free(path for picture in left for path in results.paths(picture))
    with beam.Pipeline(options=PipelineOptions(shlex.split(flags))) as pipeline:
        # Notes carry what was written, so nothing has to come back through the pipeline.
        _ = (
            pipeline
            | beam.Create(left)
            | beam.Reshuffle()
            | "Read" >> beam.Map(_read)
            | RunInference(_Handler(model, needed, batch_size))
            | "Write" >> beam.Map(functools.partial(_write, results))
        )
    for picture in left:
        outcome = results.collect(picture)
        if outcome is None:
            raise UserError(f"no worker wrote the results of {picture.path}")
        yield picture, outcome


class _Handler(ModelHandler[Encoded, Predicted, Predictor]):
    """Has the export segment encoded images, whose sizes may differ."""

    def __init__(self, model: str, needed: Collection[str], batch_size: int):
        super().__init__()
        self._model, self._needed = model, needed
        self._batching = {"min_batch_size": 1, "max_batch_size": batch_size}

    def load_model(self) -> Predictor:
        return load_predictor(self._model, self._needed)

    def run_inference(
        self,
        batch: Sequence[Encoded],
        model: Predictor,
        inference_args: Optional[dict[str, Any]] = None,
    ) -> Iterator[Predicted]:
        by_size: dict[tuple[int, ...], list[tuple[Picture, np.ndarray]]]
        by_size = collections.defaultdict(list)
        for picture, encoded in batch:
            try:
                if isinstance(encoded, BadExampleError):
                    raise encoded
                image = decode_upright_image(encoded, picture.path)
                by_size[image.shape].append((picture, image))
            except BadExampleError as error:
                yield picture, error
        for several in by_size.values():
            predictions = model.batch([image for _, image in several])
            for (picture, image), prediction in zip(several, predictions):
                yield picture, Computed(image, prediction)

    def batch_elements_kwargs(self) -> dict[str, int]:
        return self._batching


def _read(picture: Picture) -> Encoded:
    try:
        return picture, read_bytes(picture.path)
    except BadExampleError as error:
        return picture, error


def _write(results: Results, predicted: Predicted) -> None:
    picture, what = predicted
    if isinstance(what, Computed):
        results.write(picture, *what)
    else:
        results.fail(picture, what)
