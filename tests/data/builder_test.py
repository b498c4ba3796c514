import itertools

import numpy as np
import pytest
import tensorflow as tf

import kmax_tf
from kmax_tf.config import experiment_text
from kmax_tf.config.dataset import read_description
from kmax_tf.conversion.coco_format import read_split
from kmax_tf.data.builder import build_dataset, training_example
from kmax_tf.data.copy_paste import CopyPasteOptions
from kmax_tf.errors import UserError
from kmax_tf.files.images import read_image
from kmax_tf.protos import data_pb2
from tests.processes import run_python


def take(dataset, count):
    return [
        tf.nest.map_structure(lambda tensor: tensor.numpy(), element)
        for element in itertools.islice(dataset, count)
    ]


def test_training_elements(experiment, shapes_labels):
    experiment.train_data.compile = True
    dataset = build_dataset(experiment, training=True)
    assert dataset.cardinality() == tf.data.INFINITE_CARDINALITY
    images, targets = dataset.element_spec
    assert images.shape == (4, 65, 65, 3)
    assert {key: tuple(spec.shape) for key, spec in targets.items()} == {
        "semantic_map": (4, 65, 65),
        "segment_map": (4, 65, 65),
        "segment_classes": (4, 24),
        "semantic_weights": (4, 65, 65),
    }
    # More than two epochs of 14 images.
    for images, targets in take(dataset, 8):
        assert images.min() >= 0
        assert images.max() <= 255
        assert images.std() > 10
        for key in ("semantic_map", "segment_map"):
            assert targets[key].dtype == np.int32
        has_segment = targets["segment_map"] >= 0
        index = np.take_along_axis(
            targets["segment_classes"],
            np.maximum(targets["segment_map"], 0).reshape(4, -1),
            axis=1,
        ).reshape(4, 65, 65)
        np.testing.assert_array_equal(
            shapes_labels.ids[index][has_segment], targets["semantic_map"][has_segment]
        )
        assert (targets["semantic_map"][~has_segment] == 0).all()


def full_augmentation(experiment):
    change = experiment.train_data.augmentation
    change.color.sequences.add().steps.add(operation="COLOR", probability=0.5, level=9)
    change.copy_paste.SetInParent()
    return experiment


@pytest.mark.parametrize("cache", [False, True])
def test_a_resumed_run_sees_the_batches_it_would_have_seen(experiment, cache):
    full_augmentation(experiment).train_data.cache = cache
    whole = take(build_dataset(experiment, training=True), 7)  # of 14 images: two epochs
    resumed = take(build_dataset(experiment, training=True, first_step=3), 4)
    tf.nest.map_structure(np.testing.assert_array_equal, whole[3:], resumed)
    images = np.concatenate([images for images, _ in whole])
    assert len({image.tobytes() for image in images}) == len(images)  # each epoch differs
    experiment.training.seed = 1
    (other, _), *_ = take(build_dataset(experiment, training=True), 1)
    assert (other != whole[0][0]).any()


def test_workers_that_change_in_number_go_on_where_others_stopped(experiment):
    def sorted_images(steps, pipelines, first_step):
        images = []
        for index in range(pipelines):
            context = tf.distribute.InputContext(pipelines, index, pipelines)
            dataset = build_dataset(experiment, True, context, first_step)
            images += [image for batch, _ in take(dataset, steps) for image in batch]
        return sorted(image.tobytes() for image in images)

    one = sorted_images(1, 1, first_step=2)
    assert one == sorted_images(1, 2, first_step=2)


def test_examples_come_from_a_service(experiment):
    words = ["tests.data.service_client", "equal_batches", experiment_text(experiment)]
    assert run_python("-m", *words).stdout == "3 batches are equal\n"


def test_changes_of_color_and_pasting_are_there_if_the_experiment_has_them():
    experiment = kmax_tf.load_experiment("cityscapes/resnet50.textproto")
    made = training_example(experiment)
    assert made.options.crop_size == (1025, 2049)
    assert made.options.copy_paste == CopyPasteOptions(0.5, "ALL", "RANDOM", "NONE")
    assert made.options.color.contrast_target == "PIXEL_COUNT"
    assert made.targets.compile
    assert made.num_examples == 2
    experiment.train_data.augmentation.ClearField("color")
    experiment.train_data.augmentation.ClearField("copy_paste")
    made = training_example(experiment)
    assert made.options.color is made.options.copy_paste is None
    assert made.num_examples == 1


def test_evaluation_elements_follow_the_files(experiment, shapes_source, shapes_labels):
    elements = take(build_dataset(experiment, training=False), 10)
    assert [len(images) for images, _, _ in elements] == [4, 1]
    annotations = iter(read_split(shapes_source, "val2017").annotations)
    void = shapes_labels.void_panoptic_id
    for images, targets, raw in elements:
        sizes = raw["raw_size"]
        assert raw["panoptic"].shape[1:] == tuple(sizes.max(axis=0))
        for b in range(len(images)):
            annotation = next(annotations)
            expected = annotation.load(shapes_labels).panoptic
            height, width = expected.shape
            assert raw["image_id"][b].decode() == annotation.name
            assert sizes[b].tolist() == [height, width]
            np.testing.assert_array_equal(raw["panoptic"][b, :height, :width], expected)
            assert (raw["panoptic"][b, height:] == void).all()
            assert (raw["panoptic"][b, :, width:] == void).all()
            resized = raw["fitted_size"][b]
            assert resized.max() == 65
            assert (images[b, resized[0] :] == 127.5).all()
            assert (targets["segment_map"][b, :, resized[1] :] == -1).all()
            mean = read_image(annotation.image_path).mean()
            assert images[b, : resized[0], : resized[1]].mean() == pytest.approx(mean, abs=4)


def test_evaluation_is_the_same_whatever_the_batch(experiment):
    whole = take(build_dataset(experiment, training=False), 10)
    experiment.eval_data.batch_size = 1
    single = take(build_dataset(experiment, training=False), 10)
    assert len(single) == 5
    images = np.concatenate([images for images, _, _ in whole])
    np.testing.assert_array_equal(images, np.concatenate([images for images, _, _ in single]))


def test_pipelines_divide_batch_and_records(experiment):
    ids = []
    for index in range(2):
        context = tf.distribute.InputContext(2, index, num_replicas_in_sync=2)
        for images, _, raw in take(build_dataset(experiment, False, context), 10):
            assert len(images) <= 2
            ids.extend(raw["image_id"])
    assert len(ids) == len(set(ids)) == 5
    first, second = (
        take(build_dataset(experiment, True, tf.distribute.InputContext(2, index, 2)), 1)[0][0]
        for index in range(2)
    )
    assert first.shape == second.shape == (2, 65, 65, 3)
    assert (first != second).any()
    experiment.train_data.batch_size = 3
    with pytest.raises(UserError, match="batch_size 3 cannot be divided among 2 replicas"):
        build_dataset(experiment, True, tf.distribute.InputContext(2, 0, 2))


def test_too_little_room_for_segments_is_an_error(experiment):
    experiment.eval_data.max_segments = 1
    experiment.eval_data.on_crowded = data_pb2.Data.ERROR
    with pytest.raises(tf.errors.InvalidArgumentError, match="max_segments allows 1"):
        take(build_dataset(experiment, training=False), 10)


@pytest.mark.parametrize("training", [True, False])
def test_records_of_other_classes_are_refused(experiment, tmp_path, training):
    for name in ("train", "val"):
        (tmp_path / f"{name}-00000-of-00001.tfrecord").touch()
    (tmp_path / "dataset.textproto").write_text(
        'num_ids: 2 ignore_label: 0 label_divisor: 1000 classes { id: 1 name: "bolt" thing: true }'
    )
    experiment.data_dir = str(tmp_path)
    with pytest.raises(UserError, match='label_divisor 1000 there, 256 here; class 1 is "bolt"'):
        build_dataset(experiment, training)


def test_descriptions_are_files_or_shipped(tmp_path):
    labels, text = read_description("shapes")
    assert labels.name == "shapes"
    path = tmp_path / "mine.textproto"
    path.write_text(text.replace('name: "shapes"', 'name: "mine"'))
    assert read_description(str(path))[0].name == "mine"
    with pytest.raises(UserError, match=r"no dataset description absent.*shapes"):
        read_description("absent")
    path.write_text('classes { names: "cat" }')
    with pytest.raises(UserError, match=r"mine\.textproto:1.*names.*name"):
        read_description(str(path))
    path.write_text("")
    with pytest.raises(UserError, match="has no classes"):
        read_description(str(path))
