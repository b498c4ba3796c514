"""From the model part of an experiment to a model: the only file here that sees protos."""

from __future__ import annotations

from typing import Optional

import tensorflow as tf
from google.protobuf import text_format

from kmax_tf import ops
from kmax_tf.config import experiment_text
from kmax_tf.keras_api import keras
from kmax_tf.model.backbones.convnext import ConvNeXt, ConvNeXtStage
from kmax_tf.model.backbones.resnet import ResNet, ThreeConvStem
from kmax_tf.model.batch_norm import BatchNormFactory
from kmax_tf.model.heads import HeadOptions, PredictionHeads
from kmax_tf.model.kmax import KMaX
from kmax_tf.model.layers import ACTIVATIONS, ActivationFn, ConvBN
from kmax_tf.model.pixel_decoder import PixelDecoder
from kmax_tf.model.residual import BlockOptions, ResidualStage
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
    num_classes = len(experiment.dataset.classes)
    batch_norm = BatchNormFactory(
        options.batch_norm.momentum,
        options.batch_norm.epsilon,
        options.batch_norm.synchronized,
        options.batch_norm.unbiased_moving_variance,
    )
    heads = options.heads
    head_options = HeadOptions(
        num_classes=num_classes,
        kernel_size=heads.kernel_size,
        channels=heads.channels,
        embedding_channels=heads.embedding_channels,
        void_prior=heads.void_prior,
        mask_logit_scale=heads.mask_logit_scale,
    )
    model = KMaX(
        backbone=build_backbone(options, batch_norm),
        pixel_decoder=build_pixel_decoder(options, batch_norm),
        transformer_decoder=build_transformer_decoder(
            options.transformer_decoder, head_options, batch_norm
        ),
        heads=PredictionHeads(head_options, batch_norm, name="heads"),
        semantic_branch=build_semantic_branch(options, experiment.dataset.num_ids, batch_norm),
        feature_activation=(
            backbone_activation(options) if options.activated_features == model_pb2.ALL else None
        ),
    )
    for part in model.submodules:
        if isinstance(part, (ConvNeXtStage, ResidualStage)):
            part.recompute_blocks = experiment.runtime.recompute_blocks
    model.experiment_text = experiment_text(experiment)
    return model


def build_model_from_text(text: str, semantic_branch: bool = True) -> KMaX:
    """Builds the model of a resolved experiment's textproto, without its branch if asked to."""
    experiment = text_format.Parse(text, experiment_pb2.Experiment())
    branch = experiment.model.WhichOneof("semantic_branch")
    if branch and not semantic_branch:
        experiment.model.ClearField(branch)
    return build_model(experiment)


def build_backbone(options: model_pb2.Model, batch_norm: BatchNormFactory) -> keras.layers.Layer:
    """Builds the backbone that the experiment names."""
    if options.HasField("convnext"):
        convnext = options.convnext
        return ConvNeXt(
            convnext.blocks,
            convnext.channels,
            drop_path_keep_prob=convnext.drop_path_keep_prob,
            layer_scale=convnext.layer_scale,
            stem_to_stride_2=convnext.stem_to_stride_2,
            name="backbone",
        )
    resnet = options.resnet
    activation = backbone_activation(options)
    stem = (
        ThreeConvStem(resnet.stem_channels, activation, batch_norm, name="stem")
        if resnet.stem == model_pb2.THREE_CONV_3X3
        else ConvBN(resnet.stem_channels, batch_norm, kernel_size=7, stride=2, name="stem")
    )
    return ResNet(
        stem,
        [_blocks(stage, activation, options.axial_attention) for stage in resnet.stages],
        batch_norm,
        max_pool=resnet.max_pool,
        drop_path_keep_prob=resnet.drop_path_keep_prob,
        name="backbone",
    )


def backbone_activation(options: model_pb2.Model) -> ActivationFn:
    """Returns the activation of a backbone's features."""
    return _activation(options.resnet.activation) if options.HasField("resnet") else ops.gelu


def build_pixel_decoder(options: model_pb2.Model, batch_norm: BatchNormFactory) -> PixelDecoder:
    """Builds the pixel decoder."""
    decoder = options.pixel_decoder
    stages = [
        _blocks(stage, ops.gelu, options.axial_attention, decoder.dilation)
        for stage in decoder.stages
    ]
    return PixelDecoder(stages, batch_norm, name="pixel_decoder")


def _blocks(
    stage: model_pb2.Stage,
    activation: ActivationFn,
    axial: model_pb2.AxialAttention,
    dilation: int = 1,
) -> list[BlockOptions]:
    """Returns the blocks of a stage."""
    first = stage.first_block_type if stage.HasField("first_block_type") else stage.block_type
    return [
        BlockOptions(
            filters=stage.filters,
            activation=activation,
            axial=block_type == model_pb2.AXIAL,
            dilation=dilation,
            num_heads=axial.num_heads,
            max_span=axial.max_span,
        )
        for block_type in [first] + [stage.block_type] * (stage.blocks - 1)
    ]


def build_transformer_decoder(
    options: model_pb2.TransformerDecoder, head_options: HeadOptions, batch_norm: BatchNormFactory
) -> TransformerDecoder:
    """Builds the transformer decoder with its cluster centers."""
    block_options = KMaXBlockOptions(
        channels=options.channels,
        key_channels=options.key_channels,
        value_channels=options.value_channels,
        num_heads=options.num_heads,
        ffn_channels=options.ffn_channels,
        drop_path_keep_prob=options.drop_path_keep_prob,
        softmax_attention=options.cross_attention == model_pb2.SOFTMAX,
    )
    return TransformerDecoder(
        options.num_centers,
        options.block_strides,
        block_options,
        head_options,
        batch_norm,
        name="transformer_decoder",
    )


def build_semantic_branch(
    options: model_pb2.Model, num_ids: int, batch_norm: BatchNormFactory
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
    skip_activation = backbone_activation(options) if published else tf.identity
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


def _activation(value: int) -> ActivationFn:
    return ACTIVATIONS[model_pb2.Activation.Name(value).lower()]
