"""`kmax models`: what it counts, and how it is printed."""

from __future__ import annotations

import contextlib
import copy
import functools
import io
import json
import math
import re
from pathlib import Path

import pytest
import tensorflow as tf

import kmax_tf
from kmax_tf.cli import models
from kmax_tf.cli.main import main
from kmax_tf.config import shipped_experiments
from kmax_tf.model import builder, complexity
from kmax_tf.model.batch_norm import BatchNormFactory
from kmax_tf.model.builder import build_backbone, build_model
from tests.options import with_defaults
from tests.training.tiny import OVERRIDES, tiny_experiment

CONFIG = "--config=shapes/laptop.textproto"
TINY = [f"--set={change}" for change in OVERRIDES]


def output_of(*words):
    with contextlib.redirect_stdout(io.StringIO()) as output:
        assert main(["models", *map(str, words)]) == 0
    return output.getvalue().splitlines()


def json_of(*words):
    (line,) = output_of("--json", *words)
    return json.loads(line)


@pytest.fixture(scope="module", autouse=True)
def count_once():
    """Keeps models that were built, and what was counted of them, for the next test."""
    built = {}

    def build(experiment):
        same = copy.deepcopy(experiment)
        for field in ("name", "published"):
            same.ClearField(field)
        key = same.SerializeToString(deterministic=True)
        if key not in built:
            built[key] = build_model(experiment)
        return built[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builder, "build_model", build)
        patch.setattr(complexity, "multiply_adds", functools.cache(complexity.multiply_adds))
        yield


@pytest.fixture(scope="module")
def tiny():
    """The row of a tiny model at 97 x 97."""
    return json_of(CONFIG, *TINY)


def test_parameters_are_those_of_a_checkpoint_without_moving_statistics(tiny, tmp_path):
    model = kmax_tf.build_model(tiny_experiment())
    prefix = tf.train.Checkpoint(**model.checkpoint_items).save(str(tmp_path / "ckpt"))
    sizes = {
        name: math.prod(shape)
        for name, shape in tf.train.list_variables(prefix)
        if name.endswith("VARIABLE_VALUE")
        and not any(word in name for word in ("/moving_mean/", "/moving_variance/", "save_counter"))
    }
    assert tiny["parameters"] == sum(sizes.values())
    branch = sum(size for name, size in sizes.items() if name.startswith("semantic_branch/"))
    assert branch > 0
    assert tiny["parameters_without_semantic_branch"] == tiny["parameters"] - branch


def test_parameters_do_not_depend_on_the_size_but_multiply_adds_do(tiny):
    """Convolutions grow as the area, and attention along an axis with its length besides."""
    large = json_of(CONFIG, *TINY, "--size", 193, 193)
    assert (large["height"], large["width"]) == (193, 193)
    for same in ("parameters", "parameters_without_semantic_branch"):
        assert large[same] == tiny[same]
    assert 3.5 < large["multiply_adds"] / tiny["multiply_adds"] < 4.5


def test_the_size_is_that_of_the_evaluation(tiny):
    assert (tiny["height"], tiny["width"]) == (97, 97)
    changed = json_of(
        CONFIG, *TINY, "--set=eval_data={crop_size: [33, 65] min_size: 33 max_size: 65}"
    )
    assert (changed["height"], changed["width"]) == (33, 65)
    assert changed["multiply_adds"] < tiny["multiply_adds"] / 3


def test_the_semantic_branch_has_parameters_but_no_multiply_adds(tiny):
    wider = json_of(CONFIG, *TINY, "--set=model.semantic_decoder.channels=96")
    assert wider["parameters"] > tiny["parameters"]
    for same in ("parameters_without_semantic_branch", "multiply_adds"):
        assert wider[same] == tiny[same]


def test_the_table_has_the_numbers_of_the_json(tiny, tmp_path, capsys):
    config = tmp_path / "mine.textproto"
    config.write_text(
        'base: "shapes/laptop.textproto"\n'
        'name: "mine"\n'
        'published { pq: 53.04 miou: 61 source: "a paper" }\n'
    )
    lines = output_of(f"--config={config}", CONFIG, *TINY)
    told = f"counting {config} (1 of 2) ...\ncounting shapes/laptop.textproto (2 of 2) ...\n"
    assert capsys.readouterr().err == told
    head, rule, mine, laptop = ([cell.strip() for cell in line.split("|")] for line in lines)
    assert head == [
        "",
        *("config", "backbone", "input", "parameters, M", "- semantic", "multiply-adds, G"),
        *("PQ", "things", "stuff", "AP", "mIoU"),
        *("source", ""),
    ]
    assert all(re.fullmatch("-+:?", cell) for cell in rule[1:-1])
    numbers = [
        "ResNet 1-1-1-1",
        "97x97",
        f"{tiny['parameters'] / 1e6:.2f}",
        f"{tiny['parameters_without_semantic_branch'] / 1e6:.2f}",
        f"{tiny['multiply_adds'] / 1e9:.2f}",
    ]
    assert mine == ["", str(config), *numbers, "53.0", "", "", "", "61.0", "a paper", ""]
    assert laptop == ["", "shapes/laptop.textproto", *numbers, *[""] * 7]
    places = [[i for i, letter in enumerate(line) if letter == "|"] for line in lines]
    assert places[0] == places[1] == places[3]  # the first config's path is longer than its column


def test_published_results_are_in_the_json(tmp_path):
    published = "--set=published={pq: 53.04 pq_things: 58.3 source: 'a paper'}"
    row = json_of(CONFIG, *TINY, published)
    assert row["published"] == {"pq": 53.04, "pq_things": 58.3, "source": "a paper"}


def test_an_invalid_size_is_one_sentence_with_the_nearest_valid_ones(capsys):
    assert main(["models", "--size", "97", "100"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("kmax: error: The image width is 100")
    assert "nearest are 97 and 129" in captured.err


def test_the_documented_table_is_up_to_date_but_for_what_takes_minutes_to_count():
    document = Path(__file__).resolve().parents[2] / "docs" / "models.md"
    lines = [
        line for line in document.read_text().splitlines() if re.match(r"\| \S+\.textproto ", line)
    ]
    documented = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    in_order = [row[0] for row in documented]
    assert in_order == sorted(shipped_experiments(), key=models.order)
    assert [name[len("coco/") : -len(".textproto")] for name in in_order[:6]] == [
        *("resnet50", "max_s", "convnext_tiny", "convnext_small", "convnext_base"),
        "convnext_large",
    ]
    for name, backbone, size, *_, pq, things, stuff, ap, miou, source in documented:
        experiment = kmax_tf.load_experiment(name)
        assert backbone == build_backbone(experiment.model, with_defaults(BatchNormFactory)).title
        assert size == "x".join(map(str, experiment.eval_data.crop_size))
        published = {
            field.name: value if isinstance(value, str) else f"{value:.1f}"
            for field, value in experiment.published.ListFields()
        }
        keys = ("pq", "pq_things", "pq_stuff", "mask_ap", "miou", "source")
        cells = dict(zip(keys, (pq, things, stuff, ap, miou, source)))
        assert {key: value for key, value in cells.items() if value} == published
