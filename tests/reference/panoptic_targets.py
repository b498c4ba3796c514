"""Targets of a panoptic label, pixel by pixel."""

from __future__ import annotations

import numpy as np


def make_targets(panoptic, labels, max_segments, small_area=0, small_weight=1.0):
    index_of_class = {category.id: index for index, category in enumerate(labels.classes)}
    # A segment is (class index, instance); stuff has instance 0 whatever its id says.
    segment_of_pixel = {}
    for pixel, panoptic_id in np.ndenumerate(panoptic):
        class_id, instance = divmod(int(panoptic_id), labels.label_divisor)
        index = index_of_class.get(class_id)
        if index is not None and not labels.classes[index].thing:
            segment_of_pixel[pixel] = (index, 0)
        elif index is not None and instance:
            segment_of_pixel[pixel] = (index, instance)
    found = list(dict.fromkeys(segment_of_pixel.values()))  # in order of the first pixel
    things = [segment for segment in found if segment[1]]
    segments = things + sorted(segment for segment in found if not segment[1])
    segment_map = np.full(panoptic.shape, -1, np.int32)
    for pixel, segment in segment_of_pixel.items():
        segment_map[pixel] = segments.index(segment)
    weights = np.ones(panoptic.shape, np.float32)
    for number in range(len(things)):
        if (segment_map == number).sum() < small_area:
            weights[segment_map == number] = small_weight
    classes = [index for index, _ in segments] + [-1] * (max_segments - len(segments))
    return {
        "semantic_map": panoptic // labels.label_divisor,
        "segment_map": segment_map,
        "segment_classes": np.array(classes, np.int32),
        "semantic_weights": weights,
    }
