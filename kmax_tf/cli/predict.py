"""`kmax predict`: segments images and videos; writes maps, COCO-style JSON and overlays.

Run again after it was stopped, it goes on where it was.
"""

from __future__ import annotations

import argparse
import os
import time
from typing import TYPE_CHECKING

from kmax_tf.cli import arguments, image_files
from kmax_tf.wording import count_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from kmax_tf.cli.images_in_turn import Tally
    from kmax_tf.export.pipeline import Outcome
    from kmax_tf.export.predictor import Predictor
    from kmax_tf.export.results import Picture, Results

    Outcomes = Iterable[tuple[Picture, Outcome]]

HELP = "segment images and videos: panoptic PNG, COCO-style JSON and a coloured overlay each"

# What --write may ask for, and the map that each is made of.
_KINDS = {"panoptic": "panoptic", "instances": "panoptic", "semantic": "semantic"}
# With an accelerator; a CPU computes one image after another, whatever the batch.
_BATCH_SIZE = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the sub-command's arguments."""
    parser.add_argument(
        "--model", required=True, help="folder written by `kmax export`, or folder of a run"
    )
    parser.add_argument(
        "images", nargs="*", metavar="IMAGE", help=f"{image_files.HELP}; videos, by their names"
    )
    parser.add_argument(
        "--list",
        action="append",
        default=[],
        metavar="FILE",
        help="text file that names more of them, one a line (repeatable)",
    )
    parser.add_argument("--output", required=True, help="folder of the results")
    parser.add_argument(
        "--write",
        action="append",
        choices=_KINDS,
        help="panoptic (default): ids, their segments and an overlay; semantic: a PNG of class "
        "ids; instances: COCO results, run-length masks with scores (repeatable)",
    )
    parser.add_argument(
        "--why",
        action="store_true",
        help="print which rule dropped each mask, and write it as JSON",
    )
    parser.add_argument(
        "--annotations",
        metavar="JSON",
        help="takes the images' ids from a COCO file's list of images, for results that are "
        "compared with it; by default an image's id is its name, as a number if that is all digits",
    )
    parser.add_argument(
        "--video",
        choices=["overlay", "frames"],
        default="overlay",
        help="of a video: NAME_overlay.mp4 alone (default), or what --write names, of each frame",
    )
    parser.add_argument(
        "--batch-size",
        type=_positive,
        metavar="N",
        help=f"images of one size that the model gets at once ({_BATCH_SIZE} with a GPU or TPU, "
        "else 1)",
    )
    arguments.add_runner(parser)
    arguments.add_overwrite(parser)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no number of images, from 1 on")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Segments each picture."""
    start = time.monotonic()
    from kmax_tf.cli.images_in_turn import Tally
    from kmax_tf.export.predictor import load_predictor
    from kmax_tf.export.results import Results

    imported = time.monotonic()
    kinds = [*dict.fromkeys(args.write or ["panoptic"]), *["why"] * args.why]
    images, videos = _find_pictures(args, kinds)
    tally = Tally(len(images), "predict")
    if args.runner == "beam":
        return _run_beam(args, kinds, images, videos, tally)
    predictor = load_predictor(args.model, _needed(args, kinds, videos))
    results = Results(args.output, kinds, predictor.labels, predictor.identity)
    loaded = time.monotonic()

    def tell_first() -> None:
        now = time.monotonic()
        tally.progress.say(
            f"predict: first results after {now - start:.1f} s: imports {imported - start:.1f}, "
            f"the model {loaded - imported:.1f}, the image {now - loaded:.1f}"
        )

    outcomes = _predict(args, images, videos, predictor, results, tally)
    return _follow(outcomes, results, tally, tell_first)


def _find_pictures(
    args: argparse.Namespace, kinds: Sequence[str]
) -> tuple[list[Picture], list[Picture]]:
    """Finds images and videos, and checks that their results replace nothing of others."""
    import functools

    from kmax_tf.export.result_files import JOINED
    from kmax_tf.export.results import Picture, unfinished_paths
    from kmax_tf.files.images import read_image
    from kmax_tf.files.videos import VIDEO_SUFFIXES
    from kmax_tf.files.writing import check_writable

    named = image_files.find_images(args.images, args.list)
    is_video = {image: image.path.lower().endswith(VIDEO_SUFFIXES) for image in named}
    found = [image for image in named if not is_video[image]]
    ids = dict(zip(found, image_files.image_ids(found, args.annotations)))
    images, videos = [], []
    for place, image in enumerate(named):
        path, relative, name = image
        if is_video[image]:
            name = relative if args.video == "frames" else name
            videos.append(Picture((place,), path, name, name, lambda: None))
        else:
            read = functools.partial(read_image, path)
            images.append(Picture((place,), path, name, ids[image], read))
    check_writable(args.output)
    outputs = [os.path.join(args.output, JOINED[kind]) for kind in kinds if kind in JOINED]
    for picture in images:
        outputs += unfinished_paths(args.output, picture.name, kinds)
    for picture in videos if args.video == "overlay" else ():
        outputs += unfinished_paths(args.output, picture.name, ["video"])
    image_files.check_outputs(outputs, named)
    return images, videos


def _needed(args: argparse.Namespace, kinds: Sequence[str], videos: Sequence[Picture]) -> list[str]:
    """Returns what is needed of each prediction."""
    from kmax_tf.postprocessing.postprocessor import SEGMENTS

    needed = {_KINDS[kind] for kind in kinds if kind in _KINDS}
    if videos and args.video == "overlay":
        needed.add("panoptic")
    return sorted(needed.union(SEGMENTS if "why" in kinds else ()))


def _predict(
    args: argparse.Namespace,
    images: Sequence[Picture],
    videos: Sequence[Picture],
    predictor: Predictor,
    results: Results,
    tally: Tally,
) -> Outcomes:
    """Predicts on this machine; yields what becomes of each image and frame."""
    from kmax_tf.devices import accelerated
    from kmax_tf.export import video_prediction
    from kmax_tf.export.pipeline import predict_pictures
    from kmax_tf.export.results import Results
    from kmax_tf.files.workers import available_cores

    batch_size = args.batch_size or (_BATCH_SIZE if accelerated() else 1)
    yield from predict_pictures(images, predictor, results, batch_size, available_cores())
    expect = tally.progress.expect
    overlays = Results(args.output, ["video"], predictor.labels, predictor.identity)
    for video in videos:
        if args.video == "overlay":
            make, into = video_prediction.predict_overlay, overlays
        else:
            make, into = video_prediction.predict_frames, results
        yield from make(video, predictor, into, batch_size, expect)


def _run_beam(
    args: argparse.Namespace,
    kinds: Sequence[str],
    images: Sequence[Picture],
    videos: Sequence[Picture],
    tally: Tally,
) -> int:
    """Predicts in a pipeline."""
    from kmax_tf.errors import UserError

    if videos:
        raise UserError(f"a pipeline predicts no videos, such as {videos[0].path}; leave them out")
    try:
        from kmax_tf.export.beam_prediction import predict_with_beam
    except ImportError as error:
        raise UserError(
            f"Apache Beam cannot be imported ({error}); pip install 'kmax-tf[beam]'"
        ) from error
    from kmax_tf.export.predictor import read_export
    from kmax_tf.export.results import Results

    export = read_export(args.model)
    results = Results(args.output, kinds, export.labels, export.identity)
    needed = _needed(args, kinds, videos)
    outcomes = predict_with_beam(
        images, args.model, needed, results, args.beam_flags, args.batch_size or _BATCH_SIZE
    )
    return _follow(outcomes, results, tally)


def _follow(
    outcomes: Outcomes,
    results: Results,
    tally: Tally,
    tell_first: Callable[[], None] = lambda: None,
) -> int:
    """Tells how it goes, writes the files of all pictures, and returns the exit status.

    Args:
      outcomes: of the pictures.
      results: that are written.
      tally: counts them.
      tell_first: called when the first picture is predicted.
    """
    import contextlib

    from kmax_tf.errors import OutputError
    from kmax_tf.export.results import Finished

    if results.semantic is not None and results.semantic.none:
        print(f"pixels without a class are {results.semantic.none} in PNGs of class ids")
    finished: list[Finished] = []
    new = 0
    try:
        for picture, outcome in outcomes:
            if not isinstance(outcome, Finished):
                tally.failed(picture.path, outcome)
                continue
            finished.append(outcome)
            tally.done(outcome.before)
            new += not outcome.before
            if new == 1 and not outcome.before:
                tell_first()
            if outcome.text:
                print(outcome.text)
    except BaseException:  # what is finished is of use
        with contextlib.suppress(OutputError):
            results.join(finished)
        tally.progress.say("predict: run the same again, and it goes on behind what is finished")
        raise
    results.join(finished)
    if len(finished) > new:
        print(f"{count_of(len(finished) - new, 'image')} finished before")
    return tally.end(f"results in {results.folder}")
