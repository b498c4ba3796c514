"""Threads that work ahead: order, bounds, errors, and that they end."""

from __future__ import annotations

import threading

from kmax_tf.files.ahead import map_ahead


def test_results_come_in_order_with_their_items():
    results = map_ahead(lambda item: item**2, range(50), threads=3, ahead=4)
    assert [(item, future.result()) for item, future in results] == [(i, i**2) for i in range(50)]


def test_no_more_is_taken_than_there_is_room_for_and_that_much_is_done_meanwhile():
    taken, go = [], threading.Event()

    def items():
        for number in range(20):
            taken.append(number)
            yield number

    results = map_ahead(lambda _: go.wait(10), items(), threads=2, ahead=3)
    first, future = next(results)  # nothing is done yet
    assert (first, future.done(), taken) == (0, False, [0, 1, 2, 3])
    go.set()
    assert future.result()
    assert len(list(results)) == 19


def test_an_error_is_of_its_item_alone():
    errors = {
        item: type(future.exception())
        for item, future in map_ahead(lambda item: 1 / item, [1, 0, 2], threads=1, ahead=1)
    }
    assert errors == {1: type(None), 0: ZeroDivisionError, 2: type(None)}


def test_what_nobody_waits_for_is_not_begun():
    begun, go = [], threading.Event()

    def work(item):
        begun.append(item)
        go.wait(10)

    results = map_ahead(work, range(100), threads=1, ahead=5)
    next(results)
    go.set()
    results.close()
    assert len(begun) < 6
    assert not [t for t in threading.enumerate() if t.name.startswith("ThreadPoolExecutor")]
