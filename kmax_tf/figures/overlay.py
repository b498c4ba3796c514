"""A panoptic map drawn over its image."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image
import scipy.ndimage

from kmax_tf.figures.text import Label, draw_labels, place_label
from kmax_tf.panoptic.colors import Color, class_index, segment_colors
from kmax_tf.panoptic.runs import find_runs

if TYPE_CHECKING:
    from kmax_tf.labels import LabelSpace

# Smaller images are enlarged to about this short side, so that names can be read.
_SHORT_SIDE = 480
_LONGEST_SIDE = 2048

# Share of a segment's color over the image; the image below is drained of this share of its color.
OPACITY = 0.55
GRAYING = 0.6
_EDGE_OPACITY = 0.85
_UNLABELED = np.array([54, 56, 60], np.float32)
_HATCH = np.array([128, 131, 136], np.float32)


def draw_panoptic(image: np.ndarray, panoptic: np.ndarray, labels: LabelSpace) -> np.ndarray:
    """Draws segments over their image: colored, outlined and named.

    Unlabeled pixels are dark and hatched. Names have instance numbers where a class has several
    instances; those that don't fit into their segment are left out.

    Args:
      image: [H, W, 3] uint8.
      panoptic: [H, W] integer panoptic map.
      labels: the classes, their names and colors.

    Returns:
      [s H, s W, 3] uint8; s is a whole number, 1 unless the image is small (`scale_for`).

    Raises:
      ValueError: the image and the map don't fit together.
    """
    require_same_size(image, panoptic)
    scale = scale_for(panoptic.shape)
    canvas = enlarge_image(image, scale).astype(np.float32)
    runs = find_runs(panoptic)
    present, index = runs.values, enlarge_map(runs.places(), scale)
    colors = segment_colors(present, labels)

    labeled = np.array([int(i) in colors for i in present], bool)[index]
    table = np.array([colors.get(int(i), (0, 0, 0)) for i in present], np.float32)
    color = table.reshape(-1, 3).take(index, axis=0)  # [H, W, 3]
    red, green, blue = np.moveaxis(canvas, -1, 0)
    canvas += GRAYING * (((red + green + blue) / 3)[..., np.newaxis] - canvas)
    picture = canvas + OPACITY * (color - canvas)
    hatch(picture, canvas, ~labeled)
    _outline(picture, index, labeled, color)
    picture = np.clip(np.rint(picture, out=picture), 0, 255, out=picture).astype(np.uint8)
    return draw_labels(picture, _labels(present, index, labels, colors))


def scale_for(shape: tuple[int, ...]) -> int:
    """Returns by how much an image [H, W] is enlarged for drawing."""
    short, long = min(shape[:2]), max(shape[:2])
    # Up to an eighth below the aim is good enough to keep the size.
    wanted = -(-_SHORT_SIDE * 7 // (8 * max(short, 1)))
    return max(1, min(wanted, _LONGEST_SIDE // max(long, 1)))


def enlarge_image(image: np.ndarray, scale: int) -> np.ndarray:
    """Enlarges an image [H, W, 3] uint8 smoothly."""
    if scale == 1:
        return image
    size = (image.shape[1] * scale, image.shape[0] * scale)
    return np.asarray(PIL.Image.fromarray(image).resize(size, PIL.Image.Resampling.BICUBIC))


def enlarge_map(values: np.ndarray, scale: int) -> np.ndarray:
    """Enlarges a map [H, W] without inventing values."""
    return values.repeat(scale, axis=0).repeat(scale, axis=1)


def require_same_size(image: np.ndarray, panoptic: np.ndarray) -> None:
    """Raises ValueError unless image is [H, W, 3] uint8 and panoptic [H, W], neither empty."""
    if image.ndim != 3 or image.shape[-1] != 3 or image.dtype != np.uint8 or not image.size:
        raise ValueError(f"the image must be [H, W, 3] uint8, not {image.shape} {image.dtype}")
    if panoptic.shape != image.shape[:2]:
        raise ValueError(f"the image is {image.shape[:2]} and the panoptic map {panoptic.shape}")


def hatch(picture: np.ndarray, canvas: np.ndarray, where: np.ndarray) -> None:
    """Darkens a canvas [H, W, 3] and draws diagonal lines, into a picture where it says so [H, W].

    Both are float32; they may be the same.
    """
    height, width = where.shape
    period = max(8, min(height, width) // 40)
    diagonal = (np.arange(height)[:, np.newaxis] + np.arange(width)) % period
    below = canvas[where]  # [P, 3]
    dark = below + 0.72 * (_UNLABELED - below)
    lines = (diagonal < max(2, period // 6))[where][:, np.newaxis]
    picture[where] = np.where(lines, dark + 0.6 * (_HATCH - dark), dark)


def _outline(
    picture: np.ndarray, index: np.ndarray, labeled: np.ndarray, color: np.ndarray
) -> None:
    """Draws a dark line along each edge, and inside of it a light one in the segment's color."""
    width = max(1, round(min(index.shape) / 480))
    edge = _near_edge(index, width)
    inner = _near_edge(index, 3 * width) & ~edge & labeled
    inside = picture[inner]  # [P, 3]
    picture[inner] = inside + 0.8 * (color[inner] + 0.25 * (255 - color[inner]) - inside)
    picture[edge] += _EDGE_OPACITY * (0.15 * color[edge] - picture[edge])


def _near_edge(index: np.ndarray, width: int) -> np.ndarray:
    """Returns [H, W] bool: where another segment is at most `width` rows or columns away."""
    near = np.zeros(index.shape, bool)
    for step in range(1, width + 1):
        rows = index[step:] != index[:-step]
        near[step:] |= rows
        near[:-step] |= rows
        columns = index[:, step:] != index[:, :-step]
        near[:, step:] |= columns
        near[:, :-step] |= columns
    return near


def _labels(
    present: np.ndarray, index: np.ndarray, labels: LabelSpace, colors: dict[int, Color]
) -> list[Label]:
    """Places the names of segments."""
    size = max(13, min(round(min(index.shape) / 29), 30))
    boxes = scipy.ndimage.find_objects(index + 1)
    placed = []
    for panoptic_id, text in segment_names(present, labels).items():
        segment = int(np.searchsorted(present, panoptic_id))
        rows, columns = box = boxes[segment]
        origin = (rows.start, columns.start)
        label = place_label(index[box] == segment, origin, text, size, colors[panoptic_id])
        if label is not None:
            placed.append(label)
    return placed


def segment_names(panoptic_ids: np.ndarray, labels: LabelSpace) -> dict[int, str]:
    """Names the segments of an image by panoptic id, "car" or, where there are more, "car 2"."""
    names = {}
    ids_of_class = collections.defaultdict(list)
    for panoptic_id in panoptic_ids.tolist():
        ids_of_class[panoptic_id // labels.label_divisor].append(panoptic_id)
    for class_id, ids in ids_of_class.items():
        index = class_index(class_id, labels)
        if index < 0:
            continue
        category = labels.classes[index]
        for panoptic_id in ids:
            instance = panoptic_id % labels.label_divisor
            crowd = category.thing and instance == 0
            suffix = " (crowd)" if crowd else f" {instance}" if len(ids) > 1 else ""
            names[panoptic_id] = category.name + suffix
    return names
