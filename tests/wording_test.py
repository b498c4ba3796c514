"""Counts and lists in sentences."""

from __future__ import annotations

import pytest

from kmax_tf.wording import count_of, some


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


def test_of_many_the_first_are_listed():
    assert some(["a", "b"], 2) == "a, b"
    assert some(["a", "b", "c", "d"], 2) == "a, b and 2 more"
    assert some([1, "a\n", 3, 4, 5, 6]) == r"1, 'a\n', 3, 4, 5 and 1 more"
