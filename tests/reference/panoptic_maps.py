"""A small label space, and random pairs of panoptic maps in it, for tests of evaluation."""

from __future__ import annotations

import hypothesis.extra.numpy as hypothesis_numpy
import numpy as np
from hypothesis import strategies as st

from kmax_tf.labels import Category, LabelSpace

DIVISOR = 100
# Id 0 is a class, the ignore label is above all, and original ids are others.
DOG, CAT, ROAD, SKY, UNLABELED = 2, 5, 0, 7, 9
LABELS = LabelSpace(
    classes=(
        Category(DOG, "dog", True, (200, 60, 40), 20),
        Category(CAT, "cat", True, (40, 180, 90), 50),
        Category(ROAD, "road", False, (128, 64, 128), 1),
        Category(SKY, "sky", False, (70, 130, 180), 70),
    ),
    num_ids=8,
    ignore_label=UNLABELED,
    label_divisor=DIVISOR,
    name="pets",
)
DOG_CROWD, DOG_1, DOG_2, DOG_3 = (DOG * DIVISOR + i for i in range(4))
CAT_CROWD, CAT_1, CAT_2 = (CAT * DIVISOR + i for i in range(3))
ROADS, SKIES, VOID = ROAD * DIVISOR, SKY * DIVISOR, UNLABELED * DIVISOR

_THINGS = [DOG_1, DOG_2, DOG_3, CAT_1, CAT_2]
_TRUTH = [*_THINGS, ROADS, SKIES, VOID, DOG_CROWD, CAT_CROWD]
_PREDICTION = [*_THINGS, ROADS, SKIES, VOID]


@st.composite
def pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Draws truth and prediction [H, W] int32; the prediction agrees with the truth in places."""
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    truth = draw(hypothesis_numpy.arrays(np.int32, shape, elements=st.sampled_from(_TRUTH)))
    other = draw(hypothesis_numpy.arrays(np.int32, shape, elements=st.sampled_from(_PREDICTION)))
    changed = draw(hypothesis_numpy.arrays(bool, shape))
    crowd = (truth == DOG_CROWD) | (truth == CAT_CROWD)
    return truth, np.where(changed | crowd, other, truth)


@st.composite
def renumberings(draw: st.DrawFn) -> dict[int, int]:
    """Draws other instance numbers for the things of `pairs`."""
    numbers = draw(st.lists(st.integers(1, 99), min_size=5, max_size=5, unique=True))
    return {i: i // DIVISOR * DIVISOR + number for i, number in zip(_THINGS, numbers)}


def renumber(panoptic: np.ndarray, numbers: dict[int, int]) -> np.ndarray:
    """Replaces ids [H, W] by others."""
    return np.vectorize(lambda i: numbers.get(int(i), int(i)), otypes=[np.int32])(panoptic)


def resized(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes a map [H, W] to the nearest, with aligned corners; halves go up."""
    rows, columns = (
        np.arange(new, dtype=np.float32) * np.float32((old - 1) / max(new - 1, 1)) + np.float32(0.5)
        for old, new in zip(values.shape, (height, width))
    )
    return values[np.ix_(np.floor(rows).astype(int), np.floor(columns).astype(int))]


def runs(*lengths: tuple[int, int]) -> np.ndarray:
    """Makes a [1, W] int32 map of (id, length) runs."""
    return np.repeat(*zip(*lengths)).astype(np.int32)[np.newaxis]
