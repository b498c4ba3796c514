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
    if operation.type == "Conv2D":
        kernel = operation.inputs[1].shape  # [h, w, C, filters]
        return int(operation.outputs[0].shape.num_elements() * math.prod(kernel[:3]))
    if operation.type == "DepthwiseConv2dNative":
        kernel = operation.inputs[1].shape  # [h, w, C, multiplier]
        return int(operation.outputs[0].shape.num_elements() * math.prod(kernel[:2]))
    if operation.type in ("MatMul", "BatchMatMulV2"):
        left = operation.inputs[0].shape
        transposed = operation.get_attr("transpose_a" if operation.type == "MatMul" else "adj_x")
        return int(operation.outputs[0].shape.num_elements() * left[-2 if transposed else -1])
    if operation.type == "Einsum":
        labels = operation.get_attr("equation").decode().split("->")[0].split(",")
        sizes = {
            label: size
            for word, tensor in zip(labels, operation.inputs)
            for label, size in zip(word, tensor.shape)
        }
        return math.prod(sizes.values())
    return 0
