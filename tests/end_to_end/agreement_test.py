"""An image has one map and a model one PQ, whichever way they are found."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from pycocotools.coco import COCO

from kmax_tf.checkpoints.restore import restore_weights
from kmax_tf.config import label_space, load_experiment
from kmax_tf.evaluation.evaluator import evaluate_model
from kmax_tf.evaluation.submission import CocoSubmission
from kmax_tf.export.instances import coco_instances
from kmax_tf.export.map_agreement import count_agreeing
from kmax_tf.export.serving_model import SIGNATURES
from kmax_tf.files.images import read_image
from kmax_tf.model.builder import build_model
from kmax_tf.run_record import write_run_record
from tests.end_to_end.conftest import TinyRun, kmax
from tests.reference.panoptic_png import read_panoptic_png

pytestmark = pytest.mark.slow  # tiny_run_test compares the maps of upright images, of a like model

# By orientation in EXIF data, what a camera stores of an upright image.
STORED = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90}
# Every pixel of every mask matters, where a model has learned nothing yet.
EVERY_PIXEL = "postprocessing={pixel_wise: {class_threshold: 0} pixel_threshold: 0}"


@pytest.fixture(scope="module")
def evaluated(tiny_run: TinyRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images as cameras store them, their records, a run, its export and results."""
    folder = tmp_path_factory.mktemp("agreement")
    coco, run = folder / "coco", folder / "run"
    shutil.copytree(tiny_run.folder / "coco", coco)
    for (orientation, turn), path in zip(STORED.items(), sorted((coco / "val2017").glob("*.jpg"))):
        with Image.open(path) as image:
            exif = image.getexif()
            exif[0x0112] = orientation
            image.transpose(turn).save(path, quality=90, exif=exif)
    source = ["--source", coco, "--output", folder / "records", "--split", "val"]
    kmax("convert-dataset", "coco", *source, "--description=shapes")
    run.mkdir()
    for path in tiny_run.folder.glob("ckpt-*"):
        shutil.copy(path, run)
    shutil.copy(tiny_run.folder / "checkpoint", run)
    experiment = load_experiment(
        tiny_run.folder / "experiment.textproto",
        [EVERY_PIXEL, f"data_dir={folder / 'records'}", "eval_data.batch_size=4"],
    )
    write_run_record(experiment, run)
    model = build_model(experiment)
    restore_weights(model, str(run))
    submission = CocoSubmission(str(folder), label_space(experiment.dataset))
    result = evaluate_model(model, experiment, str(folder / "pictures"), submission).result
    submission.finish()
    (folder / "metrics.json").write_text(json.dumps(result["pq"]))
    kmax("export", "--checkpoint", run, "--output", folder / "export", "--no-trial")
    return folder


def test_maps_are_the_same_from_evaluator_run_export_and_both_signatures(evaluated: Path) -> None:
    images = {path.stem: path for path in (evaluated / "coco" / "val2017").glob("*.jpg")}
    models = [evaluated / "export", evaluated / "run"]
    submission = evaluated / "panoptic_results.json"
    assert count_agreeing(submission, models, images) == len(images) == 6
    # Which says something: maps have many segments, and one that is changed is noticed.
    entries = json.loads(submission.read_text())["annotations"]
    assert np.mean([len(entry["segments_info"]) for entry in entries]) > 3
    name = entries[0]["file_name"]
    other = evaluated / "changed"
    shutil.copytree(evaluated / "panoptic_results", other)
    shutil.copy(submission, other.with_suffix(".json"))
    ids = np.asarray(Image.open(other / name)).copy()
    ids[0, 0] = ids[-1, -1] if (ids[0, 0] != ids[-1, -1]).any() else 0
    Image.fromarray(ids).save(other / name)
    assert count_agreeing(other.with_suffix(".json"), models[:1], images) == 5


def test_small_replies_say_what_maps_do(evaluated: Path) -> None:
    paths = sorted((evaluated / "coco" / "val2017").glob("*.jpg"))[:3]  # two of them turned
    experiment = load_experiment(evaluated / "run" / "experiment.textproto")
    labels = label_space(experiment.dataset)
    serve = tf.saved_model.load(str(evaluated / "export" / "1")).signatures
    assert set(serve) == set(SIGNATURES)
    encoded = tf.constant([path.read_bytes() for path in paths])
    maps, compact, instances, semantic = (
        {name: value.numpy() for name, value in serve[signature](image_bytes=encoded).items()}
        for signature in ("image_bytes", "compact", "instances", "semantic")
    )
    for number, path in enumerate(paths):
        height, width, _ = read_image(path).shape
        for reply in (maps, compact, instances, semantic):
            assert reply["sizes"][number].tolist() == [height, width]
        of_image = {
            name: values[number, :height, :width] if values[number].ndim == 2 else values[number]
            for name, values in maps.items()
        }
        panoptic = of_image["panoptic"]
        ids = np.asarray(Image.open(io.BytesIO(compact["panoptic_png_bytes"][number])))
        assert np.array_equal(ids, panoptic)
        count = compact["count"][number]
        assert sorted(compact["ids"][number, :count]) == np.unique(panoptic).tolist()
        for row in range(count):
            is_segment = panoptic == compact["ids"][number, row]
            assert compact["areas"][number, row] == is_segment.sum()
            x, y, w, h = compact["boxes"][number, row]
            assert is_segment[y : y + h, x : x + w].sum() == is_segment.sum()
        things = coco_instances(of_image, labels, 1)
        assert instances["count"][number] == len(things)
        by_id = {category.id: category.original_id for category in labels.classes}
        for row, thing in enumerate(things):
            assert instances["counts"][number, row].decode() == thing["segmentation"]["counts"]
            assert by_id[instances["class_ids"][number, row]] == thing["category_id"]
            assert instances["boxes"][number, row].tolist() == thing["bbox"]
            assert instances["scores"][number, row] == np.float32(thing["score"])
        classes = np.asarray(Image.open(io.BytesIO(semantic["semantic_png_bytes"][number])))
        assert np.array_equal(classes, of_image["semantic"])
    image = read_image(paths[0])[np.newaxis]
    logits, whole = (
        serve[name](images=tf.constant(image)) for name in ("logits", "serving_default")
    )
    sure = tf.reduce_max(tf.nn.softmax(logits["class_logits"])[..., :-1], axis=-1)
    assert np.array_equal(sure, whole["segment_confidences"])
    assert logits["mask_logits"].shape[1:3] == (17, 17)  # of 65 pixels, with stride 4


def test_predicted_files_are_measured_as_they_are(evaluated: Path) -> None:
    output, truth = evaluated / "predicted", evaluated / "coco/annotations/panoptic_val2017.json"
    folder = evaluated / "coco" / "val2017"
    words = ["--model", evaluated / "export", folder, "--output", output, "--annotations", truth]
    kinds = ["--write=panoptic", "--write=instances"]
    kmax("predict", *words, *kinds)
    # Not a byte depends on what is predicted together.
    kmax("predict", *words, *kinds, "--batch-size=4", "--output", evaluated / "batches")
    names = {path.name for path in output.iterdir() if path.is_file() and path.name[0] != "."}
    assert len(names) == 6 * 4 + 2
    for name in names:
        assert (evaluated / "batches" / name).read_bytes() == (output / name).read_bytes()
    words = ["--predictions", output / "predictions.json"]
    kmax("evaluate-files", "--ground-truth", truth, *words, "--output", evaluated / "files")
    measured = json.loads((evaluated / "files" / "metrics.json").read_text())
    assert measured["pq"] == json.loads((evaluated / "metrics.json").read_text())

    content = {**json.loads(truth.read_text()), "annotations": []}
    (evaluated / "things.json").write_text(json.dumps(content))
    known = COCO(str(evaluated / "things.json"))
    listed = json.loads((output / "instances.json").read_text())
    assert len(known.loadRes(str(output / "instances.json")).anns) == len(listed) > 0

    (first, *_) = json.loads((output / "predictions.json").read_text())["annotations"]
    labels = label_space(load_experiment(evaluated / "run" / "experiment.textproto").dataset)
    panoptic = read_panoptic_png(output / first["file_name"], first["segments_info"], labels)
    assert panoptic.shape == read_image(folder / f"{first['image_id']:012d}.jpg").shape[:2]


def test_predicting_beside_the_images_replaces_none(evaluated: Path, tmp_path: Path) -> None:
    for name in ("photo.png", "photo_overlay.png"):
        Image.new("RGB", (40, 30), (90, 200, 30)).save(tmp_path / name)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    words = ["predict", "--model", evaluated / "export", tmp_path / "photo.png"]
    done = kmax(*words, "--output", tmp_path, check=False)
    assert done.returncode == 2
    assert "photo.png is there already: it is the image itself" in done.stderr
    assert kmax(*words, "--output", tmp_path, "--overwrite", check=False).returncode == 2
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    both = [*words, tmp_path / "photo_overlay.png", "--output", tmp_path / "out"]
    for _ in range(2):  # its own results it replaces
        kmax(*both)
    pictures = {path.name for path in (tmp_path / "out").glob("*.png")}
    assert pictures == {
        *("photo.png", "photo_overlay.png"),
        *("photo_overlay.png.png", "photo_overlay.png_overlay.png"),
    }
    # Of a folder of images and results, the images are predicted.
    shutil.copy(tmp_path / "photo.png", tmp_path / "out" / "new.png")
    kmax("predict", "--model", evaluated / "export", tmp_path / "out", "--output", tmp_path / "3")
    assert [path.name for path in (tmp_path / "3").glob("*_overlay.png")] == ["new_overlay.png"]
