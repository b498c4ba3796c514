"""The operations that `kmax doctor` tries."""

from __future__ import annotations

import pytest
import tensorflow as tf

from kmax_tf.cli import doctor
from kmax_tf.cli.operation_checks import failures, operations
from kmax_tf.ops.trials import Example

GOOD = {"good": Example(tf.nn.relu, [[3]])}


def dilated(x):
    """TensorFlow's own: no CPU has its gradients in float64, with or without oneDNN."""
    x = tf.cast(x, tf.float64)
    return tf.nn.conv2d(x, tf.ones([3, 3, 8, 8], x.dtype), 1, "SAME", dilations=2)


def test_all_that_experiments_use_works_here():
    assert list(failures(operations())) == []


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        (dilated, "do not yet support dilation rates larger than 1"),
        (lambda x: tf.cast(tf.cast(x, tf.int32), tf.float32), "it has no gradient"),
        (lambda x: x / 0.0, "it gives no finite numbers"),
        (lambda x: x @ tf.zeros([3]), "ValueError"),
    ],
)
def test_what_fails_is_named_with_its_reason_and_a_remedy(operation, reason):
    examples = {**GOOD, "bad": Example(operation, [[2, 9, 9, 8]])}
    finding, of_the_other_precision = doctor.check_operations([], examples)
    assert (finding.name, of_the_other_precision.name) == ("bad in float32", "bad in bfloat16")
    assert reason in finding.problem
    assert "\n" not in finding.problem
    assert "export TF_ENABLE_ONEDNN_OPTS=" in finding.fix


def test_the_precision_policy_stays_as_it_was():
    policy = tf.keras.mixed_precision.global_policy().name
    assert list(failures(GOOD)) == []
    assert tf.keras.mixed_precision.global_policy().name == policy
