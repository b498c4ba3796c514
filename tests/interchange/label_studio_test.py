"""Label Studio's own library reads what we write, and we read what it writes; it is no requirement.

pip install label-studio-sdk==2.0.5
"""

from __future__ import annotations

import json
import xml.dom.minidom

import numpy as np
import pytest
from pycocotools import mask as rle_masks

from kmax_tf.cli.main import main
from kmax_tf.interchange.brush import decode_brush, encode_brush
from kmax_tf.interchange.label_studio import labeling_config
from tests.interchange.scenes import LABELS, write_predictions


@pytest.fixture
def brush():
    reason = "pip install label-studio-sdk==2.0.5"
    return pytest.importorskip("label_studio_sdk.converter.brush", reason=reason)


def test_brushes_are_those_of_the_library(brush):
    rng = np.random.default_rng(1)
    for _ in range(100):
        height, width = rng.integers(1, 50, 2)
        mask = rng.random((height, width)) < rng.random()
        code = encode_brush(mask)
        theirs = brush.mask2rle(mask.astype(np.uint8) * 255)
        assert code in (theirs, theirs[:-1])  # theirs may have a byte too many
        values = brush.decode_rle(code).reshape(height, width, 4)
        np.testing.assert_array_equal(values[..., 3] > 0, mask)
        np.testing.assert_array_equal(decode_brush(theirs, height, width), mask)


def test_the_library_reads_the_configuration(brush):
    from label_studio_sdk.label_interface import LabelInterface

    interface = LabelInterface(labeling_config(LABELS.classes))
    interface.validate()
    assert sorted(tag.name for tag in interface.find_tags()) == ["brush", "image", "polygon"]
    assert set(interface.get_control("brush").labels) == {c.name for c in LABELS.classes}


def exported(tasks):
    """The tasks as Label Studio exports them when somebody has accepted the predictions."""
    for number, task in enumerate(tasks, 1):
        (prediction,) = task.pop("predictions")
        result = [{**region, "origin": "prediction"} for region in prediction["result"]]
        task["id"] = number
        task["annotations"] = [{"id": number, "result": result, "was_cancelled": False}]
    return tasks


def test_the_library_takes_the_predictions(brush, tmp_path, monkeypatch):
    from label_studio_sdk.label_interface import LabelInterface, control_tags

    # It takes pairs of a value and a count, which its own encoder doesn't write.
    monkeypatch.setattr(control_tags, "validate_rle", lambda code: True)

    tasks, _ = sent(tmp_path)
    interface = LabelInterface((tmp_path / "tasks" / "label_config.xml").read_text("utf-8"))
    for task in tasks:
        (prediction,) = task["predictions"]
        assert interface.validate_prediction(prediction)
        assert interface.validate_task({"data": task["data"]})


def sent(root):
    """Predictions that were sent: the tasks, and the path of the COCO instances."""
    write_predictions(root, 5, 2)
    words = [f"--predictions={root / 'predictions'}", f"--images={root / 'images'}"]
    for kind, folder in (("label-studio", "tasks"), ("coco-instances", "sent")):
        assert main(["convert-predictions", kind, *words, f"--output={root / folder}"]) == 0
    tasks = json.loads((root / "tasks" / "tasks.json").read_text("utf-8"))
    return tasks, root / "sent" / "annotations" / "instances_predictions.json"


def compared(root, path, tasks):
    back = root / "export.json"
    back.write_text(json.dumps(tasks))
    words = [f"--sent={path}", f"--returned={back}", f"--output={root / 'back.json'}"]
    status = main(["convert-predictions", "compare", *words])
    return status, json.loads((root / "back.json").read_text("utf-8"))


def test_what_was_accepted_comes_back_to_the_pixel(tmp_path, capsys):
    tasks, path = sent(tmp_path)
    status, content = compared(tmp_path, path, exported(tasks))
    assert status == 0
    before = json.loads(path.read_text("utf-8"))
    assert f"{len(before['annotations'])} prediction, 0 corrected" in capsys.readouterr().out
    for mine, other in zip(content["annotations"], before["annotations"]):
        assert mine["attributes"]["origin"] == "prediction"
        assert (mine["image_id"], mine["category_id"]) == (other["image_id"], other["category_id"])
        masks = [rle_masks.decode(entry["segmentation"]) for entry in (mine, other)]
        np.testing.assert_array_equal(*masks)


def test_what_was_changed_and_what_has_no_mask_is_told(tmp_path, capsys):
    tasks, path = sent(tmp_path)
    tasks = exported(tasks)
    first, second, third, *_ = tasks
    result = first["annotations"][0]["result"]
    size = {key: result[0][key] for key in ("original_width", "original_height")}
    points = [[0, 0], [50, 0], [50, 50], [0, 50]]
    result.append(
        {**size, "type": "polygonlabels", "value": {"points": points, "polygonlabels": ["cow"]}}
    )
    result.append({**size, "type": "rectanglelabels", "value": {"rectanglelabels": ["cat"]}})
    result.append({**size, "type": "brushlabels", "value": {"rle": [1, 2], "brushlabels": ["cat"]}})
    tall = {**result[0], "original_height": 1}
    result.append(tall)
    second["annotations"] = []
    third["data"]["image"] = "/data/upload/other.png"
    status, content = compared(tmp_path, path, tasks)
    assert status == 1
    said = capsys.readouterr().out
    for reason in (
        *("it is of ", "'rectanglelabels' has no mask", "can't be read: its run lengths"),
        *("nobody has annotated it", "its image 'other.png' isn't one that was"),
    ):
        assert reason in said
    assert "2 images that were sent didn't come back" in said
    assert content["categories"][-1]["name"] == "cow"
    (cow,) = (a for a in content["annotations"] if a["category_id"] == 31)
    height, width = size["original_height"], size["original_width"]
    assert cow["area"] == pytest.approx(height * width / 4, abs=height + width)


def test_names_of_classes_are_escaped():
    config = labeling_config(LABELS.classes)
    labels = xml.dom.minidom.parseString(config).getElementsByTagName("Label")
    assert {label.getAttribute("value") for label in labels} == {c.name for c in LABELS.classes}
