"""The whole loss: matching once, then every term for the final and each intermediate prediction."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from kmax_tf import ops
from kmax_tf.losses import terms
from kmax_tf.losses.matching import Matcher, Matching, match_on_host
from kmax_tf.ops.resizing import resize_bilinear, subsample
from kmax_tf.structures import Predictions, Targets


@dataclasses.dataclass(frozen=True)
class LossOptions:
    """Weights and settings of the terms; a weight of 0 switches a term off.

    Attributes:
      num_classes: K, without void.
      ignore_label: semantic id of unlabeled pixels.
      pq_style_weight: of the mask and the class term.
      matched_share: share of the matched centers, the void ones getting the rest.
      mask_id_weight: of the pixels' cross-entropy over centers.
      instance_discrimination_weight: of the contrastive term.
      sample_count: pixels that the contrastive term samples per image.
      temperature: of the contrastive term.
      sample_temperature: exponent of the inverse area in its sampling.
      semantic_weight: of the auxiliary semantic branch.
      semantic_top_fraction: share of its pixels that is kept.
      unmatched_gradient: whether pixels without a segment (crowd pixels and, in the contrastive
        term, sampled unlabeled ones), whose loss is 0, get the gradient of a target that is zero
        everywhere, as in the published training: it lowers what they resemble most.
    """

    num_classes: int
    ignore_label: int
    pq_style_weight: float = 3.0
    matched_share: float = 0.75
    mask_id_weight: float = 0.3
    instance_discrimination_weight: float = 1.0
    sample_count: int = 4096
    temperature: float = 0.3
    sample_temperature: float = 0.6
    semantic_weight: float = 1.0
    semantic_top_fraction: float = 1.0
    unmatched_gradient: bool = True


@dataclasses.dataclass(frozen=True)
class _Truth:
    """Ground truth on the grid of the mask logits, flattened, and the matching with its weights."""

    segments: tf.Tensor  # [B, P] int32
    labeled: tf.Tensor  # [B, P] bool
    spread: tf.Tensor  # [B, P] bool: crowd pixels that get a gradient
    areas: tf.Tensor  # [B, M]
    matching: Matching
    target_classes: tf.Tensor  # [B, N] int32
    segment_weights: tf.Tensor  # [B, M]
    center_weights: tf.Tensor  # [B, N]


class KMaXLoss:
    """(Targets, Predictions) -> {term: scalar}. Their sum is the training loss.

    Terms are weighted means over the batch. The final prediction's terms are `pq_mask`, `pq_class`,
    `mask_id`, `instance_discrimination` and `semantic`; those of the prediction that kMaX block i
    starts from are `block<i>/...`. All share one matching, made on the final prediction.
    """

    def __init__(self, options: LossOptions, match: Matcher = match_on_host):
        self.options = options
        self.match = match

    def __call__(self, targets: Targets, predictions: Predictions) -> dict[str, tf.Tensor]:
        """Returns the mean of each term over the batch."""
        return {
            name: tf.reduce_mean(values)
            for name, values in self.per_example(targets, predictions).items()
        }

    def term_names(self, num_blocks: int, semantic: bool) -> list[str]:
        """Returns the names of all terms, for a model with these intermediate predictions."""
        options = self.options
        names = ["pq_mask", "pq_class"] if options.pq_style_weight else []
        names += ["mask_id"] if options.mask_id_weight else []
        names += ["instance_discrimination"] if options.instance_discrimination_weight else []
        names += [f"block{i}/{name}" for i in range(1, num_blocks + 1) for name in names]
        return [*names, "semantic"] if semantic and options.semantic_weight else names

    def per_example(self, targets: Targets, predictions: Predictions) -> dict[str, tf.Tensor]:
        """Returns each weighted term, [B]."""
        truth = self._match(targets, predictions)
        size = tuple(predictions["mask_logits"].shape[1:3])
        result = self._prediction_terms(truth, predictions, size)
        for i, prediction in enumerate(predictions.get("intermediate", []), start=1):
            resized = Predictions(
                mask_logits=resize_bilinear(prediction["mask_logits"], size),
                class_logits=prediction["class_logits"],
                pixel_embeddings=prediction["pixel_embeddings"],
            )
            block_terms = self._prediction_terms(truth, resized, size)
            result.update({f"block{i}/{name}": value for name, value in block_terms.items()})
        if self.options.semantic_weight and "semantic_logits" in predictions:
            result["semantic"] = self._semantic(targets, predictions["semantic_logits"])
        return result

    def _match(self, targets: Targets, predictions: Predictions) -> _Truth:
        """Matches segments with the final prediction's centers by mask and class similarity."""
        options = self.options
        mask_logits = predictions["mask_logits"]
        segments = _flatten(subsample(targets["segment_map"], mask_logits))
        semantic = _flatten(subsample(targets["semantic_map"], mask_logits))
        labeled = semantic != options.ignore_label
        num_segments = targets["segment_classes"].shape[1]
        ones = tf.ones_like(segments, tf.float32)
        areas = ops.segment_sums(ones, segments, num_segments)  # [B, M]
        classes = targets["segment_classes"]
        valid = (areas > 0) & (classes >= 0)

        probability = tf.nn.softmax(_flatten(mask_logits))  # [B, P, N]
        overlap = ops.segment_sums(probability, segments, num_segments)  # [B, M, N]
        labeled_size = tf.einsum("bpn,bp->bn", probability, tf.cast(labeled, tf.float32))
        size = tf.reduce_sum(probability, axis=1)  # [B, N]
        union = (areas[:, :, tf.newaxis] + labeled_size[:, tf.newaxis, :]) / 2
        mask_similarity = overlap / (union + 1e-5)
        class_similarity = tf.gather(
            tf.transpose(tf.nn.softmax(predictions["class_logits"]), [0, 2, 1]),
            tf.maximum(classes, 0),
            batch_dims=1,
        )  # [B, M, N]
        matching = self.match(mask_similarity * class_similarity, valid)

        segment = tf.maximum(matching.segment_of_center, 0)[:, :, tf.newaxis]
        matched = matching.segment_of_center >= 0
        similarity_of_center = tf.gather(
            tf.transpose(mask_similarity, [0, 2, 1]), segment, batch_dims=2
        )[..., 0]  # [B, N]
        unlabeled_share = (size - labeled_size) / (size + 1e-5)
        classes_of_center = tf.gather(classes, segment[..., 0], batch_dims=1)
        center = tf.maximum(matching.center_of_segment, 0)[:, :, tf.newaxis]
        return _Truth(
            segments=segments,
            labeled=labeled,
            spread=labeled & (segments < 0) & options.unmatched_gradient,
            areas=areas,
            matching=matching,
            target_classes=tf.where(matched, classes_of_center, options.num_classes),
            segment_weights=tf.stop_gradient(
                tf.gather(class_similarity, center, batch_dims=2)[..., 0]
            ),
            center_weights=tf.stop_gradient(
                tf.where(matched, similarity_of_center, unlabeled_share)
            ),
        )

    def _prediction_terms(
        self, truth: _Truth, prediction: Predictions, size: tuple[int, int]
    ) -> dict[str, tf.Tensor]:
        """Returns the weighted terms of one prediction.

        Args:
          truth: at the size of the final prediction.
          prediction: its mask logits resized to that; its embeddings as they are.
          size: height and width of the final prediction.
        """
        options = self.options
        centers = truth.matching.center_of_segment
        entropy, mask_sizes = terms.pixel_entropy_and_mask_sizes(
            _flatten(prediction["mask_logits"]), truth.segments, centers, truth.spread
        )
        result = {}
        if options.pq_style_weight:
            result["pq_mask"] = (
                options.pq_style_weight
                * options.matched_share
                * terms.mask_dice(
                    mask_sizes, entropy, truth.segments, centers, truth.segment_weights
                )
            )
            result["pq_class"] = options.pq_style_weight * terms.class_cross_entropy(
                prediction["class_logits"],
                truth.target_classes,
                truth.center_weights,
                options.matched_share,
            )
        if options.mask_id_weight:
            result["mask_id"] = options.mask_id_weight * terms.mean_of_nonzero(entropy)
        if options.instance_discrimination_weight:
            result["instance_discrimination"] = (
                options.instance_discrimination_weight
                * self._instance_discrimination(truth, prediction["pixel_embeddings"], size)
            )
        return result

    def _instance_discrimination(
        self, truth: _Truth, pixel_embeddings: tf.Tensor, size: tuple[int, int]
    ) -> tf.Tensor:
        """Returns [B]: the contrastive term over sampled pixels of a grid of that size."""
        options = self.options
        indices = terms.sample_pixels(
            truth.segments,
            truth.labeled,
            truth.areas,
            options.sample_count,
            options.sample_temperature,
            tf.random.uniform(tf.shape(truth.segments)),
        )
        return terms.instance_discrimination(
            terms.interpolate_pixels(pixel_embeddings, size, indices),
            tf.gather(truth.segments, indices, batch_dims=1),
            truth.areas.shape[1],
            options.temperature,
            options.unmatched_gradient,
        )

    def _semantic(self, targets: Targets, semantic_logits: tf.Tensor) -> tf.Tensor:
        """Returns [B]: the weighted term of the auxiliary semantic branch, on its own grid."""
        ids = _flatten(subsample(targets["semantic_map"], semantic_logits))
        weights = _flatten(subsample(targets["semantic_weights"], semantic_logits))
        weights *= tf.cast(ids != self.options.ignore_label, tf.float32)
        return self.options.semantic_weight * terms.semantic_cross_entropy(
            _flatten(semantic_logits), ids, weights, self.options.semantic_top_fraction
        )


def _flatten(x: tf.Tensor) -> tf.Tensor:
    """Returns [B, H * W, ...] of [B, H, W, ...]."""
    batch, height, width, *others = x.shape
    return tf.reshape(x, [-1 if batch is None else batch, height * width, *others])
