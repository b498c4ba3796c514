"""Constants in place of variables."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf.export.constants import with_constants


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16, tf.float16])
@pytest.mark.parametrize("xla", [False, True])
def test_a_function_keeps_its_values_and_has_no_variables(dtype, xla):
    table = tf.Variable([3.0, 5.0])
    kernel, scale = tf.Variable(tf.random.stateless_normal([3, 4], [1, 2])), tf.Variable(2.0)

    @tf.function(input_signature=[tf.TensorSpec([None, 3])], autograph=False)
    def compute(x):
        low = tf.matmul(tf.cast(x, dtype), tf.cast(kernel, dtype))
        low += tf.cast(tf.gather(table, [1, 0, 1, 1]), dtype)
        return {"product": tf.cast(low, tf.float32) * scale, "scale": scale + tf.reduce_sum(x)}

    x = tf.random.stateless_normal([5, 3], [3, 4])
    expected = compute(x)
    concrete = with_constants(compute.get_concrete_function(), xla)
    scale.assign(7.0)  # too late
    found = concrete(x)
    # XLA keeps sums of short numbers in long ones.
    rtol = 1e-6 if dtype == tf.float32 or not xla else 1e-2
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol, rtol)
    assert not concrete.variables
    # Weights lie there in the type that is computed in.
    kept = {
        node.attr["dtype"].type
        for node in concrete.graph.as_graph_def().node
        if node.op == "Const" and len(node.attr["value"].tensor.tensor_shape.dim) == 2
    }
    assert kept == {dtype.as_datatype_enum}
    assert concrete.structured_outputs["product"].shape.as_list() == [None, 4]
