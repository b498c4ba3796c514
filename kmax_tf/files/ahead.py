"""Work of other threads beside this one's: reading ahead of it, and writing behind it."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int, ahead: int
) -> Iterator[tuple[Item, Future[Result]]]:
    """Applies a function to items in other threads; yields each with its result, in order.

    Items are taken in this thread, so one such iterator can feed the next: the first reads ahead
    while this thread computes, the second writes what was computed.

    Args:
      function: of an item. What it raises is raised by the result.
      items: taken one by one, no sooner than there is room.
      threads: how many.
      ahead: items at most that are taken and not yielded: what memory has to hold.
    """
    waiting: collections.deque[tuple[Item, Future[Result]]] = collections.deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in items:
            waiting.append((item, pool.submit(function, item)))
            # One for one, even if more are done: those are what this thread is ahead by.
            if waiting[0][1].done() or len(waiting) > ahead:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
    finally:
        pool.shutdown(cancel_futures=True)
