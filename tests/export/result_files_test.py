"""Names of results, and PNGs of class ids."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from PIL import Image

from kmax_tf.errors import UserError
from kmax_tf.export.result_files import ENDINGS, JOINED, SemanticIds, result_names
from kmax_tf.labels import Category, LabelSpace


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a.jpg", "b.c.png"], ["a", "b.c"]),
        (["cam1/0000.png", "cam2/0000.png"], ["cam1/0000", "cam2/0000"]),
        (["a.jpg", "a.png"], ["a.jpg", "a.png"]),
        (["a.png", "a_overlay.png"], ["a", "a_overlay.png"]),
        (["x/a_semantic.tif", "predictions.jpg"], ["x/a_semantic.tif", "predictions.jpg"]),
    ],
)
def test_each_result_has_its_own_name(paths, names):
    assert result_names(paths) == names


def test_no_results_share_a_file():
    stems = ["a", *(f"a{e.partition('.')[0]}" for e in itertools.chain(*ENDINGS.values()))]
    stems += ["predictions", "instances", "a.png", "a_overlay.png_overlay"]
    paths = sorted({f"{stem}{ending}" for stem in stems for ending in (".png", ".jpg")})
    files = [name + e for name in result_names(paths) for e in itertools.chain(*ENDINGS.values())]
    assert len({*files, *JOINED.values()}) == len(files) + len(JOINED)


def semantic(tmp_path, *original_ids):
    classes = [Category(i, str(i), False, (i, 0, 0), o) for i, o in enumerate(original_ids, 1)]
    writer = SemanticIds(LabelSpace(tuple(classes), len(classes) + 1, 0, 100, "mine"))
    writer.write(str(tmp_path), "a", np.arange(len(classes) + 1, dtype=np.int32)[np.newaxis])
    with Image.open(tmp_path / "a_semantic.png") as image:
        return np.asarray(image)[0].tolist()


@pytest.mark.parametrize(
    ("ids", "values"),
    [
        ((5, 200), [0, 5, 200]),
        ((5, 255), [0, 5, 255]),
        ((5, 256), [0, 5, 256]),
        ((1, 65535), [0, 1, 65535]),
        ((0, 7), [255, 0, 7]),  # no class isn't class 0
        ((0, 255), [65535, 0, 255]),
    ],
)
def test_a_png_holds_all_class_ids_and_none(ids, values, tmp_path):
    assert semantic(tmp_path, *ids) == values


@pytest.mark.parametrize("ids", [(1, 70001), (0, 65535), (-1, 2)])
def test_class_ids_that_no_png_holds_are_refused(ids, tmp_path):
    with pytest.raises(UserError, match="'mine' has the ids"):
        semantic(tmp_path, *ids)
