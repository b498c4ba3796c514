"""Test-time augmentation: several views of an image become one prediction.

Cluster centers of different views don't correspond: what is center 7 of the image may be center 12
of its mirror image. So the centers of each view are first matched with those of the image itself,
by how much their masks and their classes agree; then their probabilities are averaged.
The result is a prediction like any other, which every way of merging takes, and views that agree
leave the prediction as it is. For the semantic map nothing needs to correspond: there the class
probabilities of each pixel are averaged over all views.
"""

from __future__ import annotations

import dataclasses
from typing import Callable, NamedTuple

import tensorflow as tf

from kmax_tf.ops.resizing import resize_bilinear, spatial_size, valid_scaled_size
from kmax_tf.structures import Predictions

_TINY = 1e-30


class _View(NamedTuple):
    """Probabilities of a view, brought back to the image: [B, h, w, N] and [B, N, K+1]."""

    masks: tf.Tensor
    classes: tf.Tensor


@dataclasses.dataclass(frozen=True)
class Views:
    """Predicts an image in several sizes, and mirrored.

    Attributes:
      scales: sizes beside that of the input, as factors of it.
      flip: whether each size is also mirrored.
    """

    scales: tuple[float, ...]
    flip: bool

    def __call__(
        self, predict: Callable[[tf.Tensor], Predictions], images: tf.Tensor
    ) -> Predictions:
        """Predicts a batch.

        Args:
          predict: the network.
          images: [B, H, W, 3] its inputs, H and W of the form 32k + 1.

        Returns:
          mask_logits and class_logits of the resolution and the centers of the images as they are;
          with more than one view also class_maps, [B, h, w, K], class probabilities of pixels.
        """
        first = predict(images)
        if not self.scales and not self.flip:
            return first
        reference = _probabilities(first)
        views = [reference]
        if self.flip:
            views.append(self._view(predict, images, reference.masks, flip=True))
        for scale in self.scales:
            resized = resize_bilinear(tf.cast(images, tf.float32), valid_scaled_size(images, scale))
            for flip in (False, True) if self.flip else (False,):
                views.append(self._view(predict, resized, reference.masks, flip))
        return _average(reference, views)

    def _view(
        self,
        predict: Callable[[tf.Tensor], Predictions],
        images: tf.Tensor,
        like: tf.Tensor,
        flip: bool,
    ) -> _View:
        """Predicts one view and brings its masks to the resolution of others [B, h, w, N]."""
        view = _probabilities(predict(tf.reverse(images, [2]) if flip else images))
        masks = tf.reverse(view.masks, [2]) if flip else view.masks
        if masks.shape[1:3] != like.shape[1:3] or None in like.shape[1:3]:
            masks = resize_bilinear(masks, spatial_size(like))
        return view._replace(masks=tf.ensure_shape(masks, like.shape))


def _probabilities(predictions: Predictions) -> _View:
    logits = (predictions[name] for name in ("mask_logits", "class_logits"))
    return _View(*(tf.nn.softmax(tf.cast(values, tf.float32)) for values in logits))


def _average(reference: _View, views: list[_View]) -> Predictions:
    """Averages views over what they have in common with the reference."""
    matched = [reference, *(_matched(reference, view) for view in views[1:])]
    masks = tf.add_n([view.masks for view in matched]) / len(matched)
    classes = tf.add_n([view.classes for view in matched]) / len(matched)
    class_maps = [tf.einsum("bhwn,bnk->bhwk", v.masks, v.classes[..., :-1]) for v in views]
    return {
        "mask_logits": tf.math.log(masks + _TINY),
        "class_logits": tf.math.log(classes + _TINY),
        "class_maps": tf.add_n(class_maps) / len(views),
    }


def _matched(reference: _View, view: _View) -> _View:
    """Returns a view in terms of the reference's centers.

    Two centers match if each is the other's best by (Dice of the masks) * (probability that both
    mean the same class). A center of the reference that the view doesn't find again keeps what the
    reference says of it; the masks of a pixel add up to 1 again.
    """
    common = tf.einsum("bhwn,bhwm->bnm", reference.masks, view.masks)
    own = tf.reduce_sum(reference.masks**2, axis=[1, 2])[:, :, tf.newaxis]
    others = tf.reduce_sum(view.masks**2, axis=[1, 2])[:, tf.newaxis]
    dice = 2 * common / (own + others + _TINY)  # [B, N, M]
    agreement = dice * tf.matmul(reference.classes, view.classes, transpose_b=True)
    partner = tf.argmax(agreement, axis=2, output_type=tf.int32)  # [B, N]
    back = tf.argmax(agreement, axis=1, output_type=tf.int32)  # [B, M]
    mutual = tf.gather(back, partner, batch_dims=1) == tf.range(partner.shape[1])  # [B, N]
    weight = tf.cast(mutual, tf.float32)
    choose = tf.one_hot(partner, partner.shape[1]) * weight[:, :, tf.newaxis]  # [B, N, M]
    kept = (1 - weight)[:, tf.newaxis, tf.newaxis]
    masks = tf.einsum("bhwm,bnm->bhwn", view.masks, choose) + kept * reference.masks
    masks /= tf.reduce_sum(masks, axis=-1, keepdims=True) + _TINY
    classes = tf.where(
        mutual[:, :, tf.newaxis], tf.gather(view.classes, partner, batch_dims=1), reference.classes
    )
    return _View(masks, classes)
