"""Tasks that this process works on, with helpers where these make the end come sooner."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from kmax_tf.errors import UserError

if TYPE_CHECKING:
    from concurrent.futures import Future

Task = TypeVar("Task")
Result = TypeVar("Result")

# Tasks handed to a helper ahead, so that it doesn't wait while this process works.
_AHEAD = 2
# What must be left to do for each helper: it takes about as long to start Python and to import
# NumPy and Pillow on a machine that isn't fast.
_SECONDS_A_HELPER = 0.6


def share_tasks(
    function: Callable[[Task], Result], tasks: Sequence[Task], workers: int
) -> Iterator[Result]:
    """Yields the results of tasks as they are finished.

    This process begins alone. Once it is known how long a task takes, helpers are started for what
    is left, if it is enough; meanwhile and afterwards this process goes on with what they leave. So
    a few tasks never wait for processes to start, and many use all workers.

    The error that is raised is that of the first task in order, however many processes there are.

    Args:
      function: of a task, of a module (or a partial of such); so are results and tasks.
      tasks: what to do.
      workers: number of processes, this one included.

    Raises:
      UserError: a process died.
    """
    seconds = 0.0
    for done, task in enumerate(tasks, start=1):
        start = time.monotonic()
        result = function(task)
        seconds += time.monotonic() - start
        yield result
        left = len(tasks) - done
        helpers = min(workers - 1, left - 1, int(seconds / done * left / _SECONDS_A_HELPER))
        if helpers > 0:
            yield from _with_helpers(function, tasks[done:], helpers)
            return


def _with_helpers(
    function: Callable[[Task], Result], tasks: Sequence[Task], helpers: int
) -> Iterator[Result]:
    """Yields the results of tasks, some of which others do."""
    import concurrent.futures
    import multiprocessing

    from kmax_tf.files.workers import start_worker

    # Forked children would inherit TensorFlow's threads, where it is imported, in whatever state.
    context = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(helpers, context, start_worker)
    theirs: dict[int, Future[Result]] = {}
    waiting = iter(enumerate(tasks))
    try:
        while True:
            for number, task in itertools.islice(waiting, _AHEAD * helpers - len(theirs)):
                theirs[number] = pool.submit(function, task)
            mine = next(waiting, None)
            if mine is not None:
                number, task = mine
                yield _result(functools.partial(function, task), number, theirs)
            elif not theirs:
                return
            for other, begun in list(theirs.items()):
                if begun.done() or mine is None:
                    yield _result(theirs.pop(other).result, other, theirs)
    except concurrent.futures.process.BrokenProcessPool as error:
        raise UserError(
            "a worker process died, perhaps for want of memory; try fewer --workers"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _result(get: Callable[[], Result], number: int, others: Mapping[int, Future[Result]]) -> Result:
    """Returns the result of a task; if it fails, waits for those before, which may have, too."""
    try:
        return get()
    except UserError as error:
        errors = (begun.exception() for other, begun in others.items() if other < number)
        raise next((earlier for earlier in errors if earlier is not None), error) from None
