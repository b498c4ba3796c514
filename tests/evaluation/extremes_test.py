"""The worst and the best images (that order and splits don't matter: metrics_test.py)."""

from __future__ import annotations

from kmax_tf.evaluation.extremes import Extremes
from kmax_tf.evaluation.panoptic_quality import ImageQuality


def collect(images, count=3) -> Extremes:
    extremes = Extremes(count)
    for image_id, quality in images:
        extremes.offer(image_id, quality)
    return extremes


def test_worst_and_best():
    images = [(f"{n}", ImageQuality(n / 10, 1, 0, 0)) for n in (3, 9, 1, 5, 7, 2, 8, 4, 6)]
    extremes = collect(images)
    assert [image.image_id for image in extremes.worst()] == ["1", "2", "3"]
    assert [image.image_id for image in extremes.best()] == ["9", "8", "7"]
    assert "2" in extremes
    assert "5" not in extremes


def test_no_image_of_a_small_set_is_shown_twice():
    images = [(n, ImageQuality(n / 10, 1, 0, 0)) for n in range(4)]
    extremes = collect(images)
    shown = [image.image_id for image in (*extremes.worst(), *extremes.best())]
    assert sorted(shown) == [0, 1, 2, 3]
    assert [image.image_id for image in extremes.best()] == [3, 2]


def test_images_without_segments_are_left_out():
    extremes = collect([("nothing", ImageQuality(0.0, 0, 0, 0))])
    assert extremes.worst() == extremes.best() == []
