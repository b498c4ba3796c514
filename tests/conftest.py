"""The order of the tests, quick compilation, and no noise around them."""

from __future__ import annotations

import os

import pytest

from kmax_tf.library_noise import quiet_libraries

# Those whose files take minutes. Processes take a file at a time (`make test`): if such a one came
# last, all others would wait for it.
LONG = ("tests/training/", "tests/end_to_end/", "tests/golden/", "tests/model/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts long tests first."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))


quiet_libraries(look_for_devices=False)
# What LLVM makes of a program that XLA compiled is not what is tested, and takes most of the time.
# Read at the first compilation; processes that tests start have it, too.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
)
