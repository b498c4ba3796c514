"""What other runtimes than TensorFlow run: the network and the merging of its masks.

All shapes are known: one image, of the size of the network's input. What is in the graph are
operations that converters and other runtimes know (`ops.portable`).
"""

from __future__ import annotations

from typing import Any, Callable, cast

import tensorflow as tf

from kmax_tf import ops
from kmax_tf.config import Experiment
from kmax_tf.model.folding import fold_batch_norms
from kmax_tf.model.kmax import KMaX
from kmax_tf.postprocessing.builder import build_postprocessor, build_views, output_maps
from kmax_tf.postprocessing.postprocessor import SEGMENTS
from kmax_tf.structures import Predictions

# What merging reads of predictions; class maps are there with several views of an image.
_PREDICTIONS = ("mask_logits", "class_logits", "class_maps")


class Program(tf.Module):
    """Image [1, h, w, 3] float32, 0..255 -> maps [1, h, w] and tables [1, N].

    The image is what `data.preprocessing.fit_image` makes of one of any size. It is no uint8, as an
    image that was resized has fractions, and rounding them changes ids.

    Attributes:
      size: h, w.
      outputs: names of the maps and tables.
      segment: image -> all of them, by name.
      predict: image -> mask_logits [1, h', w', N] and class_logits [1, N, K+1].
      merge: these two -> what `segment` gives.
    """

    def __init__(self, model: KMaX, experiment: Experiment):
        """Prepares a model.

        Args:
          model: with its weights.
          experiment: resolved; its eval_data says the size.
        """
        super().__init__(name="kmax_program")
        height, width = self.size = tuple(experiment.eval_data.crop_size)
        self.outputs = (*output_maps(experiment), *SEGMENTS)
        network = fold_batch_norms(model)
        self.weights = list(network.variables)
        views = build_views(experiment)
        postprocess = build_postprocessor(experiment, by_cells=False)

        def predict(image: tf.Tensor) -> dict[str, tf.Tensor]:
            with ops.portable():
                predictions = views(lambda view: network(view, training=False), image)
            return {name: x for name, x in predictions.items() if name in _PREDICTIONS}

        def merge(predictions: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            with ops.portable():
                outputs = postprocess(cast(Predictions, predictions))
            return {name: tf.identity(outputs[name]) for name in self.outputs}

        image = tf.TensorSpec([1, height, width, 3], tf.float32, "image")
        self.segment = _function(lambda image: merge(predict(image)), [image])
        self.predict = _function(predict, [image])
        found = self.predict.get_concrete_function().structured_outputs
        specs = [tf.TensorSpec(value.shape, value.dtype, name) for name, value in found.items()]
        self.merge = _function(lambda *values: merge(dict(zip(found, values))), specs)


def _function(function: Callable[..., Any], signature: list[tf.TensorSpec]) -> Any:
    return tf.function(function, input_signature=signature, autograph=False)
