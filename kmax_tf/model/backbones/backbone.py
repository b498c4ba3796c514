"""What every backbone is, and all that the rest of the package asks of one.

A new backbone is a class in a file of its own, a message in model.proto, and a line in the table of
model/builder.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Callable, ClassVar, Optional, Union

from kmax_tf import ops
from kmax_tf.keras_api import keras
from kmax_tf.model.layers import ActivationFn

# (pattern, replacement), as in re.sub.
Rule = tuple[str, Union[str, Callable[[re.Match[str]], str]]]


class Backbone(keras.layers.Layer):
    """Image features by stride, not activated.

    [B, H, W, 3] in -1..1 -> {2: stem, s: [B, H/s, W/s, C] for each of its strides}.

    Attributes:
      strides: of the stages, fine to coarse.
      activation: what the readers of its features activate them with.
      variable_kinds: fields of DecayedVariables for names of variables that no other layer has.
      deeplab2_names: rules that turn the names of its variables ("backbone/stem/conv/kernel") into
        those of the public TensorFlow checkpoints, less what all parts have in common; none: there
        are no such checkpoints.
      pytorch_names: the same of the public PyTorch checkpoints.
      keras_names: rules that turn "layer/weight" of keras.applications into names of its variables.
    """

    strides: Sequence[int] = (4, 8, 16, 32)
    activation: ActivationFn = staticmethod(ops.gelu)
    variable_kinds: ClassVar[Mapping[str, str]] = {}
    deeplab2_names: ClassVar[Sequence[Rule]] = ()
    pytorch_names: ClassVar[Sequence[Rule]] = ()
    keras_names: ClassVar[Sequence[Rule]] = ()

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


def stage_index(match: re.Match[str]) -> int:
    """Returns 0 where the first group of a match is stride 4, 1 where it is stride 8 and so on."""
    return int(match[1]).bit_length() - 3
