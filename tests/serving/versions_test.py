"""Which version is served while folders come, go and are half written."""

from __future__ import annotations

import shutil

import pytest

from kmax_tf.errors import UserError
from kmax_tf.serving import versions
from kmax_tf.serving.metrics import Metrics
from kmax_tf.serving.versions import Versions
from tests.serving.fake_model import FakeModel


class ModelOfFile(FakeModel):
    """Loads where the folder's variables are whole; runs where they aren't spoilt."""

    def __init__(self, folder, version):
        super().__init__(version)
        content = (folder / "variables").read_text()
        if content == "half":
            raise UserError(f"cannot load the SavedModel {folder}: half")
        self.content, self.warm = content, []

    def warm_up(self):
        for name in ("compact", "semantic"):
            if self.content == "spoilt":
                raise ValueError("no such kernel\n[[a node]]")
            self.warm.append(name)
            yield name


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(versions, "ServedModel", ModelOfFile)
    return tmp_path


def write(folder, version, content="whole"):
    (folder / str(version)).mkdir(exist_ok=True)
    (folder / str(version) / "saved_model.pb").touch()
    (folder / str(version) / "variables").write_text(content)


def test_a_version_that_appears_is_served_once_it_is_warm(folder):
    write(folder, 1)
    served = Versions(folder, Metrics())
    first = served.current
    assert (first.version, first.warm) == (1, ["compact"])
    (folder / "10").mkdir()  # not begun
    served.look()
    assert served.current is first
    write(folder, 10)
    write(folder, 9)
    served.look()
    assert (served.current.version, served.current.warm) == (10, ["compact", "semantic"])
    assert [one["version"] for one in served.statuses()] == ["10"]


@pytest.mark.parametrize("content", ["half", "spoilt"])
def test_a_bad_version_is_told_of_and_tried_again_when_it_changes(folder, content):
    write(folder, 1)
    metrics = Metrics()
    served = Versions(folder, metrics)
    write(folder, 2, content)
    for _ in range(3):
        served.look()
    assert served.current.version == 1
    failed, good = served.statuses()
    assert (failed["version"], failed["state"], good["state"]) == ("2", "END", "AVAILABLE")
    assert ("half" if content == "half" else "can't be run: no such kernel") in (
        failed["status"]["error_message"]
    )
    assert "a node" not in failed["status"]["error_message"]
    assert b"kmax_failed_loads_total 1.0" in metrics.text()
    write(folder, 2, "whole again")
    served.look()
    assert served.current.version == 2
    assert len(served.statuses()) == 1


def test_what_vanishes_stays(folder):
    write(folder, 1)
    write(folder, 2)
    served = Versions(folder, Metrics())
    shutil.rmtree(folder / "2")
    served.look()
    assert served.current.version == 2
    shutil.rmtree(folder)
    served.look()
    assert served.current.version == 2


def test_at_the_start_an_older_version_is_better_than_none(folder):
    with pytest.raises(UserError, match="holds no exported model"):
        Versions(folder, Metrics())
    write(folder, 2, "half")
    with pytest.raises(UserError, match=r"cannot load the SavedModel .*2: half"):
        Versions(folder, Metrics())
    write(folder, 1)
    assert Versions(folder, Metrics()).current.version == 1


def test_one_version_alone_can_be_served(folder):
    write(folder, 7)
    served = Versions(folder / "7", Metrics())
    write(folder, 8)
    served.look()
    assert served.current.version == 7


def test_the_rest_is_warmed_up_while_it_serves(folder):
    write(folder, 1)
    served = Versions(folder, Metrics())
    served.watch(0.01)
    write(folder, 2)
    for _ in range(500):
        if served.current.version == 2:
            break
        served._stop.wait(0.01)
    served.close()
    assert served.current.version == 2
