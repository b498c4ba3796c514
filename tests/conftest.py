"""The order of the tests, quick compilation, and no noise around them."""

from __future__ import annotations

import os

import pytest

from kmax_tf.library_noise import quiet_libraries

pytest_plugins = ["tests.small_datasets"]

# Those whose files take minutes. Processes take a file at a time (`make test`): if such a one came
# last, all others would wait for it.
LONG = ("tests/training/", "tests/end_to_end/", "tests/golden/", "tests/model/")


# Their files share a tiny run of the whole system.
TOGETHER = "tests/end_to_end/"


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts long tests first, and tests that share fixtures into one process."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))
    for item in items:
        file = item.nodeid.split("::")[0]
        group = TOGETHER if file.startswith(TOGETHER) else file
        item.add_marker(pytest.mark.xdist_group(group))


quiet_libraries(look_for_devices=False)
# What LLVM makes of a program that XLA compiled is not what is tested, and takes most of the time.
# Read at the first compilation; processes that tests start have it, too.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
)
