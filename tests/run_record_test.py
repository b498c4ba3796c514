import datetime
import json
import subprocess
import sys

import numpy as np
import pytest

import kmax_tf
from kmax_tf import run_record
from kmax_tf.errors import OutputError


def test_versions_command_and_time():
    record = run_record.provenance()
    assert record["kmax_tf"] == kmax_tf.__version__
    assert record["python"].split(".") == [str(part) for part in sys.version_info[:3]]
    assert record["packages"]["numpy"] == np.__version__
    assert record["command"] == sys.argv
    age = datetime.datetime.now(datetime.timezone.utc) - datetime.datetime.fromisoformat(
        record["time"]
    )
    assert abs(age) < datetime.timedelta(minutes=1)


def git(folder, *arguments):
    settings = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *settings, *arguments], check=True)


def test_revision_and_dirtiness_of_the_repository(tmp_path, monkeypatch):
    monkeypatch.setattr(run_record, "_ROOT", tmp_path.resolve())
    assert run_record.provenance()["git_revision"] is None
    assert run_record.provenance()["git_dirty"] is None
    git(tmp_path, "init", "--quiet")
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "--quiet", "--message=first")
    record = run_record.provenance()
    assert len(record["git_revision"]) == 40
    assert record["git_dirty"] is False
    (tmp_path / "file").write_text("two")
    assert run_record.provenance()["git_dirty"] is True
    # Installed below somebody else's repository: their revision is not ours.
    (tmp_path / "site-packages").mkdir()
    monkeypatch.setattr(run_record, "_ROOT", tmp_path.resolve() / "site-packages")
    assert run_record.provenance()["git_revision"] is None


def test_a_run_is_recorded_with_its_experiment(tmp_path):
    experiment = kmax_tf.load_experiment("coco/resnet50.textproto")
    run_record.write_run_record(experiment, tmp_path / "run")
    assert kmax_tf.load_experiment(tmp_path / "run" / "experiment.textproto") == experiment
    record = json.loads((tmp_path / "run" / "provenance.json").read_text())
    assert record["packages"]["tensorflow"]
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file, not a folder"):
        run_record.write_run_record(experiment, tmp_path / "file")
