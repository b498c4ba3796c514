"""The preparation of a training example as its description reads, step by step on whole images.

It draws what kmax_tf.data.TrainingExample draws, so its results are the same: whole labels are
resized twice, ids are found among all pixels, color operations are tf-models-official's, and every
step is a pass over memory of its own.
"""

from __future__ import annotations

import dataclasses

import tensorflow as tf
from official.vision.ops import augment

from kmax_tf.data.augmentation import Place, random_place, random_size
from kmax_tf.data.copy_paste import padding_id
from kmax_tf.data.preprocessing import PADDING_VALUE, resize_image, resized_size
from kmax_tf.data.targets import _class_index, _number_segments
from kmax_tf.data.training_example import TrainingExample
from kmax_tf.ops.resizing import resize_map

_OPERATIONS = {
    "BRIGHTNESS": augment.brightness,
    "COLOR": augment.color,
    "CONTRAST": augment.contrast,
    "SHARPNESS": augment.sharpness,
}


@dataclasses.dataclass
class PlainExample:
    """The same function as a TrainingExample.

    Attributes:
      made: the example whose options, labels and seed are taken.
    """

    made: TrainingExample

    def __call__(self, number, examples):
        """Makes an element."""
        base = tf.random.experimental.stateless_fold_in(tf.constant([self.made.seed, 0]), number)
        seeds = tf.unstack(tf.random.experimental.stateless_split(base, 3))
        options, labels = self.made.options, self.made.labels
        image, label = self._view(examples[0], seeds[0], options.scales(), labels.void_panoptic_id)
        if options.copy_paste is not None:
            scales = options.scales(options.copy_paste.scale_factor)
            above = self._view(examples[1], seeds[1], scales, padding_id(labels))
            image, label = self._paste(image, label, above, seeds[2])
        return image, self._targets(label)

    def _view(self, example, seed, scales, padding):
        options = self.made.options
        seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 4))
        image, label = tf.cast(example["image"], tf.float32), example["panoptic"]
        fitted = resized_size(tf.shape(label), options.min_size, options.max_size)
        image, label = resize_image(image, fitted), resize_map(label, fitted)
        size = random_size(fitted, seeds[0], scales)
        image, label = resize_image(image, size), resize_map(label, size)
        if options.color is not None:
            image = tf.cast(self._color(tf.cast(image, tf.uint8), seeds[2]), tf.float32)
        place = random_place(size, seeds[1], options.crop_size)
        image = _crop(image, place, options.crop_size, PADDING_VALUE)
        label = _crop(label[..., tf.newaxis], place, options.crop_size, padding)[..., 0]
        step = tf.where(tf.random.stateless_uniform([], seeds[3]) < options.flip_probability, -1, 1)
        image, label = image[:, ::step], label[:, ::step]
        return tf.ensure_shape(image, [*options.crop_size, 3]), tf.ensure_shape(
            label, options.crop_size
        )

    def _color(self, image, seed):
        sequences = self.made.options.color.sequences
        draws = tf.random.stateless_uniform([1 + max(map(len, sequences))], seed)

        def branch(steps):
            result = image
            for step, draw in zip(steps, tf.unstack(draws[1:])):
                changed = _operation(step)
                before = result
                result = tf.cond(
                    draw < step.probability,
                    lambda image=before, changed=changed: changed(image),
                    lambda image=before: image,
                )
            return result

        chosen = tf.cast(draws[0] * len(sequences), tf.int32)
        return tf.switch_case(chosen, [lambda steps=steps: branch(steps) for steps in sequences])

    def _paste(self, image, label, above, seed):
        labels, options = self.made.labels, self.made.options.copy_paste
        divisor = labels.label_divisor
        ids, _ = tf.unique(tf.reshape(above[1], [-1]))
        seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
        draws = tf.random.stateless_uniform([], seeds[0], 0, tf.size(ids) + 1, tf.int32)
        order = tf.argsort(tf.random.stateless_uniform([tf.size(ids)], seeds[1]))
        drawn = tf.gather(ids, order[:draws])
        mask = tf.zeros_like(label, tf.bool)
        of_class = above[1] // divisor
        for things, choice in ((True, options.things), (False, options.stuff)):
            classes = [category.id for category in labels.classes if category.thing == things]
            of_kind = tf.reduce_any(of_class[..., tf.newaxis] == classes, axis=-1)
            if choice == "RANDOM":
                of_kind &= tf.reduce_any(above[1][..., tf.newaxis] == drawn, axis=-1)
            if choice != "NONE":
                mask |= of_kind
        moved = tf.where(above[1] % divisor > 0, divisor, 0) + above[1] + of_class * divisor
        image = tf.where(mask[..., tf.newaxis], above[0], image)
        return image, tf.where(mask, moved, label + label // divisor * divisor)

    def _targets(self, label):
        labels, options = self.made.result_labels, self.made.targets
        ids, index, areas = tf.unique_with_counts(tf.reshape(label, [-1]))
        semantic, instance = ids // labels.label_divisor, ids % labels.label_divisor
        class_index = _class_index(semantic, labels)
        is_thing = (class_index >= 0) & tf.gather(labels.is_thing, tf.maximum(class_index, 0))
        is_instance = is_thing & (instance > 0)
        segment, classes = _number_segments(
            class_index,
            is_instance,
            (class_index >= 0) & ~is_thing,
            areas,
            labels.num_classes,
            options,
        )
        small = is_instance & (areas < options.small_instance_area)
        weight = tf.where(small, options.small_instance_weight, 1.0)
        maps = [tf.reshape(tf.gather(v, index), label.shape) for v in (semantic, segment, weight)]
        return {
            "semantic_map": maps[0],
            "segment_map": maps[1],
            "segment_classes": classes,
            "semantic_weights": maps[2],
        }


def _operation(step):
    name = step.operation
    if name == "SOLARIZE":
        return lambda image: augment.solarize(image, int(step.level / 10 * 256))
    if name == "EQUALIZE":
        return augment.equalize
    return lambda image: _OPERATIONS[name](image, step.level / 10 * 1.8 + 0.1)


def _crop(values, place: Place, crop_size, padding):
    after = tf.maximum(tf.constant(crop_size) - tf.shape(values)[:2], 0) - place.before
    paddings = tf.pad(tf.stack([place.before, after], axis=1), [[0, 1], [0, 0]])
    values = tf.pad(values, paddings, constant_values=padding)
    start = tf.pad(place.start, [[0, 1]])
    return tf.slice(values, start, [*crop_size, -1])
