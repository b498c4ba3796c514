"""What drawings are tested with: plain images, and maps of stripes."""

import numpy as np

# Large enough that pictures keep their size.
SIZE = 440
GREY = 100


def stripes(*ids: int) -> np.ndarray:
    """Makes a [SIZE, SIZE] map of vertical stripes of equal width."""
    return np.broadcast_to(np.array(ids, np.int32).repeat(SIZE // len(ids)), (SIZE, SIZE))


def grey(shape: tuple[int, ...] = (SIZE, SIZE), value: int = GREY) -> np.ndarray:
    """Makes an image [H, W, 3] of one grey."""
    return np.full((*shape, 3), value, np.uint8)
