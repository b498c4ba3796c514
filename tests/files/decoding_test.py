"""What servers decode in a graph has the pixels that conversion and `kmax predict` read."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kmax_tf.files.decoding import decode_record_image, decode_upright
from kmax_tf.files.images import read_image
from tests.files.pngs import chunk, encoded

RNG = np.random.default_rng(0)
JPEG_SIZES = [(63, 97), (17, 33), (1, 1), (2, 3)]


def decode(data):
    problem, image = decode_upright(tf.constant(data))
    return problem.numpy().decode(), image.numpy()


def photo(height=63, width=97):
    coarse = RNG.integers(0, 256, (max(2, height // 6), max(2, width // 6), 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def read(data, tmp_path):
    path = tmp_path / "image"
    path.write_bytes(data)
    return read_image(path)


def exif(orientation, little, kind=3, before=1):
    """A TIFF of other entries, then the orientation."""
    order = "<" if little else ">"
    entries = [struct.pack(f"{order}HHII", 0x0100 + i, 4, 1, 7) for i in range(before)]
    value = struct.pack(order + {3: "Hxx", 4: "I"}[kind], orientation)
    entries.append(struct.pack(f"{order}HHI", 0x0112, kind, 1) + value)
    head = (b"II*\0" if little else b"MM\0*") + struct.pack(f"{order}I", 8)
    return head + struct.pack(f"{order}H", len(entries)) + b"".join(entries) + b"\0" * 4


def with_exif(jpeg, data, padding=b""):
    segment = b"Exif\0\0" + data
    head = b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment
    comment = b"\xff\xfe\0\6text"
    return jpeg[:2] + comment + padding + head + jpeg[2:]


@pytest.mark.parametrize("size", JPEG_SIZES, ids=str)
@pytest.mark.parametrize("subsampling", [0, 1, 2, "4:1:1"])
def test_jpegs_of_all_kinds_have_the_same_pixels_everywhere(size, subsampling, tmp_path):
    image = photo(*size)
    for options in ({}, {"progressive": True}, {"quality": 30}, {"quality": 100, "optimize": True}):
        data = encoded(image, "JPEG", subsampling=subsampling, **options)
        problem, pixels = decode(data)
        assert not problem
        np.testing.assert_array_equal(pixels, read(data, tmp_path))
        np.testing.assert_array_equal(pixels, decode_record_image(data))


@pytest.mark.parametrize("little", [True, False])
@pytest.mark.parametrize("orientation", range(10))
def test_images_are_turned_as_their_exif_data_say(orientation, little, tmp_path):
    jpeg = encoded(photo(24, 40), "JPEG", subsampling=0)
    of_long = exif(orientation, little, kind=4, before=3)
    png = encoded(photo(24, 40), "PNG")
    of_png = chunk(b"eXIf", exif(orientation, little))
    for data in (
        with_exif(jpeg, exif(orientation, little)),
        with_exif(jpeg, of_long, padding=b"\xff\xff"),
        with_exif(with_exif(jpeg, exif(1, little)), of_long),  # the first counts
        png[:33] + of_png + png[33:],
        png[:-12] + of_png + png[-12:],  # behind the pixels
    ):
        problem, pixels = decode(data)
        assert not problem
        expected = read(data, tmp_path)
        assert expected.shape == ((40, 24, 3) if 5 <= orientation <= 8 else (24, 40, 3))
        np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"II*\0",
        b"MM\0*" + b"\xff" * 30,
        b"II*\0\xff\xff\xff\x7f",
        exif(6, True)[:-8],
        b"x" * 9,
    ],
    ids=range(6),
)
def test_exif_data_that_say_nothing_turn_nothing(data):
    image = photo(8, 16)
    assert decode(with_exif(encoded(image, "JPEG"), data))[1].shape == (8, 16, 3)


def other_files():
    image = photo()
    palette = image.quantize(17)
    alpha = Image.fromarray(RNG.integers(0, 256, (63, 97, 4), np.uint8))
    deep = Image.fromarray(RNG.integers(0, 65536, (20, 30)).astype(np.uint16))
    yield "grey-jpeg", encoded(image.convert("L"), "JPEG")
    yield "motion-photo", encoded(image, "JPEG") + b"\0\0\0\x18ftypmp42" + bytes(range(256))
    yield "png", encoded(image, "PNG")
    yield "png-alpha", encoded(alpha, "PNG")
    yield "png-palette", encoded(palette, "PNG")
    yield "png-transparent-palette", encoded(palette, "PNG", transparency=3)
    yield "png-grey", encoded(image.convert("L"), "PNG")
    yield "png-grey-alpha", encoded(image.convert("LA"), "PNG")
    yield "png-one-bit", encoded(image.convert("1"), "PNG")
    yield "png-16-bit", encoded(deep, "PNG")
    yield "bmp", encoded(image, "BMP")
    yield "bmp-alpha", encoded(alpha, "BMP")
    yield "gif", encoded(palette, "GIF")
    yield "gif-frames", encoded(palette, "GIF", save_all=True, append_images=[photo()], loop=0)


@pytest.mark.parametrize("data", dict(other_files()).values(), ids=dict(other_files()))
def test_other_files_have_the_same_pixels(data, tmp_path):
    problem, pixels = decode(data)
    assert not problem
    np.testing.assert_array_equal(pixels, read(data, tmp_path))


def bad_files():
    image = photo()
    palette = image.quantize(17)
    jpeg = encoded(image, "JPEG")
    yield "it is empty", b""
    yield "CMYK", encoded(image.convert("CMYK"), "JPEG")
    yield "palette", encoded(palette, "BMP")
    yield "palette", encoded(image.convert("L"), "BMP")
    yield "transparency", encoded(palette, "GIF", transparency=3)
    yield "WebP", encoded(image, "WEBP")
    yield "TIFF", encoded(image, "TIFF")
    yield "HEIC", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    yield "AVIF", b"\0\0\0\x20ftypavif\0\0\0\0"
    yield "unknown", b"some text"
    yield "unknown", encoded(image, "PPM")
    yield "damaged", jpeg[: len(jpeg) // 2]
    yield "damaged", jpeg[:20]
    yield "damaged", encoded(image, "PNG")[:200]
    yield "rare", b"BM"
    yield "damaged", b"GIF89a"


@pytest.mark.parametrize(("said", "data"), bad_files(), ids=lambda value: str(value)[:24])
def test_what_is_not_decoded_alike_is_told(said, data):
    problem, pixels = decode(data)
    assert said in problem
    assert pixels.shape == (1, 1, 3)
