"""Option classes, and layers that have options, with the protos' defaults."""

from __future__ import annotations

import importlib
from typing import Any, TypeVar

from google.protobuf.message import Message

from kmax_tf.config import Experiment, options_of
from kmax_tf.data.reader import ReaderOptions
from kmax_tf.data.targets import TargetOptions
from kmax_tf.model.layers import ActivationFn
from kmax_tf.model.residual import BlockOptions

_Options = TypeVar("_Options")

# Class -> where in an experiment its arguments stand, and those that come from elsewhere.
OPTION_CLASSES: dict[str, tuple[list[str], set[str]]] = {
    "data.color.ColorPolicy": (["train_data.augmentation.color"], {"sequences"}),
    "data.color.Step": (["train_data.augmentation.color.sequences.steps"], {"level"}),
    "data.copy_paste.CopyPasteOptions": (["train_data.augmentation.copy_paste"], set()),
    "data.reader.ReaderOptions": (["train_data", "training"], {"shard", "first", "cache"}),
    "data.targets.TargetOptions": (["train_data"], {"compile"}),
    "data.training_example.AugmentationOptions": (
        ["train_data", "train_data.augmentation"],
        {"color", "copy_paste"},
    ),
    "losses.instance_discrimination.InstanceDiscrimination": (
        ["losses.instance_discrimination"],
        set(),
    ),
    "losses.mask_id.MaskId": (["losses.mask_id"], set()),
    "losses.pq_style.PqClass": (["losses.pq_style"], set()),
    "losses.pq_style.PqMask": (["losses.pq_style"], set()),
    "losses.semantic.Semantic": (["losses.semantic"], set()),
    "losses.truth.TruthOptions": (["losses", "dataset"], {"num_classes"}),
    "model.backbones.convnext.ConvNeXt": (["model.convnext"], set()),
    "model.backbones.resnet.ResNet": (["model.resnet"], {"stem", "stages", "batch_norm"}),
    "model.batch_norm.BatchNormFactory": (["model.batch_norm"], set()),
    "model.heads.HeadOptions": (["model.heads"], {"num_classes"}),
    "model.residual.BlockOptions": (
        ["model.pixel_decoder.stages", "model.axial_attention"],
        {"activation", "axial", "dilation"},
    ),
    "model.transformer_decoder.KMaXBlockOptions": (["model.transformer_decoder"], set()),
    "postprocessing.merging.MaskWise": (["postprocessing.mask_wise"], {"class_thresholds"}),
    "postprocessing.postprocessor.Postprocessor": (
        ["postprocessing"],
        {"labels", "merging", "output_stride"},
    ),
    "postprocessing.views.Views": (["postprocessing.test_time_augmentation"], set()),
    "training.groups.DecayedVariables": (["training.optimizer.decayed"], set()),
    "training.groups.GroupOptions": (["training.optimizer"], {"decayed"}),
    "training.optimizer.Averaging": (["training.optimizer.averaging"], set()),
    "training.optimizer.Lookahead": (["training.optimizer.lookahead"], set()),
    "training.stability.Patience": (["training.stability"], set()),
    "training.step.StepOptions": (["training.optimizer", "runtime"], set()),
    "training.strategy.RuntimeOptions": (["runtime"], set()),
}


def message_at(path: str) -> Message:
    """Returns an empty message of the type that a path of an experiment leads to."""
    message: Any = Experiment()
    for name in path.split("."):
        child = getattr(message, name)
        message = child if isinstance(child, Message) else child.add()
    return message


def with_defaults(kind: type[_Options], **others: Any) -> _Options:
    """Makes an option class of what is given and, for the rest, the protos' defaults."""
    name = f"{kind.__module__.partition('.')[2]}.{kind.__name__}"
    return options_of(kind, *map(message_at, OPTION_CLASSES[name][0]), **others)


def block_options(filters: int, activation: ActivationFn, **others: Any) -> BlockOptions:
    """Returns the options of a residual block, of plain convolutions unless said otherwise."""
    return with_defaults(
        BlockOptions,
        **{
            "filters": filters,
            "activation": activation,
            "axial": False,
            "dilation": 1,
            **others,
        },
    )


def reader_options(**others: Any) -> ReaderOptions:
    """Returns the options of reading alone, from the start and without a cache."""
    return with_defaults(ReaderOptions, **{"shard": (0, 1), "first": 0, "cache": None, **others})


def target_options(**others: Any) -> TargetOptions:
    """Returns the options of targets; where an image has too many segments, that is an error."""
    return with_defaults(TargetOptions, **{"on_crowded": "ERROR", "compile": False, **others})


def class_of(name: str) -> type:
    """Returns the option class of a name in OPTION_CLASSES."""
    module, _, kind = name.rpartition(".")
    return getattr(importlib.import_module(f"kmax_tf.{module}"), kind)
