"""What merging takes and gives."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import tensorflow as tf

from kmax_tf import ops
from kmax_tf.postprocessing.full_size import Size


class Centers(NamedTuple):
    """What the network says of each cluster center.

    Attributes:
      confidence: [B, N] probability of the best class that is not void.
      class_index: [B, N] int32, that class.
    """

    confidence: tf.Tensor
    class_index: tf.Tensor


@dataclasses.dataclass(frozen=True)
class Pixels:
    """The pixels of a batch, one by one: what is known of them is [B, H, W].

    `Cells` are another form of it, in which that is a list [P].

    Attributes:
      batch: B, a number where it is known.
      images: [B, 1, 1] int32, of which image a pixel is.
      weights: int32, how many pixels each stands for.
    """

    batch: Size
    images: tf.Tensor
    weights: tf.Tensor

    def of_images(self, values: tf.Tensor) -> tf.Tensor:
        """Gives pixels what their image has [B]."""
        return tf.gather(values, self.images)

    def of_centers(self, values: tf.Tensor, centers: tf.Tensor, default: float) -> tf.Tensor:
        """Gives pixels the value [B, N] of their center, the default where that is -1."""
        places = self.images * values.shape[1] + tf.maximum(centers, 0)
        found = tf.gather(tf.reshape(values, [-1]), places)
        return tf.where(centers >= 0, found, tf.cast(default, values.dtype))

    def as_map(self, values: tf.Tensor) -> tf.Tensor:
        """Returns values of pixels as a map [B, H, W]."""
        return values

    def map_of_centers(self, values: tf.Tensor, centers: tf.Tensor, default: float) -> tf.Tensor:
        """Returns [B, H, W]: the same as `of_centers`, as a map."""
        return self.as_map(self.of_centers(values, centers, default))

    def area(self, where: tf.Tensor) -> tf.Tensor:
        """Counts the pixels of each image where a condition holds: [B] int32."""
        return tf.reduce_sum(tf.cast(where, tf.int32), axis=[1, 2])

    def areas(self, numbers: tf.Tensor, count: int) -> tf.Tensor:
        """Counts the pixels of each number below a count, such as a center: [B, count] int32."""
        form = ops.choose(self._areas_by_scattering, in_other_runtimes=self._areas_in_turn)
        return form(numbers, count)

    def _areas_in_turn(self, numbers: tf.Tensor, count: int) -> tf.Tensor:
        return ops.in_turn(lambda number: self.area(numbers == number), self.batch, count, tf.int32)

    def _areas_by_scattering(self, numbers: tf.Tensor, count: int) -> tf.Tensor:
        ids = tf.where(numbers >= 0, self.images * count + numbers, -1)
        weights = tf.where(numbers >= 0, self.weights, 0)
        sums = tf.math.unsorted_segment_sum(weights, ids, self.batch * count)
        return tf.reshape(sums, [self.batch, count])


class Painting(NamedTuple):
    """Which center a pixel belongs to.

    Attributes:
      pixels: where those are that the next three are of.
      best: int32 center with the largest logit of each pixel, whatever its class; -1 where logits
        aren't finite.
      painter: the center that painted; -1 for none.
      confidence_of: the center whose confidence is the semantic score; -1 for none.
      probability: [B, H, W] largest mask probability.
      confident: [B, N] which centers pass the threshold of their class.
      mask_area: [B, N] int32 pixels of each confident mask.
      area: [B, N] int32 pixels that a center painted.
      instance: [B, N] int32 instance id (1..) that a thing of this center gets.
      score: [B, N] what centers were ranked by.
    """

    pixels: Pixels
    best: tf.Tensor
    painter: tf.Tensor
    confidence_of: tf.Tensor
    probability: tf.Tensor
    confident: tf.Tensor
    mask_area: tf.Tensor
    area: tf.Tensor
    instance: tf.Tensor
    score: tf.Tensor
