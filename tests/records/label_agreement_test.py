import dataclasses

import pytest

from kmax_tf.errors import UserError
from kmax_tf.records.label_agreement import check_same_labels


def changed(labels, of_cat, of_all):
    """Changes fields of a description, and of its first class."""
    cat, *others = labels.classes
    classes = (dataclasses.replace(cat, **of_cat), *others)
    return dataclasses.replace(labels, **{"classes": classes, **of_all})


@pytest.mark.parametrize(
    ("of_cat", "of_all"),
    [({}, {}), ({}, {"name": "other", "num_ids": 9}), ({"color": (9, 9, 9)}, {})],
)
def test_what_no_id_depends_on_may_differ(labels, of_cat, of_all):
    theirs = changed(labels, of_cat, of_all)
    in_another_order = dataclasses.replace(theirs, classes=theirs.classes[::-1])
    for description in (theirs, in_another_order):
        check_same_labels(labels, description, "there.textproto", "the experiment")


@pytest.mark.parametrize(
    ("of_cat", "of_all", "words"),
    [
        ({}, {"label_divisor": 256}, "label_divisor 256 there, 100 here"),
        ({}, {"ignore_label": 4}, "ignore_label 4 there, 0 here"),
        ({"name": "lion"}, {}, 'class 3 is "lion" .* there, "cat" .* here'),
        ({"id": 4}, {}, 'class 3 is none there, "cat" .*; class 4 is "cat"'),
        ({"thing": False}, {}, "stuff.* there, .*thing"),
        ({"original_id": 31}, {}, "original_id 31.* there"),
    ],
)
def test_what_ids_mean_must_be_the_same(labels, of_cat, of_all, words):
    with pytest.raises(UserError, match=f"there.textproto.*the experiment: .*{words}"):
        check_same_labels(
            labels, changed(labels, of_cat, of_all), "there.textproto", "the experiment"
        )
