"""How pixels group while cluster centers move: a panel a kMaX block (paper, figure 3)."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

from kmax_tf.figures import overlay
from kmax_tf.figures.panels import arrange
from kmax_tf.panoptic.colors import Color
from kmax_tf.panoptic.runs import find_runs
from kmax_tf.wording import count_of

if TYPE_CHECKING:
    from kmax_tf.labels import LabelSpace

# Share of a center's color over the image, which is drained of all its own.
_OPACITY = 0.62
# A sheet is as near to the shape of a screen (width over height) as its panels allow.
_SHEET_ASPECT = 16 / 9
# Colors are picked from a grid of this many values a channel: of these CIELAB lightnesses, neither
# nearly black nor white, and chromas, neither grey, which would pass for the image, nor glaring.
_GRID = 12
_LIGHTNESS = (30.0, 90.0)
_CHROMA = (28.0, 92.0)


@dataclasses.dataclass(frozen=True)
class Assignment:
    """Which center each pixel belongs to at one stage.

    Attributes:
      name: of the stage, such as "block 2".
      stride: of the pixel features that were assigned.
      centers: [H, W] integer index of the center, at the image's size.
    """

    name: str
    stride: int
    centers: np.ndarray


def draw_clusters(
    image: np.ndarray,
    assignments: Sequence[Assignment],
    panoptic: np.ndarray,
    labels: LabelSpace,
    shown: Collection[int] | None = None,
) -> np.ndarray:
    """Draws the assignment of each stage, between the image and what came of it.

    A center has one color on the whole sheet. Captions say how many centers own pixels, and what
    share of the pixels is in another center than at the stage before.

    Args:
      image: [H, W, 3] uint8.
      assignments: stages in order; maps of the image's size.
      panoptic: [H, W] integer panoptic map, the last panel.
      labels: what its ids mean.
      shown: indices of the stages to draw, in order; None: all.

    Returns:
      [height, width, 3] uint8: the panels in rows.

    Raises:
      ValueError: a map isn't of the image's size.
    """
    for assignment in assignments:
        overlay.require_same_size(image, assignment.centers)
    colors = center_colors([assignment.centers for assignment in assignments])
    pictures = [overlay.enlarge_image(image, overlay.scale_for(image.shape))]
    captions = ["image\n"]
    for index in range(len(assignments)) if shown is None else sorted(shown):
        before = assignments[index - 1] if index else None
        pictures.append(_draw_assignment(image, assignments[index].centers, colors))
        captions.append(_caption(assignments[index], before))
    pictures.append(overlay.draw_panoptic(image, panoptic, labels))
    captions.append("panoptic map\n")
    return arrange(pictures, captions, _columns(len(pictures), pictures[0].shape))


def center_colors(maps: Sequence[np.ndarray]) -> dict[int, Color]:
    """Chooses a color for each center that owns pixels, the more different the more it owns.

    Args:
      maps: [H, W] integer centers, one a stage; each counts alike.
    """
    owned: dict[int, float] = {}
    for centers in maps:
        runs = find_runs(centers)
        for center, count in zip(runs.values.tolist(), runs.areas.tolist()):
            owned[center] = owned.get(center, 0.0) + count / centers.size
    ranked = sorted(owned, key=lambda center: (-owned[center], center))
    return dict(zip(ranked, _distinct_colors(len(ranked))))


def _caption(assignment: Assignment, before: Assignment | None) -> str:
    facts = count_of(len(np.unique(assignment.centers)), "center")
    if before is not None:
        changed = np.mean(before.centers != assignment.centers)
        facts += f", {100 * changed:.0f} % changed"
    return f"{assignment.name} (stride {assignment.stride})\n{facts}"


def _draw_assignment(
    image: np.ndarray, centers: np.ndarray, colors: dict[int, Color]
) -> np.ndarray:
    """Draws one assignment over the image in grey: [s H, s W, 3] uint8, as `draw_panoptic`."""
    scale = overlay.scale_for(image.shape)
    grey = overlay.enlarge_image(image, scale).astype(np.float32).mean(axis=-1, keepdims=True)
    runs = find_runs(centers)
    table = np.array([colors[int(center)] for center in runs.values], np.float32)
    color = overlay.enlarge_map(runs.paint(table), scale)
    picture = grey + _OPACITY * (color - grey)
    return np.clip(np.round(picture), 0, 255).astype(np.uint8)


def _columns(count: int, shape: tuple[int, ...]) -> int:
    """Chooses in how many columns panels [h, w] give a sheet of a good shape with few gaps."""

    def badness(columns: int) -> float:
        rows = -(-count // columns)
        aspect = columns * shape[1] / (rows * shape[0])
        return abs(math.log(aspect / _SHEET_ASPECT)) + (rows * columns - count) / count

    return min(range(1, count + 1), key=badness)


def _distinct_colors(count: int) -> list[Color]:
    """Returns colors, each as far from all before it as can be in CIELAB."""
    values = np.linspace(0, 255, _GRID)
    candidates = np.array(list(itertools.product(values, values, values)))
    lab = _lab(candidates / 255)
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    usable = np.full(len(lab), True)
    for measure, (least, most) in ((lab[:, 0], _LIGHTNESS), (chroma, _CHROMA)):
        usable &= (measure > least) & (measure < most)
    candidates, lab = candidates[usable], lab[usable]
    chosen = [int(chroma[usable].argmax())]
    distance = np.full(len(lab), np.inf)
    for _ in range(count - 1):
        distance = np.minimum(distance, np.linalg.norm(lab - lab[chosen[-1]], axis=1))
        chosen.append(int(distance.argmax()))
    return [tuple(round(value) for value in candidates[i]) for i in chosen]


def _lab(rgb: np.ndarray) -> np.ndarray:
    """Converts sRGB [S, 3] in 0..1 to CIELAB (white D65), where distances are as they look."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
    xyz = linear @ np.array(to_xyz).T / (0.95047, 1.0, 1.08883)
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    lightness = 116 * root[:, 1] - 16
    return np.stack(
        [lightness, 500 * (root[:, 0] - root[:, 1]), 200 * (root[:, 1] - root[:, 2])], axis=1
    )
