import json

import numpy as np
import pytest
from PIL import Image

from kmax_tf.cli.main import main
from kmax_tf.conversion.detection import find_readings
from kmax_tf.conversion.id_maps import IdTable, read_id_map, read_id_split, read_instance_table
from kmax_tf.conversion.painting import PaintingRules
from kmax_tf.errors import BadExampleError, UserError
from kmax_tf.labels import Category, LabelSpace

LABELS = LabelSpace(
    (
        Category(1, "cell", True, (1, 0, 0), 1),
        Category(2, "dirt", True, (2, 0, 0), 2),
        Category(3, "glass", False, (3, 0, 0), 3),
    ),
    num_ids=4,
    ignore_label=0,
    label_divisor=100_000,
    name="slides",
)
UNLABELED = PaintingRules()
# Two parts of one id, and ids that 16 bits hold.
IDS = np.array([[5, 5, 0, 700], [5, 9, 9, 700], [0, 0, 0, 5]])


def save(path, ids, dtype):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, ids.astype(dtype))
    else:
        Image.fromarray(ids.astype(dtype)).save(path)


def dataset(root, suffix=".npy", dtype=np.int32, ids=IDS):
    (root / "images").mkdir(parents=True)
    Image.new("RGB", ids.shape[::-1]).save(root / "images" / "a.png")
    save(root / "masks" / f"a{suffix}", ids, dtype)
    return root


def load(root, table, rules=UNLABELED):
    (annotation,) = read_id_split(str(root), "", table, rules).annotations
    return annotation.load(LABELS)


@pytest.mark.parametrize(
    ("suffix", "dtype"),
    [
        (".png", np.uint16),
        (".tif", np.uint16),
        (".tif", np.int32),
        (".npy", np.uint32),
        (".npy", np.uint64),
        (".npy", np.float32),
    ],
)
def test_ids_are_instances_in_their_order(tmp_path, suffix, dtype):
    example = load(dataset(tmp_path, suffix, dtype), IdTable("cell"))
    number = {0: 0, 5: 100_001, 9: 100_002, 700: 100_003}
    np.testing.assert_array_equal(example.panoptic, np.vectorize(number.get)(IDS))
    assert example.areas == {1: [4, 2, 2]}


def test_large_ids_and_many_of_them(tmp_path):
    ids = np.arange(3000).reshape(50, 60)
    ids[ids == 1] = 2**32 - 1
    example = load(dataset(tmp_path, ids=ids, dtype=np.uint32), IdTable("cell"))
    assert len(np.unique(example.panoptic)) == 3000


def test_classes_come_from_a_table(tmp_path):
    root = dataset(tmp_path)
    (root / "instances.csv").write_text(
        "image;id;class\na.png;5;cell\na.png;9;dirt\nb.png;700;cell\n"
    )
    table = IdTable(by_image=read_instance_table(str(root / "instances.csv")))
    assert table.names == ["cell", "dirt"]
    example = load(root, table, PaintingRules(background="glass"))
    assert set(np.unique(example.panoptic)) == {0, 100_001, 200_001}
    assert example.refused == (
        (
            f"id 700 of {root}/masks/a.npy",
            "instances.csv doesn't list it with a class of the dataset; add a row, or make it 0",
        ),
    )


def test_classes_come_from_a_picture_of_them(tmp_path):
    root = dataset(tmp_path)
    classes = np.where(IDS == 9, 2, 1).astype(np.uint8)
    classes[0, 0] = 3
    classes[IDS == 700] = 0
    save(root / "classes" / "a.png", classes, np.uint8)
    example = load(root, IdTable(class_maps=str(root / "classes")))
    assert example.areas == {1: [4], 2: [2]}
    assert example.counts == {"ids whose pixels are of several classes": 1}
    assert "no pixel of it has a class" in example.refused[0][1]


def test_what_has_no_id_is_background_where_asked(tmp_path):
    example = load(dataset(tmp_path), IdTable("cell"), PaintingRules(background="glass"))
    np.testing.assert_array_equal(example.panoptic[IDS == 0], 300_000)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros((3, 4, 3), np.uint8), "a map of ids is"),
        (np.full((3, 4), 0.5), "a map of ids is"),
        (np.full((3, 4), np.nan), "a map of ids is"),
        (np.full((3, 4), 2**40), "a map of ids is"),
        (np.array({"masks": 1}, dtype=object), "save the map alone by numpy.save"),
        (np.zeros((4, 3), np.uint8), "must have the size of their image"),
        (np.full((3, 4), -1), "negative ids such as -1"),
    ],
)
def test_what_is_no_map_is_a_sentence(tmp_path, values, words):
    root = dataset(tmp_path)
    np.save(root / "masks" / "a.npy", values, allow_pickle=True)
    with pytest.raises(BadExampleError, match=words):
        load(root, IdTable("cell"))


def test_colors_are_no_ids(tmp_path):
    Image.new("RGB", (4, 3), (9, 8, 7)).save(tmp_path / "a.png")
    with pytest.raises(BadExampleError, match="shows colors; save ids as grey values"):
        read_id_map(str(tmp_path / "a.png"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name,class\n1,cell\n", "must have the columns id and class, not name, class"),
        ("id,class\none,cell\n", "line 2 of"),
        ("id,class\n1,cell\n1,dirt\n", "the id 1 is cell and dirt"),
        ("id,class\n1, \n", "is no name"),
    ],
)
def test_a_bad_table_is_a_sentence(tmp_path, text, words):
    (tmp_path / "instances.csv").write_text(text)
    with pytest.raises(UserError, match=words):
        read_instance_table(str(tmp_path / "instances.csv"))


def test_the_command_reads_them(tmp_path, capsys):
    root, output = dataset(tmp_path / "slides"), tmp_path / "records"
    Image.new("RGB", (4, 3)).save(root / "images" / "b.png")
    arguments = ["--source", str(root), "--output", str(output), "--workers", "1"]
    assert main(["convert-dataset", "auto", *arguments]) == 2
    assert "give --class NAME for one class" in capsys.readouterr().err
    assert main(["convert-dataset", "auto", *arguments, "--class", "cell"]) == 0
    out = capsys.readouterr().out
    assert "slides: maps of instance ids (2 images, masks in" in out
    found = json.loads((output / "report.json").read_text())["train"]
    assert found["classes"]["cell"]["segments"] == 3
    assert [entry["name"] for entry in found["refused"]] == ["b"]


def test_pictures_of_few_values_may_be_either(tmp_path):
    root = dataset(tmp_path, ".png", np.uint8, np.minimum(IDS, 9))
    assert [reading.layout for reading in find_readings(str(root))] == ["id-maps", "masks"]
    (root / "classes.csv").write_text("name,kind\ncell,thing\n")
    assert [reading.layout for reading in find_readings(str(root))] == ["masks"]
    save(root / "masks" / "a.png", IDS, np.uint16)
    assert [reading.layout for reading in find_readings(str(root))] == ["id-maps"]
