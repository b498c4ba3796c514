import functools

import pytest

from kmax_tf import config
from kmax_tf.config.overrides import merge_override
from kmax_tf.config.strides import mask_stride
from kmax_tf.config.validation import problems
from kmax_tf.protos import experiment_pb2

STAGES = "{filters: 8 blocks: 1}"
CAT = 'id: 1 name: "cat"'


@functools.cache
def shipped(name):
    return config.load_experiment(name)


def coco():
    return shipped("coco/resnet50.textproto")


def problems_after(*overrides, start="coco/resnet50.textproto"):
    experiment = experiment_pb2.Experiment()
    experiment.CopyFrom(shipped(start))
    for override in overrides:
        merge_override(override, experiment, {})
    return {problem.path: problem.text for problem in problems(experiment)}


@pytest.mark.parametrize("cache", ["cache=true", "cache_file=/tmp/cache"])
def test_a_service_has_no_cache(cache):
    found = problems_after(f"train_data.{cache}", "train_data.service_address=grpc://a:1")
    assert "leave out one of the two" in found[f"train_data.{cache.partition('=')[0]}"]


# An override that breaks a rule, and what is said of the field.
BROKEN = [
    ("train_data.crop_size=641", "two values, height and width, not 1"),
    ("eval_data.crop_size=", "must have two values"),
    ("train_data.min_size=1300", "1300 is more than max_size 1281"),
    ("train_data.augmentation.min_scale=2", "max_scale 1"),
    ("eval_data.service_address=grpc://a:1", "only training data"),
    ("postprocessing.maps=PANOPTIC,PANOPTIC", "lists a map twice"),
    (f"model.resnet.stages={STAGES}", "must be four"),
    (f"model.pixel_decoder.stages={STAGES}", "must be 3 to 5"),
    (f"model.pixel_decoder.stages={', '.join([STAGES] * 6)}", "must be 3 to 5"),
    (
        "model.pixel_decoder.stages[1].filters=252",
        "252 cannot be shared by axial_attention.num_heads = 8; give a multiple of 8",
    ),
    ("model.transformer_decoder.block_strides=", "a stride for each kMaX block"),
    ("model.transformer_decoder.key_channels=100", "100 cannot be shared by num_heads = 8"),
    ("model.transformer_decoder.value_channels=100", "100 cannot be shared by num_heads = 8"),
    ("model.heads.kernel_size=4", "must be odd"),
    ("training.optimizer.end_learning_rate=1", "1 is more than learning_rate 0.0005"),
    ("runtime.tpu=local", "has no effect unless strategy is TPU"),
    ("training.optimizer.backbone_layer_decay=0", ""),
    ("dataset.label_divisor=20000000", "int32 holds 2147483647"),
    ("dataset.label_divisor=128", "must exceed num_centers = 128"),
    ("dataset.classes[7].color=1,2", "red, green, blue; it has 2"),
    ("dataset.classes[7].id=1", "1 is already that of classes[0]"),
    ("dataset.classes[7].name=car", "'car' is already that of"),
    ("dataset.classes[60].original_id=13", "13 is already that of classes[11]"),
]
# Those of which another field is told.
BROKEN_ELSEWHERE = [
    ("eval_data.crop_size=1281,1300", "eval_data.crop_size[1]", "1281 or 1313 is near"),
    ("eval_data.crop_size=641,641", "eval_data.max_size", "than the longer side of crop_size"),
    (
        "train_data.augmentation.color.sequences=",
        "train_data.augmentation.color",
        "has no sequences",
    ),
    (
        "train_data.augmentation.color.sequences={}",
        "train_data.augmentation.color.sequences[0]",
        "has no steps",
    ),
    (
        "train_data.augmentation.color.sequences[1]={steps { level: 3 }}",
        "train_data.augmentation.color.sequences[1].steps[0]",
        "has no operation",
    ),
    (
        'postprocessing.class_thresholds={name: "persom" threshold: 0.5}',
        "postprocessing.class_thresholds[0].name",
        "no class 'persom'; did you mean 'person'",
    ),
    (
        'postprocessing.class_thresholds={name: "person"}',
        "postprocessing.class_thresholds[0]",
        "has no threshold; give it",
    ),
    (
        'postprocessing.class_thresholds=[{name: "car" threshold: 0}, {name: "car" threshold: 1}]',
        "postprocessing.class_thresholds[1].name",
        "has a threshold already",
    ),
    (
        "postprocessing.test_time_augmentation.scales=0.5,1",
        "postprocessing.test_time_augmentation.scales[1]",
        "1 is looked at already",
    ),
    (
        "model.resnet.stages[1]={filters: 12 blocks: 3 block_type: AXIAL}",
        "model.resnet.stages[1].filters",
        "12 cannot be shared by axial_attention.num_heads = 8; give a multiple of 8",
    ),
    (
        "model.resnet.stages[1]={filters: 12 blocks: 3 first_block_type: AXIAL}",
        "model.resnet.stages[1].filters",
        "12 cannot be shared by axial_attention.num_heads = 8",
    ),
    ("model.axial_attention.num_heads=24", "model.pixel_decoder.stages[0].filters", "512 "),
    (
        "model.resnet.stages={filters: 8}, {blocks: 1}, {}, {}",
        "model.resnet.stages[0]",
        "has no blocks",
    ),
    (
        "model.transformer_decoder.block_strides=32,2",
        "model.transformer_decoder.block_strides[1]",
        "no features of stride 2; it has 32, 16, 8, 4",
    ),
    (
        "model.semantic_decoder.low_levels={stride: 4 channels: 8}, {stride: 8 channels: 8}",
        "model.semantic_decoder.low_levels[1].stride",
        "must be one of none: leave it out",
    ),
    (
        "model.semantic_decoder.low_levels={stride: 2 channels: 8}",
        "model.semantic_decoder.low_levels[0].stride",
        "must be one of 16, 8, 4 (coarse to fine), not 2",
    ),
    (
        "model.semantic_decoder.low_levels={stride: 8}",
        "model.semantic_decoder.low_levels[0]",
        "has no channels",
    ),
    (
        "train_data.crop_size=129,257",
        "losses.instance_discrimination.sample_count",
        "4096 pixels cannot be sampled from the 33 x 65 = 2145 of the mask logits (stride 4)",
    ),
    (
        "training.steps=100",
        "training.optimizer.warmup_steps",
        "5000 is more than training.steps 100",
    ),
    ("training.steps_per_loop=30", "training.summary_interval", "a multiple of steps_per_loop"),
    (
        "runtime={strategy: TPU precision: MIXED_FLOAT16}",
        "runtime.precision",
        "TPUs have no float16; take MIXED_BFLOAT16",
    ),
    (
        "training.optimizer.micro_batches=3",
        "train_data.batch_size",
        "64 cannot be shared by 1 replica x 3 micro_batches; 63 can",
    ),
    ("dataset.classes=", "dataset", "has no classes"),
    (
        "dataset.num_ids=70",
        "dataset.classes",
        "more thing classes (80) than classes at all (num_ids = 70)",
    ),
    ("dataset.num_ids=133", "dataset.classes[132].id", "133 must be below num_ids = 133"),
    ("dataset.ignore_label=5", "dataset.classes[4].id", "5 is the ignore_label"),
    ("dataset.classes={name: 'x'}", "dataset.classes[0]", "has no id"),
    (f"dataset.classes={{{CAT}}}, {{id: 2}}", "dataset.classes[1]", "has no name"),
]


@pytest.mark.parametrize(
    ("override", "path", "text"),
    [
        *((override, override.partition("=")[0], text) for override, text in BROKEN),
        *BROKEN_ELSEWHERE,
    ],
)
def test_each_rule_is_broken_by_one_example(override, path, text):
    found = problems_after(override)
    assert text in found.get(path, f"nothing at {path} but {found}")


@pytest.mark.parametrize(
    "override",
    [
        "train_data.service_address=grpc://a:1",
        "model.resnet.stages[3].block_type=AXIAL",
        "model.resnet.stages[1]={}",
        "model.resnet.stages[1]={filters: 12 blocks: 3}",
        "losses={pq_style {weight: 0}}",
    ],
)
def test_what_looks_alike_breaks_none(override):
    assert problems_after(override) == {}


@pytest.mark.parametrize("name", ["blocks", "channels"])
@pytest.mark.parametrize("values", [[3, 3, 9], [3, 3, 9, 3, 3], []])
def test_convnext_has_four_stages(name, values):
    found = problems_after(
        f"model.convnext.{name}={values}", start="cityscapes/convnext_tiny.textproto"
    )
    assert found == {
        f"model.convnext.{name}": f"must be four, for strides 4, 8, 16 and 32, not {len(values)}"
    }


def test_heads_matter_to_axial_stages_of_the_backbone_and_the_pixel_decoder():
    """Of MaX-S, the last stage and all of stride 16 but its first block are axial."""
    found = problems_after(
        "model.axial_attention.num_heads=48",
        "model.pixel_decoder.stages[0].filters=96",
        "model.pixel_decoder.stages[1].filters=96",
        start="coco/max_s.textproto",
    )
    assert list(found) == ["model.resnet.stages[2].filters", "model.resnet.stages[3].filters"]


# The crop has 257 x 129 pixels of stride 4 and 513 x 257 of stride 2.
@pytest.mark.parametrize(
    ("start", "overrides", "stride"),
    [
        ("coco/resnet50.textproto", [], 4),
        ("coco/convnext_tiny.textproto", [], 4),
        ("coco/convnext_tiny.textproto", ["model.convnext.stem_to_stride_2=true"], 4),
        ("cityscapes/resnet50.textproto", [], 2),
        ("cityscapes/max_s.textproto", [], 2),
        ("cityscapes/convnext_tiny.textproto", [], 4),
        ("cityscapes/convnext_tiny.textproto", ["model.convnext.stem_to_stride_2=true"], 2),
    ],
)
def test_samples_are_counted_at_the_stride_of_the_mask_logits(start, overrides, stride):
    """As published, Cityscapes' ConvNeXt has masks of stride 4, the resolution of its stem."""
    assert mask_stride(config.load_experiment(start, overrides).model) == stride
    pixels = {2: 513 * 257, 4: 257 * 129}[stride]
    crop = "train_data.crop_size=1025,513"
    path = "losses.instance_discrimination.sample_count"
    assert problems_after(crop, *overrides, f"{path}={pixels}", start=start) == {}
    text = problems_after(crop, *overrides, f"{path}={pixels + 1}", start=start)[path]
    assert f" = {pixels} of the mask logits (stride {stride})" in text


@pytest.mark.parametrize("name", ["num_ids", "ignore_label"])
def test_a_dataset_says_its_ids(name):
    experiment = experiment_pb2.Experiment()
    experiment.CopyFrom(coco())
    experiment.dataset.ClearField(name)
    assert problems(experiment) == [("dataset", f"has no {name}; give it")]


def test_all_weights_zero():
    terms = ("pq_style", "mask_id", "instance_discrimination", "semantic")
    found = problems_after(*(f"losses.{term}.weight=0" for term in terms))
    assert found == {"losses": "every term has weight 0: nothing would be learnt"}


def test_samples_do_not_matter_without_their_term():
    small = "train_data.crop_size=129,257"
    assert problems_after(small, "losses.instance_discrimination.weight=0") == {}
    assert problems_after(small, "losses.instance_discrimination.sample_count=2145") == {}


def test_an_empty_experiment_lists_what_it_lacks():
    found = problems(experiment_pb2.Experiment())
    said = "\n".join(f"{problem.path} {problem.text}" for problem in found)
    for choice in (
        "model has no backbone; give it resnet",
        "training.optimizer has no algorithm; give it ",
        "training.optimizer has no schedule; give it ",
        "postprocessing has no merging; give it ",
    ):
        assert choice in said
    assert {"dataset", "train_data.crop_size", "model.pixel_decoder.stages"} <= dict(found).keys()


def test_batch_is_shared_by_replicas():
    assert problems(coco(), 64) == []
    assert problems(coco(), 24) == [
        ("train_data.batch_size", "64 cannot be shared by 24 replicas; 48 can")
    ]
    assert problems(coco(), 128)[0].text.endswith("128 can")
