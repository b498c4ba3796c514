"""Damaged and hostile files: each is read rightly or refused in a sentence, never anything else."""

import copy
import json
import os
import pathlib
import re
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from kmax_tf.conversion.coco_format import read_split
from kmax_tf.conversion.convert import convert
from kmax_tf.conversion.inspection import inspect
from kmax_tf.conversion.label_pictures import read_label_picture
from kmax_tf.errors import BadExampleError, UserError
from kmax_tf.files.images import read_encoded, read_image
from kmax_tf.files.reading import list_folder
from kmax_tf.panoptic.png import read_ids
from kmax_tf.records.examples import encode_example, write_shard
from tests.files.pngs import encoded, png_of
from tests.reference.dataset_trees import coco

# The same files in every run: what is found is fixed here, not in somebody else's run.
FUZZ = settings(
    derandomize=True,
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
RNG = np.random.default_rng(0)
# Large enough for several rows of JPEG blocks.
IDS = np.kron(RNG.integers(0, 6, (6, 5)), np.ones((8, 8))).astype(np.int32) * 70000
RGB = np.stack([IDS & 255, IDS >> 8 & 255, IDS >> 16], -1).astype(np.uint8)


FILES = {
    "PNG": encoded(RGB, "PNG"),
    "JPEG": encoded(RGB, "JPEG", quality=90),
    "progressive JPEG": encoded(RGB, "JPEG", progressive=True),
    "TIFF": encoded(RGB, "TIFF", compression="tiff_lzw"),
    "GIF": encoded(RGB, "GIF"),
}


def attempt(function, *arguments):
    """Returns what a function returns, or None and the sentence of its error."""
    try:
        return function(*arguments), ""
    except UserError as error:
        return None, str(error)


@st.composite
def damages(draw, size):
    """A function that cuts, overwrites, removes or repeats bytes."""
    kind = draw(st.sampled_from(["cut", "overwrite", "overwrite", "remove", "repeat"]))
    start = draw(st.integers(0, size - 1))
    end = min(start + draw(st.integers(1, 40)), size)
    noise = draw(st.binary(min_size=end - start, max_size=end - start))

    def damage(data):
        if kind == "cut":
            return data[:start]
        middle = {"overwrite": noise, "remove": b"", "repeat": 2 * data[start:end]}[kind]
        return data[:start] + middle + data[end:]

    return damage


@FUZZ
@given(data=st.data())
def test_id_maps_are_read_rightly_or_refused(tmp_path, data):
    path = tmp_path / "ids.png"
    path.write_bytes(data.draw(damages(len(FILES["PNG"])))(FILES["PNG"]))
    ids, error = attempt(read_ids, path)
    assert "\n" not in error
    if ids is None:
        assert "ids.png" in error
    else:
        np.testing.assert_array_equal(ids, IDS)


@pytest.mark.parametrize("kind", FILES)
@FUZZ
@given(data=st.data())
def test_what_is_accepted_is_what_tensorflow_decodes(kind, tmp_path, data):
    path = tmp_path / "image"
    path.write_bytes(data.draw(damages(len(FILES[kind])))(FILES[kind]))
    image, error = attempt(read_encoded, path)
    if image is None:
        assert str(path) in error
        assert attempt(read_image, path) == (None, error)
        return
    decoded = tf.io.decode_image(image.data, channels=3, expand_animations=False)
    assert decoded.shape == (image.height, image.width, 3)
    if kind == "PNG":
        np.testing.assert_array_equal(decoded, RGB)


def png(width, height, depth=8, data=b""):
    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    return png_of([(b"IHDR", header), (b"IDAT", zlib.compress(data)), (b"IEND", b"")])


def jpeg_of_size(width, height):
    data = bytearray(FILES["JPEG"])
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (png(100_000, 100_000), "pixels"),
        (png(2**31 - 1, 2**31 - 1), "a.bin"),
        (png(8193, 8192), "at most 67108864 are read"),
        (png(0, 5), "a.bin"),
        (png(30, 30, data=b"\0" * 50), "truncated"),
        (jpeg_of_size(65500, 65500), "pixels"),
        (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
            "a.bin is a PostScript document, which isn't read; export its pages as PNG",
        ),
        (b"\x89PNG\r\n\x1a\n", "truncated"),
        (b"\x89PNG\r\n\x1a\n" + struct.pack(">I4s", 2**32 - 1, b"IHDR"), "truncated"),
    ],
)
def test_declared_sizes_cost_nothing(tmp_path, content, words):
    path = tmp_path / "a.bin"
    path.write_bytes(content)
    for read in (read_encoded, read_image, read_ids, read_label_picture):
        with pytest.raises(BadExampleError, match=words):
            read(path)


@pytest.mark.parametrize("width", [48, 400, 4000])
def test_jpegs_whose_pixels_end_early_are_refused(tmp_path, width):
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg_of_size(width, 4000))
    with pytest.raises(BadExampleError, match="pixels are missing"):
        read_encoded(path)
    whole = FILES["JPEG"]
    # Of the last block itself, an eighth of the size shows the mean only.
    for cut in range(-63, -len(whole) // 3, -60):
        path.write_bytes(whole[:cut] + whole[-2:])
        with pytest.raises(BadExampleError):
            read_encoded(path)


def test_names_that_are_no_text_are_named(tmp_path):
    (pathlib.Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png"))).write_bytes(FILES["PNG"])
    with pytest.raises(UserError, match=r"has the name '\\udcff.png', which isn't UTF-8"):
        list_folder(tmp_path)


def test_pipes_and_folders_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    for name in ("pipe.png", "folder.png", "\0.png", "\udc80.png", "x" * 5000):
        with pytest.raises(BadExampleError, match="cannot read"):
            read_image(os.path.join(tmp_path, name))


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "I;16"])
def test_id_maps_of_other_modes_are_refused(tmp_path, mode):
    path = tmp_path / "ids.png"
    grey = Image.fromarray((IDS // 70000).astype(np.uint16 if mode == "I;16" else np.uint8))
    (grey if mode == "I;16" else grey.convert(mode)).save(path)
    with pytest.raises(BadExampleError, match="must be RGB with 8 bits"):
        read_ids(path)
    path.write_bytes(png(1, 1, depth=16, data=b"\0" + b"\1\2\3\4\5\6"))
    with pytest.raises(BadExampleError, match="16 bits"):
        read_ids(path)


STRANGE = [
    *(None, True, -1, 0, 1.0, 2**24, 2**31, 2**63, 10**400, 1.5, 1e300, float("nan"), float("inf")),
    *(
        "",
        "../../a.png",
        "/etc/passwd",
        "a\0.png",
        "\ud800.png",
        "x" * 10_000,
        "é.png",
        "..\\a.png",
    ),
    *([], {}, [[]], {"id": 1}, [None], [{"id": {}}]),
]


# What Python says is no sentence for people.
OF_PYTHON = re.compile(
    r"Error\(|NoneType|not subscriptable|unhashable|invalid literal|cannot convert"
)


def nodes(value, path=()):
    """Yields the place of each value in a JSON."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items if isinstance(value, (dict, list)) else ():
        yield from nodes(inner, (*path, key)) if isinstance(inner, (dict, list)) else [(*path, key)]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """The folder of a dataset, its JSON, and what that holds."""
    root = tmp_path_factory.mktemp("tree")
    coco(root)
    path = root / "annotations" / "panoptic_train2017.json"
    return root, path, json.loads(path.read_text())


@FUZZ
@given(data=st.data())
def test_strange_json_is_read_rightly_or_refused(tree, golden_labels, data):
    root, path, content = tree
    labels, content = golden_labels["coco_b"], copy.deepcopy(content)
    *parents, last = data.draw(st.sampled_from(list(nodes(content))))
    owner = content
    for key in parents:
        owner = owner[key]
    value = data.draw(st.sampled_from(STRANGE))
    if isinstance(owner, list) and data.draw(st.booleans()):
        owner.append(owner[last])  # what is there twice
    else:
        owner[last] = value
    path.write_text(json.dumps(content))
    split, error = attempt(read_split, root, "train2017")
    assert not OF_PYTHON.search(error)
    if split is None:
        assert 0 < len(error) < 25_000
        return
    for name, reason in split.refused:
        assert not OF_PYTHON.search(reason)
        assert (name + reason).encode("utf-8")  # so that a terminal and a report can show it
    examples = [attempt(annotation.load, labels) for annotation in split.annotations]
    for example, refused in examples:
        if example is None:
            assert 0 < len(refused) < 25_000
        else:
            classes = np.unique(example.panoptic // labels.label_divisor)
            assert set(classes) <= {0, *labels.ids}
    assert examples or split.refused


@FUZZ
@given(data=st.data())
def test_json_that_is_none_is_refused(tree, golden_labels, data):
    root, path, content = tree
    text = json.dumps(content).encode()
    path.write_bytes(data.draw(damages(len(text)))(text))
    split, error = attempt(read_split, root, "train2017")
    assert "\n" not in error
    for annotation in split.annotations if split else ():
        assert "\n" not in attempt(annotation.load, golden_labels["coco_b"])[1]


@pytest.fixture(scope="module")
def shard(shapes_source, shapes_labels, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shard")
    convert(read_split(shapes_source, "val2017").annotations[:3], folder, "val", shapes_labels)
    (file,) = folder.glob("*.tfrecord")
    return file.read_bytes()


@FUZZ
@given(data=st.data())
def test_damaged_records_are_found(shard, shapes_labels, tmp_path, data):
    content = data.draw(damages(len(shard)))(shard)
    if content == shard:
        return
    path = tmp_path / "val.tfrecord"
    path.write_bytes(content)
    found = inspect([str(path)], shapes_labels, "val", 1)
    # A cut between two records leaves a whole file, of which only its checksum can tell.
    assert found.problems or (shard.startswith(content) and found.statistics.images < 3)


def test_a_length_that_is_a_lie_is_found(shapes_labels, tmp_path):
    path = tmp_path / "val.tfrecord"
    path.write_bytes(struct.pack("<Q", 2**60) + bytes(100))
    assert "damaged at record 0" in inspect([str(path)], shapes_labels, "val", 1).problems[0]


@FUZZ
@given(data=st.data())
def test_damaged_examples_are_found(shapes_source, shapes_labels, tmp_path, data):
    annotation = read_split(shapes_source, "val2017").annotations[0]
    whole = encode_example(annotation.load(shapes_labels))
    content = data.draw(damages(len(whole)))(whole)
    path = tmp_path / "val.tfrecord"
    write_shard(path, [content])
    found = inspect([str(path)], shapes_labels, "val", 1)
    assert found.problems or found.statistics.images == 1
