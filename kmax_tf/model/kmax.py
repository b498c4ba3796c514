"""kMaX-DeepLab: the functional model, made of its sub-models (arXiv 2207.04044).

image -> backbone -> pixel decoder -> transformer decoder -> heads -> masks and classes
             `-> semantic branch (a training signal only)
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from typing import Any, Callable, Optional, cast

import tensorflow as tf

from kmax_tf import ops
from kmax_tf.errors import UserError
from kmax_tf.keras_api import keras
from kmax_tf.model.layers import ActivationFn
from kmax_tf.ops.resizing import check_image_size
from kmax_tf.structures import Predictions, Targets

StepFn = Callable[[tf.Tensor, Targets], dict[str, tf.Tensor]]
LossFn = Callable[[Targets, Predictions], dict[str, tf.Tensor]]


class KMaX(keras.Model):
    """Image -> `Predictions`.

    Input: images [B, H, W, 3], values 0..255 of any number type, H and W of the form 32k + 1.
    Output: `structures.Predictions`; `intermediate` only in training.

    Attributes:
      backbone, pixel_decoder, transformer_decoder, heads: the sub-models.
      semantic_branch: the auxiliary one, or None.
      feature_activation: applied to the backbone's features before anything reads them, or None.
      loss_terms: (targets, predictions) -> {term: scalar}, needed by `evaluate` only.
      training_step: (images, targets) -> {name: scalar}, having trained: needed by `fit` only.
      fit_callbacks: what `fit` calls besides the callbacks that it is given, before these.
      experiment_text: the experiment it was built from, which `save` stores and
        `keras.models.load_model` builds it from again.
    """

    def __init__(
        self,
        backbone: keras.layers.Layer,
        pixel_decoder: keras.layers.Layer,
        transformer_decoder: keras.layers.Layer,
        heads: keras.layers.Layer,
        semantic_branch: Optional[keras.layers.Layer] = None,
        feature_activation: Optional[ActivationFn] = None,
        name: str = "kmax",
    ):
        image = keras.Input([None, None, 3], name="image")
        scaled = keras.layers.Rescaling(1 / 127.5, -1.0, dtype="float32", name="rescaling")(image)
        features = backbone(scaled)  # {stride: [B, H/s, W/s, C]}
        if feature_activation is not None:
            features = {
                stride: keras.layers.Activation(feature_activation, name=f"act_stride{stride}")(x)
                for stride, x in features.items()
            }
        pixel_features = pixel_decoder(features)  # {stride: [B, H/s, W/s, C]}
        class_embeddings, mask_embeddings, intermediate = transformer_decoder(pixel_features)
        finest = pixel_features[min(pixel_features)]
        predictions = heads(finest, class_embeddings, mask_embeddings)
        predictions["intermediate"] = intermediate
        if semantic_branch is not None:
            predictions["semantic_logits"] = semantic_branch(features)
        super().__init__(inputs=image, outputs=predictions, name=name)
        self.backbone = backbone
        self.pixel_decoder = pixel_decoder
        self.transformer_decoder = transformer_decoder
        self.heads = heads
        self.semantic_branch = semantic_branch
        self.feature_activation = feature_activation
        self.loss_terms: Optional[LossFn] = None
        self.training_step: Optional[StepFn] = None
        self.fit_callbacks: list[keras.callbacks.Callback] = []
        self.experiment_text = ""
        self._trackers: dict[str, keras.metrics.Mean] = {}
        self._reported: Collection[str] = ()

    @property
    def checkpoint_items(self) -> dict[str, keras.layers.Layer]:
        """Returns the sub-models by the names that they have in checkpoints."""
        items = {
            "backbone": self.backbone,
            "pixel_decoder": self.pixel_decoder,
            "transformer_decoder": self.transformer_decoder,
            "heads": self.heads,
        }
        return {**items, "semantic_branch": self.semantic_branch} if self.semantic_branch else items

    def call(
        self, inputs: tf.Tensor, training: Optional[bool] = None, mask: Any = None
    ) -> Predictions:
        """Runs the sub-models."""
        predictions = self._predict(inputs, training, mask)
        if not training:
            predictions.pop("intermediate", None)
        return predictions

    def predictions_by_block(self, images: tf.Tensor) -> Predictions:
        """Predicts as in inference, with the predictions of the kMaX blocks in `intermediate`.

        Args:
          images: [B, H, W, 3], as in a call.
        """
        return self._predict(tf.convert_to_tensor(images), training=False)

    @tf.autograph.experimental.do_not_convert  # plain Python throughout, which is faster to trace
    def _predict(
        self, images: tf.Tensor, training: Optional[bool], mask: Any = None
    ) -> Predictions:
        check_image_size(images)
        with ops.for_gradients(bool(training)):
            return cast(Predictions, {**super().call(images, training=training, mask=mask)})

    def set_training(
        self,
        loss_terms: LossFn,
        names: Sequence[str],
        training_step: StepFn,
        callbacks: Sequence[keras.callbacks.Callback] = (),
    ) -> None:
        """Sets what `fit` and `evaluate` run, and tracks the mean of each term of the loss."""
        self.loss_terms = loss_terms
        self.training_step = training_step
        self.fit_callbacks = list(callbacks)
        self._trackers = {name: keras.metrics.Mean(name=name) for name in (*names, "loss")}

    def save(
        self,
        filepath: Any,
        overwrite: bool = True,
        save_format: Optional[str] = None,
        **kwargs: Any,
    ) -> None:
        """Saves as Keras does, in a .keras file.

        Raises:
          UserError: the name or the format is that of a folder or an HDF5 file.
        """
        if save_format in ("tf", "h5") or not _is_keras_file(filepath):
            raise _other_format(os.fspath(filepath))
        super().save(filepath, overwrite=overwrite, save_format=save_format, **kwargs)

    def _trackable_children(self, save_type: str = "checkpoint", **kwargs: Any) -> Any:
        """Returns what checkpoints have; a SavedModel of Keras' kind can't be made."""
        if save_type == "savedmodel":
            raise _other_format("tf.saved_model.save")
        return super()._trackable_children(save_type, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Returns the experiment, for the `.keras` format."""
        return {"experiment": self.experiment_text}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> KMaX:
        """Builds the model of an experiment again."""
        from kmax_tf.model.builder import build_model_from_text

        return build_model_from_text(config["experiment"])

    def get_compile_config(self) -> dict[str, Any]:
        """Returns nothing: after loading, `kmax_tf.compile_for_training` compiles it anew."""
        return {}

    def fit(self, *args: Any, callbacks: Any = None, **kwargs: Any) -> keras.callbacks.History:
        """Trains as Keras does, with `fit_callbacks` in front of the others."""
        others = callbacks if isinstance(callbacks, (list, tuple)) else [callbacks]
        given = [callback for callback in others if callback is not None]
        for callback in given:
            _check_callback(callback, self.optimizer)
        return super().fit(*args, callbacks=[*self.fit_callbacks, *given], **kwargs)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Trains one step of `fit`.

        Raises:
          UserError: if the model was not prepared by `kmax_tf.compile_for_training`.
        """
        if self.training_step is None or not isinstance(data, tuple):
            raise _no_loss()
        images, targets = data[:2]
        values = self.training_step(images, targets)
        self._reported = self._trackers.keys() & values.keys()
        for name in self._reported:
            self._trackers[name].update_state(values[name])
        return self.compute_metrics(images, targets, None, None)

    def compute_loss(
        self,
        x: Any = None,
        y: Optional[Targets] = None,
        y_pred: Optional[Predictions] = None,
        sample_weight: Any = None,
    ) -> tf.Tensor:
        """Returns the total loss for `evaluate`, and tracks its terms.

        Raises:
          UserError: if the model was not prepared by `kmax_tf.compile_for_training`.
        """
        if self.loss_terms is None or y is None or y_pred is None:
            raise _no_loss()
        terms = self.loss_terms(y, y_pred)
        total = tf.add_n(list(terms.values()))
        self._reported = {**terms, "loss": total}.keys()
        for name, value in {**terms, "loss": total}.items():
            self._trackers[name].update_state(value)
        return total

    def compute_metrics(
        self, x: Any, y: Targets, y_pred: Optional[Predictions], sample_weight: Any
    ) -> dict[str, tf.Tensor]:
        """Returns the means of the terms that this step has: `evaluate` has fewer."""
        return {name: self._trackers[name].result() for name in self._reported}

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Returns the means of the loss terms, which Keras resets after each epoch."""
        return list(self._trackers.values())


def _is_keras_file(path: Any) -> bool:
    return os.fspath(path).endswith(".keras")


def _other_format(what: str) -> UserError:
    return UserError(
        f"{what}: the whole model is saved in a file whose name ends in .keras, not as a "
        "SavedModel of Keras' kind or in HDF5. Its weights alone go into any format, by "
        "save_weights; the program from image to maps into a SavedModel, by "
        "kmax_tf.export_saved_model or `kmax export`"
    )


def _check_callback(callback: keras.callbacks.Callback, optimizer: Any) -> None:
    """Checks, before training, what would fail in the midst of it.

    Raises:
      UserError: a callback saves in another format, or sets a rate that a schedule sets.
    """
    callbacks = keras.callbacks
    whole = isinstance(callback, callbacks.ModelCheckpoint) and not callback.save_weights_only
    if whole and not _is_keras_file(callback.filepath):
        raise _other_format(f"ModelCheckpoint({callback.filepath!r})")
    if isinstance(callback, (callbacks.ReduceLROnPlateau, callbacks.LearningRateScheduler)):
        rate = getattr(optimizer, "learning_rate", None)
        if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
            raise UserError(
                f"{type(callback).__name__} sets the learning rate, which the experiment's "
                "schedule does already: leave the callback out, or give compile_for_training an "
                "optimizer with a constant rate, such as optimizer=keras.optimizers.Adam(1e-4)"
            )


def _no_loss() -> UserError:
    return UserError(
        "no loss: call kmax_tf.compile_for_training(model, experiment) before fit or evaluate, and "
        "give them datasets of (images, targets)"
    )
