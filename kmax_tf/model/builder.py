"""From the model part of an experiment to a model: the only file here that sees protos."""

from __future__ import annotations

from typing import Callable, Optional

import tensorflow as tf
from google.protobuf import text_format

from kmax_tf import ops
from kmax_tf.config import choice_name, experiment_text, options_of
from kmax_tf.keras_api import keras
from kmax_tf.model.backbones.backbone import Backbone
from kmax_tf.model.backbones.convnext import ConvNeXt
from kmax_tf.model.backbones.resnet import ResNet, ThreeConvStem
from kmax_tf.model.batch_norm import BatchNormFactory
from kmax_tf.model.heads import HeadOptions, PredictionHeads
from kmax_tf.model.kmax import KMaX
from kmax_tf.model.layers import ACTIVATIONS, ActivationFn, ConvBN
from kmax_tf.model.pixel_decoder import PixelDecoder
from kmax_tf.model.residual import BlockOptions
from kmax_tf.model.semantic_branch import (
    AtrousSpatialPyramidPooling,
    SemanticDecoder,
    SemanticHead,
)
from kmax_tf.model.transformer_decoder import KMaXBlockOptions, TransformerDecoder
from kmax_tf.protos import experiment_pb2, model_pb2


@tf.autograph.experimental.do_not_convert  # plain Python throughout, which is faster to build
def build_model(experiment: experiment_pb2.Experiment) -> KMaX:
    """Builds the model of an experiment, with fresh weights.

    Args:
      experiment: as `kmax_tf.load_experiment` returns it.

    Returns:
      A functional Keras model: images [B, H, W, 3] with values 0..255 -> `structures.Predictions`.
    """
    options = experiment.model
    batch_norm = options_of(BatchNormFactory, options.batch_norm)
    num_classes = len(experiment.dataset.classes)
    head_options = options_of(HeadOptions, options.heads, num_classes=num_classes)
    recompute_blocks = experiment.runtime.recompute_blocks
    backbone = build_backbone(options, batch_norm, recompute_blocks)
    model = KMaX(
        backbone=backbone,
        pixel_decoder=build_pixel_decoder(options, batch_norm, recompute_blocks),
        transformer_decoder=build_transformer_decoder(
            options.transformer_decoder, head_options, batch_norm
        ),
        heads=PredictionHeads(head_options, batch_norm, name="heads"),
        semantic_branch=build_semantic_branch(
            options, experiment.dataset.num_ids, backbone.activation, batch_norm
        ),
        feature_activation=(
            backbone.activation if options.activated_features == model_pb2.ALL else None
        ),
    )
    model.experiment_text = experiment_text(experiment)
    return model


def build_model_from_text(text: str, semantic_branch: bool = True) -> KMaX:
    """Builds the model of a resolved experiment's textproto, without its branch if asked to."""
    experiment = text_format.Parse(text, experiment_pb2.Experiment())
    branch = experiment.model.WhichOneof("semantic_branch")
    if branch and not semantic_branch:
        experiment.model.ClearField(branch)
    return build_model(experiment)


KMaX.build_again = build_model_from_text


def build_backbone(
    options: model_pb2.Model, batch_norm: BatchNormFactory, recompute_blocks: bool = False
) -> Backbone:
    """Builds the backbone that the experiment names."""
    return BACKBONES[options.WhichOneof("backbone")](options, batch_norm, recompute_blocks)


def build_convnext(
    options: model_pb2.Model, batch_norm: BatchNormFactory, recompute_blocks: bool
) -> ConvNeXt:
    """Builds a ConvNeXt, which has no batch normalizations."""
    return options_of(
        ConvNeXt, options.convnext, recompute_blocks=recompute_blocks, name="backbone"
    )


def build_resnet(
    options: model_pb2.Model, batch_norm: BatchNormFactory, recompute_blocks: bool
) -> ResNet:
    """Builds a ResNet."""
    resnet = options.resnet
    activation = ACTIVATIONS[choice_name(resnet, "activation")]
    stem = (
        ThreeConvStem(resnet.stem_channels, activation, batch_norm, name="stem")
        if resnet.stem == model_pb2.THREE_CONV_3X3
        else ConvBN(resnet.stem_channels, batch_norm, kernel_size=7, stride=2, name="stem")
    )
    axial = options.axial_attention
    return options_of(
        ResNet,
        resnet,
        stem=stem,
        stages=[_blocks(stage, activation, axial, dilation=1) for stage in resnet.stages],
        batch_norm=batch_norm,
        recompute_blocks=recompute_blocks,
        name="backbone",
    )


# What builds each of the messages that model.backbone may be.
BACKBONES: dict[str, Callable[[model_pb2.Model, BatchNormFactory, bool], Backbone]] = {
    "convnext": build_convnext,
    "resnet": build_resnet,
}


def build_pixel_decoder(
    options: model_pb2.Model, batch_norm: BatchNormFactory, recompute_blocks: bool
) -> PixelDecoder:
    """Builds the pixel decoder."""
    decoder = options.pixel_decoder
    stages = [
        _blocks(stage, ops.gelu, options.axial_attention, decoder.dilation)
        for stage in decoder.stages
    ]
    return PixelDecoder(stages, batch_norm, recompute_blocks, name="pixel_decoder")


def _blocks(
    stage: model_pb2.Stage,
    activation: ActivationFn,
    axial: model_pb2.AxialAttention,
    dilation: int,
) -> list[BlockOptions]:
    """Returns the blocks of a stage."""
    first = stage.first_block_type if stage.HasField("first_block_type") else stage.block_type
    return [
        options_of(
            BlockOptions,
            stage,
            axial,
            activation=activation,
            axial=block_type == model_pb2.AXIAL,
            dilation=dilation,
        )
        for block_type in [first] + [stage.block_type] * (stage.blocks - 1)
    ]


def build_transformer_decoder(
    options: model_pb2.TransformerDecoder, head_options: HeadOptions, batch_norm: BatchNormFactory
) -> TransformerDecoder:
    """Builds the transformer decoder with its cluster centers."""
    return TransformerDecoder(
        options.num_centers,
        options.block_strides,
        options_of(KMaXBlockOptions, options),
        head_options,
        batch_norm,
        name="transformer_decoder",
    )


def build_semantic_branch(
    options: model_pb2.Model,
    num_ids: int,
    activation: ActivationFn,
    batch_norm: BatchNormFactory,
) -> Optional[keras.layers.Layer]:
    """Builds the auxiliary semantic branch, or returns None where the experiment has none."""
    branch = options.WhichOneof("semantic_branch")
    if branch is None:
        return None
    if branch == "semantic_head":
        return SemanticHead(
            num_ids, options.semantic_head.channels, batch_norm, name="semantic_branch"
        )
    decoder = options.semantic_decoder
    # Where all features are activated, the skips' already are.
    published = options.activated_features == model_pb2.SEMANTIC_SKIPS
    skip_activation = activation if published else tf.identity
    aspp = AtrousSpatialPyramidPooling(
        decoder.aspp_channels, decoder.atrous_rates, decoder.dropout, batch_norm, name="aspp"
    )
    return SemanticDecoder(
        num_ids,
        decoder.channels,
        aspp,
        [(level.stride, level.channels) for level in decoder.low_levels],
        skip_activation,
        batch_norm,
        name="semantic_branch",
    )
