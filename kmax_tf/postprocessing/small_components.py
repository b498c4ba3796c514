"""Small components, connected parts of a segment apart from the rest of it, become unlabeled.

This is done on the host.
"""

from __future__ import annotations

import numpy as np
import scipy.ndimage


def remove_small_components(panoptic: np.ndarray, least_area: int, void_id: int) -> np.ndarray:
    """Makes small connected parts of segments unlabeled.

    Pixels are connected through their sides. The largest part of a segment stays however small it
    is: whether a segment is too small is for the area limits to say. What is removed doesn't join
    what surrounds it, since no mask says that it is of it.

    Args:
      panoptic: [H, W] int32 panoptic map.
      least_area: parts of fewer pixels go; 0 or 1 keeps all.
      void_id: panoptic id of unlabeled pixels.

    Returns:
      [H, W] int32; the same array where there is nothing to remove.
    """
    if least_area <= 1:
        return panoptic
    cleaned = panoptic
    ids, index = np.unique(panoptic, return_inverse=True)
    boxes = scipy.ndimage.find_objects(index.reshape(panoptic.shape) + 1)
    for panoptic_id, box in zip(ids, boxes):
        if panoptic_id == void_id:
            continue
        parts, count = scipy.ndimage.label(panoptic[box] == panoptic_id)
        areas = np.bincount(parts.ravel())[1:]  # of part 1, 2, ...
        small = areas < least_area
        small[areas.argmax()] = False
        if count > 1 and small.any():
            if cleaned is panoptic:
                cleaned = panoptic.copy()
            cleaned[box][np.append(False, small)[parts]] = void_id
    return cleaned
