"""Frames of video files, read and written with OpenCV (the extra `video`)."""

from __future__ import annotations

import contextlib
import itertools
import os
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any, NamedTuple, Optional

import numpy as np

from kmax_tf.errors import BadExampleError, OutputError, UserError
from kmax_tf.files.opening import MAX_PIXELS
from kmax_tf.files.reading import is_file
from kmax_tf.files.writing import PathLike, is_remote, write_atomically
from kmax_tf.wording import count_of

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm"),
    *(".mpg", ".mpeg", ".ogv", ".wmv", ".flv", ".3gp"),
)
# MPEG-4, which every build of OpenCV can write.
_CODEC = "mp4v"
# Containers that don't count frames are taken by length and rate, which may be a few off.
_MISCOUNTED, _SHARE_MISCOUNTED = 2, 0.02


class Timing(NamedTuple):
    """Of a video: frames, as many as it declares, 0 if it doesn't; and frames a second."""

    frames: int
    rate: float


class Video:
    """The frames of a video, one after another.

    Attributes:
      timing: as the file declares it.
    """

    def __init__(self, path: str, capture: Any):
        """Takes what OpenCV opened; use `open_video`."""
        import cv2

        self._path, self._capture = path, capture
        self._next, self._ended = 0, False
        frames, rate = (capture.get(code) for code in (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FPS))
        self.timing = Timing(max(0, int(frames)), rate if 0 < rate < 1000 else 25.0)

    def read(self, number: int) -> Optional[np.ndarray]:
        """Reads a frame, [H, W, 3] uint8 RGB, upright; None behind the last one and an error.

        Args:
          number: from 0 on; larger than that of the frame before.

        Raises:
          BadExampleError: it is too large, or frames are missing.
        """
        there = not self._ended
        while there and self._next < number:
            there = self._capture.grab()
            self._next += there
        there, frame = self._capture.read() if there else (False, None)
        self._next += there
        if frame is not None and frame.shape[0] * frame.shape[1] <= MAX_PIXELS:
            return np.ascontiguousarray(frame[..., ::-1])
        if not self._ended:
            self._ended = True
            self._check_end(too_large=there)
        return None

    def _check_end(self, too_large: bool) -> None:
        if too_large:
            raise BadExampleError(f"the frames of {self._path} have more than {MAX_PIXELS} pixels")
        declared = self.timing.frames
        missing = declared - self._next
        if missing > max(_MISCOUNTED, _SHARE_MISCOUNTED * declared):
            raise BadExampleError(
                f"{self._path} can be read up to frame {self._next} of {declared}; copy or "
                "download it again"
            )


@contextlib.contextmanager
def open_video(path: str) -> Iterator[Video]:
    """Opens a video for a while; a remote one is copied to this machine first.

    Raises:
      UserError: OpenCV is not installed.
      BadExampleError: the video is missing, or cannot be decoded.
    """
    cv2 = _opencv()
    if not is_file(path):
        raise BadExampleError(f"cannot read {path}: there is no such file")
    with tempfile.TemporaryDirectory(prefix="kmax_video_") as folder:
        local = path
        if is_remote(path):
            import tensorflow as tf

            local = os.path.join(folder, "video" + os.path.splitext(path)[1])
            tf.io.gfile.copy(path, local)
        capture = cv2.VideoCapture(local)
        try:
            if not capture.isOpened():
                raise BadExampleError(
                    f"cannot decode the video {path}; copy or download it again, or convert it to "
                    "MP4 (H.264)"
                )
            yield Video(path, capture)
        finally:
            capture.release()


def write_video(path: PathLike, frames: Iterator[np.ndarray], rate: float) -> None:
    """Writes an MP4, whole or not at all.

    Args:
      path: of the video.
      frames: [H, W, 3] uint8 RGB, at least one, all of one size.
      rate: frames a second.

    Raises:
      OutputError: it can't be written.
    """
    cv2 = _opencv()
    first = _even(next(frames))
    height, width, _ = first.shape
    # Beside the result, where there is room for it, unless that is remote.
    beside = None if is_remote(path) else os.path.dirname(os.path.abspath(path))
    if beside is not None:
        os.makedirs(beside, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".video-", dir=beside) as folder:
        unfinished = os.path.join(folder, "video.mp4")
        codec = cv2.VideoWriter_fourcc(*_CODEC)
        writer = cv2.VideoWriter(unfinished, codec, rate, (width, height))
        count = 0
        for frame in itertools.chain([first], frames):
            writer.write(np.ascontiguousarray(_even(frame)[..., ::-1]))
            count += 1
        writer.release()
        with open_video(unfinished) as video:  # OpenCV says nothing of a full disk
            written = video.timing.frames
        if written != count:
            raise OutputError(
                f"cannot write the video {os.fspath(path)}: {written} of "
                f"{count_of(count, 'frame')} could be written; is the disk full?"
            )
        write_atomically(path, pathlib.Path(unfinished).read_bytes())


def _even(frame: np.ndarray) -> np.ndarray:
    """Repeats the last row and column of an odd number, which the codec would leave out."""
    height, width, _ = frame.shape
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), "edge")


def _opencv() -> Any:
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # what it says of bad files, we do
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    try:
        import cv2
    except ImportError as error:
        raise UserError(
            f"OpenCV, which reads videos, cannot be imported ({error}); "
            "pip install 'kmax-tf[video]'"
        ) from error
    return cv2
