"""Chromium without a window, where there is one."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """Gives a browser; where there is none, the test is skipped and says so, but not in CI."""
    found = next((path for path in map(shutil.which, _NAMES) if path), None)
    if found is None:
        told = "the page is tested in Chromium, which isn't here; on Debian: apt install chromium"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(told)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Root may not have Chromium's sandbox, and all that it sees here is ours.
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()
