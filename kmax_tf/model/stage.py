"""A stage of a network: blocks in a row.

In a .keras file stages have the names of their classes: those can't be others, or this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

import tensorflow as tf

from kmax_tf.keras_api import keras
from kmax_tf.model.recompute import call_block


class Stage(keras.layers.Layer):
    """Blocks in a row. [B, H, W, C] -> what the last of them gives."""

    def __init__(
        self,
        blocks: Sequence[keras.layers.Layer],
        recompute_blocks: bool,
        name: Optional[str] = None,
    ):
        """Takes the blocks.

        Args:
          blocks: applied in turn.
          recompute_blocks: compute each again in the backward pass, instead of keeping what is
            inside it.
          name: of the layer.
        """
        super().__init__(name=name)
        self.recompute_blocks = recompute_blocks
        self.blocks = list(blocks)

    def call(self, x: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        """Applies the blocks in turn."""
        for block in self.blocks:
            x = call_block(block, x, training, self.recompute_blocks)
        return x
