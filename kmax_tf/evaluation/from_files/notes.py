"""What should be said about files that are evaluated: what they hold that counts nowhere."""

from __future__ import annotations

from collections.abc import Iterator, Set

from kmax_tf.evaluation.from_files.panoptic_file import PanopticFile
from kmax_tf.labels import LabelSpace
from kmax_tf.panoptic.fields import ImageId
from kmax_tf.wording import count_of, some


def notes_on_images(
    truth: PanopticFile, predictions: PanopticFile, used: Set[ImageId]
) -> Iterator[str]:
    """Says which images and predictions aren't evaluated, with the ids of those that are."""
    extra = [i.image_id for i in predictions.images if i.image_id not in used]
    if extra:
        yield (
            f"{count_of(len(extra), 'prediction')} of images that aren't in the ground truth, left "
            f"out: image_id {some(extra)}"
        )
    twice = len(predictions.images) - len({image.image_id for image in predictions.images})
    if twice:
        yield f"{count_of(twice, 'prediction')} followed by another one of the same image_id"
    listed = truth.file_names.keys()
    unlisted = [image.image_id for image in truth.images if image.image_id not in listed]
    if listed and unlisted:
        yield f"{truth.path} doesn't list the images of image_id {some(unlisted)}"
    bare = listed - {image.image_id for image in truth.images}
    if bare:
        yield (
            f"{count_of(len(bare), 'image')} of {truth.path} without an annotation, not evaluated: "
            f"image_id {some(image_id for image_id in listed if image_id in bare)}"
        )


def notes_on_segments(
    truth: PanopticFile, predictions: PanopticFile, labels: LabelSpace
) -> Iterator[str]:
    """Says which segments count nowhere, or could be taken otherwise."""
    for file in (truth, predictions):
        if file.repeated:
            repeated = count_of(file.repeated, "segment")
            yield f"{file.path}: {repeated} with the id of a later one, which counts"
    segments = [segment for image in truth.images for segment in image.segments]
    if not segments:
        yield f"{truth.path} lists no segment in any image: there is nothing to be found"
    silent = sum(segment.crowd is None for segment in segments)
    if silent:
        yield f"{count_of(silent, 'true segment')} without iscrowd, counted as iscrowd 0"
    crowds = sum(bool(s.crowd) for image in predictions.images for s in image.segments)
    if crowds:
        yield f"{count_of(crowds, 'predicted segment')} with iscrowd 1, counted like others"
    known = {category.original_id for category in labels.classes}
    strange = {segment.category_id for segment in segments} - known
    if strange:
        yield (
            f"true segments of category_id {some(sorted(strange))} count nowhere: {truth.path} "
            "doesn't list these categories"
        )
