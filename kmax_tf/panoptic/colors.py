"""The colors of segments: a class has a color, its instances shades of it."""

from __future__ import annotations

import colorsys
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from kmax_tf.labels import LabelSpace

Color = tuple[int, int, int]

# How far the shades of a class go from its color: in hue (turns) and in lightness.
_HUE_SPREAD = 0.05
_LIGHTNESS_SPREAD = 0.36
# Steps of a sequence that fills the plane evenly, however many shades are taken (Roberts 2018, "The
# unreasonable effectiveness of quasirandom sequences").
_STEP_HUE, _STEP_LIGHTNESS = 0.7548776662, 0.5698402910


def segment_colors(panoptic_ids: np.ndarray, labels: LabelSpace) -> dict[int, Color]:
    """Chooses a color for each segment of an image; no two are the same.

    The first instance of a class has the class's own color. Depends on nothing but the ids present.

    Args:
      panoptic_ids: [S] the ids of the image's segments; those of no class are left out.
      labels: the classes and their colors.
    """
    colors: dict[int, Color] = {}
    taken: set[Color] = set()
    shades: dict[int, int] = {}
    for panoptic_id in sorted({int(i) for i in panoptic_ids}):
        class_id = panoptic_id // labels.label_divisor
        index = class_index(class_id, labels)
        if index < 0:
            continue
        number = shades.get(class_id, 0)
        color = _shade(labels.classes[index].color, number)
        while color in taken:
            number += 1
            color = _shade(labels.classes[index].color, number)
        shades[class_id] = number + 1
        taken.add(color)
        colors[panoptic_id] = color
    return colors


def class_index(class_id: int, labels: LabelSpace) -> int:
    """Returns the index of a class; -1 for the ignore label and for ids of no class."""
    table = labels.class_index_of_id
    return int(table[class_id]) if 0 <= class_id < len(table) else -1


def darken(color: Color, share: float) -> Color:
    """Scales a color towards black: 0 leaves it, 1 makes it black."""
    red, green, blue = (round(channel * (1 - share)) for channel in color)
    return red, green, blue


def _shade(color: Color, number: int) -> Color:
    """Returns the shade of a class's color for its instance of that number (0: the color)."""
    if number == 0:
        return color
    hue, lightness, saturation = colorsys.rgb_to_hls(*(channel / 255 for channel in color))
    hue += _HUE_SPREAD * 2 * ((number * _STEP_HUE) % 1 - 0.5)
    # Between nearly black and nearly white, the whole spread on whichever side has room.
    low = min(max(lightness - _LIGHTNESS_SPREAD / 2, 0.2), 0.85 - _LIGHTNESS_SPREAD)
    lightness = low + _LIGHTNESS_SPREAD * ((0.5 + number * _STEP_LIGHTNESS) % 1)
    red, green, blue = colorsys.hls_to_rgb(hue % 1, lightness, saturation)
    return round(red * 255), round(green * 255), round(blue * 255)
