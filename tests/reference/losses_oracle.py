"""The loss as its formulas say it, with one dense one-hot mask a segment, image by image.

Shapes of one image: P pixels, N centers, M segments (padded), K classes without void, D embedding.
`masks` [P, M] holds a 1 where a pixel belongs to a segment; crowd and unlabeled pixels have none.
"""

from __future__ import annotations

import numpy as np

from tests.reference.layers_oracle import softmax
from tests.reference.matching_oracle import optimum

TINY = 1e-5


def log_softmax(x):
    shifted = x - x.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def mean_of_nonzero(values):
    kept = values[values != 0.0]
    return kept.mean() if kept.size else 0.0


def one_hot_masks(segment_map, num_segments):
    masks = np.zeros([segment_map.size, num_segments])
    for pixel, segment in enumerate(segment_map.ravel()):
        if segment >= 0:
            masks[pixel, segment] = 1.0
    return masks


def similarities(mask_logits, class_logits, masks, labeled, classes):
    """Returns mask and class similarity of every (segment, center), [M, N] each."""
    probability = softmax(mask_logits)
    class_probability = softmax(class_logits)
    segments, centers = masks.shape[1], mask_logits.shape[1]
    mask_similarity, class_similarity = np.zeros([2, segments, centers])
    for segment in range(segments):
        for center in range(centers):
            on_labeled = probability[:, center] * labeled
            intersection = (masks[:, segment] * on_labeled).sum()
            sizes = masks[:, segment].sum() + on_labeled.sum()
            mask_similarity[segment, center] = intersection / (sizes / 2 + TINY)
            class_similarity[segment, center] = class_probability[center, classes[segment]]
    return mask_similarity, class_similarity


class Truth:
    """Ground truth of an image with its matching, which all predictions share."""

    def __init__(self, mask_logits, class_logits, segment_map, labeled, classes, center=None):
        """`center`: [M] of each segment; the best one where it isn't given."""
        self.masks = one_hot_masks(segment_map, len(classes))
        self.labeled = labeled.ravel().astype(np.float64)
        self.classes = classes
        self.valid = (self.masks.sum(0) > 0) & (classes >= 0)
        found = similarities(
            mask_logits, class_logits, self.masks, self.labeled, np.maximum(classes, 0)
        )
        self.mask_similarity, self.class_similarity = found
        if center is None:
            center = np.full(len(classes), -1)
            rows = np.flatnonzero(self.valid)
            if rows.size:
                center[rows] = optimum((found[0] * found[1])[rows])
        self.center = center
        probability = softmax(mask_logits)
        unlabeled = (probability * (1 - self.labeled)[:, np.newaxis]).sum(0)
        self.unlabeled_share = unlabeled / (probability.sum(0) + TINY)

    def matches(self):
        """Returns (segment, center) pairs."""
        return [(m, n) for m, n in enumerate(self.center) if n >= 0 and self.valid[m]]


def pq_mask(truth, mask_logits, weight=3.0, matched_share=0.75):
    probability = softmax(mask_logits)
    inside = truth.masks.sum(1)
    total = 0.0
    for segment, center in truth.matches():
        predicted, actual = probability[:, center] * inside, truth.masks[:, segment]
        dice = 1 - (2 * (predicted * actual).sum() + 1) / (predicted.sum() + actual.sum() + 1)
        total += max(truth.class_similarity[segment, center], TINY) * dice
    return weight * matched_share / mask_logits.shape[1] * total


def pq_class(truth, class_logits, weight=3.0, matched_share=0.75):
    centers, void = class_logits.shape[0], class_logits.shape[1] - 1
    segment_of_center = {center: segment for segment, center in truth.matches()}
    losses = np.zeros(centers)
    for center in range(centers):
        segment = segment_of_center.get(center)
        target = void if segment is None else truth.classes[segment]
        if segment is None:
            factor = (1 - matched_share) * max(truth.unlabeled_share[center], TINY)
        else:
            factor = matched_share * max(truth.mask_similarity[segment, center], TINY)
        losses[center] = -log_softmax(class_logits)[center, target] * factor
    return weight * mean_of_nonzero(losses)


def mask_id(truth, mask_logits, weight=0.3):
    log_probability = log_softmax(mask_logits)
    losses = np.zeros(len(mask_logits))
    for segment, center in truth.matches():
        losses -= truth.masks[:, segment] * log_probability[:, center] * truth.labeled
    return weight * mean_of_nonzero(losses)


def instance_discrimination(embeddings, masks, weight=1.0, temperature=0.3):
    """Of sampled pixels: embeddings [S, D] and masks [S, M]."""
    same = masks @ masks.T
    target = same / np.maximum(same.sum(1, keepdims=True), 1.0)
    losses = -(target * log_softmax(embeddings @ embeddings.T / temperature)).sum(1)
    return weight * mean_of_nonzero(losses)


def semantic(logits, ids, weights, ignore_label, top_fraction=1.0, weight=1.0):
    losses = np.array(
        [
            0.0 if i == ignore_label else -log_softmax(row)[i] * w
            for row, i, w in zip(logits, ids, weights)
        ]
    )
    if top_fraction < 1.0:
        losses = np.sort(losses)[::-1][: max(1, round(top_fraction * len(losses)))]
    return weight * mean_of_nonzero(losses)


def inverse_areas(segment_map, num_segments):
    """Returns [P]: pixels of the image over those of the pixel's segment; crowds count as 1."""
    masks = one_hot_masks(segment_map, num_segments)
    areas = masks @ masks.sum(0)
    return segment_map.size / np.maximum(areas, 1.0)
