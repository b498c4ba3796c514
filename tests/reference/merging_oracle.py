"""Merging of masks into a panoptic map, mask by mask and pixel by pixel, for one image."""

from __future__ import annotations

import numpy as np

from tests.reference.layers_oracle import resize, softmax


def merge(mask_logits, class_logits, options):
    """Returns what `options`, a `Postprocessor`, makes of mask logits [h, w, N] and class logits.

    As it returns them, but the reasons, which are names.
    """
    merging, labels = options.merging, options.labels
    height, width = ((side - 1) * options.output_stride + 1 for side in mask_logits.shape[:2])
    resized = resize(mask_logits[np.newaxis].astype(np.float64), height, width)[0]
    of_class = softmax(class_logits.astype(np.float64))[:, :-1]
    confidence, class_index = of_class.max(1), of_class.argmax(1)
    confident = confidence >= np.array(merging.class_thresholds)[class_index]
    paint = mask_wise if hasattr(merging, "overlap_threshold") else pixel_wise
    painted = paint(mask_logits, resized, confidence, confident, options)
    canvas, scored = painted["canvas"], painted["scored"]
    mask_areas, painted_areas = painted["mask_areas"], areas(canvas, len(confidence))
    ids, panoptic = name_segments(canvas, class_index, painted["instances"], options)
    return {
        "panoptic": panoptic,
        "semantic": labels.ids[class_index[resized.argmax(-1)]],
        "semantic_scores": np.where(scored >= 0, confidence[scored], 0.0),
        "instance_scores": painted["probability"] * confident.any(),
        "segment_ids": ids,
        "segment_scores": painted["scores"],
        "segment_fates": np.select(
            [~confident, mask_areas == 0, painted_areas == 0, ids == labels.void_panoptic_id],
            ["CLASS_THRESHOLD", "EMPTY", "OVERLAP", "AREA_LIMIT"],
            "KEPT",
        ),
        "segment_classes": labels.ids[class_index],
        "segment_confidences": confidence,
        "mask_areas": mask_areas,
        "painted_areas": painted_areas,
    }


def areas(canvas, count):
    return np.array([(canvas == center).sum() for center in range(count)])


def mask_wise(mask_logits, resized, confidence, confident, options):
    """Paints [H, W] with centers (-1: none), mask after mask."""
    merging, probability = options.merging, softmax(resized)
    masks = probability > options.pixel_threshold
    ranked = probability if merging.full_size_scores else softmax(mask_logits.astype(np.float64))
    scores = np.zeros(len(confidence))
    for center, sure in enumerate(confidence):
        inside = ranked[..., center][ranked[..., center] > options.pixel_threshold]
        mask_score = inside.mean() if inside.size else 0.0
        scores[center] = sure**merging.class_weight * mask_score**merging.mask_weight
    canvas = np.full(resized.shape[:2], -1)
    instances = np.zeros(len(scores), int)
    order = sorted(range(len(scores)), key=lambda center: -scores[center])
    for rank, center in enumerate(order):
        instances[center] = rank + 1
        free = masks[..., center] & (canvas < 0)
        if confident[center] and free.sum() > merging.overlap_threshold * masks[..., center].sum():
            canvas[free] = center
    return {
        "canvas": canvas,
        "scored": canvas,
        "probability": probability.max(-1),
        "mask_areas": masks.sum((0, 1)) * confident,
        "instances": instances,
        "scores": scores,
    }


def pixel_wise(mask_logits, resized, confidence, confident, options):
    """Gives each pixel of [H, W] a center, -1 for none."""
    survivors = np.where(confident, resized, -99999.0)
    best, probability = resized.argmax(-1), softmax(survivors).max(-1)
    canvas = np.where(confident[best] & (probability > options.pixel_threshold), best, -1)
    return {
        "canvas": canvas,
        "scored": survivors.argmax(-1) if confident.any() else np.full(canvas.shape, -1),
        "probability": probability,
        "mask_areas": areas(canvas, len(confidence)),
        "instances": np.arange(len(confidence)) + 1,
        "scores": confidence,
    }


def name_segments(canvas, class_index, instances, options):
    """Returns the panoptic ids of centers [N] and of pixels, without segments below the limits."""
    labels = options.labels
    ids = np.full(len(class_index), labels.void_panoptic_id)
    for center in np.unique(canvas[canvas >= 0]):
        index = class_index[center]
        instance = instances[center] if labels.is_thing[index] else 0
        ids[center] = labels.ids[index] * labels.label_divisor + instance
    for panoptic_id in set(ids) - {labels.void_panoptic_id}:
        index = labels.class_index_of_id[panoptic_id // labels.label_divisor]
        limit = options.thing_area_limit if labels.is_thing[index] else options.stuff_area_limit
        if np.isin(canvas, np.flatnonzero(ids == panoptic_id)).sum() < limit:
            ids[ids == panoptic_id] = labels.void_panoptic_id
    return ids, np.append(ids, labels.void_panoptic_id)[canvas]
