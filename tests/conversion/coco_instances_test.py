import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle_masks

import kmax_tf
from kmax_tf.cli.main import main
from kmax_tf.conversion.coco_instances import classes_of_instances, read_instances
from kmax_tf.conversion.instance_examples import split_of_instances
from kmax_tf.conversion.instance_layouts import find_instance_splits
from kmax_tf.conversion.painting import PaintingRules
from kmax_tf.errors import BadExampleError, UserError
from kmax_tf.files.image_index import ImageIndex
from kmax_tf.labels import Category, LabelSpace
from kmax_tf.panoptic.fields import FieldError
from kmax_tf.panoptic.instance_masks import decode_mask, run_lengths
from tests.reference.instance_scenes import CLASSES, expected_label, write_scenes

LABELS = LabelSpace(
    tuple(Category(i, name, i < 3, (i, 0, 0), i) for i, name in enumerate(CLASSES, 1)),
    num_ids=4,
    ignore_label=0,
    label_divisor=1000,
    name="scenes",
)
# Where each tool puts annotations and images of a split.
TREES = {
    "COCO": ("annotations/instances_{}2017.json", "{}2017"),
    "Roboflow": ("{}/_annotations.coco.json", "{}"),
    "CVAT": ("annotations/instances_{}.json", "images/{}"),
    "Label Studio": ("{}/result.json", "{}/images"),
    "FiftyOne": ("{}/labels.json", "{}/data"),
}


def compare_scenes(tmp_path, count, seed, rules):
    content = write_scenes(tmp_path / "a.json", tmp_path / "i", count, np.random.default_rng(seed))
    split = split_of_instances(
        read_instances(str(tmp_path / "a.json")), ImageIndex(str(tmp_path / "i")), rules
    )
    assert not split.refused
    assert len(split.annotations) == len(content["images"])
    for annotation in split.annotations:
        example = annotation.load(LABELS)
        # Nothing is left out but what others hide.
        hidden = example.counts.get("segments hidden below others", 0)
        assert len(example.refused) == hidden
        expected = expected_label(
            tmp_path / "a.json", annotation.source_id, rules.overlaps, bool(rules.background)
        )
        np.testing.assert_array_equal(example.panoptic, expected)
        ids, areas = np.unique(expected[expected > 0], return_counts=True)
        found = sorted(area for listed in example.areas.values() for area in listed)
        assert found == sorted(areas.tolist()), ids


@pytest.mark.parametrize("overlaps", ["small", "order"])
@pytest.mark.parametrize("background", ["", "belt"])
def test_labels_are_those_of_pycocotools(tmp_path, overlaps, background):
    compare_scenes(
        tmp_path, 10, [1, len(overlaps), len(background)], PaintingRules(overlaps, background)
    )


@pytest.mark.slow
def test_labels_of_many_scenes_are_those_of_pycocotools(tmp_path):
    compare_scenes(tmp_path, 500, 2, PaintingRules())


def report(output):
    return json.loads((output / "report.json").read_text())


@pytest.mark.parametrize("tool", TREES)
def test_each_tools_layout_is_found(tmp_path, capsys, tool):
    json_path, images = TREES[tool]
    held_out = "valid" if tool == "Roboflow" else "val"
    rng = np.random.default_rng(3)
    for split, count in (("train", 3), (held_out, 2)):
        root = tmp_path / "mine"
        write_scenes(root / json_path.format(split), root / images.format(split), count, rng)
    output = tmp_path / "records"
    arguments = ["--source", str(root), "--output", str(output), "--workers", "1"]
    assert main(["convert-dataset", "auto", *arguments, "--stuff", "belt"]) == 0
    out = capsys.readouterr().out
    assert f"COCO instances, {tool} layout" in out
    assert "train 3, val 2 images, 3 classes" in out
    assert {name: split["images"] for name, split in report(output).items()} == {
        "train": 3,
        "val": 2,
    }
    if tool == "COCO":
        compare_records(output, root, {"train": "train2017", "val": "val2017"})


def compare_records(output, root, splits):
    import tensorflow as tf

    from kmax_tf.records.examples import decode_example

    for split, name in splits.items():
        files = sorted(str(path) for path in output.glob(f"{split}-*.tfrecord"))
        for serialized in tf.data.TFRecordDataset(files):
            record = decode_example(serialized)
            image_id = int(record["source_id"].numpy())
            path = root / "annotations" / f"instances_{name}.json"
            label = record["panoptic"].numpy()
            crowds_keep = label % 1000 == 0
            expected = expected_label(path, image_id)
            if split == "train":
                np.testing.assert_array_equal(label, expected)
            else:
                np.testing.assert_array_equal(label[~crowds_keep], expected[~crowds_keep])


SQUARE = [2, 2, 8, 2, 8, 8, 2, 8]


class Tree:
    """A file of one image of 10 x 12 pixels with a good bolt, that tests spoil."""

    def __init__(self, root):
        self.root = root
        (root / "i").mkdir()
        self.add_image("a.png")
        self.content = {
            "images": [{"id": 1, "file_name": "a.png", "height": 10, "width": 12}],
            "annotations": [self.annotation(5, SQUARE)],
            "categories": [{"id": 1, "name": "bolt"}, {"id": 2, "name": "nut"}],
        }

    def add_image(self, name, size=(12, 10)):
        path = self.root / "i" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size).save(path)

    @staticmethod
    def annotation(number, *polygons, **more):
        given = {"segmentation": list(polygons)} if polygons else {}
        return {"id": number, "image_id": 1, "category_id": 1, "iscrowd": 0, **given, **more}

    def read(self, **rules):
        path = self.root / "a.json"
        path.write_text(json.dumps(self.content))
        found = read_instances(str(path))
        return found, split_of_instances(
            found, ImageIndex(str(self.root / "i")), PaintingRules(**rules)
        )

    def load(self, **rules):
        """Returns the first image's example and all that was refused."""
        _, split = self.read(**rules)
        example = split.annotations[0].load(LABELS)
        return example, [*split.refused, *example.refused]


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


def coded(height, width, cut=0):
    mask = np.zeros((height, width), np.uint8)
    mask[2:5] = 1
    counts = rle_masks.encode(np.asfortranarray(mask))["counts"].decode()
    return {"size": [height, width], "counts": counts[: len(counts) - cut]}


BAD_MASKS = {
    "two points": ([[1, 1, 5, 5]], "polygon 0 has 2 points"),
    "odd": ([[1, 1, 5, 5, 7, 1, 3]], "x and y take an even number"),
    "nan": ([[1, 1, 5, float("nan"), 7, 7]], "coordinate NaN; it must be a finite number"),
    "infinite": ([[1, 1, 5, float("inf"), 7, 7]], "must be a finite number"),
    "text": ([[1, 1, 5, "5", 7, 7]], 'coordinate "5"'),
    "huge": ([[1, 1, 5, 10**400, 7, 7]], "far outside the image of 12 x 10"),
    "far away": ([[1e8, 1e8, 2e8, 1e8, 2e8, 2e8]], "far outside the image of 12 x 10"),
    "outside": ([[20, 20, 30, 20, 30, 30]], "no pixel in the image"),
    "normalized": ([[0.1, 0.1, 0.9, 0.1, 0.5, 0.8]], "from 0 to 1, as shares"),
    "thin": ([[1, 1, 5, 1, 9, 1]], "no pixel in the image"),
    "flat list": (SQUARE, "must be a list of polygons"),
    "number": (7, "must be polygons or run lengths"),
    "none": ([], "has only a box"),
    "null": (None, "has only a box"),
    "empty": ([[]], "polygon 0 has 0 points"),
    "other size": (coded(12, 10), r"of the size (height, width) [12, 10]"),
    "cut off": (coded(10, 12, cut=2), "run lengths"),
    "no text of COCO's": ({"size": [10, 12], "counts": "é{}"}, "no text that COCO's"),
    "negative": ({"size": [10, 12], "counts": [-5, 125]}, "whole numbers from 0"),
    "short": ({"size": [10, 12], "counts": [5, 5]}, "count 10 pixels, but the image has 120"),
    "floats": ({"size": [10, 12], "counts": [5.5, 114.5]}, "whole numbers from 0"),
    "no size": ({"counts": [0, 120]}, "of the size (height, width) null"),
}


@pytest.mark.parametrize("kind", BAD_MASKS)
def test_a_bad_mask_is_left_out_and_told_and_others_go_on(tree, kind):
    segmentation, words = BAD_MASKS[kind]
    bad = tree.annotation(6, segmentation=segmentation, bbox=[1, 1, 4, 4])
    tree.content["annotations"].insert(0, bad)
    example, refused = tree.load()
    assert (example.panoptic == 1001).sum() == 36
    ((where, reason),) = refused
    assert where == "annotation 0 (id 6) of a.json"
    assert words in reason
    assert "\n" not in reason


BAD_ENTRIES = {
    "no image": ({"image_id": 7}, "image_id 7 is not among the images"),
    "image missing": ({"image_id": None}, "image_id must be"),
    "huge id": ({"image_id": 2**70}, "whole number of 64 bits"),
    "unlisted category": ({"category_id": 9}, "category_id 9 is none of the file's categories"),
    "named category": ({"category_id": "bolt"}, "category_id must be a whole number"),
    "huge category": ({"category_id": 2**40}, "category_id must be from 0 to"),
    "crowd": ({"iscrowd": "no"}, "iscrowd must be 0 or 1"),
}


@pytest.mark.parametrize("kind", BAD_ENTRIES)
def test_a_bad_entry_is_left_out_and_told(tree, kind):
    changes, words = BAD_ENTRIES[kind]
    tree.content["annotations"].append(tree.annotation(6, SQUARE, **changes))
    tree.content["annotations"].append("nothing")
    example, refused = tree.load()
    assert (example.panoptic == 1001).sum() == 36
    assert len(refused) == 2
    assert words in refused[0][1]
    assert "must be an object" in refused[1][1]


def test_a_polygon_of_two_points_beside_a_good_one_is_told(tree):
    tree.content["annotations"] = [tree.annotation(5, [1, 1, 3, 3], SQUARE)]
    example, refused = tree.load()
    assert (example.panoptic == 1001).sum() == 36
    assert refused == [("annotation 0 (id 5) of a.json", "polygon 0 has 2 points; it takes three")]


def test_ids_may_repeat_be_missing_or_be_texts(tree):
    nut = tree.annotation(5, [9, 0, 12, 0, 12, 3], category_id="2", image_id="1")
    del nut["iscrowd"]
    anonymous = tree.annotation(0, [0, 0, 2, 0, 2, 2])
    del anonymous["id"]
    tree.content["annotations"] += [nut, anonymous]
    example, refused = tree.load()
    assert set(np.unique(example.panoptic)) == {0, 1001, 1002, 2001}
    assert refused == []


def test_images_of_one_id_are_left_out_and_told(tree):
    tree.add_image("b.png")
    tree.add_image("c.png")
    images = tree.content["images"]
    images += [{"id": 2, "file_name": "b.png"}, {"id": 2, "file_name": "c.png"}, dict(images[0])]
    example, refused = tree.load()
    assert example.name == "a"
    assert {name for name, _ in refused} == {"b.png", "c.png"}
    assert all("its id 2 is also that of 1 other image" in reason for _, reason in refused)


def test_an_image_of_another_size_is_refused(tree):
    tree.content["images"][0].update(height=12, width=10)
    with pytest.raises(BadExampleError, match="12 x 10, but its annotations are of 10 x 12"):
        tree.load()


def test_images_without_annotations_are_told_or_background(tree):
    tree.add_image("b.png")
    tree.content["images"].append({"id": 2, "file_name": "b.png"})
    _, refused = tree.load()
    ((name, reason),) = refused
    assert name == "b.png"
    assert "--background" in reason
    _, split = tree.read(background="belt")
    assert not split.refused
    np.testing.assert_array_equal(split.annotations[1].load(LABELS).panoptic, 3000)


def test_what_a_lost_mask_may_have_covered_is_no_background(tree):
    tree.content["annotations"].append(tree.annotation(6, [[1, 1, 2]]))
    example, _ = tree.load(background="belt")
    assert set(np.unique(example.panoptic)) == {0, 1001}
    assert example.counts == {"images whose uncovered pixels stay unlabeled": 1}


def test_overlaps_and_hidden_segments_are_counted(tree):
    tree.content["annotations"].append(tree.annotation(6, [0, 0, 12, 0, 12, 10, 0, 10]))
    example, refused = tree.load(overlaps="order")
    np.testing.assert_array_equal(example.panoptic, 1001)
    ((where, reason),) = refused
    assert where == "annotation 0 (id 5) of a.json"
    assert "leave no pixel of it" in reason
    assert example.counts == {"pixels where masks overlap": 36, "segments hidden below others": 1}
    example, _ = tree.load()
    assert example.areas == {1: [36, 84]}


def test_names_of_images_are_found_however_they_are_spelt(tree):
    names = {
        "train/b.png": "b.png",
        "C.PNG": "c.png",
        "d%20e.png": "d e.png",
        "http://localhost:8080/data/upload/3/f.png": "f.png",
        "/data/local-files/?d=g/h.png": "g/h.png",
        "..\\data\\k.png": "k.png",
        "\u00e9t\u00e9.png": "e\u0301te\u0301.png",
        "m.png": "deep/er/m.png",
    }
    for name in names.values():
        tree.add_image(name)
    index = ImageIndex(str(tree.root / "i"))
    assert {name: index.find(name) for name in names} == names
    tree.add_image("p/n.png")
    tree.add_image("q/n.png")
    index = ImageIndex(str(tree.root / "i"))
    assert index.find("q/n.png") == "q/n.png"
    with pytest.raises(ValueError, match=r"n\.png may be any of p/n\.png, q/n\.png"):
        index.find("n.png")
    with pytest.raises(ValueError, match=r"no image r/n\.png"):
        index.find("r/n.png")


def test_an_image_that_is_not_there_and_two_names_of_one_are_told(tree):
    tree.content["images"] += [
        {"id": 2, "file_name": "z.png"},
        {"id": 3, "file_name": "elsewhere/a.png"},
    ]
    tree.add_image("b.png")
    tree.content["images"].append({"id": 4, "file_name": "b.png"})
    tree.content["annotations"].append(tree.annotation(9, SQUARE, image_id=4))
    example, refused = tree.load()
    assert example.name == "b"
    assert [name for name, _ in refused] == ["z.png", "a.png"]
    assert "ids 1, 3 are this one file" in refused[1][1]


def test_categories_may_be_unused_or_doubled(tree):
    tree.content["categories"] += [
        {"id": 0, "name": "parts"},
        {"id": 7, "name": "bolt"},
        {"id": 8, "name": "one"},
        {"id": 8, "name": "two"},
        {"id": 2, "name": "nut"},
        {"name": "anonymous"},
    ]
    tree.content["annotations"] += [
        tree.annotation(6, [9, 0, 12, 0, 12, 3], category_id=7),
        tree.annotation(7, SQUARE, category_id=8),
    ]
    found, split = tree.read()
    classes, unused = classes_of_instances([found], None, "")
    assert [(entry.id, entry.name, entry.thing) for entry in classes] == [(1, "bolt", True)]
    assert {name for name, _ in unused} == {
        f"category {n!r} of {found.path}" for n in ("nut", "parts")
    }
    assert [reason for _, reason in split.refused] == [
        "it has no 'id'; annotations of it are left out",
        "one, two have this id; give each its own",
        "category_id 8 is none of the file's categories; list it",
    ]
    assert set(np.unique(split.annotations[0].load(LABELS).panoptic)) == {0, 1001, 1002}


def test_kinds_are_as_the_file_says_or_as_asked(tree):
    tree.content["categories"] = [{"id": 1, "name": "bolt", "isthing": 0}, {"id": 2, "name": "nut"}]
    tree.content["annotations"].append(tree.annotation(6, SQUARE, category_id=2))
    found, _ = tree.read()

    def things(*arguments):
        return [entry.name for entry in classes_of_instances([found], *arguments)[0] if entry.thing]

    assert things(None, "") == ["nut"]
    assert things([], "") == ["bolt", "nut"]
    assert things(["nut"], "ground") == ["bolt"]
    with pytest.raises(UserError, match="--stuff belt is no class; these are: bolt, nut"):
        things(["belt"], "")


def test_a_file_of_crowds_only_has_instances(tree):
    tree.content["annotations"] = [tree.annotation(5, SQUARE, iscrowd=1)]
    assert tree.load()[0].areas == {1: [36]}
    tree.content["annotations"].append(tree.annotation(6, [9, 0, 12, 0, 12, 3]))
    found, split = tree.read()
    assert (found.crowds, found.crowds_are_instances) == (1, False)
    assert split.annotations[0].load(LABELS).areas == {1: [3]}
    assert not any(
        instance.crowd
        for listed in read_instances(found.path, no_crowd=True).instances.values()
        for instance in listed
    )


def test_a_file_of_boxes_only_is_a_sentence(tree):
    tree.content["annotations"] = [tree.annotation(5, bbox=[1, 1, 4, 4])]
    found, _ = tree.read()
    with pytest.raises(
        UserError, match=r"no annotation that can be used; the first: .* only a box"
    ):
        classes_of_instances([found], None, "")


def test_damaged_run_lengths_are_never_read():
    rng = np.random.default_rng(4)
    for _ in range(300):
        text = "".join(chr(letter) for letter in rng.integers(48, 112, rng.integers(1, 40)))
        try:
            counts = run_lengths(text)
        except FieldError:
            continue
        if sum(counts) != 600 or min(counts) < 0:
            with pytest.raises(FieldError):
                decode_mask({"size": [20, 30], "counts": text}, 20, 30)


def test_files_of_other_things_are_not_taken_for_instances(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "notes.json").write_text("[]")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "captions_train.json").write_text("{}")
    assert find_instance_splits(str(tmp_path)) == []
    (tmp_path / "annotations" / "instances_train.json").write_text("{}")
    (tmp_path / "images").rmdir()
    with pytest.raises(UserError, match=r"instances_train.json are in none of the folders"):
        find_instance_splits(str(tmp_path))


def test_frames_of_a_camera_stay_together(tmp_path):
    root, output = tmp_path / "mine", tmp_path / "records"
    rng = np.random.default_rng(5)
    content = write_scenes(root / "result.json", root / "images", 9, rng)
    for number, image in enumerate(content["images"]):
        camera = f"cam{number // 3}"
        (root / "images" / camera).mkdir(exist_ok=True)
        (root / "images" / image["file_name"]).rename(root / "images" / camera / image["file_name"])
        image["file_name"] = f"{camera}/{image['file_name']}"
    (root / "result.json").write_text(json.dumps(content))
    held_out = set()
    for seed, group_by in enumerate(["folder", "^cam(.)", "^cam.", "m(.)"]):
        command = ["convert-dataset", "coco-instances", "--source", str(root), "--workers", "1"]
        command += ["--output", str(output), "--hold-out", "0.2", "--overwrite"]
        assert main([*command, "--group-by", group_by, "--seed", str(seed)]) == 0
        assert {name: split["images"] for name, split in report(output).items()} == {
            "train": 6,
            "val": 3,
        }
        held_out.add((output / "val.sha256").read_text())
    assert len(held_out) > 1
    experiment = kmax_tf.load_experiment(output / "experiment.textproto")
    assert [c.name for c in experiment.dataset.classes] == list(CLASSES)


def test_two_readings_are_listed_and_one_is_asked_for(tmp_path, capsys):
    rng = np.random.default_rng(6)
    write_scenes(tmp_path / "m" / "labels.json", tmp_path / "m" / "data", 2, rng)
    for folder in ("images", "masks"):
        (tmp_path / "m" / folder).mkdir()
    command = ["convert-dataset", "auto", "--source", str(tmp_path / "m"), "--workers", "1"]
    command += ["--output", str(tmp_path / "records")]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert "several ways; choose one: --as coco-instances: COCO instances, FiftyOne" in error
    assert "--as masks: " in error
    assert main([*command, "--as", "coco-instances", "--min-area", "9"]) == 2
    assert "--min-area says nothing of what" in capsys.readouterr().err
    assert main([*command, "--as", "coco-instances"]) == 0
    assert main(["convert-dataset", "auto", *command[2:3], str(tmp_path / "x"), *command[4:]]) == 2
    assert "there is no folder" in capsys.readouterr().err
