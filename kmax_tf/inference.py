"""From images of any size to maps of their size: one path for all that predict.

An image is fitted into the network's input; the network predicts, perhaps several views of it; the
masks are merged into maps; these are brought back to the image's size, and freed of small
components.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Callable, NamedTuple, Optional, cast

import numpy as np
import tensorflow as tf

from kmax_tf.config import Experiment, label_space
from kmax_tf.data.preprocessing import fit_image, resize_image, restore_map
from kmax_tf.devices import accelerated
from kmax_tf.model.folding import fold_batch_norms
from kmax_tf.model.kmax import KMaX
from kmax_tf.ops.resizing import resize_map
from kmax_tf.postprocessing.builder import build_postprocessor, build_views
from kmax_tf.postprocessing.postprocessor import MAPS, SEGMENTS
from kmax_tf.postprocessing.small_components import (
    remove_small_components,
    without_small_components,
)
from kmax_tf.structures import Predictions


class RawPrediction(NamedTuple):
    """One image of an evaluation batch, H x W: at its own size, or at that which the network saw.

    Attributes:
      image_id: what the image is known by.
      source_id: what the annotation file calls it (`data.records.source_id_of`); "" if nothing.
      truth: [H, W] int32 panoptic map.
      prediction: [H, W] maps by name.
      fitted_image: [h, w, 3] the image as the network saw it, without padding.
    """

    image_id: str
    source_id: str
    truth: np.ndarray
    prediction: dict[str, np.ndarray]
    fitted_image: tf.Tensor

    def image(self) -> np.ndarray:
        """Returns [H, W, 3] uint8: what the network saw, at the size of the maps."""
        return resize_image(self.fitted_image, self.truth.shape).numpy().astype(np.uint8)


class Inference:
    """Segments images as an experiment says.

    On CPUs the network sees one image after another, whatever the batch: rounding depends on the
    size of a batch, and where two masks are as good, a pixel of the map with it.

    Attributes:
      maps: names of the maps that are made.
      variables: of the network.
    """

    def __init__(
        self,
        experiment: Experiment,
        model: Optional[KMaX] = None,
        maps: Sequence[str] = MAPS,
        precision: Optional[str] = None,
    ):
        """Prepares a model.

        Args:
          experiment: resolved; its eval_data says how images are fitted.
          model: with its weights, which are copied; None: predictions come from elsewhere, as in
            training, where they have a loss.
          maps: names of the maps to make.
          precision: that the network computes in (`fold_batch_norms`).
        """
        self.maps = tuple(maps)
        self._together = accelerated()
        self.variables: list[tf.Variable] = []
        self._segment: dict[tuple[str, ...], Any] = {}  # by the maps that are made
        self._every: Any = None  # makes them all, of one image
        self._data = experiment.eval_data
        self._experiment = experiment
        self._postprocess = build_postprocessor(experiment)
        self._island_area_limit = experiment.postprocessing.island_area_limit
        self._void = label_space(experiment.dataset).void_panoptic_id
        if model is not None:
            network = fold_batch_norms(model, precision)
            self.variables = list(network.variables)
            views = build_views(experiment)

            def predict(inputs: tf.Tensor) -> dict[str, Any]:
                assigned: list[tf.Tensor] = []

                def predict_view(view: tf.Tensor) -> Predictions:
                    predictions = network.predictions_by_block(view)
                    if not assigned:  # the first view is the image itself
                        assigned.extend(assignments_by_block(predictions))
                    predictions.pop("intermediate")
                    return predictions

                return {**views(predict_view, inputs), "assignments": assigned}

            self._predict = self._function(predict, self._together)

    def rewritten(self, rewrite: Callable[[Any], Any]) -> Inference:
        """Returns a copy whose network is another function, without variables.

        Args:
          rewrite: makes it of the concrete function that predicts.
        """
        other = copy.copy(self)
        other.variables, other._segment, other._every = [], {}, None
        other._predict = rewrite(self._predict)
        return other

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Returns the shape of a network input."""
        height, width = self._data.crop_size
        return height, width, 3

    def fit(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Makes network inputs of images of one size.

        Args:
          images: [H, W, 3] or [B, H, W, 3], 0..255.

        Returns:
          The inputs, [h, w, 3] or [B, h, w, 3] float32, and the fitted size: [2] int32, height and
          width of an image in its input.
        """
        height, width, _ = self.input_shape
        return fit_image(images, (height, width), self._data.min_size, self._data.max_size)

    def __call__(
        self, inputs: tf.Tensor, maps: Optional[Sequence[str]] = None
    ) -> dict[str, tf.Tensor]:
        """Segments network inputs [B, h, w, 3]: maps [B, h, w], and what is known of centers.

        Args:
          inputs: of `fit`.
          maps: names of the maps to make; None: `self.maps`.
        """
        maps = self.maps if maps is None else tuple(maps)
        if maps not in self._segment:
            every = self._every = self._every or self._function(
                lambda inputs: self._postprocess(self._network(inputs)), self._together
            )
            self._segment[maps] = self._function(
                lambda inputs: self._of_each(every, inputs, (*maps, *SEGMENTS))
            )
        return self._segment[maps](tf.convert_to_tensor(inputs))

    def predict(self, inputs: tf.Tensor) -> Predictions:
        """Predicts for network inputs [B, h, w, 3]."""
        names = self._predict.structured_outputs.keys() - {"assignments"}
        return cast(Predictions, self._of_each(self._predict, inputs, names))

    def assignments(self, inputs: tf.Tensor) -> list[tf.Tensor]:
        """Tells which cluster center each pixel of network inputs [B, h, w, 3] belongs to.

        Returns:
          As `assignments_by_block`, of the image itself among its views.
        """
        outputs = self._of_each(self._predict, inputs, ["assignments"])
        return cast("list[tf.Tensor]", outputs["assignments"])

    def with_thresholds(
        self, inputs: tf.Tensor, thresholds: Mapping[str, tf.Tensor], maps: Sequence[str]
    ) -> dict[str, tf.Tensor]:
        """Segments network inputs [B, h, w, 3] as a call does, each with thresholds of its own.

        Args:
          inputs: of `fit`.
          thresholds: [B] each, by the names that `postprocessing.builder.thresholds_of` gives.
          maps: names of the maps to make.
        """
        height, width, _ = self.input_shape
        shapes = dict.fromkeys(maps, (height, width)) | dict.fromkeys(SEGMENTS, (None,))

        def segment(item: Any) -> dict[str, tf.Tensor]:
            one, values = item
            one = tf.nest.map_structure(lambda x: x[tf.newaxis], one)
            postprocess = build_postprocessor(self._experiment, thresholds=values)
            outputs = postprocess(one if self._together else self._network(one))
            return {name: outputs[name][0] for name in shapes}

        return tf.map_fn(
            segment,
            (self.predict(inputs) if self._together else inputs, dict(thresholds)),
            fn_output_signature={
                name: tf.TensorSpec(shape, _dtype(name)) for name, shape in shapes.items()
            },
            parallel_iterations=1,
        )

    def merge(
        self, predictions: Predictions, maps: Optional[Sequence[str]] = None
    ) -> dict[str, tf.Tensor]:
        """Merges masks into maps at the size of the input, as `Postprocessor` describes them."""
        outputs = self._postprocess(predictions)
        return {name: outputs[name] for name in (*(self.maps if maps is None else maps), *SEGMENTS)}

    def restore(self, values: tf.Tensor, fitted_size: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        """Brings a map, [h, w] or [B, h, w], back to the size of its image.

        Args:
          values: a map of the network's input.
          fitted_size: [2] int32, of `fit`.
          size: [2] int32, height and width of the image.
        """
        return restore_map(values, fitted_size, size)

    def restore_assignment(
        self, centers: tf.Tensor, fitted_size: tf.Tensor, size: tf.Tensor
    ) -> tf.Tensor:
        """Brings an assignment, one of `assignments` [h, w], to the size of its image, as above."""
        return self.restore(resize_map(centers, self.input_shape[:2]), fitted_size, size)

    def clean_in_graph(self, panoptic: tf.Tensor) -> tf.Tensor:
        """Does what `clean` does to a panoptic map, [H, W] or [B, H, W], in a graph."""
        clean = functools.partial(
            without_small_components, least_area=self._island_area_limit, void_id=self._void
        )
        is_batch = panoptic.shape.rank > 2 and self._island_area_limit > 1
        return tf.map_fn(clean, panoptic) if is_batch else clean(panoptic)

    def clean(self, maps: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Removes small components from the panoptic map [H, W] of an image, where there is one."""
        cleaned = dict(maps)
        if "panoptic" in maps:
            cleaned["panoptic"] = remove_small_components(
                maps["panoptic"], self._island_area_limit, self._void
            )
        return cleaned

    def by_image(
        self,
        inputs: tf.Tensor,
        maps: Mapping[str, tf.Tensor],
        raw: Mapping[str, tf.Tensor],
        resolution: str = "original",
    ) -> Iterator[RawPrediction]:
        """Yields the images of an evaluation batch, one after another.

        Args:
          inputs: [B, h, w, 3] network inputs.
          maps: [B, h, w] of them; others than `self.maps` are left out.
          raw: what the evaluation dataset says of the images (`data.builder.build_dataset`).
          resolution: "original": predictions are brought to the image's own size; "model": the
            truth to the size of the image in the network's input. Both by nearest neighbour.
        """
        for index in range(raw["raw_size"].shape[0]):
            size, fitted_size = raw["raw_size"][index], raw["fitted_size"][index]
            height, width = size.numpy()
            truth = raw["panoptic"][index, :height, :width]
            if resolution == "model":
                truth, size = resize_map(truth, fitted_size), fitted_size
            restored = {
                name: self.restore(maps[name][index], fitted_size, size).numpy()
                for name in self.maps
            }
            yield RawPrediction(
                image_id=raw["image_id"][index].numpy().decode(),
                source_id=raw["source_id"][index].numpy().decode(),
                truth=truth.numpy(),
                prediction=self.clean(restored),
                fitted_image=inputs[index, : fitted_size[0], : fitted_size[1]],
            )

    def _network(self, inputs: tf.Tensor) -> Predictions:
        """Predicts, and tells the sizes of outputs, which a function in a graph does not."""
        return cast(
            Predictions,
            tf.nest.map_structure(lambda x: tf.ensure_shape(x, x.shape), self._predict(inputs)),
        )

    def _function(self, function: Callable[[tf.Tensor], Any], together: bool = True) -> Any:
        """Makes a function of network inputs a concrete one, which is there once for all callers.

        Args:
          function: of inputs [B, h, w, 3].
          together: whether there are several; else B is 1.
        """
        signature = [tf.TensorSpec([None if together else 1, *self.input_shape], tf.float32)]
        return tf.function(function, signature, autograph=False).get_concrete_function()

    def _of_each(self, function: Any, inputs: tf.Tensor, names: Iterable[str]) -> dict[str, Any]:
        """Applies a concrete function to inputs [B, h, w, 3], on CPUs to one after another.

        Args:
          function: gives tensors, or lists of them, by name.
          inputs: of `fit`.
          names: of those that are wanted.
        """
        if self._together:
            outputs = function(inputs)
            return {name: outputs[name] for name in names}

        @tf.autograph.experimental.do_not_convert
        def of_one(one: tf.Tensor) -> dict[str, Any]:
            outputs = function(one[tf.newaxis])
            return tf.nest.map_structure(lambda x: x[0], {name: outputs[name] for name in names})

        known = {name: function.structured_outputs[name] for name in names}
        return tf.map_fn(
            of_one,
            inputs,
            fn_output_signature=tf.nest.map_structure(
                lambda x: tf.TensorSpec(x.shape[1:], x.dtype), known
            ),
            parallel_iterations=1,
        )


def assignments_by_block(predictions: Predictions) -> list[tf.Tensor]:
    """Assigns pixels to centers as each kMaX block does, and as the final masks do.

    Args:
      predictions: with `intermediate` (`KMaX.predictions_by_block`).

    Returns:
      One map [B, h, w] int32 a block, then that of the final masks.
    """
    stages = [*predictions["intermediate"], predictions]
    return [tf.argmax(stage["mask_logits"], axis=-1, output_type=tf.int32) for stage in stages]


def _dtype(name: str) -> tf.DType:
    return tf.float32 if name.endswith(("scores", "confidences")) else tf.int32
