"""Tasks in parallel processes: results in order, progress in between, a clean end at any time."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from kmax_tf.errors import UserError
from kmax_tf.files.progress import Progress
from kmax_tf.library_noise import quiet_libraries

Task = TypeVar("Task")
Result = TypeVar("Result")
Advance = Callable[[], None]

_POLL_SECONDS = 0.2


class _StoppedError(Exception):
    """Ends a task of which nobody wants the result."""


# Of a worker: steps that all workers did, and whether they are to stop.
_shared: dict[str, Any] = {}


def available_cores() -> int:
    """Returns how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def keep_memory() -> None:
    """Has this process keep the memory of images for the next ones.

    A new process gives it back to the system each time, and gets it again page by page, which takes
    a quarter of the time of evaluating PNGs. The largest block that glibc was once given back, of
    32 MB at most, sets the size up to which it keeps memory; other C libraries don't mind.
    """
    np.empty(31 * 2**20, np.uint8)  # given back at once, and never touched


def run_tasks(
    function: Callable[[Task, Advance], Result],
    tasks: Sequence[Task],
    workers: int,
    progress: Progress,
) -> Iterator[Result]:
    """Yields the result of each task, in their order.

    An error of a task is raised where its result would come, so the first in order is the one that
    is seen, however many processes there are. Tasks that are running then are stopped at their next
    step, and the others not started.

    Args:
      function: of a task and of what to call after each step; of a module, as is each task's class.
      tasks: what to do.
      workers: number of processes; 1 works in this one.
      progress: gets the steps.

    Raises:
      UserError: a process died.
    """
    if min(workers, len(tasks)) <= 1:
        for task in tasks:
            yield function(task, progress.advance)
        return
    import concurrent.futures.process
    import multiprocessing

    # Forked children would inherit TensorFlow's threads in whatever state these are.
    context = multiprocessing.get_context("spawn")
    steps, stop = context.Value("q", 0), context.Value("b", 0)
    with concurrent.futures.ProcessPoolExecutor(
        min(workers, len(tasks)), context, _start, (steps, stop)
    ) as pool:
        try:
            futures = [pool.submit(_run, function, task) for task in tasks]
            for future in futures:
                while not future.done():
                    concurrent.futures.wait([future], _POLL_SECONDS)
                    _catch_up(progress, steps.value)
                yield future.result()
            _catch_up(progress, steps.value)
        except concurrent.futures.process.BrokenProcessPool as error:
            raise UserError(
                "a worker process died, perhaps for want of memory; run the same again with fewer "
                "--workers: what is finished is kept"
            ) from error
        finally:
            stop.value = 1
            pool.shutdown(cancel_futures=True)


def _catch_up(progress: Progress, steps: int) -> None:
    if steps > progress.done:
        progress.advance(steps - progress.done)


def start_worker() -> None:
    """Prepares a process that works for another one."""
    # An interruption goes to the whole group of processes; the parent tells the workers to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    quiet_libraries(look_for_devices=False)
    keep_memory()


def _start(steps: Any, stop: Any) -> None:
    start_worker()
    _shared.update(steps=steps, stop=stop)


def _run(function: Callable[[Task, Advance], Result], task: Task) -> Result:
    return function(task, _advance)


def _advance() -> None:
    if _shared["stop"].value:
        raise _StoppedError
    with _shared["steps"].get_lock():
        _shared["steps"].value += 1
