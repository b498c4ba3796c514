"""The configs that come with the package."""

from __future__ import annotations

import pathlib


def shipped_configs() -> pathlib.Path:
    """Returns the folder of the configs that come with the package."""
    package = pathlib.Path(__file__).resolve().parent.parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"
