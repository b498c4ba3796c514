"""Several pictures on one sheet, with captions and a legend, and the map of errors."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image
import PIL.ImageDraw

from kmax_tf.figures import overlay
from kmax_tf.figures.text import draw_centered, font, text_size
from kmax_tf.panoptic.colors import Color, class_index
from kmax_tf.panoptic.overlaps import find_overlaps
from kmax_tf.panoptic.runs import find_runs

if TYPE_CHECKING:
    from kmax_tf.labels import LabelSpace

_PAPER: Color = (255, 255, 255)
_INK: Color = (34, 36, 40)
_OUTLINE: Color = (120, 124, 130)
# Of the error map: the class is wrong; the class is right, but the segment isn't the matching one.
_WRONG_CLASS: Color = (226, 32, 44)
_WRONG_SEGMENT: Color = (246, 160, 24)


@dataclasses.dataclass(frozen=True)
class _Entry:
    """An entry of a legend: a swatch of a color (None: hatched) and a name."""

    name: str
    color: Color | None


def side_by_side(
    image: np.ndarray,
    truth: np.ndarray,
    prediction: np.ndarray,
    labels: LabelSpace,
    errors: bool = False,
) -> np.ndarray:
    """Draws image, ground truth and prediction on one sheet, each below its name.

    Args:
      image: [H, W, 3] uint8.
      truth: [H, W] integer panoptic map.
      prediction: [H, W] integer panoptic map.
      labels: the classes, their names and colors.
      errors: whether to add the map of errors (`draw_errors`) and a legend of all colors.

    Returns:
      [height, width, 3] uint8: two rows of two, or a row; wide images stand in a column.

    Raises:
      ValueError: the maps aren't of the image's size.
    """
    overlay.require_same_size(image, prediction)
    pictures = {
        "image": overlay.enlarge_image(image, overlay.scale_for(image.shape)),
        "ground truth": overlay.draw_panoptic(image, truth, labels),
        "prediction": overlay.draw_panoptic(image, prediction, labels),
    }
    if errors:
        pictures["errors"] = draw_errors(image, truth, prediction, labels)
    height, width = pictures["image"].shape[:2]
    columns = 2 if errors else 1 if width > 1.5 * height else len(pictures)
    sheet = arrange(list(pictures.values()), list(pictures), columns)
    if not errors:
        return sheet
    present = np.unique([truth, prediction]) // labels.label_divisor
    wrong = [_Entry("wrong class", _WRONG_CLASS), _Entry("wrong instance", _WRONG_SEGMENT)]
    legend = _draw_entries(_class_entries(present, labels) + wrong, sheet.shape[1])
    return np.concatenate([sheet, legend])


def arrange(pictures: Sequence[np.ndarray], captions: Sequence[str], columns: int) -> np.ndarray:
    """Puts pictures on a sheet, each below its caption.

    Args:
      pictures: [h, w, 3] uint8, of one size.
      captions: one a picture, each of as many lines; written smaller where they are too wide.
      columns: pictures in a row.

    Returns:
      [height, width, 3] uint8.
    """
    height, width = pictures[0].shape[:2]
    rows = -(-len(pictures) // columns)
    gap = max(8, width // 60)
    size = max(14, min(height // 22, 36))
    widest = max(text_size(line, size)[0] for text in captions for line in text.split("\n"))
    size = max(8, size * min(width, widest) // widest)
    line_height = round(1.35 * size)
    caption_height = round(0.55 * size) + line_height * (1 + captions[0].count("\n"))
    sheet = PIL.Image.new(
        "RGB",
        (columns * (width + gap) + gap, rows * (height + caption_height + gap)),
        _PAPER,
    )
    drawing = PIL.ImageDraw.Draw(sheet)
    for number, (picture, caption) in enumerate(zip(pictures, captions)):
        left = gap + (number % columns) * (width + gap)
        top = (number // columns) * (height + caption_height + gap)
        for row, line in enumerate(caption.split("\n")):
            middle = (left + width / 2, top + 0.275 * size + (row + 0.5) * line_height)
            draw_centered(drawing, middle, line, size, _INK)
        sheet.paste(PIL.Image.fromarray(picture), (left, top + caption_height))
    return np.asarray(sheet)


def draw_errors(
    image: np.ndarray, truth: np.ndarray, prediction: np.ndarray, labels: LabelSpace
) -> np.ndarray:
    """Draws where prediction and truth disagree over a grey image.

    Red: another class, or none. Orange: the right class, but the segment of another instance (true
    and predicted segments belong together if each overlaps most with the other). Hatched: unlabeled
    in the truth.

    Args:
      image: [H, W, 3] uint8.
      truth: [H, W] integer panoptic map.
      prediction: [H, W] integer panoptic map.
      labels: what the ids mean.

    Returns:
      [s H, s W, 3] uint8, as `draw_panoptic`.

    Raises:
      ValueError: the image and the maps don't fit together.
    """
    overlay.require_same_size(image, truth)
    overlay.require_same_size(image, prediction)
    scale = overlay.scale_for(image.shape)
    wrong_class, wrong_segment, unlabeled = (
        overlay.enlarge_map(where, scale) for where in _errors(truth, prediction, labels)
    )
    canvas = overlay.enlarge_image(image, scale).astype(np.float32)
    grey = canvas.mean(axis=-1, keepdims=True).repeat(3, axis=-1)
    picture = 60 + 0.75 * grey
    for wrong, color in ((wrong_class, _WRONG_CLASS), (wrong_segment, _WRONG_SEGMENT)):
        picture[wrong] = 0.35 * grey[wrong] + 0.65 * np.array(color, np.float32)
    overlay.hatch(picture, canvas, unlabeled)
    return np.clip(np.round(picture), 0, 255).astype(np.uint8)


def draw_legend(
    labels: LabelSpace, present_ids: Sequence[int] | np.ndarray, width: int = 960
) -> np.ndarray:
    """Draws a strip of color swatches and class names, things first.

    Args:
      labels: the classes, their names and colors.
      present_ids: class ids to list; the ignore label and ids of no class stand for "unlabeled".
      width: of the strip, in pixels.

    Returns:
      [height, width, 3] uint8; as many lines as it takes.
    """
    return _draw_entries(_class_entries(present_ids, labels), width)


def _errors(
    truth: np.ndarray, prediction: np.ndarray, labels: LabelSpace
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Finds errors.

    Returns:
      [H, W] bool three times: where the class is wrong, where only the segment is, and where the
      truth is unlabeled.
    """
    divisor = labels.label_divisor
    overlaps = find_overlaps(truth, prediction)
    of_true, of_predicted, shared = overlaps.pair_true, overlaps.pair_predicted, overlaps.shared
    true_ids = overlaps.true_ids[of_true]
    same_class = true_ids // divisor == overlaps.predicted_ids[of_predicted] // divisor
    belong = np.full(len(shared), True)
    for segment in (of_true, of_predicted):
        most = np.zeros(len(shared), np.int64)
        np.maximum.at(most, segment, np.where(same_class, shared, 0))
        belong &= shared == most[segment]
    index = np.array([class_index(int(class_id), labels) for class_id in true_ids // divisor])
    thing = np.append(labels.is_thing, False)[index]
    crowd = thing & (true_ids % divisor == 0)

    labeled = index >= 0
    other_segment = labeled & same_class & thing & ~crowd & ~belong
    width = len(overlaps.predicted_ids)
    places = find_runs(truth).places() * width + find_runs(prediction).places()
    pairs = np.searchsorted(of_true * width + of_predicted, places)  # [H, W]
    return (labeled & ~same_class)[pairs], other_segment[pairs], ~labeled[pairs]


def _class_entries(class_ids: Sequence[int] | np.ndarray, labels: LabelSpace) -> list[_Entry]:
    """Returns the legend's entries of classes, things first, and of unlabeled pixels."""
    indices = {class_index(int(class_id), labels) for class_id in class_ids}
    classes = [labels.classes[index] for index in sorted(indices - {-1})]
    entries = [_Entry(category.name, category.color) for category in classes]
    return entries + ([_Entry("unlabeled", None)] if -1 in indices else [])


def _draw_entries(entries: Sequence[_Entry], width: int) -> np.ndarray:
    """Draws a legend [height, width, 3] uint8 in as many lines as it takes."""
    size = max(13, min(width // 70, 22))
    lines = _wrap(entries, size, width - 2 * size)
    canvas = PIL.Image.new("RGB", (width, 2 * size * len(lines) + size), _PAPER)
    for row, line in enumerate(lines):
        left = size
        for entry in line:
            _draw_entry(canvas, entry, (left, size // 2 + row * 2 * size), size)
            left += _entry_width(entry, size)
    return np.asarray(canvas)


def _entry_width(entry: _Entry, size: int) -> int:
    return 3 * size + text_size(entry.name, size)[0]


def _wrap(entries: Sequence[_Entry], size: int, width: int) -> list[list[_Entry]]:
    """Breaks entries into lines of at most a width."""
    lines: list[list[_Entry]] = [[]]
    used = 0
    for entry in entries:
        needed = _entry_width(entry, size)
        if lines[-1] and used + needed > width:
            lines.append([])
            used = 0
        lines[-1].append(entry)
        used += needed
    return lines


def _draw_entry(canvas: PIL.Image.Image, entry: _Entry, corner: tuple[int, int], size: int) -> None:
    """Draws a swatch and its name with their left top corner at (x, y)."""
    left, top = corner
    drawing = PIL.ImageDraw.Draw(canvas)
    swatch = (round(1.6 * size), size)
    box = (left, top + size // 2, left + swatch[0], top + size // 2 + swatch[1])
    if entry.color is None:
        grey = np.full((swatch[1], swatch[0], 3), 110, np.float32)
        overlay.hatch(grey, grey, np.ones(grey.shape[:2], bool))
        canvas.paste(PIL.Image.fromarray(grey.astype(np.uint8)), box[:2])
    else:
        drawing.rectangle(box, fill=entry.color)
    drawing.rectangle(box, outline=_OUTLINE)
    top_of_text, bottom_of_text = (font(size).getbbox("Ag")[side] for side in (1, 3))
    middle = (box[1] + box[3]) / 2
    position = (box[2] + size // 2, middle - (top_of_text + bottom_of_text) / 2)
    drawing.text(position, entry.name, fill=_INK, font=font(size))
