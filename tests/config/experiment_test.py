import pathlib

import pytest
from google.protobuf import text_format

from kmax_tf import config
from kmax_tf.errors import ConfigError
from kmax_tf.protos import dataset_pb2

COCO = "coco/resnet50.textproto"
DATASET = """
name: "tiny"
num_ids: 4
ignore_label: 0
classes { id: 1 name: "cat" thing: true }
classes { id: 2 name: "sky" }
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Returns a function that writes a file below the working folder and gives its name."""
    monkeypatch.chdir(tmp_path)

    def write_file(name, text):
        path = pathlib.Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return name

    return write_file


def error_of(path, *overrides):
    with pytest.raises(ConfigError) as caught:
        config.load_experiment(path, overrides)
    return str(caught.value)


def test_the_result_is_resolved_and_self_contained(tmp_path):
    experiment = config.load_experiment(COCO)
    assert not experiment.base
    assert not experiment.HasField("dataset_file")
    assert len(experiment.dataset.classes) == 133
    assert [stage.blocks for stage in experiment.model.resnet.stages] == [3, 4, 6, 3]
    copy = tmp_path / "copy.textproto"
    copy.write_text(config.experiment_text(experiment))
    assert config.load_experiment(copy) == experiment


def test_bases_are_relative_to_their_file_and_repeated_fields_replace(write):
    write("a/base.textproto", f'base: "{COCO}" name: "base" training {{ seed: 3 }}')
    write("a/b/middle.textproto", 'base: "../base.textproto" model { semantic_head {} }')
    leaf = write(
        "a/b/leaf.textproto",
        'base: "middle.textproto" name: "leaf" train_data { crop_size: [641, 1281] } '
        "model { transformer_decoder { block_strides: [32, 16] } }",
    )
    experiment = config.load_experiment(leaf, ["name=override", "train_data.batch_size=8"])
    assert experiment.name == "override"
    assert experiment.training.seed == 3
    assert experiment.model.WhichOneof("semantic_branch") == "semantic_head"
    assert list(experiment.model.transformer_decoder.block_strides) == [32, 16]
    assert list(experiment.train_data.crop_size) == [641, 1281]
    assert experiment.train_data.batch_size == 8
    assert experiment.train_data.min_size == 1281


def test_a_later_base_wins_and_the_file_itself_over_both(write):
    write(
        "first.textproto", f'base: "{COCO}" training {{ seed: 1 steps_per_loop: 1 }} name: "first"'
    )
    write("second.textproto", "training { seed: 2 } train_data { crop_size: [641, 641] }")
    leaf = write("leaf.textproto", 'base: "first.textproto" base: "second.textproto" name: "leaf"')
    experiment = config.load_experiment(leaf)
    assert (experiment.name, experiment.training.seed) == ("leaf", 2)
    assert experiment.training.steps_per_loop == 1
    assert list(experiment.train_data.crop_size) == [641, 641]
    write("leaf.textproto", 'base: ["second.textproto", "first.textproto"] training { seed: 3 }')
    experiment = config.load_experiment(leaf)
    assert (experiment.name, experiment.training.seed) == ("first", 3)
    # COCO's sizes came with the first base, which is merged last now.
    assert list(experiment.train_data.crop_size) == [1281, 1281]


def test_a_base_of_two_bases_is_merged_once_before_both(write):
    """Else it would undo, with the second base, what the first one changed."""
    write("root.textproto", f'base: "{COCO}" training {{ seed: 1 steps_per_loop: 1 }}')
    write("a/one.textproto", 'base: "../root.textproto" training { seed: 2 }')
    write("b/two.textproto", 'base: "../root.textproto" training { steps_per_loop: 2 }')
    leaf = write("leaf.textproto", 'base: "a/one.textproto" base: "b/two.textproto"')
    training = config.load_experiment(leaf).training
    assert (training.seed, training.steps_per_loop) == (2, 2)


def test_a_local_file_wins_over_a_shipped_one(write):
    write(COCO, f'base: "{config.shipped_configs() / COCO}" name: "mine"')
    assert config.load_experiment(COCO).name == "mine"


def test_a_base_that_leads_back(write):
    write("a.textproto", f'base: "{COCO}"\nbase: "b/b.textproto"')
    write("b/b.textproto", 'name: "b"\n\nbase: "../a.textproto"')
    assert error_of("a.textproto") == (
        "b/b.textproto:3: base leads back to itself: a.textproto -> b/b.textproto -> a.textproto"
    )


def test_the_place_of_each_base_is_its_own(write):
    write("a.textproto", f'base: "{COCO}"\n\nbase: "nothing.textproto"')
    assert error_of("a.textproto").startswith("a.textproto:3: no file nothing.textproto (base ")
    write("b.textproto", f'base: ["{COCO}",\n"nothing.textproto"]')
    assert error_of("b.textproto").startswith("b.textproto:2: no file nothing.textproto (base ")
    write("wrong.textproto", "training {\n  step: 3\n}")
    write("c.textproto", f'base: "{COCO}" base: "wrong.textproto"')
    assert error_of("c.textproto").startswith("wrong.textproto:2: Training has no field 'step'")


def test_missing_files_are_named_with_the_place_that_names_them(write):
    write("b.textproto", f'base: "{COCO}"\ndataset_file: "nothing.textproto"')
    assert error_of("b.textproto").startswith("b.textproto:2: no file nothing.textproto (dataset_")
    assert "--set dataset_file: no file x (dataset_file" in error_of(COCO, "dataset_file=x")
    assert "did you mean 'coco/resnet50.textproto'?" in error_of("coco/resnet51.textproto")


def test_unreadable_files(write, tmp_path):
    (tmp_path / "binary.textproto").write_bytes(b"\xff\xfe")
    assert error_of("binary.textproto").startswith("binary.textproto: not a text file: ")
    (tmp_path / "folder.textproto").mkdir()
    assert error_of("folder.textproto").startswith("no file folder.textproto (the experiment)")


def test_unknown_fields_and_values_that_do_not_fit_hide_no_other_problem(write):
    write(
        "a.textproto",
        f'base: "{COCO}"\nmodle {{ heads {{ a: [1, "]"] }} b < c: "x" \'y\' > }}\n'
        "train_data { batch_size: 63 batch_size: 0 crop_sise: [1, 2], shuffle_buffer: many }\n"
        "model { heads { kernel_size: 4 } }",
    )
    overrides = ["training.stesp=3", "base=x", "runtime.num_gpus=-1", "eval_data.on_bad_record=STO"]
    first, *others = error_of("a.textproto", *overrides).split("\n  ")
    assert first == "8 problems in a.textproto:"
    assert [line.partition("; ")[0] for line in others] == [
        "a.textproto:2: Experiment has no field 'modle'",
        "a.textproto:3: train_data.batch_size: batch_size was already given in line 3",
        "a.textproto:3: Data has no field 'crop_sise'",
        "a.textproto:3: train_data.shuffle_buffer: expected an integer, found 'many'",
        "--set training.stesp: Training has no field 'stesp'",
        "--set base: cannot be overridden",
        "--set eval_data.on_bad_record: 'STO' is not a OnBadRecord (STOP, SKIP)",
        "a.textproto:3: train_data.batch_size: must be at least 1, not 0",
    ]
    kept = error_of("a.textproto", "train_data.batch_size=64").split("\n  ")
    assert kept[-1] == "a.textproto:4: model.heads.kernel_size: must be odd"


@pytest.mark.parametrize(
    ("text", "found"),
    [("x: ", "the end"), ("x: }", "'}'"), ("x { y: [1 }", "the end"), ("x", "the end")],
)
def test_an_unknown_field_has_a_value_too(write, text, found):
    write("a.textproto", f'base: "{COCO}"\n{text}')
    assert error_of("a.textproto") == f"a.textproto:2: expected a value, found {found}"


def test_dataset_file_beside_the_experiment_shipped_and_in_data_dir(write):
    experiment = write("a/x.textproto", f'base: "{COCO}"\ndataset_file: "dataset.textproto"')
    write("records/dataset.textproto", DATASET.replace("tiny", "in data_dir"))
    loaded = config.load_experiment(experiment, ["data_dir=records"])
    assert (loaded.dataset.name, loaded.data_dir) == ("in data_dir", "records")
    assert len(loaded.dataset.classes) == 2
    write("a/dataset.textproto", DATASET.replace("tiny", "beside"))
    assert config.load_experiment(experiment, ["data_dir=records"]).dataset.name == "beside"
    loaded = config.load_experiment(experiment, ["dataset_file=coco.textproto"])
    assert loaded.dataset.name == "coco_panoptic"


def test_dataset_in_place_overrides_its_file_and_a_new_file_replaces_all(write):
    write("dataset.textproto", DATASET)
    write("base.textproto", f'base: "{COCO}" dataset {{ name: "mine" label_divisor: 512 }}')
    base = config.load_experiment("base.textproto")
    assert (base.dataset.name, base.dataset.label_divisor) == ("mine", 512)
    assert len(base.dataset.classes) == 133
    write("leaf.textproto", 'base: "base.textproto" dataset_file: "dataset.textproto"')
    leaf = config.load_experiment("leaf.textproto", ["dataset.num_ids=9"])
    assert (leaf.dataset.name, leaf.dataset.label_divisor) == ("tiny", 256)
    assert (len(leaf.dataset.classes), leaf.dataset.num_ids) == (2, 9)


def test_mistakes_in_a_dataset_file_are_named_with_its_line(write):
    write("dataset.textproto", DATASET.replace("thing:", "think:"))
    write("a.textproto", f'base: "{COCO}" dataset_file: "dataset.textproto"')
    assert error_of("a.textproto").startswith("dataset.textproto:5: Class has no field 'think'")
    write("dataset.textproto", DATASET.replace("id: 2", "id: 1"))
    assert error_of("a.textproto") == (
        "dataset.textproto:6: dataset.classes[1].id: 1 is already that of classes[0]"
    )


def test_problems_are_listed_together_each_with_its_origin(write):
    write("base.textproto", f'base: "{COCO}"\n\ntrain_data {{ crop_size: [1281,\n 640] }}')
    write("a.textproto", 'base: "base.textproto"\npostprocessing { pixel_wise {} }')
    lines = error_of("a.textproto", "training.steps=10").split("\n")
    assert lines[0] == "2 problems in a.textproto:"
    assert lines[1].startswith("  base.textproto:4: train_data.crop_size[1]: must be 32k + 1")
    assert lines[2].startswith("  training.optimizer.warmup_steps: 5000 is more than")
    single = error_of("a.textproto", "train_data.crop_size=641,641", "training.steps=0")
    assert single == "--set training.steps: must be at least 1, not 0"


def test_validate_counts_replicas():
    experiment = config.load_experiment(COCO)
    config.validate(experiment, num_replicas=32)
    with pytest.raises(ConfigError, match=r"train_data.batch_size: 64 cannot be shared by 24"):
        config.validate(experiment, num_replicas=24)


def test_label_space_orders_and_completes():
    dataset = text_format.Parse(
        """
        classes { id: 9 name: "z" }
        classes { id: 5 name: "b" thing: true original_id: 50 color: [242, 48, 48] }
        classes { id: 3 name: "y" color: [1, 2, 3] }
        classes { id: 4 name: "a" thing: true original_id: 0 }
        num_ids: 10 ignore_label: 255 label_divisor: 1000
        """,
        dataset_pb2.Dataset(),
    )
    labels = config.label_space(dataset)
    assert [category.name for category in labels.classes] == ["b", "a", "y", "z"]
    assert [category.original_id for category in labels.classes] == [50, 0, 3, 9]
    assert labels.classes[2].color == (1, 2, 3)
    assert len({category.color for category in labels.classes}) == 4
    assert config.label_space(dataset) == labels


def test_missing_colors_are_distinct():
    dataset = dataset_pb2.Dataset(num_ids=300, ignore_label=0)
    for index in range(1, 300):
        dataset.classes.add(id=index, name=str(index))
    colors = {category.color for category in config.label_space(dataset).classes}
    assert len(colors) == 299
    assert all(0 <= part <= 255 for color in colors for part in color)


def test_a_default_that_is_written_out_changes_nothing_but_a_part_that_is_there_does():
    plain = config.load_experiment(COCO)

    def same(*overrides):
        return config.mean_the_same(plain, config.load_experiment(COCO, overrides))

    assert same()
    assert same("model.transformer_decoder.cross_attention=KMEANS")
    assert not same("model.transformer_decoder.num_centers=64")
    assert not same("model.transformer_decoder.block_strides=[32, 16]")
    assert not same("eval_data.crop_size=[641, 1281]")
    other = config.load_experiment(COCO)
    other.model.ClearField("semantic_decoder")
    assert not config.mean_the_same(plain, other)
    other = config.load_experiment(COCO)
    other.dataset.classes[0].name = "somebody"
    assert not config.mean_the_same(plain, other)
