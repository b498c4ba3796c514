"""`kmax explain` on a tiny run that was never trained."""

from __future__ import annotations

import functools
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import kmax_tf
from kmax_tf.cli.main import main
from kmax_tf.data.preprocessing import fit_image
from kmax_tf.export import explainer
from kmax_tf.figures import draw_panoptic
from kmax_tf.figures.clusters import center_colors
from kmax_tf.keras_api import keras
from kmax_tf.run_record import write_run_record
from tests.model.weights import randomize
from tests.reference.panoptic_maps import resized
from tests.training.tiny import tiny_experiment

SIZE = 60, 97  # of the image, which the network sees as 65 x 65: 40 x 65, padded
SCALE = 7  # of pictures
BLOCKS = 3


@pytest.fixture(scope="module", autouse=True)
def load_once():
    """Keeps what was loaded for the next test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explainer, "load_explainer", functools.cache(explainer.load_explainer))
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's folder with an experiment and a checkpoint, and the model."""
    folder = tmp_path_factory.mktemp("run")
    experiment = tiny_experiment(
        "model.transformer_decoder.block_strides=[32, 16, 8]",
        "eval_data={crop_size: [65, 65] min_size: 65 max_size: 65}",
    )
    keras.utils.set_random_seed(0)
    model = kmax_tf.build_model(experiment)
    randomize(model)
    write_run_record(experiment, str(folder))
    tf.train.Checkpoint(**model.checkpoint_items).save(str(folder / "ckpt"))
    return folder, experiment, model


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    path = tmp_path_factory.mktemp("images") / "photo.png"
    Image.fromarray(pixels).save(path)
    return path


def explain(model, output, *words):
    return main(["explain", "--model", str(model), "--output", str(output), *map(str, words)])


def panels(path, count):
    """Cuts a sheet into its panels, which stand in rows with even gaps, each below its caption."""
    sheet = np.asarray(Image.open(path))
    height, width = SIZE[0] * SCALE, SIZE[1] * SCALE
    gap = width // 60
    columns, rest = divmod(sheet.shape[1] - gap, width + gap)
    assert rest == 0
    rows = -(-count // columns)
    row_height, rest = divmod(sheet.shape[0], rows)
    assert rest == 0
    assert height < row_height < 1.25 * height  # two lines of caption, and the gap
    cut = []
    for index in range(count):
        row, column = divmod(index, columns)
        bottom, left = (row + 1) * row_height - gap, gap + column * (width + gap)
        cut.append(sheet[bottom - height : bottom, left : left + width])
    return cut


def test_a_picture_shows_each_block(run, photo, tmp_path, capsys):
    folder, experiment, model = run
    assert explain(folder, tmp_path, photo) == 0
    assert capsys.readouterr().out == f"pictures in {tmp_path}\n"
    assert [path.name for path in tmp_path.glob("*.png")] == ["photo_clusters.png"]
    image, *stages, panoptic = panels(tmp_path / "photo_clusters.png", BLOCKS + 3)

    pixels = np.asarray(Image.open(photo))
    enlarged = Image.fromarray(pixels).resize(image.shape[1::-1], Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(image, enlarged)

    # What a training pass with the statistics of inference predicts, taken apart by hand.
    fitted, size = fit_image(pixels, (65, 65), 65, 65)
    features = model.pixel_decoder(model.backbone(fitted[tf.newaxis] / 127.5 - 1))
    _, mask_embeddings, predictions = model.transformer_decoder(features)
    embeddings = model.heads.pixel_head(features[4])
    final = model.heads.mask_head(embeddings, mask_embeddings)
    logits = [*(prediction["mask_logits"] for prediction in predictions), final]
    maps = [at_size(values[0].numpy().argmax(axis=-1), size.numpy()) for values in logits]
    colors = center_colors(maps)
    for centers, stage in zip(maps, stages):
        hues = stage[SCALE // 2 :: SCALE, SCALE // 2 :: SCALE]
        grey = image[SCALE // 2 :: SCALE, SCALE // 2 :: SCALE].mean(axis=-1, keepdims=True)
        expected = grey + 0.62 * (np.array([[colors[i] for i in row] for row in centers]) - grey)
        assert np.abs(hues - expected).max() <= 0.51

    maps = kmax_tf.postprocess(experiment, model(fitted[tf.newaxis]))
    whole = maps["panoptic"][0].numpy()[: size[0], : size[1]]
    restored = resized(whole, *SIZE)
    labels = kmax_tf.config.label_space(experiment.dataset)
    np.testing.assert_array_equal(panoptic, draw_panoptic(pixels, restored, labels))


def at_size(centers, fitted):
    """Brings a map of the network's input to the image's size."""
    return resized(resized(centers, 65, 65)[: fitted[0], : fitted[1]], *SIZE)


def test_blocks_are_picked_and_look_as_among_all(run, photo, tmp_path):
    folder, _, _ = run
    assert explain(folder, tmp_path / "all", photo) == 0
    assert explain(folder, tmp_path / "some", photo, "--blocks=3,1") == 0
    complete = panels(tmp_path / "all" / "photo_clusters.png", BLOCKS + 3)
    some = panels(tmp_path / "some" / "photo_clusters.png", 5)
    for index, picture in zip((0, 1, 3, 4, 5), some):
        np.testing.assert_array_equal(picture, complete[index])


@pytest.mark.slow  # loads the model once more
def test_a_checkpoint_and_its_experiment_do_as_well_as_a_run(run, photo, tmp_path):
    folder, _, _ = run
    for file in folder.glob("ckpt-1*"):
        shutil.copy(file, tmp_path)
    config = ["--config", folder / "experiment.textproto", "--blocks=1"]
    assert explain(tmp_path / "ckpt-1", tmp_path / "a", photo, *config) == 0
    assert explain(folder, tmp_path / "b", photo, "--blocks=1") == 0
    pictures = [(tmp_path / name / "photo_clusters.png").read_bytes() for name in "ab"]
    assert pictures[0] == pictures[1]


@pytest.mark.parametrize("blocks", ["0", "4", "1,9"])
def test_a_block_that_is_not_there_is_named_with_those_that_are(
    run, photo, tmp_path, capsys, blocks
):
    folder, _, _ = run
    assert explain(folder, tmp_path, photo, f"--blocks={blocks}") == 2
    wrong = blocks.rsplit(",", maxsplit=1)[-1]
    expected = f"kmax: error: there is no block {wrong}: the model has the kMaX blocks 1 to 3\n"
    assert capsys.readouterr().err == expected
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("blocks", ["first", "1;2", "1,", ""])
def test_what_is_no_list_of_blocks_is_a_wrong_command_line(photo, tmp_path, capsys, blocks):
    with pytest.raises(SystemExit) as caught:
        explain(tmp_path, tmp_path, photo, f"--blocks={blocks}")
    assert caught.value.code == 2
    assert f"'{blocks}' is no list such as 1,3,6" in capsys.readouterr().err


@pytest.mark.parametrize("version", ["", "7"])
def test_an_export_is_refused_with_what_to_give_instead(photo, tmp_path, capsys, version):
    export = tmp_path / "export"
    (export / "7").mkdir(parents=True)
    (export / "7" / "saved_model.pb").touch()
    assert explain(export / version, tmp_path / "out", photo) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"kmax: error: {export / '7'} is an exported SavedModel")
    assert "give the folder of the run" in error
