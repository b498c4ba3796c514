"""Image files of every kind: each is read by a stated rule, or refused by name.

What a record holds decodes in TensorFlow to what `read_image` gives.
"""

import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kmax_tf.errors import BadExampleError
from kmax_tf.files.file_kinds import describe_file
from kmax_tf.files.images import (
    check_encoded,
    decode_image,
    read_encoded,
    read_image,
)
from tests.files import pngs
from tests.files.pngs import GREY, GREY_ALPHA, PALETTE, png
from tests.files.pngs import RGB as PNG_RGB
from tests.files.pngs import RGBA as PNG_RGBA

RNG = np.random.default_rng(0)
NOISE = Image.fromarray(RNG.integers(0, 256, (7, 9, 3), dtype=np.uint8))
RGB = np.asarray(NOISE.resize((37, 29)))
GREY_VALUES = RGB[..., 0]
PICTURE = Image.fromarray(RGB)
TURNED = Image.Exif()
TURNED[0x0112] = 6


def encoded(kind, image=PICTURE, mode=None, **options):
    return pngs.encoded(image, kind, mode, **options)


def tiff(samples, photometric=1, sample_format=1, extra=(), tags=(), order="<"):
    """A plain TIFF of samples [H, W, C]; tags are (number, value) of one 32-bit integer each."""
    height, width, channels = samples.shape
    data = samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    bits = samples.dtype.itemsize * 8
    entries = [
        *((256, "I", [width]), (257, "I", [height]), (258, "H", [bits] * channels)),
        *((259, "H", [1]), (262, "H", [photometric]), (273, "I", [8]), (277, "H", [channels])),
        *((278, "I", [height]), (279, "I", [len(data)]), (284, "H", [1])),
        *((338, "H", list(extra)), (339, "H", [sample_format] * channels)),
        *((tag, "I", [value]) for tag, value in tags),
    ]
    entries = sorted(entry for entry in entries if entry[2])
    start = 8 + len(data)
    place = start + 2 + 12 * len(entries) + 4
    head, rest = b"", b""
    for tag, kind, values in entries:
        content = struct.pack(f"{order}{len(values)}{kind}", *values)
        if len(content) > 4:
            rest += content
            content = struct.pack(f"{order}I", place + len(rest) - len(content))
        count = struct.pack(f"{order}HHI", tag, {"H": 3, "I": 4}[kind], len(values))
        head += count + content.ljust(4, b"\0")
    first = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, start)
    entries_end = struct.pack(f"{order}I", 0)
    return first + data + struct.pack(f"{order}H", len(entries)) + head + entries_end + rest


DEEP = GREY_VALUES.astype(np.uint16) * 257
CHANNELS = RNG.integers(0, 256, (5, 6, 6)).astype(np.uint8)
FLOATS = (GREY_VALUES / 255).astype(np.float32)
MOVIE = b"\0\0\0\x18ftypmp42" + RNG.bytes(900) + b"\xff\xda\xff\xd9" + RNG.bytes(90)
JPEG = encoded("JPEG")
SHIFTED = Image.fromarray(RGB[::-1])
# By name: the file, whether it keeps its bytes, and pixels where they are exact.
EXACT = {
    "png": (encoded("PNG"), True, RGB),
    "png with more behind it": (encoded("PNG") + MOVIE, True, RGB),
    "png of a transparent color": (encoded("PNG", transparency=(1, 2, 3)), True, RGB),
    "png interlaced": (png(RGB, PNG_RGB, interlaced=True), True, RGB),
    "png animated": (encoded("PNG", save_all=True, append_images=[SHIFTED]), True, RGB),
    "png 16 bits": (png(RGB.astype(int) * 256 + 7, PNG_RGB, 16), False, RGB),
    "png 16 bits, alpha": (
        png(np.dstack([RGB, GREY_VALUES]).astype(np.uint16) * 257, PNG_RGBA, 16),
        False,
        RGB,
    ),
    "png grey": (png(GREY_VALUES, GREY), False, GREY_VALUES),
    "png grey of 16 bits": (png(DEEP, GREY, 16), False, GREY_VALUES),
    "png grey of 2 bits": (png(GREY_VALUES // 85, GREY, 2), False, GREY_VALUES // 85 * 85),
    "png grey, alpha": (png(np.dstack([GREY_VALUES] * 2), GREY_ALPHA), False, GREY_VALUES),
    "png bilevel": (png(GREY_VALUES > 99, GREY, 1), False, 255 * (GREY_VALUES > 99)),
    "png alpha": (png(np.dstack([RGB, GREY_VALUES]), PNG_RGBA), False, RGB),
    "png palette": (
        png(GREY_VALUES // 16, PALETTE, 4, RGB[:4, :4].tobytes(), b"\0\x80"),
        False,
        RGB[:4, :4].reshape(16, 3)[GREY_VALUES // 16],
    ),
    "png turned": (encoded("PNG", exif=TURNED), False, np.rot90(RGB, -1)),
    "bmp": (encoded("BMP"), False, RGB),
    "ppm": (encoded("PPM"), False, RGB),
    "webp": (encoded("WEBP", lossless=True), False, RGB),
    "webp turned": (encoded("WEBP", lossless=True, exif=TURNED), False, np.rot90(RGB, -1)),
    "tiff": (encoded("TIFF", compression="tiff_lzw"), False, RGB),
    "tiff of pages": (encoded("TIFF", save_all=True, append_images=[SHIFTED]), False, RGB),
    "tiff turned": (encoded("TIFF", tiffinfo={0x0112: 6}), False, np.rot90(RGB, -1)),
    "tiff bilevel": (encoded("TIFF", mode="1"), False, None),
    "tiff CMYK": (encoded("TIFF", mode="CMYK"), False, RGB),
    "tiff palette": (encoded("TIFF", mode="P"), False, None),
    "tiff float": (encoded("TIFF", FLOATS), False, GREY_VALUES),
    "tiff 16 bits": (tiff(DEEP[..., np.newaxis]), False, GREY_VALUES),
    "tiff big-endian": (tiff(DEEP[..., np.newaxis], order=">"), False, GREY_VALUES),
    "tiff white is zero": (
        tiff(GREY_VALUES[..., np.newaxis], photometric=0),
        False,
        255 - GREY_VALUES,
    ),
    "tiff 16 bits, white is zero": (
        tiff(DEEP[..., np.newaxis], photometric=0),
        False,
        255 - GREY_VALUES,
    ),
    "tiff RGB of 16 bits": (tiff(RGB.astype(np.uint16) * 257, photometric=2), False, RGB),
    "tiff RGB and more": (
        tiff(CHANNELS[..., :4], photometric=2, extra=[0]),
        False,
        CHANNELS[..., :3],
    ),
    "tiff grey and alpha": (tiff(CHANNELS[..., :2], extra=[2]), False, CHANNELS[..., 0]),
    "tiff multiplied alpha": (tiff(CHANNELS[..., :4], photometric=2, extra=[1]), False, None),
    "gif": (encoded("GIF", GREY_VALUES), False, GREY_VALUES),
    "gif animated": (
        encoded("GIF", GREY_VALUES, save_all=True, append_images=[SHIFTED.convert("L")]),
        False,
        GREY_VALUES,
    ),
}
LOSSY = {
    "jpeg": (JPEG, True),
    "jpeg progressive": (encoded("JPEG", progressive=True), True),
    "jpeg 4:4:4": (encoded("JPEG", subsampling=0), True),
    "jpeg 4:2:2": (encoded("JPEG", subsampling=1), True),
    "jpeg of few colors": (encoded("JPEG", quality=5), True),
    "jpeg grey": (encoded("JPEG", mode="L"), True),
    "jpeg CMYK": (encoded("JPEG", mode="CMYK"), False),
    "jpeg turned": (encoded("JPEG", exif=TURNED), False),
    "jpeg with a thumbnail": (encoded("JPEG", comment=JPEG), True),
    "jpeg and a film": (JPEG + MOVIE, True),
    "jpeg and a trailer": (JPEG + b"SEFH" + RNG.bytes(50) + b"SEFT", True),
    "jpeg and zeros": (JPEG + bytes(700), True),
    "jpeg and a jpeg": (JPEG + encoded("JPEG", SHIFTED)[:-40], True),
    "jpeg of two": (encoded("MPO", save_all=True, append_images=[SHIFTED]), True),
    "webp lossy": (encoded("WEBP"), False),
    "tiff jpeg": (encoded("TIFF", compression="jpeg"), False),
}


@pytest.mark.parametrize("kind", [*EXACT, *LOSSY])
def test_records_and_predictions_see_the_same_pixels(tmp_path, kind):
    data, keeps_bytes, *exact = EXACT.get(kind) or LOSSY[kind]
    path = tmp_path / "a"
    path.write_bytes(data)
    image, record = read_image(path), read_encoded(path)
    decode = {"jpeg": tf.io.decode_jpeg, "png": tf.io.decode_png}[record.format]
    options = {"dct_method": "INTEGER_ACCURATE"} if record.format == "jpeg" else {}
    decoded = decode(record.data, channels=3, **options).numpy()
    np.testing.assert_array_equal(decoded, image)
    np.testing.assert_array_equal(decode_image(record.data, "a"), image)
    assert check_encoded(record.data, "a") == (record.height, record.width) == image.shape[:2]
    assert data.startswith(record.data) == keeps_bytes
    assert len(record.data) < len(data) or "and a" not in kind
    if exact and exact[0] is not None:
        wanted = np.broadcast_to(np.atleast_3d(exact[0]), image.shape)
        np.testing.assert_array_equal(image, wanted)
    if "jpeg" in kind and "CMYK" not in kind and "grey" not in kind and "few" not in kind:
        upright = np.rot90(RGB, -1) if "turned" in kind else RGB
        assert np.abs(image.astype(int) - upright).mean() < 12


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (tiff(CHANNELS[..., :2]), "a TIFF of 2 channels of 8 bits, which isn't read; save three"),
        (tiff(CHANNELS[..., :4], extra=[0, 0, 0]), "a TIFF of 4 channels of 8 bits"),
        (tiff(CHANNELS[..., :5].astype(np.uint16)), "a TIFF of 5 channels of 16 bits"),
        (tiff(FLOATS[..., np.newaxis].astype(np.float64), sample_format=3), r"64 bits \(floats\)"),
        (tiff(FLOATS[..., np.newaxis] * np.ones(3, "f4"), 2, 3), r"3 channels of 32 bits \(floats"),
        (tiff(CHANNELS[..., :1].astype(np.int16), sample_format=2), "signed 16-bit integers"),
        (tiff(CHANNELS[..., :1], sample_format=2), "signed 8-bit integers"),
        (tiff(CHANNELS[..., :1].astype(np.uint32)), "32-bit integers, whose white no rule tells"),
        (encoded("TIFF", CHANNELS[..., 0].astype(np.int32)), "signed 32-bit integers"),
        (encoded("TIFF", FLOATS * 255), "its floats are 0 to 2.*but black is 0 and white is 1"),
        (encoded("TIFF", FLOATS - 0.01), "its floats are -0.01 to"),
        (encoded("TIFF", FLOATS * np.float32("nan")), "NaN"),
        (encoded("TIFF", FLOATS * 0.01), "its float values, 0 to 0.*would be nearly black"),
        (encoded("TIFF", Image.merge("LAB", PICTURE.split())), "LAB colors; save it as RGB"),
        (encoded("PNG", GREY_VALUES.astype(np.uint16)), "16-bit values, 0 to 2.* nearly black"),
        (png(RGB.astype(int) * 16, PNG_RGB, 16), "its 16-bit values would be nearly black"),
        (tiff(RGB, photometric=2, tags=[(254, 1)]), "begins with a preview"),
        (tiff(RGB, photometric=2, tags=[(50706, 1)]), "RAW photo"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_values_without_a_rule_are_refused_by_name(tmp_path, data, words):
    path = tmp_path / "a"
    path.write_bytes(data)
    for read in (read_image, read_encoded):
        with pytest.raises(BadExampleError, match=words):
            read(path)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.png"
    path.write_bytes(encoded("PNG", exif=exif))
    upright = {
        1: RGB,
        2: RGB[:, ::-1],
        3: RGB[::-1, ::-1],
        4: RGB[::-1],
        5: RGB.transpose(1, 0, 2),
        6: np.rot90(RGB, -1),
        7: RGB[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(RGB),
    }[orientation]
    np.testing.assert_array_equal(read_image(path), upright)


def test_black_images_are_black(tmp_path):
    black = np.zeros((3, 4))
    for data in (encoded("PNG", black.astype(np.uint16)), encoded("TIFF", black.astype("f4"))):
        (tmp_path / "a").write_bytes(data)
        assert not read_image(tmp_path / "a").any()


def box(kind, content):
    return struct.pack(">I4s", 8 + len(content), kind) + content


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (box(b"ftyp", b"heic\0\0\0\0mif1heic"), "a HEIC photo"),
        (box(b"ftyp", b"mif1\0\0\0\0mif1heic"), "a HEIC photo"),
        (box(b"ftyp", b"avif\0\0\0\0mif1avif"), "an AVIF image"),
        (box(b"ftyp", b"mif1\0\0\0\0mif1avif"), "an AVIF image"),
        (box(b"ftyp", b"crx \0\0\0\1crx isom"), r"a RAW photo (CR3)"),
        (box(b"ftyp", b"isom\0\0\2\0isomiso2mp41"), "a video (MP4 or MOV)"),
        (box(b"ftyp", b"qt  \0\0\2\0qt  "), "a video (MP4 or MOV)"),
        (b"II*\0\x10\0\0\0CR\2\0", "a RAW photo (CR2)"),
        (b"FUJIFILMCCD-RAW 0201", "a RAW photo (RAF)"),
        (b"RIFF\0\0\1\0AVI LIST", "a video (AVI)"),
        (b"\x1a\x45\xdf\xa3\x01\0", "a video (Matroska or WebM)"),
        (b'<?xml version="1.0"?>\n<!-- made -->\n<svg width="9">', "an SVG drawing"),
        (b"\xef\xbb\xbf<svg/>", "an SVG drawing"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 image"),
        (b"\xff\x0a\0\0", "a JPEG XL image"),
        (b"8BPS\0\1", "a Photoshop document"),
        (bytes(128) + b"DICM", "a DICOM file"),
        (b"\x93NUMPY\1\0", "a NumPy array"),
        (b"PK\3\4\0\0", "an archive"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        (b"<!doctype html><title>404</title>", "a web page"),
        (b'{"error": 404}', "a JSON file"),
        ("Größe: 5\n".encode(), "a text file"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_files_that_are_no_image_are_named(tmp_path, data, kind):
    named, advice = describe_file(data)
    assert (named, bool(advice)) == (kind, True)
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    for read in (read_image, read_encoded):
        with pytest.raises(
            BadExampleError, match=r"a.jpg is an? .*, which isn't read; "
        ) as refused:
            read(path)
        assert kind in str(refused.value)


def test_what_is_unknown_or_damaged_is_not_named():
    for data in (
        b"\0\1\2\3",
        RNG.bytes(64),
        JPEG[:50],
        encoded("PNG")[:50],
        b"GIF89a",
        b"P5 9 9",
        b"BM6",
    ):
        assert describe_file(data) == ("", "")


@pytest.mark.parametrize(
    "rest", [b"", MOVIE, JPEG, b"\xff\xd9"], ids=["nothing", "a film", "a JPEG", "an end"]
)
@pytest.mark.parametrize("progressive", [False, True])
def test_what_stands_behind_a_jpeg_hides_no_damage(tmp_path, rest, progressive):
    path = tmp_path / "a.jpg"
    whole = encoded("JPEG", NOISE.resize((64, 48)), progressive=progressive)
    scan = whole.index(b"\xff\xda")
    for cut in (scan - 30, scan + 40, (scan + len(whole)) // 2, len(whole) - 40, len(whole) - 2):
        path.write_bytes(whole[:cut] + rest)
        if rest == b"\xff\xd9" and cut == len(whole) - 2:
            assert read_image(path).shape == (48, 64, 3)
            continue
        for read in (read_image, read_encoded):
            with pytest.raises(BadExampleError, match="cannot decode"):
                read(path)
