import pytest
from google.protobuf.descriptor import FieldDescriptor

from kmax_tf.config.ranges import RANGES, out_of_range
from kmax_tf.protos import experiment_pb2

NUMBERS = {
    FieldDescriptor.CPPTYPE_INT32,
    FieldDescriptor.CPPTYPE_INT64,
    FieldDescriptor.CPPTYPE_FLOAT,
    FieldDescriptor.CPPTYPE_DOUBLE,
}


def messages(descriptor, seen):
    if descriptor.name not in seen:
        seen[descriptor.name] = descriptor
        for field in descriptor.fields:
            if field.message_type is not None:
                messages(field.message_type, seen)
    return seen


MESSAGES = messages(experiment_pb2.Experiment.DESCRIPTOR, {})


def test_every_number_of_the_protos_has_a_range_and_no_range_is_stale():
    numbers = {
        name: {field.name for field in descriptor.fields if field.cpp_type in NUMBERS}
        for name, descriptor in MESSAGES.items()
    }
    assert {name: set(ranges) for name, ranges in RANGES.items()} == {
        name: fields for name, fields in numbers.items() if fields
    }


@pytest.mark.parametrize("name", sorted(RANGES))
def test_defaults_are_in_range(name):
    for field in MESSAGES[name].fields:
        if field.name in RANGES[name] and field.has_default_value:
            assert RANGES[name][field.name].holds(field.default_value), field.name


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
