"""The typed contract between packages: what targets and predictions look like.

Axis letters: B batch, H height, W width, N cluster centers, K classes without void, D embedding,
M ground-truth segments (padded).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    import tensorflow as tf


class Targets(TypedDict):
    """Ground truth of a batch, at the resolution of the network's input.

    Segments are an integer map with a list of classes, not one mask each.

    Keys:
      semantic_map: [B, H, W] int32 dataset class ids; the ignore label where unlabeled. A crowd
        region keeps its class here but belongs to no segment.
      segment_map: [B, H, W] int32 index of each pixel's segment into segment_classes; -1 where a
        pixel belongs to none (unlabeled or crowd).
      segment_classes: [B, M] int32 class index in the network's order (`LabelSpace.classes`); -1
        pads. One entry a thing instance and one a stuff class.
      semantic_weights: [B, H, W] float32 weight of each pixel in the semantic loss.
    """

    semantic_map: tf.Tensor
    segment_map: tf.Tensor
    segment_classes: tf.Tensor
    semantic_weights: tf.Tensor


class Predictions(TypedDict, total=False):
    """What the network says of a batch. h x w is the resolution of its finest pixel features.

    Keys:
      mask_logits: [B, h, w, N] float32.
      class_logits: [B, N, K+1] float32; the last is void ("no segment").
      pixel_embeddings: [B, h, w, D] float32.
      semantic_logits: [B, h', w', num_ids] float32, where the model has a semantic branch.
      class_maps: [B, h, w, K] float32 class probabilities of pixels, of averaged predictions
        (`postprocessing.views`).
      intermediate: one prediction (the first three keys) a kMaX block, in training; each at the
        resolution of the features that the block reads.
    """

    mask_logits: tf.Tensor
    class_logits: tf.Tensor
    pixel_embeddings: tf.Tensor
    semantic_logits: tf.Tensor
    class_maps: tf.Tensor
    intermediate: list[Predictions]
