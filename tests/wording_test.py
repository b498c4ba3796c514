"""Counts in sentences."""

from __future__ import annotations

import pytest

from kmax_tf.wording import count_of


@pytest.mark.parametrize(
    ("count", "noun", "expected"),
    [
        (0, "image", "0 images"),
        (1, "image", "1 image"),
        (2, "predicted segment", "2 predicted segments"),
        (1, "class", "1 class"),
        (3, "class", "3 classes"),
        (2, "category", "2 categories"),
        (1, "category", "1 category"),
        (4, "key", "4 keys"),
        (2, "batch", "2 batches"),
        (2, "epoch", "2 epochs"),
    ],
)
def test_one_is_singular(count, noun, expected):
    assert count_of(count, noun) == expected
