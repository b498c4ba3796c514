"""Numerical operations by subject: the definition, a faster form of it, a line that chooses.

Callers say what they compute, not how: `choice` knows the machine, and whether there will be
gradients. `definitions()` takes all definitions, to compare with them; `portable()` takes forms
that other runtimes than TensorFlow know.
"""

from kmax_tf.ops.assignment import assign_in_graph, assign_on_host
from kmax_tf.ops.axial_attention import axial_similarities, axial_values
from kmax_tf.ops.choice import choose, definitions, for_gradients, gradients_wanted, portable
from kmax_tf.ops.convolution import convolve
from kmax_tf.ops.depthwise_convolution import convolve_depthwise
from kmax_tf.ops.gelu import gelu
from kmax_tf.ops.layer_normalization import layer_norm
from kmax_tf.ops.pixel_projection import project_pixels, project_to_gelu
from kmax_tf.ops.pixel_softmax import softmax_entropy_and_sums
from kmax_tf.ops.self_similarity import log_normalizers
from kmax_tf.ops.static_shapes import pixels_of, static_or_dynamic_shape
from kmax_tf.ops.sums import in_turn, read_rows, segment_sums, sum_by_center

__all__ = [
    "assign_in_graph",
    "assign_on_host",
    "axial_similarities",
    "axial_values",
    "choose",
    "convolve",
    "convolve_depthwise",
    "definitions",
    "for_gradients",
    "gelu",
    "gradients_wanted",
    "in_turn",
    "layer_norm",
    "log_normalizers",
    "pixels_of",
    "portable",
    "project_pixels",
    "project_to_gelu",
    "read_rows",
    "segment_sums",
    "softmax_entropy_and_sums",
    "static_or_dynamic_shape",
    "sum_by_center",
]
