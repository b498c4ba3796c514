"""Whether images may be given to the model: told by what they declare, before they are decoded."""

from __future__ import annotations

import numpy as np

from kmax_tf.errors import BadExampleError
from kmax_tf.files.opening import count_pictures, open_image
from kmax_tf.serving.json_forms import Call
from kmax_tf.serving.limits import Limits
from kmax_tf.serving.refusals import RefusedError
from kmax_tf.wording import count_of


def check_images(call: Call, limits: Limits) -> None:
    """Checks number and size of the images of a request.

    A small file may declare many pixels, and the frames of an animation are all unpacked before
    the first is taken. Maps of a batch are padded to its largest image, which counts as well.

    Raises:
      RefusedError: an image is damaged or of a kind that isn't read, or they are too many, or too
        large.
    """
    if call.images > limits.images:
        raise RefusedError(
            422, f"the request has {call.images} images; at most {limits.images} are taken at once"
        )
    if call.signature.takes_encoded:
        sizes = [
            _declared_size(number, encoded, limits)
            for number, encoded in enumerate(call.inputs["image_bytes"])
        ]
        pixels = sum(height * width for height, width in sizes)
        # Turned or not.
        side = max(max(size) for size in sizes)
        if call.signature.pads and call.images > 1:
            pixels = max(pixels, call.images * side * side)
    else:
        pixels = int(np.prod(call.inputs["images"].shape[:3]))
    if pixels > limits.pixels:
        raise RefusedError(
            422,
            f"the request's {count_of(call.images, 'image')} make {pixels} pixels with what a "
            f"batch is padded with; at most {limits.pixels} are taken. Send them one by one, or "
            "scale them down",
        )


def _declared_size(number: int, encoded: bytes, limits: Limits) -> tuple[int, int]:
    """Returns height and width that a file declares."""
    name = f"image {number} of image_bytes"
    if not encoded:
        raise RefusedError(422, f"{name} is empty; send the bytes of an image file")
    try:
        image = open_image(encoded, name)
        height, width = image.picture.height, image.picture.width
        if height * width > limits.pixels:
            raise RefusedError(
                422,
                f"{name} has {width} x {height} pixels; at most {limits.pixels} are taken. Scale "
                "it down, or cut it into tiles",
            )
        frames = count_pictures(image) if image.format == "GIF" else 1
    except BadExampleError as error:
        raise RefusedError(422, str(error)) from None
    if height * width * frames > limits.pixels:
        raise RefusedError(
            422,
            f"{name} is an animation of {frames} frames of {width} x {height} pixels; at most "
            f"{limits.pixels} are taken. Send its first frame",
        )
    return height, width
