"""Reading of records into decoded examples: in order, or in an order drawn from a seed.

In training an example is a function of its number and the seed: each epoch permutes all records
anew, by a function that gives any one place of the permutation. So nothing is buffered for
shuffling, a run continues at any number without reading what came before, and several pipelines
share the numbers, whatever the files are.

TensorFlow's own errors of a damaged file or record don't say which one it is. Here a bad record is
named, and then stops the pipeline, or is reported, counted and replaced.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Optional

import tensorflow as tf

from kmax_tf.files.decoding import attempt
from kmax_tf.records.examples import decode_example
from kmax_tf.records.index import RecordIndex, read_record

Example = dict[str, tf.Tensor]

# Skipping gives up after so many bad records in a row, lest it search forever.
_MAX_BAD_IN_A_ROW = 1000
_FOREVER = 1 << 62
# The most that may be read beside each other; the first's order doesn't depend on the others.
_STREAMS = 2
_EXAMPLE_SPEC = {
    "image": tf.TensorSpec([None, None, 3], tf.uint8),
    "panoptic": tf.TensorSpec([None, None], tf.int32),
    "image_id": tf.TensorSpec([], tf.string),
    "source_id": tf.TensorSpec([], tf.string),
}


@dataclasses.dataclass(frozen=True)
class ReaderOptions:
    """How records are read.

    Attributes:
      on_bad_record: SKIP: bad records are named on stderr, counted and left out or, in training,
        replaced by the next good one; STOP: the first is an error.
      shard: index of this pipeline, number of pipelines that share the records.
      seed: of the order in training.
      first: number of the first example in training; those before were seen by an earlier run.
      cache: keeps decoded examples: None: doesn't; "": in memory; else in files of that name.
      shuffle_buffer: examples mixed at a time, if cached.
    """

    on_bad_record: str
    shard: tuple[int, int]
    seed: int
    first: int
    cache: Optional[str]
    shuffle_buffer: int

    @property
    def skip_bad(self) -> bool:
        """Returns whether bad records are skipped."""
        return self.on_bad_record == "SKIP"


def read_once(index: RecordIndex, options: ReaderOptions) -> tf.data.Dataset:
    """Reads all examples once, in order.

    Returns:
      A dataset of decode_example's dicts. Iterating it raises InvalidArgumentError with the file
      and the number of a bad record, unless such are skipped.
    """
    pipeline, pipelines = options.shard
    numbers = tf.data.Dataset.range(pipeline, len(index), pipelines)
    dataset = _parallel(numbers, _reading(index, options.skip_bad, max_tries=1))
    if options.skip_bad:
        dataset = _report_bad(dataset).filter(lambda report, example: report == "")
    dataset = dataset.map(lambda report, example: example)
    return dataset if options.cache is None else dataset.cache(options.cache)


def read_forever(index: RecordIndex, options: ReaderOptions, streams: int = 1) -> tf.data.Dataset:
    """Reads examples for training, each epoch in another order.

    Args:
      index: of the records.
      options: how they are read.
      streams: examples an element has, each in an order of its own.

    Returns:
      An endless dataset of (number, examples): the number of the element counted over all
      pipelines, scalar int64, and a tuple of decode_example's dicts. Bad records are treated as by
      read_once.
    """
    pipeline, pipelines = options.shard
    numbers = tf.data.Dataset.range(options.first + pipeline, _FOREVER, pipelines)
    if options.cache is None:
        dataset = _read_shuffled(index, numbers, options, streams)
    else:
        cached = read_once(index, options)
        shuffled = tuple(
            cached.shuffle(options.shuffle_buffer, _STREAMS * options.seed + stream).repeat()
            for stream in range(streams)
        )
        examples = tf.data.Dataset.zip(shuffled).skip(options.first // pipelines)
        dataset = tf.data.Dataset.zip((numbers, examples))
    # So that Keras' fit asks for steps_per_epoch instead of waiting for the end.
    endless = tf.data.experimental.INFINITE_CARDINALITY
    return dataset.apply(tf.data.experimental.assert_cardinality(endless))


def _read_shuffled(
    index: RecordIndex, numbers: tf.data.Dataset, options: ReaderOptions, streams: int
) -> tf.data.Dataset:
    read = _reading(index, options.skip_bad, min(_MAX_BAD_IN_A_ROW, len(index)))

    def read_streams(number: tf.Tensor) -> tuple[tf.Tensor, tuple[tf.Tensor, tuple[Example, ...]]]:
        places = [_shuffled(number, len(index), options.seed, stream) for stream in range(streams)]
        reports, examples = zip(*(read(place) for place in places))
        return tf.strings.join(reports, "\n"), (number, examples)

    dataset = _parallel(numbers, read_streams)
    if options.skip_bad:
        dataset = _report_bad(dataset)
    return dataset.map(lambda report, element: element)


def _shuffled(number: tf.Tensor, count: int, seed: int, stream: int) -> tf.Tensor:
    """Returns the record at a place of the endless sequence of permutations."""
    epoch, place = number // count, number % count
    if count == 1:
        return place
    pair = tf.stack([tf.constant(seed, tf.int64), _STREAMS * epoch + stream])
    return tf.random.experimental.index_shuffle(place, pair, tf.constant(count - 1, tf.int64))


def _parallel(numbers: tf.data.Dataset, read: Callable) -> tf.data.Dataset:
    return numbers.map(read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def _reading(
    index: RecordIndex, skip_bad: bool, max_tries: int
) -> Callable[[tf.Tensor], tuple[tf.Tensor, Example]]:
    """Returns a function from the number of a record to what is bad, a line each, and an example.

    Args:
      index: of the records.
      skip_bad: bad records are reported, and the next ones read in their place; else an error.
      max_tries: so many records are tried. Where that is more than one, all bad is an error.
    """
    read = read_record(index)

    def read_one(number: tf.Tensor) -> tuple[tf.Tensor, Example]:
        place, record = read(number)
        problem, example = _decode(record)
        problem = tf.where(record != "", problem, "the file is truncated or damaged there")
        return tf.where(problem == "", "", tf.strings.join([place, ": ", problem])), example

    def read_or_stop(number: tf.Tensor) -> tuple[tf.Tensor, Example]:
        problem, example = read_one(number)
        message = tf.strings.join(["bad ", problem])
        with tf.control_dependencies([tf.debugging.Assert(problem == "", [message])]):
            return problem, tf.nest.map_structure(tf.identity, example)

    def read_or_next(number: tf.Tensor) -> tuple[tf.Tensor, Example]:
        def read_next(
            tries: tf.Tensor, last: tf.Tensor, report: tf.Tensor, example: Example
        ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, Example]:
            del last, example
            last, example = read_one((number + tries) % len(index))
            return tries + 1, last, tf.strings.join([report, last], "\n"), example

        problem, example = read_one(number)
        shapes = tf.nest.map_structure(lambda spec: spec.shape, _EXAMPLE_SPEC)
        tries, last, report, example = tf.while_loop(
            lambda tries, last, *_: (last != "") & (tries < max_tries),
            read_next,
            (tf.constant(1, tf.int64), problem, problem, example),
            (*3 * [tf.TensorShape([])], shapes),
        )
        words = [tf.strings.as_string(tries), " bad records in a row, the last: ", last]
        with tf.control_dependencies([tf.debugging.Assert(last == "", [tf.strings.join(words)])]):
            return tf.identity(report), example

    if not skip_bad:
        return read_or_stop
    return read_one if max_tries == 1 else read_or_next


def _decode(record: tf.Tensor) -> tuple[tf.Tensor, Example]:
    """Decodes a record; what fails is a problem, not an error.

    Returns:
      A problem, "" for none, and the example, of size 0 where there is a problem.
    """
    nothing = tf.nest.map_structure(
        lambda spec: tf.zeros([side or 0 for side in spec.shape], spec.dtype), _EXAMPLE_SPEC
    )
    problem = "it is no example, or its image or label is damaged"
    return attempt(lambda record: ("", decode_example(record)), record, (problem, nothing))


def _report_bad(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Prints the reports of a dataset of (report, ...) with their number so far."""

    def count(skipped: tf.Tensor, element: tuple) -> tuple[tf.Tensor, tuple]:
        lines = tf.strings.split(element[0], "\n")
        for line in tf.boolean_mask(lines, lines != ""):
            skipped += 1
            # One string, since tensors among others are printed in quotes.
            number = tf.strings.as_string(skipped)
            tf.print(tf.strings.join(["skipped ", line, " (", number, " so far)"]))
        return skipped, element

    return dataset.scan(tf.constant(0, tf.int64), count)
