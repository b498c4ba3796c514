"""Which class a pixel of a picture of labels means: by its color, or by its value.

The same picture means the same however its file stores it. What is shown therefore comes first:
the colors of classes, then grey levels. What is stored, indices of a palette or grey values of
other than 8 bits, counts where it fits the classes and what is shown doesn't.
"""

from __future__ import annotations

import collections
import dataclasses

import numpy as np

from kmax_tf.conversion.label_pictures import LabelPicture
from kmax_tf.errors import BadExampleError
from kmax_tf.labels import Category, LabelSpace
from kmax_tf.wording import count_of, some

Color = tuple[int, int, int]

# Pixel values that are unlabeled unless a class has them: usual for "nothing" and "ignore".
_UNLABELED_VALUES = (0, 255)
_BLACK, _WHITE = 0, 0xFFFFFF
# In the table of a reading; ids of classes are not negative.
_UNLABELED, _STRANGE = -1, -2
# More values than classes have in practice: those of soft edges.
_MANY = 16


@dataclasses.dataclass(frozen=True)
class MaskRules:
    """How masks become segments.

    Attributes:
      colored: names of the classes whose color their owner gave: color pictures have these.
      numbered: values of pixels weren't given, they are the numbers of the classes.
      unlabeled_values: values of pixels that belong to no segment, besides 0 and 255.
      unlabeled_colors: the same of colors, besides black.
      components: names of the thing classes whose connected regions (8 neighbours) are an instance
        each; those of another thing class in an image are one instance together.
      min_area: smaller regions become unlabeled.
    """

    colored: tuple[str, ...] = ()
    numbered: bool = False
    unlabeled_values: tuple[int, ...] = ()
    unlabeled_colors: tuple[Color, ...] = ()
    # Not sets, whose text differs from run to run: that of rules tells whether a shard still holds.
    components: tuple[str, ...] = ()
    min_area: int = 1


@dataclasses.dataclass(frozen=True)
class _Reading:
    """A way to understand a picture.

    Attributes:
      classes: [U] class ids, _UNLABELED, or _STRANGE of what is of no class.
      column: of the list of classes: "color" or "value".
      names: [U] what a kind of pixel is called in a message.
      shown: whether it is of what is shown, not of what the file stores.
    """

    classes: np.ndarray
    column: str
    names: list[str]
    shown: bool = True

    @property
    def fits(self) -> bool:
        return not (self.classes == _STRANGE).any()

    @property
    def has_class(self) -> bool:
        return bool((self.classes >= 0).any())


def classes_of(picture: LabelPicture, labels: LabelSpace, rules: MaskRules) -> np.ndarray:
    """Finds the classes of a picture's kinds of pixels.

    Args:
      picture: of classes.
      labels: the classes; their original_id is the value of pixels.
      rules: what was given of them.

    Returns:
      [U] class ids; the ignore label where unlabeled.

    Raises:
      BadExampleError: values that are of no class, or may be of two.
    """
    colors_tell = rules.colored and picture.levels is None
    if rules.numbered and labels.num_classes == 1 and not colors_tell:
        inside = _only_class(picture)
        return np.where(inside, labels.classes[0].id, labels.ignore_label)
    readings = _readings(picture, labels, rules)
    fitting = [reading for reading in readings if reading.fits]
    meant = [reading for reading in fitting if reading.has_class] or fitting
    if not meant:
        raise BadExampleError(_strange(picture, readings, labels))
    first = meant[0]
    shown = [reading for reading in meant if reading.shown and reading.has_class]
    if any((reading.classes != first.classes).any() for reading in shown):
        raise BadExampleError(
            "its pixels are of classes both by their colors and by their values, but of others: "
            f"{_listed(picture, first, first.classes >= 0)}; remove the column value or color"
        )
    settled = {255, 0} & {*rules.unlabeled_values, *(c.original_id for c in labels.classes)}
    if not first.has_class and not settled:
        _check_unlabeled(picture, first, labels)
    return np.where(first.classes >= 0, first.classes, labels.ignore_label)


def inside_of(picture: LabelPicture) -> np.ndarray:
    """Finds the inside of a mask: its opaque pixels, or those of at least half its brightest value.

    Returns:
      [U] bool.

    Raises:
      BadExampleError: its colors don't tell inside from outside.
    """
    strength, reading = _strength(picture)
    inside: np.ndarray = strength * 2 >= max(int(strength.max()), 1)
    if inside.all() and len(inside) > 1 and reading.column == "color":
        raise BadExampleError(
            f"its colors are all bright: {_listed(picture, reading, inside)}; a mask is white on "
            "black, or opaque on transparent"
        )
    return inside


def _strength(picture: LabelPicture) -> tuple[np.ndarray, _Reading]:
    """Returns [U]: how much a kind of pixel is inside of a mask; and what tells that."""
    if picture.alpha.min() < picture.alpha.max():
        return picture.alpha, _value_reading(picture.alpha, {}, "opacity ")
    levels = picture.levels
    one_color = (picture.shown == picture.shown[:1]).all()
    # Indices behind the end of a palette have no color.
    colorless = (picture.shown < 0).any()
    unshown = one_color or (levels is None and (colorless or not picture.palette))
    if picture.stored is not None and unshown:  # as levels of 16 bits
        return picture.stored, _value_reading(picture.stored, {})
    if levels is not None:
        return levels, _value_reading(levels, {})
    return picture.shown.max(axis=1), _color_reading(picture, {})


def _only_class(picture: LabelPicture) -> np.ndarray:
    """Returns [U] bool: the inside of a picture of a single class whose value isn't known."""
    strength, reading = _strength(picture)
    marks = {name for name, value in zip(reading.names, strength.tolist()) if value}
    if len(marks) > 1:
        raise BadExampleError(
            f"it has several values besides 0: {_listed(picture, reading, strength != 0)}; write "
            f"that of the class into the list of classes, column {reading.column}, and those that "
            f"mean nothing into rows of kind unlabeled{_smooth(len(marks))}"
        )
    return inside_of(picture)


def _readings(picture: LabelPicture, labels: LabelSpace, rules: MaskRules) -> list[_Reading]:
    """Returns the ways to understand a picture, what is shown first; at least one."""
    readings = []
    if rules.colored:
        colors = {_code(c.color): c.id for c in labels.classes if c.name in rules.colored}
        unlabeled = (_BLACK, *map(_code, rules.unlabeled_colors))
        readings.append(_color_reading(picture, {**dict.fromkeys(unlabeled, _UNLABELED), **colors}))
    unlabeled_values = (*_UNLABELED_VALUES, *rules.unlabeled_values)
    values = {
        **dict.fromkeys(unlabeled_values, _UNLABELED),
        **{category.original_id: category.id for category in labels.classes},
    }
    levels = picture.levels
    if levels is not None:
        readings.append(_value_reading(levels, values))
    # Of black and white alone, the number of an index or a bit is no value that anybody gave.
    guessed = rules.numbered and levels is not None and set(levels.tolist()) <= {0, 255}
    if picture.stored is not None and not guessed:
        prefix = "index " if picture.palette else ""
        stored = dataclasses.replace(_value_reading(picture.stored, values, prefix), shown=False)
        if not picture.palette or not _contradicts(picture, readings, stored):
            readings.append(stored)
    for reading in readings:
        reading.classes[picture.alpha == 0] = _UNLABELED
    return readings or [_color_reading(picture, {_BLACK: _UNLABELED})]


def _contradicts(picture: LabelPicture, shown: list[_Reading], stored: _Reading) -> bool:
    """Returns whether a palette's indices mean other than its colors, as far as these say."""
    for reading in shown:
        known = reading.classes >= 0
        if (reading.classes != stored.classes)[known].any():
            return True
    # White on black, whose indices say black on white.
    codes = _codes(picture)
    black, white = stored.classes[codes == _BLACK], stored.classes[codes == _WHITE]
    return bool((black >= 0).any() and (white == _UNLABELED).any() and picture.levels is not None)


def _color_reading(picture: LabelPicture, table: dict[int, int]) -> _Reading:
    codes = _codes(picture).tolist()
    classes = np.array([table.get(code, _STRANGE) for code in codes])
    return _Reading(classes, "color", [f"#{code:06x}" if code >= 0 else "?" for code in codes])


def _value_reading(values: np.ndarray, table: dict[int, int], prefix: str = "") -> _Reading:
    classes = np.array([table.get(value, _STRANGE) for value in values.tolist()])
    return _Reading(classes, "value", [f"{prefix}{value}" for value in values.tolist()])


def _codes(picture: LabelPicture) -> np.ndarray:
    """Returns [U] colors as numbers; -1 of what has no color."""
    codes: np.ndarray = picture.shown @ np.array([65536, 256, 1])
    return np.where((picture.shown < 0).any(axis=1), -1, codes)


def _code(color: Color) -> int:
    return color[0] * 65536 + color[1] * 256 + color[2]


def _check_unlabeled(picture: LabelPicture, reading: _Reading, labels: LabelSpace) -> None:
    """Refuses a picture of white on black alone, as nobody said what white is."""
    white = [name == "255" and alpha > 0 for name, alpha in zip(reading.names, picture.alpha)]
    if any(white):
        raise BadExampleError(
            f"its only value besides 0 is {_listed(picture, reading, np.array(white))}, which is "
            f"of no class: these have {_known(labels)}. Write 255 into the list of classes, column "
            "value: in the row of its class, or in a row of its own of kind unlabeled"
        )


def _strange(picture: LabelPicture, readings: list[_Reading], labels: LabelSpace) -> str:
    """Returns what is said of a picture that no reading fits: of the one that fits best."""
    column = "color" if picture.levels is None else "value"
    best = max(
        readings,
        key=lambda reading: (
            int(picture.counts[reading.classes >= 0].sum()),
            reading.column == column,
        ),
    )
    strange = best.classes == _STRANGE
    count = int(strange.sum())
    what = "colors" if best.column == "color" else "values"
    listed = _listed(picture, best, strange)
    known = "" if best.column == "color" else f" (those of the classes are {_known(labels)})"
    return (
        f"it has pixels of {what} that are of no class: {listed}{known}; give each of them a row "
        f"in the list of classes (classes.csv), with its {best.column}, and the kind unlabeled if "
        f"it means nothing{_smooth(count)}"
    )


def _smooth(count: int) -> str:
    if count <= _MANY:
        return ""
    return ". So many come of smoothing, resizing or a lossy format: save labels without"


def _known(labels: LabelSpace) -> str:
    classes: list[Category] = sorted(labels.classes, key=lambda category: category.original_id)
    return some(f"{category.original_id} ({category.name})" for category in classes)


def _listed(picture: LabelPicture, reading: _Reading, which: np.ndarray) -> str:
    """Lists kinds of pixels with their numbers, the most frequent first."""
    found: collections.Counter[str] = collections.Counter()
    for index in np.flatnonzero(which):
        found[reading.names[index]] += int(picture.counts[index])
    return some([f"{name} ({count_of(n, 'pixel')})" for name, n in found.most_common()])
