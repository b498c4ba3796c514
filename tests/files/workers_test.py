import io
import os
import platform
import subprocess
import sys
import time

import pytest

from kmax_tf.errors import UserError
from kmax_tf.files.progress import Progress
from kmax_tf.files.workers import available_cores, run_tasks


def work(task, advance):
    """Takes longer for earlier tasks, so that later ones finish first."""
    number, what = task
    advance()
    if what == "die":
        os._exit(1)
    if what == "fail":
        raise UserError(f"task {number}")
    if what == "endless":
        while True:
            time.sleep(0.01)
            advance()
    time.sleep(0.3 / (1 + number))
    return number, os.getpid()


def run(kinds, workers):
    progress = Progress(None, "work", io.StringIO())
    return list(run_tasks(work, list(enumerate(kinds)), workers, progress)), progress.done


def test_one_worker_is_this_process():
    results, done = run(["fine"] * 3, 1)
    assert results == [(number, os.getpid()) for number in range(3)]
    assert done == 3


def test_processes_return_in_order_and_count_steps():
    results, done = run(["fine"] * 5, 2)
    assert [number for number, _ in results] == list(range(5))
    assert os.getpid() not in {pid for _, pid in results}
    assert done == 5


def test_the_first_error_in_order_is_raised_and_the_rest_is_stopped():
    with pytest.raises(UserError, match="task 1"):
        run(["fine", "fail", "endless", "fail", "endless"], 2)


def test_a_process_that_dies_is_a_sentence():
    with pytest.raises(UserError, match=r"a worker process died.*fewer --workers"):
        run(["fine", "die", "fine"], 2)


def test_there_is_a_core():
    assert available_cores() >= 1


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
