"""A function with constants in place of its variables: it loads and runs quicker."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

# The axis of rows, as a node.
_AXIS = "axis_of_rows"


def with_constants(concrete: Any, xla: bool = False) -> Any:
    """Returns a function that computes the same, with the present values of its variables.

    TensorFlow can then prepare weights once: oneDNN brings them into an order of its own, and what
    depends on weights alone is computed when a graph is made ready. Nor are variables handed from
    one function to the next, which is much of what makes a SavedModel slow to load.

    Args:
      concrete: a concrete function of one tensor. It reads its variables itself, not inside of
        loops or branches.
      xla: whether XLA compiles the new one.
    """
    captured = concrete.captured_inputs
    handles = {id(variable.handle): variable for variable in concrete.variables}
    variables = {
        inside.op.name: handles[id(outside)]
        for inside, outside in zip(concrete.inputs[-len(captured) :], captured)
    }
    argument, outputs = concrete.inputs[0], concrete.outputs
    definition = _replaced(concrete.graph.as_graph_def(), variables, argument.op.name)

    def compute(inputs: tf.Tensor) -> Any:
        values = tf.graph_util.import_graph_def(
            definition,
            input_map={argument.name: inputs},
            return_elements=[output.name for output in outputs],
            name="network",
        )
        for value, output in zip(values, outputs):
            value.set_shape(output.shape)
        return tf.nest.pack_sequence_as(concrete.structured_outputs, values)

    signature = [tf.TensorSpec(argument.shape, argument.dtype)]
    function = tf.function(
        compute,
        signature,
        autograph=False,
        jit_compile=xla or None,
        # Else every caller would have constants of its own, optimized and prepared anew.
        experimental_attributes={"_noinline": True},
    )
    return function.get_concrete_function()


def _replaced(
    graph: tf.compat.v1.GraphDef, variables: dict[str, tf.Variable], argument: str
) -> tf.compat.v1.GraphDef:
    """Replaces reads of variables, and their conversions to another type, by constants.

    The placeholders of variables and of the argument go.
    """
    constants: dict[str, np.ndarray] = {}
    for node in graph.node:
        if node.op == "ReadVariableOp" and node.input[0] in variables:
            constants[node.name] = variables[node.input[0]].numpy()
        elif node.op == "ResourceGather" and node.input[0] in variables:
            constants[node.input[0]] = variables[node.input[0]].numpy()
            constants[_AXIS] = np.array(0, np.int32)
            _gather_from_constant(node)
    for node in graph.node:
        if node.op == "Cast" and node.input[0] in constants:
            dtype = tf.as_dtype(node.attr["DstT"].type)
            constants[node.name] = tf.cast(constants[node.input[0]], dtype).numpy()
    gone = {*constants, *variables, argument}
    kept = [node for node in graph.node if node.name not in gone]
    for node in kept:  # nothing waits for a constant, and there will be no gradients
        node.attr.pop("_gradient_op_type", None)
        waited = [name for name in node.input if name[1:] in constants and name[0] == "^"]
        for name in waited:
            node.input.remove(name)
    read = {name.partition(":")[0] for node in kept for name in node.input}
    replaced = tf.compat.v1.GraphDef(library=graph.library, versions=graph.versions)
    for name in constants.keys() & read:
        value = constants[name]
        node = replaced.node.add(name=name, op="Const")
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
        node.attr["dtype"].type = node.attr["value"].tensor.dtype
    replaced.node.extend(kept)
    return replaced


def _gather_from_constant(node: tf.compat.v1.NodeDef) -> None:
    """Makes what takes rows of a variable take them of a constant."""
    node.op = "GatherV2"
    node.input.insert(2, _AXIS)
    node.attr["Tparams"].type = node.attr.pop("dtype").type
    node.attr["Taxis"].type = tf.int32.as_datatype_enum
    node.attr.pop("validate_indices")
