"""Small datasets that several tests read; none of them changes what it gets."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

from kmax_tf.config import load_experiment
from kmax_tf.config.dataset import read_description
from kmax_tf.conversion.coco_format import read_split
from kmax_tf.conversion.convert import convert
from kmax_tf.conversion.shapes import write_shapes
from kmax_tf.conversion.shapes_scene import ShapesOptions
from kmax_tf.labels import Category, LabelSpace
from kmax_tf.protos import experiment_pb2


@pytest.fixture(scope="session")
def labels():
    """Two things and two stuff classes whose ids are not in the network's order; 0 unlabeled."""
    classes = (
        Category(3, "cat", True, (1, 0, 0), 30),
        Category(1, "dog", True, (2, 0, 0), 10),
        Category(2, "grass", False, (3, 0, 0), 20),
        Category(5, "sky", False, (4, 0, 0), 50),
    )
    return LabelSpace(classes, num_ids=6, ignore_label=0, label_divisor=100, name="pets")


@pytest.fixture(scope="session")
def shapes_labels():
    return read_description("shapes")[0]


@pytest.fixture(scope="session")
def shapes_source(tmp_path_factory):
    """COCO files of 14 training and 5 held-out images."""
    root = tmp_path_factory.mktemp("shapes")
    options = ShapesOptions(size=(48, 64), seed=3, crowd_probability=0.5)
    write_shapes(root, "train", 14, options)
    write_shapes(root, "val", 5, options)
    return root


@pytest.fixture(scope="session")
def shapes_records(shapes_source, shapes_labels, tmp_path_factory):
    """Records of shapes_source, crowds ignored."""
    folder = tmp_path_factory.mktemp("records")
    for split in ("train", "val"):
        convert(read_split(shapes_source, f"{split}2017").annotations, folder, split, shapes_labels)
    return folder


@pytest.fixture
def experiment(shapes_records):
    """Data options for shapes_records."""
    result = experiment_pb2.Experiment(data_dir=str(shapes_records))
    result.dataset.CopyFrom(load_experiment("shapes/laptop.textproto").dataset)
    for name, data in (("train", result.train_data), ("val", result.eval_data)):
        data.records.append(f"{name}-*.tfrecord")
        data.batch_size = 4
        data.crop_size.extend([65, 65])
        data.min_size = data.max_size = 65
        data.max_segments = 24
        data.shuffle_buffer = 8
        data.compile = False
    result.train_data.augmentation.min_scale = 0.5
    result.train_data.augmentation.max_scale = 1.5
    return result


def recorded(name):
    """Numbers that were recorded from the reference implementation."""
    with np.load(pathlib.Path(__file__).parent / "data" / "golden" / f"{name}.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="session")
def golden():
    """Of its preprocessing."""
    return recorded("preprocessing")


@pytest.fixture(scope="session")
def recorded_augmentation():
    """Of its color operations and copy-paste."""
    return recorded("augmentation")


@pytest.fixture(scope="session")
def golden_labels():
    """Ids of the recorded samples: {"coco_b": ..., "coco_c": ..., "cityscapes": ...}."""

    coco, cityscapes = (read_description(name)[0] for name in ("coco", "cityscapes"))
    return {"coco_b": coco, "coco_c": coco, "cityscapes": cityscapes}
