"""Which variables learn at which rate, and which decay.

Rates follow the sub-models and, in the backbone, its blocks; decay follows the kind of a variable,
which is the name that its layer gives it. Whole names only tell variables apart.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from kmax_tf.model.kmax import KMaX

# The field of DecayedVariables for each name that a layer gives a variable.
_KINDS = {
    "kernel": "kernels",
    "depthwise_kernel": "kernels",
    "qkv_kernel": "kernels",
    "bias": "biases",
    "gamma": "normalizations",
    "beta": "normalizations",
    "query_positions": "position_tables",
    "key_positions": "position_tables",
    "value_positions": "position_tables",
    "cluster_centers": "cluster_centers",
}


@dataclasses.dataclass(frozen=True)
class DecayedVariables:
    """Which kinds of variables decay."""

    kernels: bool
    biases: bool
    normalizations: bool
    position_tables: bool
    cluster_centers: bool
    layer_scales: bool


@dataclasses.dataclass(frozen=True)
class GroupOptions:
    """Rates of the parts of the model, relative to the base rate, and what decays.

    Attributes:
      backbone_multiplier, ...: of a part.
      backbone_layer_decay: each block of the backbone learns at this times the rate of the next.
      decayed: kinds of variables.
    """

    backbone_multiplier: float
    pixel_decoder_multiplier: float
    transformer_decoder_multiplier: float
    heads_multiplier: float
    semantic_branch_multiplier: float
    backbone_layer_decay: float
    decayed: DecayedVariables


@dataclasses.dataclass(frozen=True)
class VariableGroups:
    """What differs between variables.

    Attributes:
      rates: factor of the learning rate by the variable's name; 1 where it isn't listed.
      decayed: names of the variables that decay.
    """

    rates: Mapping[str, float]
    decayed: frozenset[str]


def build_groups(options: GroupOptions, model: KMaX) -> VariableGroups:
    """Returns the rates and the decay of a model's trainable variables."""
    rates: dict[str, float] = {}
    for part, layer in model.checkpoint_items.items():
        rate = getattr(options, f"{part}_multiplier")
        rates.update((variable.name, rate) for variable in layer.trainable_variables)
    if options.backbone_layer_decay != 1.0:
        for above, layers in enumerate(reversed(model.backbone.layers_by_depth())):
            rate = options.backbone_multiplier * options.backbone_layer_decay**above
            for layer in layers:
                rates.update((variable.name, rate) for variable in layer.trainable_variables)
    return VariableGroups(
        rates={name: rate for name, rate in rates.items() if rate != 1.0},
        decayed=frozenset(
            name
            for name in rates
            if getattr(options.decayed, kind(name, model.backbone.variable_kinds))
        ),
    )


def kind(variable_name: str, more: Mapping[str, str]) -> str:
    """Returns the field of DecayedVariables that a variable falls under.

    Args:
      variable_name: of the variable.
      more: fields for further names of variables.

    Raises:
      ValueError: the name isn't known.
    """
    leaf = variable_name.rsplit("/", 1)[-1].split(":", maxsplit=1)[0]
    kinds = {**_KINDS, **more}
    if leaf not in kinds:
        raise ValueError(
            f"whether {variable_name} decays is not known: its layer must name it as others do "
            f"({', '.join(kinds)}), or its backbone list the name in `variable_kinds`"
        )
    return kinds[leaf]
