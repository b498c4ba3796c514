"""Tasks that this process works on, with helpers where these make the end come sooner."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import numpy as np

from kmax_tf.errors import UserError
from kmax_tf.files.progress import Progress
from kmax_tf.library_noise import quiet_libraries

Task = TypeVar("Task")
Result = TypeVar("Result")
Advance = Callable[[], None]

# Tasks handed to a helper ahead, so that it doesn't wait while this process works.
_AHEAD = 2
_POLL_SECONDS = 0.2


class _StoppedError(Exception):
    """Ends a task of which nobody wants the result."""


# Of a helper: steps that all helpers did, and whether they are to stop.
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


def seconds_a_helper() -> float:
    """Returns how much must be left to do for each helper, in seconds.

    It takes about as long to start Python and to import NumPy and Pillow on a machine that isn't
    fast, or TensorFlow, where this process has it.
    """
    return 4.0 if "tensorflow" in sys.modules else 0.6


def run_tasks(
    function: Callable[[Task, Advance], Result],
    tasks: Sequence[Task],
    workers: int,
    progress: Progress,
) -> Iterator[Result]:
    """Yields the result of each task, in their order.

    This process begins alone. Once it is known how long a task takes, helpers are started for what
    is left, if it is enough; meanwhile and afterwards this process goes on with what they leave. So
    a few tasks never wait for processes to start, and many use all workers.

    An error of a task is raised where its result would come, so the first in order is the one that
    is seen, however many processes there are. Tasks that are running then are stopped at their next
    step, and the others not started.

    Args:
      function: of a task and of what to call after each step; of a module (or a partial of such),
        as is each task's class.
      tasks: what to do.
      workers: number of processes at most, this one included.
      progress: gets the steps.

    Raises:
      UserError: a process died.
    """
    seconds = 0.0
    for done, task in enumerate(tasks, start=1):
        start = time.monotonic()
        result = function(task, progress.advance)
        seconds += time.monotonic() - start
        yield result
        left = len(tasks) - done
        helpers = min(workers - 1, left - 1, int(seconds / done * left / seconds_a_helper()))
        if helpers > 0:
            yield from _with_helpers(function, tasks[done:], helpers, progress)
            return


def _with_helpers(
    function: Callable[[Task, Advance], Result],
    tasks: Sequence[Task],
    helpers: int,
    progress: Progress,
) -> Iterator[Result]:
    """Yields the results of tasks, some of which others do."""
    import concurrent.futures.process
    import multiprocessing

    # Forked children would inherit TensorFlow's threads, where it is imported, in whatever state.
    context = multiprocessing.get_context("spawn")
    steps, stop = context.Value("q", 0), context.Value("b", 0)
    seen = 0

    def advance(mine: int = 1) -> None:
        nonlocal seen
        theirs, seen = steps.value - seen, steps.value
        if mine + theirs:
            progress.advance(mine + theirs)

    pool = concurrent.futures.ProcessPoolExecutor(helpers, context, _start, (steps, stop))
    begun: dict[int, Future[Result]] = {}
    waiting: Iterator[tuple[int, Task]] = iter(enumerate(tasks))
    try:
        for number in range(len(tasks)):
            while number not in begun or not begun[number].done():
                finished = [future for future in begun.values() if future.done()]
                if any(future.exception() for future in finished):
                    waiting = iter(())  # what comes before the error is waited for
                free = _AHEAD * helpers - (len(begun) - len(finished))
                for other, task in itertools.islice(waiting, free):
                    begun[other] = pool.submit(_run, function, task)
                mine = next(waiting, None)
                if mine is not None:
                    begun[mine[0]] = _outcome(function, mine[1], advance)
                else:
                    concurrent.futures.wait([begun[number]], _POLL_SECONDS)
                    advance(0)
            yield begun.pop(number).result()
        advance(0)
    except concurrent.futures.process.BrokenProcessPool as error:
        raise UserError(
            "a worker process died, perhaps for want of memory; run the same again with fewer "
            "--workers (a conversion keeps what is finished)"
        ) from error
    finally:
        stop.value = 1
        pool.shutdown(cancel_futures=True)


def _outcome(
    function: Callable[[Task, Advance], Result], task: Task, advance: Advance
) -> Future[Result]:
    """Does a task here; an error is kept until its turn comes."""
    outcome: Future[Result] = Future()
    try:
        outcome.set_result(function(task, advance))
    except UserError as error:
        outcome.set_exception(error)
    return outcome


def _start(steps: Any, stop: Any) -> None:
    """Prepares a process that works for another one."""
    # An interruption goes to the whole group of processes; the parent tells the others to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    quiet_libraries(look_for_devices=False)
    keep_memory()
    _shared.update(steps=steps, stop=stop)


def _run(function: Callable[[Task, Advance], Result], task: Task) -> Result:
    return function(task, _advance)


def _advance() -> None:
    if _shared["stop"].value:
        raise _StoppedError
    with _shared["steps"].get_lock():
        _shared["steps"].value += 1
