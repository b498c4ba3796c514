"""Names of the public TensorFlow kMaX-DeepLab checkpoints (deeplab2), for our variables.

Values differ in nothing but axes of length 1.
"""

from __future__ import annotations

import re

from kmax_tf.checkpoints.places import Place, decoder_index, ordinals, variable_names
from kmax_tf.checkpoints.restore import SUFFIX, CheckpointError
from kmax_tf.model.backbones.names import Rule, renamed
from kmax_tf.model.kmax import KMaX

_DECODER_PARTS = {
    "stage": "_stages",
    "backbone_norm": "_backbone_norms",
    "fuse": "_skip_connections",
}
_HEADS = [
    (r"heads/pixel_head/separable_conv", "pixel_space_head/conv_block/_conv1_bn_act"),
    (r"heads/pixel_head/last_conv", "pixel_space_head/final_conv"),
    (r"heads/pixel_head/batch_norm", "pixel_space_feature_batch_norm"),
    (r"heads/mask_head/projection", "transformer_mask_head"),
    (r"heads/mask_head/batch_norm", "pixel_space_mask_batch_norm"),
    (r"heads/class_head/dense", "transformer_class_head/_conv"),
]

# All applied in this order, after those of the backbone.
_RULES: list[Rule] = [
    (
        r"^pixel_decoder/(stage|backbone_norm|fuse)_stride(\d+)",
        lambda m: f"pixel_decoder/{_DECODER_PARTS[m[1]]}/{decoder_index(m)}",
    ),
    (r"(_stages/\d)/block(\d+)", r"\1/_block\2"),
    (r"/coarse_projection", "/_resized_conv_bn1"),
    (r"/fine_projection", "/_resized_conv_bn2"),
    (r"/conv([12])/", r"/_conv\1_bn_act/"),
    (r"/conv3/", "/_conv3_bn/"),
    (r"/shortcut/", "/_shortcut/"),
    (r"/attention/(height|width)_axis/", r"/_attention/_\1_axis/"),
    (r"/batch_norm_output/", "/_batch_norm_retrieved_output/"),
    (r"/(query|key|value)_positions$", r"/_\1_rpe/embeddings"),
    (
        r"^transformer_decoder/block(\d+)",
        lambda m: f"transformer_decoder/_kmax_decoder/{int(m[1]) - 1}/_block1_transformer",
    ),
    (
        r"^transformer_decoder/(class|mask)_projection",
        r"transformer_decoder/_\1_embedding_projection",
    ),
    (r"/center_projection/", "/_memory_conv1_bn_act/"),
    (r"/pixel_projection/", "/_pixel_conv1_bn_act/"),
    (r"/cross_attention/value_projection/", "/_pixel_v_conv_bn/"),
    (r"/cross_attention/batch_norm/", "/_kmeans_memory_batch_norm_retrieved_value/"),
    (r"/cross_attention/output_projection/", "/_kmeans_memory_conv3_bn/"),
    (r"/self_attention/qkv_projection/", "/_memory_qkv_conv_bn/"),
    (r"/self_attention/batch_norm_value/", "/_memory_attention/_batch_norm_retrieved_value/"),
    (r"/self_attention/", "/_memory_attention/"),
    (r"/_memory_attention/output_projection/", "/_memory_conv3_bn/"),
    (r"/ffn_hidden/", "/_memory_ffn_conv1_bn_act/"),
    (r"/ffn_output/", "/_memory_ffn_conv2_bn/"),
    *(
        (rf"_transformer/{old}", f"_transformer/_auxiliary_clustering_predictor/_{new}")
        for old, new in _HEADS
    ),
    *((rf"^{old}", new) for old, new in _HEADS),
    (r"^semantic_branch/aspp/pointwise", "semantic_decoder/_aspp/_conv_bn_act"),
    (r"^semantic_branch/aspp/pooling", "semantic_decoder/_aspp/_aspp_pool/_conv_bn_act"),
    (r"^semantic_branch/aspp/projection", "semantic_decoder/_aspp/_proj_conv_bn_act"),
    (r"^semantic_branch/separable_conv", "semantic_head_without_last_layer/_conv1_bn_act"),
    (r"^semantic_branch/last_conv", "semantic_last_layer"),
    (r"/depthwise/conv/", "/_depthwise/_depthwise_conv/"),
    (r"/(depthwise|pointwise)/", r"/_\1/"),
    (r"/(conv|dense)/", "/_conv/"),
    (r"/(batch_norm(_qkv|_similarity)?)/", r"/_\1/"),
]


def checkpoint_keys(model: KMaX) -> dict[str, str]:
    """Returns the checkpoint key of each variable of a model, by our name (without ":0")."""
    names = list(variable_names(model))
    rates = ordinals(names, r"/aspp/rate(\d+)/")
    skips = ordinals(names, r"/low_level_stride(\d+)/", descending=True)
    rules: list[Rule] = [
        (
            r"^semantic_branch/aspp/rate(\d+)/",
            lambda m: f"semantic_decoder/_aspp/_aspp_conv{rates[m[1]]}/_conv_bn_act/",
        ),
        (
            r"^semantic_branch/low_level_stride(\d+)/",
            lambda m: f"semantic_decoder/_low_level_conv{skips[m[1]]}/",
        ),
        (
            r"^semantic_branch/fusion_stride(\d+)/",
            lambda m: f"semantic_decoder/_fusion_conv{skips[m[1]]}/_conv1_bn_act/",
        ),
        *model.backbone.names.deeplab2,
        *_RULES,
    ]
    keys = {name: renamed(name, rules) + SUFFIX for name in names}
    for name, key in keys.items():
        if key.startswith("backbone/"):
            raise CheckpointError(f"the TensorFlow implementation has nothing like {name}")
    return keys


def places(model: KMaX) -> dict[str, Place]:
    """Returns where each variable of a model stands in a public checkpoint, by our name."""
    keys = checkpoint_keys(model)
    return {
        name: Place(keys[name], _public_shape(name, tuple(variable.shape)))
        for name, variable in variable_names(model).items()
    }


def _public_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    if name.endswith("/kernel") and re.match(
        r"transformer_decoder/(?!.*pixel_head)|heads/(mask|class)_head", name
    ):
        return (1, *shape[-2:])  # one-dimensional convolutions
    if name.endswith("/layer_scale"):
        return (1, 1, 1, *shape)
    if name.startswith("backbone/") and name.endswith("/depthwise_kernel"):
        return (*shape[:2], 1, shape[2])  # a grouped convolution
    return shape


def part_of(key: str) -> str:
    """Returns the sub-model that a key belongs to."""
    root = key.split("/", maxsplit=1)[0]
    if root.startswith("semantic_"):
        return "semantic_branch"
    if root.startswith(("pixel_space_", "transformer_class_", "transformer_mask_")):
        return "heads"
    return "backbone" if root == "encoder" else root
