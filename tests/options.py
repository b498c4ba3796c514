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

# Class -> the parts of an experiment that have fields of its arguments' names.
OPTION_CLASSES: dict[str, list[str]] = {
    "data.color.ColorPolicy": ["train_data.augmentation.color"],
    "data.color.Step": ["train_data.augmentation.color.sequences.steps"],
    "data.copy_paste.CopyPasteOptions": ["train_data.augmentation.copy_paste"],
    "data.reader.ReaderOptions": ["train_data", "training"],
    "data.targets.TargetOptions": ["train_data"],
    "data.training_example.AugmentationOptions": ["train_data", "train_data.augmentation"],
    "losses.instance_discrimination.InstanceDiscrimination": ["losses.instance_discrimination"],
    "losses.mask_id.MaskId": ["losses.mask_id"],
    "losses.pq_style.PqClass": ["losses.pq_style"],
    "losses.pq_style.PqMask": ["losses.pq_style"],
    "losses.semantic.Semantic": ["losses.semantic"],
    "losses.truth.TruthOptions": ["losses", "dataset"],
    "model.backbones.convnext.ConvNeXt": ["model.convnext"],
    "model.backbones.resnet.ResNet": ["model.resnet"],
    "model.batch_norm.BatchNormFactory": ["model.batch_norm"],
    "model.heads.HeadOptions": ["model.heads"],
    "model.residual.BlockOptions": ["model.pixel_decoder.stages", "model.axial_attention"],
    "model.transformer_decoder.KMaXBlockOptions": ["model.transformer_decoder"],
    "postprocessing.merging.MaskWise": ["postprocessing.mask_wise"],
    "postprocessing.postprocessor.Postprocessor": ["postprocessing"],
    "postprocessing.views.Views": ["postprocessing.test_time_augmentation"],
    "training.groups.DecayedVariables": ["training.optimizer.decayed"],
    "training.groups.GroupOptions": ["training.optimizer"],
    "training.optimizer.Lookahead": ["training.optimizer.lookahead"],
    "training.stability.Patience": ["training.stability"],
    "training.step.StepOptions": ["training.optimizer", "runtime"],
    "training.strategy.RuntimeOptions": ["runtime"],
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
    return options_of(kind, *map(message_at, OPTION_CLASSES[name]), **others)


def block_options(filters: int, activation: ActivationFn, **others: Any) -> BlockOptions:
    """Returns the options of a residual block, of plain convolutions unless said otherwise."""
    others = {"axial": False, "dilation": 1, **others}
    return with_defaults(BlockOptions, filters=filters, activation=activation, **others)


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
