"""What Keras asks of a model besides `call`: to be saved, loaded, and fitted."""

from __future__ import annotations

import os
from typing import Any, Callable, ClassVar, Optional, Protocol

import tensorflow as tf

from kmax_tf.errors import UserError
from kmax_tf.keras_api import keras

Values = dict[str, tf.Tensor]


class Fitting(Protocol):
    """What `fit` and `evaluate` do, each with a batch (images, targets) of one replica."""

    metrics: list[keras.metrics.Metric]

    def callbacks(self, given: Any) -> list[keras.callbacks.Callback]:
        """Returns all callbacks of a `fit`, which are given as it takes them."""

    def train_step(self, data: Any) -> Values:
        """Trains; returns what `fit` reports."""

    def test_step(self, data: Any) -> Values:
        """Measures; returns what `evaluate` reports."""


class KerasModel(keras.Model):
    """A functional model that is saved as its experiment, and fitted as `fitting` says.

    Attributes:
      experiment_text: the experiment that it was built from, which `save` stores, and from which
        `keras.models.load_model` builds it again.
      fitting: set by `kmax_tf.compile_for_training`; None: `fit` and `evaluate` can't be called.
      build_again: makes a model of an experiment's text; `model.builder` sets it.
    """

    experiment_text = ""
    fitting: Optional[Fitting] = None
    build_again: ClassVar[Callable[[str], keras.Model]]

    def fit(self, *args: Any, callbacks: Any = None, **kwargs: Any) -> keras.callbacks.History:
        """Trains as Keras does, with the callbacks of `fitting` besides those that are given."""
        if self.fitting is not None:
            callbacks = self.fitting.callbacks(callbacks)
        return super().fit(*args, callbacks=callbacks, **kwargs)

    def train_step(self, data: Any) -> Values:
        """Trains one step of `fit`.

        Raises:
          UserError: if the model was not prepared by `kmax_tf.compile_for_training`.
        """
        if self.fitting is None:
            raise no_loss()
        return self.fitting.train_step(data)

    def test_step(self, data: Any) -> Values:
        """Measures one batch of `evaluate`.

        Raises:
          UserError: if the model was not prepared by `kmax_tf.compile_for_training`.
        """
        if self.fitting is None:
            raise no_loss()
        return self.fitting.test_step(data)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Returns what Keras resets after each epoch."""
        return [] if self.fitting is None else self.fitting.metrics

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
        if save_format in ("tf", "h5") or not is_keras_file(filepath):
            raise other_format(os.fspath(filepath))
        super().save(filepath, overwrite=overwrite, save_format=save_format, **kwargs)

    def _trackable_children(self, save_type: str = "checkpoint", **kwargs: Any) -> Any:
        """Returns what checkpoints have; a SavedModel of Keras' kind can't be made."""
        if save_type == "savedmodel":
            raise other_format("tf.saved_model.save")
        return super()._trackable_children(save_type, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Returns the experiment, for the `.keras` format."""
        return {"experiment": self.experiment_text}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> keras.Model:
        """Builds the model of an experiment again."""
        return cls.build_again(config["experiment"])

    def get_compile_config(self) -> dict[str, Any]:
        """Returns nothing: after loading, `kmax_tf.compile_for_training` compiles it anew."""
        return {}


def is_keras_file(path: Any) -> bool:
    """Tells whether a file's name is that of Keras' own format."""
    return os.fspath(path).endswith(".keras")


def other_format(what: str) -> UserError:
    """Returns the error of saving in another format."""
    return UserError(
        f"{what}: the whole model is saved in a file whose name ends in .keras, not as a "
        "SavedModel of Keras' kind or in HDF5. Its weights alone go into any format, by "
        "save_weights; the program from image to maps into a SavedModel, by "
        "kmax_tf.export_saved_model or `kmax export`"
    )


def no_loss() -> UserError:
    """Returns the error of fitting without a loss or without targets."""
    return UserError(
        "no loss: call kmax_tf.compile_for_training(model, experiment) before fit or evaluate, and "
        "give them datasets of (images, targets)"
    )
