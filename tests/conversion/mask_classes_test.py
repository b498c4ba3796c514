"""The same picture means the same, however its file stores it."""

import numpy as np
import pytest
from PIL import Image

from kmax_tf.conversion.label_pictures import read_label_picture
from kmax_tf.conversion.mask_classes import MaskRules, classes_of, inside_of
from kmax_tf.errors import BadExampleError
from kmax_tf.labels import Category, LabelSpace
from tests.files.pngs import GREY, GREY_ALPHA, PALETTE, RGB, RGBA, encoded, png

PLAIN = MaskRules()
RNG = np.random.default_rng(0)
WHICH = RNG.integers(0, 4, (6, 7))
COLORS = np.array([(0, 0, 0), (220, 20, 60), (70, 130, 180), (107, 142, 35)])


def space(*values, colors=None):
    names = ("bolt", "nut", "belt")
    colors = COLORS[1:].tolist() if colors is None else colors
    classes = tuple(
        Category(i + 1, name, True, tuple(color), value)
        for i, (name, value, color) in enumerate(zip(names, values, colors))
    )
    return LabelSpace(classes, len(classes) + 1, ignore_label=0, label_divisor=100)


def read(tmp_path, data):
    path = tmp_path / "a.png"
    path.write_bytes(data)
    return read_label_picture(path)


def class_map(tmp_path, data, labels, rules=PLAIN):
    picture = read(tmp_path, data)
    return classes_of(picture, labels, rules)[picture.kinds]


def palette_of(colors):
    return np.asarray(colors, np.uint8).tobytes()


def stored_in_every_way(shown):
    """Yields the picture [H, W, 3] in files that show it, by name."""
    shown = np.asarray(shown, np.uint8)
    grey = shown[..., 0]
    opaque = np.concatenate([shown, np.full_like(shown[..., :1], 255)], -1)
    colors, index = np.unique(shown.reshape(-1, 3), axis=0, return_inverse=True)
    index = index.reshape(grey.shape)
    yield "rgb", png(shown, RGB)
    yield "rgb 16", png(shown.astype(int) * 257, RGB, 16)
    yield "rgba", png(opaque, RGBA)
    yield "rgba 16", png(opaque.astype(int) * 257, RGBA, 16)
    yield "rgb interlaced", png(shown, RGB, interlaced=True)
    yield "bmp", encoded(shown, "BMP")
    yield "tiff", encoded(shown, "TIFF", compression="tiff_lzw")
    yield "gif", encoded(shown, "GIF")
    ascending = np.arange(len(colors))
    for name, order in (("sorted", ascending), ("reversed", ascending[::-1])):
        place = np.argsort(order)
        palette = palette_of(colors[order])
        yield f"palette {name}", png(place[index], PALETTE, 8, palette)
        yield f"palette {name} of 4 bits", png(place[index], PALETTE, 4, palette, interlaced=True)
        # What is black is transparent.
        alpha = bytes(255 * (color != 0).any() for color in colors[order])
        yield f"palette {name} tRNS", png(place[index], PALETTE, 2, palette, alpha)
    if (shown == shown[..., :1]).all():
        yield "grey", png(grey, GREY)
        yield "grey 16", png(grey.astype(int) * 257, GREY, 16)
        yield "grey alpha", png(opaque[..., 2:], GREY_ALPHA)
        yield "grey alpha 16", png(opaque[..., 2:].astype(int) * 257, GREY_ALPHA, 16)
        yield "grey tRNS", png(grey, GREY, 8, transparency=b"\0\0")
        yield "grey tiff", encoded(grey, "TIFF")
        for depth in (1, 2, 4):
            step = 255 // (2**depth - 1)
            if (grey % step == 0).all():
                yield f"grey {depth}", png(grey // step, GREY, depth)


@pytest.mark.parametrize("way", dict(stored_in_every_way(COLORS[WHICH])))
@pytest.mark.parametrize("numbered", [False, True])
def test_colors_mean_classes_in_any_file(tmp_path, way, numbered):
    data = dict(stored_in_every_way(COLORS[WHICH]))[way]
    rules = MaskRules(colored=("bolt", "nut", "belt"), numbered=numbered)
    np.testing.assert_array_equal(class_map(tmp_path, data, space(1, 2, 3), rules), WHICH)


VALUES = np.array([0, 85, 170, 51])
LEVELS = np.repeat(VALUES[WHICH][..., np.newaxis], 3, -1)


@pytest.mark.parametrize("way", dict(stored_in_every_way(LEVELS)))
def test_grey_levels_mean_values_in_any_file(tmp_path, way):
    data = dict(stored_in_every_way(LEVELS))[way]
    labels = space(*VALUES[1:])
    np.testing.assert_array_equal(class_map(tmp_path, data, labels), WHICH)
    # Colors that the picture doesn't have change nothing.
    rules = MaskRules(colored=("bolt", "belt"))
    np.testing.assert_array_equal(class_map(tmp_path, data, labels, rules), WHICH)


WHITE = np.repeat(255 * (WHICH > 1)[..., np.newaxis], 3, -1)


@pytest.mark.parametrize("way", dict(stored_in_every_way(WHITE)))
def test_white_on_black_is_the_inside_in_any_file(tmp_path, way):
    picture = read(tmp_path, dict(stored_in_every_way(WHITE))[way])
    np.testing.assert_array_equal(inside_of(picture)[picture.kinds], WHICH > 1)
    only, rules = space(1), MaskRules(numbered=True)
    np.testing.assert_array_equal(classes_of(picture, only, rules)[picture.kinds], WHICH > 1)
    # Of several classes it may be any; given as a value, it is that one.
    with pytest.raises(BadExampleError, match=r"only value besides 0 is 255 \(\d+ pixels\)"):
        classes_of(picture, space(1, 2), rules)
    classes = classes_of(picture, space(2, 255), MaskRules())
    np.testing.assert_array_equal(classes[picture.kinds], 2 * (WHICH > 1))


def test_indices_without_a_color_are_values(tmp_path):
    """Pillow writes so what gets no palette: one black entry, whatever the indices."""
    inside = np.array([[0, 1], [1, 0]])
    data = png(inside, PALETTE, 8, palette_of([[0, 0, 0]]))
    found = class_map(tmp_path, data, space(1), MaskRules(numbered=True))
    np.testing.assert_array_equal(found, inside)


def test_a_palette_without_meaning_counts_by_its_indices(tmp_path):
    # Pascal VOC's colors, which are of no class here.
    palette = palette_of([(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0)])
    data = png(WHICH, PALETTE, 8, palette)
    for rules in (MaskRules(), MaskRules(numbered=True), MaskRules(colored=("bolt", "nut"))):
        np.testing.assert_array_equal(class_map(tmp_path, data, space(1, 2, 3), rules), WHICH)
    # All black, as of tools that write none; and stretched, to be seen.
    for colors in (np.zeros((4, 3)), np.arange(4)[:, np.newaxis] * [85, 85, 85]):
        data = png(WHICH, PALETTE, 8, palette_of(colors))
        np.testing.assert_array_equal(class_map(tmp_path, data, space(1, 2, 3)), WHICH)


def test_values_of_few_or_many_bits(tmp_path):
    for depth in (2, 4):  # ids as they are stored, which show as other grey levels
        data = png(WHICH, GREY, depth)
        np.testing.assert_array_equal(class_map(tmp_path, data, space(1, 2, 3)), WHICH)
    values = np.array([0, 1000, 300, 70])[WHICH]
    files = [png(values, GREY, 16), encoded(values.astype(np.int32), "TIFF")]
    files += [encoded(values.astype(np.float32), "TIFF"), encoded(values.astype(np.uint16), "TIFF")]
    files += [png(np.repeat(values[..., np.newaxis], 3, -1), RGB, 16)]
    for data in files:
        np.testing.assert_array_equal(class_map(tmp_path, data, space(1000, 300, 70)), WHICH)


def test_indices_that_contradict_colors_dont_count(tmp_path):
    # The list of classes lacks a color: indices would fit, but mean others.
    data = png(WHICH, PALETTE, 8, palette_of(COLORS[[0, 3, 1, 2]]))
    rules = MaskRules(colored=("bolt", "nut"))
    with pytest.raises(BadExampleError, match=r"of no class: #6b8e23 \(\d+ pixels\); give each"):
        class_map(tmp_path, data, space(1, 2, 3), rules)
    # White on black, whose indices say black on white.
    data = png(WHICH % 2, PALETTE, 1, palette_of([(255, 255, 255), (0, 0, 0)]))
    for rules in (PLAIN, MaskRules(numbered=True)):
        with pytest.raises(BadExampleError, match="only value besides 0 is 255"):
            class_map(tmp_path, data, space(1, 2), rules)
    # Beside a class, or where 0 is one, white is the usual "ignore".
    assert set(class_map(tmp_path, png(np.array([[0, 1, 255]]), GREY), space(1, 2)).flat) == {0, 1}
    assert set(class_map(tmp_path, png(np.array([[255, 255]]), GREY), space(0, 1)).flat) == {0}


def test_colors_and_values_that_contradict_each_other_are_refused(tmp_path):
    labels = space(128, 64, colors=[(64, 64, 64), (128, 128, 128)])
    rules = MaskRules(colored=("bolt", "nut"))
    with pytest.raises(BadExampleError, match="both by their colors and by their values"):
        class_map(tmp_path, png(64 * (1 + WHICH % 2), GREY), labels, rules)


def test_what_is_found_is_told(tmp_path):
    labels = space(1, 2, 3)
    values = np.array([[0, 7, 7, 7, 9, 1]])
    with pytest.raises(BadExampleError, match=r"values .*: 7 \(3 pixels\), 9 \(1 pixel\) .*1 \(b"):
        class_map(tmp_path, png(values, GREY), labels)
    with pytest.raises(BadExampleError, match="come of smoothing, resizing or a lossy format"):
        class_map(tmp_path, png(np.arange(256).reshape(16, 16), GREY), labels)
    with pytest.raises(BadExampleError, match=r"several values besides 0: 7 \(3 pix.*column value"):
        class_map(tmp_path, png(values, GREY), space(1), MaskRules(numbered=True))
    with pytest.raises(BadExampleError, match="several values besides 0: #"):
        class_map(tmp_path, png(COLORS[WHICH], RGB), space(1), MaskRules(numbered=True))
    with pytest.raises(BadExampleError, match="colors are all bright"):
        inside_of(read(tmp_path, png(np.array([[[255, 0, 0], [0, 255, 0]]]), RGB)))
    palette = palette_of(RNG.integers(1, 255, (10, 3)))
    with pytest.raises(BadExampleError, match=r"values .* index 9"):
        class_map(tmp_path, png(np.array([[1, 9, 1]]), PALETTE, 8, palette), labels)


def test_rows_of_kind_unlabeled_count(tmp_path):
    rules = MaskRules(numbered=True, unlabeled_values=(7, 255))
    values = np.array([[0, 7, 255]])
    assert not class_map(tmp_path, png(values, GREY), space(1, 2), rules).any()
    rules = MaskRules(colored=("bolt", "nut", "belt"), unlabeled_colors=((224, 224, 192),))
    colors = np.concatenate([COLORS, [(224, 224, 192)]])[np.newaxis]
    classes = class_map(tmp_path, png(colors, RGB), space(1, 2, 3), rules)
    np.testing.assert_array_equal(classes, [[0, 1, 2, 3, 0]])


def test_opaque_at_index_0_is_the_inside(tmp_path):
    picture = png(WHICH % 2, PALETTE, 1, palette_of([(9, 9, 9), (9, 9, 9)]), b"\xff\0")
    found = read(tmp_path, picture)
    np.testing.assert_array_equal(inside_of(found)[found.kinds], WHICH % 2 == 0)


def test_pictures_that_are_no_labels_are_refused(tmp_path):
    rgb = COLORS[WHICH].astype(np.uint8)
    frames = {"save_all": True, "append_images": [Image.fromarray(rgb[::-1])]}
    for data, words in (
        (encoded(rgb, "JPEG"), "is a JPEG, which changes values"),
        (encoded(rgb, "WEBP"), "is a WEBP, which changes values"),
        (encoded(rgb, "TIFF", **frames), "holds 2 pictures"),
        (encoded(rgb, "PNG", **frames), "holds 2 pictures"),
        (encoded(rgb, "TIFF", mode="CMYK"), "CMYK colors"),
        (encoded(np.full((3, 4), 0.5, np.float32), "TIFF"), "floats that are no whole numbers"),
        (png(RNG.integers(0, 2**16, (3, 4, 3)), RGB, 16), "colors of 16 bits"),
        (png(np.zeros((3, 4, 4)), RGBA), "transparent all over"),
    ):
        with pytest.raises(BadExampleError, match=words):
            read(tmp_path, data)


def test_labels_are_turned_as_images_are(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(WHICH.astype(np.uint8), exif=exif)
    np.testing.assert_array_equal(class_map(tmp_path, data, space(1, 2, 3)), np.rot90(WHICH, -1))
