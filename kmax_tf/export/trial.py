"""The trial of an export before it is published: alone, it must say what the evaluation says.

Images go to every signature, in a process that can't import this package (`trial_client`), and what
comes back is compared with what `Inference` makes of them here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import pickle
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from kmax_tf.config import Experiment
from kmax_tf.errors import UserError
from kmax_tf.evaluation.panoptic_quality import PanopticQuality
from kmax_tf.export.expectation import Expectation, Image
from kmax_tf.export.warmup import Request
from kmax_tf.files.decoding import decode_upright
from kmax_tf.files.opening import read_bytes
from kmax_tf.labels import LabelSpace
from kmax_tf.records.index import find_files
from kmax_tf.wording import count_of

# Of records, and of those that are made where there are none.
_NUM_IMAGES = 2
# Of another precision less is published no more: half of the segments are lost.
_LEAST_PQ = 50.0


@dataclasses.dataclass(frozen=True)
class TrialReport:
    """What the trial of an export found.

    Attributes:
      images: what they are, in words.
      megabytes: size of the version's folder.
      load_seconds: to load it, TensorFlow's own import not counted.
      first_seconds: from then to the first answer.
      milliseconds: an image takes, by signature, at the second call.
      same_classes: share of pixels that have the class that float32 gives them; None: it is
        float32 itself, and all maps are the same.
      pq: percent, of the panoptic maps against those of float32; None likewise.
    """

    images: str
    megabytes: float
    load_seconds: float
    first_seconds: float
    milliseconds: dict[str, float]
    same_classes: Optional[float] = None
    pq: Optional[float] = None

    def summary(self) -> str:
        """Returns lines for people."""
        times = ", ".join(f"{name} {value:.0f}" for name, value in self.milliseconds.items())
        kept = "the same maps as evaluation from every signature"
        if self.pq is not None and self.same_classes is not None:
            kept = (
                f"against float32, {100 * self.same_classes:.2f} % of pixels have the same class, "
                f"PQ {self.pq:.1f} of 100: {100 - self.pq:.1f} lost"
            )
        return (
            f"tried in a process of its own with {self.images}: {kept}\n"
            f"size: {self.megabytes:.1f} MB; loaded in {self.load_seconds:.1f} s, first answer "
            f"{self.first_seconds:.1f} s later\n"
            f"ms an image: {times}"
        )


def trial_images(experiment: Experiment, paths: Sequence[str | os.PathLike[str]]) -> list[Image]:
    """Returns images for a trial: those of files, else of the evaluation's records, else made.

    Args:
      experiment: whose eval_data have records, perhaps.
      paths: of image files.

    Raises:
      UserError: a file can't be read, or is no image that the export could decode.
    """
    images = []
    for encoded, name in [(read_bytes(path), path) for path in paths] or _found(experiment):
        problem, pixels = decode_upright(encoded)
        if problem != b"":
            raise UserError(f"cannot try the export with {name}: {problem.numpy().decode()}")
        images.append(Image(encoded, pixels.numpy()))
    return images


def _found(experiment: Experiment) -> list[tuple[bytes, str]]:
    data = experiment.eval_data
    with contextlib.suppress(UserError, tf.errors.OpError, KeyError, IndexError):
        records = tf.data.TFRecordDataset(find_files(data.records, experiment.data_dir))
        features = [
            tf.train.Example.FromString(record.numpy()).features.feature
            for record in records.take(_NUM_IMAGES)
        ]
        if features:
            return [(x["image/encoded"].bytes_list.value[0], "a record") for x in features]
    rng = np.random.default_rng(0)
    height, width = data.crop_size
    sizes = [(height, width * 3 // 4), (height * 2 // 3, width)]
    coarse = [rng.uniform(0, 255, (6, 6, 3)) for _ in sizes]
    made = [tf.cast(tf.image.resize(x, size), tf.uint8) for x, size in zip(coarse, sizes)]
    return [(tf.io.encode_png(image).numpy(), "a made image") for image in made]


def trial_requests(
    signatures: Sequence[str],
    images: Sequence[Image],
    thresholds: Mapping[str, float],
    fixed_size: Optional[tuple[int, int]],
) -> list[Request]:
    """Returns requests to each signature: of pixels one an image, of files one in all.

    Args:
      signatures: their names.
      images: to send.
      thresholds: those of the experiment, for `with_thresholds`.
      fixed_size: of the images that `logits` takes; None: any.
    """
    encoded = np.array([image.encoded for image in images], object)
    requests: list[Request] = []
    for name in signatures:
        if name in ("serving_default", "logits"):
            pixels = [image.pixels for image in images]
            if name == "logits" and fixed_size:
                pixels = [_resized(x, fixed_size) for x in pixels]
            requests += [(name, {"images": x[np.newaxis]}) for x in pixels]
        elif name == "with_thresholds":
            values = {key: np.array(value, np.float32) for key, value in thresholds.items()}
            requests.append((name, {"image_bytes": encoded, **values}))
        else:
            requests.append((name, {"image_bytes": encoded}))
    return requests


def _resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return tf.cast(tf.image.resize(pixels, size), tf.uint8).numpy()


@contextlib.contextmanager
def replies_of(export: str, requests: Sequence[Request]) -> Iterator[Any]:
    """Starts to send requests to an export, in another process; gives what waits for its answer.

    Args:
      export: folder of the version.
      requests: what to send.

    Yields:
      () -> the answer, as `trial_client` describes it.

    Raises:
      UserError: by the call: the export doesn't load, or a request fails.
    """
    client = pathlib.Path(__file__).with_name("trial_client.py").read_text("utf-8")
    with tempfile.TemporaryDirectory(prefix="kmax_trial_") as folder:
        asked, answered = (os.path.join(folder, name) for name in ("requests", "replies"))
        with open(asked, "wb") as file:
            pickle.dump(list(requests), file)
        process = subprocess.Popen(
            [sys.executable, "-c", client, export, asked, answered],
            stderr=subprocess.PIPE,
            text=True,
        )

        def wait() -> Any:
            _, said = process.communicate()
            if process.returncode:
                last = said.strip().splitlines()[-1:] or [f"exit status {process.returncode}"]
                raise UserError(
                    f"the export doesn't work in a process of its own: {last[0]}; nothing was "
                    "published"
                )
            with open(answered, "rb") as file:
                return pickle.load(file)

        try:
            yield wait
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()


def try_export(
    export: str,
    requests: Sequence[Request],
    expect: Callable[[], Expectation],
    labels: LabelSpace,
) -> tuple[Expectation, TrialReport]:
    """Tries an export.

    Args:
      export: folder of the version.
      requests: of `trial_requests`.
      expect: makes what is expected; called while the export is loaded.
      labels: what ids mean.

    Returns:
      What was expected, and what was found.

    Raises:
      UserError: it doesn't load, or answers otherwise than expected.
    """
    with replies_of(export, requests) as wait:
        expectation = expect()
        answer = wait()
    seconds: dict[str, list[float]] = {}
    for request, (reply, took) in zip(requests, answer["replies"]):
        signature, inputs = request
        count = len(next(iter(inputs.values())))
        before = seconds.setdefault(signature, [])
        expectation.compare(request, reply, len(before), labels)
        before += [took / count] * count
    files = [path for path in pathlib.Path(export).rglob("*") if path.is_file()]
    return expectation, TrialReport(
        images=count_of(len(expectation.maps), "image"),
        megabytes=sum(path.stat().st_size for path in files) / 1e6,
        load_seconds=answer["load_seconds"],
        first_seconds=answer["first_seconds"],
        milliseconds={name: 1e3 * statistics.mean(took) for name, took in seconds.items()},
    )


def agreement(
    expected: Expectation, reference: Expectation, labels: LabelSpace
) -> tuple[float, float]:
    """Compares the maps of another precision with those of float32.

    Returns:
      The share of pixels of one class, and PQ in percent.

    Raises:
      UserError: so little is left that it can't be meant.
    """
    quality = PanopticQuality(labels)
    same = total = 0
    for said, true in zip(expected.maps, reference.maps):
        quality.update(true["panoptic"], said["panoptic"])
        classes = [maps["panoptic"] // labels.label_divisor for maps in (said, true)]
        same += int((classes[0] == classes[1]).sum())
        total += classes[0].size
    result = quality.result()
    pq = 100 * float(np.nan_to_num(result.average(result.pq)["all"], nan=1.0))  # no segments at all
    if pq < _LEAST_PQ:
        raise UserError(
            f"of the segments that float32 gives, little is left: PQ {pq:.1f} of 100; nothing was "
            "published. Export in float32, or in bfloat16, whose numbers overflow no sooner"
        )
    return same / total, pq
