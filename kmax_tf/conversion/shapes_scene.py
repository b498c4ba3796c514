"""The images of the dataset "shapes": what is drawn, where, and its annotation.

An image depends on the options, the split and its index alone, so that image i is the same whatever
the number of images or the process that draws it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.ndimage

from kmax_tf.conversion import shapes_drawing as drawing
from kmax_tf.panoptic.entries import CategoryEntry

SPLITS = ("train", "val", "test")
# Fewer visible pixels are no segment but unlabeled.
MIN_THING_AREA = 6
MIN_STUFF_AREA = 24

_TRIANGLE, _SQUARE = (drawing.star_outline(n, np.cos(np.pi / n)) for n in (3, 4))
# Ids have gaps, as COCO's do.
THINGS: tuple[tuple[CategoryEntry, drawing.Outline], ...] = (
    (CategoryEntry(3, "circle", True, (230, 85, 75)), drawing.circle_outline),
    (CategoryEntry(7, "square", True, (247, 181, 56)), _SQUARE),
    (CategoryEntry(12, "triangle", True, (155, 93, 229)), _TRIANGLE),
    (CategoryEntry(18, "star", True, (241, 91, 181)), drawing.star_outline(5, 0.42)),
    (CategoryEntry(21, "ring", True, (255, 129, 56)), drawing.ring_outline),
)
STUFF: tuple[tuple[CategoryEntry, Callable[..., np.ndarray]], ...] = (
    (CategoryEntry(101, "grass", False, (96, 153, 45)), drawing.grass),
    (CategoryEntry(107, "water", False, (0, 119, 146)), drawing.water),
    (CategoryEntry(112, "brick", False, (140, 74, 62)), drawing.brick),
    (CategoryEntry(119, "sky", False, (140, 190, 240)), drawing.sky),
)


@dataclasses.dataclass(frozen=True)
class ShapesOptions:
    """What images look like.

    Attributes:
      size: nominal height, width in pixels. Half of the images differ from it by up to a fifth.
      seed: of all images.
      num_things: least and most things drawn in an image, those in crowds not counted.
      radius: least and most, as fractions of the shorter side.
      crowd_probability: of a crowd region in an image.
      unlabeled_probability: of an unlabeled patch, and likewise of an unlabeled border.
      noise: standard deviation of the sensor noise, of 255.
      usual_color_probability: that a thing has about the colour usual for its class; otherwise it
        has any, and only its shape tells the class.
      repeat_probability: that a thing may be of a class that the image already has; otherwise it is
        of a new one, as long as there is one.
    """

    size: tuple[int, int] = (96, 96)
    seed: int = 0
    num_things: tuple[int, int] = (2, 6)
    radius: tuple[float, float] = (0.06, 0.28)
    crowd_probability: float = 0.2
    unlabeled_probability: float = 0.25
    noise: float = 5.0
    usual_color_probability: float = 0.9
    repeat_probability: float = 0.3


@dataclasses.dataclass(frozen=True)
class ShapesExample:
    """An image with its annotation.

    Attributes:
      image: [H, W, 3] uint8.
      ids: [H, W] int32 segment ids; 0 where unlabeled.
      segments: COCO segments_info: id, category_id, area, bbox, iscrowd.
    """

    image: np.ndarray
    ids: np.ndarray
    segments: list[dict[str, Any]]


def draw_example(options: ShapesOptions, split: str, index: int) -> ShapesExample:
    """Draws one image."""
    rng = np.random.default_rng([options.seed, SPLITS.index(split), index])
    canvas = _Canvas(rng, _image_size(rng, options.size), options.usual_color_probability)
    canvas.fill_stuff()
    if rng.random() < options.crowd_probability:
        canvas.add_crowd()
    shorter = min(options.size)
    low, high = (max(fraction * shorter, 2.0) for fraction in options.radius)
    count = rng.integers(options.num_things[0], options.num_things[1] + 1)
    radii = rng.uniform(low, high, count)
    # Roughly from large to small, so that most small things stay visible on large ones.
    for radius in radii[np.argsort(-radii * rng.uniform(0.5, 1.5, count))]:
        canvas.add_thing(float(radius), options.repeat_probability)
    canvas.hide_labels(options.unlabeled_probability)
    return canvas.develop(options.noise)


class _Canvas:
    """An image while it is drawn: what stands where, and what each thing is."""

    def __init__(
        self, rng: np.random.Generator, size: tuple[int, int], usual_color_probability: float
    ):
        self._rng = rng
        self._usual_color_probability = usual_color_probability
        self._size = size
        self._grid = drawing.pixel_grid(*size)
        self._image = np.zeros((*size, 3), np.float32)
        # [H, W]: 1 + index into _owners, 0 unlabeled.
        self._owner_map = np.zeros(size, np.int32)
        # Class and whether a crowd, of each owner.
        self._owners: list[tuple[CategoryEntry, bool]] = []

    def fill_stuff(self) -> None:
        """Covers everything with two to four stuff classes, each the cell around its centre."""
        rng, (rows, columns) = self._rng, self._grid
        kinds = rng.permutation(len(STUFF))[: rng.choice([1, 2, 3, 4], p=[0.1, 0.4, 0.35, 0.15])]
        centers = rng.uniform(0, 1, (len(kinds), 2)) * self._size
        wobble = 0.07 * min(self._size)
        bent_rows = rows + wobble * np.sin(columns / rng.uniform(5, 12) + rng.uniform(0, 6))
        bent_columns = columns + wobble * np.sin(rows / rng.uniform(5, 12) + rng.uniform(0, 6))
        distances = [(bent_rows - y) ** 2 + (bent_columns - x) ** 2 for y, x in centers]
        nearest = np.argmin(distances, axis=0)
        for cell, kind in enumerate(kinds):
            stuff, paint = STUFF[kind]
            here = nearest == cell
            self._image[here] = paint(rng, self._grid)[here]
            self._claim(here, stuff, crowd=False)

    def add_thing(self, radius: float, repeat_probability: float) -> None:
        """Draws a thing at a random place, in part outside sometimes."""
        rng = self._rng
        center = rng.uniform(-0.3 * radius, np.array(self._size) + 0.3 * radius)
        present = [kind for kind, _ in self._owners]
        unused = [index for index, (thing, _) in enumerate(THINGS) if thing not in present]
        repeats = rng.random() < repeat_probability or not unused
        number = int(rng.choice(range(len(THINGS)) if repeats else unused))
        window, inside = self._paint_thing(number, center, radius)
        self._claim(inside, THINGS[number][0], crowd=False, window=window)

    def add_crowd(self) -> None:
        """Draws a dense cluster of tiny things of one class, annotated as one crowd region."""
        rng = self._rng
        number = rng.integers(len(THINGS))
        radius = 0.03 * min(self._size)
        middle = rng.uniform(0.2, 0.8, 2) * self._size
        whole = (slice(0, self._size[0]), slice(0, self._size[1]))
        region = np.zeros(self._size, bool)
        for _ in range(rng.integers(9, 17)):
            offset = np.clip(rng.normal(0, 2.2 * radius, 2), -6 * radius, 6 * radius)
            window, _ = self._paint_thing(number, middle + offset, radius * rng.uniform(0.8, 1.3))
            region[window] = True
        self._claim(region, THINGS[number][0], crowd=True, window=whole)

    def hide_labels(self, probability: float) -> None:
        """Covers a patch with static, and blackens a border; both are unlabeled."""
        rng, (height, width) = self._rng, self._size
        if rng.random() < probability:
            size = (rng.uniform(0.1, 0.25, 2) * self._size).astype(int)
            top, left = rng.integers(0, self._size - size)
            patch = (slice(top, top + size[0]), slice(left, left + size[1]))
            static = rng.uniform(60, 200, (*size, 1))
            self._image[patch] = static
            self._owner_map[patch] = 0
        if rng.random() < probability:
            thickness = rng.integers(1, max(2, round(0.06 * min(height, width))) + 1)
            border: tuple[slice, ...] = (slice(0, thickness),)
            if rng.random() < 0.5:
                border = (slice(None), slice(width - thickness, width))
            self._image[border] = 12.0
            self._owner_map[border] = 0

    def develop(self, noise: float) -> ShapesExample:
        """Adds light and sensor noise, drops segments too small to see, numbers the rest."""
        rng = self._rng
        light = 0.85 + 0.3 * drawing.smooth_noise(rng, self._size, self._size)
        image = self._image * light[..., np.newaxis]
        image += noise * rng.standard_normal(image.shape, dtype=np.float32)
        areas = np.bincount(self._owner_map.ravel(), minlength=len(self._owners) + 1)
        png_ids = 1 + rng.choice(2**24 - 1, len(areas), replace=False, shuffle=False)
        png_ids[0] = 0
        boxes = scipy.ndimage.find_objects(self._owner_map, len(self._owners))
        segments = []
        for owner, (kind, crowd) in enumerate(self._owners, start=1):
            if areas[owner] < (MIN_THING_AREA if kind.thing else MIN_STUFF_AREA):
                png_ids[owner] = 0
                continue
            rows, columns = boxes[owner - 1]
            width, height = columns.stop - columns.start, rows.stop - rows.start
            segments.append(
                {
                    "id": int(png_ids[owner]),
                    "category_id": kind.id,
                    "area": int(areas[owner]),
                    "bbox": [columns.start, rows.start, width, height],
                    "iscrowd": int(crowd),
                }
            )
        ids = png_ids.astype(np.int32)[self._owner_map]
        return ShapesExample(np.clip(image, 0, 255).astype(np.uint8), ids, segments)

    def _paint_thing(
        self, number: int, center: np.ndarray, radius: float
    ) -> tuple[tuple[slice, slice], np.ndarray]:
        """Paints a thing with a soft shadow; returns its window and, in it, the pixels inside."""
        reach = radius + 3
        top, left = np.maximum(np.floor(center - reach), 0).astype(int)
        bottom, right = np.minimum(np.ceil(center + reach) + 1, self._size).astype(int)
        window = (slice(top, bottom), slice(left, right))
        y = self._grid[0][top:bottom] - np.float32(center[0])
        x = self._grid[1][:, left:right] - np.float32(center[1])
        angle = self._rng.uniform(0, 2 * np.pi)
        cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        v, u = cos * y - sin * x, sin * y + cos * x
        distance = THINGS[number][1](v, u, radius)
        view = self._image[window]
        shade = 0.35 * np.clip(1 - distance / 2.5, 0, 1)[..., np.newaxis]
        alpha = np.clip(0.5 - distance, 0, 1)[..., np.newaxis]
        paint = drawing.thing_paint(self._rng, self._hue(number), v, u, radius)
        self._image[window] = alpha * paint + (1 - alpha) * (1 - shade) * view
        return window, distance < 0

    def _hue(self, number: int) -> float:
        """Returns the hue of a thing of this class: about the usual one, or any."""
        if self._rng.random() < self._usual_color_probability:
            return float((number / len(THINGS) + self._rng.uniform(-0.06, 0.06)) % 1.0)
        return float(self._rng.random())

    def _claim(
        self,
        inside: np.ndarray,
        kind: CategoryEntry,
        crowd: bool,
        window: tuple[slice, slice] = (slice(None), slice(None)),
    ) -> None:
        self._owners.append((kind, crowd))
        self._owner_map[window][inside] = len(self._owners)


def _image_size(rng: np.random.Generator, size: tuple[int, int]) -> tuple[int, int]:
    if rng.random() < 0.5:
        return size
    height, width = np.round(rng.uniform(0.8, 1.2, 2) * size).astype(int)
    return int(height), int(width)
