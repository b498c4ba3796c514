"""Tasks shared with helpers: results in order, the first error, no process where few tasks wait."""

import io
import os
import platform
import subprocess
import sys
import time

import pytest

from kmax_tf.errors import UserError
from kmax_tf.files import workers
from kmax_tf.files.progress import Progress
from kmax_tf.files.workers import run_tasks


def work(task, advance):
    """Takes longer for earlier tasks, so that later ones finish first."""
    number, what = task
    advance()
    if what == "die" and os.getpid() != int(os.environ["KMAX_TEST_PARENT"]):
        os._exit(1)
    if what == "fail":
        raise UserError(f"task {number}")
    if what == "endless":
        while os.getpid() != int(os.environ["KMAX_TEST_PARENT"]):
            time.sleep(0.01)
            advance()
    time.sleep(0.3 / (1 + number))
    return number, os.getpid()


@pytest.fixture
def run(monkeypatch):
    """Runs tasks; helpers are started after the first one, however short it was."""
    monkeypatch.setattr(workers, "seconds_a_helper", lambda: 1e-9)
    monkeypatch.setenv("KMAX_TEST_PARENT", str(os.getpid()))

    def run(kinds, count):
        progress = Progress(None, "work", io.StringIO())
        return list(run_tasks(work, list(enumerate(kinds)), count, progress)), progress.done

    return run


def test_one_worker_is_this_process(run):
    results, done = run(["fine"] * 3, 1)
    assert results == [(number, os.getpid()) for number in range(3)]
    assert done == 3


def test_results_come_in_order_and_steps_are_counted(run):
    results, done = run(["fine"] * 60, 2)
    assert [number for number, _ in results] == list(range(60))
    processes = {process for _, process in results}
    assert os.getpid() in processes
    assert len(processes) == 2
    assert done == 60


def test_no_helper_is_started_for_little_work(run, monkeypatch):
    monkeypatch.setattr(workers, "seconds_a_helper", lambda: 10)
    results, _ = run(["fine"] * 4, 8)
    assert {process for _, process in results} == {os.getpid()}
    assert run([], 8) == ([], 0)


@pytest.mark.parametrize("count", [1, 3])
def test_the_first_error_in_order_is_raised_and_the_rest_is_stopped(run, count):
    kinds = ["fine", "fine", "fine", "fail", "endless", "fail", "endless", "fine"]
    with pytest.raises(UserError, match="task 3"):
        run(kinds, count)


def test_a_process_that_dies_is_a_sentence(run):
    with pytest.raises(UserError, match=r"a worker process died.*fewer --workers"):
        run(["fine", *["die"] * 50], 2)


FAULTS = """
import resource, sys
import numpy as np
from kmax_tf.files.workers import keep_memory
if sys.argv[1] == "keep":
    keep_memory()
def work():
    return [np.ones(2**20, np.float32) for _ in range(8)]  # 8192 pages
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="tells glibc")
def test_kept_memory_is_not_asked_for_again():
    faults = {
        mode: int(subprocess.check_output([sys.executable, "-c", FAULTS, mode]))
        for mode in ("keep", "leave")
    }
    assert faults["keep"] < 1000
    assert faults["leave"] > 10000
