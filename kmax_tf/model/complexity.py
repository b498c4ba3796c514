"""How much a network computes, read off its graph."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Callable

import tensorflow as tf


def multiply_adds(model: Callable[..., Any], height: int, width: int) -> int:
    """Returns the multiply-adds of convolutions and matrix products for one image, in inference.

    Nothing is computed: the network is traced at that size. What the outputs don't need, such as a
    semantic branch beside mask and class logits, isn't counted.

    Args:
      model: images [1, height, width, 3] -> a tensor, or a mapping whose mask_logits and
        class_logits are what inference needs.
      height: of the image.
      width: of the image.

    Raises:
      ValueError: the graph calls functions (a `tf.function`, a loop, a branch) or has products of
        unknown size, so that not all could be counted.
    """
    function = tf.function(lambda images: model(images, training=False))
    traced = function.get_concrete_function(tf.TensorSpec([1, height, width, 3], tf.float32))
    outputs = traced.structured_outputs
    if isinstance(outputs, Mapping):
        outputs = [outputs["mask_logits"], outputs["class_logits"]]
    return sum(_of_operation(operation) for operation in _needed(tf.nest.flatten(outputs)))


def _needed(outputs: Iterable[tf.Tensor]) -> Iterator[tf.Operation]:
    """Yields the operations that outputs depend on, each once."""
    pending = [tensor.op for tensor in outputs]
    seen = set(pending)
    while pending:
        operation = pending.pop()
        yield operation
        for tensor in operation.inputs:
            if tensor.op not in seen:
                seen.add(tensor.op)
                pending.append(tensor.op)


def _of_operation(operation: tf.Operation) -> int:
    """Returns the multiply-adds of one operation; 0 of any but products."""
    if any(attribute.HasField("func") for attribute in operation.node_def.attr.values()):
        raise ValueError(f"{operation.name} calls a function, whose products cannot be counted")
    terms = _terms_of_each_output(operation)
    if not terms:
        return 0
    count = operation.outputs[0].shape.num_elements()
    if count is None:
        raise ValueError(f"the size of {operation.name} is unknown, so it cannot be counted")
    return int(count * terms)


def _terms_of_each_output(operation: tf.Operation) -> int:
    """Returns how many products are summed to one number of the output; 0: it is no product."""
    if operation.type == "Conv2D":
        return math.prod(operation.inputs[1].shape[:3])  # of [h, w, C, filters]
    if operation.type == "DepthwiseConv2dNative":
        return math.prod(operation.inputs[1].shape[:2])  # of [h, w, C, multiplier]
    if any(tensor.op.type == "OneHot" for tensor in operation.inputs):
        return 0  # a sum written as a product (`ops.sum_by_center`): alike on every machine
    if operation.type in ("MatMul", "BatchMatMulV2"):
        left = operation.inputs[0]
        transposed = operation.get_attr("transpose_a" if operation.type == "MatMul" else "adj_x")
        return int(left.shape[-2 if transposed else -1])
    if operation.type == "Einsum" and len(operation.inputs) == 2:
        return _terms_of_einsum(operation)
    return 0


def _terms_of_einsum(operation: tf.Operation) -> int:
    """Multiplies the sizes of the axes that the output of an einsum doesn't have."""
    words, output = operation.get_attr("equation").decode().split("->")
    sizes: dict[str, int] = {}
    for word, tensor in zip(words.split(","), operation.inputs):
        first, _, last = word.partition("...")
        sizes.update(zip(first, tensor.shape))
        sizes.update(zip(reversed(last), reversed(tensor.shape)))
    return math.prod(size for label, size in sizes.items() if label not in output)
