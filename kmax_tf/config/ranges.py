"""Which values the numbers of an experiment may take, each on its own: one table.

What must hold between fields is in config_validation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from google.protobuf.message import Message

from kmax_tf.config.problems import Problem
from kmax_tf.config.textproto import is_repeated, join


class _Range(NamedTuple):
    text: str
    holds: Callable[[float], bool]


_ANY = _Range("any number", lambda x: True)
_COUNT = _Range("at least 1", lambda x: x >= 1)
_NOT_NEGATIVE = _Range("at least 0", lambda x: x >= 0)
_POSITIVE = _Range("above 0", lambda x: 0 < x < float("inf"))
_PROBABILITY = _Range("in 0..1", lambda x: 0 <= x <= 1)
_SHARE = _Range("above 0 and at most 1", lambda x: 0 < x <= 1)
_BELOW_ONE = _Range("at least 0 and below 1", lambda x: 0 <= x < 1)
_PERCENT = _Range("in 0..100", lambda x: 0 <= x <= 100)
_PRIOR = _Range("above 0 and below 1", lambda x: 0 < x < 1)
_BYTE = _Range("in 0..255", lambda x: 0 <= x <= 255)
_LEVEL = _Range("in 0..10", lambda x: 0 <= x <= 10)
_ALL_OR_COUNT = _Range("-1 (all) or at least 0", lambda x: x >= -1)

_ADAM = {
    "weight_decay": _NOT_NEGATIVE,
    "beta_1": _BELOW_ONE,
    "beta_2": _BELOW_ONE,
    "epsilon": _POSITIVE,
}

# Every number of the protos has its range here (a test sees to it).
RANGES = {
    "Published": dict.fromkeys(("pq", "pq_things", "pq_stuff", "mask_ap", "miou"), _PERCENT),
    "Class": {"id": _NOT_NEGATIVE, "original_id": _NOT_NEGATIVE, "color": _BYTE},
    "Dataset": {"num_ids": _COUNT, "ignore_label": _NOT_NEGATIVE, "label_divisor": _COUNT},
    "Split": {"examples": _NOT_NEGATIVE, "shards": _COUNT},
    "Augmentation": {
        "min_scale": _POSITIVE,
        "max_scale": _POSITIVE,
        "scale_step": _NOT_NEGATIVE,
        "flip_probability": _PROBABILITY,
    },
    "ColorPolicy": {"magnitude_scale": _NOT_NEGATIVE},
    "ColorStep": {"probability": _PROBABILITY, "level": _LEVEL},
    "CopyPaste": {"scale_factor": _POSITIVE},
    "Data": {
        "batch_size": _COUNT,
        "crop_size": _COUNT,
        "min_size": _NOT_NEGATIVE,
        "max_size": _NOT_NEGATIVE,
        "max_segments": _COUNT,
        "small_instance_area": _NOT_NEGATIVE,
        "small_instance_weight": _NOT_NEGATIVE,
        "shuffle_buffer": _COUNT,
    },
    "Stage": {"filters": _COUNT, "blocks": _COUNT},
    "ResNet": {"stem_channels": _COUNT, "drop_path_keep_prob": _SHARE},
    "ConvNeXt": {
        "blocks": _COUNT,
        "channels": _COUNT,
        "drop_path_keep_prob": _SHARE,
        "layer_scale": _NOT_NEGATIVE,
    },
    "PixelDecoder": {"dilation": _COUNT},
    "AxialAttention": {"num_heads": _COUNT, "max_span": _COUNT},
    "TransformerDecoder": {
        "num_centers": _COUNT,
        "block_strides": _COUNT,
        "channels": _COUNT,
        "key_channels": _COUNT,
        "value_channels": _COUNT,
        "num_heads": _COUNT,
        "ffn_channels": _COUNT,
        "drop_path_keep_prob": _SHARE,
    },
    "Heads": {
        "kernel_size": _COUNT,
        "channels": _COUNT,
        "embedding_channels": _COUNT,
        "void_prior": _PRIOR,
        "mask_logit_scale": _NOT_NEGATIVE,
    },
    "LowLevel": {"stride": _COUNT, "channels": _COUNT},
    "SemanticDecoder": {
        "channels": _COUNT,
        "aspp_channels": _COUNT,
        "atrous_rates": _COUNT,
        "dropout": _BELOW_ONE,
    },
    "SemanticHead": {"channels": _COUNT},
    "BatchNorm": {"momentum": _BELOW_ONE, "epsilon": _POSITIVE},
    "PqStyle": {"weight": _NOT_NEGATIVE, "matched_share": _PROBABILITY},
    "MaskId": {"weight": _NOT_NEGATIVE},
    "InstanceDiscrimination": {
        "weight": _NOT_NEGATIVE,
        "sample_count": _COUNT,
        "temperature": _POSITIVE,
        "sample_temperature": _NOT_NEGATIVE,
    },
    "Semantic": {"weight": _NOT_NEGATIVE, "top_fraction": _SHARE},
    "Losses": {"matching_resolution": _NOT_NEGATIVE},
    "AdamW": _ADAM,
    "Lamb": _ADAM,
    "RectifiedAdam": _ADAM,
    "Sgd": {"weight_decay": _NOT_NEGATIVE, "momentum": _BELOW_ONE},
    "Poly": {"power": _NOT_NEGATIVE},
    "Averaging": {"decay": _BELOW_ONE},
    "Lookahead": {"period": _COUNT, "kept_share": _SHARE},
    "Optimizer": {
        "learning_rate": _POSITIVE,
        "reference_batch_size": _NOT_NEGATIVE,
        "backbone_multiplier": _NOT_NEGATIVE,
        "pixel_decoder_multiplier": _NOT_NEGATIVE,
        "transformer_decoder_multiplier": _NOT_NEGATIVE,
        "heads_multiplier": _NOT_NEGATIVE,
        "semantic_branch_multiplier": _NOT_NEGATIVE,
        "backbone_layer_decay": _SHARE,
        "warmup_steps": _NOT_NEGATIVE,
        "end_learning_rate": _NOT_NEGATIVE,
        "clip_norm": _NOT_NEGATIVE,
        "micro_batches": _COUNT,
    },
    "Stability": {"failures_in_a_row": _COUNT, "rollbacks": _NOT_NEGATIVE},
    "Training": {
        "steps": _COUNT,
        "steps_per_loop": _COUNT,
        "summary_interval": _COUNT,
        "checkpoint_interval": _COUNT,
        "checkpoints_to_keep": _COUNT,
        "validation_interval": _COUNT,
        "summary_images": _NOT_NEGATIVE,
        "seed": _ANY,
    },
    "Runtime": {"num_gpus": _ALL_OR_COUNT, "intra_op_threads": _NOT_NEGATIVE},
    "MaskWise": {
        "thing_threshold": _PROBABILITY,
        "stuff_threshold": _PROBABILITY,
        "overlap_threshold": _PROBABILITY,
        "class_weight": _NOT_NEGATIVE,
        "mask_weight": _NOT_NEGATIVE,
    },
    "PixelWise": {"class_threshold": _PROBABILITY},
    "Postprocessing": {
        "pixel_threshold": _PROBABILITY,
        "thing_area_limit": _NOT_NEGATIVE,
        "stuff_area_limit": _NOT_NEGATIVE,
        "island_area_limit": _NOT_NEGATIVE,
    },
    "ClassThreshold": {"threshold": _PROBABILITY},
    "TestTimeAugmentation": {"scales": _POSITIVE},
    "Evaluation": {"num_pictures": _NOT_NEGATIVE},
}


def out_of_range(message: Message, prefix: str = "") -> Iterator[Problem]:
    """Yields a problem for each number, at any depth, that is outside its range.

    Defaults are taken to be right: only fields that were set are looked at.

    Args:
      message: an experiment or a part of it.
      prefix: path of the message.
    """
    ranges = RANGES.get(message.DESCRIPTOR.name, {})
    for field, value in message.ListFields():
        path = join(prefix, field.name)
        for place, item in _elements(path, value) if is_repeated(field) else [(path, value)]:
            if field.message_type is not None:
                yield from out_of_range(item, place)
            elif isinstance(item, float) and not math.isfinite(item):
                yield Problem(place, f"must be a finite number, not {item}")
            elif field.name in ranges and not ranges[field.name].holds(item):
                yield Problem(place, f"must be {ranges[field.name].text}, not {item:g}")


def _elements(path: str, values: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    for index, value in enumerate(values):
        yield f"{path}[{index}]", value
