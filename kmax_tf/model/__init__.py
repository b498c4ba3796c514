"""The network, made of Keras layers. Its builder comes with each part: Keras loads models by it."""

import kmax_tf.model.builder  # noqa: F401
