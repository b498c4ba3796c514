"""The arithmetic of sides."""

from __future__ import annotations

import pytest

from kmax_tf import grids
from kmax_tf.errors import UserError


@pytest.mark.parametrize("stride", [2, 4, 8, 16, 32])
def test_valid_sides_have_their_last_pixel_on_every_grid(stride):
    for k in range(1, 60):
        side = 32 * k + 1
        assert grids.is_valid_side(side)
        points = grids.grid_side(side, stride)
        assert list(range(0, side, stride))[-1] == side - 1
        assert points == len(range(0, side, stride))
        assert grids.image_side(points, stride) == side
        assert grids.stride_between((side, 33), (points, grids.grid_side(33, stride))) == stride


@pytest.mark.parametrize(
    ("side", "near"),
    [
        (1, [33]),
        (32, [33]),
        (33, [33]),
        (34, [33, 65]),
        (640, [609, 641]),
        (641, [641]),
        (642, [641, 673]),
    ],
)
def test_valid_sides_near(side, near):
    assert grids.valid_sides_near(side) == near
    assert grids.valid_side_that_holds(side) == near[-1]
    assert grids.is_valid_side(side) == (side in near)


@pytest.mark.parametrize("side", [1, 16, 32, 34, 640])
def test_other_sizes_are_refused_with_the_nearest(side):
    for shape in ([1, side, 33, 3], [None, None, side, 3]):
        with pytest.raises(UserError, match=str(grids.valid_sides_near(side)[0])):
            grids.check_image_size(shape)
    grids.check_image_size([None, 33, None, 3])


@pytest.mark.parametrize(
    ("side", "scale", "expected"), [(641, 0.5, 321), (641, 0.52, 321), (33, 0.1, 33), (65, 2, 129)]
)
def test_scaled_sides_are_the_nearest_of_the_form(side, scale, expected):
    assert grids.valid_scaled_side(side, scale) == expected
