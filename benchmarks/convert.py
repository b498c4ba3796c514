"""Conversion of COCO-like files, per core, against plain decoding and encoding of the same files.

One JSON line a case, measured in turns in one process:

- `decode`: Pillow decodes the JPEG and the PNG, and nothing else;
- `decode_encode`: it encodes both again as well, as a JPEG and a PNG;
- `convert`: `convert_shard`, from files to a finished shard with its checksum and note;
- `convert_parts`: what that spends its time on.

`ratio` is the time over that of `decode_encode`, `ratio_to_decode` over that of `decode`. Images
are drawn at the size that most of COCO's have; their segments are as many and as ragged.
"""

from __future__ import annotations

import argparse
import functools
import io
import json
import pathlib
import tempfile

import numpy as np
import scipy.ndimage
from measuring import parser_of, print_line, ratio, summary, time_in_turns
from PIL import Image

from kmax_tf.config.dataset import read_description
from kmax_tf.conversion.coco_format import CocoAnnotation, read_split
from kmax_tf.conversion.shards import ShardTask, convert_shard, file_checksum, note_path
from kmax_tf.files.images import read_encoded
from kmax_tf.panoptic.png import encode_ids, read_ids
from kmax_tf.panoptic.segment_ids import panoptic_map
from kmax_tf.records.examples import LabeledImage, encode_example, write_shard


def main() -> None:
    """Measures and prints."""
    parser = parser_of(__doc__, size=(480, 640), segments=20, repeats=7)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--image-format", choices=["JPEG", "PNG"], default="JPEG")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        write_tree(root, args)
        measure(root, args)


def measure(root: pathlib.Path, args: argparse.Namespace) -> None:
    """Measures one kind of images."""
    labels, _ = read_description("coco")
    annotations = read_split(root, "train2017").annotations
    shard = str(root / "train-00000-of-00001.tfrecord")
    task = ShardTask(shard, tuple(annotations), labels, True, True)

    def convert() -> None:
        pathlib.Path(note_path(shard)).unlink(missing_ok=True)
        convert_shard(task, lambda: None)

    runs = {
        "decode": lambda: [decode(a) for a in annotations],
        "decode_encode": lambda: [decode_encode(a) for a in annotations],
        "convert": convert,
    }
    seconds = time_in_turns(runs, args.repeats)
    for name in runs:
        print_line(
            case=name,
            image=args.image_format,
            size=args.size,
            images=args.images,
            images_per_second=round(args.images / float(np.median(seconds[name])), 1),
            **summary(seconds[name]),
            ratio=ratio(seconds[name], seconds["decode_encode"]),
            ratio_to_decode=ratio(seconds[name], seconds["decode"]),
        )
    parts = time_in_turns(parts_of(annotations[0], labels, root), args.repeats)
    print_line(
        case="convert_parts",
        **{f"{name}_ms": round(1e3 * float(np.median(times)), 3) for name, times in parts.items()},
    )


def parts_of(annotation: CocoAnnotation, labels, root: pathlib.Path) -> dict:
    """Returns the parts of the conversion of one example."""
    image, ids = read_encoded(annotation.image_path), read_ids(annotation.map_path)
    panoptic, areas = panoptic_map(ids, annotation.segments, labels)
    example = LabeledImage("a", image, panoptic, areas)
    record = encode_example(example)
    path = str(root / "part.tfrecord")
    write_shard(path, [record])
    return {
        "image": functools.partial(read_encoded, annotation.image_path),
        "id_map": functools.partial(read_ids, annotation.map_path),
        "panoptic": functools.partial(panoptic_map, ids, annotation.segments, labels),
        "example": functools.partial(encode_example, example),
        "write": lambda: write_shard(path, [record]),
        "checksum": lambda: file_checksum(path),
    }


def decode(annotation: CocoAnnotation) -> list[Image.Image]:
    """Decodes both files."""
    images = [Image.open(path) for path in annotation.files]
    for image in images:
        image.load()
    return images


def decode_encode(annotation: CocoAnnotation) -> None:
    """Decodes both files and encodes them in their formats again."""
    for image in decode(annotation):
        options = {"quality": 90} if image.format == "JPEG" else {}
        image.save(io.BytesIO(), image.format, **options)


def write_tree(root: pathlib.Path, args: argparse.Namespace) -> None:
    """Draws a training split in COCO's layout: smooth noise, and wavy cells for segments."""
    rng = np.random.default_rng(0)
    height, width = args.size
    maps, images = root / "annotations" / "panoptic_train2017", root / "train2017"
    maps.mkdir(parents=True)
    images.mkdir()
    content: dict = {"images": [], "annotations": []}
    y, x = np.mgrid[:height, :width]
    suffix = args.image_format.lower()
    for number in range(args.images):
        smooth = scipy.ndimage.gaussian_filter(rng.normal(size=(height, width, 3)), (2, 2, 0))
        texture = 128 + 500 * smooth + rng.normal(0, 4, smooth.shape)
        image = Image.fromarray(texture.clip(0, 255).astype(np.uint8))
        image.save(images / f"{number}.{suffix}", args.image_format, quality=90)
        centers = rng.random((args.segments, 2)) * [height, width]
        wavy = [y + 5 * np.sin(x / 9), x + 5 * np.sin(y / 7)]
        distance = sum((w[..., np.newaxis] - centers[:, i]) ** 2 for i, w in enumerate(wavy))
        ids = rng.permutation(2**24 - 1)[: args.segments] + 1
        cells = ids[distance.argmin(axis=-1)]
        (maps / f"{number}.png").write_bytes(encode_ids(cells))
        present, counts = np.unique(cells, return_counts=True)
        segments = [
            {"id": int(i), "category_id": 1 + int(k) % 11, "area": int(c), "iscrowd": 0}
            for k, (i, c) in enumerate(zip(present, counts))
        ]
        content["images"].append({"id": number, "file_name": f"{number}.{suffix}"})
        content["annotations"].append(
            {"image_id": number, "file_name": f"{number}.png", "segments_info": segments}
        )
    (root / "annotations" / "panoptic_train2017.json").write_text(json.dumps(content))


if __name__ == "__main__":
    main()
