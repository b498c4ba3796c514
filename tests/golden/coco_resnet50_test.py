"""The COCO ResNet-50 experiment against what the public implementation gives with the same weights.

One file, as building the model is what takes time.
"""

from __future__ import annotations

import gzip
import pathlib

import numpy as np
import pytest
import tensorflow as tf

import kmax_tf
from kmax_tf.checkpoints.deeplab2 import SUFFIX, checkpoint_keys
from kmax_tf.losses.builder import build_loss
from kmax_tf.losses.kmax_loss import KMaXLoss
from kmax_tf.losses.matching import Matching, match_on_host
from tests.golden import sampling, weights_recipe
from tests.reference import matching_oracle

FOLDER = pathlib.Path(__file__).parent
# Blocks, branches of the transformer and the feed-forward network end in these.
LAST_OF_BRANCH = ("_conv3_bn/_batch_norm/gamma", "_memory_ffn_conv2_bn/_batch_norm/gamma")


@pytest.fixture(scope="module")
def experiment():
    return kmax_tf.load_experiment(
        "coco/resnet50.textproto",
        [
            # The recording has neither, and they do nothing in inference.
            "model.transformer_decoder.drop_path_keep_prob=1",
            "model.semantic_decoder.dropout=0",
            "losses.instance_discrimination.sample_count=1089",
        ],
    )


@pytest.fixture(scope="module")
def model(experiment):
    return kmax_tf.build_model(experiment)


@pytest.fixture(scope="module")
def recorded_variables():
    """Shape and whether trainable, by key."""
    with gzip.open(FOLDER / "coco_resnet50_variables.txt.gz", "rt") as file:
        rows = [line.split() for line in file]
    return {
        key + SUFFIX: (
            [] if shape == "-" else [int(side) for side in shape.split("x")],
            bool(int(t)),
        )
        for key, shape, t in rows
    }


@pytest.fixture(scope="module")
def keys(model):
    """Key in the public checkpoints of each variable's name."""
    return checkpoint_keys([name(variable) for variable in model.variables])


def name(variable):
    return variable.name.split(":")[0]


def assign_recipe(model, keys, recorded_variables, branch_scale=1.0):
    for variable in model.variables:
        key = keys[name(variable)]
        value = weights_recipe.weight(key, recorded_variables[key][0]).reshape(variable.shape)
        scaled = key.split("/.ATTRIBUTES")[0].endswith(LAST_OF_BRANCH)
        variable.assign(value * branch_scale if scaled else value)


def check(recorded, tensors, tolerance):
    """Compares every tensor with what was kept of the recorded one of that name."""
    errors = {
        key: sampling.relative_error(
            tensor.numpy(), recorded[f"samples/{key}"], recorded[f"statistics/{key}"]
        )
        for key, tensor in tensors.items()
    }
    assert {key: error for key, error in errors.items() if not error < tolerance} == {}


def test_variables_are_those_of_the_public_checkpoints(model, keys, recorded_variables):
    assert len(set(keys.values())) == len(keys) == 1184
    assert set(keys.values()) == set(recorded_variables)
    trainable = {id(variable) for variable in model.trainable_variables}
    for variable in model.variables:
        shape, is_trainable = recorded_variables[keys[name(variable)]]
        # One-dimensional convolutions are dense layers or two-dimensional convolutions of ours.
        kernel = len(shape) == 3 and variable.shape.rank in (2, 4)
        size, found = (shape[1:], variable.shape[-2:]) if kernel else (shape, variable.shape)
        assert found.as_list() == size, variable.name
        assert variable.shape.num_elements() == np.prod(shape, dtype=int), variable.name
        assert (id(variable) in trainable) == is_trainable, variable.name


def test_parameter_counts_are_those_published(model):
    def count(variables):
        return sum(variable.shape.num_elements() for variable in variables)

    assert count(model.variables) == 72_650_796
    assert count(model.trainable_variables) == 72_436_862
    parts = {key: count(item.variables) for key, item in model.checkpoint_items.items()}
    assert parts == {
        "backbone": 23_561_152,
        "pixel_decoder": 21_238_144,
        "transformer_decoder": 11_813_116,
        "heads": 106_880 + 512 + 33_280 + 4 + 34_438,
        "semantic_branch": 15_863_270,
    }
    blocks = model.transformer_decoder.blocks
    assert sum(count(block.heads.variables) for block in blocks) == 1_050_684
    without_semantic = count(model.trainable_variables) - count(
        model.semantic_branch.trainable_variables
    )
    assert without_semantic == 56_580_120


@pytest.fixture(scope="module")
def forward(model, keys, recorded_variables):
    """The model with the recipe's weights, its input, and what was recorded."""
    assign_recipe(model, keys, recorded_variables)
    image = weights_recipe.image(129, 129, 1)
    return model, image, np.load(FOLDER / "forward_coco_resnet50.npz")


RUNS = {
    "eager": lambda model: model,
    "function": tf.function,
    "xla": lambda model: tf.function(model, jit_compile=True),
}


@pytest.mark.parametrize("run", RUNS)
def test_inference_agrees(forward, run):
    model, image, recorded = forward
    outputs = RUNS[run](model)(image, training=False)
    assert set(outputs) == {"mask_logits", "class_logits", "pixel_embeddings", "semantic_logits"}
    check(recorded, outputs, tolerance=1e-4)


def test_every_step_of_inference_agrees(forward):
    model, image, recorded = forward
    tensors = {}
    features = model.backbone(image / 127.5 - 1.0)
    tensors.update({f"backbone/stride{stride}": x for stride, x in features.items()})
    pixel_features = model.pixel_decoder(features)
    tensors.update({f"pixel_decoder/stride{stride}": x for stride, x in pixel_features.items()})
    decoder = model.transformer_decoder
    centers = decoder.cluster_centers
    for i, (stride, block) in enumerate(zip(decoder.block_strides, decoder.blocks), start=1):
        centers, prediction = block(centers, pixel_features[stride])
        tensors[f"block{i}/centers"] = centers
        tensors.update({f"block{i}/{key}": value for key, value in prediction.items()})
    embeddings = decoder(pixel_features)[:2]
    tensors.update({"class_embeddings": embeddings[0], "mask_embeddings": embeddings[1]})
    names = {key.split("/", 1)[1] for key in recorded.files}
    assert names - set(tensors) == {
        "mask_logits",
        "class_logits",
        "pixel_embeddings",
        "semantic_logits",
    }
    check(recorded, tensors, tolerance=1e-4)


def published_match(similarity, valid):
    found = tf.numpy_function(matching_oracle.published, [similarity, valid], [tf.int32] * 2)
    shapes = similarity.shape[:2], [similarity.shape[0], similarity.shape[2]]
    return Matching(*(tf.ensure_shape(part, shape) for part, shape in zip(found, shapes)))


@pytest.fixture(scope="module")
def training(experiment, model, keys, recorded_variables):
    """One training pass: outputs, loss terms and gradients, and what was recorded."""
    recorded = np.load(FOLDER / "train_coco_resnet50.npz")
    assign_recipe(model, keys, recorded_variables, branch_scale=0.2)
    targets = {
        "semantic_map": tf.constant(recorded["semantic_map"], tf.int32),
        "segment_map": tf.constant(recorded["segment_map"], tf.int32),
        "segment_classes": tf.constant(recorded["segment_classes"], tf.int32),
        "semantic_weights": tf.constant(recorded["semantic_weights"]),
    }
    options = build_loss(experiment).options
    with tf.GradientTape() as tape:
        outputs = model(weights_recipe.image(129, 129, 2), training=True)
        terms = KMaXLoss(options, published_match).per_example(targets, outputs)
        total = tf.reduce_mean(tf.add_n(list(terms.values())))
    gradients = tape.gradient(total, model.trainable_variables)
    best = KMaXLoss(options, match_on_host).per_example(targets, outputs)
    return {
        "outputs": outputs,
        "terms": terms,
        "terms_of_best_matching": best,
        "gradients": {
            keys[name(variable)]: gradient
            for variable, gradient in zip(model.trainable_variables, gradients)
        },
        "moving": {keys[name(v)]: v.numpy() for v in model.non_trainable_variables},
        "recorded": recorded,
    }


def test_training_outputs_agree(training):
    outputs = dict(training["outputs"])
    tensors = {}
    for i, prediction in enumerate(outputs.pop("intermediate"), start=1):
        size = outputs["mask_logits"].shape[1:3]
        tensors[f"block{i}/class_logits"] = prediction["class_logits"]
        tensors[f"block{i}/mask_logits"] = tf.compat.v1.image.resize_bilinear(
            prediction["mask_logits"], size, align_corners=True
        )
    tensors.update(outputs)
    check(training["recorded"], tensors, tolerance=1e-4)


def test_loss_terms_agree(training):
    recorded = training["recorded"]
    expected = {
        key[len("loss/") :]: recorded[key] for key in recorded.files if key.startswith("loss/")
    }
    np.testing.assert_allclose(
        tf.add_n(list(training["terms"].values())), expected.pop("total"), rtol=1e-4
    )
    assert set(training["terms"]) == set(expected)
    for term, value in expected.items():
        np.testing.assert_allclose(training["terms"][term], value, rtol=1e-4, err_msg=term)


def test_the_best_matching_differs_only_where_similarities_are_tiny(training):
    """Image 0 has segments that resemble no center: the published rounding can't tell centers."""
    for term, value in training["terms_of_best_matching"].items():
        published = training["terms"][term].numpy()
        np.testing.assert_allclose(value[1], published[1], rtol=1e-5, err_msg=term)
        if "mask_id" in term:
            assert abs(value[0] / published[0] - 1) < 0.1


def test_gradients_agree(training):
    recorded = training["recorded"]
    gradients = training["gradients"]
    norms = {key: float(tf.norm(gradients[key])) for key in sorted(gradients)}
    assert len(norms) == len(recorded["gradient_norms"])
    largest = float(recorded["gradient_global_norm"])
    np.testing.assert_allclose(
        np.linalg.norm(list(norms.values())), recorded["gradient_global_norm"], rtol=1e-4
    )
    # Some are zero but for rounding, such as those of biases before a normalization; some are sums
    # over pixels that cancel, which rounding at the kinks of ReLU shows in.
    errors = [
        max(0.0, abs(norm - expected) - 1e-7 * largest) / expected
        for norm, expected in zip(norms.values(), recorded["gradient_norms"])
    ]
    assert np.quantile(errors, 0.95) < 2e-4
    assert max(errors) < 5e-3


def test_moving_statistics_agree(training):
    """Keras' fused normalization corrects the variance by n / (n - 1)."""
    recorded, moving = training["recorded"], training["moving"]
    for what, tolerance in (("mean", 1e-5), ("variance", 2e-3)):
        norms = [
            np.linalg.norm(moving[key].astype(np.float64))
            for key in sorted(moving)
            if key.split("/.ATTRIBUTES")[0].endswith(f"moving_{what}")
        ]
        np.testing.assert_allclose(norms, recorded[f"moving_{what}_norms"], rtol=tolerance)
