"""A tiny experiment and a batch for it, for tests that train."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

import kmax_tf
from kmax_tf.protos import experiment_pb2
from kmax_tf.structures import Targets

OVERRIDES = (
    "model.resnet.stem_channels=8",
    "model.resnet.stages[0].filters=4",
    "model.resnet.stages[1].filters=4",
    "model.resnet.stages[2].filters=8",
    "model.resnet.stages[3].filters=8",
    "model.transformer_decoder.block_strides=16",
    "model.transformer_decoder.channels=32",
    "model.transformer_decoder.ffn_channels=32",
    "train_data.crop_size=65,65",
    "train_data.max_segments=5",
    "losses.instance_discrimination.sample_count=289",  # all 17 x 17 pixels: nothing random
    "training.optimizer.warmup_steps=0",
)


def tiny_experiment(*overrides: str) -> experiment_pb2.Experiment:
    return kmax_tf.load_experiment("shapes/laptop.textproto", [*OVERRIDES, *overrides])


def tiny_batch(
    experiment: experiment_pb2.Experiment, batch_size: int = 2
) -> tuple[tf.Tensor, Targets]:
    """Returns images of a square (a thing) on grass (stuff), and their targets."""
    side = experiment.train_data.crop_size[0]
    images = np.full([batch_size, side, side, 3], 90, np.float32)
    segment_map = np.zeros([batch_size, side, side], np.int32)
    for index in range(batch_size):
        window = np.s_[index, 8 + 4 * index : 40, 12 : 44 + 2 * index]
        images[window] = (200, 40, 40 + 30 * index)
        segment_map[window] = 1
    segment_map[:, :2] = -1
    semantic_map = np.where(segment_map == 1, 2, np.where(segment_map == 0, 6, 0))
    classes = np.full([batch_size, experiment.train_data.max_segments], -1, np.int32)
    classes[:, :2] = (5, 1)  # grass, square in the network's order
    return tf.constant(images), Targets(
        semantic_map=tf.constant(semantic_map, tf.int32),
        segment_map=tf.constant(segment_map),
        segment_classes=tf.constant(classes),
        semantic_weights=tf.ones([batch_size, side, side]),
    )
