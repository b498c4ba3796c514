"""From what image files hold to RGB with 8 bits a channel, by one rule a kind.

- 16 bits: white is 65535, the lower byte is dropped (12 bits in a TIFF: white is 4095).
- Floats: black is 0, white is 1.
- Alpha and what a TIFF declares as further channels are dropped, the palette is applied.
- Signed and 32-bit integers have no white, LAB and other colors no plain conversion: refused.
- What would become nearly black is refused, too, since its white is another.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, TiffImagePlugin
from PIL.ExifTags import Base

from kmax_tf.wording import count_of

# Of 255: four bits of eight, or twelve of sixteen.
_NEARLY_BLACK = 16
# Those whose alpha was multiplied into the colors, and what they are without.
_PREMULTIPLIED = {"RGBa": "RGBA", "La": "LA"}
_PLAIN = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
_SIGNED, _REDUCED = 2, 1
# By the orientation in EXIF data.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Tags of TIFF.
_SUBFILE_TYPE, _BITS, _PHOTOMETRIC, _CHANNELS = 254, 258, 262, 277
_SAMPLE_FORMAT, _DNG_VERSION = 339, 50706


def to_rgb(image: Image.Image, bits: int) -> Image.Image:
    """Converts a decoded image to RGB, and turns it upright.

    Args:
      image: of any kind.
      bits: of a channel in its file, some of which Pillow may have dropped.

    Raises:
      ValueError: says which kind it is of and what to do, where there is no rule for it.
    """
    _check_kind(image, bits)
    inverted = _white_is_zero(image)
    turn = turn_of(image)
    upright = image if turn is None else image.transpose(turn)
    mode = _PREMULTIPLIED.get(upright.mode, upright.mode)
    if mode in _PLAIN:
        plain = upright if mode == upright.mode else upright.convert(mode)
        if mode == "P" and "transparency" in plain.info:
            plain = plain.convert("RGBA")  # Pillow warns of the short way
        rgb = plain.convert("RGB")
        if bits > 8:  # Pillow dropped the lower bytes itself.
            _check_brightness(np.asarray(rgb), f"{bits}-bit")
        return rgb
    values = np.asarray(upright)
    if upright.mode == "F":
        return Image.fromarray(_of_floats(values)).convert("RGB")
    values = values.astype(np.int64)
    values = 2**bits - 1 - values if inverted else values
    grey = (values >> (bits - 8)).astype(np.uint8)
    if values.any():
        _check_brightness(grey, f"{bits}-bit", f", {values.min()} to {values.max()},")
    return Image.fromarray(grey).convert("RGB")


def _check_kind(image: Image.Image, bits: int) -> None:
    """Refuses images that cannot be read as they are meant, pixels unseen."""
    tags = _tags(image)
    if int(tags.get(_SUBFILE_TYPE, 0)) & _REDUCED or _DNG_VERSION in tags:
        raise ValueError(
            "it is a RAW photo, or a TIFF that begins with a preview; develop it and export it as "
            "JPEG, PNG or TIFF"
        )
    if _SIGNED in _numbers(tags.get(_SAMPLE_FORMAT, ())):
        raise ValueError(
            f"it is a TIFF of signed {bits}-bit integers, whose black and white no rule tells; "
            "scale it to 0..255 or 0..65535 and save it as unsigned"
        )
    if image.mode == "I" and bits > 16:
        raise ValueError(
            f"it is a {image.format} of {bits}-bit integers, whose white no rule tells; scale it "
            "to 0..255 or 0..65535 and save it with 8 or 16 bits"
        )
    if image.mode not in (*_PLAIN, *_PREMULTIPLIED, "I", "F") and not image.mode.startswith("I;16"):
        raise ValueError(
            f"it is a {image.format} of {image.mode} colors; save it as RGB with 8 bits a channel"
        )
    if image.mode == "F" and _white_is_zero(image):
        raise ValueError("it is a TIFF of floats whose white is zero; save it with black as zero")


def bits_of(image: Image.Image) -> int:
    """Returns the bits of a channel in a file other than PNG."""
    bits = _tags(image).get(_BITS)
    if bits is not None:
        return max(_numbers(bits))
    # PPM, which Pillow scales to as many.
    return 16 if image.mode.startswith("I") else 8


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """Returns what makes an image upright by its EXIF data; None: it is.

    A TIFF is turned when it is decoded. Pillow would also believe XMP data, which viewers don't.
    """
    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif", b""))
        return _TURNS.get(int(exif.get(Base.Orientation, 1)))
    except Exception:  # Metadata that cannot be read turns nothing.
        return None


def describe_tiff(head: TiffImagePlugin.ImageFileDirectory_v2) -> str:
    """Returns what a TIFF holds, such as "5 channels of 16 bits"; "" of what Pillow opens."""
    channels = int(head.get(_CHANNELS, 1))
    bits = sorted(set(_numbers(head.get(_BITS, 1))))
    kinds = {2: "signed integers", 3: "floats", 5: "complex numbers", 6: "complex numbers"}
    found = {kinds.get(k, "") for k in _numbers(head.get(_SAMPLE_FORMAT, 1))}
    kind = " ".join(sorted(filter(None, found)))
    grey = int(head.get(_PHOTOMETRIC, 1)) < 2
    if bits == [8] and not kind and (channels == 1 if grey else channels in (3, 4)):
        return ""
    of_kind = f" ({kind})" if kind else ""
    return f"{count_of(channels, 'channel')} of {' or '.join(map(str, bits))} bits{of_kind}"


def _of_floats(values: np.ndarray) -> np.ndarray:
    """Returns [H, W] uint8 grey."""
    if not np.isfinite(values).all():
        raise ValueError("its floats have infinite values or none (NaN); replace them")
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 1:
        raise ValueError(
            f"its floats are {low:.6g} to {high:.6g}, but black is 0 and white is 1; scale them, "
            "or save the image with 8 or 16 bits"
        )
    grey: np.ndarray = np.rint(values * 255.0).astype(np.uint8)
    if high > 0:
        _check_brightness(grey, "float", f", {low:.6g} to {high:.6g},")
    return grey


def _check_brightness(pixels: np.ndarray, kind: str, found: str = "") -> None:
    """Refuses an image that comes out nearly black, where it isn't black."""
    brightest = int(pixels.max())
    if brightest < _NEARLY_BLACK and (brightest or found):
        raise ValueError(
            f"its {kind} values{found} would be nearly black; scale them so that white is the "
            "largest value of that kind, or save the image with 8 bits"
        )


def _white_is_zero(image: Image.Image) -> bool:
    # Pillow inverts up to 8 bits itself.
    deep = image.mode == "F" or image.mode.startswith("I")
    return deep and _tags(image).get(_PHOTOMETRIC, 1) == 0


def _tags(image: Image.Image) -> dict[int, Any]:
    return dict(image.tag_v2) if isinstance(image, TiffImagePlugin.TiffImageFile) else {}


def _numbers(value: object) -> tuple[int, ...]:
    values = value if isinstance(value, tuple) else (value,)
    return tuple(int(number) for number in values)
