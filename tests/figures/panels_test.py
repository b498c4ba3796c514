"""Sheets of several pictures, the map of errors and the legend."""

import numpy as np
import pytest

from kmax_tf import figures
from tests.figures.pictures import SIZE, grey, stripes
from tests.reference.panoptic_maps import (
    CAT,
    CAT_1,
    DOG,
    DOG_1,
    DOG_2,
    DOG_CROWD,
    LABELS,
    ROAD,
    ROADS,
    SKY,
    UNLABELED,
    VOID,
)


def column_of_errors(truth: int, prediction: int) -> np.ndarray:
    """Draws the errors of a stripe beside road, and returns the color in its middle."""
    picture = figures.draw_errors(grey(), stripes(truth, ROADS), stripes(prediction, ROADS), LABELS)
    return picture[SIZE // 2, SIZE // 4].astype(int)


def is_red(color: np.ndarray) -> bool:
    return bool(color[0] > color[1] + 60 and abs(color[1] - color[2]) < 20)


def test_right_pixels_are_grey():
    color = column_of_errors(DOG_1, DOG_2)
    assert color[0] == color[1] == color[2]


@pytest.mark.parametrize("prediction", [CAT_1, ROADS, VOID])
def test_wrong_classes_are_red(prediction):
    assert is_red(column_of_errors(DOG_1, prediction))


def test_crowd_is_right_in_any_segment_of_its_class():
    color = column_of_errors(DOG_CROWD, DOG_1)
    assert color[0] == color[1] == color[2]
    assert is_red(column_of_errors(DOG_CROWD, CAT_1))


def test_other_instance_is_orange():
    truth = stripes(DOG_1, DOG_1, DOG_1, ROADS)
    prediction = stripes(DOG_1, DOG_1, DOG_2, ROADS)
    picture = figures.draw_errors(grey(), truth, prediction, LABELS)[SIZE // 2].astype(int)
    first, third = picture[SIZE // 8], picture[5 * SIZE // 8]
    assert first[0] == first[1] == first[2]
    assert third[0] > third[1] > third[2] + 30


def test_sheets_hold_their_pictures():
    panoptic = stripes(DOG_1, ROADS)
    image = grey()
    sheet = figures.side_by_side(image, panoptic, panoptic, LABELS)
    assert sheet.dtype == np.uint8
    assert sheet.shape[1] > 3 * SIZE
    assert SIZE < sheet.shape[0] < 1.2 * SIZE
    drawn = figures.draw_panoptic(image, panoptic, LABELS)
    windows = [sheet[-drawn.shape[0] - 8 : -8, left:][:, :SIZE] for left in (8, 456, 904)]
    np.testing.assert_array_equal(windows[0], image)
    np.testing.assert_array_equal(windows[1], drawn)
    np.testing.assert_array_equal(windows[2], drawn)


def test_sheet_with_errors_and_a_legend():
    truth, prediction = stripes(DOG_1, ROADS), stripes(CAT_1, ROADS)
    sheet = figures.side_by_side(grey(), truth, prediction, LABELS, errors=True)
    assert sheet.shape[0] > 2 * SIZE
    assert sheet.shape[1] < 3 * SIZE
    errors = figures.draw_errors(grey(), truth, prediction, LABELS)
    column = sheet[:, SIZE + 16 : 2 * SIZE + 16]
    below = range(SIZE, len(column) - SIZE)
    assert any(np.array_equal(column[top : top + SIZE], errors) for top in below)
    in_legend = {tuple(color) for color in sheet[-30:].reshape(-1, 3).tolist()}
    assert {LABELS.classes[0].color, LABELS.classes[1].color, (226, 32, 44)} <= in_legend


def test_wide_images_stand_in_a_column():
    panoptic = np.full((440, 900), ROADS, np.int32)
    sheet = figures.side_by_side(grey(panoptic.shape), panoptic, panoptic, LABELS)
    assert sheet.shape[0] > 3 * 440
    assert sheet.shape[1] < 2 * 900


def test_maps_of_another_size_are_an_error():
    with pytest.raises(ValueError, match="panoptic map"):
        figures.side_by_side(grey(), stripes(DOG_1)[:9], stripes(DOG_1), LABELS)


def test_legend_shows_colors_of_classes_present():
    legend = figures.draw_legend(LABELS, [SKY, DOG, DOG, UNLABELED])
    assert legend.shape[1] == 960
    colors = {tuple(color) for color in legend.reshape(-1, 3).tolist()}
    present = {category.color for category in LABELS.classes if category.id in (SKY, DOG)}
    absent = {category.color for category in LABELS.classes if category.id in (CAT, ROAD)}
    assert present <= colors
    assert not absent & colors


def test_legend_takes_as_many_lines_as_it_needs():
    ids = [DOG, CAT, ROAD, SKY]
    heights = [len(figures.draw_legend(LABELS, ids, width)) for width in (960, 200, 10)]
    assert heights[0] < heights[1] < heights[2]
