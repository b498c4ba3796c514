"""The order of the tests, and no noise around them."""

from __future__ import annotations

import pytest

from kmax_tf.library_noise import quiet_libraries

# Those whose files take minutes. Processes take a file at a time (`make test`): if such a one came
# last, all others would wait for it.
LONG = ("tests/training/", "tests/end_to_end/", "tests/golden/", "tests/model/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts long tests first."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))


quiet_libraries(look_for_devices=False)
