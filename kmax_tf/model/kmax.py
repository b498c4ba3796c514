"""kMaX-DeepLab: the functional model, made of its sub-models (arXiv 2207.04044).

image -> backbone -> pixel decoder -> transformer decoder -> heads -> masks and classes
             `-> semantic branch (a training signal only)
"""

from __future__ import annotations

from typing import Any, Optional, cast

import tensorflow as tf

from kmax_tf import ops
from kmax_tf.keras_api import keras
from kmax_tf.model.keras_model import KerasModel
from kmax_tf.model.layers import ActivationFn
from kmax_tf.ops.resizing import check_images
from kmax_tf.structures import Predictions


class KMaX(KerasModel):
    """Image -> `Predictions`.

    Input: images [B, H, W, 3], values 0..255 of any number type, H and W of the form 32k + 1.
    Output: `structures.Predictions`; `intermediate` only in training.

    Attributes:
      backbone, pixel_decoder, transformer_decoder, heads: the sub-models.
      semantic_branch: the auxiliary one, or None.
      feature_activation: applied to the backbone's features before anything reads them, or None.
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
        check_images(images)
        with ops.for_gradients(bool(training)):
            return cast(Predictions, {**super().call(images, training=training, mask=mask)})
