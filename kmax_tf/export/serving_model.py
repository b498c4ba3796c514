"""What a server runs: pictures in, maps or less out, everything in between inside."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Callable, NamedTuple, Optional

import tensorflow as tf

from kmax_tf.config import Experiment, label_space
from kmax_tf.export.replies import (
    SEGMENTS,
    Segments,
    describe_segments,
    encode_ids,
    run_length_masks,
)
from kmax_tf.files.decoding import decode_upright
from kmax_tf.inference import Inference
from kmax_tf.postprocessing.builder import output_maps, thresholds_of
from kmax_tf.postprocessing.postprocessor import SEGMENTS as OF_CENTERS

SIGNATURES = (
    *("serving_default", "image_bytes", "compact", "with_thresholds"),
    *("instances", "semantic", "logits", "assignments"),
)

_IMAGES = [tf.TensorSpec([None, None, None, 3], tf.uint8, "images")]
_TEXT, _TEXTS = tf.TensorSpec([], tf.string), tf.TensorSpec([None], tf.string)
_IMAGE_BYTES = [tf.TensorSpec([None], tf.string, "image_bytes")]


class _Batch(NamedTuple):
    """Images of differing sizes, as the network sees them.

    Attributes:
      inputs: [B, h, w, 3].
      fitted_sizes: [B, 2] int32 of the images in their inputs.
      sizes: [B, 2] int32 of the images.
    """

    inputs: tf.Tensor
    fitted_sizes: tf.Tensor
    sizes: tf.Tensor

    def by_image(self, function: Callable[..., Any], values: Sequence[tf.Tensor], spec: Any) -> Any:
        """Maps function(*values, fitted size, size) over the images; `spec` is of its result."""
        return tf.map_fn(
            lambda item: function(*item),
            (*values, self.fitted_sizes, self.sizes),
            fn_output_signature=spec,
        )


class ServingModel:
    """The network between its pre- and post-processing: a function for each signature.

    `serving_default` takes pixels of images of one size, `logits` too; the others encoded images
    [B] (JPEG, PNG, BMP, GIF's first frame), each of its own size, whose EXIF rotation is applied.
    Those raise `tf.errors.InvalidArgumentError` that names each image that cannot be decoded, by
    its place in the batch, and says why. They give `sizes` [B, 2] int32, height and width of each.

    Attributes:
      maps: names of the maps that `serving_default` and `image_bytes` give.
      thresholds: those that `with_thresholds` takes, with the experiment's values.
      inference: what segments.
      module: what is saved: the variables, and nothing else of Keras, which no search for trackable
        objects finds inside; nor the functions, which would be in a SavedModel twice beside its
        signatures.
    """

    def __init__(
        self,
        inference: Inference,
        experiment: Experiment,
        maps: Optional[Sequence[str]] = None,
        fixed_size: bool = False,
    ):
        """Prepares signatures.

        Args:
          inference: what segments.
          experiment: the resolved one of it.
          maps: names of the maps that `serving_default` and `image_bytes` give; None: those of
            `postprocessing.maps`.
          fixed_size: whether `logits` takes images of the network's size only, so that all shapes
            but the batch's are known.
        """
        self.maps = tuple(output_maps(experiment) if maps is None else maps)
        self.thresholds = thresholds_of(experiment)
        self.inference = inference
        self.module = tf.Module(name="kmax_serving")
        self.module.weights = inference.variables
        self._fixed_size = fixed_size
        # One for all signatures: a `tf.function` is traced anew after its first call.
        self._decode_one = decode_upright.get_concrete_function()
        self._labels = labels = label_space(experiment.dataset)
        self._num_centers = experiment.model.transformer_decoder.num_centers
        self._largest_class = max(labels.ids.max(), labels.ignore_label)
        self._largest_id = (self._largest_class + 1) * labels.label_divisor - 1

    def signature(self, name: str) -> Callable[..., dict[str, tf.Tensor]]:
        """Returns the function of one of `SIGNATURES`, to save or to call."""
        if name == "logits" and self._fixed_size:
            images = tf.TensorSpec([None, *self.inference.input_shape], tf.uint8, "images")
            return tf.function(self.logits.python_function, [images], autograph=False)
        if name != "with_thresholds":
            return getattr(self, name)
        # Their names are the experiment's.
        scalars = {key: tf.TensorSpec(None, tf.float32, key) for key in self.thresholds}
        function = tf.function(self.with_thresholds, autograph=False)
        return function.get_concrete_function(image_bytes=_IMAGE_BYTES[0], **scalars)

    @tf.function(input_signature=_IMAGES, autograph=False)
    def serving_default(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Segments images [B, H, W, 3] of any one size.

        Returns:
          Maps at the images' own size: panoptic and semantic int32, semantic_scores and
          instance_scores float32, [B, H, W], or those of them that are asked for; and what is known
          of each cluster center, [B, N] (`postprocessing.postprocessor.Postprocessor`).
        """
        inference = self.inference
        inputs, fitted_size = inference.fit(images)
        outputs = inference(inputs, self.maps)
        size = tf.shape(images)[1:3]
        restored = {name: inference.restore(outputs[name], fitted_size, size) for name in self.maps}
        if "panoptic" in restored:
            restored["panoptic"] = inference.clean_in_graph(restored["panoptic"])
        return {**outputs, **restored}

    @tf.function(input_signature=_IMAGE_BYTES, autograph=False)
    def image_bytes(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Segments encoded images; gives what `serving_default` does.

        Maps are padded at the bottom and right to the largest image, ids with the unlabeled one.
        """
        batch = self._decode(image_bytes)
        outputs = self.inference(batch.inputs, self.maps)
        largest = tf.reduce_max(batch.sizes, axis=0)

        def restore(
            name: str, values: tf.Tensor, fitted_size: tf.Tensor, size: tf.Tensor
        ) -> tf.Tensor:
            is_panoptic = name == "panoptic"
            padding = self._labels.void_panoptic_id if is_panoptic else 0
            restored = self.inference.restore(values, fitted_size, size)
            restored = self.inference.clean_in_graph(restored) if is_panoptic else restored
            below, right = tf.unstack(largest - size)
            return tf.pad(restored, [[0, below], [0, right]], constant_values=padding)

        restored = {
            name: batch.by_image(
                functools.partial(restore, name),
                [outputs[name]],
                tf.TensorSpec([None, None], outputs[name].dtype),
            )
            for name in self.maps
        }
        return {**outputs, **restored, "sizes": batch.sizes}

    @tf.function(input_signature=_IMAGE_BYTES, autograph=False)
    def compact(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Segments encoded images; gives a PNG and a table for each.

        Returns:
          panoptic_png_bytes: [B] string, the panoptic map (`replies.encode_ids`).
          The segments of each map, padded to N (`replies.Segments`): ids, class_ids, areas int32
          and scores float32 [B, N], boxes [B, N, 4] int32, count [B] int32.
        """
        batch = self._decode(image_bytes)
        return self._in_short(batch, self.inference(batch.inputs, ["panoptic"]))

    def with_thresholds(
        self, image_bytes: tf.Tensor, **thresholds: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Segments encoded images with thresholds that are given.

        It replies as `compact` does, and tells of each center what `serving_default` does.

        Args:
          image_bytes: [B] string.
          **thresholds: float32, of 0..1, by the names of the experiment's `postprocessing`
            (`postprocessing.builder.thresholds_of`), all of them: one number each, or one an image.
        """
        batch = self._decode(image_bytes)
        count = tf.shape(image_bytes)[0]
        of_images = {name: _for_each(name, x, count) for name, x in thresholds.items()}
        outputs = self.inference.with_thresholds(batch.inputs, of_images, ["panoptic"])
        return {**self._in_short(batch, outputs), **{name: outputs[name] for name in OF_CENTERS}}

    @tf.function(input_signature=_IMAGE_BYTES, autograph=False)
    def instances(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Segments encoded images; gives the things of each as COCO's results have them.

        Returns:
          counts: [B, N] string, compressed run lengths of masks whose size is the image's; with
          the rest of their table, as `compact` gives it of all segments.
        """

        def reply(panoptic: tf.Tensor, segments: Segments) -> dict[str, tf.Tensor]:
            counts = run_length_masks(panoptic, segments.ids[: segments.count])
            padding = [[0, tf.size(segments.ids) - segments.count]]
            return {"counts": tf.pad(counts, padding, constant_values=""), **segments._asdict()}

        batch = self._decode(image_bytes)
        outputs = self.inference(batch.inputs, ["panoptic"])
        signature = {"counts": _TEXTS, **SEGMENTS}
        return self._describe(batch, outputs, reply, signature, things_only=True)

    @tf.function(input_signature=_IMAGE_BYTES, autograph=False)
    def semantic(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Segments encoded images; gives semantic_png_bytes [B] string, a PNG of class ids each."""
        batch = self._decode(image_bytes)
        outputs = self.inference(batch.inputs, ["semantic"])
        pngs = batch.by_image(
            lambda *image: encode_ids(self.inference.restore(*image), self._largest_class),
            [outputs["semantic"]],
            _TEXT,
        )
        return {"semantic_png_bytes": pngs, "sizes": batch.sizes}

    @tf.function(input_signature=_IMAGE_BYTES, autograph=False)
    def assignments(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Tells which cluster center each pixel belongs to, kMaX block after block.

        Returns:
          assignments_png_bytes: [B, blocks + 1] string, a PNG of the indices of centers for each
            block, then one for the final masks; all of the image's own size.
        """
        batch = self._decode(image_bytes)

        def assign(inputs: tf.Tensor, *sizes: tf.Tensor) -> tf.Tensor:
            assigned = self.inference.assignments(inputs[tf.newaxis])
            maps = [self.inference.restore_assignment(centers[0], *sizes) for centers in assigned]
            pngs = [encode_ids(centers, self._num_centers - 1) for centers in maps]
            return tf.stack(pngs)

        pngs = batch.by_image(assign, [batch.inputs], _TEXTS)
        return {"assignments_png_bytes": pngs, "sizes": batch.sizes}

    @tf.function(input_signature=_IMAGES, autograph=False)
    def logits(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Gives what the network says of images [B, H, W, 3] of any one size.

        Returns:
          mask_logits [B, h, w, N] and class_logits [B, N, K+1], float32; fitted_size [2] int32, the
          part of the network's input, at its top left, that is image.
        """
        inputs, fitted_size = self.inference.fit(images)
        predictions = self.inference.predict(inputs)
        return {
            "mask_logits": predictions["mask_logits"],
            "class_logits": predictions["class_logits"],
            "fitted_size": fitted_size,
        }

    def _decode(self, image_bytes: tf.Tensor) -> _Batch:
        """Decodes images [B] and fits them."""

        def decode(encoded: tf.Tensor) -> tuple[tf.Tensor, ...]:
            problem, image = self._decode_one(encoded)
            return (problem, *self.inference.fit(image), tf.shape(image)[:2])

        problems, inputs, fitted_sizes, sizes = tf.map_fn(
            decode,
            image_bytes,
            fn_output_signature=(
                tf.TensorSpec([], tf.string),
                tf.TensorSpec(self.inference.input_shape, tf.float32),
                tf.TensorSpec([2], tf.int32),
                tf.TensorSpec([2], tf.int32),
            ),
        )
        with tf.control_dependencies([_assert_none(problems)]):
            return _Batch(tf.identity(inputs), fitted_sizes, sizes)

    def _in_short(self, batch: _Batch, outputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Makes a PNG and a table of each image."""

        def reply(panoptic: tf.Tensor, segments: Segments) -> dict[str, tf.Tensor]:
            png = encode_ids(panoptic, self._largest_id)
            return {"panoptic_png_bytes": png, **segments._asdict()}

        return self._describe(batch, outputs, reply, {"panoptic_png_bytes": _TEXT, **SEGMENTS})

    def _describe(
        self,
        batch: _Batch,
        outputs: dict[str, tf.Tensor],
        reply: Callable[[tf.Tensor, Segments], dict[str, tf.Tensor]],
        signature: dict[str, tf.TensorSpec],
        things_only: bool = False,
    ) -> dict[str, tf.Tensor]:
        """Makes a reply of the panoptic map, at its own size, and the segments of each image."""

        def describe(
            values: tf.Tensor, ids: tf.Tensor, scores: tf.Tensor, *sizes: tf.Tensor
        ) -> dict[str, tf.Tensor]:
            panoptic = self.inference.clean_in_graph(self.inference.restore(values, *sizes))
            segments = describe_segments(panoptic, ids, scores, self._labels, things_only)
            return reply(panoptic, segments)

        values = [outputs[name] for name in ("panoptic", "segment_ids", "segment_scores")]
        return {**batch.by_image(describe, values, signature), "sizes": batch.sizes}


def _for_each(name: str, threshold: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Returns a threshold of each image, [count], of one that is for all or of as many."""
    values = tf.reshape(threshold, [-1])
    fits = (tf.size(values) == 1) | (tf.size(values) == count)
    fits &= tf.reduce_all((values >= 0) & (values <= 1))
    told = f"{name} must be a number from 0 to 1, for all images or for each; it is"
    with tf.control_dependencies([tf.debugging.Assert(fits, [told, values])]):
        return tf.broadcast_to(values, [count])


def _assert_none(problems: tf.Tensor) -> tf.Operation:
    """Makes problems [B] of images, "" where there is none, one error that names each image."""
    numbers = tf.strings.as_string(tf.range(tf.size(problems)))
    told = tf.strings.join(["image ", numbers, " of image_bytes: ", problems])
    bad = tf.boolean_mask(told, problems != "")
    return tf.debugging.Assert(tf.size(bad) == 0, [tf.strings.reduce_join(bad, separator="; ")])
