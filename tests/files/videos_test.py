"""Videos: what is written is read, and what is damaged is told."""

from __future__ import annotations

import itertools
import sys

import cv2
import numpy as np
import pytest

from kmax_tf.errors import BadExampleError, OutputError, UserError
from kmax_tf.files import videos
from kmax_tf.files.videos import open_video, write_video


def frames(count, size=(32, 48)):
    """Frames that are one color each, from red to blue."""
    for share in np.linspace(0, 1, count):
        yield np.full((*size, 3), (255 * (1 - share), 40, 255 * share), np.uint8)


def read(path, numbers=None):
    with open_video(str(path)) as video:
        wanted = numbers or itertools.count()
        return list(itertools.takewhile(lambda x: x is not None, map(video.read, wanted)))


def test_frames_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "a" / "b.mp4"
    write_video(path, frames(12), 12.5)
    with open_video(str(path)) as video:
        assert video.timing == (12, 12.5)
    found = read(path)
    assert len(found) == 12
    for frame, written in zip(found, frames(12)):
        assert frame.dtype == np.uint8
        assert np.abs(frame.astype(int) - written).mean() < 8
    later = read(path, [3, 9])
    assert np.array_equal(later, [found[3], found[9]])
    assert [p.name for p in path.parent.iterdir()] == ["b.mp4"]


def test_a_row_and_a_column_are_added_to_odd_sizes(tmp_path):
    write_video(tmp_path / "a.mp4", frames(3, (33, 47)), 25)
    assert read(tmp_path / "a.mp4")[0].shape == (34, 48, 3)


def test_a_video_may_be_remote(tmp_path):
    write_video(f"file://{tmp_path}/a.mp4", frames(3), 25)
    assert len(read(f"file://{tmp_path}/a.mp4")) == 3


@pytest.mark.parametrize("content", [b"", b"no video", b"\0\0\0\x18ftypmp42" + bytes(99)])
def test_what_is_no_video_is_told(content, tmp_path):
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(BadExampleError, match=r"cannot decode the video .*a\.mp4; copy"):
        read(tmp_path / "a.mp4")
    with pytest.raises(BadExampleError, match="there is no such file"):
        read(tmp_path / "b.mp4")


def test_a_video_that_ends_too_early_is_told_behind_its_last_frame(tmp_path):
    path = tmp_path / "a.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25.0, (48, 32))
    for frame in frames(30):
        writer.write(frame)
    writer.release()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with open_video(str(path)) as video:
        numbers = iter(itertools.count())
        with pytest.raises(BadExampleError, match=r"up to frame \d+ of 30"):
            list(map(video.read, numbers))
        told = next(numbers)
        assert 1 < told < 25
        assert video.read(told) is None  # it is told once


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(videos.Video, "timing", videos.Timing(2, 25.0), raising=False)
    monkeypatch.setattr(videos.Video, "__init__", lambda *_: None)
    with pytest.raises(OutputError, match=r"2 of 5 frames could be written; is the disk full\?"):
        write_video(tmp_path / "a.mp4", frames(5), 25)
    assert not list(tmp_path.iterdir())


def test_without_opencv_it_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UserError, match=r"pip install 'kmax-tf\[video\]'"):
        read(tmp_path / "a.mp4")
