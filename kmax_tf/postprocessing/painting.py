"""What merging takes and gives."""

from __future__ import annotations

from typing import Callable, NamedTuple

import tensorflow as tf


class Centers(NamedTuple):
    """What the network says of each cluster center.

    Attributes:
      confidence: [B, N] probability of the best class that is not void.
      class_index: [B, N] int32, that class.
    """

    confidence: tf.Tensor
    class_index: tf.Tensor


class Painting(NamedTuple):
    """Which center a pixel belongs to.

    Attributes:
      best: int32 center with the largest logit of each pixel, whatever its class; -1 where logits
        aren't finite. This and the next two are [B, H, W], or whatever `to_map` takes.
      painter: the center that painted; -1 for none.
      scored: the center whose confidence is the semantic score; -1 for none.
      to_map: (values [B, N], one of the three above, default) -> [B, H, W], the value of the center
        of each pixel, the default where there is none.
      probability: [B, H, W] largest mask probability.
      confident: [B, N] which centers pass the threshold of their class.
      mask_area: [B, N] int32 pixels of each confident mask.
      area: [B, N] int32 pixels that a center painted.
      instance: [B, N] int32 instance id (1..) that a thing of this center gets.
      score: [B, N] what centers were ranked by.
    """

    best: tf.Tensor
    painter: tf.Tensor
    scored: tf.Tensor
    to_map: Callable[[tf.Tensor, tf.Tensor, float], tf.Tensor]
    probability: tf.Tensor
    confident: tf.Tensor
    mask_area: tf.Tensor
    area: tf.Tensor
    instance: tf.Tensor
    score: tf.Tensor
