"""The strides of a model's features."""

from __future__ import annotations

from kmax_tf.protos import model_pb2

BACKBONE_STRIDES = (4, 8, 16, 32)
DECODER_STRIDES = (32, 16, 8, 4, 2)


def decoder_strides(model: model_pb2.Model) -> tuple[int, ...]:
    """Returns the strides of the pixel decoder's features, coarse to fine."""
    return DECODER_STRIDES[: len(model.pixel_decoder.stages)]


def mask_stride(model: model_pb2.Model) -> int:
    """Returns the stride of the mask logits: that of the finest pixel features."""
    finest = decoder_strides(model)[-1]
    backbone = model.WhichOneof("backbone")
    # Where there is that option, the stem's stride is 4 without it.
    fine_stem = backbone is None or getattr(getattr(model, backbone), "stem_to_stride_2", True)
    return finest if fine_stem else max(finest, 4)
