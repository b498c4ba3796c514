import dataclasses

import pytest

from kmax_tf.errors import UserError
from kmax_tf.records.label_agreement import check_same_labels


def with_class(labels, index, **changes):
    classes = list(labels.classes)
    classes[index] = dataclasses.replace(classes[index], **changes)
    return dataclasses.replace(labels, classes=tuple(classes))


@pytest.mark.parametrize(
    "change",
    [
        lambda labels: labels,
        lambda labels: dataclasses.replace(labels, name="other", num_ids=9),
        lambda labels: dataclasses.replace(labels, classes=labels.classes[::-1]),
        lambda labels: with_class(labels, 0, color=(9, 9, 9)),
    ],
)
def test_what_no_id_depends_on_may_differ(labels, change):
    check_same_labels(labels, change(labels), "there.textproto", "the experiment")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda labels: dataclasses.replace(labels, label_divisor=256),
            "label_divisor 256 there, 100 here",
        ),
        (
            lambda labels: dataclasses.replace(labels, ignore_label=4),
            "ignore_label 4 there, 0 here",
        ),
        (
            lambda labels: with_class(labels, 0, name="lion"),
            'class 3 is "lion" .* there, "cat" .* here',
        ),
        (
            lambda labels: with_class(labels, 0, id=4),
            'class 3 is none there, "cat" .*; class 4 is "cat"',
        ),
        (lambda labels: with_class(labels, 0, thing=False), "stuff.* there, .*thing"),
        (lambda labels: with_class(labels, 0, original_id=31), "original_id 31.* there"),
        (
            lambda labels: dataclasses.replace(labels, classes=labels.classes[1:]),
            "class 3 is none there",
        ),
    ],
)
def test_what_ids_mean_must_be_the_same(labels, change, words):
    with pytest.raises(UserError, match=f"there.textproto.*the experiment: .*{words}"):
        check_same_labels(labels, change(labels), "there.textproto", "the experiment")
