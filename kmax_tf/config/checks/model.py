"""What must hold between the options of the model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kmax_tf.config.problems import Problem, unset
from kmax_tf.config.strides import BACKBONE_STRIDES, DECODER_STRIDES, decoder_strides
from kmax_tf.config.textproto import is_repeated
from kmax_tf.protos import model_pb2
from kmax_tf.protos.experiment_pb2 import Experiment


def _backbone(experiment: Experiment) -> Iterator[Problem]:
    """Whatever a backbone lists, it lists for each of its strides."""
    name = experiment.model.WhichOneof("backbone")
    backbone: Any = getattr(experiment.model, name) if name else None
    for field in backbone.DESCRIPTOR.fields if name else ():
        if is_repeated(field) and len(getattr(backbone, field.name)) != len(BACKBONE_STRIDES):
            yield Problem(
                f"model.{name}.{field.name}",
                "must be four, for strides 4, 8, 16 and 32, not "
                f"{len(getattr(backbone, field.name))}",
            )


def _pixel_decoder(experiment: Experiment) -> Iterator[Problem]:
    decoder = experiment.model.pixel_decoder
    if not 3 <= len(decoder.stages) <= len(DECODER_STRIDES):
        yield Problem(
            "model.pixel_decoder.stages",
            f"must be 3 to 5, for strides 32, 16, 8 (, 4, 2), not {len(decoder.stages)}",
        )


def _stages(experiment: Experiment) -> Iterator[Problem]:
    model = experiment.model
    heads = model.axial_attention.num_heads
    for parent in filter(None, (model.WhichOneof("backbone"), "pixel_decoder")):
        for index, stage in enumerate(getattr(getattr(model, parent), "stages", ())):
            path = f"model.{parent}.stages[{index}]"
            yield from unset(stage, path, "filters", "blocks")
            if model_pb2.AXIAL in (stage.first_block_type, stage.block_type) and (
                stage.filters % heads
            ):
                yield Problem(
                    f"{path}.filters",
                    f"{stage.filters} cannot be shared by axial_attention.num_heads = {heads}; "
                    f"give a multiple of {heads}",
                )


def _transformer_decoder(experiment: Experiment) -> Iterator[Problem]:
    decoder = experiment.model.transformer_decoder
    path = "model.transformer_decoder"
    produced = decoder_strides(experiment.model)
    if not decoder.block_strides:
        yield Problem(f"{path}.block_strides", "must list a stride for each kMaX block")
    for index, stride in enumerate(decoder.block_strides):
        if stride not in produced:
            yield Problem(
                f"{path}.block_strides[{index}]",
                f"the pixel decoder gives no features of stride {stride}; "
                f"it has {', '.join(map(str, produced)) or 'none'}",
            )
    for name in ("key_channels", "value_channels"):
        channels = getattr(decoder, name)
        if channels % decoder.num_heads:
            yield Problem(
                f"{path}.{name}",
                f"{channels} cannot be shared by num_heads = {decoder.num_heads}; "
                f"give a multiple of {decoder.num_heads}",
            )


def _heads(experiment: Experiment) -> Iterator[Problem]:
    if experiment.model.heads.kernel_size % 2 == 0:
        yield Problem("model.heads.kernel_size", "must be odd")


def _semantic_decoder(experiment: Experiment) -> Iterator[Problem]:
    if not experiment.model.HasField("semantic_decoder"):
        return
    path = "model.semantic_decoder.low_levels"
    previous = BACKBONE_STRIDES[-1]
    for index, level in enumerate(experiment.model.semantic_decoder.low_levels):
        if level.stride not in BACKBONE_STRIDES or level.stride >= previous:
            known = ", ".join(str(s) for s in reversed(BACKBONE_STRIDES) if s < previous)
            yield Problem(
                f"{path}[{index}].stride",
                f"must be one of {known or 'none: leave it out'} (coarse to fine), "
                f"not {level.stride}",
            )
        previous = min(previous, level.stride)
        yield from unset(level, f"{path}[{index}]", "channels")


CHECKS = (_backbone, _pixel_decoder, _stages, _transformer_decoder, _heads, _semantic_decoder)
