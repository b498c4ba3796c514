import importlib
import pathlib
import re

import pytest
from google.protobuf.descriptor import FieldDescriptor

import kmax_tf
from kmax_tf.config.ranges import holds, out_of_range, range_of
from kmax_tf.protos import experiment_pb2

NUMBERS = {
    FieldDescriptor.CPPTYPE_INT32,
    FieldDescriptor.CPPTYPE_INT64,
    FieldDescriptor.CPPTYPE_FLOAT,
    FieldDescriptor.CPPTYPE_DOUBLE,
}


def fields(descriptor, seen):
    """Returns all fields of a message and of those in it."""
    if descriptor.full_name in seen:
        return []
    seen.add(descriptor.full_name)
    below = [fields(field.message_type, seen) for field in descriptor.fields if field.message_type]
    return [*descriptor.fields, *(field for found in below for field in found)]


FIELDS = {field.full_name: field for field in fields(experiment_pb2.Experiment.DESCRIPTOR, set())}


def test_numbers_have_ranges_and_nothing_else_has():
    with_range = {name for name, field in FIELDS.items() if range_of(field) is not None}
    assert with_range == {name for name, field in FIELDS.items() if field.cpp_type in NUMBERS}
    assert len(with_range) > 100


def test_defaults_are_in_range():
    for name, field in FIELDS.items():
        bounds = range_of(field)
        if bounds is not None and field.has_default_value:
            assert holds(bounds, field.default_value), name


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        ("data.Data.batch_size", 0, "at least 1, not 0"),
        ("training.Optimizer.learning_rate", 0.0, "above 0, not 0"),
        ("training.Lookahead.kept_share", 2.0, "above 0 and at most 1, not 2"),
        ("training.Averaging.decay", 1.0, "at least 0 and below 1, not 1"),
        ("model.Heads.void_prior", 1.0, "above 0 and below 1, not 1"),
        ("training.Runtime.num_gpus", -2, "-1 (all) or at least 0, not -2"),
    ],
)
def test_a_problem_says_the_range(path, value, text):
    module, kind, name = path.split(".")
    message = getattr(importlib.import_module(f"kmax_tf.protos.{module}_pb2"), kind)()
    setattr(message, name, value)
    assert list(out_of_range(message)) == [(name, f"must be {text}")]


def test_all_depths_and_lists_are_looked_at():
    experiment = experiment_pb2.Experiment()
    experiment.train_data.augmentation.flip_probability = 1.5
    experiment.model.pixel_decoder.stages.add(filters=8)
    experiment.model.pixel_decoder.stages.add(filters=0)
    experiment.dataset.classes.add(color=[1, 256, 3])
    experiment.training.optimizer.learning_rate = float("nan")
    assert [(path, text) for path, text in out_of_range(experiment)] == [
        ("dataset.classes[0].color[1]", "must be in 0..255, not 256"),
        ("train_data.augmentation.flip_probability", "must be in 0..1, not 1.5"),
        ("model.pixel_decoder.stages[1].filters", "must be at least 1, not 0"),
        ("training.optimizer.learning_rate", "must be a finite number, not nan"),
    ]


def test_every_field_is_read_somewhere():
    package = pathlib.Path(kmax_tf.__file__).parent
    sources = [path for path in package.rglob("*.py") if path.parent.name != "protos"]
    words = {word for path in sources for word in re.findall(r"\w+", path.read_text("utf-8"))}
    assert {field.name for field in FIELDS.values()} - words == set()
