import contextlib
import io

import numpy as np
import pytest
from PIL import Image

from kmax_tf.errors import BadExampleError
from kmax_tf.files.images import read_encoded, read_image

RNG = np.random.default_rng(0)
# Smooth, so that JPEG changes it little.
RGB = np.asarray(Image.fromarray(RNG.integers(0, 256, (4, 6, 3), dtype=np.uint8)).resize((48, 32)))


def save(path, image, **options):
    image.save(path, **options)
    return path


def decoded(encoded):
    with Image.open(io.BytesIO(encoded.data)) as image:
        assert image.format.lower() == encoded.format
        assert (image.height, image.width) == (encoded.height, encoded.width)
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_plain_rgb_files_keep_their_bytes(tmp_path, name):
    path = save(tmp_path / name, Image.fromarray(RGB))
    assert read_encoded(path).data == path.read_bytes()


@pytest.mark.parametrize(
    ("name", "mode", "tolerance"),
    [
        ("grey.jpg", "L", 6),
        ("cmyk.jpg", "CMYK", 6),
        ("grey.png", "L", 0),
        ("bilevel.png", "1", 0),
        ("grey_alpha.png", "LA", 0),
        ("rgba.png", "RGBA", 0),
        ("palette.png", "P", 0),
    ],
)
def test_other_modes_become_rgb(tmp_path, name, mode, tolerance):
    original = Image.fromarray(RGB).convert(mode)
    expected = np.asarray(original.convert("RGB")).astype(int)
    path = save(tmp_path / name, original)
    for image in (read_image(path), decoded(read_encoded(path))):
        assert image.dtype == np.uint8
        assert image.shape == RGB.shape
        assert np.abs(image - expected).mean() <= tolerance


def test_16_bit_grey_is_scaled_not_clipped(tmp_path):
    grey = np.linspace(0, 65535, 48 * 32).reshape(32, 48).astype(np.uint16)
    path = save(tmp_path / "deep.png", Image.fromarray(grey))
    expected = np.repeat((grey >> 8)[..., np.newaxis], 3, axis=-1)
    np.testing.assert_array_equal(read_image(path), expected)
    np.testing.assert_array_equal(decoded(read_encoded(path)), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.jpg", Image.fromarray(RGB), exif=exif, quality=95)
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
    for image in (read_image(path), decoded(read_encoded(path))):
        assert image.shape == upright.shape
        assert np.abs(image.astype(int) - upright).mean() < 6


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_truncated_and_corrupt_files_are_named(tmp_path, name):
    path = save(tmp_path / name, Image.fromarray(RGB))
    whole = path.read_bytes()
    for spoilt in (whole[: len(whole) // 2], b"", b"not an image", whole[:3]):
        path.write_bytes(spoilt)
        for read in (read_image, read_encoded):
            with pytest.raises(BadExampleError, match=name):
                read(path)


def test_fuzzed_files_are_read_or_refused(tmp_path):
    rng = np.random.default_rng(1)
    for name in ("a.jpg", "a.png"):
        whole = save(tmp_path / name, Image.fromarray(RGB)).read_bytes()
        for _ in range(60):
            spoilt = bytearray(whole)
            for position in rng.integers(0, len(whole), 4):
                spoilt[position] = rng.integers(256)
            (tmp_path / name).write_bytes(bytes(spoilt))
            with contextlib.suppress(BadExampleError):
                assert read_image(tmp_path / name).dtype == np.uint8
                decoded(read_encoded(tmp_path / name))


def test_missing_files_and_folders_are_named(tmp_path):
    for path in (tmp_path / "absent.jpg", tmp_path):
        with pytest.raises(BadExampleError, match=path.name):
            read_image(path)
