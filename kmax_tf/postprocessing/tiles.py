"""Mask logits at full size, without ever having all of them at once."""

from __future__ import annotations

from typing import Any, Callable

import tensorflow as tf

# Rows of a tile at full size: enough work for an operation, little enough to stay in caches.
_TILE_ROWS = 16


def map_tiles(
    mask_logits: tf.Tensor,
    stride: int,
    read: Callable[[tf.Tensor], Any],
    signature: Any,
) -> Any:
    """Resizes mask logits, bilinear with aligned corners, tile by tile, and keeps what is read.

    Tiles begin at rows of the small map, so each pixel is interpolated as in the whole: the result
    is the same to the last bit.

    Args:
      mask_logits: [B, h, w, N].
      stride: the full size is H = (h - 1) * stride + 1, W likewise.
      read: from resized logits [B, rows, W, N] to tensors [B, rows, W, ...].
      signature: dtypes of what `read` returns, in the same structure.

    Returns:
      What `read` returns of all rows: [B, H, W, ...].
    """
    batch, height, width, _ = _shape(mask_logits)
    steps = max(1, _TILE_ROWS // stride)  # rows of the small map in a tile
    rows = steps * stride
    full_height, full_width = ((side - 1) * stride + 1 for side in (height, width))
    tiles = (full_height + rows - 1) // rows
    padding = tiles * steps + 1 - height
    padded = tf.concat([mask_logits, tf.repeat(mask_logits[:, -1:], padding, axis=1)], axis=1)

    def one(tile: tf.Tensor) -> Any:
        part = padded[:, tile * steps : (tile + 1) * steps + 1]
        part = tf.ensure_shape(part, [mask_logits.shape[0], steps + 1, *mask_logits.shape[2:]])
        resized = tf.raw_ops.ResizeBilinear(
            images=part, size=[rows + 1, full_width], align_corners=True
        )
        return read(resized[:, :rows])

    read_tiles = tf.map_fn(
        one, tf.range(tiles), fn_output_signature=signature, parallel_iterations=1
    )

    def joined(x: tf.Tensor) -> tf.Tensor:
        x = tf.reshape(
            tf.transpose(x, [1, 0, *range(2, x.shape.rank)]),
            [batch, tiles * rows, full_width, *x.shape[4:]],
        )  # [B, tiles * rows, W, ...]
        return x[:, :full_height]

    return tf.nest.map_structure(joined, read_tiles)


def _shape(x: tf.Tensor) -> list[Any]:
    """Returns the sides as numbers where they are known, else as tensors."""
    dynamic = tf.shape(x)
    return [dynamic[axis] if side is None else side for axis, side in enumerate(x.shape)]
