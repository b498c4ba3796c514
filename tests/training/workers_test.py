"""Evaluation in training on two machines gives every one of them the result of the whole set."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.conftest import kmax
from tests.processes import ROOT


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as opened:
        sockets = [opened.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("localhost", 0))
        return [each.getsockname()[1] for each in sockets]


def start(records: Path, output: Path, tf_config: dict | None) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"}
    environment.pop("TF_CONFIG", None)
    if tf_config:
        environment["TF_CONFIG"] = json.dumps(tf_config)
    words = [sys.executable, "-m", "tests.training.workers", str(records), str(output)]
    return subprocess.Popen(
        words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


@pytest.mark.slow
def test_two_workers_measure_as_one(tmp_path: Path) -> None:
    kmax("make-shapes", "--output", tmp_path / "coco", "--train=0", "--val=5", "--size=64")
    source = ["--source", tmp_path / "coco", "--output", tmp_path / "records"]
    kmax("convert-dataset", "coco", *source, "--description=shapes", "--split=val")

    addresses = [f"localhost:{port}" for port in free_ports(2)]
    runs = [("alone", None)]
    for index in range(2):
        task = {"type": "worker", "index": index}
        runs.append((f"worker{index}", {"cluster": {"worker": addresses}, "task": task}))
    started = [start(tmp_path / "records", tmp_path / name, config) for name, config in runs]
    printed = []
    for process in started:
        printed.append(process.communicate(timeout=300)[0].decode()[-3000:])
    for (name, _), of_run in zip(runs, printed):
        assert (tmp_path / name).exists(), of_run
    alone, *workers = (json.loads((tmp_path / name).read_text()) for name, _ in runs)
    assert alone["miou"] > 0
    assert {"pq/all", "pq/things", "sq/stuff", "rq/all"} <= alone.keys()
    assert workers == [alone, alone]
