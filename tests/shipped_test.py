"""The shipped experiments: all valid, with the values that were published."""

import functools

import numpy as np
import pytest
from google.protobuf import text_format

from kmax_tf import config
from kmax_tf.protos import experiment_pb2


@pytest.mark.parametrize("path", config.shipped_experiments())
def test_every_shipped_experiment_is_valid_and_survives_a_round_trip(path):
    experiment = config.load_experiment(path)
    text = config.experiment_text(experiment)
    assert text_format.Parse(text, experiment_pb2.Experiment()) == experiment
    assert experiment.name == path.removesuffix(".textproto").replace("/", "_")


@pytest.mark.parametrize("path", config.shipped_experiments())
def test_every_published_experiment_says_what_was_published(path):
    published = config.load_experiment(path).published
    if path.split("/", 1)[0] in ("coco", "cityscapes", "ade20k"):
        assert 40 < published.pq < 70
        assert published.source
    else:
        assert not published.ListFields()


# By field of an experiment: of COCO, Cityscapes, ADE20K and ADE20K at 1281; "-" is not published.
PUBLISHED = """
model.transformer_decoder.num_centers                128     256       128     128
model.transformer_decoder.drop_path_keep_prob        0.8     0.8       1.0     1.0
model.transformer_decoder.block_strides              32,32,16,16,8,8 - - -
model.semantic_head.channels                         -       256       -       -
model.semantic_decoder.atrous_rates                  6,12,18 -         6,12,18 6,12,18
model.heads.channels                                 256     256       256     256
model.heads.embedding_channels                       128     128       128     128
train_data.batch_size                                64      32        64      64
train_data.crop_size                                 1281,1281 1025,2049 641,641 1281,1281
train_data.min_size                                  1281    0         641     1281
train_data.max_size                                  1281    0         641     1281
train_data.max_segments                              181     267       306     306
train_data.small_instance_area                       0       4096      0       0
train_data.small_instance_weight                     -       3.0       -       -
train_data.augmentation.min_scale                    0.3     0.5       0.5     0.5
train_data.augmentation.max_scale                    1.7     2.0       2.0     2.0
train_data.augmentation.scale_step                   0.1     0.1       0.1     0.1
eval_data.crop_size                                  1281,1281 1025,2049 641,641 1281,1281
eval_data.min_size                                   1281    0         641     1281
eval_data.max_size                                   1281    0         641     1281
losses.pq_style.weight                               3.0     3.0       3.0     3.0
losses.mask_id.weight                                0.3     0.3       0.3     0.3
losses.instance_discrimination.weight                1.0     1.0       1.0     1.0
losses.instance_discrimination.sample_count          4096    4096      1024    4096
losses.instance_discrimination.sample_temperature    1.5     0.6       1.5     1.5
losses.semantic.weight                               1.0     1.0       1.0     1.0
losses.semantic.top_fraction                         1.0     0.2       1.0     1.0
postprocessing.mask_wise.thing_threshold             0.7     0.5       0.4     0.4
postprocessing.mask_wise.stuff_threshold             0.5     0.3       0.4     0.4
postprocessing.mask_wise.overlap_threshold           0.8     0.9       0.8     0.8
postprocessing.mask_wise.class_weight                1.0     1.0       1.0     1.0
postprocessing.mask_wise.mask_weight                 1.0     0.0       1.0     1.0
postprocessing.pixel_threshold                       0.4     0.4       0.4     0.4
postprocessing.thing_area_limit                      400     256       0       0
postprocessing.stuff_area_limit                      6400    2048      0       0
training.steps                                       150000  60000     100000  100000
training.optimizer.learning_rate                     5e-4    3e-4      5e-4    5e-4
training.optimizer.backbone_multiplier               0.1     0.1       0.1     0.1
training.optimizer.warmup_steps                      5000    5000      5000    5000
training.optimizer.adamw.weight_decay                0.05    0.05      0.05    0.05
training.optimizer.clip_norm                         0       0         0       0
"""
# Of the backbones.
KEEP_PROBS = """
                       coco cityscapes ade20k
resnet50               1.0  1.0        1.0
resnet50_1281          -    -          1.0
max_s                  0.8  0.8        -
convnext_tiny          0.7  0.8        -
convnext_small         0.6  0.7        -
convnext_base          0.5  0.6        -
convnext_large         0.4  0.4        0.3
convnext_large_1281    -    -          0.3
"""


@pytest.mark.parametrize(
    ("path", "column"),
    [
        ("coco/resnet50", 0),
        ("cityscapes/resnet50", 1),
        ("cityscapes/convnext_tiny", 1),
        ("ade20k/resnet50", 2),
        ("ade20k/convnext_large_1281", 3),
    ],
)
def test_values_are_the_published_ones(path, column):
    experiment = config.load_experiment(f"{path}.textproto")
    for field, *values in map(str.split, PUBLISHED.strip().splitlines()):
        if values[column] != "-":
            found = functools.reduce(getattr, field.split("."), experiment)
            expected = [float(value) for value in values[column].split(",")]
            np.testing.assert_allclose(found, np.squeeze(expected), rtol=1e-6, err_msg=field)


def test_drop_path_of_the_backbone_is_as_published():
    folders, *rows = map(str.split, KEEP_PROBS.strip().splitlines())
    expected = {
        f"{folder}/{name}.textproto": pytest.approx(float(value))
        for name, *values in rows
        for folder, value in zip(folders, values)
        if value != "-"
    }
    found = {}
    for path in config.shipped_experiments():
        model = config.load_experiment(path).model
        if path.split("/")[0] in folders:
            found[path] = getattr(model, model.WhichOneof("backbone")).drop_path_keep_prob
    assert found == expected
