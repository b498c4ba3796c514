"""What every backbone is, and all that the rest of the package asks of one.

A new backbone is a class in a file of its own, a message in model.proto, and a line in the table of
model/builder.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Optional

from kmax_tf import ops
from kmax_tf.keras_api import keras
from kmax_tf.model.backbones.names import PublicNames
from kmax_tf.model.layers import ActivationFn


class Backbone(keras.layers.Layer):
    """Image features by stride, not activated.

    [B, H, W, 3] in -1..1 -> {2: stem, s: [B, H/s, W/s, C] for each of its strides}.

    Attributes:
      strides: of the stages, fine to coarse.
      activation: what the readers of its features activate them with.
      variable_kinds: fields of DecayedVariables for names of variables that no other layer has.
      names: those of its variables in public checkpoints.
    """

    strides: Sequence[int] = (4, 8, 16, 32)
    activation: ActivationFn = staticmethod(ops.gelu)
    variable_kinds: ClassVar[Mapping[str, str]] = {}
    names: ClassVar[PublicNames] = PublicNames()

    @property
    def title(self) -> str:
        """Returns what people call it, such as "ResNet-50"."""
        return type(self).__name__

    @property
    def keras_application(self) -> Optional[str]:
        """Returns the constructor of the same network in keras.applications, if there is one."""
        return None

    def layers_by_depth(self) -> list[list[keras.layers.Layer]]:
        """Returns its layers from the stem to the last block, one entry a depth."""
        raise NotImplementedError
