"""Tasks shared with helpers: all results, the first error, and no process where few tasks wait."""

from __future__ import annotations

import os
import time

import pytest

from kmax_tf.errors import UserError
from kmax_tf.files import shared_work
from kmax_tf.files.shared_work import share_tasks


def square(number: int) -> tuple[int, int]:
    time.sleep(0.01)
    return number * number, os.getpid()


def fail_late(number: int) -> int:
    """Fails at 3 and 7; the earlier one takes longer to do so."""
    time.sleep(0.3 if number == 3 else 0.02)
    if number in (3, 7):
        raise UserError(f"task {number}")
    return number


def die(number: int) -> int:
    if number and os.getpid() != int(os.environ["KMAX_TEST_PARENT"]):
        os._exit(1)
    time.sleep(0.05)
    return number


@pytest.fixture
def eager(monkeypatch):
    """Helpers are started after the first task, however short it was."""
    monkeypatch.setattr(shared_work, "_SECONDS_A_HELPER", 1e-9)


def test_helpers_share_the_work(eager):
    results = list(share_tasks(square, range(150), workers=2))
    assert sorted(value for value, _ in results) == [number * number for number in range(150)]
    processes = {process for _, process in results}
    assert os.getpid() in processes
    assert len(processes) == 2


def test_no_helper_is_started_for_little_work(monkeypatch):
    monkeypatch.setattr(shared_work, "_with_helpers", None)
    assert len(list(share_tasks(square, range(9), workers=8))) == 9


@pytest.mark.parametrize("workers", [1, 3])
def test_the_error_is_that_of_the_first_task(eager, workers):
    with pytest.raises(UserError, match="task 3"):
        list(share_tasks(fail_late, range(12), workers))


def test_the_death_of_a_helper_is_an_error(eager, monkeypatch):
    monkeypatch.setenv("KMAX_TEST_PARENT", str(os.getpid()))
    with pytest.raises(UserError, match="a worker process died"):
        list(share_tasks(die, range(100), workers=2))


def test_nothing_to_do():
    assert list(share_tasks(square, [], workers=4)) == []
