"""Which image belongs to an annotation, in the layouts of COCO and Cityscapes."""

from __future__ import annotations

import pytest

from kmax_tf.evaluation.from_files.drawing import ImageFolder


@pytest.mark.parametrize(
    ("image_id", "file_name", "path"),
    [
        (139, "", "000000000139.jpg"),
        (139, "another.jpg", "another.JPG"),
        (
            "munster_0_1",
            "munster_0_1_gtFine_leftImg8bit.png",
            "munster/munster_0_1_leftImg8bit.png",
        ),
        ("ADE_val_1", "", "ADE_val_1.jpeg"),
        (7, "images/7.jpg", "7.jpg"),  # the folder that is given is "images" itself
        (7, "cam1/a/7.jpg", "more/cam1/a/7.tif"),
    ],
)
def test_images_are_found(tmp_path, image_id, file_name, path):
    folder = tmp_path / "images"
    (folder / path).parent.mkdir(exist_ok=True, parents=True)
    (folder / path).touch()
    (folder / "other.jpg").touch()
    names = {image_id: file_name} if file_name else {}
    assert ImageFolder(str(folder), names).find(image_id, "ids.png") == str(folder / path)


def test_the_picture_of_another_camera_is_never_taken(tmp_path):
    for name in ("cam1/0000.png", "cam2/0000.png", "cam2/0001.png", "both/a.jpg", "both/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    names = {1: "cam1/0000.png", 2: "cam2/0000.png", 3: "cam1/0001.png", 4: "0000.png", 5: "a.png"}
    images = ImageFolder(str(tmp_path), names)
    assert images.find(1, "") == str(tmp_path / "cam1/0000.png")
    assert images.find(2, "") == str(tmp_path / "cam2/0000.png")
    assert images.find(3, "") is None
    assert images.find(4, "") is None
    assert images.find(5, "") == str(tmp_path / "both/a.png")
    assert ImageFolder(str(tmp_path / "cam2"), names).find(1, "") is None
    assert ImageFolder(str(tmp_path / "cam1"), names).find(1, "") is not None
