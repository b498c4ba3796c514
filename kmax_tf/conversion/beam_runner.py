"""Conversion as an Apache Beam pipeline: the same shards, made by Dataflow, Flink, Spark, ...

Workers need this package, the sources and the output: local paths serve on one machine, others
(gs://, a shared folder) on many.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Iterator, Sequence

from kmax_tf.conversion.convert import Runner
from kmax_tf.conversion.shards import (
    ShardReport,
    ShardTask,
    convert_shard,
    note_path,
    read_note,
    report_of,
)
from kmax_tf.errors import UserError
from kmax_tf.files.progress import Progress
from kmax_tf.files.reading import version_of
from kmax_tf.files.writing import write_atomically


def beam_runner(flags: str) -> Runner:
    """Returns what makes shards in a pipeline with Beam's options, such as "--runner=FlinkRunner".

    Raises:
      UserError: Beam is not installed.
    """
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise UserError(
            f"Apache Beam cannot be imported ({error}); pip install 'kmax-tf[beam]'"
        ) from error

    def run(tasks: Sequence[ShardTask], progress: Progress) -> Iterator[ShardReport]:
        before = [version_of(note_path(task.path)) for task in tasks]
        with beam.Pipeline(options=PipelineOptions(shlex.split(flags))) as pipeline:
            # Notes carry the reports, so nothing has to come back through the pipeline.
            _ = pipeline | beam.Create(list(tasks)) | beam.Reshuffle() | beam.Map(_make_shard)
        for task, version in zip(tasks, before):
            report = _report(task)
            for _ in task.annotations:
                progress.advance()
            kept = version_of(note_path(task.path)) == version
            yield dataclasses.replace(report, kept=kept)

    return run


def _make_shard(task: ShardTask) -> None:
    """Makes a shard on a worker; what a user can fix goes into its note."""
    try:
        convert_shard(task, lambda: None)
    except UserError as error:
        write_atomically(note_path(task.path), json.dumps({"error": str(error)}), own=True)


def _report(task: ShardTask) -> ShardReport:
    note = read_note(task.path) or {"error": f"no worker made {task.path}"}
    report = report_of(note)
    if report is None:
        raise UserError(str(note.get("error", f"the note of {task.path} is damaged")))
    return report
