"""Sides of images and of their grids, with aligned corners: plain numbers, or tensors of them.

The grid of stride s of an image has its pixels 0, s, 2s and so on. Where all strides up to 32 are
to have the last pixel as well, so that corners stay aligned, sides have the form 32k + 1: 1281
becomes 641, 321, 161, 81, 41.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

from kmax_tf.errors import UserError

COARSEST_STRIDE = 32
SMALLEST_SIDE = COARSEST_STRIDE + 1


def grid_side(side: Any, stride: int) -> Any:
    """Returns how many pixels the grid of a stride has along a side."""
    return (side - 1) // stride + 1


def image_side(side: Any, stride: int) -> Any:
    """Returns the side of the image whose grid of a stride has that side: undoes `grid_side`."""
    return (side - 1) * stride + 1


def stride_between(image: Sequence[int], grid: Sequence[int]) -> int:
    """Returns the stride of a grid of an image, given height and width of both.

    Raises:
      UserError: it is no grid of it.
    """
    stride = max((side - 1) // max(points - 1, 1) for side, points in zip(image, grid))
    if [image_side(points, stride) for points in grid] != list(image):
        whole, part = (f"{height} x {width}" for height, width in (image, grid))
        raise UserError(
            f"Of {whole} pixels, {part} cannot be taken at equal distances: use images with sides "
            "of the form 32k + 1."
        )
    return stride


def is_valid_side(side: int) -> bool:
    """Tells whether a side has the form 32k + 1."""
    return side >= SMALLEST_SIDE and side % COARSEST_STRIDE == 1


def valid_sides_near(side: int) -> list[int]:
    """Returns the nearest sides of that form: below and above; the same or the smallest alone."""
    below = image_side(max(grid_side(side, COARSEST_STRIDE), 2), COARSEST_STRIDE)
    return [below] if side <= below else [below, below + COARSEST_STRIDE]


def valid_side_that_holds(side: int) -> int:
    """Returns the smallest side of that form that isn't below another."""
    return valid_sides_near(side)[-1]


def valid_scaled_side(side: int, scale: float) -> int:
    """Returns the side of that form that is nearest to a factor times another of it."""
    steps = max(round((side - 1) * scale / COARSEST_STRIDE), 1)
    return image_side(steps + 1, COARSEST_STRIDE)


def check_image_size(shape: Sequence[Optional[int]]) -> None:
    """Checks the sides of images [B, H, W, C] that are known.

    Raises:
      UserError: naming the nearest valid sizes.
    """
    for axis, side in zip(("height", "width"), shape[1:3]):
        if side is not None and not is_valid_side(side):
            below = valid_sides_near(side)[0]
            raise UserError(
                f"The image {axis} is {side}, but the model takes sizes of the form 32k + 1: the "
                f"nearest are {below} and {below + COARSEST_STRIDE}. Pad the image (with 127.5) or "
                "resize it."
            )
