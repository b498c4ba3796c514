"""The demo: what each stage leaves behind, and what can be done with it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import kmax_tf
from kmax_tf.cli import saved_model_client
from kmax_tf.cli.demo import STAGES
from kmax_tf.export.version_folder import read_labels
from tests.end_to_end.conftest import TINY, TinyRun, demo_arguments, kmax, run_python, train


def summary_tags(folder: Path) -> dict[str, list[int]]:
    """Returns the steps of each TensorBoard tag under a folder."""
    tags: dict[str, list[int]] = {}
    for path in sorted(folder.glob("events.*")):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                tags.setdefault(value.tag, []).append(event.step)
    return tags


def test_training_shows_progress_and_results(tiny_run: TinyRun, longer_run: TinyRun) -> None:
    progress = r"step 4/4  loss \d+\.\d+  \d+ ms/step  [\d.]+ images/s"
    assert re.search(progress, tiny_run.output)
    assert re.search(r"evaluation: PQ \d+\.\d \(things", longer_run.output)


def test_training_leaves_checkpoints_a_record_and_the_best(
    tiny_run: TinyRun, longer_run: TinyRun
) -> None:
    assert tf.train.latest_checkpoint(str(tiny_run.folder)).endswith("ckpt-4")
    assert tf.train.latest_checkpoint(str(longer_run.folder / "best"))
    recorded = kmax_tf.load_experiment(tiny_run.folder / "experiment.textproto")
    assert recorded.training.steps == 4
    assert len(recorded.dataset.classes) == 9
    provenance = json.loads((tiny_run.folder / "provenance.json").read_text())
    assert provenance["kmax_tf"] == kmax_tf.__version__


def test_tensorboard_has_every_term_and_pictures(longer_run: TinyRun) -> None:
    training = summary_tags(longer_run.folder / "train")
    for name in ("pq_mask", "pq_class", "mask_id", "instance_discrimination"):
        assert training[name] == [2, 4, 6]
        assert training[f"block2/{name}"] == [2, 4, 6]
    assert {"semantic", "training_loss", "learning_rate"} <= training.keys()
    evaluation = summary_tags(longer_run.folder / "validation")
    assert {"pq/all", "pq/things", "miou", "validation_loss"} <= evaluation.keys()
    assert {f"example_{index}" for index in range(4)} <= evaluation.keys()


def test_evaluation_writes_metrics_in_percent_and_pictures(tiny_run: TinyRun) -> None:
    metrics = json.loads((tiny_run.folder / "metrics.json").read_text())
    assert metrics["images"] == 6
    assert metrics["step"] == 4
    for group in ("pq", "sq", "rq"):
        assert metrics[group].keys() == {"all", "things", "stuff"}
        assert 0 <= metrics[group]["all"] <= 100
    assert 0 <= metrics["miou"] <= 100
    assert len(metrics["per_class"]) == 9
    assert "circle" in tiny_run.output
    report = (tiny_run.folder / "report.html").read_text()
    assert "6 images at original resolution, step 4" in report
    assert report.count("<figure>") == 6
    pictures = sorted((tiny_run.folder / "pictures").glob("*.png"))
    assert len(pictures) == 6
    with Image.open(pictures[0]) as picture:
        assert picture.size[0] > 300


def test_the_demo_shows_stages_results_and_nothing_else(tiny_run: TinyRun) -> None:
    for number, stage in enumerate(STAGES, 1):
        assert f"[{number}/{len(STAGES)}] {stage}: {STAGES[stage]}\n" in tiny_run.output
        assert f"[{number}/{len(STAGES)}] {stage}: done in " in tiny_run.output
    pictures = [tiny_run.folder / "predictions" / f"{p.stem}_overlay.png" for p in tiny_run.images]
    assert all(path.exists() for path in pictures)
    for noise in ("cuDNN", "Warning", "WARNING"):
        assert noise not in tiny_run.output
    again = kmax("demo", *demo_arguments(tiny_run.folder)).stdout
    assert again.count("done before") == len(STAGES)
    assert again[again.index("\nPQ on 6 held-out images") :] in tiny_run.output


def test_training_resumes_and_does_nothing_when_finished(
    tiny_run: TinyRun, longer_run: TinyRun
) -> None:
    assert "going on" not in tiny_run.output
    assert "saving the fresh weights ..." in tiny_run.output
    assert f"restoring the checkpoint {longer_run.folder / 'ckpt-4'} ..." in longer_run.output
    assert re.search(r"going on from step 4, after 16 training examples", longer_run.output)
    assert "step 4/6" not in longer_run.output
    assert "step 6/6" in longer_run.output
    finished = train(longer_run.folder, tiny_run.records, [*TINY, "training.steps=6"])
    assert "loss" not in finished


def test_a_run_of_another_model_is_refused(tiny_run: TinyRun) -> None:
    printed = train(
        tiny_run.folder, tiny_run.records, [*TINY, "model.heads.channels=32"], check=False
    )
    assert "trainer: error:" in printed
    assert "differs from this experiment's" in printed
    assert "Traceback" not in printed


@pytest.mark.slow
def test_losses_that_stay_not_finite_roll_the_run_back_and_then_stop_it(
    tiny_run: TinyRun, tmp_path: Path
) -> None:
    changes = [
        *TINY,
        "training.steps=20",
        "training.optimizer.learning_rate=1e30",
        "training.optimizer.clip_norm=0",
        "training.stability={failures_in_a_row: 3 rollbacks: 1}",
    ]
    printed = train(tmp_path, tiny_run.records, changes, check=False)
    assert "step 4: skipped 2 of the last steps (2 in all): loss terms" in printed
    assert "going back to the last checkpoint (1 of at most 1 time)" in printed
    assert "trainer: error: 4 steps in a row without finite values" in printed
    assert "after going back 1 time: loss terms that are not finite: pq_mask (2)" in printed
    assert "gradients that are not finite: backbone/stem/conv/kernel" in printed
    assert "Traceback" not in printed
    # What was saved is from before the first failure.
    assert tf.train.latest_checkpoint(str(tmp_path)).endswith("ckpt-2")


@pytest.mark.slow
def test_continuous_evaluation_ends_with_the_last_checkpoint(
    tiny_run: TinyRun, tmp_path: Path
) -> None:
    done = run_python(
        "evaluator.py",
        f"--model_dir={tiny_run.folder}",
        f"--output={tmp_path}",
        "--mode=continuous_eval",
        "--timeout=60",
        "--submission=coco",
        # Options of evaluation, on the way.
        "--set=evaluation.resolution=MODEL",
        "--set=postprocessing.test_time_augmentation.flip=true",
        "--set=postprocessing.island_area_limit=9",
        "--set=evaluation.mask_ap=false",
    )
    assert "step 4" in done.stdout
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["resolution"] == "model"
    assert metrics["images"] == 6
    assert not metrics["ap"]

    # What was written for the server can be measured as files, at the images' own sizes.
    truth = tiny_run.folder / "coco" / "annotations" / "panoptic_val2017.json"
    results = tmp_path / "submission" / "panoptic_results.json"
    words = ["--ground-truth", truth, "--predictions", results, "--output", tmp_path / "files"]
    kmax("evaluate-files", *words)
    of_files = json.loads((tmp_path / "files" / "metrics.json").read_text())
    assert of_files["images"] == 6
    assert of_files["ap"] != {}


def test_the_export_stands_alone(tiny_run: TinyRun, tmp_path: Path) -> None:
    assert (tiny_run.export / "1" / "saved_model.pb").exists()
    client = Path(saved_model_client.__file__).read_text()
    subprocess.run(
        [sys.executable, "-c", client, tiny_run.export / "1", tmp_path, *tiny_run.images[:2]],
        check=True,
        cwd=tmp_path,
        env={"PATH": "", "TF_CPP_MIN_LOG_LEVEL": "2"},
    )
    for path in tiny_run.images[:2]:
        maps = np.load(tmp_path / f"{path.stem}.npz")
        with Image.open(path) as image:
            width, height = image.size
        assert maps["panoptic"].shape == (height, width)
        assert maps["segment_ids"].shape == maps["segment_scores"].shape == (16,)


def test_both_signatures_agree_and_take_any_size(tiny_run: TinyRun) -> None:
    model = tf.saved_model.load(str(tiny_run.export / "1"))
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*size, 3), np.uint8) for size in ((40, 90), (120, 33))]
    encoded = [tf.io.encode_png(image) for image in images]
    together = model.signatures["image_bytes"](tf.stack(encoded))
    labels = read_labels(tiny_run.export / "1")
    for index, image in enumerate(images):
        alone = model.signatures["serving_default"](images=tf.constant(image[np.newaxis]))
        height, width = together["sizes"][index].numpy()
        assert (height, width) == image.shape[:2] == tuple(alone["panoptic"].shape[1:])
        for name in ("panoptic", "semantic"):
            assert np.array_equal(alone[name][0], together[name][index, :height, :width])
        assert (together["panoptic"][index, height:] == labels.void_panoptic_id).numpy().all()


def test_prediction_writes_what_it_is_asked_for(tiny_run: TinyRun, tmp_path: Path) -> None:
    printed = kmax(
        *("predict", "--model", tiny_run.export, tiny_run.images[0], "--output", tmp_path),
        *("--write", "instances", "--write", "semantic", "--why"),
    ).stdout
    name = tiny_run.images[0].stem
    written = {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")}
    assert written == {
        *(f"{name}_{kind}" for kind in ("instances.json", "semantic.png", "why.json")),
        "instances.json",
    }
    reports = json.loads((tmp_path / f"{name}_why.json").read_text())
    assert len(reports) == 16
    assert {report["fate"] for report in reports} & {"KEPT", "CLASS_THRESHOLD", "OVERLAP", "EMPTY"}
    assert f"{name}\ncenter  class" in printed  # then those with some confidence
    with (
        Image.open(tmp_path / f"{name}_semantic.png") as semantic,
        Image.open(tiny_run.images[0]) as image,
    ):
        assert semantic.size == image.size


@pytest.mark.slow  # builder_test and export_test hold its parts
def test_an_export_gives_the_maps_and_the_views_of_its_experiment_as_the_next_version(
    tiny_run: TinyRun, tmp_path: Path
) -> None:
    export = tmp_path / "export"
    shutil.copytree(tiny_run.export, export)
    views = "postprocessing.test_time_augmentation.flip=true"
    sets = ["--set", views, "--set", "postprocessing.maps=SEMANTIC"]
    words = ["export", "--checkpoint", tiny_run.folder, "--output", export, *sets]
    assert "no signature 'maps'; there are: serving_" in (
        kmax(*words, "--signatures=maps", check=False).stderr
    )
    printed = kmax(*words, "--signatures=serving_default,image_bytes", "--no-trial").stdout
    assert printed.strip().endswith(str(export / "2"))
    assert sorted(path.name for path in export.iterdir() if path.is_dir()) == ["1", "2"]
    model = tf.saved_model.load(str(export / "2"))
    assert set(model.signatures) == {"serving_default", "image_bytes"}
    outputs = model.signatures["serving_default"](images=tf.zeros([1, 40, 70, 3], tf.uint8))
    assert outputs["semantic"].shape == [1, 40, 70]
    assert not outputs.keys() & {"panoptic", "semantic_scores", "instance_scores"}
    predict = ["predict", "--model", export, tiny_run.images[0], "--output", tmp_path]
    done = kmax(*predict, check=False)
    assert done.returncode == 2
    assert "doesn't give panoptic" in done.stderr
    kmax(*words, "--signatures=semantic")
    done = kmax(*predict, check=False)
    assert done.returncode == 2
    assert "was exported without image_bytes, serving_default; export" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "--checkpoint", "{empty}", "--output", "{empty}/out"], "holds no checkpoint"),
        (["predict", "--model", "{empty}", "x.jpg", "--output", "{empty}/out"], "holds no model"),
    ],
)
def test_a_folder_without_a_model_is_one_clear_error(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    words = [word.format(empty=tmp_path) for word in arguments]
    done = kmax(*words, check=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
