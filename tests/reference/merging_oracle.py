"""Merging of masks into a panoptic map, mask by mask and pixel by pixel, for one image."""

from __future__ import annotations

import numpy as np

from tests.reference.layers_oracle import resize, softmax


def prepare(mask_logits, class_logits, stride):
    """Returns resized logits [H, W, N], confidence [N] and class [N] of each center."""
    height, width = ((side - 1) * stride + 1 for side in mask_logits.shape[:2])
    resized = resize(mask_logits[np.newaxis].astype(np.float64), height, width)[0]
    probability = softmax(class_logits.astype(np.float64))[:, :-1]
    return resized, probability.max(1), probability.argmax(1)


def ranks(mask_logits, confidence, pixel_threshold, class_weight, mask_weight):
    """Returns the score of each center, and the centers from best to worst.

    The mask logits are those whose pixels count: as predicted, or resized.
    """
    probability = softmax(mask_logits.astype(np.float64))
    scores = []
    for center, sure in enumerate(confidence):
        inside = probability[..., center][probability[..., center] > pixel_threshold]
        mask_score = inside.mean() if inside.size else 0.0
        scores.append(sure**class_weight * mask_score**mask_weight)
    return np.array(scores), sorted(range(len(scores)), key=lambda center: -scores[center])


def mask_wise(mask_logits, class_logits, stride, options):
    """Returns [H, W]: the center that painted each pixel (-1: none), and the rank of each."""
    resized, confidence, class_index = prepare(mask_logits, class_logits, stride)
    probability = softmax(resized)
    _, order = ranks(
        resized if options["full_size_scores"] else mask_logits,
        confidence,
        options["pixel_threshold"],
        options["class_weight"],
        options["mask_weight"],
    )
    canvas = np.full(resized.shape[:2], -1)
    for center in order:
        if confidence[center] < options["class_thresholds"][class_index[center]]:
            continue
        mask = probability[..., center] > options["pixel_threshold"]
        free = mask & (canvas < 0)
        if free.sum() > options["overlap_threshold"] * mask.sum():
            canvas[free] = center
    return canvas, {center: rank for rank, center in enumerate(order)}


def pixel_wise(mask_logits, class_logits, stride, pixel_threshold, class_thresholds):
    """Returns [H, W]: the center of each pixel, -1 for none."""
    resized, confidence, class_index = prepare(mask_logits, class_logits, stride)
    survives = confidence >= np.array(class_thresholds)[class_index]
    canvas = np.full(resized.shape[:2], -1)
    for row in range(resized.shape[0]):
        for column in range(resized.shape[1]):
            logits = np.where(survives, resized[row, column], -99999.0)
            best = int(resized[row, column].argmax())
            if survives[best] and softmax(logits).max() > pixel_threshold:
                canvas[row, column] = best
    return canvas


def panoptic_map(canvas, class_index, instance_of_center, labels, thing_limit=0, stuff_limit=0):
    """Turns painted centers into ids, without segments below the area limits."""
    panoptic = np.full(canvas.shape, labels.void_panoptic_id)
    for center in np.unique(canvas[canvas >= 0]):
        index = class_index[center]
        instance = instance_of_center[center] if labels.is_thing[index] else 0
        panoptic[canvas == center] = labels.ids[index] * labels.label_divisor + instance
    for panoptic_id in np.unique(panoptic):
        if panoptic_id == labels.void_panoptic_id:
            continue
        region = panoptic == panoptic_id
        index = labels.class_index_of_id[panoptic_id // labels.label_divisor]
        limit = thing_limit if labels.is_thing[index] else stuff_limit
        if region.sum() < limit:
            panoptic[region] = labels.void_panoptic_id
    return panoptic
