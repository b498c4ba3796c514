"""Textures and outlines of the "shapes" dataset: pure NumPy, all randomness from a generator.

Images are float32 [H, W, 3] with values 0..255. Outlines are signed distances in pixels, negative
inside, so that one field gives both the exact label (distance < 0) and an anti-aliased picture.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import numpy as np
from PIL import Image

# [H, 1] rows and [1, W] columns of an image, float32: broadcast to [H, W] where needed.
Grid = tuple[np.ndarray, np.ndarray]
Outline = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


def pixel_grid(height: int, width: int) -> Grid:
    """Returns the row and column coordinates of an image's pixels."""
    return (
        np.arange(height, dtype=np.float32)[:, np.newaxis],
        np.arange(width, dtype=np.float32)[np.newaxis, :],
    )


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, int], cell: tuple[float, float]
) -> np.ndarray:
    """Draws noise that varies over a distance.

    Args:
      rng: source of randomness.
      shape: H, W.
      cell: rows and columns between independent values.

    Returns:
      [H, W] float32 in 0..1.
    """
    coarse = (int(shape[0] / cell[0]) + 2, int(shape[1] / cell[1]) + 2)
    values = Image.fromarray(rng.random(coarse, dtype=np.float32))
    return np.asarray(values.resize((shape[1], shape[0]), Image.Resampling.BICUBIC))


def grass(rng: np.random.Generator, grid: Grid) -> np.ndarray:
    """Draws blades: green noise, finer across than along."""
    shape = (grid[0].shape[0], grid[1].shape[1])
    blades = smooth_noise(rng, shape, (6.0, 1.4))
    patches = smooth_noise(rng, shape, (24.0, 24.0))
    value = 0.55 * blades + 0.45 * patches
    return _ramp(value, _vary(rng, (38, 84, 30), 12), _vary(rng, (148, 190, 84), 18))


def water(rng: np.random.Generator, grid: Grid) -> np.ndarray:
    """Draws ripples: bent horizontal waves from deep to light teal."""
    rows, columns = grid
    shape = (rows.shape[0], columns.shape[1])
    period = rng.uniform(5.0, 8.0)
    bend = 1.6 * smooth_noise(rng, shape, (10.0, 14.0))
    tilt = rng.uniform(-0.1, 0.1)
    waves = np.sin(2 * np.pi * ((rows + tilt * columns) / period + bend))
    value = 0.5 + 0.36 * waves + 0.2 * (smooth_noise(rng, shape, (2.0, 9.0)) - 0.5)
    return _ramp(value, _vary(rng, (14, 74, 112), 12), _vary(rng, (96, 184, 196), 16))


def brick(rng: np.random.Generator, grid: Grid) -> np.ndarray:
    """Draws courses of bricks, each of its own shade, with light mortar."""
    rows, columns = grid
    height = rng.uniform(6.0, 9.0)
    width = height * rng.uniform(1.8, 2.3)
    y = rows / height + rng.uniform(0, 1)
    course = np.floor(y)
    x = columns / width + 0.5 * (course % 2) + rng.uniform(0, 1)
    shades = rng.random((int(course.max()) + 2, int(x.max()) + 2), dtype=np.float32)
    value = 0.25 + 0.6 * shades[np.broadcast_to(course, x.shape).astype(int), x.astype(int)]
    image = _ramp(value, _vary(rng, (120, 50, 36), 12), _vary(rng, (206, 112, 78), 16))
    mortar = np.minimum((y % 1) * height, (x % 1) * width) < 1.2
    image[mortar] = _vary(rng, (200, 190, 176), 12)
    return image


def sky(rng: np.random.Generator, grid: Grid) -> np.ndarray:
    """Draws soft clouds on a pale gradient."""
    rows, columns = grid
    shape = (rows.shape[0], columns.shape[1])
    depth = np.broadcast_to(rows / max(shape[0] - 1, 1), shape)
    image = _ramp(depth, _vary(rng, (94, 146, 222), 14), _vary(rng, (186, 214, 244), 12))
    clouds = smooth_noise(rng, shape, (13.0, 26.0)) - rng.uniform(0.35, 0.6)
    return image + np.clip(2.2 * clouds, 0, 0.85)[..., np.newaxis] * (248 - image)


def star_outline(points: int, inner: float) -> Outline:
    """Returns the outline of a star whose points reach the radius.

    A regular polygon is the star whose inner corners lie on its edges: inner = cos(pi / points).

    Args:
      points: number of points.
      inner: radius of the inner corners as a fraction of the outer.
    """
    wedge = np.pi / points

    def distance(y: np.ndarray, x: np.ndarray, radius: float) -> np.ndarray:
        # Fold the plane into half a point; there the outline is one straight line.
        angle = np.abs((np.arctan2(y, x) + wedge) % (2 * wedge) - wedge)
        length = np.sqrt(x * x + y * y)
        corner = inner * radius * np.array([np.cos(wedge), np.sin(wedge)])
        edge = corner - [radius, 0.0]
        normal = np.array([edge[1], -edge[0]]) / np.hypot(*edge)
        u, v = length * np.cos(angle) - radius, length * np.sin(angle)
        return u * normal[0] + v * normal[1]

    return distance


def circle_outline(y: np.ndarray, x: np.ndarray, radius: float) -> np.ndarray:
    """Returns the distance to a disc."""
    return np.sqrt(x * x + y * y) - radius


def ring_outline(y: np.ndarray, x: np.ndarray, radius: float) -> np.ndarray:
    """Returns the distance to a ring whose hole has half the radius."""
    return np.abs(np.sqrt(x * x + y * y) - 0.75 * radius) - 0.25 * radius


def thing_paint(
    rng: np.random.Generator, hue: float, y: np.ndarray, x: np.ndarray, radius: float
) -> np.ndarray:
    """Draws the surface of a thing: lit from one side, sometimes striped or speckled.

    Args:
      rng: source of randomness.
      hue: 0..1, of its main colour.
      y: [h, w] rows from the centre.
      x: [h, w] columns from the centre.
      radius: of the thing, in pixels.

    Returns:
      [h, w, 3] float32.
    """
    color = _random_color(rng, hue)
    angle = rng.uniform(0, 2 * np.pi)
    along = (np.cos(angle) * x + np.sin(angle) * y) / max(radius, 1.0)
    image = color * (1 + 0.28 * along[..., np.newaxis])
    pattern = rng.random()
    if pattern < 0.25:
        stripes = np.sin(2 * np.pi * (along * radius) / rng.uniform(4.0, 8.0)) > 0.2
        image[stripes] *= rng.uniform(0.45, 0.75)
    elif pattern < 0.45:
        speckles = smooth_noise(rng, (x.shape[0], x.shape[1]), (2.0, 2.0))
        image *= (0.7 + 0.6 * speckles)[..., np.newaxis]
    return image


def _random_color(rng: np.random.Generator, hue: float) -> np.ndarray:
    rgb = colorsys.hsv_to_rgb(hue, rng.uniform(0.4, 0.95), rng.uniform(0.45, 1.0))
    return 255 * np.array(rgb, np.float32)


def _vary(rng: np.random.Generator, color: tuple[int, int, int], spread: float) -> np.ndarray:
    return np.asarray(color, np.float32) + rng.uniform(-spread, spread, 3).astype(np.float32)


def _ramp(value: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    return low + value[..., np.newaxis].astype(np.float32) * (high - low)
