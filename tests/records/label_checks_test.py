import json

import pytest

from kmax_tf.errors import UserError
from kmax_tf.records.label_checks import check_trainable, doubts_about
from kmax_tf.records.statistics import Statistics

# Classes of the fixture `labels`: things cat 3 and dog 1, stuff grass 2 and sky 5.
ALL = {3: [4], 1: [4], 2: [4], 5: [4]}


@pytest.fixture
def split(labels):
    """Makes the statistics of two images with segments of the areas given by class id."""

    def make(areas, labeled=True):
        statistics = Statistics()
        for found in (areas, {}):
            statistics.add_image(3, 4, found, labels, labeled)
        return statistics

    return make


def test_what_cannot_teach_is_refused(labels, split):
    for splits in (
        {"train": split({}), "val": split({})},
        {"train": split({}), "val": split(ALL)},
        {"mine": split({}), "test": split({}, labeled=False)},
    ):
        with pytest.raises(UserError, match=r"no segment in .*all their pixels are unlabeled"):
            doubts_about(splits, labels)


def test_what_is_odd_is_told(labels, split):
    def doubts(**splits):
        return doubts_about(splits, labels)

    assert doubts(train=split(ALL), val=split(ALL)) == []
    assert doubts(train=split(ALL), val=split({3: [1]}), test=split({}, labeled=False)) == []
    assert doubts(test=split({}, labeled=False)) == []
    (doubt,) = doubts(train=split(ALL), val=split({}))
    assert "no segment in val, so that it measures nothing" in doubt
    (doubt,) = doubts(train=split({3: [4], 5: [9]}), val=split({3: [4]}))
    assert doubt == "no segment of dog, grass in train, val"
    absent, untrained = doubts(train=split({3: [4]}), val=split({3: [4], 2: [9], 5: [1]}))
    assert absent == "no segment of dog in train, val"
    assert untrained.startswith("no segment of grass, sky in train, but in val")
    *_, doubt = doubts(train=split({5: [4]}))
    assert "all segments are of the stuff class sky" in doubt
    (doubt,) = doubts(train=split({3: [4]}))  # a single thing is not everywhere
    assert doubt == "no segment of dog, grass, sky in train"


def test_records_without_segments_are_not_trained_on(labels, split, tmp_path):
    files = [str(tmp_path / f"train-{i:05d}-of-00002.tfrecord") for i in range(2)]
    check_trainable(files, labels)  # of another tool
    for text in ("{", "[]", "{}", json.dumps({"train": {"images": 3}}), json.dumps({"train": 3})):
        (tmp_path / "report.json").write_text(text)
        check_trainable(files, labels)
    report = {"train": split({}).to_json(), "val": split(ALL).to_json()}
    (tmp_path / "report.json").write_text(json.dumps(report))
    with pytest.raises(UserError, match="no segment in the records in"):
        check_trainable(files, labels)
    check_trainable([*files, str(tmp_path / "val-00000-of-00001.tfrecord")], labels)
