"""Images by whose values the integers of a quantized network are scaled."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator
from typing import Union

import numpy as np
import tensorflow as tf

from kmax_tf.config import Experiment
from kmax_tf.data.builder import check_records
from kmax_tf.data.preprocessing import fit_image
from kmax_tf.errors import UserError
from kmax_tf.files.images import IMAGE_SUFFIXES, read_image
from kmax_tf.records.examples import decode_example
from kmax_tf.records.index import index_records, read_record
from kmax_tf.wording import count_of

RECORDS = "records"  # in place of a folder: those that the experiment trains on
# More change the scales hardly, and cost a call each.
_MOST_IMAGES = 100


class Calibration:
    """Network inputs [1, h, w, 3] float32, made of images evenly from all that there are.

    Attributes:
      count: of the images.
    """

    def __init__(self, source: str, experiment: Experiment):
        """Looks for the images.

        Args:
          source: a folder of images, of which subfolders are read too; or "records".
          experiment: resolved; its train_data are the records, its eval_data says the size.

        Raises:
          UserError: there are none, or only one.
        """
        self._data = experiment.eval_data
        if source == RECORDS:
            self._index = index_records(check_records(experiment, training=True))
            found: list[Union[int, pathlib.Path]] = list(range(len(self._index)))
            where = "the experiment's records"
        else:
            found, where = list(_images_in(source)), f"the folder {source}"
        if len(found) < 2:
            raise UserError(
                f"--calibration: {where} has {count_of(len(found), 'image')}, of which no range of "
                "values can be told; give some 50 to 100 that are like those to be segmented"
            )
        self.count = min(len(found), _MOST_IMAGES)
        self._sources = [found[place * len(found) // self.count] for place in range(self.count)]

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yields the inputs.

        Raises:
          UserError: an image or a record cannot be decoded.
        """
        height, width = self._data.crop_size
        for source in self._sources:
            image = self._from_records(source) if isinstance(source, int) else read_image(source)
            limits = (self._data.min_size, self._data.max_size)
            yield fit_image(tf.constant(image), (height, width), *limits)[0][tf.newaxis].numpy()

    def _from_records(self, number: int) -> tf.Tensor:
        place, record = read_record(self._index)(tf.constant(number, tf.int64))
        try:
            return decode_example(record)["image"]
        except tf.errors.InvalidArgumentError as error:
            raise UserError(f"--calibration: {place.numpy().decode()}: {error.message}") from error


def _images_in(folder: str) -> list[pathlib.Path]:
    if not os.path.isdir(folder):
        raise UserError(f"--calibration: there is no folder {folder}; or give '{RECORDS}'")
    paths = sorted(pathlib.Path(folder).rglob("*"))
    return [path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
