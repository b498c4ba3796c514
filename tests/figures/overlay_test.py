"""Pictures of panoptic maps: colors, names, sizes, and that nothing is left to chance."""

import numpy as np
import pytest
from hypothesis import given, settings

from kmax_tf import figures
from kmax_tf.figures import overlay, text
from tests.figures.pictures import GREY, grey
from tests.processes import run_python
from tests.reference.panoptic_maps import (
    CAT_1,
    DIVISOR,
    DOG_1,
    DOG_2,
    DOG_CROWD,
    LABELS,
    ROADS,
    SKIES,
    VOID,
    pairs,
)


def quarters(*ids: int, size: int = 300) -> np.ndarray:
    return np.array(ids, np.int32).reshape(2, 2).repeat(size, axis=0).repeat(size, axis=1)


def draw(panoptic: np.ndarray, value: int = GREY) -> np.ndarray:
    return figures.draw_panoptic(grey(panoptic.shape, value), panoptic, LABELS)


def test_each_segment_shows_its_color():
    panoptic = quarters(DOG_1, DOG_2, ROADS, CAT_1)
    picture = draw(panoptic)
    assert picture.shape == (600, 600, 3)
    assert picture.dtype == np.uint8
    colors = figures.segment_colors(np.unique(panoptic), LABELS)
    assert colors[DOG_1] == LABELS.classes[0].color
    for panoptic_id, color in colors.items():
        inside = picture[panoptic == panoptic_id]
        expected = np.round(GREY + overlay.OPACITY * (np.array(color) - GREY))
        assert (inside == expected).all(axis=-1).mean() > 0.9


def test_edges_are_drawn_on_both_sides():
    panoptic = quarters(DOG_1, DOG_2, ROADS, CAT_1)
    picture = draw(panoptic)
    brightness = picture.mean(axis=-1)
    assert (brightness[100, 299:301] < brightness[100, [200, 400]]).all()


def test_unlabeled_pixels_are_dark_and_hatched():
    panoptic = quarters(VOID, DOG_1, DOG_1, DOG_1)
    picture = draw(panoptic, value=250)
    unlabeled = picture[:280, :280].mean(axis=-1)
    assert unlabeled.max() < 200
    assert len(np.unique(unlabeled)) == 2


def test_names_are_written_where_they_fit(monkeypatch):
    panoptic = quarters(DOG_1, DOG_2, ROADS, SKIES)
    panoptic[290:296, 100:104] = CAT_1
    named = draw(panoptic)
    monkeypatch.setattr(overlay, "draw_labels", lambda picture, labels: picture)
    plain = draw(panoptic)
    changed = (plain != named).any(axis=-1)
    for panoptic_id in (DOG_1, DOG_2, ROADS, SKIES):
        assert changed[panoptic == panoptic_id].sum() > 400
    assert not changed[panoptic == CAT_1].any()


def test_names_have_numbers_only_where_there_are_several():
    names = overlay.segment_names(np.array([ROADS, DOG_1, DOG_2, CAT_1, VOID, 8 * DIVISOR]), LABELS)
    assert names == {ROADS: "road", DOG_1: "dog 1", DOG_2: "dog 2", CAT_1: "cat"}
    assert overlay.segment_names(np.array([DOG_CROWD]), LABELS) == {DOG_CROWD: "dog (crowd)"}


@settings(max_examples=10, deadline=None)
@given(pairs())
def test_colors_are_distinct_and_pictures_repeat(pair):
    panoptic, _ = pair
    image = np.arange(panoptic.size * 3, dtype=np.uint8).reshape(*panoptic.shape, 3)
    colors = figures.segment_colors(np.unique(panoptic), LABELS)
    assert len(set(colors.values())) == len(colors)
    picture = figures.draw_panoptic(image, panoptic, LABELS)
    np.testing.assert_array_equal(picture, figures.draw_panoptic(image, panoptic, LABELS))


def test_many_instances_have_distinct_colors():
    ids = np.arange(DOG_1, DOG_1 + 99)
    colors = figures.segment_colors(ids, LABELS)
    assert len(set(colors.values())) == 99


@pytest.mark.parametrize(
    ("shape", "scale"),
    [
        ((96, 96), 5),
        ((129, 129), 4),
        ((480, 640), 1),
        ((420, 420), 1),
        ((1, 1), 420),
        ((2, 1500), 1),
    ],
)
def test_small_images_are_enlarged(shape, scale):
    assert overlay.scale_for(shape) == scale
    panoptic = np.full(shape, DOG_1, np.int32)
    picture = draw(panoptic)
    assert picture.shape == (shape[0] * scale, shape[1] * scale, 3)


def test_ids_of_no_class_are_drawn_as_unlabeled():
    panoptic = quarters(DOG_1, 8 * DIVISOR, 77 * DIVISOR, -5)
    expected = quarters(DOG_1, VOID, VOID + 1, VOID + 2)
    np.testing.assert_array_equal(draw(panoptic)[:100, 400:], draw(expected)[:100, 400:])


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 5, 3), np.uint8), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)],
)
def test_image_that_does_not_fit_is_an_error(image):
    with pytest.raises(ValueError, match="the image"):
        figures.draw_panoptic(image, np.zeros((4, 4), np.int32), LABELS)


def test_label_lies_inside_its_segment():
    mask = np.zeros((200, 300), bool)
    mask[20:60, 30:200] = True
    mask[60:180, 30:60] = True
    label = text.place_label(mask[20:], (20, 0), "something", 16, (10, 200, 30))
    assert label is not None
    box = mask[label.y : label.y + label.height, label.x : label.x + label.width]
    assert box.all()
    assert box.shape == (label.height, label.width)


def test_label_that_does_not_fit_is_left_out():
    mask = np.zeros((200, 300), bool)
    mask[20:180, 30:36] = True
    assert text.place_label(mask, (0, 0), "something", 16, (10, 200, 30)) is None


def test_pillow_without_freetype_has_one_small_font(monkeypatch):
    default = text.PIL.ImageFont.load_default

    def load_default_without_freetype(size=None):
        if size is not None:
            raise ImportError("The _imagingft C module is not installed")
        return default()

    monkeypatch.setattr(text.PIL.ImageFont, "load_default", load_default_without_freetype)
    text.font.cache_clear()
    try:
        assert text.text_size("road", 20)[0] > 10
    finally:
        text.font.cache_clear()


def test_tensorflow_is_not_needed():
    """Pictures are also drawn where there is no TensorFlow."""
    code = "import sys; sys.modules['tensorflow'] = None; import kmax_tf.figures"
    run_python("-c", code)
