"""Mask-wise merging as its definition reads: the yardstick of benchmarks/postprocessing.py.

All mask logits are resized at once, and masks are painted one after another. The maps are those of
`kmax_tf.postprocessing`, pixel for pixel.
"""

from __future__ import annotations

import tensorflow as tf

from kmax_tf.postprocessing.postprocessor import Postprocessor


class PlainMerging:
    """Predictions -> panoptic and semantic map of one image after another."""

    def __init__(self, options: Postprocessor):
        self.options = options

    def __call__(self, predictions: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Merges a batch [B, h, w, N]."""
        return tf.map_fn(
            lambda pair: self.merge(*pair),
            (predictions["mask_logits"], predictions["class_logits"]),
            fn_output_signature={"panoptic": tf.int32, "semantic": tf.int32},
        )

    def merge(self, mask_logits: tf.Tensor, class_logits: tf.Tensor) -> dict[str, tf.Tensor]:
        """Merges the masks of an image [h, w, N]."""
        options, labels, merging = self.options, self.options.label_space, self.options.merging
        height, width, centers = mask_logits.shape
        size = [(side - 1) * options.output_stride + 1 for side in (height, width)]
        resized = tf.raw_ops.ResizeBilinear(
            images=mask_logits[tf.newaxis], size=size, align_corners=True
        )[0]
        binary = tf.nn.softmax(resized) > options.pixel_threshold  # [H, W, N]
        classes = tf.nn.softmax(class_logits)[:, :-1]
        confidence = tf.reduce_max(classes, axis=1)
        class_index = tf.argmax(classes, axis=1)
        small = tf.nn.softmax(mask_logits)
        inside = tf.cast(small > options.pixel_threshold, tf.float32)
        mask_score = tf.math.divide_no_nan(
            tf.reduce_sum(small * inside, axis=[0, 1]), tf.reduce_sum(inside, axis=[0, 1])
        )
        score = confidence**merging.class_weight * mask_score**merging.mask_weight
        order = tf.argsort(score, direction="DESCENDING", stable=True)
        is_thing = tf.gather(labels.is_thing, class_index)
        ids = tf.gather(labels.ids, class_index)
        threshold = tf.gather(tf.constant(merging.class_thresholds), class_index)
        panoptic = tf.fill(size, labels.void_panoptic_id)
        free = tf.fill(size, True)
        for rank in tf.range(centers):
            center = order[rank]
            mask = binary[:, :, center]
            new = mask & free
            areas = [tf.reduce_sum(tf.cast(x, tf.float32)) for x in (new, mask)]
            if (
                confidence[center] >= threshold[center]
                and areas[0] > merging.overlap_threshold * areas[1]
            ):
                instance = rank + 1 if is_thing[center] else 0
                panoptic = tf.where(new, ids[center] * labels.label_divisor + instance, panoptic)
                free &= ~new
        panoptic = self.without_small(panoptic, ids, is_thing, order)
        semantic = tf.gather(ids, tf.argmax(resized, axis=2))
        return {"panoptic": panoptic, "semantic": semantic}

    def without_small(self, panoptic, ids, is_thing, order) -> tf.Tensor:
        """Makes segments below the area limits void."""
        options, labels = self.options, self.options.label_space
        for rank in tf.range(order.shape[0]):
            center = order[rank]
            instance = rank + 1 if is_thing[center] else 0
            region = panoptic == ids[center] * labels.label_divisor + instance
            limit = options.thing_area_limit if is_thing[center] else options.stuff_area_limit
            if tf.math.count_nonzero(region, dtype=tf.int32) < limit:
                panoptic = tf.where(region, labels.void_panoptic_id, panoptic)
        return panoptic
