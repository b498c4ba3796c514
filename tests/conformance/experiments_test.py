"""Every shipped experiment is built, and its variables are counted and compared with the published.

One file, as building the models is what takes time.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

import kmax_tf
from kmax_tf.checkpoints.deeplab2 import checkpoint_keys
from kmax_tf.checkpoints.places import variable_names
from kmax_tf.config import shipped_experiments
from kmax_tf.protos import model_pb2
from tests.golden import recordings
from tests.model.building import build_with_zeros


class Count(NamedTuple):
    """Numbers of variables, and of parameters: all, trainable ones and those of parts."""

    variables: int
    parameters: int
    trainable: int
    trainable_without_semantic_branch: int
    backbone: int
    pixel_decoder: int
    transformer_decoder: int
    intermediate_heads: int


def count_of(model):
    def parameters(variables):
        return sum(variable.shape.num_elements() for variable in variables)

    trainable = parameters(model.trainable_variables)
    return Count(
        variables=len(model.variables),
        parameters=parameters(model.variables),
        trainable=trainable,
        trainable_without_semantic_branch=trainable
        - parameters(model.semantic_branch.trainable_variables),
        backbone=parameters(model.backbone.variables),
        pixel_decoder=parameters(model.pixel_decoder.variables),
        transformer_decoder=parameters(model.transformer_decoder.variables),
        intermediate_heads=sum(
            parameters(block.heads.variables) for block in model.transformer_decoder.blocks
        ),
    )


# The decoder and the heads of a dataset don't depend on the backbone: (transformer_decoder,
# intermediate_heads).
COCO = (11_813_116, 1_050_684)
CITYSCAPES = (11_670_096, 874_896)
ADE20K = (11_839_330, 1_076_898)
# fmt: off
COUNTS = {
    "coco/resnet50": Count(
        1184, 72_650_796, 72_436_862, 56_580_120, 23_561_152, 21_238_144, *COCO),
    "coco/max_s": Count(
        1410, 90_577_452, 90_272_254, 74_415_512, 41_487_808, 21_238_144, *COCO),
    "coco/convnext_tiny": Count(
        1102, 67_430_412, 67_265_502, 60_937_080, 27_818_592, 21_288_640, *COCO),
    "coco/convnext_small": Count(
        1264, 89_064_972, 88_900_062, 82_571_640, 49_453_152, 21_288_640, *COCO),
    "coco/convnext_base": Count(
        1264, 129_912_300, 129_747_390, 121_513_304, 87_564_416, 22_119_040, *COCO),
    "coco/convnext_large": Count(
        1264, 244_047_276, 243_882_366, 231_836_952, 196_227_264, 23_779_840, *COCO),
    "cityscapes/resnet50": Count(
        1156, 57_198_651, 56_986_125, 56_401_146, 23_561_152, 21_268_480, *CITYSCAPES),
    "cityscapes/max_s": Count(
        1382, 75_127_483, 74_823_693, 74_238_714, 41_487_808, 21_270_656, *CITYSCAPES),
    "cityscapes/convnext_tiny": Count(
        1074, 61_142_875, 60_981_933, 60_759_194, 27_818_592, 21_320_064, *CITYSCAPES),
    "cityscapes/convnext_small": Count(
        1236, 82_777_435, 82_616_493, 82_393_754, 49_453_152, 21_320_064, *CITYSCAPES),
    "cityscapes/convnext_base": Count(
        1236, 121_793_147, 121_631_693, 121_336_506, 87_564_416, 22_151_552, *CITYSCAPES),
    "cityscapes/convnext_large": Count(
        1236, 232_264_891, 232_102_413, 231_662_330, 196_227_264, 23_814_528, *CITYSCAPES),
    "ade20k/resnet50": Count(
        1184, 72_685_748, 72_471_814, 56_610_703, 23_561_152, 21_238_144, *ADE20K),
    "ade20k/convnext_large": Count(
        1264, 244_082_228, 243_917_318, 231_867_535, 196_227_264, 23_779_840, *ADE20K),
    "shapes/laptop": Count(
        678, 1_272_688, 1_250_070, 974_116, 197_800, 211_808, 571_576, 66_936),
    "shapes/hard": Count(
        678, 1_274_224, 1_251_606, 975_652, 197_800, 211_808, 573_112, 66_936),
}
# fmt: on
# Experiment: another with the same variables.
SAME_VARIABLES = {
    "ade20k/resnet50_1281": "ade20k/resnet50",
    "ade20k/convnext_large_1281": "ade20k/convnext_large",
    **{
        f"pytorch/{name.replace('/', '_')}": name
        for name in COUNTS
        if name.startswith("coco/") and name != "coco/max_s"
    },
}


def load(name):
    return kmax_tf.load_experiment(f"{name}.textproto")


def test_every_experiment_is_counted():
    names = [path[: -len(".textproto")] for path in shipped_experiments()]
    assert sorted(names) == sorted([*COUNTS, *SAME_VARIABLES])


@pytest.mark.parametrize("name", SAME_VARIABLES)
def test_experiments_with_the_same_variables_differ_in_nothing_that_has_any(name):
    def network(experiment):
        model = model_pb2.Model()
        model.CopyFrom(experiment.model)
        model.ClearField("activated_features")
        model.ClearField("batch_norm")
        model.pixel_decoder.ClearField("dilation")
        if model.HasField("resnet"):
            model.resnet.ClearField("max_pool")
        return model, experiment.dataset

    assert network(load(name)) == network(load(SAME_VARIABLES[name]))


def sides(shape):
    """The shape without axes of length 1, which may differ.

    The published one-dimensional convolutions are dense layers or two-dimensional convolutions of
    ours; ConvNeXt's depthwise convolution is grouped there.
    """
    return [side for side in shape if side != 1]


def assert_variables_are(model, recorded):
    """Names map to the keys of the public checkpoint one to one; shape and use are the same."""
    keys = checkpoint_keys(model)
    assert len(set(keys.values())) == len(keys) == len(model.variables)
    assert set(keys.values()) == set(recorded)
    trainable = {id(variable) for variable in model.trainable_variables}
    for name, variable in variable_names(model).items():
        expected = recorded[keys[name]]
        assert sides(variable.shape) == sides(expected.shape), name
        assert (id(variable) in trainable) == expected.trainable, name


# One of each kind of pixel decoder and backbone; to build all takes minutes.
FIRST = {"coco/resnet50", "cityscapes/convnext_tiny"}


@pytest.mark.parametrize(
    "name",
    [
        name
        if name in FIRST or name.startswith("shapes")
        else pytest.param(name, marks=pytest.mark.slow)
        for name in COUNTS
    ],
)
def test_variables_and_parameters(name):
    model = build_with_zeros(load(name))
    assert count_of(model) == COUNTS[name]
    if (recording := name.replace("/", "_")) in recordings.variable_lists():
        assert_variables_are(model, recordings.variables(recording))


def test_variables_of_ten_networks_were_recorded():
    assert len(recordings.variable_lists()) == 10
    assert {name.replace("_", "/", 1) for name in recordings.variable_lists()} <= set(COUNTS)
