"""Which image belongs to an annotation, in the layouts of COCO and Cityscapes."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from kmax_tf.evaluation.extremes import Extremes
from kmax_tf.evaluation.file_gallery import gallery_of_files, panoptic_map
from kmax_tf.evaluation.file_pairs import Pair
from kmax_tf.evaluation.panoptic_files import ImageInfo, SegmentInfo
from kmax_tf.evaluation.panoptic_quality import ImageQuality
from tests.reference.panoptic_maps import DOG_1, DOG_2, DOG_CROWD, LABELS, ROADS, VOID


def segment(segment_id, category_id, crowd=False):
    return SegmentInfo(segment_id, category_id, None, crowd, None)


def test_instances_are_numbered_in_order():
    ids = np.array([[9, 3, 5, 6, 0, 8, 4]])
    segments = [
        segment(5, 20),
        segment(9, 20),
        segment(3, 1),
        segment(6, 20, crowd=True),
        segment(4, 99),  # of no category
    ]
    found = panoptic_map(ids, segments, LABELS)
    assert found.tolist() == [[DOG_2, ROADS, DOG_1, DOG_CROWD, VOID, VOID, VOID]]
    assert found.dtype == np.int32


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
    ],
)
def test_images_are_found(tmp_path, image_id, file_name, path):
    (tmp_path / path).parent.mkdir(exist_ok=True)
    Image.new("RGB", (30, 20), (10, 20, 30)).save(tmp_path / path, "PNG")
    Image.new("RGB", (30, 20)).save(tmp_path / "ids.bin", "PNG")
    info = ImageInfo(image_id, str(tmp_path / "ids.bin"), ())
    extremes = Extremes(1)
    extremes.offer(image_id, ImageQuality(1.0, 1, 0, 0))
    names = {image_id: file_name} if file_name else {}
    gallery, notes = gallery_of_files([Pair(info, info)], extremes, LABELS, names, str(tmp_path))
    (picture,) = gallery.of_extremes(extremes)["Best images"]
    name, pixels = picture.panels[0]
    assert name == "image"
    assert notes == []
    assert pixels[0, 0].tolist() == [10, 20, 30]
