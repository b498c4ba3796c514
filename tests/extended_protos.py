"""Experiments whose protos have another message and field, as a contributor would write them."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import tempfile
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.message import Message

from kmax_tf.config import experiment_text

PROTOS = pathlib.Path(__file__).parents[1] / "protos"


def extended(experiment: Message, file: str, message: str, field: str, text: str) -> Any:
    """Returns an experiment with more in it than the protos allow.

    Args:
      experiment: to start from.
      file: the .proto that is changed, such as "losses.proto".
      message: what it says besides.
      field: (line that a line is put after, that line), separated by a line break.
      text: what the experiment says besides.
    """
    before, _, added = field.partition("\n")
    source = (PROTOS / file).read_text("utf-8")
    assert source.count(before) == 1
    with tempfile.TemporaryDirectory() as folder:
        changed = pathlib.Path(folder) / "protos"
        changed.mkdir()
        for path in PROTOS.glob("*.proto"):
            (changed / path.name).write_text(path.read_text("utf-8"), "utf-8")
        source = source.replace(before, f"{before}\n{added}") + message
        (changed / file).write_text(source, "utf-8")
        descriptors = pathlib.Path(folder) / "descriptors"
        # In a process of its own: the compiler and TensorFlow have protobufs that don't get along.
        words = [
            f"--proto_path=kmax_tf/protos={changed}",
            f"--descriptor_set_out={descriptors}",
            "--include_imports",
            "kmax_tf/protos/experiment.proto",
        ]
        subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *words], check=True)
        files = descriptor_pb2.FileDescriptorSet.FromString(descriptors.read_bytes()).file
    pool = descriptor_pool.DescriptorPool()
    for descriptor in files:
        pool.Add(descriptor)
    kind = message_factory.GetMessageClass(pool.FindMessageTypeByName("kmax_tf.Experiment"))
    result = text_format.Parse(experiment_text(experiment), kind())
    return text_format.Merge(text, result)
