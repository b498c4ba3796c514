"""Prediction of videos, frame after frame: as pictures, or as a video of overlays."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Iterator
from typing import Callable

import numpy as np
import tensorflow as tf

from kmax_tf.errors import BadExampleError
from kmax_tf.export.pipeline import Outcome, predict_pictures
from kmax_tf.export.predictor import Predictor
from kmax_tf.export.results import Finished, Picture, Results
from kmax_tf.files.images import read_image
from kmax_tf.files.videos import Video, open_video, write_video

# Overlays of frames lie in it until they are a video.
_FRAMES = ".frames"
Expect = Callable[[int], None]
Outcomes = Iterator[tuple[Picture, Outcome]]


def predict_frames(
    video: Picture, predictor: Predictor, results: Results, batch_size: int, expect: Expect
) -> Outcomes:
    """Predicts each frame as a picture, NAME/000000 and so on; yields what became of them.

    Args:
      video: its read is not used.
      predictor: of the model.
      results: where frames' results go.
      batch_size: frames at most that the model gets at once.
      expect: is told how many frames there will be.
    """
    try:
        with open_video(video.path) as opened:
            expect(opened.timing.frames)
            frames = _frames(video, f"{video.name}/", opened)
            yield from predict_pictures(frames, predictor, results, batch_size)
    except BadExampleError as error:
        expect(1)
        yield video, error


def predict_overlay(
    video: Picture, predictor: Predictor, results: Results, batch_size: int, expect: Expect
) -> Outcomes:
    """Makes a video of overlays, NAME_overlay.mp4; yields what became of the frames.

    They are kept until the video is whole, so that an interrupted command goes on.

    Args:
      video: its read is not used.
      predictor: of the model.
      results: where the video goes; of the kind "video".
      batch_size: frames at most that the model gets at once.
      expect: is told how many frames there will be.
    """
    before = results.find(video)
    if before is not None:
        expect(1)
        yield video, before
        return
    scratch = os.path.join(results.folder, _FRAMES, video.name)
    overlays = Results(scratch, ["frame"], predictor.labels, predictor.identity)
    numbers: list[int] = []
    whole = True
    try:
        with open_video(video.path) as opened:
            timing = opened.timing
            expect(timing.frames)
            frames = _frames(video, "", opened)
            for frame, outcome in predict_pictures(frames, predictor, overlays, batch_size):
                if isinstance(outcome, Finished):
                    numbers.append(frame.place[-1])
                else:
                    whole = False
                yield frame, outcome
    except BadExampleError as error:
        expect(1)
        yield video, error
        return
    if numbers:
        pictures = (read_image(f"{scratch}/{number:06d}.jpg") for number in sorted(numbers))
        write_video(
            os.path.join(results.folder, f"{video.name}_overlay.mp4"), pictures, timing.rate
        )
        if whole:
            results.finish(video, {})
        tf.io.gfile.rmtree(scratch)


def _frames(video: Picture, prefix: str, opened: Video) -> Iterator[Picture]:
    for number in itertools.count():
        name = f"{prefix}{number:06d}"
        read: Callable[[], np.ndarray | None] = functools.partial(opened.read, number)
        yield Picture((*video.place, number), video.path, name, name, read)
