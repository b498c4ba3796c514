"""Names and layouts of the public PyTorch kMaX-DeepLab checkpoints, for our variables.

Backbones have the names of detectron2's ResNet and of the official ConvNeXt, whose own ImageNet
checkpoints (without the prefix "backbone.") are read too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TypeVar

from kmax_tf.checkpoints.places import Place, decoder_index, ordinals, variable_names
from kmax_tf.checkpoints.restore import CheckpointError
from kmax_tf.model.backbones.names import Rule, renamed
from kmax_tf.model.kmax import KMaX

Value = TypeVar("Value")

_HEAD = "sem_seg_head.predictor."
_SEMANTIC = _HEAD + "_auxiliary_semantic_predictor."
_DECODER_PARTS = {"stage": "_stages", "backbone_norm": "_in_norms", "fuse": "_resized_fuses"}
_HEADS = [
    (r"heads/pixel_head/separable_conv/depthwise/", "_predcitor._pixel_space_head_conv0bnact."),
    (r"heads/pixel_head/separable_conv/pointwise/", "_predcitor._pixel_space_head_conv1bnact."),
    (r"heads/pixel_head/last_conv/", "_predcitor._pixel_space_head_last_convbn.conv/"),
    (r"heads/pixel_head/batch_norm/", "_predcitor._pixel_space_head_last_convbn.norm/"),
    (r"heads/mask_head/projection/", "_predcitor._transformer_mask_head."),
    (r"heads/mask_head/batch_norm/", "_predcitor._pixel_space_mask_batch_norm/"),
    (r"heads/class_head/dense/", "_predcitor._transformer_class_head.conv/"),
]

# All applied in this order, after those of the backbone; "predcitor" is how it is spelt there.
_RULES: list[Rule] = [
    (
        r"^pixel_decoder/(stage|backbone_norm|fuse)_stride(\d+)",
        lambda m: f"sem_seg_head.pixel_decoder.{_DECODER_PARTS[m[1]]}.{decoder_index(m)}",
    ),
    (r"(_stages\.\d)/block(\d+)/", lambda match: f"{match[1]}._blocks.{int(match[2]) - 1}._"),
    (r"/coarse_projection/", "._conv_bn_low."),
    (r"/fine_projection/", "._conv_bn_high."),
    (r"\._conv([12])/", r"._conv\1_bn_act."),
    (r"\._conv3/", "._conv3_bn."),
    (r"\._shortcut/", "._shortcut."),
    (r"\._attention/(height|width)_axis/", r"._attention._\1_axis."),
    (r"_axis\.(batch_norm_qkv|batch_norm_similarity)/", r"_axis._\1/"),
    (r"_axis\.batch_norm_output/", "_axis._batch_norm_retrieved_output/"),
    (r"_axis\.(query|key|value)_positions$", r"_axis._\1_rpe._embeddings/weight"),
    (r"_axis\.qkv_kernel$", "_axis.qkv_transform.conv/kernel"),
    (
        r"^transformer_decoder/block(\d+)/",
        lambda match: f"{_HEAD}_kmax_transformer_layers.{int(match[1]) - 1}.",
    ),
    (r"^transformer_decoder/cluster_centers$", f"{_HEAD}_cluster_centers/weight"),
    (r"^transformer_decoder/(class|mask)_projection/", _HEAD + r"_\1_embedding_projection."),
    (r"\.center_projection/", "._query_conv1_bn_act."),
    (r"\.pixel_projection/", "._pixel_conv1_bn_act."),
    (r"\.cross_attention/value_projection/", "._pixel_v_conv_bn."),
    (r"\.cross_attention/batch_norm/", "._kmeans_query_batch_norm_retrieved_value/"),
    (r"\.cross_attention/output_projection/", "._kmeans_query_conv3_bn."),
    (r"\.self_attention/qkv_projection/", "._query_qkv_conv_bn."),
    (r"\.self_attention/output_projection/", "._query_conv3_bn."),
    (r"\.self_attention/batch_norm_value/", "._query_self_attention._batch_norm_retrieved_value/"),
    (r"\.self_attention/batch_norm_similarity/", "._query_self_attention._batch_norm_similarity/"),
    (r"\.ffn_hidden/", "._query_ffn_conv1_bn_act."),
    (r"\.ffn_output/", "._query_ffn_conv2_bn."),
    *((rf"(?<=\d\.){old}", new) for old, new in _HEADS),
    *((rf"^{old}", _HEAD + new) for old, new in _HEADS),
    (r"^semantic_branch/aspp/pointwise/", f"{_SEMANTIC}_aspp._aspp_conv0."),
    (r"^semantic_branch/aspp/pooling/", f"{_SEMANTIC}_aspp._aspp_pool."),
    (r"^semantic_branch/aspp/projection/", f"{_SEMANTIC}_aspp._proj_conv_bn_act."),
    (r"^semantic_branch/low_level_stride(\d+)/", _SEMANTIC + r"_low_level_projection_os\1."),
    (
        r"^semantic_branch/fusion_stride(\d+)/depthwise/",
        _SEMANTIC + r"_low_level_fusion_os\1_conv0_bn_act.",
    ),
    (
        r"^semantic_branch/fusion_stride(\d+)/pointwise/",
        _SEMANTIC + r"_low_level_fusion_os\1_conv1_bn_act.",
    ),
    (r"^semantic_branch/separable_conv/depthwise/", f"{_SEMANTIC}conv_block_0."),
    (r"^semantic_branch/separable_conv/pointwise/", f"{_SEMANTIC}conv_block_1."),
    (r"^semantic_branch/last_conv/", f"{_SEMANTIC}final_conv.conv/"),
    (r"\.(dense|conv)/", ".conv/"),
    (r"\.batch_norm/", ".norm/"),
    (r"/(depthwise_)?kernel$|/gamma$", ".weight"),
    (r"/(beta|bias)$", ".bias"),
    (r"/moving_mean$", ".running_mean"),
    (r"/moving_variance$", ".running_var"),
    (r"/weight$", ".weight"),
]


def places(model: KMaX) -> dict[str, Place]:
    """Returns where each variable of a model stands in a PyTorch checkpoint, by our name."""
    variables = variable_names(model)
    rates = ordinals(variables, r"/aspp/rate(\d+)/")
    rules: list[Rule] = [
        (
            r"^semantic_branch/aspp/rate(\d+)/",
            lambda m: f"{_SEMANTIC}_aspp._aspp_conv{rates[m[1]]}.",
        ),
        *model.backbone.names.pytorch,
        *_RULES,
    ]
    found = {}
    for name, variable in variables.items():
        key = renamed(name, rules)
        if "/" in key:
            raise CheckpointError(
                f"the PyTorch implementation has nothing like {name}: its backbones are ResNet-50 "
                "and ConvNeXt"
            )
        found[name] = _place(name, key, tuple(variable.shape))
    return found


def _place(name: str, key: str, shape: tuple[int, ...]) -> Place:
    leaf = name.rsplit("/", 1)[1]
    if leaf == "depthwise_kernel":  # [h, w, C, 1]
        return Place(key, (shape[2], 1, *shape[:2]), (2, 3, 0, 1))
    if leaf == "cluster_centers":  # [1, N, C]
        return Place(key, (shape[2], shape[1]), (1, 0))
    if leaf in ("kernel", "qkv_kernel"):
        return _kernel_place(name, key, shape)
    # Normalizations are flat there, whatever axes they have.
    flat = leaf in ("gamma", "beta", "moving_mean", "moving_variance")
    return Place(key, (math.prod(shape),) if flat else shape)


def _kernel_place(name: str, key: str, shape: tuple[int, ...]) -> Place:
    inputs, outputs = shape[-2:]
    if len(shape) == 4:
        return Place(key, (outputs, inputs, *shape[:2]), (2, 3, 1, 0))
    if name.startswith("backbone/") and name.endswith("/kernel"):  # ConvNeXt's dense layers
        return Place(key, (outputs, inputs), (1, 0))
    if "/value_projection/" in name:  # a two-dimensional convolution there
        return Place(key, (outputs, inputs, 1, 1), (2, 3, 1, 0))
    return Place(key, (outputs, inputs, 1), (2, 1, 0))


def part_of(key: str) -> str:
    """Returns the sub-model that a key belongs to."""
    for prefix, part in (
        ("backbone.", "backbone"),
        ("sem_seg_head.pixel_decoder.", "pixel_decoder"),
        (_SEMANTIC, "semantic_branch"),
        (f"{_HEAD}_predcitor.", "heads"),
        (_HEAD, "transformer_decoder"),
    ):
        if key.startswith(prefix):
            return part
    return ""


def with_full_names(state: Mapping[str, Value]) -> dict[str, Value]:
    """Returns a state with the names of a whole model: a backbone's own have a prefix there.

    What belongs to an ImageNet classifier, and counters, are left out.
    """
    if not any(key.startswith(("backbone.", "sem_seg_head.")) for key in state):
        state = {f"backbone.{key}": value for key, value in state.items()}
    classifier = re.compile(r"backbone\.(norm|head|fc)\.|.*\.num_batches_tracked$")
    return {key: value for key, value in state.items() if not classifier.match(key)}
